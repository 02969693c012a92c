/* The daemon of a mounted store. See daemon.h.
 *
 * Order of life: log, store, history, mount, control socket, record, serve; and back. Threads: the store's own start with it;
 * the mount's workers run inside fs_run; one thread waits for signals.
 *
 * A first SIGTERM or SIGINT unmounts: everything is flushed, and a mount that is in use is detached, so that it goes on
 * for those who use it and ends with the last of them. A second one ends the service at once. */
#include "tools/neonfs/daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/tier/config.h"
#include "common/nf_log.h"
#include "tools/lib/mounts.h"
#include "tools/lib/proto.h"
#include "tools/neonfs/control.h"
#include "tools/neonfs/control_prepare.h"
#include "tools/neonfs/trees.h"
#include "tools/neonfs/volumes.h"
#include "walapply/pitr/wa_history.h"
#include "walapply/pitr/wa_lazy.h"

/* A daemon that was unmounted a moment ago still flushes: wait for it before calling the store busy. */
#define OPEN_RETRIES 200
#define OPEN_PAUSE_NS 50000000

struct daemon {
	const struct daemon_config *config;
	struct bd_store *store;
	struct wa_history *history;
	struct wa_lazy *lazy;
	struct trees *trees;
	struct volumes *volumes;
	struct fs *fs;
	struct control *control;
	pthread_t signal_thread;
	int signal_fd, end_fd;
	bool read_only; /* attached to be looked at only */
	bool is_far;	/* with an object store: reads may wait for it */
};

const char *daemon_cache_name(enum fs_cache cache)
{
	return cache == FS_CACHE_THROUGH ? "through" : "back";
}

const char *daemon_transport_name(enum fs_transport transport)
{
	switch (transport) {
	case FS_TRANSPORT_DEV: return "dev";
	case FS_TRANSPORT_URING: return "uring";
	case FS_TRANSPORT_AUTO: break;
	}
	return "auto";
}

/* ---------------------------------------------------------------- record */

static bool record_path(const struct daemon_config *config, const char *suffix, char *ret_path)
{
	return snprintf(ret_path, PATH_MAX, "%s/%s%s", config->store, DAEMON_RECORD, suffix) < PATH_MAX;
}

/* What a later command tells the user when this daemon has died. Losing it costs that line only. */
static void write_record(const struct daemon_config *config)
{
	char path[PATH_MAX], fresh[PATH_MAX];
	json_t *record = json_pack("{s:i, s:o, s:s, s:I}", "pid", (int)getpid(), "mountpoint", tl_json_text(config->mountpoint),
				   "cache", daemon_cache_name(config->cache), "started", (json_int_t)time(NULL));
	if (record == NULL || !record_path(config, "", path) || !record_path(config, ".new", fresh) ||
	    json_dump_file(record, fresh, JSON_COMPACT) != 0 || rename(fresh, path) != 0)
		nf_warn("cannot write %s in the store; commands will not know of this mount if the daemon dies", DAEMON_RECORD);
	json_decref(record);
}

static void remove_record(const struct daemon_config *config)
{
	char path[PATH_MAX];
	if (record_path(config, "", path) && unlink(path) != 0 && errno != ENOENT)
		nf_warn("cannot remove %s from the store: %s", DAEMON_RECORD, strerror(errno));
}

/* --------------------------------------------------------------- signals */

/* Hand over what the kernel still gathers: after a detach that would come late, and without an unmount never. */
static void sync_mount(const char *mountpoint)
{
	int fd = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (syncfs(fd) != 0)
		nf_warn("cannot flush the mount: %s", strerror(errno));
	close(fd);
}

static void unmount_on_signal(struct daemon *daemon)
{
	const char *mountpoint = daemon->config->mountpoint;
	int rc = tl_unmount(mountpoint, false);
	if (rc != -EBUSY) {
		if (rc != 0)
			nf_warn("cannot unmount %s: %s; send the signal again to end at once", mountpoint, strerror(-rc));
		return;
	}
	nf_warn("%s is in use: it is detached now, and the daemon ends with the last process that uses it "
		"(or at once, at a second signal)",
		mountpoint);
	sync_mount(mountpoint);
	rc = tl_unmount(mountpoint, true);
	if (rc != 0)
		nf_warn("cannot detach %s: %s", mountpoint, strerror(-rc));
}

static void take_signal(struct daemon *daemon, unsigned count)
{
	struct signalfd_siginfo info;
	if (read(daemon->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	nf_info("signal %u from process %u: %s", info.ssi_signo, info.ssi_pid, count == 0 ? "unmounting" : "ending at once");
	control_cancel(daemon->control);
	if (count == 0)
		unmount_on_signal(daemon);
	else
		fs_stop(daemon->fs);
}

static void *signal_thread(void *arg)
{
	struct daemon *daemon = arg;
	struct pollfd fds[] = {{.fd = daemon->signal_fd, .events = POLLIN}, {.fd = daemon->end_fd, .events = POLLIN}};
	unsigned count = 0;
	for (;;) {
		if (poll(fds, NF_ARRAY_LEN(fds), -1) < 0)
			continue; /* a debugger */
		if (fds[1].revents != 0)
			return NULL;
		if (fds[0].revents != 0)
			take_signal(daemon, count++);
	}
}

/* Every thread started later inherits that these signals go to the descriptor only. */
static int block_signals(sigset_t *ret_set)
{
	sigemptyset(ret_set);
	sigaddset(ret_set, SIGTERM);
	sigaddset(ret_set, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	return -pthread_sigmask(SIG_BLOCK, ret_set, NULL);
}

static int start_signals(struct daemon *daemon, const sigset_t *set)
{
	daemon->signal_fd = signalfd(-1, set, SFD_CLOEXEC);
	daemon->end_fd = eventfd(0, EFD_CLOEXEC);
	if (daemon->signal_fd < 0 || daemon->end_fd < 0)
		return -errno;
	return -pthread_create(&daemon->signal_thread, NULL, signal_thread, daemon);
}

static void stop_signals(struct daemon *daemon)
{
	const uint64_t one = 1;
	if (write(daemon->end_fd, &one, sizeof(one)) < 0)
		nf_warn("cannot wake the signal thread: %s", strerror(errno));
	pthread_join(daemon->signal_thread, NULL);
}

/* --------------------------------------------------------------- service */

static void raise_file_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		nf_warn("cannot raise the limit of open files: %s", strerror(errno));
}

/* Threads started from here on (the index's among them) write for our own mount: the kernel must not make them wait for
 * dirty pages that only they can clean. For root alone; without it the mount works, with longer waits when memory is short. */
static void set_io_flusher(void)
{
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0)
		nf_debug("cannot become an I/O flusher: %s", strerror(errno));
}

static int open_store(struct daemon *daemon, char *ret_message)
{
	struct bd_tier_config tier;
	char ignored[512];
	/* What is wrong with that file, opening the store says. */
	daemon->is_far = bd_tier_config_read(daemon->config->store, &tier, ignored, sizeof(ignored)) == 0;
	daemon->read_only = daemon->is_far && tier.read_only;
	const struct bd_open_options options = {.memory_limit_bytes = daemon->config->memory_limit_bytes,
						.read_only = daemon->read_only,
						.no_background = daemon->read_only};
	set_io_flusher();
	for (unsigned tries = 0;; tries++) {
		int rc = bd_store_open(daemon->config->store, &options, &daemon->store, ret_message, DAEMON_MESSAGE_MAX);
		if (rc != -EBUSY || tries == OPEN_RETRIES)
			return rc;
		nanosleep(&(struct timespec){.tv_nsec = OPEN_PAUSE_NS}, NULL);
	}
}

static int keep_segment(void *arg, struct bd_inode *dir, const char *name)
{
	return wa_history_keep(arg, dir, name);
}

static int open_history(struct daemon *daemon, char *ret_message)
{
	const struct wa_history_options options = {0};
	int rc = wa_history_open(daemon->store, &options, &daemon->history);
	if (rc != 0)
		snprintf(ret_message, DAEMON_MESSAGE_MAX, "cannot read the history of branches: %s", strerror(-rc));
	return rc;
}

static int tidy_lazy(struct daemon *daemon)
{
	ctl_prepare_sweep(daemon->store);
	int rc = wa_lazy_tidy(daemon->lazy);
	if (rc != 0)
		nf_warn("what was kept for branches that are gone cannot be removed now: %s", strerror(-rc));
	return wa_lazy_start(daemon->lazy, daemon->config->drain_rate, daemon->config->drain_memory);
}

/* Before anything is read: branches may look through redo layers. */
static int open_lazy(struct daemon *daemon, char *ret_message)
{
	struct bd_layer_hooks hooks;
	int rc = wa_lazy_open(daemon->store, &daemon->lazy);
	if (rc == 0) {
		wa_lazy_hooks(daemon->lazy, &hooks);
		bd_store_set_layer_hooks(daemon->store, &hooks);
		if (!daemon->read_only)
			rc = tidy_lazy(daemon);
	}
	if (rc != 0)
		snprintf(ret_message, DAEMON_MESSAGE_MAX, "cannot read the redo layers of branches: %s", strerror(-rc));
	return rc;
}

static int mount_store(struct daemon *daemon, void (*ready)(void *arg), void *arg, char *ret_message)
{
	struct fs_trees trees;
	int rc = trees_new(&daemon->trees);
	if (rc == 0)
		rc = volumes_new(&daemon->volumes);
	if (rc != 0) {
		snprintf(ret_message, DAEMON_MESSAGE_MAX, "cannot mount: %s", strerror(-rc));
		return rc;
	}
	trees_hooks(daemon->trees, &trees);
	const struct fs_options options = {
		.mountpoint = daemon->config->mountpoint,
		.source = daemon->config->store,
		.cache = daemon->config->cache,
		.transport = daemon->config->transport,
		.max_threads = daemon->config->threads != 0 ? daemon->config->threads : daemon->is_far ? FS_THREADS_FAR : 0,
		.only_self = geteuid() != 0,
		.ready = ready,
		.ready_arg = arg,
		.before_name_goes = keep_segment,
		.before_name_goes_arg = daemon->history,
		.trees = &trees,
	};
	return fs_mount(daemon->store, &options, &daemon->fs, ret_message, DAEMON_MESSAGE_MAX);
}

/* Serve the mounted store until it is unmounted. */
static int serve(struct daemon *daemon, const sigset_t *signals, char *ret_message)
{
	int rc = control_start(daemon->store, daemon->fs, daemon->history, daemon->lazy, daemon->trees, daemon->volumes,
			       daemon->config, &daemon->control, ret_message);
	if (rc != 0)
		return rc;
	rc = start_signals(daemon, signals);
	if (rc != 0) {
		snprintf(ret_message, DAEMON_MESSAGE_MAX, "cannot wait for signals: %s", strerror(-rc));
		control_stop(daemon->control);
		return rc;
	}
	write_record(daemon->config);
	nf_info("neonfs %s: store %s mounted at %s, cache %s%s", NEONFS_VERSION, daemon->config->store, daemon->config->mountpoint,
		daemon_cache_name(daemon->config->cache), daemon->read_only ? ", read-only" : "");
	rc = fs_run(daemon->fs);
	if (rc != 0)
		snprintf(ret_message, DAEMON_MESSAGE_MAX, "the mount ended with an error: %s", strerror(-rc));
	stop_signals(daemon);
	control_stop(daemon->control);
	remove_record(daemon->config);
	return rc;
}

static int run_mounted(struct daemon *daemon, const sigset_t *signals, void (*ready)(void *arg), void *arg, char *ret_message)
{
	int rc = open_lazy(daemon, ret_message);
	if (rc == 0)
		rc = open_history(daemon, ret_message);
	if (rc == 0)
		rc = mount_store(daemon, ready, arg, ret_message);
	if (rc == 0)
		rc = serve(daemon, signals, ret_message);
	fs_unmount(daemon->fs);
	trees_free(daemon->trees);
	volumes_free(daemon->volumes);
	wa_history_close(daemon->history);
	wa_lazy_stop(daemon->lazy);
	int close_rc = bd_store_close(daemon->store);
	wa_lazy_close(daemon->lazy);
	if (close_rc != 0)
		nf_error("the last state of the store could not be written: %s; the next mount recovers it", strerror(-close_rc));
	else
		nf_info("unmounted; everything is on disk");
	control_finish(daemon->control, close_rc);
	if (rc == 0 && close_rc != 0) {
		snprintf(ret_message, DAEMON_MESSAGE_MAX,
			 "the last state of the store could not be written: %s; the next mount recovers it", strerror(-close_rc));
		rc = close_rc;
	}
	return rc;
}

int daemon_run(const struct daemon_config *config, void (*ready)(void *arg), void *arg, char *ret_message)
{
	struct daemon daemon = {.config = config, .signal_fd = -1, .end_fd = -1};
	sigset_t signals;
	ret_message[0] = '\0';
	raise_file_limit();
	int rc = block_signals(&signals);
	if (rc != 0) {
		snprintf(ret_message, DAEMON_MESSAGE_MAX, "cannot block signals: %s", strerror(-rc));
		return rc;
	}
	rc = open_store(&daemon, ret_message);
	if (rc == 0)
		rc = run_mounted(&daemon, &signals, ready, arg, ret_message);
	if (daemon.signal_fd >= 0)
		close(daemon.signal_fd);
	if (daemon.end_fd >= 0)
		close(daemon.end_fd);
	return rc;
}
