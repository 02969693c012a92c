/* Private to common/: runs batches of reads, writes and flushes on file descriptors. */
#ifndef NF_IO_RING_H
#define NF_IO_RING_H

#include "common/nf_io_impl.h"

struct nf_ring_file {
	struct nf_file base;
	int fd;
	_Atomic int cached_fd; /* the same file without O_DIRECT, for ops that say `cached`; opened by the first of them. `fd` when there is none to be had */
	_Atomic uint64_t cached_bytes; /* written so */
};

#define NF_RING_NO_FD (-1)

/* The file's buffered descriptor, or, for good, the other one where it cannot be had: the file's ops are all of one kind. Thread-safe. */
int nf_ring_cached_fd(struct nf_ring_file *file);
/* A cached write has ended well. Begins to write back now and then, and waits for what was begun the last time. */
void nf_ring_cached_wrote(struct nf_ring_file *file, size_t size);
/* Close it, if there is one. Nobody uses the file any more. */
void nf_ring_close_cached(struct nf_ring_file *file);

/* Run `ops`, all on struct nf_ring_file, to their end and set every result; as nf_io_run.
 * Uses the calling thread's ring, making it on first use. */
void nf_ring_run(struct nf_io_op *ops, unsigned count);

/* Free the calling thread's ring now instead of at thread exit. */
void nf_ring_drop(void);

#endif
