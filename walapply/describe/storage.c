/* Descriptions of the records that make and drop files: Storage, Database, Tablespace, RelMap.
 *
 *   xl_smgr_create         relation 0, fork 12
 *   xl_smgr_truncate       blocks 0, relation 4, flags 16
 *   xl_dbase_create_*      database 0, tablespace 4, and for a copy the source's database 8 and tablespace 12
 *   xl_dbase_drop_rec      database 0, count 4, tablespaces from 8
 *   xl_tblspc_create_rec   tablespace 0, directory from 4, to a NUL
 *   xl_tblspc_drop_rec     tablespace 0
 *   xl_relmap_update       database 0, tablespace 4, bytes 8
 *
 * Source: src/backend/access/rmgrdesc/{smgrdesc,dbasedesc,tblspcdesc,relmapdesc}.c and the headers of the managers. */
#include "describe_impl.h"

static void create_file(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 0);
	struct wa_locator rel = wa_describe_locator(&main);
	uint32_t fork = nf_read_u32(&main);
	wa_describe_check(d, &main);
	if (!d->failed)
		wa_describe_path(d, rel, fork);
}

static void drop_database(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 0);
	uint32_t db = nf_read_u32(&main);
	int32_t count = (int32_t)nf_read_u32(&main);
	wa_describe_check(d, &main);
	if (count <= 0 || !wa_describe_has(d, &main, (uint32_t)count, 4))
		return;
	for (int32_t i = 0; i < count; i++)
		wa_text_put(d->out, " %u/%u", nf_read_u32(&main), db);
}

static void create_tablespace(struct wa_describe *d)
{
	struct nf_reader path = wa_describe_main(d, 4);
	wa_describe_string(d, &path, nf_reader_left(&path));
	wa_text_put(d->out, "\"");
}

static const struct wa_describe_row smgr_rows[] = {
	{0x10, 13, 18, NULL, create_file}, /* CREATE */
	{0x20, 13, 18, "{4:path} to {0:u32} blocks flags {16:i32}", NULL}, /* TRUNCATE */
};
WA_DESCRIBE_ROWS(smgr);

#define COPY_DIR "copy dir {12:u32}/{8:u32} to {4:u32}/{0:u32}"

static const struct wa_describe_row dbase_rows[] = {
	{0x00, 13, 18, COPY_DIR, NULL}, /* CREATE, later CREATE_FILE_COPY */
	{0x10, 13, 14, "dir", drop_database}, /* DROP */
	{0x10, 15, 18, "create dir {4:u32}/{0:u32}", NULL}, /* CREATE_WAL_LOG */
	{0x20, 15, 18, "dir", drop_database},
};
WA_DESCRIBE_ROWS(dbase);

static const struct wa_describe_row tblspc_rows[] = {
	{0x00, 13, 18, "{0:u32} \"", create_tablespace}, /* CREATE */
	{0x10, 13, 18, "{0:u32}", NULL}, /* DROP */
};
WA_DESCRIBE_ROWS(tblspc);

static const struct wa_describe_row relmap_rows[] = {
	{0x00, 13, 13, "database {0:u32} tablespace {4:u32} size {8:u32}", NULL}, /* UPDATE */
	{0x00, 14, 18, "database {0:u32} tablespace {4:u32} size {8:i32}", NULL},
};
WA_DESCRIBE_ROWS(relmap);
