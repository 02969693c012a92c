/* Batches on file descriptors, by io_uring or by plain system calls, whichever is faster.
 *
 * Measured on NVMe-like storage, O_DIRECT, 8 KiB: one read takes the same time either way; a write
 * and its fdatasync are faster as two system calls (io_uring hands a flush to a worker thread); two
 * reads or more at once are 1.6 to 3.4 times faster through the ring. So a batch that is one
 * chain runs as system calls in the caller, anything wider goes through the ring. Where the kernel
 * refuses a ring (seccomp, limits), everything runs as system calls, one after the other.
 *
 * A wide batch is a set of chains (a chain may be a single op), each with at most one op in the kernel:
 *
 *   idle --submit op `next`--> in flight --completion--> idle (op ended, or short and to be continued)
 *
 * Chains are driven from here and not by IOSQE_IO_LINK: the kernel silently cuts a linked chain in two where a
 * submission is taken only in part, and a link gained nothing when measured.
 *
 * Threading: one ring a thread, made on first use, freed at thread exit. Nothing is shared but the flag
 * that a ring was refused. A child of fork() never uses its parent's ring. */
#include "common/nf_io_ring.h"

#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/nf_log.h"

#define RING_DEPTH 64 /* ops in flight of one thread */
#define TRANSFER_MAX (1u << 30) /* bytes of one system call or submission */
#define STALLS_MAX 100 /* attempts of one op that move nothing before it is -EIO */
#define ENTER_RETRIES_MAX 10000 /* attempts, 1 ms apart, to hand a batch to a kernel short of memory */

/* How far an op has come. */
struct progress {
	size_t moved;
	unsigned stalls;
	bool ended; /* result is set */
};

/* ---- one op ---- */

static int fd_of(const struct nf_io_op *op)
{
	struct nf_ring_file *file = (struct nf_ring_file *)op->file;
	return op->cached && op->kind != NF_IO_FSYNC ? nf_ring_cached_fd(file) : file->fd;
}

static void end_op(struct nf_io_op *op, struct progress *at, int result)
{
	op->result = result;
	at->ended = true;
}

static bool past_end_of_file(const struct nf_io_op *op)
{
	struct stat st;

	return fstat(fd_of(op), &st) == 0 && op->offset + op->size > (uint64_t)st.st_size;
}

/* An attempt moved nothing (or nothing that keeps the offset aligned). */
static void stall(struct nf_io_op *op, struct progress *at, int error)
{
	if (op->kind == NF_IO_READ && error == 0 && past_end_of_file(op))
		end_op(op, at, -ENODATA);
	else if (++at->stalls > STALLS_MAX)
		end_op(op, at, error != 0 ? error : -EIO);
}

/* Take in the outcome of one attempt: bytes moved or -errno. The op has ended, or is to be tried again. */
static void absorb(struct nf_io_op *op, struct progress *at, ssize_t outcome)
{
	if (outcome == -EINTR || outcome == -EAGAIN) {
		stall(op, at, (int)outcome);
		return;
	}
	if (outcome < 0 || op->kind == NF_IO_FSYNC) {
		end_op(op, at, (int)outcome);
		return;
	}
	if (at->moved + (size_t)outcome >= op->size) {
		end_op(op, at, 0);
		return;
	}
	/* O_DIRECT goes on at an aligned offset only, so the odd bytes are moved again. */
	size_t moved = (at->moved + (size_t)outcome) / NF_IO_ALIGN * NF_IO_ALIGN;
	if (moved > at->moved) {
		at->moved = moved;
		at->stalls = 0;
	} else {
		stall(op, at, 0);
	}
}

/* ---- system calls ---- */

static ssize_t attempt(const struct nf_io_op *op, const struct progress *at)
{
	char *buf = op->buf;
	size_t size = NF_MIN(op->size - at->moved, (size_t)TRANSFER_MAX);
	off_t offset = (off_t)(op->offset + at->moved);
	ssize_t outcome = 0;

	switch (op->kind) {
	case NF_IO_READ: outcome = pread(fd_of(op), buf + at->moved, size, offset); break;
	case NF_IO_WRITE: outcome = pwrite(fd_of(op), buf + at->moved, size, offset); break;
	case NF_IO_FSYNC: outcome = fdatasync(fd_of(op)); break;
	}
	return outcome < 0 ? -errno : outcome;
}

static void run_chain_by_calls(struct nf_io_op *ops, unsigned first, unsigned end)
{
	for (unsigned i = first; i < end; i++) {
		struct progress at = {0};
		while (!at.ended)
			absorb(&ops[i], &at, attempt(&ops[i], &at));
		if (ops[i].result != 0) {
			nf_io_chain_cancel(ops, i + 1, end);
			return;
		}
	}
}

static void run_by_calls(struct nf_io_op *ops, unsigned count)
{
	for (unsigned first = 0; first < count;) {
		unsigned end = nf_io_chain_end(ops, count, first);
		run_chain_by_calls(ops, first, end);
		first = end;
	}
}

/* ---- the thread's ring ---- */

struct thread_ring {
	struct io_uring uring;
	pid_t pid;
};

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* struct thread_ring * */
static bool key_usable;
static atomic_bool refused; /* the kernel gave no ring; system calls from now on */

static void free_ring(void *arg)
{
	struct thread_ring *ring = arg;

	io_uring_queue_exit(&ring->uring);
	free(ring);
}

static void make_key(void)
{
	key_usable = pthread_key_create(&key, free_ring) == 0;
}

static int make_uring(struct io_uring *uring)
{
	/* Completions are processed in the waiting thread only: no interrupts of other work. From Linux 6.1 on. */
	struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
	int rc = io_uring_queue_init_params(RING_DEPTH, uring, &params);

	if (rc == -EINVAL)
		rc = io_uring_queue_init(RING_DEPTH, uring, 0);
	return rc;
}

static struct thread_ring *make_ring(void)
{
	struct thread_ring *ring = calloc(1, sizeof(*ring));

	if (ring == NULL)
		return NULL;
	int rc = make_uring(&ring->uring);
	if (rc != 0) {
		free(ring);
		if (!atomic_exchange(&refused, true))
			nf_warn("io_uring is not available (%s): disk reads run one at a time and are slower; "
				"check kernel.io_uring_disabled, seccomp rules and memory limits",
				strerror(-rc));
		return NULL;
	}
	ring->pid = getpid();
	if (pthread_setspecific(key, ring) != 0) {
		free_ring(ring);
		return NULL;
	}
	return ring;
}

void nf_ring_drop(void)
{
	pthread_once(&key_once, make_key);
	struct thread_ring *ring = key_usable ? pthread_getspecific(key) : NULL;

	if (ring == NULL)
		return;
	pthread_setspecific(key, NULL);
	free_ring(ring);
}

/* The calling thread's ring, or NULL when system calls must do. */
static struct io_uring *get_ring(void)
{
	pthread_once(&key_once, make_key);
	if (!key_usable || atomic_load_explicit(&refused, memory_order_relaxed))
		return NULL;

	struct thread_ring *ring = pthread_getspecific(key);
	if (ring != NULL && ring->pid != getpid()) {
		nf_ring_drop();
		ring = NULL;
	}
	if (ring == NULL)
		ring = make_ring();
	return ring != NULL ? &ring->uring : NULL;
}

/* ---- wide batches ---- */

struct chain {
	unsigned next; /* first op that has not ended */
	unsigned end;
	bool in_flight; /* op `next` is in the kernel */
	struct progress at;
};

struct wide_batch {
	struct io_uring *uring;
	struct nf_io_op *ops;
	unsigned in_flight;
	unsigned chain_count;
	struct chain chains[NF_IO_MAX_BATCH];
};

static void prepare(struct wide_batch *batch, unsigned c)
{
	struct chain *chain = &batch->chains[c];
	const struct nf_io_op *op = &batch->ops[chain->next];
	size_t moved = chain->at.moved;
	unsigned size = (unsigned)NF_MIN(op->size - moved, (size_t)TRANSFER_MAX);
	struct io_uring_sqe *sqe = io_uring_get_sqe(batch->uring);

	assert(sqe != NULL); /* the ring has an entry for each op that may be in flight */
	switch (op->kind) {
	case NF_IO_READ: io_uring_prep_read(sqe, fd_of(op), (char *)op->buf + moved, size, op->offset + moved); break;
	case NF_IO_WRITE: io_uring_prep_write(sqe, fd_of(op), (char *)op->buf + moved, size, op->offset + moved); break;
	case NF_IO_FSYNC: io_uring_prep_fsync(sqe, fd_of(op), IORING_FSYNC_DATASYNC); break;
	}
	io_uring_sqe_set_data64(sqe, c);
	chain->in_flight = true;
	batch->in_flight++;
}

/* Fill the ring from the idle chains. Returns how many completions to wait for before it pays to come back:
 * all when nothing is left to start, one when a chain goes on, half of them when chains wait for room. */
static unsigned fill(struct wide_batch *batch)
{
	bool goes_on = false;

	for (unsigned c = 0; c < batch->chain_count; c++) {
		struct chain *chain = &batch->chains[c];
		if (chain->next == chain->end)
			continue;
		if (!chain->in_flight && batch->in_flight == RING_DEPTH)
			return goes_on ? 1 : RING_DEPTH / 2;
		if (!chain->in_flight)
			prepare(batch, c);
		if (chain->next + 1 < chain->end)
			goes_on = true;
	}
	return goes_on ? 1 : batch->in_flight;
}

/* Hand over what was prepared and wait for `wanted` completions. The kernel may own buffers of the caller
 * by now, so there is no way back: an error that stays ends the process, and the store recovers as
 * after a crash. */
static void enter(struct io_uring *uring, unsigned wanted)
{
	for (unsigned tries = 0; tries < ENTER_RETRIES_MAX; tries++) {
		int rc = io_uring_submit_and_wait(uring, wanted);
		if (rc >= 0 && io_uring_sq_ready(uring) == 0)
			return;
		if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY && rc != -ENOMEM) {
			nf_error("io_uring failed with I/O under way (%s): stopping; start again to recover", strerror(-rc));
			abort();
		}
		if (io_uring_cq_ready(uring) > 0)
			return; /* take these in first; what was not handed over goes with the next call */
		if (rc != -EINTR)
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	nf_error("io_uring takes no work for lack of memory: stopping; free memory and start again to recover");
	abort();
}

static void complete(struct wide_batch *batch, struct chain *chain, int outcome)
{
	struct nf_io_op *op = &batch->ops[chain->next];

	chain->in_flight = false;
	batch->in_flight--;
	absorb(op, &chain->at, outcome);
	if (!chain->at.ended)
		return;
	chain->at = (struct progress){0};
	chain->next++;
	if (op->result != 0) {
		nf_io_chain_cancel(batch->ops, chain->next, chain->end);
		chain->next = chain->end;
	}
}

static void reap(struct wide_batch *batch)
{
	struct io_uring_cqe *cqes[RING_DEPTH];
	unsigned count = io_uring_peek_batch_cqe(batch->uring, cqes, RING_DEPTH);

	for (unsigned k = 0; k < count; k++)
		complete(batch, &batch->chains[io_uring_cqe_get_data64(cqes[k])], cqes[k]->res);
	io_uring_cq_advance(batch->uring, count);
}

static void run_by_ring(struct io_uring *uring, struct nf_io_op *ops, unsigned count)
{
	struct wide_batch batch;

	batch.uring = uring;
	batch.ops = ops;
	batch.in_flight = 0;
	batch.chain_count = 0;
	for (unsigned first = 0; first < count;) {
		unsigned end = nf_io_chain_end(ops, count, first);
		batch.chains[batch.chain_count++] = (struct chain){.next = first, .end = end};
		first = end;
	}
	for (;;) {
		unsigned wanted = fill(&batch);
		if (batch.in_flight == 0)
			return;
		enter(uring, wanted);
		reap(&batch);
	}
}

void nf_ring_run(struct nf_io_op *ops, unsigned count)
{
	struct io_uring *uring = NULL;

	if (nf_io_chain_end(ops, count, 0) < count)
		uring = get_ring();
	if (uring != NULL)
		run_by_ring(uring, ops, count);
	else
		run_by_calls(ops, count);
	for (unsigned i = 0; i < count; i++)
		if (ops[i].cached && ops[i].kind == NF_IO_WRITE && ops[i].result == 0)
			nf_ring_cached_wrote((struct nf_ring_file *)ops[i].file, ops[i].size);
}
