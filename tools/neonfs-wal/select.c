#include "tools/neonfs-wal/select.h"

#include <string.h>

#include "tools/lib/format.h"
#include "tools/neonfs-wal/rmgrs.h"
#include "tools/neonfs-wal/source.h"

static const char *const fork_names[WA_FORKS] = {"main", "fsm", "vm", "init"};

const char *wal_fork_name(uint32_t fork)
{
	return fork_names[fork % WA_FORKS];
}

/* Three numbers of 32 bits with slashes between them. */
static bool read_locator(const char *text, struct wa_locator *rel)
{
	uint32_t *parts[] = {&rel->spc, &rel->db, &rel->rel};
	for (size_t i = 0; i < NF_ARRAY_LEN(parts); i++) {
		char digits[16];
		uint64_t number;
		size_t length = strcspn(text, "/");
		if (length >= sizeof(digits) || (text[length] == '/') != (i + 1 < NF_ARRAY_LEN(parts)))
			return false;
		memcpy(digits, text, length);
		digits[length] = '\0';
		if (tl_parse_number(digits, 0, UINT32_MAX, &number) < 0)
			return false;
		*parts[i] = (uint32_t)number;
		text += length + 1;
	}
	return true;
}

static int parse_relation(const struct tl_call *call, struct wal_select *select)
{
	const char *text = tl_value(call, "relation");
	char quoted[TL_QUOTE_MAX];
	select->has_relation = text != NULL;
	if (text == NULL || read_locator(text, &select->relation))
		return TL_OK;
	tl_quote(quoted, sizeof(quoted), text);
	return tl_usage("--relation: %s is not TABLESPACE/DATABASE/FILE; write it like 1663/5/16384", quoted);
}

static int parse_fork(const struct tl_call *call, struct wal_select *select)
{
	const char *text = tl_value(call, "fork");
	char quoted[TL_QUOTE_MAX];
	select->has_fork = text != NULL;
	if (text == NULL)
		return TL_OK;
	for (select->fork = 0; select->fork < WA_FORKS; select->fork++)
		if (strcmp(text, fork_names[select->fork]) == 0)
			return TL_OK;
	tl_quote(quoted, sizeof(quoted), text);
	return tl_usage("--fork: %s is none of main, fsm, vm and init", quoted);
}

int wal_select_parse(const struct tl_call *call, struct wal_select *ret_select)
{
	const char *rmgrs = tl_value(call, "rmgr");
	uint64_t block = 0, xid = 0;
	*ret_select = (struct wal_select){.has_rmgrs = rmgrs != NULL,
					  .has_block = tl_flag(call, "block"),
					  .has_xid = tl_flag(call, "xid"),
					  .has_images = tl_flag(call, "images")};
	int code = rmgrs != NULL ? wal_rmgrs_parse(rmgrs, ret_select->rmgrs) : TL_OK;
	if (code == TL_OK)
		code = parse_relation(call, ret_select);
	if (code == TL_OK)
		code = parse_fork(call, ret_select);
	if (code == TL_OK)
		code = wal_option_number(call, "block", 0, UINT32_MAX - 1, 0, &block);
	if (code == TL_OK)
		code = wal_option_number(call, "xid", 0, UINT32_MAX, 0, &xid);
	ret_select->blkno = (uint32_t)block;
	ret_select->xid = (uint32_t)xid;
	return code;
}

static bool has_block(const struct wal_select *select, const struct wa_record *record)
{
	for (unsigned i = 0; i < record->ref_count; i++) {
		const struct wa_block *block = &record->refs[i].block;
		if ((!select->has_relation || wa_locator_equal(block->rel, select->relation)) &&
		    (!select->has_fork || block->fork == select->fork) && (!select->has_block || block->blkno == select->blkno))
			return true;
	}
	return false;
}

static bool has_image(const struct wa_record *record)
{
	for (unsigned i = 0; i < record->ref_count; i++)
		if (record->refs[i].has_image)
			return true;
	return false;
}

bool wal_select_matches(const struct wal_select *select, const struct wa_record *record)
{
	if (select->has_rmgrs && !select->rmgrs[record->rmid])
		return false;
	if (select->has_xid && record->xid != select->xid)
		return false;
	if ((select->has_relation || select->has_fork || select->has_block) && !has_block(select, record))
		return false;
	return !select->has_images || has_image(record);
}
