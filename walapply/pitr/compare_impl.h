/* Inside of compare: shared by compare*.c alone. */
#ifndef WA_COMPARE_IMPL_H
#define WA_COMPARE_IMPL_H

#include "walapply/pitr/lazy_impl.h"
#include "walapply/pitr/wa_compare.h"

#define CMP_SPC_DEFAULT 1663u
#define CMP_SPC_GLOBAL 1664u
#define CMP_ABSENT UINT64_MAX /* for a length: there is no such file */
#define CMP_UNCUT UINT64_MAX
#define CMP_VM_BLOCKS_PER_PAGE 32672u /* heap blocks that a page of the visibility map has bits for */

/* One of the two points. */
struct cmp_side {
	struct bd_view view; /* of a point: its base */
	struct bd_inode *root; /* held: so the view keeps its versions */
	bool is_point;
	struct wa_range range; /* of a point */
};

/* Blocks of one file of a relation that count as different. */
struct cmp_blocks {
	struct wa_block first; /* key: the file's first block */
	uint64_t *bits;
	uint32_t words;
	UT_hash_handle hh;
};

/* A relation that may differ. */
struct cmp_rel {
	struct wa_locator rel; /* key */
	uint64_t cut[WA_FORKS]; /* from this block on all count; CMP_UNCUT */
	UT_hash_handle hh;
};

struct compare {
	struct bd_store *store;
	uint32_t segment_blocks;
	char space_directory[32]; /* PG_15_202209061 */
	struct cmp_side sides[WA_COMPARE_SIDES];
	bool has_points;
	struct cmp_blocks *blocks;
	struct cmp_rel *rels;
	uint64_t other_files;
	struct wa_error why;
};

/* ---- compare.c */
/* The relation's entry, made when it is missing. NULL: no memory. */
struct cmp_rel *cmp_rel(struct compare *compare, struct wa_locator rel);
/* The block counts as different. 0 or -ENOMEM. */
NF_MUST_CHECK int cmp_add(struct compare *compare, const struct wa_block *block);
/* From `from` on all blocks of the fork do. 0 or -ENOMEM. */
NF_MUST_CHECK int cmp_cut(struct compare *compare, struct wa_locator rel, uint32_t fork, uint64_t from);

/* ---- compare_path.c */
/* A relation's file below the data directory: *ret_first is its first block. False: it is none. */
bool cmp_path_parse(const struct compare *compare, const char *path, struct wa_block *ret_first);
/* The same for a name inside of a database's directory. */
bool cmp_name_parse(const struct compare *compare, const char *name, uint32_t spc, uint32_t db, struct wa_block *ret_first);
void cmp_directory(const struct compare *compare, uint32_t spc, uint32_t db, char path[WA_COMPARE_PATH]);
void cmp_path(const struct compare *compare, const struct wa_block *first, char path[WA_COMPARE_PATH]);
/* Call `each` for every relation file in that directory of the view; nothing when it is not there. 0, what `each` returned, or an error. */
typedef int (*cmp_file_fn)(struct compare *compare, const struct wa_block *first, void *arg);
NF_MUST_CHECK int cmp_files(struct compare *compare, struct bd_view view, uint32_t spc, uint32_t db, cmp_file_fn each, void *arg);
/* Call `each` for every database's directory of the view but global/. -ENOTSUP a tablespace lies outside. */
typedef int (*cmp_database_fn)(struct compare *compare, uint32_t spc, uint32_t db, void *arg);
NF_MUST_CHECK int cmp_databases(struct compare *compare, struct bd_view view, cmp_database_fn each, void *arg);

/* ---- compare_range.c */
/* What records that start in [from, to) touch, cut, make and drop counts as different. */
NF_MUST_CHECK int cmp_range(struct compare *compare, const struct wa_range *range, struct nf_lsn from, struct nf_lsn to);
/* Relations of the side's base that replay empties. */
NF_MUST_CHECK int cmp_unlogged(struct compare *compare, const struct cmp_side *side);

/* ---- compare_length.c */
/* The length of a relation's fork at the side's point, in blocks; CMP_ABSENT. */
NF_MUST_CHECK int cmp_length(struct compare *compare, const struct cmp_side *side, struct wa_locator rel, uint32_t fork,
			     uint64_t *ret_blocks);

/* ---- compare_name.c */
struct cmp_names;
/* What a side's catalogue says; read when it is asked. */
NF_MUST_CHECK int cmp_names_open(struct compare *compare, const struct cmp_side *side, struct cmp_names **ret_names);
void cmp_names_close(struct cmp_names *names); /* NULL is legal */
/* Fill in what it knows of relation->rel and what is "" so far. 0 also when it knows nothing; -ENOMEM. */
NF_MUST_CHECK int cmp_names_fill(struct cmp_names *names, struct wa_compare_relation *relation);

/* ---- compare_xact.c: how transactions stand at a side's point, and the maps that records have changed */
struct cmp_xact;
NF_MUST_CHECK int cmp_xact_open(const struct compare *compare, const struct cmp_side *side, struct cmp_xact **ret_xact);
void cmp_xact_close(struct cmp_xact *xact); /* NULL is legal */
/* As wa_catalog_hooks.status. */
NF_MUST_CHECK int cmp_xact_status(struct cmp_xact *xact, uint32_t xid);
/* The last pg_filenode.map of the database (0: the shared one) that a record has; NULL: none. */
const uint8_t *cmp_xact_map(const struct cmp_xact *xact, uint32_t spc, uint32_t db, size_t *ret_size);

#endif
