/* How transactions stand at a point: pg_xact as the base has it, and the ends of transactions in the WAL since. And the maps of file numbers that the WAL has.
 *
 * The WAL's index names plain ends itself; of others it says which record to read. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "walapply/decode/wa_records.h"
#include "walapply/pitr/compare_impl.h"
#include "walapply/state/wa_state.h"

/* pg_xact: 2 bits a transaction, 32 pages a file (clog.c, slru.c). */
#define XIDS_PER_BYTE 4u
#define XIDS_PER_FILE (32u * WA_PAGE_SIZE * XIDS_PER_BYTE)

struct ending {
	uint32_t xid;
	uint32_t number; /* in the order of the log */
	uint8_t status; /* enum wa_xact_status */
};

struct map {
	struct map *next; /* the one before it in the log */
	uint32_t spc, db;
	size_t size;
	uint8_t bytes[];
};

struct cmp_xact {
	struct bd_store *store;
	const struct cmp_side *side;
	struct wa_error why;
	struct ending *endings; /* sorted by xid, one each */
	size_t count, room;
	struct map *maps;
	struct bd_inode *file; /* of pg_xact, the one read last */
	uint32_t file_number;
};

static int note(struct cmp_xact *xact, uint32_t xid, enum wa_xact_status status)
{
	if (xact->count == UINT32_MAX)
		return -EFBIG;
	if (xact->count == xact->room) {
		size_t room = NF_MAX(xact->room * 2, (size_t)1024);
		void *grown = realloc(xact->endings, room * sizeof(*xact->endings));
		if (grown == NULL)
			return -ENOMEM;
		xact->endings = grown;
		xact->room = room;
	}
	xact->endings[xact->count] = (struct ending){.xid = xid, .number = (uint32_t)xact->count, .status = (uint8_t)status};
	xact->count++;
	return 0;
}

static int note_map(struct cmp_xact *xact, const struct wa_state_op *op)
{
	struct map *map = malloc(sizeof(*map) + op->relmap.size);
	if (map == NULL)
		return -ENOMEM;
	*map = (struct map){.next = xact->maps, .spc = op->relmap.spc, .db = op->relmap.db, .size = op->relmap.size};
	memcpy(map->bytes, op->relmap.data, op->relmap.size);
	xact->maps = map;
	return 0;
}

static int take_op(void *arg, const struct wa_state_op *op)
{
	struct cmp_xact *xact = arg;
	int error = 0;
	if (op->kind == WA_OP_RELMAP)
		return note_map(xact, op);
	if (op->kind != WA_OP_XACT)
		return 0;
	error = note(xact, op->xact.xid, op->xact.status);
	for (uint32_t i = 0; i < op->xact.sub.count && error == 0; i++) {
		uint32_t sub;
		memcpy(&sub, op->xact.sub.xids + (size_t)i * sizeof(sub), sizeof(sub));
		error = note(xact, le32toh(sub), op->xact.status);
	}
	return error;
}

static int take_record(void *arg, const struct wa_record *record, struct wa_error *error)
{
	struct cmp_xact *xact = arg;
	return wa_state_ops(&xact->side->range.version, record, take_op, xact, error);
}

static int read_index(struct cmp_xact *xact, const struct wa_index *index)
{
	const struct wa_range *range = &xact->side->range;
	struct wa_index_state_cursor cursor;
	struct wa_index_state state;
	int status;
	wa_index_seek_state(index, range->from, range->to, &cursor);
	while ((status = wa_index_next_state(&cursor, &state, &xact->why)) > 0) {
		if (state.kind == WA_INDEX_COMMIT || state.kind == WA_INDEX_ABORT)
			status = note(xact, state.xid, state.kind == WA_INDEX_COMMIT ? WA_XACT_COMMITTED : WA_XACT_ABORTED);
		else if (state.kind == WA_INDEX_RECORD && (state.rmid == WA_RMGR_XACT || state.rmid == WA_RMGR_RELMAP))
			status = wa_range_record(range, state.lsn, take_record, xact, &xact->why);
		else
			status = 0;
		if (status < 0)
			break;
	}
	return status;
}

static int by_xid(const void *a, const void *b)
{
	const struct ending *x = a, *y = b;
	if (x->xid != y->xid)
		return x->xid < y->xid ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

/* Of each transaction the last that is said of it. */
static void settle(struct cmp_xact *xact)
{
	size_t kept = 0;
	if (xact->count > 0)
		qsort(xact->endings, xact->count, sizeof(*xact->endings), by_xid);
	for (size_t i = 0; i < xact->count; i++)
		if (i + 1 == xact->count || xact->endings[i + 1].xid != xact->endings[i].xid)
			xact->endings[kept++] = xact->endings[i];
	xact->count = kept;
}

int cmp_xact_open(const struct compare *compare, const struct cmp_side *side, struct cmp_xact **ret_xact)
{
	struct cmp_xact *xact = calloc(1, sizeof(*xact));
	int error = 0;
	if (xact == NULL)
		return -ENOMEM;
	xact->store = compare->store;
	xact->side = side;
	for (size_t i = 0; side->is_point && i < side->range.index_count && error == 0; i++) {
		const struct wa_index *index = &side->range.indexes[i];
		if (index->info.base.v < side->range.to.v && index->info.limit.v > side->range.from.v)
			error = read_index(xact, index);
	}
	if (error != 0) {
		cmp_xact_close(xact);
		return error;
	}
	settle(xact);
	*ret_xact = xact;
	return 0;
}

void cmp_xact_close(struct cmp_xact *xact)
{
	if (xact == NULL)
		return;
	while (xact->maps != NULL) {
		struct map *map = xact->maps;
		xact->maps = map->next;
		free(map);
	}
	if (xact->file != NULL)
		bd_inode_unref(xact->file, 1);
	free(xact->endings);
	free(xact);
}

/* -ENOENT the status log does not go back, or on, so far. */
static int status_in_view(struct cmp_xact *xact, uint32_t xid)
{
	uint32_t number = xid / XIDS_PER_FILE;
	uint8_t byte;
	if (xact->file == NULL || xact->file_number != number) {
		char path[32];
		struct bd_inode *file;
		snprintf(path, sizeof(path), "pg_xact/%04" PRIX32, number);
		int error = wh_path(xact->store, xact->side->view, path, &file);
		if (error != 0)
			return error;
		if (xact->file != NULL)
			bd_inode_unref(xact->file, 1);
		xact->file = file;
		xact->file_number = number;
	}
	ssize_t got = bd_read(xact->file, xid % XIDS_PER_FILE / XIDS_PER_BYTE, &byte, 1);
	if (got <= 0)
		return got < 0 ? (int)got : -ENOENT;
	return byte >> xid % XIDS_PER_BYTE * 2 & 3;
}

int cmp_xact_status(struct cmp_xact *xact, uint32_t xid)
{
	size_t low = 0, high = xact->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (xact->endings[middle].xid < xid)
			low = middle + 1;
		else
			high = middle;
	}
	int status = low < xact->count && xact->endings[low].xid == xid ? xact->endings[low].status : status_in_view(xact, xid);
	switch (status) {
	case WA_XACT_RUNNING: return WA_CATALOG_RUNNING;
	case WA_XACT_COMMITTED: return WA_CATALOG_COMMITTED;
	case WA_XACT_ABORTED: return WA_CATALOG_ABORTED;
	case -ENOENT: return WA_CATALOG_UNKNOWN;
	default: return status < 0 ? status : WA_CATALOG_UNKNOWN; /* committed as part of one that has not yet */
	}
}

const uint8_t *cmp_xact_map(const struct cmp_xact *xact, uint32_t spc, uint32_t db, size_t *ret_size)
{
	for (const struct map *map = xact->maps; map != NULL; map = map->next) {
		if (map->db != db || (db != 0 && map->spc != spc))
			continue;
		*ret_size = map->size;
		return map->bytes;
	}
	return NULL;
}
