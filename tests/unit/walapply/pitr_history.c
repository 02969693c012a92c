/* History beside a made-up Postgres: what it keeps and lets go, through crashes, damage and new timelines. */
#include "pitr_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "walapply/pitr/wa_facts.h"

static void off_until_turned_on(void **state)
{
	struct server *server = *state;
	struct wa_history_status status;
	struct bd_branch_info info;
	struct wa_base base;
	assert_int_equal(wa_history_status(server->history, server_main(server), &status), -ENODATA);
	assert_int_equal(
		wa_history_base(server->history, server_main(server), (struct nf_lsn){FIRST}, &base, server->message, 512),
		-ENODATA);
	server_work(server, 3 * SEGMENT);
	server_remove_segment(server, FIRST);
	/* Nothing is made in the store before somebody asks for it. */
	assert_int_equal(bd_branch_find(server->api->store, WA_HISTORY_BRANCH, &info), -ENOENT);
	server_checkpoint(server);
	server_retain(server, 3600, 0);
	status = server_catch_up(server);
	assert_int_equal(status.earliest.v, server->wal.at);
	assert_int_equal(status.latest.v, server->wal.at);
	assert_int_equal(status.snapshots, 1);
	assert_int_equal(status.timeline, WAL_TIMELINE);
	assert_int_equal(status.major, 15);
	assert_string_equal(status.trouble, "");
	server_retain(server, 0, 0);
	assert_int_equal(wa_history_status(server->history, server_main(server), &status), -ENODATA);
	assert_null(server_history_path(server, NULL, NULL));
	assert_ok(bd_branch_get(server->api->store, server_main(server), &info));
	assert_int_equal(info.snapshots, 0);
}

static void segments_are_kept_and_indexed(void **state)
{
	struct server *server = *state;
	struct wa_base base;
	server_retain(server, 3600, 0);
	uint64_t earliest = server->wal.at;
	for (unsigned i = 0; i < 12; i++) {
		server_work(server, SEGMENT);
		/* With a follower that lags, and with one that does not. */
		if (i % 3 == 0)
			server_catch_up(server);
		if (i == 5)
			server_checkpoint(server);
		if (i % 2 == 0)
			server_remove_segment(server, FIRST + i / 2 * SEGMENT);
	}
	server_recycle_segment(server, FIRST + 6 * SEGMENT, FIRST + 40 * SEGMENT);
	/* A file that is ready for later has nothing of its own: nothing is kept of it. */
	server_remove_segment(server, FIRST + 40 * SEGMENT);
	assert_false(server_has_segment(server, "wal", FIRST + 40 * SEGMENT));
	struct wa_history_status status = server_catch_up(server);
	assert_int_equal(status.earliest.v, earliest);
	assert_int_equal(status.latest.v, server->wal.at);
	assert_int_equal(status.segments, (server->wal.at - FIRST) / SEGMENT);
	assert_true(status.snapshots >= 3);
	for (unsigned i = 0; i <= 6; i++)
		server_expect_kept(server, FIRST + i * SEGMENT);
	assert_false(server_has_segment(server, "wal", FIRST + 7 * SEGMENT));
	/* Any point has a base whose WAL ends at or before it, and the newest such one. */
	uint64_t last = 0;
	for (unsigned i = 0; i < server->records; i += 50) {
		struct nf_lsn x = {server->ends[i]};
		int error = wa_history_base(server->history, server_main(server), x, &base, server->message, 512);
		if (x.v < earliest) {
			assert_int_equal(error, -ERANGE);
			continue;
		}
		server_expect(error, server);
		assert_true(base.written.v <= x.v && base.redo.v <= base.written.v && base.written.v >= last);
		assert_false(base.is_foreign || base.is_minimal);
		last = base.written.v;
	}
	assert_int_equal(wa_history_base(server->history, server_main(server), (struct nf_lsn){server->wal.at + 8}, &base,
					 server->message, 512),
			 -ERANGE);
}

static void a_record_under_way_is_not_the_end_for_good(void **state)
{
	struct server *server = *state;
	server_retain(server, 3600, 0);
	server_work(server, SEGMENT / 2);
	uint64_t before = server->wal.at;
	server_put(server, 300000); /* over many pages, written in pieces */
	for (unsigned i = 0; i < 5; i++) {
		server_flush_to(server, before + i * 60000);
		assert_int_equal(server_catch_up(server).latest.v, before);
	}
	server_flush(server);
	assert_int_equal(server_catch_up(server).latest.v, server->wal.at);
	/* One that begins in a segment and ends in the next: the segment is full, but cannot be indexed yet. */
	server_work(server, SEGMENT - server->wal.at % SEGMENT - 20000);
	before = server->wal.at;
	server_put(server, 100000);
	server_flush_to(server, before + 40000);
	struct wa_history_status status = server_catch_up(server);
	assert_int_equal(status.latest.v, before);
	assert_int_equal(status.begun_again_us, 0);
	server_flush(server);
	status = server_catch_up(server);
	assert_int_equal(status.latest.v, server->wal.at);
	assert_int_equal(status.segments, (server->wal.at - FIRST) / SEGMENT);
	server_remove_segment(server, FIRST);
	server_expect_kept(server, FIRST);
}

static void what_is_old_goes(void **state)
{
	struct server *server = *state;
	struct bd_snapshot_info info;
	struct wa_base base;
	server_work(server, SEGMENT);
	server_retain(server, 0, 5 * SEGMENT);
	assert_ok(bd_snapshot_create(server->api->store, server_main(server), "mine", &info));
	struct wa_history_status status = server_catch_up(server);
	assert_int_equal(status.snapshots, 2); /* a user's is a base too */
	server_long_work(server, 20);
	status = server_catch_up(server);
	assert_true(status.wal_bytes <= 5 * SEGMENT);
	assert_true(status.earliest.v > FIRST + 12 * SEGMENT);
	assert_ok(bd_snapshot_find(server->api->store, server_main(server), "mine", &info));
	assert_false(server_has_segment(server, "wal", FIRST + 5 * SEGMENT));
	assert_false(server_has_segment(server, "index", FIRST + 5 * SEGMENT));
	assert_int_equal(wa_history_base(server->history, server_main(server), (struct nf_lsn){FIRST + 8 * SEGMENT}, &base,
					 server->message, 512),
			 -ERANGE);
	assert_false(server_has_segment(server, "summary", FIRST + 5 * SEGMENT));
	/* Index bytes are what the files are. */
	unsigned indexes, summaries;
	uint64_t bytes = server_bytes_in(server, "index", &indexes) + server_bytes_in(server, "summary", &summaries);
	assert_int_equal(bytes, status.index_bytes);
	assert_true(indexes >= 3 && indexes <= 7);
	assert_int_equal(indexes, summaries);
}

/* What is asked for lasts a second, and nobody writes any more. */
static void what_is_old_goes_without_a_write(void **state)
{
	const struct timespec pause = {.tv_nsec = 100000000};
	struct server *server = *state;
	server_work(server, SEGMENT);
	server_retain(server, 1, 0);
	server_long_work(server, 9);
	struct wa_history_status before = server_catch_up(server), status = before;
	assert_true(before.snapshots >= 2);
	/* Not asked for anything that looks at the branch. */
	for (unsigned i = 0; i < 100 && status.snapshots > 1; i++) {
		nanosleep(&pause, NULL);
		assert_ok(wa_history_status(server->history, server_main(server), &status));
	}
	assert_int_equal(status.snapshots, 1);
	assert_true(status.earliest.v > before.earliest.v);
	assert_int_equal(status.latest.v, before.latest.v);
	assert_false(server_has_segment(server, "wal", FIRST));
}

static void what_is_held_stays(void **state)
{
	struct server *server = *state;
	server_retain(server, 0, 5 * SEGMENT);
	server_work(server, 3 * SEGMENT);
	struct nf_lsn from = {FIRST + SEGMENT + 500}, to = {server->wal.at};
	server_catch_up(server);
	server_expect(wa_history_hold(server->history, server_main(server), "child", from, to, server->message, 512), server);
	const uint64_t last = to.v / SEGMENT * SEGMENT;
	assert_true(server_has_segment(server, "wal", last)); /* as far as it was filled */
	server_long_work(server, 20);
	assert_false(server_has_segment(server, "wal", FIRST));
	for (uint64_t at = FIRST + SEGMENT; at <= last; at += SEGMENT)
		server_expect_kept(server, at);
	assert_false(server_has_segment(server, "wal", last + 2 * SEGMENT));
	/* Also without the branch's history, and over a restart. */
	server_retain(server, 0, 0);
	server_close_history(server);
	api_reopen(server->api);
	server_open_history(server);
	assert_true(server_has_segment(server, "wal", FIRST + SEGMENT));
	assert_false(server_has_segment(server, "wal", last + 5 * SEGMENT));
	assert_ok(wa_history_release(server->history, server_main(server), "other"));
	assert_true(server_has_segment(server, "wal", FIRST + SEGMENT));
	assert_ok(wa_history_release(server->history, server_main(server), "child"));
	assert_null(server_history_path(server, NULL, NULL));
}

static void a_crash_loses_nothing(void **state)
{
	struct server *server = *state;
	server_retain(server, 3600, 0);
	uint64_t earliest = server->wal.at;
	for (unsigned i = 0; i < 6; i++) {
		server_work(server, SEGMENT);
		if (i % 2 == 0)
			server_catch_up(server);
		server_remove_segment(server, FIRST + i * SEGMENT);
		assert_ok(bd_store_sync(server->api->store)); /* Postgres's fsync of pg_wal */
		server_close_history(server);
		api_crash_as(server->api, i);
		server_open_history(server);
	}
	struct wa_history_status status = server_catch_up(server);
	assert_int_equal(status.earliest.v, earliest);
	assert_int_equal(status.latest.v, server->wal.at);
	assert_int_equal(status.begun_again_us, 0);
	for (unsigned i = 0; i < 6; i++)
		server_expect_kept(server, FIRST + i * SEGMENT);
}

static void damaged_facts(void **state)
{
	struct server *server = *state;
	struct wa_history_status status;
	server_retain(server, 3600, 0);
	server_work(server, 2 * SEGMENT);
	server_catch_up(server);
	server_remove_segment(server, FIRST);
	struct bd_inode *facts = server_history_path(server, "facts", NULL);
	api_put(facts, 100, 'x', 1);
	bd_inode_unref(facts, 1);
	server_close_history(server);
	api_reopen(server->api);
	server_open_history(server);
	assert_ok(wa_history_status(server->history, server_main(server), &status));
	assert_non_null(strstr(status.trouble, "damaged"));
	assert_int_equal(wa_history_catch_up(server->history, server_main(server), server->message, 512), -ENODATA);
	/* Nothing is deleted, nothing is kept. */
	assert_true(server_has_segment(server, "wal", FIRST));
	server_remove_segment(server, FIRST + SEGMENT);
	assert_false(server_has_segment(server, "wal", FIRST + SEGMENT));
	server_checkpoint(server);
	server_retain(server, 3600, 0);
	status = server_catch_up(server);
	assert_string_equal(status.trouble, "");
	assert_int_equal(status.snapshots, 1);
	assert_false(server_has_segment(server, "wal", FIRST));
}

static void when_it_cannot_be_kept(void **state)
{
	struct server *server = *state;
	char name[BD_NAME_MAX + 1];
	server_retain(server, 3600, 0);
	server_work(server, 3 * SEGMENT);
	server_checkpoint(server);
	server_catch_up(server);
	/* Something in the way stands for a full disk. */
	server_segment_name(server, name, FIRST + SEGMENT);
	strcat(name, ".new");
	struct bd_inode *dir = server_history_path(server, "wal", NULL);
	bd_inode_unref(api_create(dir, name, S_IFDIR | 0700), 1);
	bd_inode_unref(dir, 1);
	server_remove_segment(server, FIRST);
	assert_true(server_has_segment(server, "wal", FIRST));
	server_remove_segment(server, FIRST + SEGMENT); /* Postgres goes on all the same */
	struct wa_history_status status = server_catch_up(server);
	assert_true(status.begun_again_us != 0);
	assert_non_null(strstr(status.begun_again_why, "could not be kept"));
	assert_int_equal(status.earliest.v, server->wal.at);
	assert_int_equal(status.snapshots, 1);
	assert_false(server_has_segment(server, "wal", FIRST));
	server_work(server, SEGMENT);
	assert_int_equal(server_catch_up(server).latest.v, server->wal.at);
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
	server_flush(server);
	snprintf(name, sizeof(name), "%08X.history", server->wal.timeline);
	server_write_file(server->pg_wal, name, 0, history, strlen(history));
	server->control.copy.timeline = server->wal.timeline;
}

static void a_new_timeline_is_followed(void **state)
{
	struct server *server = *state;
	char history[64];
	server_retain(server, 3600, 0);
	uint64_t earliest = server->wal.at;
	server_work(server, 2 * SEGMENT + SEGMENT / 3);
	server_catch_up(server);
	snprintf(history, sizeof(history), "%u\t0/%X\tpromoted\n", WAL_TIMELINE, (unsigned)server->wal.at);
	switch_timeline(server, server->wal.at, history);
	server_checkpoint(server);
	server_work(server, 3 * SEGMENT);
	struct wa_history_status status = server_catch_up(server);
	assert_int_equal(status.timeline, WAL_TIMELINE + 1);
	assert_int_equal(status.earliest.v, earliest);
	assert_int_equal(status.latest.v, server->wal.at);
	assert_int_equal(status.begun_again_us, 0);
	server_remove_segment(server, FIRST + 2 * SEGMENT);
	server_remove_segment(server, FIRST + 3 * SEGMENT);
	server_expect_kept(server, FIRST + 2 * SEGMENT);
	server_expect_kept(server, FIRST + 3 * SEGMENT);
}

static void going_back_begins_again(void **state)
{
	struct server *server = *state;
	char history[64];
	server_retain(server, 3600, 0);
	server_work(server, 2 * SEGMENT);
	server_catch_up(server);
	uint64_t back = server->ends[server->records - 40];
	snprintf(history, sizeof(history), "%u\t0/%X\tbefore a mistake\n", WAL_TIMELINE, (unsigned)back);
	switch_timeline(server, back, history);
	server_checkpoint(server);
	struct wa_history_status status = server_catch_up(server);
	assert_true(status.begun_again_us != 0);
	assert_non_null(strstr(status.begun_again_why, "does not continue"));
	assert_int_equal(status.earliest.v, server->wal.at);
	server_work(server, 2 * SEGMENT);
	assert_int_equal(server_catch_up(server).latest.v, server->wal.at);
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
	server_write_control(server);
	assert_int_equal(wa_history_retain(server->history, server_main(server), week, server->message, 512), -EINVAL);
	assert_non_null(strstr(server->message, "archive recovery"));
	server->control.state = WA_IN_PRODUCTION;
	server_write_control(server);
	server_write_file(server->api->root, "backup_label", 0, "x", 1);
	assert_int_equal(wa_history_retain(server->history, server_main(server), week, server->message, 512), -EINVAL);
	assert_ok(bd_unlink(server->api->root, "backup_label"));
	server_write_file(server->api->root, "PG_VERSION", 0, "19\n", 3);
	assert_int_equal(wa_history_retain(server->history, server_main(server), week, server->message, 512), -EINVAL);
	assert_non_null(strstr(server->message, "19"));
	server_write_file(server->api->root, "PG_VERSION", 0, "15\n", 3);
	/* What failed left nothing. */
	assert_null(server_history_path(server, NULL, NULL));
	struct bd_branch_info info;
	assert_ok(bd_branch_get(server->api->store, server_main(server), &info));
	assert_int_equal(info.snapshots, 0);
	server_retain(server, 604800, 0);
}

static void a_deleted_branch(void **state)
{
	struct server *server = *state;
	struct bd_branch_info copy;
	struct bd_branch_id old = server_main(server);
	server_retain(server, 3600, 0);
	server_work(server, 2 * SEGMENT);
	server_checkpoint(server);
	server_catch_up(server);
	server_remove_segment(server, FIRST);
	/* The daemon may be killed between the two. */
	assert_ok(bd_branch_create(server->api->store, "copy", api_head(old), &copy, NULL));
	assert_ok(bd_branch_detach(server->api->store, copy.id));
	server_close_history(server);
	bd_inode_unref(server->api->root, 1);
	assert_ok(bd_branch_delete(server->api->store, old));
	assert_ok(bd_branch_rename(server->api->store, copy.id, "main"));
	server->api->root = api_root(server->api, api_head(copy.id));
	server_open_history(server);
	assert_null(server_history_path(server, NULL, NULL));
	server->api->main = copy;
	server_retain(server, 3600, 0);
	assert_int_equal(server_catch_up(server).latest.v, server->wal.at);
	wa_history_branch_deleted(server->history, copy.id);
	assert_null(server_history_path(server, NULL, NULL));
}

static void timeline_numbers(void **state)
{
	struct server *server = *state;
	uint32_t timeline;
	assert_ok(wa_history_new_timeline(server->history, 5, &timeline));
	assert_int_equal(timeline, 6);
	assert_ok(wa_history_new_timeline(server->history, 2, &timeline));
	assert_int_equal(timeline, 7);
	server_close_history(server);
	api_crash(server->api);
	server_open_history(server);
	assert_ok(wa_history_new_timeline(server->history, 2, &timeline));
	assert_int_equal(timeline, 8);
	assert_int_equal(wa_history_new_timeline(server->history, UINT32_MAX, &timeline), -ERANGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		server_test(off_until_turned_on),
		server_test(segments_are_kept_and_indexed),
		server_test(a_record_under_way_is_not_the_end_for_good),
		server_test(what_is_old_goes),
		server_test(what_is_old_goes_without_a_write),
		server_test(what_is_held_stays),
		server_test(a_crash_loses_nothing),
		server_test(damaged_facts),
		server_test(when_it_cannot_be_kept),
		server_test(a_new_timeline_is_followed),
		server_test(going_back_begins_again),
		server_test(what_has_no_history),
		server_test(a_deleted_branch),
		server_test(timeline_numbers),
	};

	return cmocka_run_group_tests_name("pitr_history", tests, NULL, NULL);
}
