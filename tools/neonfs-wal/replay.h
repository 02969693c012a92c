/* `neonfs-wal replay`: bring a copied data directory to an LSN. */
#ifndef WAL_REPLAY_H
#define WAL_REPLAY_H

#include "tools/lib/cli.h"

/* The row for the table of commands. */
extern const struct tl_option wal_replay_options[];
#define WAL_REPLAY_COMMAND                                                                                                       \
	{                                                                                                                        \
		.name = "replay",                                                                                                \
		.synopsis = "DATADIR [--to LSN] [--wal DIR]... [--timeline N] [--new-timeline N] [--no-finish | --state-only] "  \
			    "[--keep-slots] "                                                                                    \
			    "[--threads N] "                                                                                     \
			    "[--memory BYTES] [--json]",                                                                         \
		.summary = "Bring a copied data directory to an LSN, without a Postgres process",                                \
		.description = "DATADIR is a base backup, or the copy of a crashed or stopped data directory; it is changed in " \
			       "place. Replay\n"                                                                                 \
			       "begins where its backup_label or pg_control says. Every record that ends at or before LSN is "   \
			       "replayed (without\n"                                                                             \
			       "--to: the whole log): relations, transaction status, multixacts, commit timestamps, databases, " \
			       "tablespaces,\n"                                                                                  \
			       "prepared transactions, replication origins. The free space map is left as it was.\n\n"           \
			       "At the end a shutdown checkpoint is written there on a new timeline, with its history file, "    \
			       "and Postgres starts\n"                                                                           \
			       "at once, without recovery. Replication slots (without --keep-slots) and statistics are "         \
			       "removed; so are segments of pg_wal behind the\n"                                                 \
			       "LSN. With --no-finish pg_control, pg_wal and backup_label stay as they are. With --state-only "  \
			       "pages of\n"                                                                                      \
			       "relations and visibility maps are left for whoever serves the directory (neonfs does).\n\n"      \
			       "What is refused changes nothing: a directory with a server at work on it, an LSN that the log "  \
			       "does not reach or\n"                                                                             \
			       "that the directory has passed. A replay that was broken off can be begun again. Root works as "  \
			       "DATADIR's owner.\n\n"                                                                            \
			       "Examples:\n"                                                                                     \
			       "  neonfs-wal replay /srv/copy --wal /srv/archive --to 16/B374D848\n"                             \
			       "  neonfs-wal replay /srv/crashed\n",                                                             \
		.arguments = {"DATADIR"}, .required = 1, .options = wal_replay_options, .run = run_replay                        \
	}

int run_replay(const struct tl_call *call);

#endif
