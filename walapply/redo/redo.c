/* From a record and a block reference to the function that redoes it.
 * Follows XLogReadBufferForRedoExtended (src/backend/access/transam/xlogutils.c): an image to be applied wins over everything; a page that
 * is made from nothing starts as zeros whatever is there; else the page's own LSN decides (redo_call.c). */
#include "redo_impl.h"

#include "walapply/decode/wa_image.h"

#define REDO_FUNCTION(rmgr, op, name, first, last, class, redo) wa_redo_##redo,
static const wa_redo_fn redo_functions[] = {WA_RECORDS(REDO_FUNCTION)}; /* in the order of wa_record_types() */

#define MASK_FUNCTION(id, symbol, name, op_mask, describe, mask) [id] = wa_mask_##mask,
static const wa_mask_fn mask_functions[WA_RMGR_BUILTIN] = {WA_RMGRS(MASK_FUNCTION)};

static int unknown(const struct wa_version *version, const struct wa_record *record, struct wa_error *error)
{
	if (record->rmid >= WA_RMGR_CUSTOM_MIN)
		wa_bad(error, record->lsn, "resource manager %u belongs to an extension: only Postgres itself can replay it",
		       record->rmid);
	else
		wa_bad(error, record->lsn, "resource manager %u, record type %02X: not known for Postgres %d", record->rmid,
		       record->info & 0xF0, version->major);
	return -ENOTSUP;
}

int wa_redo_block(const struct wa_version *version, const struct wa_record *record, const struct wa_ref *ref, uint8_t *page,
		  struct wa_error *error)
{
	const struct wa_record_type *type = wa_record_type(version->major, record->rmid, record->info);
	if (type == NULL)
		return unknown(version, record, error);
	struct wa_redo redo = {.version = version,
			       .record = record,
			       .ref = ref,
			       .page = page,
			       .blkno = ref->block.blkno,
			       .op = type->op,
			       .error = error};
	size_t count;
	wa_redo_fn function = redo_functions[type - wa_record_types(&count)];
	if (ref->apply_image) {
		int status = wa_image_restore(ref, record->lsn, page, error);
		if (status < 0)
			return status;
		if (!wa_page_is_new(page))
			wa_page_set_lsn(page, record->end);
		if (!(type->redo_class & WA_AFTER_IMAGE))
			return WA_RESTORED;
		redo.restored = true;
		status = function(&redo);
		return status < 0 ? status : WA_RESTORED;
	}
	return type->redo_class & WA_PAGE ? wa_redo_call(function, &redo) : WA_SKIPPED;
}

int wa_mask(const struct wa_version *version, uint8_t rmid, uint32_t blkno, uint8_t *page, struct wa_error *error)
{
	if (rmid >= WA_RMGR_BUILTIN)
		return wa_bad(error, (struct nf_lsn){0}, "no pages of resource manager %u can be compared", rmid);
	return mask_functions[rmid](version, blkno, page, error);
}
