/* Descriptions of Standby's records, and of invalidation messages, which other managers' records carry too.
 *
 *   xl_standby_locks   count 0, locks from 4: xid, database, relation
 *   xl_running_xacts   xids 0, subxids 4, overflowed 8, next xid 12, oldest running 16, latest completed 20, xids then subxids from 24
 *   xl_invalidations   database 0, tablespace 4, relcache init file 8, count 12, messages from 16
 *   a message          16 bytes: kind 0 (signed; 0 and above: a catcache's number), and by kind an oid at 4 or 8
 *
 * Source: src/backend/access/rmgrdesc/standbydesc.c, src/include/storage/{standbydefs,lockdefs,sinval}.h. */
#include "describe_impl.h"

#define MESSAGE_SIZE 16

enum {
	INVAL_CATALOG = -1,
	INVAL_RELCACHE = -2,
	INVAL_SMGR = -3,
	INVAL_RELMAP = -4,
	INVAL_SNAPSHOT = -5,
	INVAL_RELSYNC = -6 /* 18 */
};

static void message(struct wa_describe *d, struct nf_reader *from)
{
	int8_t kind = (int8_t)nf_read_u8(from);
	nf_read_bytes(from, 3);
	uint32_t at_4 = nf_read_u32(from), at_8 = nf_read_u32(from);
	nf_read_bytes(from, 4);
	if (kind >= 0)
		wa_text_put(d->out, " catcache %d", kind);
	else if (kind == INVAL_CATALOG)
		wa_text_put(d->out, " catalog %u", at_8);
	else if (kind == INVAL_RELCACHE)
		wa_text_put(d->out, " relcache %u", at_8);
	else if (kind == INVAL_SMGR)
		wa_text_put(d->out, " smgr");
	else if (kind == INVAL_RELMAP)
		wa_text_put(d->out, " relmap db %u", at_4);
	else if (kind == INVAL_SNAPSHOT)
		wa_text_put(d->out, " snapshot %u", at_8);
	else if (kind == INVAL_RELSYNC && d->major >= 18)
		wa_text_put(d->out, " relsync %u", at_8);
	else
		wa_text_put(d->out, " unrecognized id %d", kind);
}

void wa_describe_invalidations(struct wa_describe *d, struct nf_reader *from, int32_t count, uint32_t db, uint32_t spc,
			       bool init_file)
{
	if (count <= 0 || !wa_describe_has(d, from, (uint32_t)count, MESSAGE_SIZE))
		return;
	if (init_file)
		wa_text_put(d->out, "; relcache init file inval dbid %u tsid %u", db, spc);
	wa_text_put(d->out, "; inval msgs:");
	for (int32_t i = 0; i < count; i++)
		message(d, from);
}

static void locks(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 0);
	int32_t count = (int32_t)nf_read_u32(&main);
	if (count <= 0 || !wa_describe_has(d, &main, (uint32_t)count, 12))
		return wa_describe_check(d, &main);
	for (int32_t i = 0; i < count; i++) {
		uint32_t xid = nf_read_u32(&main), db = nf_read_u32(&main);
		wa_text_put(d->out, "xid %u db %u rel %u ", xid, db, nf_read_u32(&main));
	}
}

static void running(struct wa_describe *d, struct nf_reader *xids, int32_t count, const char *what)
{
	if (count <= 0 || !wa_describe_has(d, xids, (uint32_t)count, 4))
		return;
	wa_text_put(d->out, "; %d %s:", count, what);
	for (int32_t i = 0; i < count; i++)
		wa_text_put(d->out, " %u", nf_read_u32(xids));
}

/* 16 and later also tell of the subtransactions. */
static void running_xacts(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 0), xids = wa_describe_main(d, 24);
	int32_t count = (int32_t)nf_read_u32(&main), sub_count = (int32_t)nf_read_u32(&main);
	bool overflowed = nf_read_u8(&main) != 0;
	wa_describe_check(d, &main);
	running(d, &xids, count, "xacts");
	if (overflowed)
		wa_text_put(d->out, d->major >= 16 ? "; subxid overflowed" : "; subxid ovf");
	if (d->major >= 16)
		running(d, &xids, sub_count, "subxacts");
}

static void invalidations(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 0);
	uint32_t db = nf_read_u32(&main), spc = nf_read_u32(&main);
	bool init_file = nf_read_u8(&main) != 0;
	nf_read_bytes(&main, 3);
	int32_t count = (int32_t)nf_read_u32(&main);
	wa_describe_check(d, &main);
	wa_describe_invalidations(d, &main, count, db, spc, init_file);
}

static const struct wa_describe_row standby_rows[] = {
	{0x00, 13, 18, NULL, locks}, /* LOCK */
	{0x10, 13, 18, "nextXid {12:u32} latestCompletedXid {20:u32} oldestRunningXid {16:u32}", running_xacts},
	{0x20, 13, 18, NULL, invalidations}, /* INVALIDATIONS */
};
WA_DESCRIBE_ROWS(standby);
