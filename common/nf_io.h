/* The block I/O seam: all file I/O of the store's extents and log goes through a `struct nf_io`.
 *
 * Three backends:
 *   nf_io_uring_create   the real thing: O_DIRECT files under one directory, io_uring submission
 *   nf_io_mem_create     memory with a model of power loss: what was not synced may be dropped,
 *                        reordered or torn at 512-byte granularity when the power is cut
 *   nf_io_fault_create   wraps another backend and makes chosen calls fail (EIO, ENOSPC, short)
 *
 * Paths are relative to the backend's root directory: [A-Za-z0-9._-] and '/', no "..".
 * Offsets, lengths and buffers of reads and writes are multiples of NF_IO_ALIGN.
 * Every call is thread-safe; calls on one file may run in parallel. */
#ifndef NF_IO_H
#define NF_IO_H

#include "nf_base.h"

struct nf_io;
struct nf_file;

enum nf_io_kind {
	NF_IO_READ,
	NF_IO_WRITE,
	NF_IO_FSYNC, /* fdatasync: the file's bytes and its size are durable when it completes */
};

struct nf_io_op {
	enum nf_io_kind kind;
	bool then_next;	      /* the next op of the batch starts only after this one succeeded;
				 when this one fails or is short, the next ones of the chain end in -ECANCELED */
	bool cached;	      /* a read or write that may go through the kernel's page cache: a hint. Whoever reads sees what was written either way;
				 what of it cannot be written to the disk, the next NF_IO_FSYNC of the file says. Not for writes to bytes beside which
				 others write without it at the same time, in one page. */
	struct nf_file *file;
	uint64_t offset;
	void *buf;
	size_t size;
	int result; /* out: 0 or -errno. A transfer that moved fewer bytes than asked is retried for the
		       rest by the backend; a read past the end of the file is -ENODATA. */
};

/* Limits: at most this many ops in one nf_io_run. */
#define NF_IO_MAX_BATCH 256

/* Run a batch to its end and wait for all of it. Ops of a batch run in parallel unless chained.
 * Returns 0 when all results are 0, else the first non-zero result in order of the batch. */
NF_MUST_CHECK int nf_io_run(struct nf_io *io, struct nf_io_op *ops, unsigned count);

static inline int nf_io_run_one(struct nf_io *io, enum nf_io_kind kind, struct nf_file *file,
				uint64_t offset, void *buf, size_t size)
{
	struct nf_io_op op = {.kind = kind, .file = file, .offset = offset, .buf = buf, .size = size};
	return nf_io_run(io, &op, 1);
}

enum nf_open_flags {
	NF_OPEN_CREATE = 1, /* create it; -EEXIST if it is there */
	NF_OPEN_READONLY = 2,
};

/* Returns 0; -ENOENT; -EEXIST; -EIO ... The caller owns *ret_file and closes it. */
NF_MUST_CHECK int nf_io_open(struct nf_io *io, const char *path, unsigned flags, struct nf_file **ret_file);
void nf_io_close(struct nf_file *file); /* NULL is legal; an unlinked file lives until closed */
NF_MUST_CHECK int nf_io_size(struct nf_file *file, uint64_t *ret_size);
/* Reserve [offset, offset + size) on the disk, growing the file; reads there give zeros. -ENOSPC. */
NF_MUST_CHECK int nf_io_allocate(struct nf_file *file, uint64_t offset, uint64_t size);
NF_MUST_CHECK int nf_io_truncate(struct nf_file *file, uint64_t size);
/* Give the disk space of the range back; reads there give zeros afterwards. */
NF_MUST_CHECK int nf_io_punch(struct nf_file *file, uint64_t offset, uint64_t size);
NF_MUST_CHECK int nf_io_unlink(struct nf_io *io, const char *path);
NF_MUST_CHECK int nf_io_rename(struct nf_io *io, const char *from, const char *to); /* replaces `to` */
/* Make creations, renames and unlinks in directory `path` ("." for the root) durable. */
NF_MUST_CHECK int nf_io_sync_dir(struct nf_io *io, const char *path);
NF_MUST_CHECK int nf_io_mkdir(struct nf_io *io, const char *path); /* 0700; -EEXIST */
/* Call `each` for every name in directory `path`, in no order. A non-zero return ends it and is returned. */
NF_MUST_CHECK int nf_io_list(struct nf_io *io, const char *path, int (*each)(void *arg, const char *name),
			     void *arg);
/* Bytes that could still be allocated. */
NF_MUST_CHECK int nf_io_free_bytes(struct nf_io *io, uint64_t *ret_free, uint64_t *ret_total);
void nf_io_destroy(struct nf_io *io); /* all files must be closed */

/* Aligned memory for buffers; free() it. */
void *nf_io_buffer(size_t size);

/* ---- backends ---- */

NF_MUST_CHECK int nf_io_uring_create(const char *root, struct nf_io **ret_io);

/* Memory, empty. `capacity_bytes` is what may be allocated (0 = no limit). */
NF_MUST_CHECK int nf_io_mem_create(uint64_t capacity_bytes, struct nf_io **ret_io);
/* Power loss: every change since the last sync of its file (or directory) independently survives, is
 * dropped, or is torn at a 512-byte boundary, decided by `seed`. All files must be closed before. */
void nf_io_mem_power_cut(struct nf_io *io, uint64_t seed);
/* Flip one bit of a stored file, to test checksums. */
NF_MUST_CHECK int nf_io_mem_corrupt(struct nf_io *io, const char *path, uint64_t offset, unsigned bit);
void nf_io_mem_set_capacity(struct nf_io *io, uint64_t capacity_bytes);

/* Faults: the countdown names the n-th call (1 = the next) of the kinds in `kinds_mask` that fails with `error`. */
struct nf_fault {
	unsigned kinds_mask; /* 1 << enum nf_fault_kind */
	uint64_t countdown;  /* 0 = no fault */
	bool sticky;	     /* all later calls of these kinds fail too, until the fault is cleared */
	int error;	     /* -EIO, -ENOSPC ...; for a write also half of the bytes are moved first when torn is set */
	bool torn;
};
enum nf_fault_kind { NF_FAULT_READ, NF_FAULT_WRITE, NF_FAULT_FSYNC, NF_FAULT_ALLOCATE, NF_FAULT_NAMESPACE };

/* `lower` stays the caller's and must outlive the wrapper. */
NF_MUST_CHECK int nf_io_fault_create(struct nf_io *lower, struct nf_io **ret_io);
void nf_io_fault_set(struct nf_io *io, const struct nf_fault *fault);
/* Call `hook` on the calling thread before each call, and with NULL no more: to hold a thread up at a chosen place. A fault that it sets
 * may strike that call. */
typedef void (*nf_fault_hook_fn)(void *arg, enum nf_fault_kind kind);
void nf_io_fault_hook(struct nf_io *io, nf_fault_hook_fn hook, void *arg);
/* True once the fault has struck since it was set. */
bool nf_io_fault_struck(struct nf_io *io);
/* Calls seen since creation, by kind: how a test learns how far to count. */
uint64_t nf_io_fault_calls(struct nf_io *io, enum nf_fault_kind kind);

#endif
