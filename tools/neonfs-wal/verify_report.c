#include "tools/neonfs-wal/verify_report.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/lib/format.h"
#include "tools/lib/proto.h"
#include "tools/neonfs-wal/page_place.h"
#include "tools/neonfs-wal/select.h"

#define WINDOW 16 /* bytes shown from the first difference on */

static const char *type_name(int major, const struct wa_record *record)
{
	const struct wa_record_type *type = wa_record_type(major, record->rmid, record->info);
	return type != NULL ? type->name : "?";
}

/* --------------------------------------------------------------- pages */

static int write_page(int directory, const char *name, const uint8_t *page)
{
	int fd = openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	ssize_t written = write(fd, page, WA_PAGE_SIZE);
	int status = written < 0 ? -errno : written != WA_PAGE_SIZE ? -ENOSPC : 0;
	if (close(fd) < 0 && status == 0)
		status = -errno;
	return status;
}

static void save_pages(struct wal_verify_report *report, const struct wal_mismatch *mismatch)
{
	const struct wa_block *block = &mismatch->ref->block;
	const struct {
		const char *name;
		const uint8_t *page;
	} pages[] = {{"before", mismatch->page_before}, {"ours", mismatch->page_ours}, {"theirs", mismatch->page_theirs}};
	for (size_t i = 0; i < NF_ARRAY_LEN(pages); i++) {
		char name[128];
		if (pages[i].page == NULL)
			continue;
		snprintf(name, sizeof(name), "%X-%08X_%u.%u.%u_%s_%u.%s", NF_LSN_ARG(mismatch->record->lsn), block->rel.spc,
			 block->rel.db, block->rel.rel, wal_fork_name(block->fork), block->blkno, pages[i].name);
		int status = write_page(report->save_directory, name, pages[i].page);
		if (status < 0 && report->save_error == 0)
			report->save_error = status;
	}
}

/* ---------------------------------------------------- one that differs */

static char *hex(char buf[2 * WINDOW + 1], const uint8_t *page, unsigned offset)
{
	unsigned count = NF_MIN((unsigned)WINDOW, WA_PAGE_SIZE - offset);
	for (unsigned i = 0; i < count; i++)
		snprintf(buf + 2 * i, 3, "%02x", page[offset + i]);
	return buf;
}

static json_t *block_json(const struct wa_block *block)
{
	return json_pack("{s:I, s:I, s:I, s:s, s:I}", "spc", (json_int_t)block->rel.spc, "db", (json_int_t)block->rel.db, "rel",
			 (json_int_t)block->rel.rel, "fork", wal_fork_name(block->fork), "block", (json_int_t)block->blkno);
}

static json_t *mismatch_json(const struct wal_verify_report *report, const struct wal_mismatch *mismatch)
{
	char place[WAL_PLACE_MAX], ours[2 * WINDOW + 1], theirs[2 * WINDOW + 1];
	const struct wa_record *record = mismatch->record;
	json_t *object = json_pack("{s:o, s:s, s:s, s:i, s:o}", "lsn", wal_lsn_json(record->lsn), "rmgr",
				   wa_rmgr_name(record->rmid), "type", type_name(report->major, record), "ref",
				   (int)mismatch->ref->id, "block", block_json(&mismatch->ref->block));
	if (mismatch->reason != NULL) {
		json_object_set_new(object, "refused", tl_json_text(mismatch->reason));
		return object;
	}
	json_object_set_new(object, "offset", json_integer(mismatch->offset));
	json_object_set_new(object, "place", json_string(wal_page_place(place, mismatch->page_theirs, mismatch->offset)));
	json_object_set_new(object, "differing_bytes", json_integer(mismatch->differing));
	json_object_set_new(object, "ours", json_string(hex(ours, mismatch->ours, mismatch->offset)));
	json_object_set_new(object, "theirs", json_string(hex(theirs, mismatch->theirs, mismatch->offset)));
	return object;
}

static void print_mismatch(const struct wal_verify_report *report, const struct wal_mismatch *mismatch)
{
	char place[WAL_PLACE_MAX], ours[2 * WINDOW + 1], theirs[2 * WINDOW + 1];
	const struct wa_record *record = mismatch->record;
	const struct wa_block *block = &mismatch->ref->block;
	printf(NF_LSN_FMT " %s %s, block reference %u, relation %u/%u/%u %s block %u: ", NF_LSN_ARG(record->lsn),
	       wa_rmgr_name(record->rmid), type_name(report->major, record), mismatch->ref->id, block->rel.spc, block->rel.db,
	       block->rel.rel, wal_fork_name(block->fork), block->blkno);
	if (mismatch->reason != NULL) {
		printf("refused: %s\n", mismatch->reason);
		return;
	}
	printf("%u byte%s, the first at %u (%s): ours %02x, theirs %02x\n", mismatch->differing,
	       mismatch->differing == 1 ? " differs" : "s differ", mismatch->offset,
	       wal_page_place(place, mismatch->page_theirs, mismatch->offset), mismatch->ours[mismatch->offset],
	       mismatch->theirs[mismatch->offset]);
	printf("  ours   %s\n  theirs %s\n", hex(ours, mismatch->ours, mismatch->offset),
	       hex(theirs, mismatch->theirs, mismatch->offset));
}

void wal_verify_tell(void *arg, const struct wal_mismatch *mismatch)
{
	struct wal_verify_report *report = arg;
	if (report->told >= report->limit)
		return;
	report->told++;
	if (report->list != NULL)
		json_array_append_new(report->list, mismatch_json(report, mismatch));
	else
		print_mismatch(report, mismatch);
	if (report->save_directory >= 0)
		save_pages(report, mismatch);
}

/* ----------------------------------------------------------- the table */

static void add(struct wal_verify_count *sum, const struct wal_verify_count *count)
{
	sum->records += count->records;
	sum->redone += count->redone;
	sum->restored += count->restored;
	sum->compared += count->compared;
	sum->mismatches += count->mismatches;
	sum->early += count->early;
	sum->adopted += count->adopted;
	sum->unchecked += count->unchecked;
}

struct wal_verify_count wal_verify_sum(const struct wal_verify *verify)
{
	const struct wal_verify_count *counts = wal_verify_counts(verify);
	struct wal_verify_count sum = {0};
	size_t types;
	(void)wa_record_types(&types);
	for (size_t i = 0; i < types; i++)
		add(&sum, &counts[i]);
	return sum;
}

static bool is_of_major(const struct wa_record_type *type, int major)
{
	return major >= type->first_major && major <= type->last_major;
}

static void print_row(const char *name, const struct wal_verify_count *count)
{
	printf("%-36s %12llu %12llu %12llu %12llu %10llu %12llu %10llu\n", name, (unsigned long long)count->records,
	       (unsigned long long)count->redone, (unsigned long long)count->restored, (unsigned long long)count->compared,
	       (unsigned long long)count->mismatches, (unsigned long long)count->adopted, (unsigned long long)count->unchecked);
}

static void print_table(int major, const struct wal_verify *verify)
{
	const struct wal_verify_count *counts = wal_verify_counts(verify);
	struct wal_verify_count sum = wal_verify_sum(verify);
	size_t types;
	const struct wa_record_type *list = wa_record_types(&types);
	printf("%-36s %12s %12s %12s %12s %10s %12s %10s\n", "RECORD TYPE", "RECORDS", "REDONE", "IMAGES", "COMPARED",
	       "DIFFERENT", "ADOPTED", "UNCHECKED");
	for (size_t i = 0; i < types; i++) {
		char name[64];
		if (!is_of_major(&list[i], major))
			continue;
		snprintf(name, sizeof(name), "%s %s", list[i].rmgr, list[i].name);
		print_row(name, &counts[i]);
	}
	print_row("all", &sum);
}

void wal_verify_print(const struct wal_verify_report *report, const struct wal_verify *verify, const struct wal_source *source)
{
	char reason[256];
	struct wal_verify_count sum = wal_verify_sum(verify);
	if (sum.mismatches > report->told)
		printf("... and %llu blocks more (--limit)\n", (unsigned long long)(sum.mismatches - report->told));
	print_table(report->major, verify);
	wal_source_reason(source, reason, sizeof(reason));
	printf("Postgres %d, timeline %u, " NF_LSN_FMT " to %s\n", report->major, wal_dir_timeline(source->dir),
	       NF_LSN_ARG(source->first), reason);
	if (wal_verify_foreign(verify) > 0)
		printf("%llu records of extensions or of unknown types were not replayed\n",
		       (unsigned long long)wal_verify_foreign(verify));
	if (sum.early > 0)
		printf("%llu pages of the visibility map lacked bits that a later record cleared, as Postgres does it\n",
		       (unsigned long long)sum.early);
	if (wal_verify_evicted(verify) > 0)
		printf("%llu pages were given up for want of room and taken over again later; more --memory compares more\n",
		       (unsigned long long)wal_verify_evicted(verify));
	printf("%llu records, %llu blocks compared, %llu different\n", (unsigned long long)sum.records,
	       (unsigned long long)sum.compared, (unsigned long long)sum.mismatches);
}

static json_t *count_json(const struct wal_verify_count *count)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "early", (json_int_t)count->early, "records",
			 (json_int_t)count->records, "redone", (json_int_t)count->redone, "restored", (json_int_t)count->restored,
			 "compared", (json_int_t)count->compared, "mismatches", (json_int_t)count->mismatches, "adopted",
			 (json_int_t)count->adopted, "unchecked", (json_int_t)count->unchecked);
}

void wal_verify_print_json(const struct wal_verify_report *report, const struct wal_verify *verify,
			   const struct wal_source *source)
{
	const struct wal_verify_count *counts = wal_verify_counts(verify);
	struct wal_verify_count sum = wal_verify_sum(verify);
	size_t types;
	const struct wa_record_type *list = wa_record_types(&types);
	json_t *object = json_object(), *rows = json_array();
	wal_source_json(source, object);
	for (size_t i = 0; i < types; i++) {
		json_t *row;
		if (!is_of_major(&list[i], report->major))
			continue;
		row = count_json(&counts[i]);
		json_object_set_new(row, "rmgr", json_string(list[i].rmgr));
		json_object_set_new(row, "type", json_string(list[i].name));
		json_object_set_new(row, "has_redo", json_boolean(list[i].redo_class & WA_PAGE));
		json_array_append_new(rows, row);
	}
	json_object_set_new(object, "foreign_records", json_integer((json_int_t)wal_verify_foreign(verify)));
	json_object_set_new(object, "evicted_pages", json_integer((json_int_t)wal_verify_evicted(verify)));
	json_object_set_new(object, "sum", count_json(&sum));
	json_object_set_new(object, "types", rows);
	json_object_set(object, "mismatches", report->list);
	json_dumpf(object, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(object);
}
