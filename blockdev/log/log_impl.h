/* Inside of the log: shared by log.c and scan.c only. */
#ifndef BD_LOG_IMPL_H
#define BD_LOG_IMPL_H

#include <pthread.h>

#include "blockdev/log/log.h"

#define BD_LOG_FILE "log"
#define BD_LOG_MAGIC 0x314c464eu /* "NFL1" */
#define BD_LOG_FLAG_PAD 1u
#define BD_LOG_ITEMS_OFFSET 80u

/* A record being filled or written. Payload lies in `buffer` behind the header page, items apart until the end. */
struct log_batch {
	uint8_t *buffer;
	uint8_t *items;
	size_t items_size;
	unsigned blocks;
	uint64_t start;	   /* position of the record */
	uint64_t pad_size; /* bytes before it that a pad record covers */
};

struct bd_log {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct nf_io *io;	/* const after open */
	struct nf_file *file;	/* const */
	uint64_t store_id, ring_bytes; /* const */
	uint64_t generation;
	uint64_t replay, retain;	   /* see bd_log_position */
	uint64_t tail;			   /* end of the last finished record */
	uint64_t written, durable;	   /* <= tail */
	struct log_batch batches[2], *open;
	bool busy;			   /* a leader is doing I/O */
	uint8_t *pad;			   /* one page, the leader's */
	int error;			   /* sticky */
	int room_error;			   /* why no room could be made the last time */
	unsigned claims, waiters;	   /* between bd_log_enter and bd_log_leave; waiting in bd_log_enter */
	int making_room;		   /* threads that may use the last eighth */
	uint64_t sync_count;
};

void log_batch_begin(struct bd_log *log);

#endif
