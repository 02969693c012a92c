/* neonfs-wal: read, count, check and replay the WAL of a Postgres cluster. The table of its commands. */
#include "tools/neonfs-wal/commands.h"

#include "tools/neonfs-wal/select.h"
#include "tools/neonfs-wal/replay.h"
#include "tools/neonfs-wal/source.h"

static const struct tl_option dump_options[] = {
	WAL_SOURCE_OPTIONS,
	WAL_SELECT_OPTIONS,
	{.name = "limit", .letter = 'n', .argument = "N", .help = "stop after N records"},
	{.name = "follow", .letter = 'f', .help = "at the end, wait for more, until SIGINT or SIGTERM"},
	{.name = "details", .letter = 'b', .help = "block references on lines of their own, with the place and size of images"},
	{.name = "json", .help = "print one JSON object a line"},
	{0},
};

static const struct tl_option stats_options[] = {
	WAL_SOURCE_OPTIONS,
	{.name = "types", .help = "a table of record types too"},
	{.name = "relations", .argument = "N", .help = "the N relations with the most bytes (default 20; 0 = none)"},
	{.name = "json", .help = "print one JSON object, with all of them"},
	{0},
};

static const struct tl_option verify_options[] = {
	WAL_SOURCE_OPTIONS,
	{.name = "rmgr",
	 .letter = 'r',
	 .argument = "NAME[,NAME]",
	 .help = "redo and compare the records of these resource managers only"},
	{.name = "memory",
	 .argument = "BYTES",
	 .help = "room for pages (default 512M); those given up are taken over again later"},
	{.name = "limit", .letter = 'n', .argument = "N", .help = "tell of the first N blocks that differ (default 20)"},
	{.name = "follow", .letter = 'f', .help = "at the end, wait for more, until SIGINT or SIGTERM; then report"},
	{.name = "save",
	 .argument = "DIR",
	 .help = "write those pages there: as they were, as replay left them, as Postgres had them"},
	{.name = "json", .help = "print one JSON object"},
	{0},
};

static const struct tl_command commands[] = {
	{.name = "dump",
	 .synopsis = "PATH [--start LSN] [--end LSN] [--rmgr NAME[,NAME]] [--relation T/D/R] [--limit N] [--json]",
	 .summary = "Print the records of WAL",
	 .description =
		 "One line a record, in the form and the words of pg_waldump(1) of the version that wrote it, of any version "
		 "from\n"
		 "13 to 18. PATH is a data directory (a server may run on it), a directory of WAL segments, or one segment.\n"
		 "With several timelines in it, the highest is followed with its history.\n\n"
		 "Examples:\n"
		 "  neonfs-wal dump /srv/pg/data --start 0/3000000 --limit 20\n"
		 "  neonfs-wal dump /srv/pg/data --relation 1663/5/16384 --block 7 --details\n"
		 "  neonfs-wal dump /srv/pg/data --rmgr Transaction --follow --json\n",
	 .arguments = {"PATH"},
	 .required = 1,
	 .options = dump_options,
	 .run = run_dump},
	{.name = "stats",
	 .synopsis = "PATH [--start LSN] [--end LSN] [--types] [--relations N] [--json]",
	 .summary = "Count what WAL consists of",
	 .description =
		 "By resource manager and by relation, the most bytes first. The bytes of a record without its images count for\n"
		 "the first relation that it names, those of an image for the relation whose page it is.\n\n"
		 "Examples:\n"
		 "  neonfs-wal stats /srv/pg/data\n"
		 "  neonfs-wal stats /srv/pg/data --start 0/3000000 --types --relations 0\n",
	 .arguments = {"PATH"},
	 .required = 1,
	 .options = stats_options,
	 .run = run_stats},
	{.name = "verify",
	 .synopsis = "PATH [--rmgr NAME[,NAME]] [--start LSN] [--end LSN] [--save DIR] [--json]",
	 .summary = "Replay WAL and compare every page with what Postgres made of it",
	 .description =
		 "PATH is a data directory, a directory of WAL segments, or one segment. The WAL must have been written with\n"
		 "wal_consistency_checking = 'all': then every record carries the pages as they must look after it. Each is\n"
		 "replayed, both pages are masked as Postgres does, and compared. Nothing but the WAL is read; a page that is "
		 "not\n"
		 "known yet is taken over from the first record that shows it. Prints the blocks that differ, and how often "
		 "each\n"
		 "record type was replayed and compared. Exits with 1 when a block differs or nothing could be compared.\n\n"
		 "Examples:\n"
		 "  neonfs-wal verify /srv/pg/data\n"
		 "  neonfs-wal verify /srv/pg/data/pg_wal --rmgr Btree,Hash --start 0/3000000\n"
		 "  neonfs-wal verify 000000010000000000000003 --save /tmp/pages --json\n",
	 .arguments = {"PATH"},
	 .required = 1,
	 .options = verify_options,
	 .run = run_verify},
	WAL_REPLAY_COMMAND,
	{0},
};

static const struct tl_program program = {
	.name = "neonfs-wal",
	.summary = "Reads, checks and replays the WAL of PostgreSQL 13 to 18",
	.description = "Without a Postgres process. PATH is a data directory, its pg_wal, any directory of WAL segments, or one "
		       "segment.\n",
	.commands = commands,
};

int main(int argc, char **argv)
{
	return tl_main(&program, argc, argv);
}
