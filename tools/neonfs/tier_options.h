/* Options about a store's object store, which init and attach share. */
#ifndef NEONFS_TIER_OPTIONS_H
#define NEONFS_TIER_OPTIONS_H

#include "blockdev/tier/config.h"
#include "tools/lib/cli.h"

/* Rows of a table of options. */
#define TIER_OPTIONS                                                                                                             \
	{.name = "local-limit", .argument = "BYTES", .help = "keep at most this much here; what was not read for longest leaves (like 50G)"}, \
		{.name = "grace", .argument = "TIME", .help = "objects that nothing needs any more stay for so long (default 1d)"},      \
		{.name = "lease", .argument = "TIME", .help = "another machine takes over after so long without a sign (default 20s)"},  \
		{.name = "send-rate", .argument = "BYTES", .help = "upload at most this much a second (default: no limit)"},             \
		{.name = "receive-rate", .argument = "BYTES", .help = "download at most this much a second (default: no limit)"},        \
		{.name = "parallel", .argument = "N", .help = "requests at a time (default 8)"},                                         \
	{                                                                                                                        \
		.name = "unsafe-no-lease", .help = "do without a lease: nothing keeps two machines from writing to the store"            \
	}

/* What was asked for. TL_OK; TL_USAGE after a message. `url` may be NULL: then none of the options may be there. */
int tier_options_parse(const struct tl_call *call, const char *url, struct bd_tier_config *ret_config);

#endif
