/* Private to common/: what a block I/O backend implements behind nf_io.h.
 *
 * A backend embeds `struct nf_io` and `struct nf_file` as first members of its own structs. nf_io.c
 * checks paths, alignment and read-only files before it calls, so a backend sees legal arguments
 * only. Operations follow the contracts in nf_io.h. */
#ifndef NF_IO_IMPL_H
#define NF_IO_IMPL_H

#include "common/nf_io.h"

#define NF_IO_NAME_MAX 255 /* bytes of one component of a path */
#define NF_IO_PATH_MAX 1023

struct nf_io_ops {
	/* Sets the result of every op. 1 <= count <= NF_IO_MAX_BATCH; then_next of the last op is ignored. */
	void (*run)(struct nf_io *io, struct nf_io_op *ops, unsigned count);
	/* The backend fills in what is its own; nf_io.c fills in `io` and `read_only`. */
	int (*open)(struct nf_io *io, const char *path, unsigned flags, struct nf_file **ret_file);
	void (*close)(struct nf_file *file);
	int (*size)(struct nf_file *file, uint64_t *ret_size);
	int (*allocate)(struct nf_file *file, uint64_t offset, uint64_t size);
	int (*truncate)(struct nf_file *file, uint64_t size);
	int (*punch)(struct nf_file *file, uint64_t offset, uint64_t size);
	int (*unlink)(struct nf_io *io, const char *path);
	int (*rename)(struct nf_io *io, const char *from, const char *to);
	int (*sync_dir)(struct nf_io *io, const char *path);
	int (*mkdir)(struct nf_io *io, const char *path);
	int (*list)(struct nf_io *io, const char *path, int (*each)(void *arg, const char *name), void *arg);
	int (*free_bytes)(struct nf_io *io, uint64_t *ret_free, uint64_t *ret_total);
	void (*destroy)(struct nf_io *io);
};

struct nf_io {
	const struct nf_io_ops *ops;
};

struct nf_file {
	struct nf_io *io;
	bool read_only;
};

/* One past the last op of the chain that starts at `first`. */
static inline unsigned nf_io_chain_end(const struct nf_io_op *ops, unsigned count, unsigned first)
{
	while (first + 1 < count && ops[first].then_next)
		first++;
	return first + 1;
}

/* Cancel ops [first, end), the rest of a chain that failed. */
static inline void nf_io_chain_cancel(struct nf_io_op *ops, unsigned first, unsigned end)
{
	for (unsigned i = first; i < end; i++)
		ops[i].result = -ECANCELED;
}

#endif
