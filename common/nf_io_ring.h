/* Private to common/: runs batches of reads, writes and flushes on file descriptors. */
#ifndef NF_IO_RING_H
#define NF_IO_RING_H

#include "common/nf_io_impl.h"

struct nf_ring_file {
	struct nf_file base;
	int fd;
};

/* Run `ops`, all on struct nf_ring_file, to their end and set every result; as nf_io_run.
 * Uses the calling thread's ring, making it on first use. */
void nf_ring_run(struct nf_io_op *ops, unsigned count);

/* Free the calling thread's ring now instead of at thread exit. */
void nf_ring_drop(void);

#endif
