/* From a record to its manager's row, and the names of types. */
#include "describe_impl.h"

#define INFO_RMGR 0xF0u /* the bits of xl_info that are the manager's (~XLR_INFO_MASK) */
#define INIT_PAGE 0x80u /* XLOG_HEAP_INIT_PAGE, XLOG_BRIN_INIT_PAGE */
#define XACT_HAS_INFO 0x80u /* XLOG_XACT_HAS_INFO */

#define ROWS_OF(id, symbol, name, op_mask, describe, mask) [id] = &wa_describe_##describe,
static const struct wa_describe_rows *const managers[WA_RMGR_BUILTIN] = {WA_RMGRS(ROWS_OF)};

struct nf_reader wa_describe_main(const struct wa_describe *d, size_t offset)
{
	struct nf_reader reader = nf_reader_init(d->record->main, d->record->main_len);
	nf_read_bytes(&reader, offset);
	return reader;
}

struct nf_reader wa_describe_block(const struct wa_describe *d, unsigned id)
{
	const struct wa_ref *ref = wa_record_ref(d->record, id);
	if (ref == NULL || ref->data == NULL)
		return (struct nf_reader){.failed = true};
	return nf_reader_init(ref->data, ref->data_len);
}

void wa_describe_check(struct wa_describe *d, const struct nf_reader *reader)
{
	d->failed = d->failed || reader->failed;
}

bool wa_describe_has(struct wa_describe *d, const struct nf_reader *reader, uint64_t count, size_t size)
{
	if (reader->failed || count > nf_reader_left(reader) / size)
		d->failed = true;
	return !d->failed;
}

uint8_t wa_describe_u8(struct wa_describe *d, size_t offset)
{
	struct nf_reader reader = wa_describe_main(d, offset);
	uint8_t value = nf_read_u8(&reader);
	wa_describe_check(d, &reader);
	return value;
}

void wa_describe_flag(struct wa_describe *d, size_t offset, uint8_t mask, const char *text)
{
	if (wa_describe_u8(d, offset) & mask)
		wa_text_put(d->out, "%s", text);
}

static const struct wa_describe_row *find_row(const struct wa_describe_rows *rows, int major, uint8_t op)
{
	for (size_t i = 0; i < rows->count; i++) {
		const struct wa_describe_row *row = &rows->rows[i];
		if (row->op == op && row->first <= major && major <= row->last)
			return row;
	}
	return NULL;
}

int wa_describe(const struct wa_version *version, const struct wa_record *record, struct wa_text *out, struct wa_error *error)
{
	if (record->rmid >= WA_RMGR_CUSTOM_MIN) {
		wa_text_put(out, "rmid: %u", record->rmid);
		return 0;
	}
	const struct wa_record_type *type = wa_record_type(version->major, record->rmid, record->info);
	const struct wa_describe_row *row = type != NULL ? find_row(managers[record->rmid], version->major, type->op) : NULL;
	if (row == NULL)
		return 0;

	struct wa_describe d = {.major = version->major, .record = record, .out = out};
	struct nf_reader main = wa_describe_main(&d, 0);
	if (row->fields != NULL)
		wa_describe_fields(&d, &main, row->fields);
	if (row->rest != NULL && !d.failed)
		row->rest(&d);
	if (d.failed)
		return wa_bad(error, record->lsn, "%s %s: the record's %u bytes do not hold what its type tells of", type->rmgr,
			      type->name, record->tot_len);
	return 0;
}

/* The types that may make their page anew; the same in all majors. */
static bool has_init(const struct wa_record_type *type)
{
	return (type->rmid == WA_RMGR_HEAP && (type->op == 0x00 || type->op == 0x20 || type->op == 0x40)) ||
	       (type->rmid == WA_RMGR_HEAP2 && type->op == 0x50) ||
	       (type->rmid == WA_RMGR_BRIN && (type->op == 0x10 || type->op == 0x20));
}

void wa_describe_name(int major, uint8_t rmid, uint8_t info, struct wa_text *out)
{
	const struct wa_record_type *type = wa_record_type(major, rmid, info);
	uint8_t more = type == NULL || rmid == WA_RMGR_GENERIC ? 0 : (info & INFO_RMGR) ^ type->op;
	if (type != NULL && more == 0)
		wa_text_put(out, "%s", type->name);
	else if (type != NULL && more == XACT_HAS_INFO && rmid == WA_RMGR_XACT)
		wa_text_put(out, "%s", type->name);
	else if (type != NULL && more == INIT_PAGE && has_init(type))
		wa_text_put(out, "%s+INIT", type->name);
	else
		wa_text_put(out, "UNKNOWN (%x)", info & INFO_RMGR);
}
