/* Reading. All bytes are foreign: whatever they say, nothing outside of them is read, and no loop is longer than they are. */
#include <xxhash.h>

#include "common/nf_cursor.h"
#include "summary_impl.h"
#include "walapply/decode/wa_decode.h"
#include "walapply/decode/wa_records.h"

static int damaged(const struct wa_summary *summary, struct wa_error *error, const char *what)
{
	return wa_bad(error, summary->info.base, "the summary of the WAL is damaged: %s", what);
}

static bool varint(struct nf_reader *r, uint64_t *ret_value)
{
	uint64_t value = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t byte = nf_read_u8(r);
		if (r->failed)
			return false;
		value |= (uint64_t)(byte & 0x7F) << shift;
		if (!(byte & 0x80)) {
			*ret_value = value;
			return shift < 63 || byte <= 1;
		}
	}
	return false;
}

/* One that fits into 32 bits. */
static bool varint32(struct nf_reader *r, uint32_t *ret_value)
{
	uint64_t value;
	if (!varint(r, &value) || value > UINT32_MAX)
		return false;
	*ret_value = (uint32_t)value;
	return true;
}

static void read_info(struct nf_reader *r, struct wa_summary_info *info, uint32_t *ret_flags)
{
	info->major = (int)nf_read_u32(r);
	info->base.v = nf_read_u64(r);
	info->limit.v = nf_read_u64(r);
	info->system_id = nf_read_u64(r);
	info->first.v = nf_read_u64(r);
	info->prev.v = nf_read_u64(r);
	info->last.v = nf_read_u64(r);
	info->end.v = nf_read_u64(r);
	info->records = nf_read_u64(r);
	info->first_timeline = nf_read_u32(r);
	info->last_timeline = nf_read_u32(r);
	*ret_flags = nf_read_u32(r);
	info->commit_times = (*ret_flags & SM_COMMIT_TIMES) != 0;
	info->is_partial = (*ret_flags & SM_PARTIAL) != 0;
	info->has_foreign = (*ret_flags & SM_FOREIGN) != 0;
	info->has_parameters = (*ret_flags & SM_PARAMETERS) != 0;
	info->has_copies = (*ret_flags & SM_COPIES) != 0;
}

static bool is_sound(const struct wa_summary_info *info)
{
	if (info->base.v >= info->limit.v || info->base.v % WA_PAGE_SIZE != 0 || info->limit.v % WA_PAGE_SIZE != 0)
		return false;
	if (info->records == 0)
		return info->first.v == 0 && info->last.v == 0 && info->end.v == 0;
	return info->base.v <= info->first.v && info->first.v <= info->last.v && info->last.v < info->limit.v &&
	       info->last.v < info->end.v;
}

int wa_summary_open(const uint8_t *bytes, size_t size, struct wa_summary *ret_summary, struct wa_error *error)
{
	struct wa_summary summary = {.items = bytes};
	uint32_t flags;
	if (size < SM_HEADER + SM_HASH)
		return wa_bad(error, (struct nf_lsn){0}, "no summary of WAL: it is too short");
	struct nf_reader r = nf_reader_init(bytes, size), end = nf_reader_init(bytes + size - SM_HASH, SM_HASH);
	if (nf_read_u64(&r) != SM_MAGIC)
		return wa_bad(error, (struct nf_lsn){0}, "no summary of WAL");
	uint32_t version = nf_read_u32(&r);
	if (nf_read_u64(&end) != XXH3_64bits(bytes, size - SM_HASH))
		return wa_bad(error, (struct nf_lsn){0}, "the summary of the WAL is damaged: its checksum does not fit");
	if (version != WA_SUMMARY_VERSION) {
		wa_bad(error, (struct nf_lsn){0}, "a summary of WAL of version %u; this program knows version %u", version,
		       WA_SUMMARY_VERSION);
		return -ENOTSUP;
	}
	read_info(&r, &summary.info, &flags);
	summary.items_size = nf_read_u32(&r);
	summary.blocks_size = nf_read_u32(&r);
	if ((flags & ~(uint32_t)SM_FLAGS) != 0 || !is_sound(&summary.info) ||
	    (uint64_t)SM_HEADER + summary.items_size + summary.blocks_size + SM_HASH != size)
		return damaged(&summary, error, "its header");
	summary.items = bytes + SM_HEADER;
	summary.blocks = summary.items + summary.items_size;
	*ret_summary = summary;
	return 0;
}

bool wa_summary_packed_next(const uint8_t *bytes, size_t size, size_t *at, const uint8_t **ret_bytes, size_t *ret_size)
{
	if (*at >= size)
		return false;
	struct nf_reader r = nf_reader_init(bytes + *at, size - *at);
	uint32_t length = nf_read_u32(&r);
	if (r.failed || length > nf_reader_left(&r))
		return false;
	*ret_bytes = bytes + *at + WA_SUMMARY_PACKED_HEADER;
	*ret_size = length;
	*at += WA_SUMMARY_PACKED_HEADER + length;
	return true;
}

/* ----------------------------------------------------------------- items */

void wa_summary_start(const struct wa_summary *summary, struct wa_summary_cursor *ret_cursor)
{
	*ret_cursor = (struct wa_summary_cursor){.summary = summary};
}

static bool take_xid(struct wa_summary_cursor *cursor, struct nf_reader *r, uint32_t *ret_xid)
{
	uint64_t difference;
	if (!varint(r, &difference))
		return false;
	cursor->xid += (uint32_t)sm_unzigzag(difference);
	*ret_xid = cursor->xid;
	return true;
}

static bool take_ended(struct wa_summary_cursor *cursor, struct nf_reader *r, struct wa_summary_item *item)
{
	uint64_t word;
	if (!take_xid(cursor, r, &item->xid) || !varint(r, &word) || word >> 1 == 0 || word >> 1 > INT32_MAX)
		return false;
	item->count = (uint32_t)(word >> 1);
	item->status = word & 1 ? WA_XACT_ABORTED : WA_XACT_COMMITTED;
	cursor->xid += item->count - 1;
	return true;
}

static bool take_commit(struct wa_summary_cursor *cursor, struct nf_reader *r, struct wa_summary_item *item)
{
	uint64_t difference;
	uint32_t origin;
	if (!take_xid(cursor, r, &item->xid) || !varint(r, &difference) || !varint32(r, &origin) || origin > UINT16_MAX)
		return false;
	cursor->time_us = (int64_t)((uint64_t)cursor->time_us + (uint64_t)sm_unzigzag(difference));
	item->time_us = cursor->time_us;
	item->origin = (uint16_t)origin;
	return true;
}

static bool take_fork(struct nf_reader *r, struct wa_locator *rel, uint32_t *fork)
{
	return varint32(r, &rel->spc) && varint32(r, &rel->db) && varint32(r, &rel->rel) && varint32(r, fork) &&
	       (*fork == WA_FORK_MAIN || *fork == WA_FORK_VM);
}

static int take_record(const struct wa_summary *summary, struct nf_reader *r, struct wa_record *record, struct wa_error *error)
{
	const struct wa_summary_info *info = &summary->info;
	uint64_t lsn, length;
	uint32_t timeline, size;
	if (!varint32(r, &timeline) || !varint(r, &lsn) || !varint(r, &length) || !varint32(r, &size) ||
	    size > nf_reader_left(r) || lsn >= (info->limit.v - info->base.v) / 8 || length == 0 || length > WA_RECORD_MAX)
		return damaged(summary, error, "a record in it");
	const uint8_t *bytes = nf_read_bytes(r, size);
	int status = wa_decode_record(info->major, bytes, size, (struct nf_lsn){info->base.v + lsn * 8}, record, error);
	if (status < 0)
		return status;
	record->end.v = record->lsn.v + length * 8;
	record->timeline = timeline;
	return 0;
}

int wa_summary_next(struct wa_summary_cursor *cursor, struct wa_summary_item *ret_item, struct wa_error *error)
{
	const struct wa_summary *summary = cursor->summary;
	if (cursor->at == summary->items_size)
		return 0;
	struct nf_reader r = nf_reader_init(summary->items + cursor->at, summary->items_size - cursor->at);
	ret_item->kind = (enum wa_summary_kind)nf_read_u8(&r);
	bool is_whole = false;
	int status = 0;
	switch (ret_item->kind) {
	case WA_SUMMARY_XID: is_whole = take_xid(cursor, &r, &ret_item->xid); break;
	case WA_SUMMARY_ENDED: is_whole = take_ended(cursor, &r, ret_item); break;
	case WA_SUMMARY_COMMIT: is_whole = take_commit(cursor, &r, ret_item); break;
	case WA_SUMMARY_GROW: is_whole = take_fork(&r, &ret_item->rel, &ret_item->fork) && varint32(&r, &ret_item->blocks); break;
	case WA_SUMMARY_RECORD:
		status = take_record(summary, &r, &ret_item->record, error);
		is_whole = true;
		break;
	}
	if (status < 0)
		return status;
	if (!is_whole)
		return damaged(summary, error, "an item");
	cursor->at = summary->items_size - nf_reader_left(&r);
	return 1;
}

/* ---------------------------------------------------------------- blocks */

static bool take_runs(struct nf_reader *r, uint64_t words[WA_SUMMARY_WORDS])
{
	uint32_t runs, at = 0, passed, count;
	if (!varint32(r, &runs))
		return false;
	for (; runs > 0; runs--) {
		if (!varint32(r, &passed) || !varint32(r, &count) || passed > WA_SUMMARY_CHUNK - at ||
		    count > WA_SUMMARY_CHUNK - at - passed)
			return false;
		at += passed;
		for (; count > 0; at++, count--)
			words[at / 64] |= UINT64_C(1) << at % 64;
	}
	return true;
}

static bool take_bits(struct nf_reader *r, uint64_t words[WA_SUMMARY_WORDS])
{
	uint32_t size;
	if (!varint32(r, &size) || size > SM_BITS_MAX || size > nf_reader_left(r))
		return false;
	if (size > 0)
		memcpy(words, nf_read_bytes(r, size), size);
	for (unsigned i = 0; i < WA_SUMMARY_WORDS; i++)
		words[i] = le64toh(words[i]);
	return true;
}

int wa_summary_blocks(const struct wa_summary *summary,
		      int (*each)(void *arg, const struct wa_block *first, const uint64_t words[WA_SUMMARY_WORDS]), void *arg,
		      struct wa_error *error)
{
	struct nf_reader r = nf_reader_init(summary->blocks, summary->blocks_size);
	uint64_t words[WA_SUMMARY_WORDS];
	struct wa_block block = {.fork = WA_FORKS};
	int status = 0;
	while (nf_reader_left(&r) > 0 && status == 0) {
		uint32_t number;
		uint8_t tag = nf_read_u8(&r);
		bool is_sound = tag <= (SM_BITS | SM_SAME_FORK);
		if (!(tag & SM_SAME_FORK))
			is_sound = is_sound && take_fork(&r, &block.rel, &block.fork);
		is_sound = is_sound && block.fork != WA_FORKS && varint32(&r, &number) && number <= UINT32_MAX / WA_SUMMARY_CHUNK;
		memset(words, 0, sizeof(words));
		if (!is_sound || !(tag & SM_BITS ? take_bits(&r, words) : take_runs(&r, words)))
			return damaged(summary, error, "its blocks");
		block.blkno = number * WA_SUMMARY_CHUNK;
		status = each(arg, &block, words);
	}
	return status;
}
