/* A Postgres that is made up: a store in memory, WAL made by hand in segments of 1 MiB, pg_control. What Postgres does to pg_wal is done as fs/ does it:
 * the hook, then the change of the name. A set-up of cmocka makes one without history. */
#ifndef PITR_SERVER_H
#define PITR_SERVER_H

#include "tests/api/api.h"
#include "wal_build.h"
#include "walapply/pitr/wa_history.h"
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

int server_set_up(void **state);
int server_tear_down(void **state);
#define server_test(function) cmocka_unit_test_setup_teardown(function, server_set_up, server_tear_down)

struct bd_branch_id server_main(const struct server *server);
/* Fails with what the server was told when error is not 0. */
void server_expect(int error, const struct server *server);

/* ---- WAL and pg_control */
/* One record each, in memory: server_flush writes them. */
void server_put(struct server *server, size_t size);
void server_put_commit(struct server *server, int64_t time_us);
void server_put_restore_point(struct server *server, const char *name);
void server_put_wal_level(struct server *server, uint32_t wal_level);
/* A record that was put there by other means: where it begins, and when it commits (0: it does not). */
void server_note(struct server *server, uint64_t start, int64_t time_us);
/* Records of about `bytes`, a commit after each few, written. */
void server_work(struct server *server, uint64_t bytes);
/* The same, with checkpoints and looks at the branch; pg_wal keeps two segments. */
void server_long_work(struct server *server, unsigned segments);
void server_flush(struct server *server);
/* WAL up to `to` into pg_wal, with zeros behind it up to the segment's end. */
void server_flush_to(struct server *server, uint64_t to);
/* What a checkpoint does to pg_control; redo is where the next record will be. */
void server_checkpoint(struct server *server);
void server_write_control(struct server *server);

/* ---- files */
void server_write_file(struct bd_inode *dir, const char *name, uint64_t offset, const void *bytes, size_t size);
void server_segment_name(const struct server *server, char *name, uint64_t at);
void server_remove_segment(struct server *server, uint64_t at);
void server_recycle_segment(struct server *server, uint64_t at, uint64_t to);

/* ---- its history */
void server_open_history(struct server *server);
void server_close_history(struct server *server);
void server_retain(struct server *server, uint64_t seconds, uint64_t bytes);
struct wa_history_status server_catch_up(struct server *server);
/* One reference to what is below the branch's directory of history; NULL: it is not there. name NULL: the directory `kind`; kind NULL too: the
 * branch's. */
struct bd_inode *server_history_path(struct server *server, const char *kind, const char *name);
bool server_has_segment(struct server *server, const char *kind, uint64_t at);
/* The kept segment is what was written, its index is whole and has every record. */
void server_expect_kept(struct server *server, uint64_t start);
uint64_t server_bytes_in(struct server *server, const char *kind, unsigned *ret_files);

#endif
