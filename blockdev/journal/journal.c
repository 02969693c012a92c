/* Writing the journal: notes in memory, batches at checkpoints, a new dump when the changes have outgrown the last one. */
#include "blockdev/journal/journal.h"

#include <stdlib.h>
#include <xxhash.h>

#include "blockdev/extent/extent.h"
#include "common/nf_log.h"

/* Notes beyond this are dropped, and the next checkpoint writes a dump instead. Checkpoints come long before. */
#define NOTES_MAX (UINT64_C(64) << 20)
/* A new dump when the changes are larger than this and than twice the last dump. */
#define CHANGES_MAX (UINT64_C(4) << 20)

static_assert(BD_JOURNAL_HEADER == 4 * 4 + 6 * 8, "record header layout");

struct bd_journal {
	pthread_mutex_t lock;
	uint8_t *notes; /* items */
	size_t notes_size, notes_capacity;
	bool notes_lost;
	/* of checkpoints */
	struct nf_file *file; /* NULL: there is none */
	uint64_t end, dump_size, number;
	bool must_dump;	  /* the file is missing or damaged */
	bool holes_lost;  /* then holes are to be looked for in the index */
};

int bd_journal_open(struct bd_store *store, uint64_t replay)
{
	struct bd_journal *journal = calloc(1, sizeof(*journal));
	if (journal == NULL)
		return -ENOMEM;
	pthread_mutex_init(&journal->lock, NULL);
	store->journal = journal;
	struct bd_journal_end end = {0};
	int error = nf_io_open(store->io, BD_JOURNAL_FILE, 0, &journal->file);
	bool missing = error == -ENOENT;
	if (error == 0)
		error = bd_journal_find_end(store->io, journal->file, store->store_id, &end);
	if (error == -ENOMEM)
		return error;
	if (error != 0 || !end.whole || end.position.log.replay < replay) {
		if (!missing)
			nf_warn("%s: damaged or incomplete; it is written anew from the index", BD_JOURNAL_FILE);
		journal->must_dump = journal->holes_lost = true;
		return 0;
	}
	journal->end = end.end;
	journal->dump_size = end.first_end;
	journal->number = end.number;
	return nf_io_truncate(journal->file, end.end);
}

void bd_journal_close(struct bd_store *store)
{
	struct bd_journal *journal = store->journal;
	if (journal == NULL)
		return;
	nf_io_close(journal->file);
	free(journal->notes);
	pthread_mutex_destroy(&journal->lock);
	free(journal);
	store->journal = NULL;
}

/* ---- notes */

/* Under lock: room for an item of `size` bytes, its header written. NULL: notes are lost. */
static uint8_t *note_begin(struct bd_journal *journal, uint8_t type, size_t size)
{
	size_t need = journal->notes_size + 5 + size;
	if (journal->notes_lost)
		return NULL;
	if (need > journal->notes_capacity) {
		size_t capacity = NF_MAX(need, journal->notes_capacity * 2 + 4096);
		uint8_t *notes = need <= NOTES_MAX ? realloc(journal->notes, capacity) : NULL;
		if (notes == NULL) {
			journal->notes_lost = true;
			return NULL;
		}
		journal->notes = notes;
		journal->notes_capacity = capacity;
	}
	struct nf_writer w = nf_writer_init(journal->notes + journal->notes_size, 5);
	nf_write_u8(&w, type);
	nf_write_u32(&w, (uint32_t)size);
	uint8_t *body = journal->notes + journal->notes_size + 5;
	journal->notes_size = need;
	return body;
}

void bd_journal_note_item(struct bd_store *store, uint8_t type, const void *body, size_t size)
{
	struct bd_journal *journal = store->journal;
	if (journal == NULL || (type != BD_ITEM_PUT && type != BD_ITEM_DELETE && type != BD_ITEM_HOLES))
		return;
	bool holes = type == BD_ITEM_HOLES;
	uint64_t sequence = holes ? htole64(bd_extents_tick(store)) : 0;
	pthread_mutex_lock(&journal->lock);
	uint8_t *to = note_begin(journal, holes ? BD_JOURNAL_HOLES : type, size + (holes ? sizeof(sequence) : 0));
	if (to != NULL) {
		memcpy(to, body, size);
		if (holes)
			memcpy(to + size, &sequence, sizeof(sequence));
	}
	pthread_mutex_unlock(&journal->lock);
}

void bd_journal_note(struct bd_store *store, const void *items, size_t size)
{
	struct nf_reader r = nf_reader_init(items, size);
	while (nf_reader_left(&r) > 0) {
		uint8_t type = nf_read_u8(&r);
		uint32_t body_size = nf_read_u32(&r);
		const void *body = nf_read_bytes(&r, body_size);
		assert(!r.failed);
		bd_journal_note_item(store, type, body, body_size);
	}
}

/* ---- writing records */

struct writer {
	struct nf_io *io;
	struct nf_file *file;
	uint64_t at, number, generation, store_id;
	uint8_t *buffer;
	size_t used; /* of the buffer, header included */
	int error;
};

static int writer_init(struct writer *w, struct bd_store *store, struct nf_file *file, uint64_t at)
{
	*w = (struct writer){.io = store->io, .file = file, .at = at, .number = store->journal->number,
			     .generation = bd_log_generation(store->log), .store_id = store->store_id,
			     .used = BD_JOURNAL_HEADER, .buffer = nf_io_buffer(BD_JOURNAL_RECORD_MAX)};
	return w->buffer != NULL ? 0 : -ENOMEM;
}

static void writer_flush(struct writer *w, uint32_t flags)
{
	if (w->error != 0)
		return;
	size_t items_size = w->used - BD_JOURNAL_HEADER, size = nf_round_up(w->used, NF_IO_ALIGN);
	memset(w->buffer + w->used, 0, size - w->used);
	struct nf_writer header = nf_writer_init(w->buffer, BD_JOURNAL_HEADER);
	nf_write_u32(&header, BD_JOURNAL_MAGIC);
	nf_write_u32(&header, flags);
	nf_write_u32(&header, (uint32_t)size);
	nf_write_u32(&header, (uint32_t)items_size);
	nf_write_u64(&header, w->store_id);
	nf_write_u64(&header, ++w->number);
	nf_write_u64(&header, w->generation);
	nf_write_u64(&header, XXH3_64bits(w->buffer + BD_JOURNAL_HEADER, items_size));
	nf_write_u64(&header, 0);
	nf_write_u64(&header, XXH3_64bits(w->buffer, header.offset));
	assert(!header.failed && header.offset == BD_JOURNAL_HEADER);
	w->error = nf_io_run_one(w->io, NF_IO_WRITE, w->file, w->at, w->buffer, size);
	w->at += size;
	w->used = BD_JOURNAL_HEADER;
}

/* Room for an item's body; the item's header is written. */
static struct nf_writer writer_item(struct writer *w, uint8_t type, size_t size)
{
	assert(BD_JOURNAL_HEADER + 5 + size <= BD_JOURNAL_RECORD_MAX);
	if (w->used + 5 + size > BD_JOURNAL_RECORD_MAX)
		writer_flush(w, 0);
	struct nf_writer item = nf_writer_init(w->buffer + w->used, 5);
	nf_write_u8(&item, type);
	nf_write_u32(&item, (uint32_t)size);
	uint8_t *body = w->buffer + w->used + 5;
	w->used += 5 + size;
	return nf_writer_init(body, size);
}

static void write_items(struct writer *w, const uint8_t *items, size_t size)
{
	struct nf_reader r = nf_reader_init(items, size);
	while (w->error == 0 && nf_reader_left(&r) > 0) {
		uint8_t type = nf_read_u8(&r);
		uint32_t body_size = nf_read_u32(&r);
		const void *body = nf_read_bytes(&r, body_size);
		struct nf_writer to = writer_item(w, type, body_size);
		nf_write_bytes(&to, body, body_size);
	}
}

static void write_holes(struct writer *w, const struct bd_block_id *first, uint32_t count, uint64_t sequence)
{
	struct nf_writer to = writer_item(w, BD_JOURNAL_HOLES, 32);
	nf_write_u32(&to, first->branch);
	nf_write_u64(&to, first->file);
	nf_write_u32(&to, first->block);
	nf_write_u32(&to, first->epoch);
	nf_write_u32(&to, count);
	nf_write_u64(&to, sequence);
	assert(!to.failed && to.offset == to.size);
}

/* The last item and record of a batch; durable afterwards. */
static int write_end(struct writer *w, const struct bd_journal_position *position)
{
	struct nf_writer to = writer_item(w, BD_JOURNAL_POSITION, 32);
	nf_write_u64(&to, position->log.replay);
	nf_write_u64(&to, position->log.retain);
	nf_write_u64(&to, position->log.generation);
	nf_write_u32(&to, position->next_branch);
	nf_write_u32(&to, position->next_extent);
	assert(!to.failed && to.offset == to.size);
	writer_flush(w, BD_JOURNAL_LAST);
	return w->error != 0 ? w->error : nf_io_run_one(w->io, NF_IO_FSYNC, w->file, 0, NULL, 0);
}

/* ---- dumps */

static const char dumped_kinds[] = "MRSLEVOICXD";

static int dump_record(void *arg, const uint8_t *key, size_t key_size, const uint8_t *value, size_t size)
{
	struct writer *w = arg;
	size_t plain;
	int error = bd_value_check(key, key_size, value, size, &plain);
	if (error != 0)
		return error;
	struct nf_writer to = writer_item(w, BD_ITEM_PUT, 2 + key_size + size);
	nf_write_u16(&to, (uint16_t)key_size);
	nf_write_bytes(&to, key, key_size);
	nf_write_bytes(&to, value, size);
	return w->error;
}

struct hole_dump {
	struct writer *writer;
	uint64_t sequence;
};

/* A hole as the index has it, newer than everything up to the sequence. Only when there is no journal to take them from. */
static int dump_hole(void *arg, const uint8_t *key, size_t key_size, const uint8_t *value, size_t size)
{
	const struct hole_dump *dump = arg;
	struct bd_block_id id;
	struct bd_place place;
	int error = bd_key_block_parse(key, key_size, &id);
	if (error == 0)
		error = bd_value_place_parse(key, key_size, value, size, &place);
	if (error == 0 && place.loc == BD_LOC_HOLE)
		write_holes(dump->writer, &id, 1, dump->sequence);
	return error != 0 ? error : dump->writer->error;
}

struct carry {
	struct bd_store *store;
	struct writer *writer;
};

/* Of the old file's holes, those that still are. */
static int carry_item(void *arg, uint8_t type, struct nf_reader body)
{
	struct carry *carry = arg;
	struct bd_block_id first, id;
	uint32_t count, run = 0;
	uint64_t sequence;
	if (type != BD_JOURNAL_HOLES)
		return 0;
	int error = bd_journal_holes_parse(body, &first, &count, &sequence);
	id = first;
	for (uint32_t i = 0; error == 0 && i <= count; i++, id.block++) {
		struct bd_place place = {.loc = BD_LOC_NONE};
		if (i < count)
			error = bd_index_place(carry->store, &id, &place);
		if (error == -ENOENT)
			error = 0;
		if (place.loc == BD_LOC_HOLE) {
			run++;
			continue;
		}
		if (run > 0) {
			struct bd_block_id begin = id;
			begin.block -= run;
			write_holes(carry->writer, &begin, run, sequence);
		}
		run = 0;
	}
	return error != 0 ? error : carry->writer->error;
}

static int dump_all(struct bd_store *store, struct writer *w, const uint8_t *notes, size_t notes_size,
		    const struct bd_journal_position *position, uint64_t filled)
{
	struct bd_journal *journal = store->journal;
	int error = 0;
	for (const char *kind = dumped_kinds; error == 0 && *kind != '\0'; kind++)
		error = bd_index_each_kind(store->index, *kind, dump_record, w);
	if (error == 0 && !journal->holes_lost) {
		struct carry carry = {.store = store, .writer = w};
		error = bd_journal_read(store->io, journal->file, store->store_id, journal->end, carry_item, &carry);
		journal->holes_lost = error == -EUCLEAN;
	}
	if (journal->holes_lost) {
		struct hole_dump dump = {.writer = w, .sequence = filled};
		error = bd_index_each_kind(store->index, 'B', dump_hole, &dump);
	}
	/* Notes may be older than what was dumped meanwhile; what is newer is in the log behind `replay`. */
	if (error == 0)
		write_items(w, notes, notes_size);
	return error != 0 ? error : write_end(w, position);
}

static int write_dump(struct bd_store *store, const uint8_t *notes, size_t notes_size,
		      const struct bd_journal_position *position, uint64_t filled)
{
	struct bd_journal *journal = store->journal;
	struct nf_file *file;
	struct writer w;
	int error = nf_io_unlink(store->io, BD_JOURNAL_NEW_FILE);
	if (error == 0 || error == -ENOENT)
		error = nf_io_open(store->io, BD_JOURNAL_NEW_FILE, NF_OPEN_CREATE, &file);
	if (error != 0)
		return error;
	error = writer_init(&w, store, file, 0);
	if (error == 0)
		error = dump_all(store, &w, notes, notes_size, position, filled);
	free(w.buffer);
	if (error == 0)
		error = nf_io_rename(store->io, BD_JOURNAL_NEW_FILE, BD_JOURNAL_FILE);
	if (error == 0)
		error = nf_io_sync_dir(store->io, ".");
	if (error != 0) {
		nf_io_close(file);
		return error;
	}
	nf_io_close(journal->file);
	journal->file = file;
	journal->end = journal->dump_size = w.at;
	journal->number = w.number;
	journal->must_dump = journal->holes_lost = false;
	return 0;
}

static int append_batch(struct bd_store *store, const uint8_t *notes, size_t notes_size,
			const struct bd_journal_position *position)
{
	struct bd_journal *journal = store->journal;
	struct writer w;
	int error = writer_init(&w, store, journal->file, journal->end);
	if (error == 0) {
		write_items(&w, notes, notes_size);
		error = w.error != 0 ? w.error : write_end(&w, position);
	}
	free(w.buffer);
	if (error == 0) {
		journal->end = w.at;
		journal->number = w.number;
	}
	return error;
}

int bd_journal_checkpoint(struct bd_store *store, const struct bd_journal_position *position, uint64_t filled)
{
	struct bd_journal *journal = store->journal;
	/* No commit is between its note and the log: what is noted is appended. */
	pthread_rwlock_wrlock(&store->kv_lock);
	pthread_mutex_lock(&journal->lock);
	uint8_t *notes = journal->notes;
	size_t notes_size = journal->notes_size;
	if (journal->notes_lost) {
		journal->must_dump = journal->holes_lost = true;
		notes_size = 0;
	}
	journal->notes = NULL;
	journal->notes_size = journal->notes_capacity = 0;
	journal->notes_lost = false;
	pthread_mutex_unlock(&journal->lock);
	pthread_rwlock_unlock(&store->kv_lock);
	int error = bd_flush_log(store, UINT64_MAX);
	uint64_t changes = journal->end - journal->dump_size;
	bool dump = journal->must_dump || changes + notes_size > NF_MAX(CHANGES_MAX, journal->dump_size * 2);
	if (error == 0)
		error = dump ? write_dump(store, notes, notes_size, position, filled)
			     : append_batch(store, notes, notes_size, position);
	free(notes);
	if (error != 0)
		nf_error("%s: cannot be written: %s", dump ? BD_JOURNAL_NEW_FILE : BD_JOURNAL_FILE, strerror(-error));
	return error;
}
