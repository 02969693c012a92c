/* A layer in the making, shared by lazy_make.c and lazy_seal.c alone. */
#ifndef WA_LAZY_MAKE_H
#define WA_LAZY_MAKE_H

#include "walapply/pitr/lazy_impl.h"
#include "walapply/summary/wa_summary.h"

/* The summary of a segment; without one its index is loaded. */
struct lz_summary {
	uint8_t *bytes; /* NULL: there is none */
	size_t size;
	struct wa_summary view;
};

struct wa_lazy_layer {
	struct wa_lazy *lazy;
	char name[LZ_NAME_MAX + 1];
	struct lz_plan plan;
	struct bd_branch_id source;
	uint32_t catalog, segment_blocks;
	bool is_counted;
	struct bd_inode *all, *dir, *wal, *index; /* layers, layers/<name> and what is in it */
	struct lz_summary *summaries; /* one a segment */
	struct bd_inode *merged; /* history's runs; NULL: there are none, or none are wanted */
	struct lz_indexes indexes; /* one a segment; loaded of those without a summary, of others when something asks for them */
	struct lz_log log;
	uint64_t blocks;
};

/* Where words about an error go. */
struct message {
	char *text;
	size_t size;
};

/* lazy_gather.c: indexes and summaries of the plan's segments, whose WAL is gathered. Opens layer->log. */
NF_MUST_CHECK int lz_gather_indexes(struct wa_lazy_layer *layer, bool use_runs, struct message message);

#endif
