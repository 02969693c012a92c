/* Branches without history beside a made-up Postgres: the indexes that their recovery would need are there, are of the segments as they are, and go. */
#include "pitr_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "walapply/index/wa_index.h"
#include "walapply/pitr/crashed_impl.h"
#include "walapply/pitr/wa_crashed.h"
#include "walapply/summary/wa_summary.h"

#define PAUSE_MS 20
#define TRIES 1500
#define BEHIND 2u /* segments that pitr_server.c leaves without */

/* The file `name` of what was made of the branch; NULL. */
static struct bd_inode *made(struct server *server, struct bd_branch_id branch, const char *kind, const char *name)
{
	struct bd_branch_info info;
	struct bd_inode *file;
	char crashed[WH_CRASHED_NAME], path[128];
	if (bd_branch_find(server->api->store, WA_HISTORY_BRANCH, &info) != 0)
		return NULL;
	wh_crashed_name(branch, crashed);
	snprintf(path, sizeof(path), "%s/%s/%s", crashed, kind, name);
	return wh_path(server->api->store, api_head(info.id), path, &file) == 0 ? file : NULL;
}

/* Its number; 0 it is not there. */
static uint64_t made_number(struct server *server, struct bd_branch_id branch, const char *kind, uint64_t at)
{
	char name[WA_SEGMENT_NAME + 1];
	server_segment_name(server, name, at);
	struct bd_inode *file = made(server, branch, kind, name);
	if (file == NULL)
		return 0;
	uint64_t number = api_attr(file).file.v;
	bd_inode_unref(file, 1);
	return number;
}

/* Until the index of the segment is there, or not. */
static void wait_for(struct server *server, const char *kind, uint64_t at, bool is_there)
{
	const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000};
	for (unsigned i = 0; i < TRIES && (made_number(server, server_main(server), kind, at) != 0) != is_there; i++)
		nanosleep(&pause, NULL);
	assert_int_equal(made_number(server, server_main(server), kind, at) != 0, is_there);
}

/* Both are what the segment's records say. */
static void expect_made(struct server *server, struct bd_branch_id branch, uint64_t start)
{
	char name[WA_SEGMENT_NAME + 1];
	uint8_t *bytes = malloc(SEGMENT);
	struct wa_index index;
	struct wa_summary summary;
	struct wa_error error;
	unsigned count = 0;
	server_segment_name(server, name, start);
	struct bd_inode *file = made(server, branch, "index", name);
	assert_non_null(file);
	ssize_t size = bd_read(file, 0, bytes, SEGMENT);
	bd_inode_unref(file, 1);
	assert_ok(wa_index_open(bytes, (size_t)size, &index, &error));
	assert_ok(wa_index_verify(&index, &error));
	assert_int_equal(index.info.base.v, start);
	for (unsigned i = 0; i < server->records; i++)
		count += server->starts[i] >= NF_MAX(start, server->control.copy.redo.v) && server->starts[i] < start + SEGMENT;
	assert_int_equal(index.info.records, count);
	file = made(server, branch, "summary", name);
	assert_non_null(file);
	size = bd_read(file, 0, bytes, SEGMENT);
	bd_inode_unref(file, 1);
	assert_ok(wa_summary_open(bytes, (size_t)size, &summary, &error));
	assert_int_equal(summary.info.records, count);
	free(bytes);
}

static void made_while_wal_is_written(void **state)
{
	struct server *server = *state;
	struct wa_history_status status;
	struct bd_branch_info info;
	server_work(server, (BEHIND + 6) * SEGMENT);
	wait_for(server, "index", FIRST + 5 * SEGMENT, true);
	for (unsigned i = 0; i < 6; i++)
		expect_made(server, server_main(server), FIRST + i * SEGMENT);
	/* The last ones are not, and nothing else is. */
	assert_int_equal(made_number(server, server_main(server), "index", FIRST + 6 * SEGMENT), 0);
	assert_int_equal(wa_history_status(server->history, server_main(server), &status), -ENODATA);
	assert_null(server_history_path(server, NULL, NULL));
	assert_ok(bd_branch_get(server->api->store, server_main(server), &info));
	assert_int_equal(info.snapshots, 0);
	/* What a checkpoint leaves behind goes. */
	server_checkpoint(server);
	wait_for(server, "index", FIRST + 5 * SEGMENT, false);
	wait_for(server, "summary", FIRST, false);
	uint64_t next = server->wal.at - server->wal.at % SEGMENT;
	server_work(server, (BEHIND + 2) * SEGMENT);
	wait_for(server, "index", next, true);
	expect_made(server, server_main(server), next);
}

static void little_wal_costs_nothing(void **state)
{
	struct server *server = *state;
	struct bd_branch_info info;
	for (unsigned i = 0; i < 6; i++) {
		server_work(server, BEHIND * SEGMENT);
		server_checkpoint(server);
		nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
	}
	assert_int_equal(bd_branch_find(server->api->store, WA_HISTORY_BRANCH, &info), -ENOENT);
}

/* What is there stays, the rest is made; a segment that was touched since is read again. */
static void a_recovery_makes_what_is_missing(void **state)
{
	struct server *server = *state;
	const struct bd_branch_id main = server_main(server);
	uint64_t numbers[6];
	char name[WA_SEGMENT_NAME + 1];
	server_work(server, (BEHIND + 6) * SEGMENT);
	wait_for(server, "index", FIRST + 5 * SEGMENT, true);
	for (unsigned i = 0; i < 6; i++)
		numbers[i] = made_number(server, main, "index", FIRST + i * SEGMENT);
	/* The same bytes written again: nobody can tell that from others. */
	server_segment_name(server, name, FIRST + 2 * SEGMENT);
	server_write_file(server->pg_wal, name, 0, wal_byte(&server->wal, FIRST + 2 * SEGMENT), 8192);
	/* Its summary is cut. */
	server_segment_name(server, name, FIRST + 4 * SEGMENT);
	struct bd_inode *cut = made(server, main, "summary", name);
	struct bd_attr attr = {.size_bytes = 10};
	assert_ok(bd_setattr(cut, BD_SET_SIZE, &attr, &attr));
	bd_inode_unref(cut, 1);
	assert_ok(wa_crashed_index(server->history, main, NULL, NULL));
	for (unsigned i = 0; i < BEHIND + 6; i++)
		expect_made(server, main, FIRST + i * SEGMENT);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(made_number(server, main, "index", FIRST + i * SEGMENT) == numbers[i], i != 2 && i != 4);
	wa_crashed_drop(server->history, main);
	assert_int_equal(made_number(server, main, "index", FIRST), 0);
}

/* pg_wal as it was before the last segments were written: what was made of those is gone, also where there is nothing to be made. */
static void another_life_of_the_log(void **state)
{
	struct server *server = *state;
	const struct bd_branch_id main = server_main(server);
	char name[WA_SEGMENT_NAME + 1];
	uint8_t *page = calloc(1, 8192);
	server_work(server, (BEHIND + 4) * SEGMENT);
	wait_for(server, "index", FIRST + 3 * SEGMENT, true);
	for (unsigned i = 1; i < BEHIND + 6; i++) {
		server_segment_name(server, name, FIRST + i * SEGMENT);
		int error = bd_unlink(server->pg_wal, name);
		assert_true(error == 0 || error == -ENOENT);
	}
	/* Of the first one half is there, with what another life wrote. */
	server_segment_name(server, name, FIRST);
	for (unsigned i = 64; i < SEGMENT / 8192; i++)
		server_write_file(server->pg_wal, name, i * 8192, page, 8192);
	assert_ok(wa_crashed_index(server->history, main, NULL, NULL));
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(made_number(server, main, "index", FIRST + i * SEGMENT), 0);
		assert_int_equal(made_number(server, main, "summary", FIRST + i * SEGMENT), 0);
	}
	free(page);
}

/* They are there after the daemon's end, but those of branches that are gone; a branch of the branch uses its parent's. */
static void shared_and_kept(void **state)
{
	struct server *server = *state;
	const struct bd_branch_id main = server_main(server);
	struct bd_branch_info child, gone;
	server_work(server, (BEHIND + 4) * SEGMENT);
	wait_for(server, "index", FIRST + 3 * SEGMENT, true);
	uint64_t number = made_number(server, main, "index", FIRST);
	assert_ok(bd_branch_create(server->api->store, "child", api_head(main), &child, NULL));
	assert_ok(bd_branch_create(server->api->store, "gone", api_head(main), &gone, NULL));
	assert_ok(wa_crashed_index(server->history, child.id, NULL, NULL));
	assert_ok(wa_crashed_index(server->history, gone.id, NULL, NULL));
	assert_int_equal(made_number(server, child.id, "index", FIRST), number);
	assert_true(made_number(server, child.id, "index", FIRST + 4 * SEGMENT) != 0);
	expect_made(server, child.id, FIRST);
	server_close_history(server);
	assert_ok(bd_branch_delete(server->api->store, gone.id));
	server_open_history(server);
	assert_int_equal(made_number(server, main, "index", FIRST), number);
	assert_int_equal(made_number(server, child.id, "index", FIRST), number);
	assert_int_equal(made_number(server, gone.id, "index", FIRST), 0);
	/* Deleted while the history is open, and never written to since. */
	assert_ok(bd_branch_delete(server->api->store, child.id));
	wa_history_branch_deleted(server->history, child.id);
	assert_int_equal(made_number(server, child.id, "index", FIRST), 0);
	/* With history there is no need for them. */
	server_retain(server, 3600, 0);
	assert_int_equal(made_number(server, main, "index", FIRST), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		server_test(made_while_wal_is_written),
		server_test(little_wal_costs_nothing),
		server_test(a_recovery_makes_what_is_missing),
		server_test(another_life_of_the_log),
		server_test(shared_and_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
