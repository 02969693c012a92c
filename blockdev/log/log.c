/* The ring: appending, group commit, reading back. log.h has the format and the invariants; scan.c reads it at open. */
#include "blockdev/log/log_impl.h"

#include <stdlib.h>
#include <xxhash.h>

#include "blockdev/log/record.h"
#include "common/nf_log.h"

static_assert(BD_LOG_ITEMS_OFFSET == 80, "record header layout");

int bd_log_format(struct nf_io *io, uint64_t ring_bytes)
{
	if (ring_bytes < BD_LOG_MIN_BYTES || ring_bytes % (1 << 20) != 0)
		return -EINVAL;
	struct nf_file *file;
	int error = nf_io_open(io, BD_LOG_FILE, NF_OPEN_CREATE, &file);
	if (error != 0)
		return error;
	/* Zeros are written, not only reserved: a flush of blocks that were never written costs the host
	 * file system a journal commit (measured 160 us against 95 us). */
	const size_t step = 1 << 20;
	void *zeros = nf_io_buffer(step);
	if (zeros == NULL)
		error = -ENOMEM;
	else
		memset(zeros, 0, step);
	if (error == 0)
		error = nf_io_allocate(file, 0, ring_bytes);
	for (uint64_t at = 0; at < ring_bytes && error == 0; at += step)
		error = nf_io_run_one(io, NF_IO_WRITE, file, at, zeros, step);
	if (error == 0)
		error = nf_io_run_one(io, NF_IO_FSYNC, file, 0, NULL, 0);
	if (error == 0)
		error = nf_io_sync_dir(io, ".");
	free(zeros);
	nf_io_close(file);
	return error;
}

static int batch_init(struct log_batch *batch)
{
	batch->buffer = nf_io_buffer(BD_LOG_RECORD_MAX);
	batch->items = malloc(BD_LOG_ITEMS_MAX);
	return batch->buffer != NULL && batch->items != NULL ? 0 : -ENOMEM;
}

int bd_log_open(struct nf_io *io, uint64_t store_id, const struct bd_log_position *position, struct bd_log **ret_log)
{
	struct bd_log *log = calloc(1, sizeof(*log));
	if (log == NULL)
		return -ENOMEM;
	pthread_mutex_init(&log->lock, NULL);
	pthread_cond_init(&log->changed, NULL);
	log->io = io;
	log->store_id = store_id;
	log->replay = position->replay;
	log->retain = position->retain;
	log->generation = position->generation;
	int error = nf_io_open(io, BD_LOG_FILE, 0, &log->file);
	if (error == 0)
		error = nf_io_size(log->file, &log->ring_bytes);
	if (error == 0 && (log->ring_bytes < BD_LOG_MIN_BYTES || log->ring_bytes % (1 << 20) != 0)) {
		nf_error("log: file size %llu is not that of a log", (unsigned long long)log->ring_bytes);
		error = -EUCLEAN;
	}
	for (unsigned i = 0; i < 2 && error == 0; i++)
		error = batch_init(&log->batches[i]);
	log->pad = nf_io_buffer(NF_IO_ALIGN);
	if (error == 0 && log->pad == NULL)
		error = -ENOMEM;
	if (error != 0) {
		bd_log_close(log);
		return error;
	}
	log->open = &log->batches[0];
	*ret_log = log;
	return 0;
}

void bd_log_close(struct bd_log *log)
{
	if (log == NULL)
		return;
	for (unsigned i = 0; i < 2; i++) {
		free(log->batches[i].buffer);
		free(log->batches[i].items);
	}
	free(log->pad);
	nf_io_close(log->file);
	pthread_cond_destroy(&log->changed);
	pthread_mutex_destroy(&log->lock);
	free(log);
}

/* Under lock: prepare the open batch to begin at the tail; leaves a pad before the end of the ring when a largest record would not fit. */
void log_batch_begin(struct bd_log *log)
{
	struct log_batch *batch = log->open;
	batch->blocks = 0;
	batch->items_size = 0;
	batch->pad_size = 0;
	uint64_t left = log->ring_bytes - log->tail % log->ring_bytes;
	if (left < BD_LOG_RECORD_MAX)
		batch->pad_size = left;
	batch->start = log->tail + batch->pad_size;
}

static bool batch_is_empty(const struct log_batch *batch)
{
	return batch->items_size == 0 && batch->blocks == 0;
}

static bool batch_fits(const struct log_batch *batch, unsigned blocks, size_t items_size)
{
	return batch->blocks + blocks <= BD_LOG_RECORD_BLOCKS && batch->items_size + items_size <= BD_LOG_ITEMS_MAX;
}

static void write_header(const struct bd_log *log, uint8_t *page, uint32_t flags, uint64_t lsn, uint64_t size,
			 const struct log_batch *batch, bool behind)
{
	struct nf_writer w = nf_writer_init(page, NF_IO_ALIGN);
	nf_write_u32(&w, BD_LOG_MAGIC);
	nf_write_u32(&w, flags);
	nf_write_u64(&w, lsn);
	nf_write_u32(&w, (uint32_t)size);
	nf_write_u32(&w, batch != NULL ? batch->blocks : 0);
	nf_write_u32(&w, batch != NULL ? (uint32_t)batch->items_size : 0);
	nf_write_u32(&w, behind);
	nf_write_u64(&w, log->durable);
	nf_write_u64(&w, log->store_id);
	nf_write_u64(&w, log->generation);
	nf_write_u64(&w, batch != NULL ? XXH3_64bits(batch->items, batch->items_size) : 0);
	nf_write_u64(&w, 0);
	nf_write_u64(&w, XXH3_64bits(page, w.offset));
	assert(!w.failed && w.offset == BD_LOG_ITEMS_OFFSET);
}

/* Under lock: finish the open batch's bytes. Returns the record's size. */
static size_t batch_finish(struct bd_log *log, struct log_batch *batch)
{
	bool behind = batch->items_size > NF_IO_ALIGN - BD_LOG_ITEMS_OFFSET;
	size_t payload_end = NF_IO_ALIGN + (size_t)batch->blocks * NF_BLOCK_SIZE;
	size_t size = behind ? payload_end + nf_round_up(batch->items_size, NF_IO_ALIGN) : payload_end;
	memset(batch->buffer, 0, NF_IO_ALIGN);
	if (behind) {
		memset(batch->buffer + payload_end, 0, size - payload_end);
		memcpy(batch->buffer + payload_end, batch->items, batch->items_size);
	} else {
		memcpy(batch->buffer + BD_LOG_ITEMS_OFFSET, batch->items, batch->items_size);
	}
	write_header(log, batch->buffer, 0, batch->start, size, batch, behind);
	return size;
}

/* Under lock, not busy: write the open batch and, if asked, flush. Drops the lock around the I/O. */
static int log_flush(struct bd_log *log, bool sync)
{
	struct log_batch *batch = log->open;
	struct nf_io_op ops[3];
	unsigned count = 0;
	uint64_t target = log->tail;
	log->busy = true;
	if (!batch_is_empty(batch)) {
		size_t size = batch_finish(log, batch);
		if (batch->pad_size > 0) {
			memset(log->pad, 0, NF_IO_ALIGN);
			uint64_t at = batch->start - batch->pad_size;
			write_header(log, log->pad, BD_LOG_FLAG_PAD, at, batch->pad_size, NULL, false);
			ops[count++] = (struct nf_io_op){.kind = NF_IO_WRITE, .then_next = true, .file = log->file,
							 .offset = at % log->ring_bytes, .buf = log->pad,
							 .size = NF_IO_ALIGN};
		}
		ops[count++] = (struct nf_io_op){.kind = NF_IO_WRITE, .then_next = sync, .file = log->file,
						 .offset = batch->start % log->ring_bytes,
						 .buf = batch->buffer, .size = size};
		target = batch->start + size;
		log->tail = target;
		log->open = batch == &log->batches[0] ? &log->batches[1] : &log->batches[0];
		log_batch_begin(log);
	}
	if (sync)
		ops[count++] = (struct nf_io_op){.kind = NF_IO_FSYNC, .file = log->file};
	pthread_mutex_unlock(&log->lock);
	int error = count > 0 ? nf_io_run(log->io, ops, count) : 0;
	pthread_mutex_lock(&log->lock);
	log->busy = false;
	if (error != 0) {
		if (log->error == 0)
			nf_error("log: %s failed: %s; nothing more is acknowledged until the store is mounted anew",
				 sync ? "write or flush" : "write", strerror(-error));
		log->error = error;
	} else {
		log->written = target;
		if (sync) {
			log->durable = target;
			log->sync_count++;
		}
	}
	pthread_cond_broadcast(&log->changed);
	return log->error;
}

/* Under lock: the last eighth is for those who make room, so that they always can, also after a mount that follows on a full ring. */
static uint64_t usable_bytes(const struct bd_log *log)
{
	return log->making_room > 0 ? log->ring_bytes : log->ring_bytes - log->ring_bytes / 8;
}

/* Under lock: make the open batch take `blocks` and `items_size` more. */
static int make_fit(struct bd_log *log, unsigned blocks, size_t items_size)
{
	if (blocks > BD_LOG_RECORD_BLOCKS || items_size > BD_LOG_ITEMS_MAX)
		return -E2BIG;
	while (log->error == 0 && !batch_fits(log->open, blocks, items_size)) {
		if (log->busy) {
			pthread_cond_wait(&log->changed, &log->lock);
		} else {
			int error = log_flush(log, false);
			if (error != 0)
				return error;
		}
	}
	if (log->error == 0 && log->open->start + BD_LOG_RECORD_MAX - log->retain > usable_bytes(log)) {
		nf_error("log: ring of %llu bytes is full; mount again with a larger log",
			 (unsigned long long)log->ring_bytes);
		log->error = -ENOSPC;
		pthread_cond_broadcast(&log->changed);
	}
	return log->error;
}

static void add_items(struct log_batch *batch, const void *items, size_t size)
{
	if (size > 0)
		memcpy(batch->items + batch->items_size, items, size);
	batch->items_size += size;
}

int bd_log_append(struct bd_log *log, const void *items, size_t size, uint64_t *ret_ticket)
{
	pthread_mutex_lock(&log->lock);
	int error = make_fit(log, 0, size);
	if (error == 0) {
		add_items(log->open, items, size);
		*ret_ticket = log->open->start + 1;
	}
	pthread_mutex_unlock(&log->lock);
	return error;
}

int bd_log_append_blocks(struct bd_log *log, const struct bd_block_id *first, unsigned count, const void *data,
			 const uint64_t *sums, const void *items, size_t size, uint64_t *ret_loc, uint64_t *ret_ticket)
{
	struct bd_items run = {0};
	/* Sized by a first encoding; the place is filled in once it is known. */
	bd_items_run(&run, first, count, 0, sums);
	if (run.failed)
		return -ENOMEM;
	pthread_mutex_lock(&log->lock);
	int error = make_fit(log, count, run.size + size);
	if (error == 0) {
		struct log_batch *batch = log->open;
		size_t at = NF_IO_ALIGN + (size_t)batch->blocks * NF_BLOCK_SIZE;
		uint64_t loc = bd_loc_log(batch->start + at);
		memcpy(batch->buffer + at, data, (size_t)count * NF_BLOCK_SIZE);
		batch->blocks += count;
		run.size = 0;
		bd_items_run(&run, first, count, loc, sums);
		add_items(batch, run.data, run.size);
		add_items(batch, items, size);
		*ret_loc = loc;
		*ret_ticket = batch->start + 1;
	}
	pthread_mutex_unlock(&log->lock);
	bd_items_free(&run);
	return error;
}

int bd_log_sync(struct bd_log *log, uint64_t ticket)
{
	pthread_mutex_lock(&log->lock);
	if (ticket == UINT64_MAX)
		ticket = batch_is_empty(log->open) ? log->tail : log->open->start + 1;
	while (log->error == 0 && log->durable < ticket) {
		if (log->busy)
			pthread_cond_wait(&log->changed, &log->lock);
		else if (log_flush(log, true) != 0)
			break;
	}
	int error = log->durable >= ticket ? 0 : log->error;
	pthread_mutex_unlock(&log->lock);
	return error;
}

/* Under lock: the bytes of blocks of a record that is not written yet, or NULL. */
static const uint8_t *find_in_batches(const struct bd_log *log, uint64_t lsn)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct log_batch *batch = &log->batches[i];
		uint64_t first = batch->start + NF_IO_ALIGN;
		if (lsn >= first && lsn < first + (uint64_t)batch->blocks * NF_BLOCK_SIZE)
			return batch->buffer + (lsn - batch->start);
	}
	return NULL;
}

int bd_log_read_op(struct bd_log *log, uint64_t loc, unsigned count, void *buf, struct nf_io_op *ret_op)
{
	uint64_t lsn = bd_loc_lsn(loc), size = (uint64_t)count * NF_BLOCK_SIZE;
	pthread_mutex_lock(&log->lock);
	int error = lsn < log->retain ? -ESTALE : 0;
	const uint8_t *bytes = error == 0 ? find_in_batches(log, lsn) : NULL;
	if (bytes != NULL)
		memcpy(buf, bytes, size);
	pthread_mutex_unlock(&log->lock);
	if (error != 0 || bytes != NULL)
		return error;
	if (lsn % log->ring_bytes + size > log->ring_bytes)
		return -EUCLEAN;
	*ret_op = (struct nf_io_op){.kind = NF_IO_READ, .file = log->file, .offset = lsn % log->ring_bytes, .buf = buf, .size = size};
	return 1;
}

bool bd_log_is_retained(struct bd_log *log, uint64_t loc)
{
	pthread_mutex_lock(&log->lock);
	bool retained = bd_loc_lsn(loc) >= log->retain;
	pthread_mutex_unlock(&log->lock);
	return retained;
}

bool bd_log_is_there(struct bd_log *log, uint64_t lsn)
{
	pthread_mutex_lock(&log->lock);
	/* Whoever writes a record moves the tail before. */
	bool there = log->tail <= lsn + log->ring_bytes;
	pthread_mutex_unlock(&log->lock);
	return there;
}

/* Under lock: where the open batch would end if it were written now. */
static uint64_t open_end(const struct bd_log *log)
{
	const struct log_batch *batch = log->open;
	if (batch_is_empty(batch))
		return batch->start;
	return batch->start + NF_IO_ALIGN + (uint64_t)batch->blocks * NF_BLOCK_SIZE + nf_round_up(batch->items_size, NF_IO_ALIGN);
}

/* Ordinary work stops at three quarters, or earlier when those who are at work could fill up the part that is theirs. Those who have left may be in the
 * open batch still. Two records: what make_fit wants for one, and what a pad before it takes. */
static bool has_room(const struct bd_log *log)
{
	uint64_t used = open_end(log) - log->retain, claimed = (uint64_t)(log->claims + 1) * BD_LOG_CLAIM_BYTES;
	return used <= log->ring_bytes / 4 * 3 &&
	       used + claimed + 2 * BD_LOG_RECORD_MAX <= log->ring_bytes - log->ring_bytes / 8;
}

int bd_log_enter(struct bd_log *log)
{
	pthread_mutex_lock(&log->lock);
	log->waiters++;
	while (log->error == 0 && log->room_error == 0 && !has_room(log))
		pthread_cond_wait(&log->changed, &log->lock);
	log->waiters--;
	int error = log->error != 0 ? log->error : has_room(log) ? 0 : log->room_error;
	if (error == 0)
		log->claims++;
	pthread_mutex_unlock(&log->lock);
	return error;
}

void bd_log_leave(struct bd_log *log)
{
	pthread_mutex_lock(&log->lock);
	assert(log->claims > 0);
	log->claims--;
	if (log->waiters > 0)
		pthread_cond_broadcast(&log->changed);
	pthread_mutex_unlock(&log->lock);
}

bool bd_log_is_long(struct bd_log *log)
{
	pthread_mutex_lock(&log->lock);
	bool is_long = log->tail - log->retain > log->ring_bytes / 2;
	pthread_mutex_unlock(&log->lock);
	return is_long;
}

void bd_log_make_room(struct bd_log *log, bool begin)
{
	pthread_mutex_lock(&log->lock);
	log->making_room += begin ? 1 : -1;
	pthread_mutex_unlock(&log->lock);
}

void bd_log_set_room_error(struct bd_log *log, int error)
{
	pthread_mutex_lock(&log->lock);
	log->room_error = error;
	pthread_cond_broadcast(&log->changed);
	pthread_mutex_unlock(&log->lock);
}

void bd_log_release(struct bd_log *log, uint64_t replay, uint64_t retain)
{
	pthread_mutex_lock(&log->lock);
	assert(replay >= log->replay && retain >= log->retain && retain <= replay);
	log->replay = replay;
	log->retain = retain;
	pthread_cond_broadcast(&log->changed);
	pthread_mutex_unlock(&log->lock);
}

void bd_log_fail(struct bd_log *log, int error)
{
	pthread_mutex_lock(&log->lock);
	if (log->error == 0)
		log->error = error;
	pthread_cond_broadcast(&log->changed);
	pthread_mutex_unlock(&log->lock);
}

#define LOG_GETTER(name, field)                                                                    \
	uint64_t name(struct bd_log *log)                                                          \
	{                                                                                          \
		pthread_mutex_lock(&log->lock);                                                    \
		uint64_t value = log->field;                                                       \
		pthread_mutex_unlock(&log->lock);                                                  \
		return value;                                                                      \
	}
LOG_GETTER(bd_log_retain, retain)
LOG_GETTER(bd_log_durable, durable)
LOG_GETTER(bd_log_generation, generation)
LOG_GETTER(bd_log_ring_bytes, ring_bytes)
LOG_GETTER(bd_log_sync_count, sync_count)

/* The position of the next thing appended: everything before it is in earlier records or the open one. */
uint64_t bd_log_tail(struct bd_log *log)
{
	pthread_mutex_lock(&log->lock);
	uint64_t tail = log->tail;
	pthread_mutex_unlock(&log->lock);
	return tail;
}

void bd_log_positions(struct bd_log *log, struct bd_log_position *ret_position)
{
	pthread_mutex_lock(&log->lock);
	*ret_position = (struct bd_log_position){.replay = log->replay, .retain = log->retain, .generation = log->generation};
	pthread_mutex_unlock(&log->lock);
}
