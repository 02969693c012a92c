/* Names of relations and databases at one side's point, from its catalogue.
 *
 * A database is read when the first of its relations is asked for: its map, pg_class, pg_namespace. Shared relations are in every database's pg_class; where one
 * is read anyway it is asked. What cannot be read leaves names empty, and the log says so; two rows that contradict each other are no answer. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/nf_log.h"
#include "walapply/pitr/compare_impl.h"

#define CATALOG_BLOCKS_MAX 65536u /* of one table; a larger one is not read */
#define MAP_MAX 4096u
#define FIRST_DATABASE 1u /* template1, which every cluster has */

struct file_key {
	uint32_t filenode, spc;
};

/* A row, found by object id and, of pg_class, by file. */
struct known {
	uint32_t oid; /* key */
	struct file_key file; /* key; filenode 0: in the map */
	uint32_t schema;
	bool is_doubtful;
	char name[WA_CATALOG_NAME];
	UT_hash_handle hh, by_file;
};

struct table {
	struct known *by_oid, *by_file;
};

struct database {
	uint32_t db; /* key */
	uint32_t spc; /* its own tablespace */
	uint8_t *map;
	size_t map_size;
	struct table relations, schemas;
	UT_hash_handle hh;
};

struct cmp_names {
	struct compare *compare;
	const struct cmp_side *side;
	struct cmp_xact *xact;
	struct database *databases;
	uint8_t *shared_map;
	size_t shared_map_size;
	struct table names; /* of databases */
	uint8_t *page;
	/* the table being read */
	struct table *table;
	uint32_t table_spc; /* what tablespace 0 means */
};

/* ---------------------------------------------------------------- tables */

static void table_free(struct table *table)
{
	struct known *known, *next;
	HASH_CLEAR(by_file, table->by_file);
	HASH_ITER(hh, table->by_oid, known, next)
	{
		HASH_DEL(table->by_oid, known);
		free(known);
	}
}

static const struct known *by_oid(const struct table *table, uint32_t oid)
{
	struct known *known;
	HASH_FIND(hh, table->by_oid, &oid, sizeof(oid), known);
	return known != NULL && !known->is_doubtful ? known : NULL;
}

static const struct known *by_file(const struct table *table, uint32_t filenode, uint32_t spc)
{
	const struct file_key key = {filenode, spc};
	struct known *known;
	HASH_FIND(by_file, table->by_file, &key, sizeof(key), known);
	return known != NULL && !known->is_doubtful ? known : NULL;
}

/* wa_catalog_hooks.row */
static int add_row(void *arg, const struct wa_catalog_row *row)
{
	struct cmp_names *names = arg;
	struct table *table = names->table;
	struct known *known, *other;
	HASH_FIND(hh, table->by_oid, &row->oid, sizeof(row->oid), known);
	if (known != NULL) { /* an old and a new version, of which only one can be right */
		known->is_doubtful = true;
		return 0;
	}
	known = calloc(1, sizeof(*known));
	if (known == NULL)
		return -ENOMEM;
	known->oid = row->oid;
	known->schema = row->schema;
	known->is_doubtful = row->is_doubtful;
	known->file = (struct file_key){row->filenode, row->tablespace != 0 ? row->tablespace : names->table_spc};
	memcpy(known->name, row->name, sizeof(known->name));
	HASH_ADD(hh, table->by_oid, oid, sizeof(known->oid), known);
	if (row->filenode == 0)
		return 0;
	HASH_FIND(by_file, table->by_file, &known->file, sizeof(known->file), other);
	if (other != NULL)
		other->is_doubtful = known->is_doubtful = true;
	else
		HASH_ADD(by_file, table->by_file, file, sizeof(known->file), known);
	return 0;
}

/* wa_catalog_hooks.status */
static int status_of(void *arg, uint32_t xid)
{
	struct cmp_names *names = arg;
	return cmp_xact_status(names->xact, xid);
}

/* ----------------------------------------------------------------- pages */

/* One block of a table at the point. `file` is where its segment is in the base; NULL: nowhere. */
static int read_block(struct cmp_names *names, struct bd_inode *file, const struct wa_block *block)
{
	struct compare *compare = names->compare;
	uint64_t at = (uint64_t)(block->blkno % compare->segment_blocks) * WA_PAGE_SIZE;
	ssize_t got = file != NULL ? bd_read(file, at, names->page, WA_PAGE_SIZE) : 0;
	if (got < 0)
		return (int)got;
	memset(names->page + got, 0, WA_PAGE_SIZE - (size_t)got);
	if (!names->side->is_point)
		return 0;
	int status = wa_materialise(&names->side->range, block, names->page, NULL, &compare->why);
	return status < 0 ? status : 0;
}

/* Blocks of one file of a table, up to `end`. */
static int read_segment(struct cmp_names *names, enum wa_catalog catalog, struct wa_block block, uint32_t end)
{
	const struct wa_catalog_hooks hooks = {.arg = names, .status = status_of, .row = add_row};
	struct compare *compare = names->compare;
	struct bd_inode *file = NULL;
	char path[WA_COMPARE_PATH];
	cmp_path(compare, &block, path);
	int error = wh_path(compare->store, names->side->view, path, &file);
	if (error == -ENOENT && names->side->is_point)
		error = 0;
	for (; block.blkno < end && error == 0; block.blkno++) {
		error = read_block(names, file, &block);
		if (error == 0)
			error = wa_catalog_page(catalog, names->page, &hooks);
	}
	if (file != NULL)
		bd_inode_unref(file, 1);
	return error;
}

/* All rows of the table with that file into `table`. */
static int read_table(struct cmp_names *names, enum wa_catalog catalog, struct wa_locator rel, struct table *table, uint32_t spc)
{
	uint32_t segment = names->compare->segment_blocks;
	uint64_t blocks;
	int error = cmp_length(names->compare, names->side, rel, WA_FORK_MAIN, &blocks);
	if (error != 0)
		return error;
	if (blocks == CMP_ABSENT)
		return -ENOENT;
	if (blocks > CATALOG_BLOCKS_MAX)
		return -EFBIG;
	names->table = table;
	names->table_spc = spc;
	for (uint32_t at = 0; at < blocks && error == 0; at += segment)
		error = read_segment(names, catalog, (struct wa_block){.rel = rel, .blkno = at},
				     (uint32_t)NF_MIN(blocks, (uint64_t)at + segment));
	return error;
}

/* The map of a database, or with db 0 the shared one, at the point. */
static int read_map(struct cmp_names *names, uint32_t spc, uint32_t db, uint8_t **ret_bytes, size_t *ret_size)
{
	char path[WA_COMPARE_PATH + 24];
	struct bd_inode *file;
	size_t size;
	const uint8_t *logged = cmp_xact_map(names->xact, spc, db, &size);
	if (logged != NULL) {
		uint8_t *bytes = malloc(size + 1);
		if (bytes == NULL)
			return -ENOMEM;
		memcpy(bytes, logged, size);
		*ret_bytes = bytes;
		*ret_size = size;
		return 0;
	}
	cmp_directory(names->compare, spc, db, path);
	snprintf(path + strlen(path), 24, "/pg_filenode.map");
	int error = wh_path(names->compare->store, names->side->view, path, &file);
	if (error != 0)
		return error;
	error = wh_read(file, MAP_MAX, ret_bytes, ret_size);
	bd_inode_unref(file, 1);
	return error;
}

/* -ENOENT when the map does not name it. */
static int mapped(const uint8_t *map, size_t size, uint32_t oid, uint32_t *ret_filenode)
{
	int status = wa_catalog_map(map, size, oid, ret_filenode);
	return status == 1 ? 0 : status == 0 ? -ENOENT : status;
}

/* ------------------------------------------------------------- databases */

static int read_database(struct cmp_names *names, struct database *database)
{
	uint32_t filenode;
	int error = mapped(database->map, database->map_size, WA_OID_CLASS, &filenode);
	if (error == 0)
		error = read_table(names, WA_CATALOG_CLASS, (struct wa_locator){database->spc, database->db, filenode},
				   &database->relations, database->spc);
	if (error != 0)
		return error;
	const struct known *schemas = by_oid(&database->relations, WA_OID_NAMESPACE);
	if (schemas == NULL || schemas->file.filenode == 0)
		return -ENOENT;
	return read_table(names, WA_CATALOG_NAMESPACE,
			  (struct wa_locator){schemas->file.spc, database->db, schemas->file.filenode}, &database->schemas,
			  database->spc);
}

static void database_free(struct database *database)
{
	table_free(&database->relations);
	table_free(&database->schemas);
	free(database->map);
	free(database);
}

/* What could not be read leaves nothing behind. 0 but for -ENOMEM. */
static int unreadable(const char *what, uint32_t number, int error, struct table *table)
{
	if (error == 0)
		return 0;
	if (table != NULL)
		table_free(table);
	if (error != -ENOENT)
		nf_warn("the catalogue of %s %" PRIu32 " cannot be read, so there are no names: %s", what, number,
			strerror(-error));
	return error == -ENOMEM ? error : 0;
}

/* The database, read when it was not yet: its tables are empty where that cannot be done. `spc`: a tablespace in which it has files. */
static int find_database(struct cmp_names *names, uint32_t spc, uint32_t db, struct database **ret_database)
{
	struct database *database;
	HASH_FIND(hh, names->databases, &db, sizeof(db), database);
	if (database != NULL) {
		*ret_database = database;
		return 0;
	}
	database = calloc(1, sizeof(*database));
	if (database == NULL)
		return -ENOMEM;
	database->db = db;
	database->spc = CMP_SPC_DEFAULT;
	int error = read_map(names, database->spc, db, &database->map, &database->map_size);
	if (error == -ENOENT && spc != CMP_SPC_DEFAULT) {
		database->spc = spc;
		error = read_map(names, spc, db, &database->map, &database->map_size);
	}
	if (error == 0)
		error = read_database(names, database);
	error = unreadable("database", db, error, &database->relations);
	if (error != 0) {
		database_free(database);
		return error;
	}
	HASH_ADD(hh, names->databases, db, sizeof(database->db), database);
	*ret_database = database;
	return 0;
}

/* ----------------------------------------------------------------- names */

static int read_shared(struct cmp_names *names)
{
	uint32_t filenode;
	int error = read_map(names, CMP_SPC_GLOBAL, 0, &names->shared_map, &names->shared_map_size);
	if (error == 0)
		error = mapped(names->shared_map, names->shared_map_size, WA_OID_DATABASE, &filenode);
	if (error == 0)
		error = read_table(names, WA_CATALOG_DATABASE, (struct wa_locator){CMP_SPC_GLOBAL, 0, filenode}, &names->names,
				   CMP_SPC_GLOBAL);
	return unreadable("tablespace", CMP_SPC_GLOBAL, error, &names->names);
}

int cmp_names_open(struct compare *compare, const struct cmp_side *side, struct cmp_names **ret_names)
{
	struct cmp_names *names = calloc(1, sizeof(*names));
	if (names == NULL)
		return -ENOMEM;
	names->compare = compare;
	names->side = side;
	names->page = nf_io_buffer(WA_PAGE_SIZE);
	int error = names->page != NULL ? cmp_xact_open(compare, side, &names->xact) : -ENOMEM;
	if (error == 0)
		error = read_shared(names);
	if (error != 0) {
		cmp_names_close(names);
		return error;
	}
	*ret_names = names;
	return 0;
}

void cmp_names_close(struct cmp_names *names)
{
	struct database *database, *next;
	if (names == NULL)
		return;
	HASH_ITER(hh, names->databases, database, next)
	{
		HASH_DEL(names->databases, database);
		database_free(database);
	}
	table_free(&names->names);
	cmp_xact_close(names->xact);
	free(names->shared_map);
	free(names->page);
	free(names);
}

static void take_name(const struct database *database, const struct known *known, struct wa_compare_relation *relation)
{
	const struct known *schema = by_oid(&database->schemas, known->schema);
	if (schema == NULL)
		return;
	memcpy(relation->name, known->name, sizeof(relation->name));
	memcpy(relation->schema, schema->name, sizeof(relation->schema));
}

int cmp_names_fill(struct cmp_names *names, struct wa_compare_relation *relation)
{
	bool is_shared = relation->rel.spc == CMP_SPC_GLOBAL;
	struct database *database;
	uint32_t oid;
	const struct known *known = is_shared ? NULL : by_oid(&names->names, relation->rel.db);
	if (relation->database[0] == '\0' && known != NULL)
		memcpy(relation->database, known->name, sizeof(relation->database));
	if (relation->name[0] != '\0')
		return 0;
	int error = find_database(names, is_shared ? CMP_SPC_DEFAULT : relation->rel.spc,
				  is_shared ? FIRST_DATABASE : relation->rel.db, &database);
	if (error != 0)
		return error;
	const uint8_t *map = is_shared ? names->shared_map : database->map;
	size_t map_size = is_shared ? names->shared_map_size : database->map_size;
	known = by_file(&database->relations, relation->rel.rel, relation->rel.spc);
	if (map != NULL && (is_shared || relation->rel.spc == database->spc) &&
	    wa_catalog_map_oid(map, map_size, relation->rel.rel, &oid) == 1)
		known = by_oid(&database->relations, oid);
	if (known != NULL)
		take_name(database, known, relation);
	return 0;
}
