#include "tools/neonfs-wal/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/nf_cursor.h"
#include "tools/neonfs-wal/early_clear.h"
#include "tools/neonfs-wal/pages.h"
#include "walapply/decode/wa_image.h"
#include "walapply/redo/wa_redo.h"

#define SMGR_TRUNCATE 0x20
#define HEAP_BLOCKS_PER_MAP_PAGE 32672
#define DBASE_DROP_OLD 0x10 /* 13, 14 */
#define DBASE_DROP 0x20 /* 15+ */

struct wal_verify {
	struct wa_version version;
	struct wal_pages *pages;
	struct wal_verify_options options;
	bool rmgrs[256];
	struct wal_early early;
	uint64_t foreign;
	struct wal_verify_count *counts;
	uint8_t before[WA_PAGE_SIZE], after[WA_PAGE_SIZE]; /* a page as the record found it; the record's after-image */
	uint8_t ours[WA_PAGE_SIZE], theirs[WA_PAGE_SIZE]; /* masked */
};

struct wal_verify *wal_verify_new(const struct wa_version *version, const struct wal_verify_options *options)
{
	size_t types;
	wa_record_types(&types);
	struct wal_verify *verify = calloc(1, sizeof(*verify));
	if (verify == NULL)
		return NULL;
	verify->version = *version;
	verify->options = *options;
	if (options->rmgrs != NULL)
		memcpy(verify->rmgrs, options->rmgrs, sizeof(verify->rmgrs));
	else
		memset(verify->rmgrs, true, sizeof(verify->rmgrs));
	verify->counts = calloc(types, sizeof(*verify->counts));
	verify->pages = wal_pages_new(options->memory_bytes);
	if (verify->counts == NULL || verify->pages == NULL) {
		wal_verify_free(verify);
		return NULL;
	}
	return verify;
}

void wal_verify_free(struct wal_verify *verify)
{
	if (verify == NULL)
		return;
	wal_pages_free(verify->pages);
	free(verify->counts);
	free(verify);
}

const struct wal_verify_count *wal_verify_counts(const struct wal_verify *verify)
{
	return verify->counts;
}

uint64_t wal_verify_foreign(const struct wal_verify *verify)
{
	return verify->foreign;
}

uint64_t wal_verify_evicted(const struct wal_verify *verify)
{
	return wal_pages_evicted(verify->pages);
}

/* ------------------------------------------- records that end pages */

static bool is_truncated(const struct wa_block *block, const void *arg)
{
	const struct wa_block *from = arg;
	if (!wa_locator_equal(block->rel, from->rel))
		return false;
	if (block->fork == WA_FORK_VM) /* a page that is cut into stays: its rest has been cleared (wa_implied_blocks) */
		return block->blkno >= (from->blkno + (uint64_t)HEAP_BLOCKS_PER_MAP_PAGE - 1) / HEAP_BLOCKS_PER_MAP_PAGE;
	return block->fork != WA_FORK_MAIN || block->blkno >= from->blkno;
}

static bool is_in_database(const struct wa_block *block, const void *arg)
{
	return block->rel.db == *(const uint32_t *)arg;
}

/* Pages that a truncation or the drop of a database took away are forgotten, so that what comes later in their place starts anew. */
static void forget_pages(struct wal_verify *verify, const struct wa_record *record)
{
	struct nf_reader main = nf_reader_init(record->main, record->main_len);
	uint8_t op = record->info & 0xF0;
	if (record->rmid == WA_RMGR_SMGR && op == SMGR_TRUNCATE) {
		struct wa_block from = {.blkno = nf_read_u32(&main)};
		from.rel.spc = nf_read_u32(&main);
		from.rel.db = nf_read_u32(&main);
		from.rel.rel = nf_read_u32(&main);
		if (!main.failed)
			wal_pages_remove_if(verify->pages, is_truncated, &from);
	} else if (record->rmid == WA_RMGR_DBASE && op == (verify->version.major < 15 ? DBASE_DROP_OLD : DBASE_DROP)) {
		uint32_t db = nf_read_u32(&main);
		if (!main.failed)
			wal_pages_remove_if(verify->pages, is_in_database, &db);
	}
}

/* ----------------------------------------------------------- compare */

/* A block that differs (reason NULL: verify->ours and ->theirs are masked) or that was refused. page: as redo left it; NULL = there is none. */
static void report(struct wal_verify *verify, struct wal_verify_count *count, const struct wa_record *record,
		   const struct wa_ref *ref, const char *reason, const uint8_t *page)
{
	struct wal_mismatch mismatch = {.record = record, .ref = ref, .reason = reason, .page_ours = page};
	if (page != NULL) {
		mismatch.page_before = verify->before;
		mismatch.page_theirs = ref->has_image && !ref->apply_image ? verify->after : NULL;
	}
	if (reason == NULL) {
		mismatch.ours = verify->ours;
		mismatch.theirs = verify->theirs;
		for (unsigned i = WA_PAGE_SIZE; i-- > 0;)
			if (verify->ours[i] != verify->theirs[i]) {
				mismatch.offset = i;
				mismatch.differing++;
			}
	}
	count->mismatches++;
	if (verify->options.on_mismatch != NULL)
		verify->options.on_mismatch(verify->options.arg, &mismatch);
}

/* The mask of the heap blanks everything between pd_lower and pd_upper, which in a page of the visibility map is everything:
 * there only LSN and checksum are left out. */
static int mask(struct wal_verify *verify, const struct wa_record *record, const struct wa_ref *ref, uint8_t *page,
		struct wa_error *error)
{
	if (ref->block.fork != WA_FORK_VM)
		return wa_mask(&verify->version, record->rmid, ref->block.blkno, page, error);
	memset(page, 0, 10);
	return 0;
}

static void differ(struct wal_verify *verify, struct wal_verify_count *count, const struct wa_record *record,
		   const struct wa_ref *ref, const uint8_t *page)
{
	if (ref->block.fork == WA_FORK_VM && wal_early_note(&verify->early, record, ref, verify->ours, verify->theirs))
		count->early++;
	else
		report(verify, count, record, ref, NULL, page);
}

/* Compare our page with the after-image, and go on from the after-image when they differ. */
static void compare(struct wal_verify *verify, struct wal_verify_count *count, const struct wa_record *record,
		    const struct wa_ref *ref, uint8_t *page)
{
	struct wa_error error = {0};
	memcpy(verify->ours, page, WA_PAGE_SIZE);
	memcpy(verify->theirs, verify->after, WA_PAGE_SIZE);
	count->compared++;
	if (mask(verify, record, ref, verify->ours, &error) < 0 || mask(verify, record, ref, verify->theirs, &error) < 0)
		report(verify, count, record, ref, error.text, page);
	else if (memcmp(verify->ours, verify->theirs, WA_PAGE_SIZE) != 0)
		differ(verify, count, record, ref, page);
	else
		return;
	memcpy(page, verify->after, WA_PAGE_SIZE);
}

/* CREATE DATABASE by WAL logs every page of a template as one of the standard layout (RelationCopyStorageUsingBuffer in
 * src/backend/storage/buffer/bufmgr.c, 15 and later), and the bits of the visibility map all lie in the hole of that layout. Replay then has a
 * page without bits, in Postgres too, and the server has them all: what it has is seen again when a later record shows it. */
static bool lacks_bits(const struct wa_ref *ref)
{
	return ref->block.fork == WA_FORK_VM && ref->hole_len > 0;
}

static int verify_block(struct wal_verify *verify, struct wal_verify_count *count, const struct wa_record *record,
			const struct wa_ref *ref)
{
	struct wa_error error = {0};
	bool has_after = ref->has_image && !ref->apply_image;
	uint8_t *page = wal_pages_find(verify->pages, &ref->block);
	bool known = page != NULL || ref->apply_image || ref->will_init;
	if (!known && !has_after) {
		count->unchecked++;
		return 0;
	}
	if (has_after && wa_image_restore(ref, record->lsn, verify->after, &error) < 0) {
		report(verify, count, record, ref, error.text, NULL);
		wal_pages_remove(verify->pages, &ref->block);
		return 0;
	}
	if (page == NULL) {
		page = wal_pages_add(verify->pages, &ref->block);
		if (page == NULL)
			return -ENOMEM;
		memset(page, 0, WA_PAGE_SIZE);
	}
	if (!known) {
		count->adopted++;
		memcpy(page, verify->after, WA_PAGE_SIZE);
		return 0;
	}
	memcpy(verify->before, page, WA_PAGE_SIZE);
	int outcome = wa_redo_block(&verify->version, record, ref, page, &error);
	if (outcome < 0) {
		report(verify, count, record, ref, error.text, page);
		if (has_after)
			memcpy(page, verify->after, WA_PAGE_SIZE);
		else
			wal_pages_remove(verify->pages, &ref->block);
		return 0;
	}
	count->redone += outcome == WA_REDONE;
	count->restored += outcome == WA_RESTORED;
	if (has_after)
		compare(verify, count, record, ref, page);
	else if (outcome == WA_RESTORED && lacks_bits(ref))
		wal_pages_remove(verify->pages, &ref->block);
	return 0;
}

/* A block of a manager that was left out: its image, or no page at all. */
static int adopt_block(struct wal_verify *verify, struct wal_verify_count *count, const struct wa_record *record,
		       const struct wa_ref *ref)
{
	struct wa_error error = {0};
	uint8_t *page = wal_pages_find(verify->pages, &ref->block);
	if (!ref->has_image) {
		count->unchecked++;
		wal_pages_remove(verify->pages, &ref->block);
		return 0;
	}
	if (page == NULL)
		page = wal_pages_add(verify->pages, &ref->block);
	if (page == NULL)
		return -ENOMEM;
	if (wa_image_restore(ref, record->lsn, page, &error) < 0) {
		report(verify, count, record, ref, error.text, NULL);
		wal_pages_remove(verify->pages, &ref->block);
		return 0;
	}
	count->adopted++;
	return 0;
}

static void clear_implied(struct wal_verify *verify, struct wal_verify_count *count, const struct wa_record *record)
{
	struct wa_implied implied[WA_IMPLIED_MAX];
	struct wa_error error = {0};
	int blocks = wa_implied_blocks(&verify->version, record, implied, &error);
	for (int i = 0; i < blocks; i++) {
		wal_early_explain(&verify->early, &implied[i]);
		uint8_t *page = wal_pages_find(verify->pages, &implied[i].block);
		if (page != NULL)
			count->redone += wa_redo_implied(&implied[i], page) == WA_REDONE;
	}
}

int wal_verify_record(struct wal_verify *verify, const struct wa_record *record)
{
	const struct wa_record_type *type = wa_record_type(verify->version.major, record->rmid, record->info);
	size_t types;
	int error = 0;
	if (type == NULL) {
		verify->foreign++;
		return 0;
	}
	struct wal_verify_count *count = &verify->counts[type - wa_record_types(&types)];
	count->records++;
	bool chosen = verify->rmgrs[record->rmid];
	for (unsigned i = 0; i < record->ref_count && error == 0; i++)
		error = chosen ? verify_block(verify, count, record, &record->refs[i])
			       : adopt_block(verify, count, record, &record->refs[i]);
	if (type->redo_class & WA_VM && (verify->rmgrs[WA_RMGR_HEAP] || verify->rmgrs[WA_RMGR_HEAP2]))
		clear_implied(verify, count, record);
	forget_pages(verify, record);
	return error;
}

void wal_verify_finish(struct wal_verify *verify)
{
	size_t types;
	for (unsigned i = 0; i < verify->early.count; i++) {
		const struct wal_early_clear *early = &verify->early.list[i];
		const struct wa_record_type *type = wa_record_type(verify->version.major, early->rmid, early->info);
		struct wa_ref ref = {.id = early->ref_id, .block = early->implied.block};
		struct wa_record record = {.lsn = early->lsn, .rmid = early->rmid, .info = early->info};
		char reason[120];
		snprintf(reason, sizeof(reason),
			 "Postgres had cleared bits %u of heap block %u, and no record that does so follows", early->implied.bits,
			 early->implied.heap_blkno);
		report(verify, &verify->counts[type - wa_record_types(&types)], &record, &ref, reason, NULL);
	}
	verify->early.count = 0;
}
