/* History beside a Postgres that is made up here: a store in memory, WAL made by hand in segments of 1 MiB, pg_control. What Postgres does to pg_wal
 * is done as fs/ does it: the hook, then the change of the name. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "common/nf_crc32c.h"
#include "common/nf_cursor.h"
#include "tests/api/api.h"
#include "wal_build.h"
#include "walapply/index/wa_index.h"
#include "walapply/pitr/lazy_make.h"
#include "walapply/pitr/wa_facts.h"
#include "walapply/pitr/wa_lazy.h"
#include "walapply/state/wa_control.h"

#define SEGMENT (1u << 20)
#define FIRST (UINT64_C(3) * SEGMENT)
#define CAPACITY (UINT64_C(64) * SEGMENT)
#define RECORDS_MAX 20000
#define SECOND INT64_C(1000000)

struct server {
	struct api *api;
	struct wa_history *history;
	struct bd_inode *pg_wal;
	struct wal wal;
	uint64_t written; /* what is in pg_wal */
	struct wa_control control;
	uint8_t control_bytes[WA_CONTROL_FILE_SIZE];
	uint64_t starts[RECORDS_MAX], ends[RECORDS_MAX]; /* of each record */
	int64_t times[RECORDS_MAX]; /* of commits; 0 others */
	unsigned records;
	char message[WA_HISTORY_MESSAGE_MAX];
};

static void write_file(struct bd_inode *dir, const char *name, uint64_t offset, const void *bytes, size_t size)
{
	struct bd_inode *file;
	if (bd_lookup(dir, name, &file) != 0)
		file = api_create(dir, name, S_IFREG | 0600);
	assert_ok(bd_write(file, offset, bytes, size, 0));
	bd_inode_unref(file, 1);
}

static void segment_name(const struct server *server, char *name, uint64_t at)
{
	wa_segment_name(name, server->wal.timeline, (struct nf_lsn){at}, SEGMENT);
}

/* WAL up to `to` into pg_wal, with zeros behind it up to the segment's end. */
static void flush_to(struct server *server, uint64_t to)
{
	char name[WA_SEGMENT_NAME + 1];
	while (server->written < to) {
		uint64_t end = NF_MIN(to, (server->written / SEGMENT + 1) * SEGMENT);
		struct bd_inode *file;
		segment_name(server, name, server->written);
		write_file(server->pg_wal, name, server->written % SEGMENT, wal_byte(&server->wal, server->written),
			   (size_t)(end - server->written));
		file = api_lookup(server->pg_wal, name);
		api_set_size(file, SEGMENT);
		bd_inode_unref(file, 1);
		server->written = end;
	}
}

static void flush(struct server *server)
{
	flush_to(server, server->wal.at);
}

static void write_control(struct server *server)
{
	struct bd_inode *global = api_lookup(server->api->root, "global");
	wa_control_store(15, &server->control, server->control_bytes);
	write_file(global, "pg_control", 0, server->control_bytes, sizeof(server->control_bytes));
	bd_inode_unref(global, 1);
}

static void note(struct server *server, uint64_t start, int64_t time_us)
{
	assert_true(server->records < RECORDS_MAX);
	server->starts[server->records] = start;
	server->ends[server->records] = server->wal.at;
	server->times[server->records++] = time_us;
}

static void put(struct server *server, size_t size)
{
	uint64_t start = wal_put_plain(&server->wal, 100 + server->records, size);
	note(server, start, 0);
}

static void put_commit(struct server *server, int64_t time_us)
{
	struct rec rec;
	uint64_t le = htole64((uint64_t)time_us);
	rec_start(&rec, WA_RMGR_XACT, 0x00, 100 + server->records);
	rec_main(&rec, &le, sizeof(le));
	uint64_t start = wal_put(&server->wal, &rec);
	note(server, start, time_us);
}

static void put_restore_point(struct server *server, const char *name)
{
	struct rec rec;
	uint8_t main[72] = {0};
	memcpy(main + 8, name, strlen(name));
	rec_start(&rec, WA_RMGR_XLOG, 0x70, 0);
	rec_main(&rec, main, sizeof(main));
	uint64_t start = wal_put(&server->wal, &rec);
	note(server, start, 0);
}

static void put_wal_level(struct server *server, uint32_t wal_level)
{
	struct rec rec;
	uint8_t main[28] = {0};
	main[20] = (uint8_t)wal_level;
	rec_start(&rec, WA_RMGR_XLOG, 0x60, 0);
	rec_main(&rec, main, sizeof(main));
	uint64_t start = wal_put(&server->wal, &rec);
	note(server, start, 0);
}

/* Records of about `bytes`, a commit after each few. */
static void work(struct server *server, uint64_t bytes)
{
	uint64_t until = server->wal.at + bytes;
	while (server->wal.at < until) {
		put(server, 3000 + server->records % 977);
		put(server, 100);
		put_commit(server, server->records * SECOND);
	}
	flush(server);
}

/* What a checkpoint does to pg_control; redo is where the next record will be. */
static void checkpoint(struct server *server)
{
	uint64_t redo = server->wal.at;
	put(server, 60);
	flush(server);
	server->control.copy.redo.v = server->starts[server->records - 1];
	server->control.checkpoint = server->control.copy.redo;
	assert_true(redo <= server->control.checkpoint.v);
	write_control(server);
}

static void open_history(struct server *server)
{
	const struct wa_history_options options = {.snapshot_every_bytes = 4 * SEGMENT, .retain_every_ms = 300};
	assert_ok(wa_history_open(server->api->store, &options, &server->history));
	server->pg_wal = api_lookup(server->api->root, "pg_wal");
}

static void close_history(struct server *server)
{
	bd_inode_unref(server->pg_wal, 1);
	wa_history_close(server->history);
}

static void put32(uint8_t *bytes, size_t at, uint32_t value)
{
	value = htole32(value);
	memcpy(bytes + at, &value, 4);
}

static int set_up(void **state)
{
	struct server *server = calloc(1, sizeof(*server));
	void *api;
	assert_int_equal(api_set_up(&api), 0);
	server->api = api;
	write_file(server->api->root, "PG_VERSION", 0, "15\n", 3);
	bd_inode_unref(api_create(server->api->root, "global", S_IFDIR | 0700), 1);
	bd_inode_unref(api_create(server->api->root, "pg_wal", S_IFDIR | 0700), 1);
	uint64_t system_id = htole64(WAL_SYSTEM_ID);
	memcpy(server->control_bytes, &system_id, 8);
	put32(server->control_bytes, 8, 1300);
	put32(server->control_bytes, 216, 8192);
	put32(server->control_bytes, 220, 131072);
	put32(server->control_bytes, 224, 8192);
	put32(server->control_bytes, 228, SEGMENT);
	server->control.copy.timeline = WAL_TIMELINE;
	server->control.state = WA_IN_PRODUCTION;
	server->control.parameters.wal_level = 1;
	wal_start(&server->wal, 15, SEGMENT, FIRST, CAPACITY);
	server->written = FIRST;
	open_history(server);
	checkpoint(server);
	*state = server;
	return 0;
}

static int tear_down(void **state)
{
	struct server *server = *state;
	void *api = server->api;
	close_history(server);
	api_tear_down(&api);
	wal_free(&server->wal);
	free(server);
	return 0;
}

static struct bd_branch_id main_id(const struct server *server)
{
	return server->api->main.id;
}

static void expect_message(int error, const struct server *server)
{
	if (error != 0)
		fail_msg("%d: %s", error, server->message);
}

static void retain(struct server *server, uint64_t seconds, uint64_t bytes)
{
	expect_message(wa_history_retain(server->history, main_id(server), (struct wa_retention){seconds, bytes}, server->message,
					 sizeof(server->message)),
		       server);
}

static struct wa_history_status catch_up(struct server *server)
{
	struct wa_history_status status;
	expect_message(wa_history_catch_up(server->history, main_id(server), server->message, sizeof(server->message)), server);
	assert_ok(wa_history_status(server->history, main_id(server), &status));
	return status;
}

/* As fs/ does it. */
static void remove_segment(struct server *server, uint64_t at)
{
	char name[WA_SEGMENT_NAME + 1];
	segment_name(server, name, at);
	assert_ok(wa_history_keep(server->history, server->pg_wal, name));
	assert_ok(bd_unlink(server->pg_wal, name));
}

static void recycle_segment(struct server *server, uint64_t at, uint64_t to)
{
	char name[WA_SEGMENT_NAME + 1], fresh[WA_SEGMENT_NAME + 1];
	segment_name(server, name, at);
	segment_name(server, fresh, to);
	assert_ok(wa_history_keep(server->history, server->pg_wal, name));
	assert_ok(wa_history_keep(server->history, server->pg_wal, fresh));
	assert_ok(bd_rename(server->pg_wal, name, server->pg_wal, fresh, 0));
}

static struct bd_inode *history_path(struct server *server, const char *kind, const char *name)
{
	struct bd_branch_info info;
	struct bd_inode *root, *branch, *dir, *file;
	char id[16];
	assert_ok(bd_branch_find(server->api->store, WA_HISTORY_BRANCH, &info));
	root = api_root(server->api, api_head(info.id));
	snprintf(id, sizeof(id), "%u", main_id(server).v);
	int error = bd_lookup(root, id, &branch);
	bd_inode_unref(root, 1);
	if (error != 0 || kind == NULL)
		return error == 0 ? branch : NULL;
	dir = api_lookup(branch, kind);
	bd_inode_unref(branch, 1);
	if (name == NULL)
		return dir;
	error = bd_lookup(dir, name, &file);
	bd_inode_unref(dir, 1);
	return error == 0 ? file : NULL;
}

static bool has_segment(struct server *server, const char *kind, uint64_t at)
{
	char name[WA_SEGMENT_NAME + 1];
	segment_name(server, name, at);
	struct bd_inode *file = history_path(server, kind, name);
	if (file != NULL)
		bd_inode_unref(file, 1);
	return file != NULL;
}

/* The kept segment is what was written, its index is whole and has every record. */
static void expect_kept(struct server *server, uint64_t start)
{
	char name[WA_SEGMENT_NAME + 1];
	uint8_t *bytes = malloc(SEGMENT);
	struct wa_index index;
	struct wa_error error;
	segment_name(server, name, start);
	struct bd_inode *file = history_path(server, "wal", name);
	assert_non_null(file);
	assert_int_equal(bd_read(file, 0, bytes, SEGMENT), SEGMENT);
	assert_memory_equal(bytes, wal_byte(&server->wal, start), SEGMENT);
	bd_inode_unref(file, 1);
	file = history_path(server, "index", name);
	assert_non_null(file);
	ssize_t size = bd_read(file, 0, bytes, SEGMENT);
	assert_ok(wa_index_open(bytes, (size_t)size, &index, &error));
	assert_ok(wa_index_verify(&index, &error));
	assert_int_equal(index.info.base.v, start);
	unsigned count = 0;
	for (unsigned i = 0; i < server->records; i++)
		count += server->starts[i] >= start && server->starts[i] < start + SEGMENT;
	assert_int_equal(index.info.records, count);
	bd_inode_unref(file, 1);
	free(bytes);
}

/* -------------------------------------------------------------- tests */

static void off_until_turned_on(void **state)
{
	struct server *server = *state;
	struct wa_history_status status;
	struct bd_branch_info info;
	struct wa_base base;
	assert_int_equal(wa_history_status(server->history, main_id(server), &status), -ENODATA);
	assert_int_equal(wa_history_base(server->history, main_id(server), (struct nf_lsn){FIRST}, &base, server->message, 512),
			 -ENODATA);
	work(server, 3 * SEGMENT);
	remove_segment(server, FIRST);
	/* Nothing is made in the store before somebody asks for it. */
	assert_int_equal(bd_branch_find(server->api->store, WA_HISTORY_BRANCH, &info), -ENOENT);
	checkpoint(server);
	retain(server, 3600, 0);
	status = catch_up(server);
	assert_int_equal(status.earliest.v, server->wal.at);
	assert_int_equal(status.latest.v, server->wal.at);
	assert_int_equal(status.snapshots, 1);
	assert_int_equal(status.timeline, WAL_TIMELINE);
	assert_int_equal(status.major, 15);
	assert_string_equal(status.trouble, "");
	retain(server, 0, 0);
	assert_int_equal(wa_history_status(server->history, main_id(server), &status), -ENODATA);
	assert_null(history_path(server, NULL, NULL));
	assert_ok(bd_branch_get(server->api->store, main_id(server), &info));
	assert_int_equal(info.snapshots, 0);
}

static void segments_are_kept_and_indexed(void **state)
{
	struct server *server = *state;
	struct wa_base base;
	retain(server, 3600, 0);
	uint64_t earliest = server->wal.at;
	for (unsigned i = 0; i < 12; i++) {
		work(server, SEGMENT);
		/* With a follower that lags, and with one that does not. */
		if (i % 3 == 0)
			catch_up(server);
		if (i == 5)
			checkpoint(server);
		if (i % 2 == 0)
			remove_segment(server, FIRST + i / 2 * SEGMENT);
	}
	recycle_segment(server, FIRST + 6 * SEGMENT, FIRST + 40 * SEGMENT);
	/* A file that is ready for later has nothing of its own: nothing is kept of it. */
	remove_segment(server, FIRST + 40 * SEGMENT);
	assert_false(has_segment(server, "wal", FIRST + 40 * SEGMENT));
	struct wa_history_status status = catch_up(server);
	assert_int_equal(status.earliest.v, earliest);
	assert_int_equal(status.latest.v, server->wal.at);
	assert_int_equal(status.segments, (server->wal.at - FIRST) / SEGMENT);
	assert_true(status.snapshots >= 3);
	for (unsigned i = 0; i <= 6; i++)
		expect_kept(server, FIRST + i * SEGMENT);
	assert_false(has_segment(server, "wal", FIRST + 7 * SEGMENT));
	/* Any point has a base whose WAL ends at or before it, and the newest such one. */
	uint64_t last = 0;
	for (unsigned i = 0; i < server->records; i += 50) {
		struct nf_lsn x = {server->ends[i]};
		int error = wa_history_base(server->history, main_id(server), x, &base, server->message, 512);
		if (x.v < earliest) {
			assert_int_equal(error, -ERANGE);
			continue;
		}
		expect_message(error, server);
		assert_true(base.written.v <= x.v && base.redo.v <= base.written.v && base.written.v >= last);
		assert_false(base.is_foreign || base.is_minimal);
		last = base.written.v;
	}
	assert_int_equal(wa_history_base(server->history, main_id(server), (struct nf_lsn){server->wal.at + 8}, &base,
					 server->message, 512),
			 -ERANGE);
}

static void a_record_under_way_is_not_the_end_for_good(void **state)
{
	struct server *server = *state;
	retain(server, 3600, 0);
	work(server, SEGMENT / 2);
	uint64_t before = server->wal.at;
	put(server, 300000); /* over many pages, written in pieces */
	for (unsigned i = 0; i < 5; i++) {
		flush_to(server, before + i * 60000);
		assert_int_equal(catch_up(server).latest.v, before);
	}
	flush(server);
	assert_int_equal(catch_up(server).latest.v, server->wal.at);
	/* One that begins in a segment and ends in the next: the segment is full, but cannot be indexed yet. */
	work(server, SEGMENT - server->wal.at % SEGMENT - 20000);
	before = server->wal.at;
	put(server, 100000);
	flush_to(server, before + 40000);
	struct wa_history_status status = catch_up(server);
	assert_int_equal(status.latest.v, before);
	assert_int_equal(status.begun_again_us, 0);
	flush(server);
	status = catch_up(server);
	assert_int_equal(status.latest.v, server->wal.at);
	assert_int_equal(status.segments, (server->wal.at - FIRST) / SEGMENT);
	remove_segment(server, FIRST);
	expect_kept(server, FIRST);
}

static void bounds_of_records(void **state)
{
	struct server *server = *state;
	struct nf_lsn low, high;
	retain(server, 3600, 0);
	unsigned first = server->records - 1;
	work(server, 3 * SEGMENT);
	put(server, 2500000); /* longer than two segments */
	flush(server);
	work(server, SEGMENT);
	catch_up(server);
	remove_segment(server, FIRST);
	for (unsigned i = first; i + 1 < server->records; i += i + 20 < server->records ? 13 : 1) {
		const uint64_t end = server->ends[i], next = server->ends[i + 1];
		const uint64_t asked[] = {end, server->starts[i + 1], server->starts[i + 1] + 8, next - 8, next};
		for (unsigned k = 0; k < NF_ARRAY_LEN(asked); k++) {
			bool is_end = asked[k] <= server->starts[i + 1], is_next = asked[k] == next;
			expect_message(wa_history_boundary(server->history, main_id(server), (struct nf_lsn){asked[k]}, &low,
							   &high, server->message, 512),
				       server);
			assert_int_equal(low.v, is_next ? next : end);
			assert_int_equal(high.v, is_end ? end : next);
		}
	}
	assert_int_equal(wa_history_boundary(server->history, main_id(server), (struct nf_lsn){server->wal.at + 8}, &low, &high,
					     server->message, 512),
			 -ERANGE);
}

/* The first commit from record `i` on. */
static unsigned commit_from(const struct server *server, unsigned i)
{
	while (server->times[i] == 0)
		i++;
	return i;
}

static void times_and_restore_points(void **state)
{
	struct server *server = *state;
	struct nf_lsn found;
	int64_t time_us;
	retain(server, 3600, 0);
	work(server, 2 * SEGMENT);
	put_restore_point(server, "first");
	uint64_t first = server->wal.at;
	work(server, 3 * SEGMENT);
	put_restore_point(server, "again");
	uint64_t earlier = server->wal.at;
	work(server, SEGMENT);
	put_restore_point(server, "again");
	uint64_t again = server->wal.at;
	work(server, SEGMENT / 4);
	catch_up(server);
	for (unsigned i = 0; i < 5; i++)
		remove_segment(server, FIRST + i * SEGMENT);
	/* Nothing that is kept tells what was between that time and the oldest base. */
	unsigned oldest = commit_from(server, 0);
	assert_int_equal(
		wa_history_at_time(server->history, main_id(server), server->times[oldest] - 1, &found, server->message, 512),
		-ERANGE);
	assert_non_null(strstr(server->message, "the earliest is"));
	for (unsigned i = oldest + 1; i < server->records; i += 37) {
		if (server->times[i] == 0)
			continue;
		/* Up to just before the commit; with its own time it is in it. */
		expect_message(
			wa_history_at_time(server->history, main_id(server), server->times[i] - 1, &found, server->message, 512),
			server);
		assert_int_equal(found.v, server->ends[i - 1]);
		expect_message(
			wa_history_at_time(server->history, main_id(server), server->times[i], &found, server->message, 512),
			server);
		assert_true(found.v >= server->ends[i]);
		expect_message(wa_history_time_at(server->history, main_id(server), (struct nf_lsn){server->ends[i]}, &time_us,
						  server->message, 512),
			       server);
		assert_int_equal(time_us, server->times[i]);
	}
	assert_int_equal(wa_history_at_time(server->history, main_id(server), INT64_MAX / 2, &found, server->message, 512),
			 -ERANGE);
	struct wa_named_point named;
	expect_message(wa_history_restore_point(server->history, main_id(server), "first", &named, server->message, 512), server);
	assert_int_equal(named.newest.lsn.v, first);
	assert_int_equal(named.older, 0);
	expect_message(wa_history_restore_point(server->history, main_id(server), "again", &named, server->message, 512), server);
	assert_int_equal(named.newest.lsn.v, again);
	assert_int_equal(named.older, 1);
	assert_int_equal(named.before.lsn.v, earlier);
	assert_int_equal(wa_history_restore_point(server->history, main_id(server), "agai", &named, server->message, 512),
			 -ENOENT);
	struct wa_restore_point *points;
	size_t count;
	expect_message(wa_history_restore_points(server->history, main_id(server), &points, &count, server->message, 512), server);
	assert_int_equal(count, 3);
	assert_int_equal(points[0].lsn.v, again);
	assert_int_equal(points[1].lsn.v, earlier);
	assert_string_equal(points[1].name, "again");
	assert_int_equal(points[2].lsn.v, first);
	assert_string_equal(points[2].name, "first");
	free(points);
}

/* Work with checkpoints; pg_wal keeps two segments. */
static void long_work(struct server *server, unsigned segments)
{
	for (unsigned i = 0; i < segments; i++) {
		uint64_t before = server->wal.at;
		work(server, SEGMENT);
		checkpoint(server);
		catch_up(server);
		for (uint64_t at = before / SEGMENT; at < server->wal.at / SEGMENT; at++)
			remove_segment(server, (at - 1) * SEGMENT);
	}
}

static uint64_t bytes_in(struct server *server, const char *kind, unsigned *ret_files)
{
	struct bd_inode *dir = history_path(server, kind, NULL);
	struct bd_listing *listing;
	uint64_t bytes = 0;
	assert_ok(bd_readdir(dir, &listing));
	for (size_t i = 0; i < listing->count; i++) {
		struct bd_inode *file = api_lookup(dir, listing->entries[i].name);
		bytes += api_attr(file).size_bytes;
		bd_inode_unref(file, 1);
	}
	*ret_files = (unsigned)listing->count;
	bd_listing_free(listing);
	bd_inode_unref(dir, 1);
	return bytes;
}

static void what_is_old_goes(void **state)
{
	struct server *server = *state;
	struct bd_snapshot_info info;
	struct wa_base base;
	work(server, SEGMENT);
	retain(server, 0, 5 * SEGMENT);
	assert_ok(bd_snapshot_create(server->api->store, main_id(server), "mine", &info));
	struct wa_history_status status = catch_up(server);
	assert_int_equal(status.snapshots, 2); /* a user's is a base too */
	long_work(server, 20);
	status = catch_up(server);
	assert_true(status.wal_bytes <= 5 * SEGMENT);
	assert_true(status.earliest.v > FIRST + 12 * SEGMENT);
	assert_ok(bd_snapshot_find(server->api->store, main_id(server), "mine", &info));
	assert_false(has_segment(server, "wal", FIRST + 5 * SEGMENT));
	assert_false(has_segment(server, "index", FIRST + 5 * SEGMENT));
	assert_int_equal(wa_history_base(server->history, main_id(server), (struct nf_lsn){FIRST + 8 * SEGMENT}, &base,
					 server->message, 512),
			 -ERANGE);
	assert_false(has_segment(server, "summary", FIRST + 5 * SEGMENT));
	/* Index bytes are what the files are. */
	unsigned indexes, summaries;
	uint64_t bytes = bytes_in(server, "index", &indexes) + bytes_in(server, "summary", &summaries);
	assert_int_equal(bytes, status.index_bytes);
	assert_true(indexes >= 3 && indexes <= 7);
	assert_int_equal(indexes, summaries);
}

/* What is asked for lasts a second, and nobody writes any more. */
static void what_is_old_goes_without_a_write(void **state)
{
	const struct timespec pause = {.tv_nsec = 100000000};
	struct server *server = *state;
	work(server, SEGMENT);
	retain(server, 1, 0);
	long_work(server, 9);
	struct wa_history_status before = catch_up(server), status = before;
	assert_true(before.snapshots >= 2);
	/* Not asked for anything that looks at the branch. */
	for (unsigned i = 0; i < 100 && status.snapshots > 1; i++) {
		nanosleep(&pause, NULL);
		assert_ok(wa_history_status(server->history, main_id(server), &status));
	}
	assert_int_equal(status.snapshots, 1);
	assert_true(status.earliest.v > before.earliest.v);
	assert_int_equal(status.latest.v, before.latest.v);
	assert_false(has_segment(server, "wal", FIRST));
}

static void what_is_held_stays(void **state)
{
	struct server *server = *state;
	retain(server, 0, 5 * SEGMENT);
	work(server, 3 * SEGMENT);
	struct nf_lsn from = {FIRST + SEGMENT + 500}, to = {server->wal.at};
	catch_up(server);
	expect_message(wa_history_hold(server->history, main_id(server), "child", from, to, server->message, 512), server);
	const uint64_t last = to.v / SEGMENT * SEGMENT;
	assert_true(has_segment(server, "wal", last)); /* as far as it was filled */
	long_work(server, 20);
	assert_false(has_segment(server, "wal", FIRST));
	for (uint64_t at = FIRST + SEGMENT; at <= last; at += SEGMENT)
		expect_kept(server, at);
	assert_false(has_segment(server, "wal", last + 2 * SEGMENT));
	/* Also without the branch's history, and over a restart. */
	retain(server, 0, 0);
	close_history(server);
	api_reopen(server->api);
	open_history(server);
	assert_true(has_segment(server, "wal", FIRST + SEGMENT));
	assert_false(has_segment(server, "wal", last + 5 * SEGMENT));
	assert_ok(wa_history_release(server->history, main_id(server), "other"));
	assert_true(has_segment(server, "wal", FIRST + SEGMENT));
	assert_ok(wa_history_release(server->history, main_id(server), "child"));
	assert_null(history_path(server, NULL, NULL));
}

static void a_crash_loses_nothing(void **state)
{
	struct server *server = *state;
	retain(server, 3600, 0);
	uint64_t earliest = server->wal.at;
	for (unsigned i = 0; i < 6; i++) {
		work(server, SEGMENT);
		if (i % 2 == 0)
			catch_up(server);
		remove_segment(server, FIRST + i * SEGMENT);
		assert_ok(bd_store_sync(server->api->store)); /* Postgres's fsync of pg_wal */
		close_history(server);
		api_crash_as(server->api, i);
		open_history(server);
	}
	struct wa_history_status status = catch_up(server);
	assert_int_equal(status.earliest.v, earliest);
	assert_int_equal(status.latest.v, server->wal.at);
	assert_int_equal(status.begun_again_us, 0);
	for (unsigned i = 0; i < 6; i++)
		expect_kept(server, FIRST + i * SEGMENT);
}

static void damaged_facts(void **state)
{
	struct server *server = *state;
	struct wa_history_status status;
	retain(server, 3600, 0);
	work(server, 2 * SEGMENT);
	catch_up(server);
	remove_segment(server, FIRST);
	struct bd_inode *facts = history_path(server, "facts", NULL);
	api_put(facts, 100, 'x', 1);
	bd_inode_unref(facts, 1);
	close_history(server);
	api_reopen(server->api);
	open_history(server);
	assert_ok(wa_history_status(server->history, main_id(server), &status));
	assert_non_null(strstr(status.trouble, "damaged"));
	assert_int_equal(wa_history_catch_up(server->history, main_id(server), server->message, 512), -ENODATA);
	/* Nothing is deleted, nothing is kept. */
	assert_true(has_segment(server, "wal", FIRST));
	remove_segment(server, FIRST + SEGMENT);
	assert_false(has_segment(server, "wal", FIRST + SEGMENT));
	checkpoint(server);
	retain(server, 3600, 0);
	status = catch_up(server);
	assert_string_equal(status.trouble, "");
	assert_int_equal(status.snapshots, 1);
	assert_false(has_segment(server, "wal", FIRST));
}

static void when_it_cannot_be_kept(void **state)
{
	struct server *server = *state;
	char name[BD_NAME_MAX + 1];
	retain(server, 3600, 0);
	work(server, 3 * SEGMENT);
	checkpoint(server);
	catch_up(server);
	/* Something in the way stands for a full disk. */
	segment_name(server, name, FIRST + SEGMENT);
	strcat(name, ".new");
	struct bd_inode *dir = history_path(server, "wal", NULL);
	bd_inode_unref(api_create(dir, name, S_IFDIR | 0700), 1);
	bd_inode_unref(dir, 1);
	remove_segment(server, FIRST);
	assert_true(has_segment(server, "wal", FIRST));
	remove_segment(server, FIRST + SEGMENT); /* Postgres goes on all the same */
	struct wa_history_status status = catch_up(server);
	assert_true(status.begun_again_us != 0);
	assert_non_null(strstr(status.begun_again_why, "could not be kept"));
	assert_int_equal(status.earliest.v, server->wal.at);
	assert_int_equal(status.snapshots, 1);
	assert_false(has_segment(server, "wal", FIRST));
	work(server, SEGMENT);
	assert_int_equal(catch_up(server).latest.v, server->wal.at);
}

/* A new timeline from `at` on: the segment is copied up to there. */
static void switch_timeline(struct server *server, uint64_t at, const char *history)
{
	char name[32];
	uint64_t start = at / SEGMENT * SEGMENT;
	server->wal.timeline++;
	memset(wal_byte(&server->wal, at), 0, (size_t)(CAPACITY - (at - FIRST)));
	server->wal.at = at;
	for (unsigned i = 0; i < server->records; i++) {
		if (server->ends[i] == at) {
			server->wal.last = server->starts[i];
			server->records = i + 1;
		}
	}
	server->written = start;
	flush(server);
	snprintf(name, sizeof(name), "%08X.history", server->wal.timeline);
	write_file(server->pg_wal, name, 0, history, strlen(history));
	server->control.copy.timeline = server->wal.timeline;
}

static void a_new_timeline_is_followed(void **state)
{
	struct server *server = *state;
	char history[64];
	retain(server, 3600, 0);
	uint64_t earliest = server->wal.at;
	work(server, 2 * SEGMENT + SEGMENT / 3);
	catch_up(server);
	snprintf(history, sizeof(history), "%u\t0/%X\tpromoted\n", WAL_TIMELINE, (unsigned)server->wal.at);
	switch_timeline(server, server->wal.at, history);
	checkpoint(server);
	work(server, 3 * SEGMENT);
	struct wa_history_status status = catch_up(server);
	assert_int_equal(status.timeline, WAL_TIMELINE + 1);
	assert_int_equal(status.earliest.v, earliest);
	assert_int_equal(status.latest.v, server->wal.at);
	assert_int_equal(status.begun_again_us, 0);
	remove_segment(server, FIRST + 2 * SEGMENT);
	remove_segment(server, FIRST + 3 * SEGMENT);
	expect_kept(server, FIRST + 2 * SEGMENT);
	expect_kept(server, FIRST + 3 * SEGMENT);
}

static void going_back_begins_again(void **state)
{
	struct server *server = *state;
	char history[64];
	retain(server, 3600, 0);
	work(server, 2 * SEGMENT);
	catch_up(server);
	uint64_t back = server->ends[server->records - 40];
	snprintf(history, sizeof(history), "%u\t0/%X\tbefore a mistake\n", WAL_TIMELINE, (unsigned)back);
	switch_timeline(server, back, history);
	checkpoint(server);
	struct wa_history_status status = catch_up(server);
	assert_true(status.begun_again_us != 0);
	assert_non_null(strstr(status.begun_again_why, "does not continue"));
	assert_int_equal(status.earliest.v, server->wal.at);
	work(server, 2 * SEGMENT);
	assert_int_equal(catch_up(server).latest.v, server->wal.at);
}

static void what_only_postgres_replays(void **state)
{
	struct server *server = *state;
	struct wa_base base;
	struct rec rec;
	retain(server, 3600, 0);
	work(server, SEGMENT / 2);
	uint64_t plain = server->wal.at;
	rec_start(&rec, 200, 0, 0);
	rec_main(&rec, "x", 1);
	uint64_t start = wal_put(&server->wal, &rec);
	note(server, start, 0);
	uint64_t foreign = server->wal.at;
	flush(server);
	for (unsigned round = 0; round < 2; round++) { /* in the part that is not indexed, then in an index */
		catch_up(server);
		expect_message(
			wa_history_base(server->history, main_id(server), (struct nf_lsn){plain}, &base, server->message, 512),
			server);
		if (round == 0)
			assert_false(base.is_foreign);
		expect_message(
			wa_history_base(server->history, main_id(server), (struct nf_lsn){foreign}, &base, server->message, 512),
			server);
		assert_true(base.is_foreign);
		work(server, 2 * SEGMENT);
	}
	put_wal_level(server, 0);
	uint64_t minimal = server->wal.at;
	put_wal_level(server, 1);
	work(server, SEGMENT);
	catch_up(server);
	expect_message(wa_history_base(server->history, main_id(server), (struct nf_lsn){minimal}, &base, server->message, 512),
		       server);
	assert_true(base.is_minimal);
	expect_message(wa_history_base(server->history, main_id(server), (struct nf_lsn){foreign}, &base, server->message, 512),
		       server);
	assert_false(base.is_minimal);
}

static void what_has_no_history(void **state)
{
	struct server *server = *state;
	struct bd_branch_info other;
	const struct wa_retention week = {.seconds = 604800};
	assert_ok(bd_branch_create_empty(server->api->store, "other", 0, 0, &other));
	assert_int_equal(wa_history_retain(server->history, other.id, week, server->message, 512), -EINVAL);
	assert_non_null(strstr(server->message, "PG_VERSION"));
	assert_int_equal(wa_history_retain(server->history, (struct bd_branch_id){99}, week, server->message, 512), -ENOENT);
	server->control.state = WA_ARCHIVE_RECOVERY;
	write_control(server);
	assert_int_equal(wa_history_retain(server->history, main_id(server), week, server->message, 512), -EINVAL);
	assert_non_null(strstr(server->message, "archive recovery"));
	server->control.state = WA_IN_PRODUCTION;
	write_control(server);
	write_file(server->api->root, "backup_label", 0, "x", 1);
	assert_int_equal(wa_history_retain(server->history, main_id(server), week, server->message, 512), -EINVAL);
	assert_ok(bd_unlink(server->api->root, "backup_label"));
	write_file(server->api->root, "PG_VERSION", 0, "19\n", 3);
	assert_int_equal(wa_history_retain(server->history, main_id(server), week, server->message, 512), -EINVAL);
	assert_non_null(strstr(server->message, "19"));
	write_file(server->api->root, "PG_VERSION", 0, "15\n", 3);
	/* What failed left nothing. */
	assert_null(history_path(server, NULL, NULL));
	struct bd_branch_info info;
	assert_ok(bd_branch_get(server->api->store, main_id(server), &info));
	assert_int_equal(info.snapshots, 0);
	retain(server, 604800, 0);
}

static void a_deleted_branch(void **state)
{
	struct server *server = *state;
	struct bd_branch_info copy;
	struct bd_branch_id old = main_id(server);
	retain(server, 3600, 0);
	work(server, 2 * SEGMENT);
	checkpoint(server);
	catch_up(server);
	remove_segment(server, FIRST);
	/* The daemon may be killed between the two. */
	assert_ok(bd_branch_create(server->api->store, "copy", api_head(old), &copy, NULL));
	assert_ok(bd_branch_detach(server->api->store, copy.id));
	close_history(server);
	bd_inode_unref(server->api->root, 1);
	assert_ok(bd_branch_delete(server->api->store, old));
	assert_ok(bd_branch_rename(server->api->store, copy.id, "main"));
	server->api->root = api_root(server->api, api_head(copy.id));
	open_history(server);
	assert_null(history_path(server, NULL, NULL));
	server->api->main = copy;
	retain(server, 3600, 0);
	assert_int_equal(catch_up(server).latest.v, server->wal.at);
	wa_history_branch_deleted(server->history, copy.id);
	assert_null(history_path(server, NULL, NULL));
}

static void timeline_numbers(void **state)
{
	struct server *server = *state;
	uint32_t timeline;
	assert_ok(wa_history_new_timeline(server->history, 5, &timeline));
	assert_int_equal(timeline, 6);
	assert_ok(wa_history_new_timeline(server->history, 2, &timeline));
	assert_int_equal(timeline, 7);
	close_history(server);
	api_crash(server->api);
	open_history(server);
	assert_ok(wa_history_new_timeline(server->history, 2, &timeline));
	assert_int_equal(timeline, 8);
	assert_int_equal(wa_history_new_timeline(server->history, UINT32_MAX, &timeline), -ERANGE);
}

/* History that begins in a segment whose first records cannot be read, behind a snapshot that a user made there. Returns the snapshot, its redo pointer and
 * the end of its WAL. */
static struct wa_lazy_base begin_late(struct server *server)
{
	struct bd_snapshot_info info;
	work(server, SEGMENT / 8);
	*wal_byte(&server->wal, server->starts[3] + 40) ^= 1; /* what a server that went back leaves, say */
	server->written = FIRST;
	checkpoint(server);
	struct wa_lazy_base base = {.source = main_id(server), .redo = server->control.copy.redo, .timeline = WAL_TIMELINE};
	work(server, SEGMENT / 8);
	base.written.v = server->wal.at;
	assert_ok(bd_snapshot_create(server->api->store, main_id(server), "before", &info));
	base.view = (struct bd_view){main_id(server), info.epoch};
	work(server, SEGMENT / 8);
	checkpoint(server);
	retain(server, 3600, 0);
	work(server, 3 * SEGMENT);
	return base;
}

static void a_snapshot_from_before_history_is_no_base(void **state)
{
	struct server *server = *state;
	struct wa_base base;
	const struct wa_lazy_base before = begin_late(server);
	const uint64_t begun = server->control.copy.redo.v;
	assert_true(begun >= before.written.v && begun < FIRST + SEGMENT);
	for (unsigned round = 0; round < 2;
	     round++) { /* also when the facts are read again, and the snapshot is looked at again */
		struct bd_snapshot_info info;
		struct wa_history_status status = catch_up(server);
		assert_int_equal(status.begun_again_us, 0);
		assert_true(has_segment(server, "index", FIRST));
		assert_true(status.earliest.v > begun);
		assert_int_equal(wa_history_base(server->history, main_id(server), before.written, &base, server->message, 512),
				 -ERANGE);
		expect_message(wa_history_base(server->history, main_id(server), status.earliest, &base, server->message, 512),
			       server);
		assert_int_equal(base.redo.v, begun);
		assert_ok(bd_snapshot_create(server->api->store, main_id(server), round == 0 ? "mine" : "mine-too", &info));
		work(server, SEGMENT);
		close_history(server);
		api_reopen(server->api);
		open_history(server);
	}
}

/* The first and the last record of the layer's index i are those of the WAL between from and to. */
static void expect_records(struct server *server, const struct wa_lazy_layer *layer, uint32_t i)
{
	const struct wa_index_info *info = &layer->indexes.views[i].info;
	uint64_t begin = NF_MAX(info->base.v, layer->plan.from.v), end = NF_MIN(info->limit.v, layer->plan.to.v);
	uint64_t first = 0, last = 0;
	for (unsigned n = server->records; n-- > 0;) {
		if (server->starts[n] < begin || server->starts[n] >= end)
			continue;
		first = server->starts[n];
		last = NF_MAX(last, server->starts[n]);
	}
	assert_true(info->first.v <= first && info->last.v >= last);
}

static void a_layer_has_every_record_from_its_base_on(void **state)
{
	struct server *server = *state;
	struct wa_lazy *lazy;
	struct wa_range range;
	const struct wa_lazy_base base = begin_late(server);
	catch_up(server);
	assert_ok(wa_lazy_open(server->api->store, &lazy));
	for (unsigned round = 0; round < 2; round++) {
		struct wa_lazy_layer *layer;
		expect_message(wa_lazy_begin(lazy, &base, (struct nf_lsn){server->wal.at}, &layer, server->message, 512), server);
		assert_ok(lz_layer_range(layer, &range));
		assert_true(range.index_count >= 3);
		for (uint32_t i = 0; i < range.index_count; i++)
			expect_records(server, layer, i);
		assert_null(layer->summaries[0].bytes);
		assert_true((layer->summaries[1].bytes != NULL) == (round == 0));
		assert_non_null(layer->summaries[2].bytes);
		/* An index of history that begins late, in the middle of the layer's WAL. */
		struct lz_plan late = layer->plan;
		struct bd_inode *dir = history_path(server, "index", NULL);
		for (unsigned n = 0; late.from.v < FIRST + SEGMENT + SEGMENT / 2; n++)
			late.from.v = server->starts[n];
		assert_ok(lz_index_build(&late, &layer->log, FIRST / SEGMENT + 1, dir, server->message, 512));
		bd_inode_unref(dir, 1);
		wa_lazy_end(layer, false);
	}
	wa_lazy_stop(lazy);
	wa_lazy_close(lazy);
}

/* A layer that changes nothing: until it is taken away it is there. */
static int open_layer(void *arg, struct bd_view base, const void *facts, size_t size, void **ret_layer)
{
	(void)base, (void)facts, (void)size;
	*ret_layer = arg;
	return 0;
}

static void close_layer(void *arg, void *layer)
{
	assert_ptr_equal(layer, arg);
}

static void touch_nothing(void *arg, void *layer, uint64_t file, uint32_t first, uint64_t *bits, unsigned words)
{
	(void)arg, (void)layer, (void)file, (void)first, (void)bits, (void)words;
}

static uint32_t next_of_none(void *arg, void *layer, uint64_t file, uint32_t from)
{
	(void)arg, (void)layer, (void)file, (void)from;
	return UINT32_MAX;
}

static int apply_nothing(void *arg, void *layer, uint64_t file, uint32_t block, void *page)
{
	(void)arg, (void)layer, (void)file, (void)block, (void)page;
	return -EIO;
}

static void much_work(struct server *server, unsigned segments)
{
	for (unsigned i = 0; i < segments; i++) {
		put(server, SEGMENT - 20000);
		put_commit(server, server->records * SECOND);
		flush(server);
		if (i % 8 == 7)
			catch_up(server);
	}
}

static void no_snapshot_through_a_layer(void **state)
{
	struct server *server = *state;
	struct bd_snapshot_info info;
	struct bd_epoch epoch;
	const struct bd_layer_hooks hooks = {.arg = server,
					     .open = open_layer,
					     .close = close_layer,
					     .touched = touch_nothing,
					     .next = next_of_none,
					     .apply = apply_nothing};
	bd_store_set_layer_hooks(server->api->store, &hooks);
	retain(server, 86400, 0);
	assert_ok(bd_layer_create(server->api->store, main_id(server), "facts", 5, &epoch));
	work(server, SEGMENT / 2);
	checkpoint(server);
	assert_int_equal(catch_up(server).snapshots, 1);
	much_work(server, 9); /* twice what a snapshot is taken for */
	assert_int_equal(catch_up(server).snapshots, 1);
	/* A user's is a base all the same, of which the distance counts. */
	assert_ok(bd_snapshot_create(server->api->store, main_id(server), "mine", &info));
	assert_int_equal(catch_up(server).snapshots, 2);
	work(server, SEGMENT / 8);
	checkpoint(server);
	assert_int_equal(catch_up(server).snapshots, 2);
	/* What was put off is made up for when the layer is gone, and once. */
	assert_ok(bd_layer_delete(server->api->store, main_id(server), epoch));
	assert_int_equal(catch_up(server).snapshots, 3);
	assert_int_equal(catch_up(server).snapshots, 3);
	/* A layer that does not go does not keep them away for ever. */
	assert_ok(bd_layer_create(server->api->store, main_id(server), "facts", 5, &epoch));
	much_work(server, 30);
	assert_int_equal(catch_up(server).snapshots, 3);
	much_work(server, 4);
	struct wa_history_status status = catch_up(server);
	assert_int_equal(status.snapshots, 4);
	assert_string_equal(status.trouble, "");
}

/* A record that touches a block. */
static void put_change(struct server *server, uint32_t blkno)
{
	const uint8_t delta[5] = {0xB8, 0x0B, 1, 0, (uint8_t)server->records};
	const struct wa_locator rel = REL_A;
	struct rec rec;
	rec_start(&rec, WA_RMGR_GENERIC, 0, 0);
	rec_block(&rec, 0, &rel, 0, blkno, delta, sizeof(delta));
	uint64_t start = wal_put(&server->wal, &rec);
	note(server, start, 0);
}

/* CREATE DATABASE ... STRATEGY file_copy */
static void put_database_copy(struct server *server)
{
	const uint32_t words[] = {htole32(16999), htole32(1663), htole32(5), htole32(1663)};
	struct rec rec;
	rec_start(&rec, WA_RMGR_DBASE, 0x00, 0);
	rec_main(&rec, words, sizeof(words));
	uint64_t start = wal_put(&server->wal, &rec);
	note(server, start, 0);
}

#define BLOCKS 97u

/* Segments full of changes, so that each block is in many of them. */
static void change_blocks(struct server *server, unsigned segments)
{
	for (unsigned i = 0; i < segments; i++) {
		const uint64_t until = server->wal.at + SEGMENT;
		while (server->wal.at < until) {
			put_change(server, server->records * 31 % BLOCKS);
			put(server, 8000);
			put_commit(server, server->records * SECOND);
		}
		flush(server);
		catch_up(server);
	}
}

static struct bd_inode *open_run(struct server *server, uint64_t first, uint32_t count)
{
	char name[WH_RUN_NAME + 1];
	wh_run_name(name, server->wal.timeline, (struct wa_run){first, count}, SEGMENT);
	return history_path(server, "merged", name);
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
		assert_true(wh_merge_next(wh_find(server->history, main_id(server))) >= 0);
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
	retain(server, 0, 28 * SEGMENT);
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
	uint64_t all = bytes_in(server, "index", &files) + bytes_in(server, "summary", &files) + bytes_in(server, "merged", &files);
	assert_int_equal(files, 2);
	assert_int_equal(catch_up(server).index_bytes, all);
	/* Nothing is made twice, also after a restart. */
	close_history(server);
	api_reopen(server->api);
	open_history(server);
	catch_up(server);
	while (wh_merge_next(wh_find(server->history, main_id(server))) == 1)
		;
	assert_int_equal(catch_up(server).index_bytes, all);
	/* One goes when nobody needs any of its segments. */
	retain(server, 0, 6 * SEGMENT);
	for (unsigned i = 0; i < 4; i++) {
		change_blocks(server, 1);
		checkpoint(server);
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
	retain(server, 86400, 0);
	const uint64_t first = catch_up(server).earliest.v;
	change_blocks(server, 25); /* segments 3 to 28, the last one not full */
	put_database_copy(server);
	change_blocks(server, 1);
	merge_all(server, 16);
	expect_message(wa_history_base(server->history, main_id(server), (struct nf_lsn){first}, &base, server->message, 512), server);
	const struct wa_lazy_base from = {.view = base.view,
					  .source = main_id(server),
					  .redo = base.redo,
					  .written = base.written,
					  .timeline = base.timeline};
	assert_ok(wa_lazy_open(server->api->store, &lazy));
	const struct nf_lsn to = {server->ends[server->records - 500]};
	expect_message(lz_begin(lazy, &from, to, false, &own, server->message, 512), server);
	assert_int_equal(own->plan.run_count, 0);
	assert_ok(lz_indexes_open_tables(&indexes, &own->plan, &own->log, own->index, true));
	const uint64_t expected = entries_of(&indexes, &count);
	assert_int_equal(indexes.count, own->plan.segment_count);
	lz_indexes_free(&indexes);

	expect_message(wa_lazy_begin(lazy, &from, to, &layer, server->message, 512), server);
	assert_int_equal(layer->plan.run_count, 2);
	assert_int_equal(expect_entries(layer, true, true, expected), own->plan.segment_count - 14);
	/* A copied database makes it ask for every block of the WAL. */
	uint8_t facts[WA_LAZY_FACTS_MAX];
	size_t size;
	expect_message(wa_lazy_seal(layer, main_id(server), facts, &size, server->message, 512), server);
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

#define server_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		server_test(off_until_turned_on),
		server_test(segments_are_kept_and_indexed),
		server_test(a_record_under_way_is_not_the_end_for_good),
		server_test(bounds_of_records),
		server_test(times_and_restore_points),
		server_test(what_is_old_goes),
		server_test(what_is_old_goes_without_a_write),
		server_test(what_is_held_stays),
		server_test(a_crash_loses_nothing),
		server_test(damaged_facts),
		server_test(when_it_cannot_be_kept),
		server_test(a_new_timeline_is_followed),
		server_test(going_back_begins_again),
		server_test(what_only_postgres_replays),
		server_test(what_has_no_history),
		server_test(a_deleted_branch),
		server_test(timeline_numbers),
		server_test(a_snapshot_from_before_history_is_no_base),
		server_test(a_layer_has_every_record_from_its_base_on),
		server_test(no_snapshot_through_a_layer),
		server_test(indexes_are_merged),
		server_test(layers_use_runs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
