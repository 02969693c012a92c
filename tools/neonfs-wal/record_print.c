/* Form of the text: XLogDumpDisplayRecord (src/bin/pg_waldump/pg_waldump.c), XLogRecGetBlockRefInfo (rmgrdesc/xlogdesc.c). */
#include "tools/neonfs-wal/record_print.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "tools/lib/proto.h"
#include "tools/neonfs-wal/select.h"
#include "tools/neonfs-wal/source.h"
#include "walapply/describe/wa_describe.h"

#define TEXT_FIRST 4096u
#define NAME_MAX_LENGTH 64

static const char *const compressions[] = {"none", "pglz", "lz4", "zstd"};

int wal_printer_init(struct wal_printer *printer, const struct wa_version *version, bool details)
{
	*printer = (struct wal_printer){
		.version = *version, .details = details, .text = malloc(TEXT_FIRST), .text_size = TEXT_FIRST};
	return printer->text != NULL ? 0 : -ENOMEM;
}

void wal_printer_free(struct wal_printer *printer)
{
	free(printer->text);
	printer->text = NULL;
}

/* The description in printer->text, which grows to hold the longest. Returns 0, -EBADMSG (error; the text holds what could be told) or -ENOMEM. */
static int describe(struct wal_printer *printer, const struct wa_record *record, struct wa_error *error)
{
	for (;;) {
		struct wa_text out = wa_text_init(printer->text, printer->text_size);
		int status = wa_describe(&printer->version, record, &out, error);
		if (!wa_text_is_cut(&out)) {
			printer->damaged += status < 0;
			return status;
		}
		size_t size = out.length + 1;
		char *grown = realloc(printer->text, size);
		if (grown == NULL)
			return -ENOMEM;
		printer->text = grown;
		printer->text_size = size;
	}
}

static const char *type_name(char name[NAME_MAX_LENGTH], const struct wal_printer *printer, const struct wa_record *record)
{
	struct wa_text out = wa_text_init(name, NAME_MAX_LENGTH);
	wa_describe_name(printer->version.major, record->rmid, record->info, &out);
	return name;
}

static uint32_t image_bytes(const struct wa_record *record)
{
	uint32_t bytes = 0;
	for (unsigned i = 0; i < record->ref_count; i++)
		bytes += record->refs[i].has_image ? record->refs[i].image_len : 0;
	return bytes;
}

/* ---------------------------------------------------------------- text */

static void print_ref(const struct wa_ref *ref, FILE *file)
{
	const struct wa_block *block = &ref->block;
	fprintf(file, ", blkref #%u: rel %u/%u/%u", ref->id, block->rel.spc, block->rel.db, block->rel.rel);
	if (block->fork != WA_FORK_MAIN)
		fprintf(file, " fork %s", wal_fork_name(block->fork));
	fprintf(file, " blk %u", block->blkno);
	if (ref->has_image)
		fputs(ref->apply_image ? " FPW" : " FPW for WAL verification", file);
}

static void print_ref_details(const struct wa_ref *ref, FILE *file)
{
	const struct wa_block *block = &ref->block;
	fprintf(file, "\tblkref #%u: rel %u/%u/%u fork %s blk %u", ref->id, block->rel.spc, block->rel.db, block->rel.rel,
		wal_fork_name(block->fork), block->blkno);
	if (ref->has_image)
		fprintf(file, " (FPW%s); hole: offset: %u, length: %u", ref->apply_image ? "" : " for WAL verification",
			ref->hole_offset, ref->hole_len);
	if (ref->has_image && ref->compression != WA_PLAIN)
		fprintf(file, ", compression saved: %u, method: %s", WA_PAGE_SIZE - ref->hole_len - ref->image_len,
			compressions[ref->compression]);
	putc('\n', file);
}

int wal_print_text(struct wal_printer *printer, const struct wa_record *record, FILE *file)
{
	char name[NAME_MAX_LENGTH];
	struct wa_error error;
	int status = describe(printer, record, &error);
	if (status == -ENOMEM)
		return status;
	fprintf(file,
		"rmgr: %-11s len (rec/tot): %6u/%6u, tx: %10u, lsn: %" PRIX32 "/%08" PRIX32 ", prev %" PRIX32 "/%08" PRIX32
		", desc: %s %s",
		wa_rmgr_name(record->rmid), record->tot_len - image_bytes(record), record->tot_len, record->xid,
		NF_LSN_ARG(record->lsn), NF_LSN_ARG(record->prev), type_name(name, printer, record), printer->text);
	if (status < 0)
		fprintf(file, " (damaged: %s)", error.text);
	if (printer->details)
		putc('\n', file);
	for (unsigned i = 0; i < record->ref_count; i++)
		(printer->details ? print_ref_details : print_ref)(&record->refs[i], file);
	if (!printer->details)
		putc('\n', file);
	return 0;
}

/* ---------------------------------------------------------------- JSON */

static json_t *ref_json(const struct wa_ref *ref)
{
	const struct wa_block *block = &ref->block;
	json_t *object =
		json_pack("{s:i, s:I, s:I, s:I, s:s, s:I, s:i, s:b}", "id", (int)ref->id, "spc", (json_int_t)block->rel.spc, "db",
			  (json_int_t)block->rel.db, "rel", (json_int_t)block->rel.rel, "fork", wal_fork_name(block->fork),
			  "block", (json_int_t)block->blkno, "data_bytes", (int)ref->data_len, "will_init", (int)ref->will_init);
	if (ref->has_image)
		json_object_set_new(object, "image",
				    json_pack("{s:b, s:i, s:i, s:i, s:s}", "apply", (int)ref->apply_image, "bytes",
					      (int)ref->image_len, "hole_offset", (int)ref->hole_offset, "hole_bytes",
					      (int)ref->hole_len, "compression", compressions[ref->compression]));
	return object;
}

static json_t *record_json(struct wal_printer *printer, const struct wa_record *record)
{
	char name[NAME_MAX_LENGTH];
	json_t *object = json_object(), *blocks = json_array();
	json_object_set_new(object, "lsn", wal_lsn_json(record->lsn));
	json_object_set_new(object, "end", wal_lsn_json(record->end));
	json_object_set_new(object, "prev", wal_lsn_json(record->prev));
	json_object_set_new(object, "timeline", json_integer(record->timeline));
	json_object_set_new(object, "rmgr", json_string(wa_rmgr_name(record->rmid)));
	json_object_set_new(object, "type", json_string(type_name(name, printer, record)));
	json_object_set_new(object, "record_bytes", json_integer(record->tot_len - image_bytes(record)));
	json_object_set_new(object, "total_bytes", json_integer(record->tot_len));
	json_object_set_new(object, "xid", json_integer(record->xid));
	if (record->top_xid != 0)
		json_object_set_new(object, "top_xid", json_integer(record->top_xid));
	if (record->origin != 0)
		json_object_set_new(object, "origin", json_integer(record->origin));
	json_object_set_new(object, "description", tl_json_text(printer->text));
	for (unsigned i = 0; i < record->ref_count; i++)
		json_array_append_new(blocks, ref_json(&record->refs[i]));
	json_object_set_new(object, "blocks", blocks);
	return object;
}

int wal_print_json(struct wal_printer *printer, const struct wa_record *record, FILE *file)
{
	struct wa_error error;
	int status = describe(printer, record, &error);
	if (status == -ENOMEM)
		return status;
	json_t *object = record_json(printer, record);
	if (status < 0)
		json_object_set_new(object, "damaged", tl_json_text(error.text));
	if (object == NULL || json_dumpf(object, file, JSON_COMPACT) < 0) {
		json_decref(object);
		return ferror(file) ? 0 : -ENOMEM;
	}
	putc('\n', file);
	json_decref(object);
	return 0;
}
