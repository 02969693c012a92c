/* Indexes of several segments: made, kept, let go; and what layers make of them. */
#include "pitr_server.h"

#include <stdlib.h>
#include <unistd.h>

#include "walapply/pitr/lazy_make.h"
#include "walapply/pitr/wa_lazy.h"

/* A record that touches a block. */
static void put_change(struct server *server, uint32_t blkno)
{
	const uint8_t delta[5] = {0xB8, 0x0B, 1, 0, (uint8_t)server->records};
	const struct wa_locator rel = REL_A;
	struct rec rec;
	rec_start(&rec, WA_RMGR_GENERIC, 0, 0);
	rec_block(&rec, 0, &rel, 0, blkno, delta, sizeof(delta));
	uint64_t start = wal_put(&server->wal, &rec);
	server_note(server, start, 0);
}

/* CREATE DATABASE ... STRATEGY file_copy */
static void put_database_copy(struct server *server)
{
	const uint32_t words[] = {htole32(16999), htole32(1663), htole32(5), htole32(1663)};
	struct rec rec;
	rec_start(&rec, WA_RMGR_DBASE, 0x00, 0);
	rec_main(&rec, words, sizeof(words));
	uint64_t start = wal_put(&server->wal, &rec);
	server_note(server, start, 0);
}

#define BLOCKS 97u

/* Segments full of changes, so that each block is in many of them. */
static void change_blocks(struct server *server, unsigned segments)
{
	for (unsigned i = 0; i < segments; i++) {
		const uint64_t until = server->wal.at + SEGMENT;
		while (server->wal.at < until) {
			put_change(server, server->records * 31 % BLOCKS);
			server_put(server, 8000);
			server_put_commit(server, server->records * SECOND);
		}
		server_flush(server);
		server_catch_up(server);
	}
}

static struct bd_inode *open_run(struct server *server, uint64_t first, uint32_t count)
{
	char name[WH_RUN_NAME + 1];
	wh_run_name(name, server->wal.timeline, (struct wa_run){first, count}, SEGMENT);
	return server_history_path(server, "merged", name);
}

static bool has_run(struct server *server, uint64_t first, uint32_t count)
{
	struct bd_inode *file = open_run(server, first, count);
	if (file != NULL)
		bd_inode_unref(file, 1);
	return file != NULL;
}

/* Until there is nothing to do: the history's own thread does the same, and may be at work on one. */
static void merge_all(struct server *server, uint64_t last)
{
	for (unsigned tries = 0; tries < 1000 && !has_run(server, last, WH_MERGE_FAN); tries++) {
		assert_true(wh_merge_next(wh_find(server->history, server_main(server))) >= 0);
		usleep(1000);
	}
	assert_true(has_run(server, last, WH_MERGE_FAN));
}

/* Runs of segments begin at multiples of their length, and have all of them. */
static void indexes_are_merged(void **state)
{
	struct server *server = *state;
	struct wa_index index;
	struct wa_error error;
	uint8_t *bytes = malloc(SEGMENT);
	server_retain(server, 0, 28 * SEGMENT);
	change_blocks(server, 24); /* segments 3 to 26 */
	merge_all(server, 16);
	assert_true(has_run(server, 8, 8) && !has_run(server, 0, 8) && !has_run(server, 24, 8));
	struct bd_inode *file = open_run(server, 8, 8);
	ssize_t size = bd_read(file, 0, bytes, SEGMENT);
	assert_true(size > 0 && size < (ssize_t)SEGMENT);
	assert_ok(wa_index_open(bytes, (size_t)size, &index, &error));
	assert_ok(wa_index_verify(&index, &error));
	assert_true(index.info.base.v == 8 * SEGMENT && index.info.limit.v == 16 * SEGMENT && index.info.blocks_only);
	uint64_t records = 0;
	for (unsigned i = 0; i < server->records; i++)
		records += server->starts[i] >= 8 * SEGMENT && server->starts[i] < 16 * SEGMENT;
	assert_int_equal(index.info.records, records);
	bd_inode_unref(file, 1);
	/* They count as indexes do. */
	unsigned files;
	uint64_t all = server_bytes_in(server, "index", &files) + server_bytes_in(server, "summary", &files) +
		       server_bytes_in(server, "merged", &files);
	assert_int_equal(files, 2);
	assert_int_equal(server_catch_up(server).index_bytes, all);
	/* Nothing is made twice, also after a restart. */
	server_close_history(server);
	api_reopen(server->api);
	server_open_history(server);
	server_catch_up(server);
	while (wh_merge_next(wh_find(server->history, server_main(server))) == 1)
		;
	assert_int_equal(server_catch_up(server).index_bytes, all);
	/* One goes when nobody needs any of its segments. */
	server_retain(server, 0, 6 * SEGMENT);
	for (unsigned i = 0; i < 4; i++) {
		change_blocks(server, 1);
		server_checkpoint(server);
	}
	change_blocks(server, 5);
	assert_false(has_run(server, 8, 8));
	free(bytes);
}

/* All entries of all blocks from plan->from to plan->to. */
static uint64_t entries_of(const struct lz_indexes *indexes, unsigned *ret_count)
{
	const struct lz_plan *plan = indexes->plan;
	uint64_t sum = 0;
	*ret_count = 0;
	for (uint32_t blkno = 0; blkno < BLOCKS + 3; blkno++) {
		const struct wa_block block = {.rel = REL_A, .blkno = blkno};
		uint64_t last = 0;
		for (uint32_t i = 0; i < indexes->count; i++) {
			struct wa_index_cursor cursor;
			struct wa_index_entry entry;
			struct wa_error error;
			int status;
			wa_index_seek(&indexes->views[i], &block, plan->from, plan->to, &cursor);
			while ((status = wa_index_next(&cursor, &entry, &error)) == 1) {
				assert_true(entry.lsn.v > last && entry.block.blkno == blkno);
				last = entry.lsn.v;
				sum = sum * 1099511628211u + entry.lsn.v;
				++*ret_count;
			}
			if (status != 0)
				return UINT64_MAX;
		}
	}
	return sum;
}

/* The layer's indexes in use. Returns how many there are. */
static uint32_t expect_entries(struct wa_lazy_layer *layer, bool use_runs, bool has_runs, uint64_t expected)
{
	struct lz_indexes indexes;
	unsigned count;
	assert_ok(lz_indexes_open_tables(&indexes, &layer->plan, &layer->log, layer->index, use_runs));
	assert_int_equal(indexes.has_runs, has_runs);
	assert_int_equal(entries_of(&indexes, &count), expected);
	assert_true(count > 20 * BLOCKS);
	uint32_t indexes_count = indexes.count;
	lz_indexes_free(&indexes);
	return indexes_count;
}

static void damage(struct wa_lazy_layer *layer, uint32_t run, uint64_t at)
{
	char name[WH_RUN_NAME + 1];
	uint8_t byte;
	lz_index_name(&layer->plan, layer->plan.runs[run], name);
	struct bd_inode *file = api_lookup(layer->index, name);
	at = at < api_attr(file).size_bytes ? at : api_attr(file).size_bytes - 1;
	assert_int_equal(bd_read(file, at, &byte, 1), 1);
	byte ^= 1;
	assert_ok(bd_write(file, at, &byte, 1, 0));
	bd_inode_unref(file, 1);
}

/* What a layer's blocks are made from is the same with runs and without, whatever happens to them. */
static void layers_use_runs(void **state)
{
	struct server *server = *state;
	struct wa_lazy *lazy;
	struct wa_lazy_layer *layer, *own;
	struct wa_base base;
	struct lz_indexes indexes;
	unsigned count;
	server_retain(server, 86400, 0);
	const uint64_t first = server_catch_up(server).earliest.v;
	change_blocks(server, 25); /* segments 3 to 28, the last one not full */
	put_database_copy(server);
	change_blocks(server, 1);
	merge_all(server, 16);
	server_expect(wa_history_base(server->history, server_main(server), (struct nf_lsn){first}, &base, server->message, 512),
		      server);
	const struct wa_lazy_base from = {.view = base.view,
					  .source = server_main(server),
					  .redo = base.redo,
					  .written = base.written,
					  .timeline = base.timeline};
	assert_ok(wa_lazy_open(server->api->store, &lazy));
	const struct nf_lsn to = {server->ends[server->records - 500]};
	server_expect(lz_begin(lazy, &from, to, false, &own, server->message, 512), server);
	assert_int_equal(own->plan.run_count, 0);
	assert_ok(lz_indexes_open_tables(&indexes, &own->plan, &own->log, own->index, true));
	const uint64_t expected = entries_of(&indexes, &count);
	assert_int_equal(indexes.count, own->plan.segment_count);
	lz_indexes_free(&indexes);

	server_expect(wa_lazy_begin(lazy, &from, to, &layer, server->message, 512), server);
	assert_int_equal(layer->plan.run_count, 2);
	assert_int_equal(expect_entries(layer, true, true, expected), own->plan.segment_count - 14);
	/* A copied database makes it ask for every block of the WAL. */
	uint8_t facts[WA_LAZY_FACTS_MAX];
	size_t size;
	server_expect(wa_lazy_seal(layer, server_main(server), facts, &size, server->message, 512), server);
	/* Without them: indexes that the layer has not are made from its WAL. */
	assert_int_equal(expect_entries(layer, false, false, expected), own->plan.segment_count);
	/* A piece of entries is found damaged when it is read. */
	damage(layer, 0, UINT64_MAX);
	assert_ok(lz_indexes_open_tables(&indexes, &layer->plan, &layer->log, layer->index, true));
	assert_int_equal(entries_of(&indexes, &count), UINT64_MAX);
	lz_indexes_free(&indexes);
	/* The head when it is opened, and a file that is not there. */
	damage(layer, 0, 40);
	assert_int_equal(expect_entries(layer, true, true, expected), own->plan.segment_count - 7);
	char name[WH_RUN_NAME + 1];
	lz_index_name(&layer->plan, layer->plan.runs[1], name);
	assert_ok(bd_unlink(layer->index, name));
	assert_int_equal(expect_entries(layer, true, false, expected), own->plan.segment_count);
	wa_lazy_end(layer, false);
	wa_lazy_end(own, false);
	wa_lazy_stop(lazy);
	wa_lazy_close(lazy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		server_test(indexes_are_merged),
		server_test(layers_use_runs),
	};

	return cmocka_run_group_tests_name("pitr_merged", tests, NULL, NULL);
}
