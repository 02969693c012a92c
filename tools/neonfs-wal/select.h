/* Which records a command is asked for. */
#ifndef WAL_SELECT_H
#define WAL_SELECT_H

#include "tools/lib/cli.h"
#include "walapply/decode/wa_records.h"

/* Their options, for a command's table. */
#define WAL_SELECT_OPTIONS                                                                                                       \
	{.name = "rmgr", .letter = 'r', .argument = "NAME[,NAME]", .help = "records of these resource managers only"},           \
		{.name = "relation",                                                                                             \
		 .letter = 'R',                                                                                                  \
		 .argument = "T/D/R",                                                                                            \
		 .help = "that name a block of this relation (tablespace/database/file)"},                                       \
		{.name = "fork",                                                                                                 \
		 .letter = 'F',                                                                                                  \
		 .argument = "FORK",                                                                                             \
		 .help = "that name a block of this fork: main, fsm, vm or init"},                                               \
		{.name = "block",                                                                                                \
		 .letter = 'B',                                                                                                  \
		 .argument = "N",                                                                                                \
		 .help = "that name block N; the three must fit the same block"},                                                \
		{.name = "xid", .letter = 'x', .argument = "XID", .help = "of this transaction"},                                \
	{                                                                                                                        \
		.name = "images", .letter = 'w', .help = "that have a full-page image"                                           \
	}

struct wal_select {
	bool has_rmgrs, has_relation, has_fork, has_block, has_xid, has_images;
	bool rmgrs[256];
	struct wa_locator relation;
	uint32_t fork, blkno, xid;
};

/* Read the options. Returns TL_OK, or TL_USAGE with a message. */
NF_MUST_CHECK int wal_select_parse(const struct tl_call *call, struct wal_select *ret_select);

/* Is `record` one of them? */
bool wal_select_matches(const struct wal_select *select, const struct wa_record *record);

/* "main", "fsm", "vm" or "init". fork: below WA_FORKS. */
const char *wal_fork_name(uint32_t fork);

#endif
