/* One call of a redo function on one page, and how redo functions refuse. Apart from redo.c, which refers to the functions of all resource
 * managers, so that a test can call those of one. */
#include "redo_impl.h"

#include <stdarg.h>
#include <stdio.h>

int wa_redo_bad(struct wa_redo *redo, const char *format, ...)
{
	char text[sizeof(redo->error->text)];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	const struct wa_record_type *type = wa_record_type(redo->version->major, redo->record->rmid, redo->record->info);
	return wa_bad(redo->error, redo->record->lsn, "%s %s: block %u: %s", wa_rmgr_name(redo->record->rmid),
		      type != NULL ? type->name : "?", redo->blkno, text);
}

int wa_redo_none(struct wa_redo *redo)
{
	redo->keep_lsn = true;
	return 0;
}

int wa_redo_call(wa_redo_fn function, struct wa_redo *redo)
{
	if (redo->ref->will_init)
		memset(redo->page, 0, WA_PAGE_SIZE);
	else if (wa_page_lsn(redo->page).v >= redo->record->end.v)
		return WA_SKIPPED;
	int status = function(redo);
	if (status < 0)
		return status;
	if (!redo->keep_lsn)
		wa_page_set_lsn(redo->page, redo->record->end);
	return WA_REDONE;
}
