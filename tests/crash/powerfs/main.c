/* powerfs: a file system that can lose power. For tests of what stands on it.
 *
 *   powerfs [OPTIONS] BACKING MOUNTPOINT
 *
 * Runs in the foreground; prints "ready" when mounted. SIGUSR1 cuts the power: requests end, BACKING becomes a
 * state that a power loss could have left, one line of JSON tells what was lost, and the mount is gone. SIGTERM or
 * SIGINT unmounts in order, nothing lost. SIGUSR2 reads the faults again. Either way the next start on BACKING shows the state that was left.
 *
 * Threads: libfuse's workers, which hold pf.world shared; and one for signals, which takes it exclusively. */
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include "powerfs.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct pf_fs pf = {
	.world = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP,
	.names = PTHREAD_MUTEX_INITIALIZER,
	.changes_end = &pf.changes,
	.undo_limit_bytes = UINT64_C(512) << 20,
	.seed = 1,
};

static const char *mountpoint;
static sigset_t signals;

static const char usage[] =
	"usage: powerfs [--seed N] [--undo-limit MIB] [--fsync-names] [--ignore-fsync] [--faults FILE] BACKING MOUNTPOINT\n"
	"  --seed N          what a power cut (SIGUSR1) loses and keeps (default 1)\n"
	"  --undo-limit MIB  memory for what is not synced; beyond, it becomes durable (default 512)\n"
	"  --fsync-names     fsync of a file also makes the names that lead to it durable\n"
	"  --ignore-fsync    a disk that lies: nothing becomes durable\n"
	"  --faults FILE     which requests fail, now and from each SIGUSR2 on: lines KIND ERRNO [ONE_IN]\n";

static _Noreturn void end_without_unmounting_twice(int status)
{
	(void)umount2(mountpoint, MNT_DETACH);
	_exit(status); /* closes /dev/fuse: whoever still waits for an answer gets an error */
}

static void cut(void)
{
	struct pf_cut_report report;
	int err = pf_cut(pf.seed, &report);

	if (err) {
		fprintf(stderr, "powerfs: cut: %s\n", strerror(-err));
		end_without_unmounting_twice(1);
	}
	printf("{\"seed\": %" PRIu64 ", \"mood\": \"%s\", \"names_kept\": %" PRIu64 ", \"names_dropped\": %" PRIu64
	       ", \"sectors_kept\": %" PRIu64 ", \"sectors_dropped\": %" PRIu64 ", \"sectors_torn\": %" PRIu64
	       ", \"sizes_kept\": %" PRIu64 ", \"sizes_dropped\": %" PRIu64 "}\n",
	       pf.seed, report.mood, report.names_kept, report.names_dropped, report.sectors_kept, report.sectors_dropped,
	       report.sectors_torn, report.sizes_kept, report.sizes_dropped);
	fflush(stdout);
	end_without_unmounting_twice(0);
}

static void *signal_thread(void *arg NF_UNUSED)
{
	int signal_number, err;

	do {
		if (sigwait(&signals, &signal_number) != 0)
			abort();
		if (signal_number == SIGUSR2)
			pf_faults_load();
	} while (signal_number == SIGUSR2);
	pthread_rwlock_wrlock(&pf.world);
	pf.dead = true;
	if (signal_number == SIGUSR1)
		cut();
	pf_sync_all_names();
	err = pf_image_save();
	if (err)
		fprintf(stderr, "powerfs: unmount: %s\n", strerror(-err));
	end_without_unmounting_twice(err ? 1 : 0);
}

static int serve(void)
{
	char *fuse_argv[] = {"powerfs", "-o", "allow_other,default_permissions,fsname=powerfs,subtype=powerfs", NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, fuse_argv);
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	struct fuse_session *session = fuse_session_new(&args, &pf_ops, sizeof(pf_ops), NULL);
	pthread_t thread;
	int status = 1;

	if (!config || !session || fuse_session_mount(session, mountpoint) != 0)
		goto out;
	fuse_loop_cfg_set_clone_fd(config, 1);
	if (pthread_create(&thread, NULL, signal_thread, NULL) != 0)
		goto unmount;
	puts("ready");
	fflush(stdout);
	(void)fuse_session_loop_mt(session, config);
	/* Somebody unmounted us: an orderly end. */
	kill(getpid(), SIGTERM);
	pthread_join(thread, NULL);
unmount:
	fuse_session_unmount(session);
out:
	if (session)
		fuse_session_destroy(session);
	if (config)
		fuse_loop_cfg_destroy(config);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", required_argument, NULL, 's'},	    {"undo-limit", required_argument, NULL, 'u'},
		{"fsync-names", no_argument, NULL, 'n'},    {"ignore-fsync", no_argument, NULL, 'i'},
		{"faults", required_argument, NULL, 'f'},   {"help", no_argument, NULL, 'h'},
		{0},
	};
	struct rlimit limit = {.rlim_cur = 65536, .rlim_max = 65536};
	int option, err;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		switch (option) {
		case 's':
			pf.seed = strtoull(optarg, NULL, 10);
			break;
		case 'u':
			pf.undo_limit_bytes = strtoull(optarg, NULL, 10) << 20;
			break;
		case 'n':
			pf.fsync_names = true;
			break;
		case 'i':
			pf.ignore_fsync = true;
			break;
		case 'f':
			pf.faults_path = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (argc - optind != 2) {
		fputs(usage, stderr);
		return 2;
	}
	umask(0);
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	mountpoint = argv[optind + 1];
	err = pf_image_load(argv[optind]);
	if (err) {
		fprintf(stderr, "powerfs: %s: %s\n", argv[optind], strerror(-err));
		return 1;
	}
	pf_faults_load();
	/* Blocked in every thread; signal_thread waits for them. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGUSR2);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	return serve();
}
