/* neonfs: make, mount and look after a store. The table of its commands; each has a source of its own. */
#include "tools/neonfs/commands.h"
#include "tools/neonfs/tier_options.h"

static const struct tl_option init_options[] = {
	{.name = "size-limit", .argument = "BYTES", .help = "use at most this much of the disk (like 200G; default: no limit)"},
	{.name = "object-store", .argument = "URL", .help = "copy everything there as it is written, and keep here what is used"},
	TIER_OPTIONS,
	{0},
};

static const struct tl_option attach_options[] = {
	{.name = "take-over", .help = "take the store from the machine that has it, also when that is alive"},
	{.name = "read-only", .help = "look at it only; its owner goes on"},
	{.name = "prefetch", .help = "bring everything here now, as far as --local-limit lets it"},
	{.name = "json", .help = "print one JSON object"},
	TIER_OPTIONS,
	{0},
};

static const struct tl_option flush_options[] = {
	{.name = "wait", .argument = "TIME", .help = "give up after so long (like 5m; default: never)"},
	{0},
};

static const struct tl_option mount_options[] = {
	{.name = "foreground", .letter = 'f', .help = "stay in the foreground, log to the terminal"},
	{.name = "cache", .argument = "back|through", .help = "who gathers writes: back (default) the kernel, through nobody"},
	{.name = "memory-limit", .argument = "BYTES", .help = "memory for caches and buffers (default 384M, at least 64M)"},
	{.name = "drain-rate", .argument = "BYTES|max", .help = "a second for making blocks of branches at points (default 64M)"},
	{.name = "drain-memory", .argument = "BYTES", .help = "for that (default a 16th of the machine's, 2G at most)"},
	{.name = "transport", .argument = "auto|dev|uring", .help = "how the kernel talks to the daemon (default auto)"},
	{.name = "threads", .argument = "N", .help = "threads that serve requests (default 16; 64 with an object store)"},
	{0},
};

static const struct tl_option status_options[] = {
	{.name = "json", .help = "print one JSON object"},
	{0},
};

static const struct tl_option set_options[] = {
	{.name = "size-limit", .argument = "BYTES|none", .help = "use at most this much of the disk (like 200G), or all of it"},
	{0},
};

static const struct tl_option scrub_options[] = {
	{.name = "rebuild", .help = "make a lost or damaged index again (the store must not be mounted)"},
	{.name = "object-store", .help = "compare what should be in the object store with what is there, instead"},
	{.name = "deep", .help = "with --object-store: also read and verify every object"},
	{.name = "json", .help = "print one JSON object"},
	{0},
};

static const struct tl_option volume_options[] = {
	{.name = "size", .argument = "BYTES", .help = "create, resize: how large it is (like 64G)"},
	{.name = "force", .help = "resize: also when data behind the new end is lost; delete: also a file that is no volume"},
	{.name = "store", .argument = "STORE", .help = "the store (default: NEONFS_STORE, or that of the mount you are in)"},
	{.name = "json", .help = "list: print JSON"},
	{0},
};

static const struct tl_option object_store_options[] = {
	{.name = "size", .argument = "BYTES", .help = "how large the large object is (default 64M)"},
	{.name = "parallel", .argument = "N", .help = "requests at a time (default 8)"},
	{.name = "deadline", .argument = "TIME", .help = "try a request that fails again for so long (default 30s)"},
	{.name = "unverified-tls", .help = "s3v2 only: accept https although libs3 does not verify certificates"},
	{.name = "json", .help = "print one JSON object"},
	{0},
};

static const struct tl_command commands[] = {
	{.name = "init",
	 .synopsis = "STORE [--size-limit BYTES] [--object-store URL [--local-limit BYTES]]",
	 .summary = "Make an empty store",
	 .description = "STORE is a directory on a local disk; it is made when missing and must be empty otherwise.\n"
			"Only its owner (and root) can use it.\n\n"
			"With --object-store everything that is written is copied to URL within about a second (bulk loads: ten), with all branches and\n"
			"their history; \"neonfs attach\" makes the store again from there alone. With --local-limit it may become larger\n"
			"than the disk: what was not read for longest is kept there only, and read when it is wanted. One machine at a\n"
			"time can write to it: it holds a lease in the object store. \"neonfs object-store check URL\" says whether a place\n"
			"can do what is needed, and what URLs look like.\n\n"
			"Examples:\n"
			"  neonfs init /srv/neon\n"
			"  neonfs init /srv/neon --size-limit 200G\n"
			"  neonfs init /srv/neon --object-store s3://my-bucket/neon --local-limit 50G\n",
	 .arguments = {"STORE"},
	 .required = 1,
	 .options = init_options,
	 .run = run_init},
	{.name = "mount",
	 .synopsis = "STORE MOUNTPOINT [-f] [--cache=back|through]",
	 .summary = "Serve a store as a file system",
	 .description =
		 "Starts the store's daemon and returns when the mount is in service. MOUNTPOINT is an empty directory; in it,\n"
		 "every branch is a directory, and BRANCH@LABEL shows a snapshot. The daemon logs to STORE/neonfs.log.\n"
		 "A mount that a killed daemon left behind is cleared first.\n\n"
		 "--cache=back      the kernel gathers writes: fastest. Postgres needs full_page_writes=on, as on any disk.\n"
		 "--cache=through   each write reaches the daemon at once, 8 KiB blocks stay whole through a crash, and\n"
		 "                  full_page_writes=off is safe: the least WAL.\n\n"
		 "Examples:\n"
		 "  neonfs mount /srv/neon /mnt/neon\n"
		 "  neonfs mount /srv/neon /mnt/neon --cache=through --memory-limit 256M\n",
	 .arguments = {"STORE", "MOUNTPOINT"},
	 .required = 2,
	 .options = mount_options,
	 .run = run_mount},
	{.name = "umount",
	 .synopsis = "MOUNTPOINT",
	 .summary = "Unmount, and wait until everything is on disk",
	 .description =
		 "Returns when the daemon has written everything and has ended. When a process still uses the mount nothing\n"
		 "happens, and the message names it.\n\n"
		 "Example:\n"
		 "  neonfs umount /mnt/neon\n",
	 .arguments = {"MOUNTPOINT"},
	 .required = 1,
	 .run = run_umount},
	{.name = "status",
	 .synopsis = "STORE [--json]",
	 .summary = "Show what a store holds and how it does",
	 .description = "Asks the daemon when the store is mounted; reads the store itself when it is not.\n\n"
			"Examples:\n"
			"  neonfs status /srv/neon\n"
			"  neonfs status /srv/neon --json\n",
	 .arguments = {"STORE"},
	 .required = 1,
	 .options = status_options,
	 .run = run_status},
	{.name = "set",
	 .synopsis = "STORE --size-limit BYTES|none",
	 .summary = "Change how much of the disk a store may take",
	 .description = "Works while the store is mounted too, and counts at once. A limit can be raised, taken away, and lowered down\n"
			"to what the store takes (\"neonfs gc\" gives back what is not needed).\n\n"
			"Examples:\n"
			"  neonfs set /srv/neon --size-limit 400G\n"
			"  neonfs set /srv/neon --size-limit none\n",
	 .arguments = {"STORE"},
	 .required = 1,
	 .options = set_options,
	 .run = run_set},
	{.name = "scrub",
	 .synopsis = "STORE [--rebuild] [--object-store [--deep]] [--json]",
	 .summary = "Read and verify everything in a store",
	 .description =
		 "Verifies the checksum of every block and index record that a branch or snapshot can reach, also while the\n"
		 "store is mounted and busy. Prints a line for each thing found wrong, and exits with 1 when there was one.\n"
		 "With --rebuild the index is made again from the data; the old one stays beside it as index.old.\n"
		 "With --object-store the objects behind the store are looked at instead: is everything there that should be, and of\n"
		 "the right size; with --deep every one is read and verified too.\n\n"
		 "Examples:\n"
		 "  neonfs scrub /srv/neon\n"
		 "  neonfs scrub /srv/neon --rebuild\n"
		 "  neonfs scrub /srv/neon --object-store --deep\n",
	 .arguments = {"STORE"},
	 .required = 1,
	 .options = scrub_options,
	 .run = run_scrub},
	{.name = "gc",
	 .synopsis = "STORE [--json]",
	 .summary = "Collect garbage now",
	 .description =
		 "Frees the space of deleted branches, snapshots and overwritten blocks. The daemon does so by itself in the\n"
		 "background; this does all of it and returns when nothing worth collecting is left.\n\n"
		 "Example:\n"
		 "  neonfs gc /srv/neon\n",
	 .arguments = {"STORE"},
	 .required = 1,
	 .options = status_options,
	 .run = run_gc},
	{.name = "object-store",
	 .synopsis = "check URL [--size BYTES] [--parallel N] [--json]",
	 .summary = "See whether an object store does what is needed, and how fast",
	 .description =
		 "Puts, gets, lists and deletes objects under a scratch prefix of its own, verifies every byte, tries whether\n"
		 "conditional puts have one winner, and measures. Nothing else is touched, and nothing stays behind.\n\n"
		 "URL is one of\n"
		 "  s3://BUCKET/PREFIX      S3 and what speaks like it. Keys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with\n"
		 "                          AWS_SESSION_TOKEN; or the profile AWS_PROFILE in ~/.aws/credentials. Also "
		 "AWS_REGION,\n"
		 "                          AWS_ENDPOINT_URL, AWS_CA_BUNDLE. ?endpoint=URL, ?region=NAME and "
		 "?style=path|virtual\n"
		 "                          in the URL come before these.\n"
		 "  s3v2://BUCKET/PREFIX    the same for stores that know only the old signature: no conditional puts, no "
		 "uploads\n"
		 "                          in parts\n"
		 "  file:///DIRECTORY       a directory of this machine\n"
		 "Keys never belong into the URL. A request that fails for a passing reason is tried again until --deadline.\n\n"
		 "Examples:\n"
		 "  neonfs object-store check file:///srv/objects\n"
		 "  AWS_PROFILE=backup neonfs object-store check s3://my-bucket/neonfs\n"
		 "  neonfs object-store check 's3://b/p?endpoint=http://127.0.0.1:9000' --size 1G --json\n",
	 .arguments = {"check", "URL"},
	 .required = 2,
	 .options = object_store_options,
	 .run = run_object_store},
	{.name = "flush",
	 .synopsis = "STORE [--wait TIME]",
	 .summary = "Wait until everything is in the object store",
	 .description =
		 "Returns when everything that was written and synced before is in the store's object store, so that it could be\n"
		 "attached elsewhere with nothing missing. The daemon uploads by itself within about a second; \"neonfs status\" shows\n"
		 "what is not safe yet.\n\n"
		 "Examples:\n"
		 "  neonfs flush /srv/neon\n"
		 "  neonfs flush /srv/neon --wait 5m\n",
	 .arguments = {"STORE"},
	 .required = 1,
	 .options = flush_options,
	 .run = run_flush},
	{.name = "volume",
	 .synopsis = "create|resize|list|delete [BRANCH/NAME] [--size BYTES] [--force] [--store STORE] [--json]",
	 .summary = "Make and look after volumes: files that are served as block devices",
	 .description =
		 "A volume is a sparse file in a branch, and copied, branched and kept like any other: \"neonfs-branch create dev --from\n"
		 "disks\" copies all volumes of a branch in milliseconds. neonfs-nbd(1) serves one as a block device. It is made in\n"
		 "the top directory of an existing branch; any other file can be served too.\n\n"
		 "A volume is neither resized nor deleted while it is served, nor made smaller than its data without --force.\n\n"
		 "Examples:\n"
		 "  neonfs volume create disks/vm1 --size 64G\n"
		 "  neonfs volume list\n"
		 "  neonfs volume resize disks/vm1 --size 128G\n"
		 "  neonfs volume delete disks/vm1\n",
	 .arguments = {"create|resize|list|delete", "BRANCH/NAME"},
	 .required = 1,
	 .options = volume_options,
	 .run = run_volume},
	{.name = "attach",
	 .synopsis = "URL STORE [--take-over] [--read-only] [--local-limit BYTES] [--prefetch] [--json]",
	 .summary = "Make a store again from its object store alone",
	 .description =
		 "STORE is a new or empty directory. It becomes the store that is at URL, with every branch, snapshot and history, as\n"
		 "of the last moment that was uploaded. Little is read for that: data comes when it is wanted, or with --prefetch now.\n"
		 "Then mount it.\n\n"
		 "One machine at a time can have a store to write to. While another one holds the lease nothing is done; a machine\n"
		 "that has died lets go when its lease has run out, which is waited for. --take-over takes it from one that is alive:\n"
		 "that one acknowledges no write from then on. --read-only takes no lease and changes nothing there.\n\n"
		 "Examples:\n"
		 "  neonfs attach s3://my-bucket/neon /srv/neon\n"
		 "  neonfs attach s3://my-bucket/neon /srv/neon --local-limit 50G --prefetch\n"
		 "  neonfs attach s3://my-bucket/neon /srv/look --read-only\n",
	 .arguments = {"URL", "STORE"},
	 .required = 2,
	 .options = attach_options,
	 .run = run_attach},
	{0},
};

static const struct tl_program program = {
	.name = "neonfs",
	.summary = "A copy-on-write file system with branches, made for PostgreSQL",
	.description = "A store holds branches: writable directory trees that share what they have in common. Mount it, put a\n"
		       "Postgres data directory into it with neonfs-branch(1), and branch that in milliseconds while it runs:\n\n"
		       "  neonfs init /srv/neon\n"
		       "  neonfs mount /srv/neon /mnt/neon\n"
		       "  neonfs-branch --store /srv/neon init main\n"
		       "  neonfs-branch --store /srv/neon create dev --from main\n",
	.commands = commands,
};

int main(int argc, char **argv)
{
	return tl_main(&program, argc, argv);
}
