/* Description of a transaction that was prepared.
 *
 *   xl_xact_prepare   magic 0, length 4, xid 8, database 12, time 16, owner 24, counts from 28: subtransactions, relations to drop at
 *                     commit, at abort, (15+: statistics to drop at commit, at abort,) invalidation messages; then relcache init file (1
 *                     byte), pad, length of the identifier (2 bytes), the origin's LSN and its time. 64 bytes, 15+ 72.
 * Then, each padded to 8 bytes: identifier, subtransactions, relations of commit, of abort, (15+: statistics of commit, of abort,)
 * messages.
 *
 * Source: ParsePrepareRecord in src/backend/access/rmgrdesc/xactdesc.c, src/include/access/xact.h. */
#include "xact_impl.h"

#define GID_MAX 200 /* GIDSIZE */

struct prepared {
	int64_t time_us, origin_time_us;
	uint64_t origin_lsn;
	uint32_t db;
	int32_t subxact_count, commit_rel_count, abort_rel_count, commit_stat_count, abort_stat_count, message_count;
	bool init_file;
	uint16_t gid_len;
};

static struct prepared read_header(struct wa_describe *d, struct nf_reader *main)
{
	struct prepared p = {0};
	nf_read_bytes(main, 12);
	p.db = nf_read_u32(main);
	p.time_us = (int64_t)nf_read_u64(main);
	nf_read_bytes(main, 4);
	p.subxact_count = (int32_t)nf_read_u32(main);
	p.commit_rel_count = (int32_t)nf_read_u32(main);
	p.abort_rel_count = (int32_t)nf_read_u32(main);
	if (d->major >= 15) {
		p.commit_stat_count = (int32_t)nf_read_u32(main);
		p.abort_stat_count = (int32_t)nf_read_u32(main);
	}
	p.message_count = (int32_t)nf_read_u32(main);
	p.init_file = nf_read_u8(main) != 0;
	nf_read_bytes(main, 1);
	p.gid_len = nf_read_u16(main);
	p.origin_lsn = nf_read_u64(main);
	p.origin_time_us = (int64_t)nf_read_u64(main);
	return p;
}

/* The elements of a list, and the pad behind it. The last list's pad may be missing: nothing follows it. */
static struct wa_xact_list padded(struct wa_describe *d, struct nf_reader *main, int32_t count, size_t size)
{
	struct wa_xact_list list = wa_xact_list(d, main, count, size);
	size_t pad = -(size_t)main->offset & 7;
	nf_read_bytes(main, NF_MIN(pad, nf_reader_left(main)));
	return list;
}

void wa_describe_prepare(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 0);
	struct prepared p = read_header(d, &main);
	struct wa_xact_list gid = padded(d, &main, p.gid_len, 1);
	struct wa_xact_list subxacts = padded(d, &main, p.subxact_count, 4);
	struct wa_xact_list commit_rels = padded(d, &main, p.commit_rel_count, 12);
	struct wa_xact_list abort_rels = padded(d, &main, p.abort_rel_count, 12);
	struct wa_xact_list commit_stats = padded(d, &main, p.commit_stat_count, wa_xact_stats_size(d->major));
	struct wa_xact_list abort_stats = padded(d, &main, p.abort_stat_count, wa_xact_stats_size(d->major));
	struct wa_xact_list messages = padded(d, &main, p.message_count, WA_XACT_MESSAGE_SIZE);
	wa_describe_check(d, &main);
	if (d->failed)
		return;

	wa_text_put(d->out, "gid ");
	wa_describe_string(d, &gid.items, NF_MIN(gid.count, GID_MAX));
	wa_text_put(d->out, ": ");
	wa_describe_time(d, p.time_us);
	wa_xact_rels(d, "rels(commit)", commit_rels);
	wa_xact_rels(d, "rels(abort)", abort_rels);
	wa_xact_stats(d, "commit ", commit_stats);
	wa_xact_stats(d, "abort ", abort_stats);
	wa_xact_subxacts(d, subxacts);
	wa_describe_invalidations(d, &messages.items, messages.count, p.db, 0, p.init_file);
	if (d->major >= 14 && d->record->origin != 0)
		wa_xact_origin(d, p.origin_lsn, p.origin_time_us);
}
