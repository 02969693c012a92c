/* neonfs-wal: read, count, check and replay the WAL of a Postgres cluster. The table of its commands. */
#include "tools/neonfs-wal/commands.h"

#include "tools/neonfs-wal/source.h"

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
	{.name = "save",
	 .argument = "DIR",
	 .help = "write those pages there: as they were, as replay left them, as Postgres had them"},
	{.name = "json", .help = "print one JSON object"},
	{0},
};

static const struct tl_command commands[] = {
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
