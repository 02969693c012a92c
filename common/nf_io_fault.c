/* Block I/O that fails on purpose: a wrapper around another backend: see nf_io.h.
 *
 * What counts as a call, by kind:
 *   READ, WRITE, FSYNC  each op of a batch, in order of the batch; FSYNC also nf_io_sync_dir
 *   ALLOCATE            nf_io_allocate, nf_io_truncate, nf_io_punch
 *   NAMESPACE           nf_io_open, nf_io_unlink, nf_io_rename, nf_io_mkdir, nf_io_list
 * Closing and asking for sizes never fail. Ops of a chain behind a failed one are cancelled, not called.
 *
 * A struck call does not reach the lower backend, except that a torn write moves its first half. A
 * struck read leaves POISON in the buffer, so that a caller who ignores the error is found out.
 * Threading: `lock` guards the counters; the lower backend and the hook are called without it. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/nf_io_impl.h"

#define POISON 0xdb

struct fault_io {
	struct nf_io base;
	struct nf_io *lower;
	pthread_mutex_t lock; /* guards all below */
	struct nf_fault fault;
	bool struck;
	uint64_t calls[NF_FAULT_NAMESPACE + 1];
	nf_fault_hook_fn hook;
	void *hook_arg;
};

struct fault_file {
	struct nf_file base;
	struct nf_file *lower;
};

static struct fault_io *of(struct nf_io *io)
{
	return (struct fault_io *)io;
}

static struct nf_file *lower_of(struct nf_file *file)
{
	return ((struct fault_file *)file)->lower;
}

/* Count a call. Returns 0 or the error it is to fail with. */
static int strike(struct fault_io *io, enum nf_fault_kind kind, bool *ret_torn)
{
	int error = 0;
	struct nf_fault *fault = &io->fault;

	pthread_mutex_lock(&io->lock);
	nf_fault_hook_fn hook = io->hook;
	void *arg = io->hook_arg;
	pthread_mutex_unlock(&io->lock);
	if (hook != NULL)
		hook(arg, kind);
	pthread_mutex_lock(&io->lock);
	io->calls[kind]++;
	if ((fault->kinds_mask & (1u << kind)) && fault->countdown > 0) {
		if (fault->countdown == 1) {
			error = fault->error;
			io->struck = true;
		}
		if (fault->countdown > 1 || !fault->sticky)
			fault->countdown--;
	}
	*ret_torn = error != 0 && fault->torn;
	pthread_mutex_unlock(&io->lock);
	return error;
}

static int strike_call(struct nf_io *io, enum nf_fault_kind kind)
{
	bool torn;

	return strike(of(io), kind, &torn);
}

/* ---- batches ---- */

/* The ops that reach the lower backend, and where each came from. */
struct passed {
	struct nf_io_op ops[NF_IO_MAX_BATCH];
	unsigned origin[NF_IO_MAX_BATCH];
	unsigned count;
};

static void pass(struct passed *passed, const struct nf_io_op *op, unsigned origin)
{
	struct nf_io_op *down = &passed->ops[passed->count];

	*down = *op;
	down->file = lower_of(op->file);
	passed->origin[passed->count++] = origin;
}

static enum nf_fault_kind kind_of(const struct nf_io_op *op)
{
	switch (op->kind) {
	case NF_IO_READ: return NF_FAULT_READ;
	case NF_IO_WRITE: return NF_FAULT_WRITE;
	default: return NF_FAULT_FSYNC;
	}
}

static void strike_op(struct nf_io_op *op, int error, bool torn, struct passed *passed, unsigned origin)
{
	size_t half = op->size / 2 / NF_IO_ALIGN * NF_IO_ALIGN;

	op->result = error;
	if (op->kind == NF_IO_READ)
		memset(op->buf, POISON, op->size);
	if (op->kind == NF_IO_WRITE && torn && half > 0) {
		pass(passed, op, origin);
		passed->ops[passed->count - 1].size = half;
	}
}

/* Pass the ops of chain [first, end) up to the first that is struck. */
static void pass_chain(struct fault_io *io, struct nf_io_op *ops, unsigned first, unsigned end, struct passed *passed)
{
	unsigned before = passed->count;

	for (unsigned i = first; i < end; i++) {
		bool torn;
		int error = strike(io, kind_of(&ops[i]), &torn);
		ops[i].result = error;
		if (error == 0) {
			pass(passed, &ops[i], i);
			continue;
		}
		strike_op(&ops[i], error, torn, passed, i);
		nf_io_chain_cancel(ops, i + 1, end);
		break;
	}
	if (passed->count > before)
		passed->ops[passed->count - 1].then_next = false;
}

static void fault_run(struct nf_io *io, struct nf_io_op *ops, unsigned count)
{
	struct passed passed;

	passed.count = 0;
	for (unsigned first = 0; first < count;) {
		unsigned end = nf_io_chain_end(ops, count, first);
		pass_chain(of(io), ops, first, end, &passed);
		first = end;
	}
	if (nf_io_run(of(io)->lower, passed.ops, passed.count) == 0)
		return;
	/* The lower backend's errors come first in a chain: a struck op behind one was never started. */
	for (unsigned k = 0; k < passed.count; k++) {
		unsigned i = passed.origin[k];
		if (passed.ops[k].result == 0 || passed.ops[k].result == -ECANCELED)
			continue;
		ops[i].result = passed.ops[k].result;
		nf_io_chain_cancel(ops, i + 1, nf_io_chain_end(ops, count, i));
	}
}

/* ---- files and names ---- */

static int fault_open(struct nf_io *io, const char *path, unsigned flags, struct nf_file **ret_file)
{
	int rc = strike_call(io, NF_FAULT_NAMESPACE);

	if (rc != 0)
		return rc;
	struct fault_file *file = calloc(1, sizeof(*file));
	if (file == NULL)
		return -ENOMEM;
	rc = nf_io_open(of(io)->lower, path, flags, &file->lower);
	if (rc != 0) {
		free(file);
		return rc;
	}
	*ret_file = &file->base;
	return 0;
}

static void fault_close(struct nf_file *file)
{
	nf_io_close(lower_of(file));
	free(file);
}

static int fault_size(struct nf_file *file, uint64_t *ret_size)
{
	return nf_io_size(lower_of(file), ret_size);
}

static int fault_allocate(struct nf_file *file, uint64_t offset, uint64_t size)
{
	int rc = strike_call(file->io, NF_FAULT_ALLOCATE);

	return rc != 0 ? rc : nf_io_allocate(lower_of(file), offset, size);
}

static int fault_truncate(struct nf_file *file, uint64_t size)
{
	int rc = strike_call(file->io, NF_FAULT_ALLOCATE);

	return rc != 0 ? rc : nf_io_truncate(lower_of(file), size);
}

static int fault_punch(struct nf_file *file, uint64_t offset, uint64_t size)
{
	int rc = strike_call(file->io, NF_FAULT_ALLOCATE);

	return rc != 0 ? rc : nf_io_punch(lower_of(file), offset, size);
}

static int fault_unlink(struct nf_io *io, const char *path)
{
	int rc = strike_call(io, NF_FAULT_NAMESPACE);

	return rc != 0 ? rc : nf_io_unlink(of(io)->lower, path);
}

static int fault_rename(struct nf_io *io, const char *from, const char *to)
{
	int rc = strike_call(io, NF_FAULT_NAMESPACE);

	return rc != 0 ? rc : nf_io_rename(of(io)->lower, from, to);
}

static int fault_sync_dir(struct nf_io *io, const char *path)
{
	int rc = strike_call(io, NF_FAULT_FSYNC);

	return rc != 0 ? rc : nf_io_sync_dir(of(io)->lower, path);
}

static int fault_mkdir(struct nf_io *io, const char *path)
{
	int rc = strike_call(io, NF_FAULT_NAMESPACE);

	return rc != 0 ? rc : nf_io_mkdir(of(io)->lower, path);
}

static int fault_list(struct nf_io *io, const char *path, int (*each)(void *arg, const char *name), void *arg)
{
	int rc = strike_call(io, NF_FAULT_NAMESPACE);

	return rc != 0 ? rc : nf_io_list(of(io)->lower, path, each, arg);
}

static int fault_free_bytes(struct nf_io *io, uint64_t *ret_free, uint64_t *ret_total)
{
	return nf_io_free_bytes(of(io)->lower, ret_free, ret_total);
}

static void fault_destroy(struct nf_io *io)
{
	pthread_mutex_destroy(&of(io)->lock);
	free(io);
}

/* ---- the wrapper ---- */

static const struct nf_io_ops fault_ops = {
	.run = fault_run,
	.open = fault_open,
	.close = fault_close,
	.size = fault_size,
	.allocate = fault_allocate,
	.truncate = fault_truncate,
	.punch = fault_punch,
	.unlink = fault_unlink,
	.rename = fault_rename,
	.sync_dir = fault_sync_dir,
	.mkdir = fault_mkdir,
	.list = fault_list,
	.free_bytes = fault_free_bytes,
	.destroy = fault_destroy,
};

int nf_io_fault_create(struct nf_io *lower, struct nf_io **ret_io)
{
	struct fault_io *io = calloc(1, sizeof(*io));

	if (io == NULL)
		return -ENOMEM;
	io->base.ops = &fault_ops;
	io->lower = lower;
	pthread_mutex_init(&io->lock, NULL);
	*ret_io = &io->base;
	return 0;
}

void nf_io_fault_set(struct nf_io *base, const struct nf_fault *fault)
{
	struct fault_io *io = of(base);

	assert(base->ops == &fault_ops);
	assert(fault->countdown == 0 || fault->error < 0);
	pthread_mutex_lock(&io->lock);
	io->fault = *fault;
	io->struck = false;
	pthread_mutex_unlock(&io->lock);
}

void nf_io_fault_hook(struct nf_io *base, nf_fault_hook_fn hook, void *arg)
{
	struct fault_io *io = of(base);

	assert(base->ops == &fault_ops);
	pthread_mutex_lock(&io->lock);
	io->hook = hook;
	io->hook_arg = arg;
	pthread_mutex_unlock(&io->lock);
}

bool nf_io_fault_struck(struct nf_io *base)
{
	struct fault_io *io = of(base);

	assert(base->ops == &fault_ops);
	pthread_mutex_lock(&io->lock);
	bool struck = io->struck;
	pthread_mutex_unlock(&io->lock);
	return struck;
}

uint64_t nf_io_fault_calls(struct nf_io *base, enum nf_fault_kind kind)
{
	struct fault_io *io = of(base);

	assert(base->ops == &fault_ops);
	pthread_mutex_lock(&io->lock);
	uint64_t calls = io->calls[kind];
	pthread_mutex_unlock(&io->lock);
	return calls;
}
