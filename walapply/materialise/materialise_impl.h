/* Shared by the sources of materialise alone. */
#ifndef WA_MATERIALISE_IMPL_H
#define WA_MATERIALISE_IMPL_H

#include "walapply/materialise/wa_materialise.h"

/* A stretch of the log in which the block is found under one name: records that start in [from, to). */
struct mt_leg {
	struct wa_block block;
	struct nf_lsn from, to;
};

/* The way of a block through the range, oldest leg first. */
struct mt_path {
	struct mt_leg legs[WA_COPIES_MAX + 1];
	unsigned count;
	bool is_blank; /* the relation was cut or dropped where the first leg begins: what the base has there does not count */
};

/* Returns 0 or -ELOOP. */
NF_MUST_CHECK int mt_path_find(const struct wa_range *range, const struct wa_block *block, struct mt_path *ret_path);
/* Is every block of the relation's path one leg over the whole range? It is when nothing happens to the relation or its database. */
bool mt_path_is_plain(const struct wa_range *range, struct wa_locator rel);

/* Pages of the log. page: *ret_page is WA_PAGE_SIZE bytes of the log at `at`, a multiple of WA_PAGE_SIZE, until the next call; results as
 * wa_range.read_log. */
struct mt_source {
	const struct wa_range *range;
	int (*page)(void *arg, struct nf_lsn at, const uint8_t **ret_page);
	void *arg;
};

/* Read the record that starts at `lsn` and hand it to `use`, whose result is returned; the record holds until `use` returns.
 * -EBADMSG there is no such record (error); or what source->page returned. */
NF_MUST_CHECK int mt_record(const struct mt_source *source, struct nf_lsn lsn,
			    int (*use)(void *arg, const struct wa_record *record, struct wa_error *error), void *arg,
			    struct wa_error *error);

/* A page on its way through the records of one leg. */
struct mt_job {
	const struct wa_range *range;
	const struct mt_leg *leg;
	uint8_t *page;
	bool changed;
	unsigned records;
};

/* What the record does to the job's block. `arg` is a struct mt_job; for mt_record. Returns 0; -EBADMSG, -ENOTSUP (error). */
NF_MUST_CHECK int mt_apply(void *arg, const struct wa_record *record, struct wa_error *error);
/* What a base has already: records of the block that end at or before it change nothing, as long as none makes the page from nothing. */
struct nf_lsn mt_done(const struct wa_block *block, const uint8_t *page);
/* Before the first record: the job's page is to be zeros, whatever the base has. */
void mt_blank(struct mt_job *job);
/* After the last one. Returns 1 changed; 0. */
int mt_finish(struct mt_job *job, uint32_t blkno);

#endif
