/* neonfs-branch: branches and snapshots of a mounted store. The table of its commands. */
#include "tools/neonfs-branch/branch.h"

#define LATER "not known in this version"
#define POINT_WORDS                                                                                                              \
	"POINT is an LSN (16/B374D848 or 16-B374D848), a time with its zone (2026-11-24T01:34:00Z), a snapshot's\n"              \
	"label, or the name of a restore point (pg_create_restore_point). In front of it lsn:, time:, label: or\n"               \
	"restore-point: says which is meant. All but labels need history (\"neonfs-branch retain\").\n"

static const struct tl_option json_options[] = {
	{.name = "json", .help = "print JSON"},
	{0},
};

static const struct tl_option init_options[] = {
	{.name = "pg-bindir", .argument = "DIR", .help = "where initdb is (default: the newest in /usr/lib/postgresql)"},
	{.name = "owner", .argument = "USER", .help = "as root: whose cluster it is (default postgres)"},
	{.name = "json", .help = "print JSON"},
	{0},
};

static const struct tl_option create_options[] = {
	{.name = "from", .argument = "PARENT[@POINT]", .help = "start as this branch is now, or as it was at POINT"},
	{.name = "recovery", .argument = "HOW", .help = "instant: replayed now; postgres: by Postgres, when it is started"},
	{.name = "round", .help = "take the record's start when POINT is an LSN inside of one"},
	{.name = "share-tablespaces",
	 .help = "also when tablespaces lie outside of PARENT: the branch has the same ones, and no server may ever run on it"},
	{.name = "json", .help = "print JSON"},
	{.name = "ttl", .argument = "TIME", .refusal = LATER},
	{0},
};

static const struct tl_option delete_options[] = {
	{.name = "recursive", .help = "with all branches made from it, and those made from them"},
	{.name = "force", .help = "a snapshot also where history begins with it, and becomes shorter"},
	{0},
};

static const struct tl_option restore_options[] = {
	{.name = "to", .argument = "POINT", .help = "the point to go back to"},
	{.name = "recovery", .argument = "HOW", .help = "instant: replayed now; postgres: by Postgres, when it is started"},
	{.name = "round", .help = "take the record's start when POINT is an LSN inside of one"},
	{.name = "json", .help = "print JSON"},
	{0},
};

static const struct tl_option point_options[] = {
	{.name = "time", .argument = "TIME", .help = "the last moment up to this time"},
	{.name = "at", .argument = "POINT", .help = "any other point"},
	{.name = "round", .help = "take the record's start when POINT is an LSN inside of one"},
	{.name = "json", .help = "print JSON"},
	{0},
};

static const struct tl_option diff_options[] = {
	{.name = "pages", .help = "list Postgres relations and how many of their blocks differ; A and B may be any points"},
	{.name = "round", .help = "with --pages: take the record's start when a point is an LSN inside of one"},
	{.name = "json", .help = "print JSON"},
	{0},
};

static const struct tl_option global_options[] = {
	{.name = "store", .argument = "STORE", .help = "the store (default: NEONFS_STORE, or that of the current directory)"},
	{0},
};

static const struct tl_command commands[] = {
	{.name = "init",
	 .synopsis = "NAME [--pg-bindir DIR] [--owner USER] [-- INITDB-ARGS]",
	 .summary = "Make a branch with a new Postgres cluster in it",
	 .description =
		 "Creates branch NAME, runs initdb in it, and sets in its postgresql.conf what suits neonfs. As root, the\n"
		 "cluster belongs to user postgres (or USER); else to you. Words after -- go to initdb. When initdb fails,\n"
		 "its message is shown and the branch is taken away again.\n\n"
		 "Examples:\n"
		 "  neonfs-branch init main\n"
		 "  neonfs-branch init main -- --encoding=UTF8 --locale=C.UTF-8 --auth=trust\n"
		 "  neonfs-branch init old --pg-bindir /usr/lib/postgresql/13/bin\n",
	 .arguments = {"NAME"},
	 .required = 1,
	 .takes_rest = true,
	 .options = init_options,
	 .run = run_init},
	{.name = "create",
	 .synopsis = "NAME [--from PARENT[@POINT]] [--recovery=instant|postgres] [--round] [--share-tablespaces]",
	 .summary = "Make a branch",
	 .description =
		 "With --from, the branch starts as PARENT is at this moment (Postgres may run on it), or as it was at POINT.\n"
		 "Of now and of a snapshot this takes milliseconds whatever the size; space is used for what changes later. A\n"
		 "Postgres started on the copy of a running cluster recovers as after a power cut. Without --from the branch\n"
		 "is empty. The copy gets no postmaster.pid and postmaster.opts; replication slots in pg_replslot are copied as\n"
		 "they are.\n\n" POINT_WORDS
		 "WAL from the newest snapshot before the point is replayed up to exactly there, and Postgres starts on the\n"
		 "branch at once, on a timeline of its own. Where only Postgres can replay (records of extensions), it does\n"
		 "so when it is started, and that is said; --recovery=postgres asks for it, --recovery=instant refuses it.\n"
		 "With --recovery=instant a copy of now or of a snapshot is recovered too.\n\n"
		 "Refused where a tablespace of the cluster lies outside of its branch: a server on the copy would write to\n"
		 "the files of PARENT's. For a copy of now or of a snapshot that is only to be read, not run,\n"
		 "--share-tablespaces makes it all the same.\n\n"
		 "Examples:\n"
		 "  neonfs-branch create dev --from main\n"
		 "  neonfs-branch create audit --from main@before-upgrade\n"
		 "  neonfs-branch create then --from main@2026-11-24T01:34:00Z\n"
		 "  neonfs-branch create exact --from main@16/B374D848\n"
		 "  neonfs-branch create scratch\n",
	 .arguments = {"NAME"},
	 .required = 1,
	 .options = create_options,
	 .run = run_create},
	{.name = "list",
	 .synopsis = "[--json]",
	 .summary = "List the branches",
	 .description = "Sorted by name.\n\nExample:\n  neonfs-branch list --json\n",
	 .options = json_options,
	 .run = run_list},
	{.name = "tree",
	 .synopsis = "",
	 .summary = "Draw which branch was made from which",
	 .description = "Example:\n  neonfs-branch tree\n",
	 .run = run_tree},
	{.name = "show",
	 .synopsis = "NAME [--json]",
	 .summary = "Show one branch with its snapshots, children and history",
	 .description = "Example:\n  neonfs-branch show main\n",
	 .arguments = {"NAME"},
	 .required = 1,
	 .options = json_options,
	 .run = run_show},
	{.name = "log",
	 .synopsis = "NAME [--json]",
	 .summary = "Show the history of a branch, newest first",
	 .description = "Its snapshots, the branches made from it, and how it was made; then the same of its parent up to that "
			"moment.\n\n"
			"Example:\n  neonfs-branch log dev\n",
	 .arguments = {"NAME"},
	 .required = 1,
	 .options = json_options,
	 .run = run_log},
	{.name = "snapshot",
	 .synopsis = "NAME[@LABEL] [--json]",
	 .summary = "Keep a branch as it is now, read-only",
	 .description =
		 "Seen afterwards at MOUNT/NAME@LABEL, and a parent for --from. Without LABEL the time becomes the label.\n\n"
		 "Examples:\n"
		 "  neonfs-branch snapshot main@before-upgrade\n"
		 "  neonfs-branch snapshot main\n",
	 .arguments = {"NAME[@LABEL]"},
	 .required = 1,
	 .options = json_options,
	 .run = run_snapshot},
	{.name = "delete",
	 .synopsis = "NAME [--recursive] | NAME@LABEL [--force]",
	 .summary = "Delete a branch or a snapshot",
	 .description =
		 "At once; the space is freed in the background. Refused while a process has files of it open, while it is\n"
		 "protected, and while it has children (without --recursive; \"detach\" frees a child). A snapshot that the\n"
		 "branch's history begins with is refused too: --force deletes it, and says which points went with it.\n\n"
		 "Examples:\n"
		 "  neonfs-branch delete dev\n"
		 "  neonfs-branch delete dev --recursive\n"
		 "  neonfs-branch delete main@before-upgrade\n",
	 .arguments = {"NAME"},
	 .required = 1,
	 .options = delete_options,
	 .run = run_delete},
	{.name = "rename",
	 .synopsis = "OLD NEW",
	 .summary = "Give a branch another name",
	 .description = "Refused while a process has files of the branch open: stop the server first.\n\n"
			"Example:\n  neonfs-branch rename dev dev-old\n",
	 .arguments = {"OLD", "NEW"},
	 .required = 2,
	 .run = run_rename},
	{.name = "detach",
	 .synopsis = "NAME",
	 .summary = "Make a branch independent of its parent",
	 .description = "The parent can be deleted then. The branch shows what it showed before; nothing is copied, and the data "
			"that it\n"
			"shares with its parent stays for as long as it needs it.\n\n"
			"Example:\n  neonfs-branch detach dev\n  neonfs-branch delete main\n",
	 .arguments = {"NAME"},
	 .required = 1,
	 .run = run_detach},
	{.name = "protect",
	 .synopsis = "NAME",
	 .summary = "Let nobody delete a branch",
	 .description = "Until \"neonfs-branch unprotect NAME\".\n\nExample:\n  neonfs-branch protect main\n",
	 .arguments = {"NAME"},
	 .required = 1,
	 .run = run_protect},
	{.name = "unprotect",
	 .synopsis = "NAME",
	 .summary = "Let a branch be deleted again",
	 .description = "Example:\n  neonfs-branch unprotect main\n",
	 .arguments = {"NAME"},
	 .required = 1,
	 .run = run_unprotect},
	{.name = "diff",
	 .synopsis = "A B [--pages [--round]] [--json]",
	 .summary = "List the files or relations in which two points differ",
	 .description =
		 "A and B are branches or snapshots (NAME@LABEL). Found from metadata, without reading the data: added files "
		 "are\n"
		 "in B only, removed ones in A only, changed ones have other blocks, meta means other attributes only.\n\n"
		 "With --pages they may be any points of branches (NAME@POINT), and hold Postgres clusters: listed are the\n"
		 "relations that differ, with all their forks and files, the most blocks first. Of an LSN, a time or a restore\n"
		 "point no page is made for it: a block counts that a WAL record touches between the snapshot before the point\n"
		 "and the point itself. So such a block may in the end be the same byte for byte, but none that differs is left\n"
		 "out. Between two points behind the same snapshot only records between them count. Names are those in B, else "
		 "in\n"
		 "A; of a branch or snapshot as its catalogue lies on disk, so a running server's newest come with its next\n"
		 "checkpoint. Where the catalogue does not say for sure there is a \"?\".\n\n" POINT_WORDS "\n"
		 "Examples:\n"
		 "  neonfs-branch diff main dev\n"
		 "  neonfs-branch diff main@before-upgrade main\n"
		 "  neonfs-branch diff --pages main@2026-11-24T01:00:00Z main@2026-11-24T02:00:00Z\n",
	 .arguments = {"A", "B"},
	 .required = 2,
	 .options = diff_options,
	 .run = run_diff},
	{.name = "retain",
	 .synopsis = "NAME 7d | 50GB | 7d,50GB | off [--json]",
	 .summary = "Say how much history a branch keeps",
	 .description =
		 "From now on the WAL of the Postgres in NAME is kept when Postgres removes it, and snapshots are taken by "
		 "themselves, so\n"
		 "that any point of that time, or of that much WAL, can be gone back to. \"show\" tells how far history goes.\n"
		 "\"off\" deletes it.\n\n"
		 "Examples:\n"
		 "  neonfs-branch retain main 7d\n"
		 "  neonfs-branch retain main 2d,20GB\n",
	 .arguments = {"NAME", "RETENTION"},
	 .required = 2,
	 .options = json_options,
	 .run = run_retain},
	{.name = "restore",
	 .synopsis = "NAME --to POINT [--recovery=instant|postgres] [--round]",
	 .summary = "Put a branch back to a point of its history",
	 .description =
		 "What it is now stays, as branch NAME_old_TIME (to delete that one, \"detach NAME\" first). Refused while a\n"
		 "process has files of the branch open, and where a tablespace lies outside of it.\n\n" POINT_WORDS "\n"
		 "Examples:\n"
		 "  neonfs-branch restore main --to 2026-11-24T01:34:00Z\n"
		 "  neonfs-branch restore main --to before-upgrade\n",
	 .arguments = {"NAME"},
	 .required = 1,
	 .options = restore_options,
	 .run = run_restore},
	{.name = "reset",
	 .synopsis = "NAME",
	 .summary = "Make a branch what its parent is now",
	 .description =
		 "What was done in it since, and its snapshots, are given up. Refused while a process has files of it open,\n"
		 "while it is protected, while there are branches made from it, and where a tablespace of the parent lies\n"
		 "outside of it.\n\n"
		 "Example:\n  neonfs-branch reset dev\n",
	 .arguments = {"NAME"},
	 .required = 1,
	 .options = json_options,
	 .run = run_reset},
	{.name = "recover",
	 .synopsis = "NAME",
	 .summary = "Bring a branch whose Postgres died to its last valid record",
	 .description =
		 "Postgres then starts on it at once, whatever it would have to replay; pages are made when they are read, and "
		 "in\n"
		 "the background. The branch should keep history (\"neonfs-branch retain\"): its WAL is indexed already then; "
		 "else\n"
		 "that is done first, which takes reading all WAL since the last checkpoint. A snapshot before-recover-TIME "
		 "keeps\n"
		 "what was there. While it works, nobody else can change anything in the branch, and no server starts on it.\n"
		 "Broken off, it leaves a branch that Postgres recovers by itself. Refused while a server runs, and where\n"
		 "backup_label, recovery.signal or standby.signal say that another recovery is meant.\n\n"
		 "Example:\n  neonfs-branch recover main\n",
	 .arguments = {"NAME"},
	 .required = 1,
	 .options = json_options,
	 .run = run_recover},
	{.name = "point",
	 .synopsis = "NAME --time TIME | --at POINT [--round]",
	 .summary = "Show which LSN a point is",
	 .description = "The LSN that \"create --from NAME@POINT\" would go to. Of a time it is the last one before the first\n"
			"transaction that ended later.\n\n" POINT_WORDS "\n"
			"Examples:\n"
			"  neonfs-branch point main --time 2026-11-24T01:34:00Z\n"
			"  neonfs-branch point main --at restore-point:before-import\n",
	 .arguments = {"NAME"},
	 .required = 1,
	 .options = point_options,
	 .run = run_point},
	{.name = "expire", .refusal = LATER},
	{0},
};

static const struct tl_program program = {
	.name = "neonfs-branch",
	.summary = "Branches and snapshots of a neonfs store",
	.description = "The store must be mounted (neonfs(1)); each branch is a directory of the mount.\n\n"
		       "  export NEONFS_STORE=/srv/neon\n"
		       "  neonfs-branch init main                    a new Postgres cluster at MOUNT/main\n"
		       "  neonfs-branch create dev --from main       a copy of it, in milliseconds, while it runs\n"
		       "  neonfs-branch snapshot main@monday         a read-only point, at MOUNT/main@monday\n"
		       "  neonfs-branch tree                         what came from what\n",
	.options = global_options,
	.commands = commands,
};

int main(int argc, char **argv)
{
	return tl_main(&program, argc, argv);
}
