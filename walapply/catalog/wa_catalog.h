/* Names out of the system catalogue, from pages of its tables.
 *
 * The columns that are read stand in front of each table's row, have a fixed width and are never null, and have been the same from 13 to 18:
 *
 *     pg_class      0 oid u32   4 relname, 64 bytes   68 relnamespace u32   88 relfilenode u32   92 reltablespace u32
 *     pg_namespace  0 oid u32   4 nspname, 64 bytes
 *     pg_database   0 oid u32   4 datname, 64 bytes
 *
 * (src/include/catalog/pg_class.h, pg_namespace.h, pg_database.h.) The tuple's header is that of src/include/access/htup_details.h:
 *
 *     0 t_xmin u32   4 t_xmax u32   8 t_field3   12 t_ctid   18 t_infomask2 u16   20 t_infomask u16   22 t_hoff u8
 *
 * Pure; thread-safe. */
#ifndef WA_CATALOG_H
#define WA_CATALOG_H

#include "walapply/decode/wa_record.h"

#define WA_CATALOG_NAME 64u /* NAMEDATALEN */

/* Object ids that never change (src/include/catalog/pg_class.dat and others). */
#define WA_OID_CLASS 1259u
#define WA_OID_NAMESPACE 2615u
#define WA_OID_DATABASE 1262u

enum wa_catalog { WA_CATALOG_CLASS, WA_CATALOG_NAMESPACE, WA_CATALOG_DATABASE };

struct wa_catalog_row {
	uint32_t oid;
	char name[WA_CATALOG_NAME];
	uint32_t schema, filenode, tablespace; /* of pg_class. filenode 0: it is in the map; tablespace 0: the database's own */
	bool is_doubtful; /* whether the row is visible cannot be told */
};

enum wa_catalog_xid { WA_CATALOG_RUNNING, WA_CATALOG_COMMITTED, WA_CATALOG_ABORTED, WA_CATALOG_UNKNOWN };

struct wa_catalog_hooks {
	void *arg;
	/* How a transaction stands: an enum wa_catalog_xid. One that runs has changed nothing yet. A negative return ends the reading. */
	int (*status)(void *arg, uint32_t xid);
	/* A row that is visible or in doubt. A non-zero return ends the reading. */
	int (*row)(void *arg, const struct wa_catalog_row *row);
};

/* The rows of one page (WA_PAGE_SIZE bytes; all zeros: none) that transactions committed so far have made and none of them has removed.
 * Returns 0; -EBADMSG the page cannot be read, some of its rows may have been given; what a hook returned. */
NF_MUST_CHECK int wa_catalog_page(enum wa_catalog catalog, const uint8_t *page, const struct wa_catalog_hooks *hooks);

/* The file number that pg_filenode.map (its bytes) gives to the relation `oid`: 1 with *ret_filenode; 0 it names none; -EBADMSG damaged. */
NF_MUST_CHECK int wa_catalog_map(const uint8_t *bytes, size_t size, uint32_t oid, uint32_t *ret_filenode);
/* The other way round. */
NF_MUST_CHECK int wa_catalog_map_oid(const uint8_t *bytes, size_t size, uint32_t filenode, uint32_t *ret_oid);

#endif
