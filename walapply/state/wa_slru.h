/* Operations on the pages of the status logs (SLRUs).
 *
 *   pg_xact               2 bits a transaction, 32 768 a page: 0 running, 1 committed, 2 aborted   (access/transam/clog.c)
 *   pg_multixact/offsets  u32 a multixact, 2 048 a page: where its members begin                   (access/transam/multixact.c)
 *   pg_multixact/members  409 groups a page of 4 flag bytes and 4 xids (20 bytes)
 *   pg_commit_ts          10 bytes a transaction, 819 a page: time i64, origin u16                  (access/transam/commit_ts.c)
 *
 * A file has 32 pages and is named by its number in upper-case hexadecimal, at least four digits. Pages have no header and no LSN, so
 * operations are carried out in the order of the log, once each from the base on; again is harmless, as it is in recovery. */
#ifndef WA_SLRU_H
#define WA_SLRU_H

#include "walapply/state/wa_state.h"

#define WA_SLRU_PAGES_PER_FILE 32
#define WA_XACTS_PER_PAGE 32768u
#define WA_OFFSETS_PER_PAGE 2048u
#define WA_MEMBERS_PER_PAGE 1636u
#define WA_COMMIT_TS_PER_PAGE 819u

/* Who has the pages. */
struct wa_slru_pages {
	/* Page `page` of `slru`, WA_PAGE_SIZE bytes, to be changed by the caller at once; zeros where there is none yet, and where `zero` says
	 * that it begins anew. Returns 0 or a negative error, which wa_slru_apply passes on. */
	int (*get)(void *arg, enum wa_slru slru, int64_t page, bool zero, uint8_t **ret_page);
	void *arg;
};

/* Carry out op if it concerns pages of status logs: XACT, MULTI, SLRU_ZERO, COMMIT_TS (the caller leaves COMMIT_TS out where
 * track_commit_timestamp is off). Others, and SLRU_TRUNCATE, which concerns files, are passed over.
 * Returns 0, or what `get` returned. */
NF_MUST_CHECK int wa_slru_apply(const struct wa_state_op *op, const struct wa_slru_pages *pages);

/* Transactions first .. first + count - 1 all ended with `status`: as XACT of each. Returns as wa_slru_apply. */
NF_MUST_CHECK int wa_slru_ended(enum wa_xact_status status, uint32_t first, uint32_t count, const struct wa_slru_pages *pages);

/* "pg_xact" and so on, relative to the data directory. */
const char *wa_slru_directory(enum wa_slru slru);

/* Does the truncation `op` let this file go? As Postgres does it: whole files only, numbers compared around the wrap. */
bool wa_slru_file_goes(const struct wa_state_op *op, int64_t file);

#endif
