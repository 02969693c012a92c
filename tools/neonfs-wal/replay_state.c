/* Operations on files and directories. What Postgres does for each: the *_redo functions named in wa_state.h. */
#include "tools/neonfs-wal/replay_impl.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/nf_cursor.h"
#include "tools/neonfs-wal/replay_files.h"
#include "walapply/redo/page.h"

#define VM_BLOCKS_PER_PAGE 32672u /* heap blocks a page of the visibility map has bits for */
#define FSM_SLOTS_PER_PAGE 4069u /* heap blocks a leaf page of the free space map has bytes for */
#define FSM_NODES_AT 28u /* page header, fp_next_slot */
#define FSM_INNER_NODES 4095u
#define FSM_LEVELS 3u

static int failed(struct replay *replay, const struct wa_state_op *op, int status, const char *what)
{
	rp_fail(replay, status, "%s: %s", what, strerror(-status));
	replay->error.lsn = op->lsn;
	return status;
}

static struct wa_locator read_locator(const uint8_t *bytes)
{
	return (struct wa_locator){wa_get32(bytes), wa_get32(bytes + 4), wa_get32(bytes + 8)};
}

/* -------------------------------------------------------------- relations */

static int create_relation(struct replay *replay, const struct wa_state_op *op)
{
	for (size_t i = 0; i < replay->drop_count; i++)
		if (wa_locator_equal(replay->drops[i].rel, op->rel.rel)) {
			int status = rp_quiet(replay);
			if (status < 0)
				return status;
			break;
		}
	replay->has_init_forks |= op->rel.fork == WA_FORK_INIT;
	int status = rp_rels_touch(replay->rels, op->rel.rel, op->rel.fork);
	return status < 0 ? failed(replay, op, status, "a relation's file cannot be made") : 0;
}

static void forget_relation(struct replay *replay, struct rp_rel *rel)
{
	rp_cache_discard(replay->cache, rel, 0);
	rp_pool_forget_absent(replay->pool, rel, 0);
	memset(replay->recent, 0, sizeof(replay->recent));
	rp_rel_forget(replay->rels, rel);
}

int rp_drop_now(struct replay *replay, struct wa_locator locator)
{
	for (uint32_t fork = 0; fork < WA_FORKS; fork++) {
		struct rp_rel *rel = rp_rels_known(replay->rels, locator, fork);
		if (rel != NULL)
			forget_relation(replay, rel);
		int status = rp_rels_unlink(replay->rels, locator, fork);
		if (status < 0)
			return rp_fail(replay, status, "relation %u/%u/%u cannot be removed: %s", locator.spc, locator.db,
				       locator.rel, strerror(-status));
	}
	return 0;
}

/* Drops wait until the batch at hand is done, so that dropping does not stop everything each time. */
static int drop_relations(struct replay *replay, const struct wa_state_op *op)
{
	size_t count = replay->drop_count + op->drop.count;
	if (count > replay->drop_room) {
		struct rp_drop *drops = realloc(replay->drops, 2 * count * sizeof(*drops));
		if (drops == NULL)
			return failed(replay, op, -ENOMEM, "a drop");
		replay->drops = drops;
		replay->drop_room = 2 * count;
	}
	for (uint32_t i = 0; i < op->drop.count; i++) {
		struct wa_locator locator = read_locator(op->drop.locators + 12 * (size_t)i);
		replay->drops[replay->drop_count++].rel = locator;
		for (uint32_t fork = 0; fork < WA_FORKS; fork++) {
			struct rp_rel *rel = rp_rels_known(replay->rels, locator, fork);
			if (rel != NULL)
				rel->drop_waits = true;
		}
	}
	return 0;
}

/* ------------------------------------------------------------- truncation */

/* Change a page of a map while all is quiet. Returns 0 or a negative error. */
static int change_page(struct replay *replay, struct rp_rel *rel, uint32_t blkno, void (*change)(uint8_t *page, uint32_t blocks),
		       uint32_t blocks)
{
	unsigned shard = rp_shard_of(rel, blkno, rp_cache_shards(replay->cache));
	struct rp_want want = {.rel = rel, .blkno = blkno};
	int status = rp_cache_load(replay->cache, shard, &want, 1, &replay->error);
	if (status < 0)
		return status;
	uint8_t *page = rp_cache_page(replay->cache, shard, want.frame);
	if (!wa_page_is_new(page))
		change(page, blocks);
	rp_cache_changed(replay->cache, shard, want.frame);
	return 0;
}

/* visibilitymap_prepare_truncate: bits from heap block `blocks` on are cleared. */
static void clear_map_tail(uint8_t *page, uint32_t blocks)
{
	uint32_t at = blocks % VM_BLOCKS_PER_PAGE, byte = WA_PAGE_HEADER + at / 4;
	page[byte] &= (uint8_t)((1u << at % 4 * 2) - 1);
	memset(page + byte + 1, 0, WA_PAGE_SIZE - byte - 1);
}

/* fsm_truncate_avail: leaves from that block on become 0, and the inner nodes are made anew (fsmpage.c). */
static void clear_space_tail(uint8_t *page, uint32_t blocks)
{
	uint8_t *nodes = page + FSM_NODES_AT;
	uint32_t count = WA_PAGE_SIZE - FSM_NODES_AT, first = FSM_INNER_NODES + blocks % FSM_SLOTS_PER_PAGE;
	memset(nodes + first, 0, count - first);
	for (uint32_t node = FSM_INNER_NODES; node-- > 0;) {
		uint32_t left = 2 * node + 1, right = left + 1;
		uint8_t best = left < count ? nodes[left] : 0;
		nodes[node] = right < count ? NF_MAX(best, nodes[right]) : best;
	}
}

/* The block of the free space map whose leaves have heap block `heap_blkno` (fsm_logical_to_physical). */
static uint32_t space_page(uint32_t heap_blkno)
{
	uint32_t leaf = heap_blkno / FSM_SLOTS_PER_PAGE, pages = 0;
	for (unsigned level = 0; level < FSM_LEVELS; level++) {
		pages += leaf + 1;
		leaf /= FSM_SLOTS_PER_PAGE;
	}
	return pages - 1;
}

static int cut_fork(struct replay *replay, struct rp_rel *rel, uint32_t blocks)
{
	rp_cache_discard(replay->cache, rel, blocks);
	rp_pool_forget_absent(replay->pool, rel, blocks);
	int status = rp_rel_cut(replay->rels, rel, blocks);
	return status < 0 ? rp_fail(replay, status, "relation %u cannot be cut: %s", rel->block.rel.rel, strerror(-status)) : 0;
}

/* A map: its last page loses what it says of blocks that are gone, the pages behind go. */
static int cut_map(struct replay *replay, const struct wa_state_op *op, uint32_t fork)
{
	struct rp_rel *rel;
	bool is_vm = fork == WA_FORK_VM;
	uint32_t per_page = is_vm ? VM_BLOCKS_PER_PAGE : FSM_SLOTS_PER_PAGE;
	int status = rp_rels_get(replay->rels, op->rel.rel, fork, false, &rel);
	if (status < 0)
		return failed(replay, op, status, "a map cannot be opened");
	if (rel == NULL)
		return 0;
	uint32_t last = is_vm ? op->rel.blocks / per_page : space_page(op->rel.blocks), blocks = last;
	if (op->rel.blocks % per_page != 0) {
		if (last >= atomic_load(&rel->blocks))
			return 0;
		/* A page of the visibility map has its turn with its other records, in the order of the log. */
		if (!is_vm || !replay->options.state_only)
			status = change_page(replay, rel, last, is_vm ? clear_map_tail : clear_space_tail, op->rel.blocks);
		blocks = last + 1;
	}
	return status == 0 && atomic_load(&rel->blocks) > blocks ? cut_fork(replay, rel, blocks) : status;
}

static int truncate_relation(struct replay *replay, const struct wa_state_op *op)
{
	struct rp_rel *rel;
	int status = rp_quiet(replay);
	if (status < 0)
		return status;
	status = rp_rels_get(replay->rels, op->rel.rel, WA_FORK_MAIN, true, &rel);
	if (status < 0)
		return failed(replay, op, status, "a relation cannot be opened");
	if (op->rel.forks & 4)
		status = cut_map(replay, op, WA_FORK_FSM);
	if (status == 0 && op->rel.forks & 2)
		status = cut_map(replay, op, WA_FORK_VM);
	if (status == 0 && op->rel.forks & 1)
		status = cut_fork(replay, rel, op->rel.blocks);
	return status;
}

/* -------------------------------------------------------------- databases */

static void forget_of_database(void *arg, struct rp_rel *rel)
{
	forget_relation(arg, rel);
}

static int remove_database(struct replay *replay, const struct wa_state_op *op, uint32_t db, uint32_t spc)
{
	char path[RP_PATH_MAX];
	rp_rels_of_database(replay->rels, db, spc, forget_of_database, replay);
	rp_rels_database_path(replay->rels, db, spc, path);
	int status = rp_remove_tree(replay->root, path);
	return status < 0 ? failed(replay, op, status, "a database's directory cannot be removed") : 0;
}

static int drop_database(struct replay *replay, const struct wa_state_op *op)
{
	int status = rp_quiet(replay);
	for (uint32_t i = 0; i < op->db.count && status == 0; i++)
		status = remove_database(replay, op, op->db.db, wa_get32(op->db.spaces + 4 * (size_t)i));
	return status;
}

static int make_database(struct replay *replay, const struct wa_state_op *op, char path[RP_PATH_MAX])
{
	rp_rels_database_path(replay->rels, op->db.db, op->db.spc, path);
	int status = rp_make_directories(replay->root, path);
	return status < 0 ? failed(replay, op, status, "a database's directory cannot be made") : 0;
}

/* CREATE DATABASE ... STRATEGY wal_log: a directory and its version file; all else is logged. */
static int create_database(struct replay *replay, const struct wa_state_op *op)
{
	char path[RP_PATH_MAX], file[RP_PATH_MAX + 16], text[16];
	int status = make_database(replay, op, path);
	if (status < 0)
		return status;
	snprintf(file, sizeof(file), "%s/PG_VERSION", path);
	snprintf(text, sizeof(text), "%d\n", replay->version.major);
	status = rp_file_replace(replay->root, file, text, strlen(text), replay->options.syncs);
	return status < 0 ? failed(replay, op, status, "a database's PG_VERSION cannot be written") : 0;
}

struct copying {
	struct replay *replay;
	const char *from, *to;
};

static int copy_entry(void *arg, const char *name)
{
	const struct copying *copying = arg;
	char from[RP_PATH_MAX + 256], to[RP_PATH_MAX + 256];
	struct stat st;
	snprintf(from, sizeof(from), "%s/%s", copying->from, name);
	snprintf(to, sizeof(to), "%s/%s", copying->to, name);
	if (fstatat(copying->replay->root, from, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return S_ISREG(st.st_mode) ? rp_file_copy(copying->replay->root, from, to) : 0;
}

/* STRATEGY file_copy, and all of 13 and 14: the directory as it is at this moment, so everything in memory is written first. */
static int copy_database(struct replay *replay, const struct wa_state_op *op)
{
	char from[RP_PATH_MAX], to[RP_PATH_MAX];
	int status = rp_quiet(replay);
	if (status == 0)
		status = rp_pool_flush(replay->pool, &replay->error);
	if (status == 0) {
		status = rp_rels_settle(replay->rels);
		if (status < 0)
			return failed(replay, op, status, "relations cannot be brought to their length");
	}
	if (status == 0)
		status = remove_database(replay, op, op->db.db, op->db.spc);
	if (status == 0)
		status = make_database(replay, op, to);
	if (status < 0)
		return status;
	rp_rels_database_path(replay->rels, op->db.from_db, op->db.from_spc, from);
	struct copying copying = {.replay = replay, .from = from, .to = to};
	status = rp_directory_list(replay->root, from, copy_entry, &copying);
	return status < 0 ? failed(replay, op, status, "a database's directory cannot be copied") : 0;
}

/* ------------------------------------------------------------ tablespaces */

/* The place that options.maps gives instead of `path`, or path itself. */
static void map_space(const struct replay *replay, const char *path, size_t size, char *ret_path, size_t room)
{
	for (unsigned i = 0; i < replay->options.map_count; i++) {
		const struct rp_space_map *map = &replay->options.maps[i];
		if (map->from_size == size && memcmp(map->from, path, size) == 0) {
			snprintf(ret_path, room, "%s", map->to);
			return;
		}
	}
	snprintf(ret_path, room, "%.*s", (int)size, path);
}

static int count_entry(void *arg, const char *name)
{
	(void)name;
	(*(unsigned *)arg)++;
	return 0;
}

/* Another cluster may well be at work in the place that the log names: the one that the copy was made of. */
static int check_space_is_free(struct replay *replay, const struct wa_state_op *op, const char *place)
{
	char directory[PATH_MAX + 64];
	unsigned entries = 0;
	snprintf(directory, sizeof(directory), "%s/%s", place, rp_rels_space_directory(replay->rels));
	int status = rp_directory_list(replay->root, directory, count_entry, &entries);
	if (status < 0)
		return failed(replay, op, status, directory);
	if (entries == 0)
		return 0;
	rp_fail(replay, -EEXIST,
		"tablespace %u would go to %.80s, which is in use (give it another place with --tablespace-map OLD=NEW)",
		op->space.spc, place);
	replay->error.lsn = op->lsn;
	return -EEXIST;
}

static int link_space(struct replay *replay, const struct wa_state_op *op, const char *link, const char *place)
{
	char directory[PATH_MAX + 64];
	int status = check_space_is_free(replay, op, place);
	if (status < 0)
		return status;
	snprintf(directory, sizeof(directory), "%s/%s", place, rp_rels_space_directory(replay->rels));
	mkdir(place, 0700);
	if (mkdir(directory, 0700) < 0 && errno != EEXIST)
		return failed(replay, op, -errno, directory);
	if (symlinkat(place, replay->root, link) < 0)
		return failed(replay, op, -errno, link);
	return 0;
}

/* A copy must not touch what the original works on. In place it is the cluster's own, and Postgres's to make. */
static int refuse_outside(struct replay *replay, const struct wa_state_op *op, const char *place)
{
	replay->error.lsn = op->lsn;
	return rp_fail(replay, replay->options.keep_slots ? -ENOTSUP : -EXDEV,
		       "tablespace %u is made outside of the directory, in %.80s", op->space.spc, place);
}

/* A link that is there already is the base's, and right. */
static int create_space(struct replay *replay, const struct wa_state_op *op)
{
	char link[RP_PATH_MAX], inside[RP_PATH_MAX + 64], place[PATH_MAX];
	struct stat st;
	snprintf(link, sizeof(link), "pg_tblspc/%u", op->space.spc);
	snprintf(inside, sizeof(inside), "%s/%s", link, rp_rels_space_directory(replay->rels));
	bool there = fstatat(replay->root, link, &st, AT_SYMLINK_NOFOLLOW) == 0;
	if (op->space.path_size > 0 && !there) {
		map_space(replay, op->space.path, op->space.path_size, place, sizeof(place));
		if (replay->options.inside_only)
			return refuse_outside(replay, op, place);
		return link_space(replay, op, link, place);
	}
	if (!there && mkdirat(replay->root, link, 0700) < 0)
		return failed(replay, op, -errno, link);
	if (mkdirat(replay->root, inside, 0700) < 0 && errno != EEXIST)
		return failed(replay, op, -errno, inside);
	return 0;
}

/* As far as it can be removed, as in Postgres: what is left is no harm. */
static int drop_space(struct replay *replay, const struct wa_state_op *op)
{
	char link[RP_PATH_MAX], inside[RP_PATH_MAX + 64];
	int status = rp_quiet(replay);
	if (status < 0)
		return status;
	snprintf(link, sizeof(link), "pg_tblspc/%u", op->space.spc);
	snprintf(inside, sizeof(inside), "%s/%s", link, rp_rels_space_directory(replay->rels));
	status = rp_remove_tree(replay->root, inside);
	if (status < 0)
		return failed(replay, op, status, inside);
	if (unlinkat(replay->root, link, 0) < 0 && errno != ENOENT && unlinkat(replay->root, link, AT_REMOVEDIR) < 0 &&
	    errno != ENOENT)
		return failed(replay, op, -errno, link);
	return 0;
}

int rp_apply_tablespace_map(struct replay *replay)
{
	uint8_t *text;
	size_t size;
	int status = rp_file_read(replay->root, "tablespace_map", 1u << 20, &text, &size);
	if (status < 0)
		return status == -ENOENT ? 0 : rp_fail(replay, status, "tablespace_map: %s", strerror(-status));
	char *rest = (char *)text;
	for (char *line; status == 0 && (line = strsep(&rest, "\n")) != NULL;) {
		char link[RP_PATH_MAX], place[PATH_MAX];
		char *path;
		unsigned long spc = strtoul(line, &path, 10);
		if (path == line || *path != ' ')
			continue;
		struct stat st;
		map_space(replay, path + 1, strlen(path + 1), place, sizeof(place));
		snprintf(link, sizeof(link), "pg_tblspc/%lu", spc);
		if (fstatat(replay->root, link, &st, AT_SYMLINK_NOFOLLOW) < 0 && symlinkat(place, replay->root, link) < 0)
			status = rp_fail(replay, -errno, "%s: %s", link, strerror(errno));
	}
	free(text);
	return status;
}

/* ---------------------------------------------------------- other files */

static int write_relmap(struct replay *replay, const struct wa_state_op *op)
{
	char path[RP_PATH_MAX + 24];
	if (op->relmap.db == 0)
		snprintf(path, RP_PATH_MAX, "global");
	else
		rp_rels_database_path(replay->rels, op->relmap.db, op->relmap.spc, path);
	int status = rp_make_directories(replay->root, path);
	snprintf(path + strlen(path), 24, "/pg_filenode.map");
	if (status == 0)
		status = rp_file_replace(replay->root, path, op->relmap.data, op->relmap.size, replay->options.syncs);
	return status < 0 ? failed(replay, op, status, path) : 0;
}

/* Name: database, relation, LSN of the rewrite, transaction whose rows were mapped, transaction that did it (LOGICAL_REWRITE_FORMAT). */
static int write_mapping(struct replay *replay, const struct wa_state_op *op)
{
	char path[160];
	snprintf(path, sizeof(path), "pg_logical/mappings/map-%x-%x-%X_%X-%x-%x", op->mapping.db, op->mapping.rel,
		 NF_LSN_ARG(op->mapping.start), op->mapping.xid, op->mapping.record_xid);
	if (op->mapping.offset > (uint64_t)INT64_MAX - op->mapping.size)
		return failed(replay, op, -EINVAL, path);
	int fd = openat(replay->root, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return failed(replay, op, -errno, path);
	int status = ftruncate(fd, (off_t)op->mapping.offset) < 0 ? -errno : 0;
	if (status == 0 && pwrite(fd, op->mapping.data, op->mapping.size, (off_t)op->mapping.offset) != (ssize_t)op->mapping.size)
		status = -EIO;
	status = rp_close_written(fd, status);
	return status < 0 ? failed(replay, op, status, path) : 0;
}

/* Commit timestamps begin or end with the setting, as ActivateCommitTs and DeactivateCommitTs (commit_ts.c) do it. */
static int take_parameters(struct replay *replay, const struct wa_state_op *op)
{
	struct wa_parameters *parameters = &replay->control.parameters;
	bool tracked = parameters->track_commit_timestamp;
	*parameters = (struct wa_parameters){
		.wal_level = op->parameters.wal_level,
		.max_connections = op->parameters.max_connections,
		.max_worker_processes = op->parameters.max_worker_processes,
		.max_wal_senders = op->parameters.max_wal_senders,
		.max_prepared_xacts = op->parameters.max_prepared_xacts,
		.max_locks_per_xact = op->parameters.max_locks_per_xact,
		.wal_log_hints = op->parameters.wal_log_hints,
		.track_commit_timestamp = op->parameters.track_commit_timestamp,
	};
	int status = rp_check_wal_level(replay, op->lsn);
	if (status < 0)
		return status;
	/* Redo of pages looks at wal_log_hints: what was read before must not see the new value. */
	status = rp_quiet(replay);
	replay->version.log_hints = parameters->wal_log_hints;
	if (status == 0)
		rp_pool_set_version(replay->pool, &replay->version);
	if (status < 0 || tracked == parameters->track_commit_timestamp)
		return status;
	uint32_t next = (uint32_t)replay->counters.next_xid;
	if (parameters->track_commit_timestamp) {
		replay->counters.oldest_commit_ts = replay->counters.newest_commit_ts = next;
		status = rp_slru_have(replay->slru, WA_SLRU_COMMIT_TS, next / WA_COMMIT_TS_PER_PAGE);
	} else {
		replay->counters.oldest_commit_ts = replay->counters.newest_commit_ts = 0;
		status = rp_slru_clear(replay->slru, WA_SLRU_COMMIT_TS);
	}
	return status < 0 ? failed(replay, op, status, "pg_commit_ts") : 0;
}

static int change_status_log(struct replay *replay, const struct wa_state_op *op)
{
	if (op->kind == WA_OP_COMMIT_TS && !replay->control.parameters.track_commit_timestamp)
		return 0;
	int status = rp_slru_apply(replay->slru, op);
	return status < 0 ? failed(replay, op, status, "a page of a status log") : 0;
}

int rp_state(struct replay *replay, const struct wa_state_op *op)
{
	switch (op->kind) {
	case WA_OP_XACT:
	case WA_OP_COMMIT_TS:
	case WA_OP_MULTI:
	case WA_OP_SLRU_ZERO:
	case WA_OP_SLRU_TRUNCATE: return change_status_log(replay, op);
	case WA_OP_PREPARE:
	case WA_OP_PREPARED_END: return rp_prepared_op(replay, op);
	case WA_OP_ORIGIN:
	case WA_OP_ORIGIN_DROP: return rp_origin_op(replay, op);
	case WA_OP_REL_CREATE: return create_relation(replay, op);
	case WA_OP_REL_TRUNCATE: return truncate_relation(replay, op);
	case WA_OP_REL_DROP: return drop_relations(replay, op);
	case WA_OP_DB_COPY: return copy_database(replay, op);
	case WA_OP_DB_CREATE: return create_database(replay, op);
	case WA_OP_DB_DROP: return drop_database(replay, op);
	case WA_OP_SPACE_CREATE: return create_space(replay, op);
	case WA_OP_SPACE_DROP: return drop_space(replay, op);
	case WA_OP_RELMAP: return write_relmap(replay, op);
	case WA_OP_MAPPING: return write_mapping(replay, op);
	case WA_OP_PARAMETERS: return take_parameters(replay, op);
	}
	return 0;
}
