/* Descriptions of the records of CLOG, CommitTs and MultiXact. Page numbers have 4 bytes up to 16, 8 bytes from 17 on.
 *
 *   CLOG, CommitTs, MultiXact: a page that is made: its number 0
 *   xl_clog_truncate, xl_commit_ts_truncate   page 0, oldest xid 4 (17+: 8)
 *   xl_commit_ts_set       13: time 0, node 8, xid 12, subtransactions from 16
 *   xl_multixact_create    id 0, offset 4, count 8, members from 12: xid, status
 *   xl_multixact_truncate  database 0, offsets from 4 to 8, members from 12 to 16
 *
 * Source: src/backend/access/rmgrdesc/{clogdesc,committsdesc,mxactdesc}.c, src/include/access/{clog,commit_ts,multixact}.h. */
#include "describe_impl.h"

/* MultiXactStatus */
static const char *status_name(uint32_t status)
{
	static const char *const names[] = {"(keysh)", "(sh)", "(fornokeyupd)", "(forupd)", "(nokeyupd)", "(upd)"};
	return status < NF_ARRAY_LEN(names) ? names[status] : "(unk)";
}

static void members(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 8);
	int32_t count = (int32_t)nf_read_u32(&main);
	wa_describe_check(d, &main);
	if (count <= 0 || !wa_describe_has(d, &main, (uint32_t)count, 8))
		return;
	for (int32_t i = 0; i < count; i++) {
		uint32_t xid = nf_read_u32(&main);
		wa_text_put(d->out, "%u %s ", xid, status_name(nf_read_u32(&main)));
	}
}

static void subxids(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 16);
	while (!main.failed && nf_reader_left(&main) >= 4)
		wa_text_put(d->out, ", %u", nf_read_u32(&main));
}

static const struct wa_describe_row clog_rows[] = {
	{0x00, 13, 16, "page {0:i32}", NULL}, /* ZEROPAGE */
	{0x00, 17, 18, "page {0:i64}", NULL},
	{0x10, 13, 16, "page {0:i32}; oldestXact {4:u32}", NULL}, /* TRUNCATE */
	{0x10, 17, 18, "page {0:i64}; oldestXact {8:u32}", NULL},
};
WA_DESCRIBE_ROWS(clog);

static const struct wa_describe_row commit_ts_rows[] = {
	{0x00, 13, 16, "{0:i32}", NULL}, /* ZEROPAGE */
	{0x00, 17, 18, "{0:i64}", NULL},
	{0x10, 13, 16, "pageno {0:i32}, oldestXid {4:u32}", NULL}, /* TRUNCATE */
	{0x10, 17, 18, "pageno {0:i64}, oldestXid {8:u32}", NULL},
	{0x20, 13, 13, "set {0:time}/{8:u16} for: {12:u32}", subxids}, /* SETTS */
};
WA_DESCRIBE_ROWS(commit_ts);

static const struct wa_describe_row multixact_rows[] = {
	{0x00, 13, 16, "{0:i32}", NULL}, /* ZERO_OFF_PAGE */
	{0x00, 17, 18, "{0:i64}", NULL},
	{0x10, 13, 16, "{0:i32}", NULL}, /* ZERO_MEM_PAGE */
	{0x10, 17, 18, "{0:i64}", NULL},
	{0x20, 13, 18, "{0:u32} offset {4:u32} nmembers {8:i32}: ", members}, /* CREATE_ID */
	{0x30, 13, 18, "offsets [{4:u32}, {8:u32}), members [{12:u32}, {16:u32})", NULL}, /* TRUNCATE_ID */
};
WA_DESCRIBE_ROWS(multixact);
