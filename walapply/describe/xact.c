/* Descriptions of Transaction's records.
 *
 *   xl_xact_commit, xl_xact_abort   time 0, and, if xl_info has bit 80, xinfo 8; then each part that xinfo has a bit for:
 *      DBINFO 0     database, tablespace
 *      SUBXACTS 1   count, xids
 *      RELS 2       count, relations of 12 bytes
 *      STATS 8      count, items of 12 bytes (15-17: kind, database, object) or 16 (18: the object is 8 bytes); 15+
 *      INVALS 3     count, messages of 16 bytes; commit only
 *      TWOPHASE 4   xid, and, if GID 7, a string that ends with a NUL
 *      ORIGIN 5     LSN, time
 *   xl_xact_assignment   top xid 0, count 4, xids from 8
 *   xl_xact_invals       count 0, messages from 4
 * PREPARE is in xact_prepare.c.
 *
 * Source: src/backend/access/rmgrdesc/xactdesc.c, src/include/access/xact.h. */
#include "xact_impl.h"

enum {
	HAS_DBINFO = 1 << 0,
	HAS_SUBXACTS = 1 << 1,
	HAS_RELS = 1 << 2,
	HAS_INVALS = 1 << 3,
	HAS_TWOPHASE = 1 << 4,
	HAS_ORIGIN = 1 << 5,
	HAS_GID = 1 << 7,
	HAS_STATS = 1 << 8,
	APPLY_FEEDBACK = 1 << 29,
	INIT_FILE = 1 << 30,
};
#define FORCE_SYNC (1u << 31)
#define INFO_HAS_XINFO 0x80 /* XLOG_XACT_HAS_INFO, in xl_info */

/* The parts of a commit or abort record, found before anything is printed: the text has another order. */
struct ending {
	uint32_t xinfo;
	uint32_t db, spc;
	struct wa_xact_list subxacts, rels, stats, invals;
	uint32_t prepared_xid;
	uint64_t origin_lsn;
	int64_t origin_time;
};

struct wa_xact_list wa_xact_list(struct wa_describe *d, struct nf_reader *from, int32_t count, size_t size)
{
	struct wa_xact_list list = {.count = 0, .items = *from};
	if (count > 0 && wa_describe_has(d, from, (uint32_t)count, size)) {
		list.count = count;
		nf_read_bytes(from, (size_t)count * size);
	}
	return list;
}

static struct wa_xact_list counted_list(struct wa_describe *d, struct nf_reader *from, bool there, size_t size)
{
	if (!there)
		return (struct wa_xact_list){0};
	int32_t count = (int32_t)nf_read_u32(from);
	return wa_xact_list(d, from, count, size);
}

size_t wa_xact_stats_size(int major)
{
	return major >= 18 ? 16 : 12;
}

/* The global identifier of a prepared transaction is not printed, only stepped over. */
static void skip_gid(struct nf_reader *from)
{
	size_t left = nf_reader_left(from);
	size_t length = from->failed ? 0 : strnlen((const char *)from->data + from->offset, left);
	nf_read_bytes(from, length + 1);
}

static struct ending parse(struct wa_describe *d, bool commit)
{
	struct ending e = {0};
	struct nf_reader main = wa_describe_main(d, 8);
	if (d->record->info & INFO_HAS_XINFO)
		e.xinfo = nf_read_u32(&main);
	if (e.xinfo & HAS_DBINFO) {
		e.db = nf_read_u32(&main);
		e.spc = nf_read_u32(&main);
	}
	e.subxacts = counted_list(d, &main, e.xinfo & HAS_SUBXACTS, 4);
	e.rels = counted_list(d, &main, e.xinfo & HAS_RELS, 12);
	e.stats = counted_list(d, &main, d->major >= 15 && e.xinfo & HAS_STATS, wa_xact_stats_size(d->major));
	e.invals = counted_list(d, &main, commit && e.xinfo & HAS_INVALS, WA_XACT_MESSAGE_SIZE);
	if (e.xinfo & HAS_TWOPHASE) {
		e.prepared_xid = nf_read_u32(&main);
		if (e.xinfo & HAS_GID)
			skip_gid(&main);
	}
	if (e.xinfo & HAS_ORIGIN) {
		e.origin_lsn = nf_read_u64(&main);
		e.origin_time = (int64_t)nf_read_u64(&main);
	}
	wa_describe_check(d, &main);
	return e;
}

void wa_xact_rels(struct wa_describe *d, const char *label, struct wa_xact_list list)
{
	if (list.count > 0)
		wa_text_put(d->out, "; %s:", label);
	for (int32_t i = 0; i < list.count; i++) {
		wa_text_put(d->out, " ");
		wa_describe_path(d, wa_describe_locator(&list.items), WA_FORK_MAIN);
	}
}

void wa_xact_subxacts(struct wa_describe *d, struct wa_xact_list list)
{
	if (list.count > 0)
		wa_text_put(d->out, "; subxacts:");
	for (int32_t i = 0; i < list.count; i++)
		wa_text_put(d->out, " %u", nf_read_u32(&list.items));
}

void wa_xact_stats(struct wa_describe *d, const char *label, struct wa_xact_list list)
{
	if (list.count > 0)
		wa_text_put(d->out, "; %sdropped stats:", label);
	for (int32_t i = 0; i < list.count; i++) {
		int32_t kind = (int32_t)nf_read_u32(&list.items);
		uint32_t db = nf_read_u32(&list.items);
		uint64_t object = d->major >= 18 ? nf_read_u64(&list.items) : nf_read_u32(&list.items);
		wa_text_put(d->out, " %d/%u/%" PRIu64, kind, db, object);
	}
}

void wa_xact_origin(struct wa_describe *d, uint64_t lsn, int64_t time_us)
{
	struct nf_lsn origin = {lsn};
	wa_text_put(d->out, "; origin: node %u, lsn " NF_LSN_FMT ", at ", d->record->origin, NF_LSN_ARG(origin));
	wa_describe_time(d, time_us);
}

static void head(struct wa_describe *d, const struct ending *e)
{
	struct nf_reader main = wa_describe_main(d, 0);
	if (e->prepared_xid != 0)
		wa_text_put(d->out, "%u: ", e->prepared_xid);
	wa_describe_fields(d, &main, "{0:time}");
	wa_xact_rels(d, "rels", e->rels);
	wa_xact_subxacts(d, e->subxacts);
}

static void commit(struct wa_describe *d)
{
	struct ending e = parse(d, true);
	if (d->failed)
		return;
	head(d, &e);
	wa_xact_stats(d, "", e.stats);
	wa_describe_invalidations(d, &e.invals.items, e.invals.count, e.db, e.spc, e.xinfo & INIT_FILE);
	if (d->major >= 14 && e.xinfo & APPLY_FEEDBACK)
		wa_text_put(d->out, "; apply_feedback");
	if (e.xinfo & FORCE_SYNC)
		wa_text_put(d->out, "; sync");
	if (e.xinfo & HAS_ORIGIN)
		wa_xact_origin(d, e.origin_lsn, e.origin_time);
}

/* An abort's origin came before its statistics, and only 14 and later print it. */
static void abort_(struct wa_describe *d)
{
	struct ending e = parse(d, false);
	if (d->failed)
		return;
	head(d, &e);
	if (d->major >= 14 && e.xinfo & HAS_ORIGIN)
		wa_xact_origin(d, e.origin_lsn, e.origin_time);
	wa_xact_stats(d, "", e.stats);
}

static void assignment(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 4);
	int32_t count = (int32_t)nf_read_u32(&main);
	struct wa_xact_list list = wa_xact_list(d, &main, count, 4);
	wa_describe_check(d, &main);
	for (int32_t i = 0; i < list.count; i++)
		wa_text_put(d->out, " %u", nf_read_u32(&list.items));
}

static void invalidations(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 0);
	int32_t count = (int32_t)nf_read_u32(&main);
	wa_describe_check(d, &main);
	wa_describe_invalidations(d, &main, count, 0, 0, false);
}

static const struct wa_describe_row xact_rows[] = {
	{0x00, 13, 18, NULL, commit},
	{0x10, 13, 18, NULL, wa_describe_prepare},
	{0x20, 13, 18, NULL, abort_},
	{0x30, 13, 18, NULL, commit}, /* COMMIT_PREPARED */
	{0x40, 13, 18, NULL, abort_}, /* ABORT_PREPARED */
	{0x50, 13, 18, "xtop {0:u32}: subxacts:", assignment},
	{0x60, 14, 18, NULL, invalidations},
};
WA_DESCRIBE_ROWS(xact);
