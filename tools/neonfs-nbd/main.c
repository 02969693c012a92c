/* neonfs-nbd: serve a volume as a block device. The table of its commands. */
#include <stdlib.h>
#include <string.h>

#include "tools/neonfs-nbd/nbd.h"

static const struct tl_option program_options[] = {
	{.name = "store", .argument = "STORE", .help = "the store (default: NEONFS_STORE, or that of the mount you are in)"},
	{0},
};

static const struct tl_option serve_options[] = {
	{.name = "read-only", .letter = 'r', .help = "nobody can write; also beside somebody who writes"},
	{.name = "socket", .letter = 'U', .argument = "PATH", .help = "listen on this Unix socket (default: one in /run/neonfs-nbd)"},
	{.name = "port", .letter = 'p', .argument = "N", .help = "listen on a TCP port instead"},
	{.name = "listen", .argument = "ADDRESS", .help = "with --port: of this address only (default 127.0.0.1)"},
	{.name = "tls-certificates", .argument = "DIR", .help = "clients must use TLS; certificates as nbdkit wants them"},
	{.name = "threads", .argument = "N", .help = "requests at a time of one client (default 16)"},
	{.name = "foreground", .letter = 'f', .help = "stay in the foreground until stopped"},
	{0},
};

static const struct tl_option attach_options[] = {
	{.name = "read-only", .letter = 'r', .help = "nobody can write"},
	{.name = "loop", .help = "a loop device, also where the kernel has network block devices"},
	{0},
};

static const struct tl_command commands[] = {
	{.name = "serve",
	 .synopsis = "VOLUME [--read-only] [--socket PATH | --port N] [--foreground]",
	 .summary = "Serve a volume by NBD, and print its URI",
	 .description = "VOLUME is BRANCH/FILE, any file of a branch (\"neonfs volume create\" makes one), or BRANCH/FILE@POINT, as it was at a\n"
			"snapshot or another point of the branch: read-only, for ever the same. The store must be mounted.\n"
			"nbdkit does the work, with the plugin that belongs to this program. One server at a time may write to a volume.\n\n"
			"Examples:\n"
			"  neonfs-nbd disks/vm1\n"
			"  neonfs-nbd disks/vm1@monday --socket /tmp/monday.sock\n"
			"  neonfs-nbd disks/vm1 --port 10809 --listen 10.0.0.1 --tls-certificates /etc/pki/nbd\n",
	 .arguments = {"VOLUME"},
	 .required = 1,
	 .options = serve_options,
	 .run = run_serve},
	{.name = "stop",
	 .synopsis = "VOLUME",
	 .summary = "End a server that was started in the background",
	 .description = "What clients were told is written is flushed. Clients that are connected lose it.\n\n"
			"Example:\n"
			"  neonfs-nbd stop disks/vm1\n",
	 .arguments = {"VOLUME"},
	 .required = 1,
	 .run = run_stop},
	{.name = "attach",
	 .synopsis = "VOLUME [--read-only] [--loop]",
	 .summary = "Make a kernel block device of a volume, and print its name",
	 .description = "As root. A network block device (nbd-client) where the kernel has them, else a loop device over the file in the mount.\n\n"
			"Examples:\n"
			"  mkfs.ext4 $(neonfs-nbd --attach disks/vm1)\n"
			"  neonfs-nbd --detach disks/vm1\n",
	 .arguments = {"VOLUME"},
	 .required = 1,
	 .options = attach_options,
	 .run = run_attach},
	{.name = "detach",
	 .synopsis = "VOLUME",
	 .summary = "Take the block device of a volume away",
	 .description = "Unmount it first.\n\n"
			"Example:\n"
			"  neonfs-nbd --detach disks/vm1\n",
	 .arguments = {"VOLUME"},
	 .required = 1,
	 .run = run_detach},
	{0},
};

static const struct tl_program program = {
	.name = "neonfs-nbd",
	.summary = "Volumes of a neonfs store as block devices",
	.description = "\"neonfs-nbd VOLUME\" is short for \"neonfs-nbd serve VOLUME\", and --attach, --detach, --stop for the commands of those names.\n",
	.options = program_options,
	.commands = commands,
};

/* The first word that is no option of the program names a command; a volume has a slash in it, and is served. */
static bool names_volume(const char *word)
{
	return word[0] != '-' && strchr(word, '/') != NULL;
}

static char *short_form(char *word)
{
	static char attach[] = "attach", detach[] = "detach", stop[] = "stop";
	return strcmp(word, "--attach") == 0 ? attach : strcmp(word, "--detach") == 0 ? detach : strcmp(word, "--stop") == 0 ? stop : NULL;
}

int main(int argc, char **argv)
{
	static char serve[] = "serve";
	char **words = calloc((size_t)argc + 2, sizeof(*words));
	int count = 0, at = 0;
	if (words == NULL)
		return TL_FAILED;
	words[count++] = argv[at++];
	/* The program's own option and its value stay in front. */
	while (at < argc && strncmp(argv[at], "--store", 7) == 0) {
		bool has_value = argv[at][7] == '=';
		words[count++] = argv[at++];
		if (!has_value && at < argc)
			words[count++] = argv[at++];
	}
	if (at < argc && short_form(argv[at]) != NULL)
		words[count++] = short_form(argv[at++]);
	else if (at < argc && names_volume(argv[at]))
		words[count++] = serve;
	while (at < argc)
		words[count++] = argv[at++];
	int code = tl_main(&program, count, words);
	free(words);
	return code;
}
