#include "pitr_server.h"

#include <stdio.h>
#include <stdlib.h>

#include "walapply/index/wa_index.h"
#include "walapply/pitr/wa_facts.h"

void server_write_file(struct bd_inode *dir, const char *name, uint64_t offset, const void *bytes, size_t size)
{
	struct bd_inode *file;
	if (bd_lookup(dir, name, &file) != 0)
		file = api_create(dir, name, S_IFREG | 0600);
	assert_ok(bd_write(file, offset, bytes, size, 0));
	bd_inode_unref(file, 1);
}

void server_segment_name(const struct server *server, char *name, uint64_t at)
{
	wa_segment_name(name, server->wal.timeline, (struct nf_lsn){at}, SEGMENT);
}

/* WAL up to `to` into pg_wal, with zeros behind it up to the segment's end. */
void server_flush_to(struct server *server, uint64_t to)
{
	char name[WA_SEGMENT_NAME + 1];
	while (server->written < to) {
		uint64_t end = NF_MIN(to, (server->written / SEGMENT + 1) * SEGMENT);
		struct bd_inode *file;
		server_segment_name(server, name, server->written);
		server_write_file(server->pg_wal, name, server->written % SEGMENT, wal_byte(&server->wal, server->written),
				  (size_t)(end - server->written));
		file = api_lookup(server->pg_wal, name);
		api_set_size(file, SEGMENT);
		bd_inode_unref(file, 1);
		server->written = end;
	}
}

void server_flush(struct server *server)
{
	server_flush_to(server, server->wal.at);
}

void server_write_control(struct server *server)
{
	struct bd_inode *global = api_lookup(server->api->root, "global");
	wa_control_store(15, &server->control, server->control_bytes);
	server_write_file(global, "pg_control", 0, server->control_bytes, sizeof(server->control_bytes));
	bd_inode_unref(global, 1);
}

void server_note(struct server *server, uint64_t start, int64_t time_us)
{
	assert_true(server->records < RECORDS_MAX);
	server->starts[server->records] = start;
	server->ends[server->records] = server->wal.at;
	server->times[server->records++] = time_us;
}

void server_put(struct server *server, size_t size)
{
	uint64_t start = wal_put_plain(&server->wal, 100 + server->records, size);
	server_note(server, start, 0);
}

void server_put_commit(struct server *server, int64_t time_us)
{
	struct rec rec;
	uint64_t le = htole64((uint64_t)time_us);
	rec_start(&rec, WA_RMGR_XACT, 0x00, 100 + server->records);
	rec_main(&rec, &le, sizeof(le));
	uint64_t start = wal_put(&server->wal, &rec);
	server_note(server, start, time_us);
}

void server_put_restore_point(struct server *server, const char *name)
{
	struct rec rec;
	uint8_t main[72] = {0};
	memcpy(main + 8, name, strlen(name));
	rec_start(&rec, WA_RMGR_XLOG, 0x70, 0);
	rec_main(&rec, main, sizeof(main));
	uint64_t start = wal_put(&server->wal, &rec);
	server_note(server, start, 0);
}

void server_put_wal_level(struct server *server, uint32_t wal_level)
{
	struct rec rec;
	uint8_t main[28] = {0};
	main[20] = (uint8_t)wal_level;
	rec_start(&rec, WA_RMGR_XLOG, 0x60, 0);
	rec_main(&rec, main, sizeof(main));
	uint64_t start = wal_put(&server->wal, &rec);
	server_note(server, start, 0);
}

/* Records of about `bytes`, a commit after each few. */
void server_work(struct server *server, uint64_t bytes)
{
	uint64_t until = server->wal.at + bytes;
	while (server->wal.at < until) {
		server_put(server, 3000 + server->records % 977);
		server_put(server, 100);
		server_put_commit(server, server->records * SECOND);
	}
	server_flush(server);
}

/* What a checkpoint does to pg_control; redo is where the next record will be. */
void server_checkpoint(struct server *server)
{
	uint64_t redo = server->wal.at;
	server_put(server, 60);
	server_flush(server);
	server->control.copy.redo.v = server->starts[server->records - 1];
	server->control.checkpoint = server->control.copy.redo;
	assert_true(redo <= server->control.checkpoint.v);
	server_write_control(server);
}

void server_open_history(struct server *server)
{
	const struct wa_history_options options = {.snapshot_every_bytes = 4 * SEGMENT, .retain_every_ms = 300, .unindexed_bytes = 2 * SEGMENT};
	assert_ok(wa_history_open(server->api->store, &options, &server->history));
	server->pg_wal = api_lookup(server->api->root, "pg_wal");
}

void server_close_history(struct server *server)
{
	bd_inode_unref(server->pg_wal, 1);
	wa_history_close(server->history);
}

static void put32(uint8_t *bytes, size_t at, uint32_t value)
{
	value = htole32(value);
	memcpy(bytes + at, &value, 4);
}

int server_set_up(void **state)
{
	struct server *server = calloc(1, sizeof(*server));
	void *api;
	assert_int_equal(api_set_up(&api), 0);
	server->api = api;
	server_write_file(server->api->root, "PG_VERSION", 0, "15\n", 3);
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
	server_open_history(server);
	server_checkpoint(server);
	*state = server;
	return 0;
}

int server_tear_down(void **state)
{
	struct server *server = *state;
	void *api = server->api;
	server_close_history(server);
	api_tear_down(&api);
	wal_free(&server->wal);
	free(server);
	return 0;
}

struct bd_branch_id server_main(const struct server *server)
{
	return server->api->main.id;
}

void server_expect(int error, const struct server *server)
{
	if (error != 0)
		fail_msg("%d: %s", error, server->message);
}

void server_retain(struct server *server, uint64_t seconds, uint64_t bytes)
{
	server_expect(wa_history_retain(server->history, server_main(server), (struct wa_retention){seconds, bytes},
					server->message, sizeof(server->message)),
		      server);
}

struct wa_history_status server_catch_up(struct server *server)
{
	struct wa_history_status status;
	server_expect(wa_history_catch_up(server->history, server_main(server), server->message, sizeof(server->message)),
		      server);
	assert_ok(wa_history_status(server->history, server_main(server), &status));
	return status;
}

/* As fs/ does it. */
void server_remove_segment(struct server *server, uint64_t at)
{
	char name[WA_SEGMENT_NAME + 1];
	server_segment_name(server, name, at);
	assert_ok(wa_history_keep(server->history, server->pg_wal, name));
	assert_ok(bd_unlink(server->pg_wal, name));
}

void server_recycle_segment(struct server *server, uint64_t at, uint64_t to)
{
	char name[WA_SEGMENT_NAME + 1], fresh[WA_SEGMENT_NAME + 1];
	server_segment_name(server, name, at);
	server_segment_name(server, fresh, to);
	assert_ok(wa_history_keep(server->history, server->pg_wal, name));
	assert_ok(wa_history_keep(server->history, server->pg_wal, fresh));
	assert_ok(bd_rename(server->pg_wal, name, server->pg_wal, fresh, 0));
}

struct bd_inode *server_history_path(struct server *server, const char *kind, const char *name)
{
	struct bd_branch_info info;
	struct bd_inode *root, *branch, *dir, *file;
	char id[16];
	assert_ok(bd_branch_find(server->api->store, WA_HISTORY_BRANCH, &info));
	root = api_root(server->api, api_head(info.id));
	snprintf(id, sizeof(id), "%u", server_main(server).v);
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

bool server_has_segment(struct server *server, const char *kind, uint64_t at)
{
	char name[WA_SEGMENT_NAME + 1];
	server_segment_name(server, name, at);
	struct bd_inode *file = server_history_path(server, kind, name);
	if (file != NULL)
		bd_inode_unref(file, 1);
	return file != NULL;
}

/* The kept segment is what was written, its index is whole and has every record. */
void server_expect_kept(struct server *server, uint64_t start)
{
	char name[WA_SEGMENT_NAME + 1];
	uint8_t *bytes = malloc(SEGMENT);
	struct wa_index index;
	struct wa_error error;
	server_segment_name(server, name, start);
	struct bd_inode *file = server_history_path(server, "wal", name);
	assert_non_null(file);
	assert_int_equal(bd_read(file, 0, bytes, SEGMENT), SEGMENT);
	assert_memory_equal(bytes, wal_byte(&server->wal, start), SEGMENT);
	bd_inode_unref(file, 1);
	file = server_history_path(server, "index", name);
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

/* Work with checkpoints; pg_wal keeps two segments. */
void server_long_work(struct server *server, unsigned segments)
{
	for (unsigned i = 0; i < segments; i++) {
		uint64_t before = server->wal.at;
		server_work(server, SEGMENT);
		server_checkpoint(server);
		server_catch_up(server);
		for (uint64_t at = before / SEGMENT; at < server->wal.at / SEGMENT; at++)
			server_remove_segment(server, (at - 1) * SEGMENT);
	}
}

uint64_t server_bytes_in(struct server *server, const char *kind, unsigned *ret_files)
{
	struct bd_inode *dir = server_history_path(server, kind, NULL);
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
