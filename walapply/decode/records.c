/* The table of record types, made at compile time from the lists in wa_records.h, and its look-up by major, manager and type bits. */
#include "walapply/decode/wa_records.h"

#include <stdarg.h>
#include <stdio.h>

#define MAJORS (WA_MAJOR_MAX - WA_MAJOR_MIN + 1)
#define OPS 16 /* values of the type bits, xl_info >> 4 */

#define RMGR_TEXT(id, symbol, name, op_mask, describe, mask) static const char text_##symbol[] = name;
WA_RMGRS(RMGR_TEXT)

#define RMGR_NAME(id, symbol, name, op_mask, describe, mask) [id] = text_##symbol,
static const char *const rmgr_names[WA_RMGR_BUILTIN] = {WA_RMGRS(RMGR_NAME)};

#define RMGR_OP_MASK(id, symbol, name, op_mask, describe, mask) [id] = op_mask,
static const uint8_t op_masks[WA_RMGR_BUILTIN] = {WA_RMGRS(RMGR_OP_MASK)};

#define TYPE_ROW(symbol, op_bits, type_name, first, last, class, redo)                                                             \
	{.rmgr = text_##symbol, .name = type_name, .rmid = WA_RMGR_##symbol, .op = op_bits, .redo_class = class,                   \
	 .first_major = first, .last_major = last},
static const struct wa_record_type types[] = {WA_RECORDS(TYPE_ROW)};

#define TYPE_PLACE(symbol, op, name, first, last, class, redo) PLACE_##symbol##_##op##_##first,
enum { WA_RECORDS(TYPE_PLACE) TYPE_COUNT };
static_assert(TYPE_COUNT < UINT8_MAX, "places fit into a byte, and one value is left for none");

/* places[major][manager * OPS + type]: the row of `types`, counted from 1; 0 where that major has none. Rows of other majors go to
 * the spare element at the end: hence one element is initialised many times, which is meant. */
#define SPARE (WA_RMGR_BUILTIN * OPS)
#define PLACE_IF(major, symbol, op, first, last)                                                                                   \
	[(first) <= (major) && (major) <= (last) ? WA_RMGR_##symbol * OPS + ((op) >> 4) : SPARE] = PLACE_##symbol##_##op##_##first + 1,
#define PLACE_13(symbol, op, name, first, last, class, redo) PLACE_IF(13, symbol, op, first, last)
#define PLACE_14(symbol, op, name, first, last, class, redo) PLACE_IF(14, symbol, op, first, last)
#define PLACE_15(symbol, op, name, first, last, class, redo) PLACE_IF(15, symbol, op, first, last)
#define PLACE_16(symbol, op, name, first, last, class, redo) PLACE_IF(16, symbol, op, first, last)
#define PLACE_17(symbol, op, name, first, last, class, redo) PLACE_IF(17, symbol, op, first, last)
#define PLACE_18(symbol, op, name, first, last, class, redo) PLACE_IF(18, symbol, op, first, last)
#pragma GCC diagnostic push
#ifdef __clang__
#pragma GCC diagnostic ignored "-Winitializer-overrides"
#else
#pragma GCC diagnostic ignored "-Woverride-init"
#endif
static const uint8_t places[MAJORS][SPARE + 1] = {
	{WA_RECORDS(PLACE_13)}, {WA_RECORDS(PLACE_14)}, {WA_RECORDS(PLACE_15)},
	{WA_RECORDS(PLACE_16)}, {WA_RECORDS(PLACE_17)}, {WA_RECORDS(PLACE_18)},
};
#pragma GCC diagnostic pop

const struct wa_record_type *wa_record_type(int major, uint8_t rmid, uint8_t info)
{
	if (major < WA_MAJOR_MIN || major > WA_MAJOR_MAX || rmid >= WA_RMGR_BUILTIN)
		return NULL;
	unsigned place = places[major - WA_MAJOR_MIN][rmid * OPS + ((info & op_masks[rmid]) >> 4)];
	return place > 0 ? &types[place - 1] : NULL;
}

const struct wa_record_type *wa_record_types(size_t *ret_count)
{
	*ret_count = TYPE_COUNT;
	return types;
}

const char *wa_rmgr_name(uint8_t rmid)
{
	static _Thread_local char name[sizeof("unknown000")];
	if (rmid < WA_RMGR_BUILTIN)
		return rmgr_names[rmid];
	snprintf(name, sizeof(name), "%s%03u", rmid >= WA_RMGR_CUSTOM_MIN ? "custom" : "unknown", rmid);
	return name;
}

const struct wa_ref *wa_record_ref(const struct wa_record *record, unsigned id)
{
	for (unsigned i = 0; i < record->ref_count && record->refs[i].id <= id; i++)
		if (record->refs[i].id == id)
			return &record->refs[i];
	return NULL;
}

int wa_bad(struct wa_error *error, struct nf_lsn lsn, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	error->lsn = lsn;
	return -EBADMSG;
}
