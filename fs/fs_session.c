/* The life of a mount: options, session, loop, end.
 *
 *   fs_mount    check the place, make the session, mount          (one thread; requests queue in the kernel)
 *   fs_run      control thread + libfuse's loop and its workers   (INIT comes first)
 *               the loop ends: unmounted, stopped, or dead
 *               fail what is still queued, close the session's descriptor, end the control thread
 *   fs_unmount  drop what the kernel held, free */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "fs/fs_internal.h"

static int failed(char *ret_message, size_t message_size, int err, const char *what)
{
	snprintf(ret_message, message_size, "%s: %s", what, strerror(-err));
	return err;
}

/* ---- libfuse's own messages go to our log; the last one explains a failed mount ---- */

static _Thread_local char last_fuse_message[256];

static void NF_PRINTF(2, 0) log_fuse(enum fuse_log_level level, const char *format, va_list args)
{
	char line[sizeof(last_fuse_message)];

	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = '\0';
	memcpy(last_fuse_message, line, sizeof(line));
	if (level <= FUSE_LOG_ERR)
		nf_warn("libfuse: %s", line);
	else
		nf_debug("libfuse: %s", line);
}

/* ---- fs_mount ---- */

static void add_options(char **options, const struct fs *fs, const struct fs_options *asked, bool uring, bool *ret_ok)
{
	char depth[48], *fsname = NULL;

	snprintf(depth, sizeof(depth), "io_uring_q_depth=%u", fs_transport_queue_depth(asked));
	*ret_ok = asprintf(&fsname, "fsname=%s", fs->source) >= 0;
	if (!*ret_ok)
		return;
	*ret_ok = fuse_opt_add_opt_escaped(options, fsname) == 0 && fuse_opt_add_opt(options, "subtype=neonfs") == 0 &&
		  fuse_opt_add_opt(options, "default_permissions") == 0 &&
		  (asked->only_self || fuse_opt_add_opt(options, "allow_other") == 0) &&
		  /* Only root's mounts may honour set-id bits and devices; the kernel checks that itself. */
		  (!fs->is_root || (fuse_opt_add_opt(options, "suid") == 0 && fuse_opt_add_opt(options, "dev") == 0)) &&
		  (!uring || (fuse_opt_add_opt(options, "io_uring") == 0 && fuse_opt_add_opt(options, depth) == 0));
	free(fsname);
}

static struct fuse_session *session_new(struct fs *fs, const struct fs_options *asked, bool uring)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_lowlevel_ops ops = {0};
	struct fuse_session *session = NULL;
	char *options = NULL;
	bool ok;

	fs_add_meta_ops(&ops);
	fs_add_name_ops(&ops);
	fs_add_dir_ops(&ops);
	fs_add_xattr_ops(&ops);
	fs_add_file_ops(&ops);
	fs_add_data_ops(&ops);
	add_options(&options, fs, asked, uring, &ok);
	if (ok && fuse_opt_add_arg(&args, "neonfs") == 0 && fuse_opt_add_arg(&args, "-o") == 0 &&
	    fuse_opt_add_arg(&args, options) == 0)
		session = fuse_session_new(&args, &ops, sizeof(ops), fs);
	free(options);
	fuse_opt_free_args(&args);
	return session;
}

static void fs_free(struct fs *fs)
{
	if (fs->session != NULL)
		fuse_session_destroy(fs->session);
	fs_control_destroy(fs->control);
	pthread_rwlock_destroy(&fs->session_lock);
	pthread_cond_destroy(&fs->forget_wanted);
	pthread_cond_destroy(&fs->hold_changed);
	pthread_mutex_destroy(&fs->lock);
	free(fs->place.path);
	free(fs->source);
	free(fs);
}

static struct fs *fs_new(struct bd_store *store, const struct fs_options *options)
{
	struct fs *fs = calloc(1, sizeof(*fs));

	if (fs == NULL)
		return NULL;
	fs->store = store;
	fs->cache = options->cache;
	fs->transport = options->transport;
	fs->max_threads = options->max_threads != 0 ? options->max_threads : FS_THREADS_DEFAULT;
	fs->readahead_kb = options->readahead_kb != 0 ? options->readahead_kb : FS_READAHEAD_KB_DEFAULT;
	fs->ready = options->ready;
	fs->before_name_goes = options->before_name_goes;
	fs->before_name_goes_arg = options->before_name_goes_arg;
	if (options->trees != NULL)
		fs->trees = *options->trees;
	fs->ready_arg = options->ready_arg;
	fs->is_root = geteuid() == 0;
	fs->uid = geteuid();
	fs->gid = getegid();
	atomic_store(&fs->root_mtime_ns, fs_clock_ns(CLOCK_REALTIME));
	pthread_rwlock_init(&fs->session_lock, NULL);
	pthread_mutex_init(&fs->lock, NULL);
	pthread_cond_init(&fs->hold_changed, NULL);
	pthread_cond_init(&fs->forget_wanted, NULL);
	fs->source = strdup(options->source != NULL ? options->source : "neonfs");
	if (fs->source == NULL) {
		fs_free(fs);
		return NULL;
	}
	return fs;
}

static int check_options(const struct fs_options *options, char *ret_message, size_t message_size)
{
	if (options->max_threads > FS_THREADS_MAX) {
		snprintf(ret_message, message_size, "%u threads are too many; at most %u", options->max_threads, FS_THREADS_MAX);
		return -EINVAL;
	}
	if (access("/dev/fuse", F_OK) != 0) {
		snprintf(ret_message, message_size, "/dev/fuse is missing; as root: modprobe fuse");
		return -ENODEV;
	}
	return 0;
}

static int mount_session(struct fs *fs, const struct fs_options *options, bool uring, char *ret_message, size_t message_size)
{
	last_fuse_message[0] = '\0';
	fs->session = session_new(fs, options, uring);
	if (fs->session == NULL) {
		snprintf(ret_message, message_size, "libfuse refused the session: %s",
			 last_fuse_message[0] != '\0' ? last_fuse_message : "out of memory");
		return -ENOMEM;
	}
	if (fuse_session_mount(fs->session, fs->place.path) != 0) {
		snprintf(ret_message, message_size, "mount at %s refused: %s%s", fs->place.path,
			 last_fuse_message[0] != '\0' ? last_fuse_message : "see the lines above",
			 fs->is_root || options->only_self
				 ? ""
				 : "; not root: put user_allow_other into /etc/fuse.conf, or mount for yourself only");
		return -EPERM;
	}
	int err = fs_mountpoint_identify(&fs->place);
	if (err != 0) {
		fuse_session_unmount(fs->session);
		return failed(ret_message, message_size, err, "the mount is not in /proc/self/mountinfo");
	}
	return 0;
}

int fs_mount(struct bd_store *store, const struct fs_options *options, struct fs **ret_fs, char *ret_message, size_t message_size)
{
	bool uring;
	int err = check_options(options, ret_message, message_size);

	if (err == 0)
		err = fs_transport_choose(options, &uring, ret_message, message_size);
	if (err != 0)
		return err;
	struct fs *fs = fs_new(store, options);
	if (fs == NULL)
		return failed(ret_message, message_size, -ENOMEM, "mount");
	fuse_set_log_func(log_fuse);

	err = fs_mountpoint_prepare(options->mountpoint, options->source, &fs->place.path, ret_message, message_size);
	if (err != 0)
		goto out;
	err = fs_control_create(fs, &fs->control);
	if (err != 0) {
		(void)failed(ret_message, message_size, err, "mount");
		goto out;
	}
	err = mount_session(fs, options, uring, ret_message, message_size);
out:
	if (err != 0) {
		fs_free(fs);
		return err;
	}
	*ret_fs = fs;
	return 0;
}

/* ---- fs_run ---- */

static int run_loop(struct fs *fs)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();

	if (config == NULL)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(config, 1);
	fuse_loop_cfg_set_max_threads(config, fs->max_threads);
	fuse_loop_cfg_set_idle_threads(config, fs->max_threads); /* making and ending threads costs more than keeping */
	int err = fuse_session_loop_mt(fs->session, config);
	fuse_loop_cfg_destroy(config);
	return err < 0 ? err : 0; /* a positive result is the signal that ended it */
}

/* Close the connection under a mount that is detached from here, where libfuse would find nothing to unmount: what still
 * uses it fails from now on. The number stays taken until libfuse closes it. */
static void close_connection(struct fs *fs)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null_fd < 0)
		return;
	if (dup3(null_fd, fuse_session_fd(fs->session), O_CLOEXEC) < 0)
		nf_warn("closing the connection of %s: %s", fs->place.path, strerror(errno));
	close(null_fd);
}

/* From here on nobody notifies the kernel, and requests that wait fail. */
static void disconnect(struct fs *fs)
{
	bool here = fs_mountpoint_is_ours(&fs->place);

	if (here)
		fs_mountpoint_abort(&fs->place);
	pthread_rwlock_wrlock(&fs->session_lock);
	fs->connected = false;
	if (here)
		fuse_session_unmount(fs->session);
	else
		close_connection(fs);
	pthread_rwlock_unlock(&fs->session_lock);
	fs->disconnected = true;
}

/* This thread and the workers it starts clean the pages that others made dirty: the kernel must neither make them
 * wait for that, nor clean pages to give them memory. Without the right to say so things are slower under pressure. */
static void declare_io_flusher(void)
{
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0)
		nf_debug("not an I/O flusher: %s", strerror(errno));
}

int fs_run(struct fs *fs)
{
	declare_io_flusher();
	int err = fs_control_start(fs->control, pthread_self());

	if (err != 0)
		return err;
	err = fs_tree_start(fs);
	if (err == 0)
		err = run_loop(fs);
	if (err != 0)
		nf_error("serving %s ended: %s", fs->place.path, strerror(-err));
	disconnect(fs);
	fs_tree_finish(fs);
	fs_control_finish(fs->control);
	return err;
}

void fs_stop(struct fs *fs)
{
	fs_control_stop(fs->control);
}

void fs_unmount(struct fs *fs)
{
	if (fs == NULL)
		return;
	if (!fs->disconnected)
		disconnect(fs);
	fs_refresh_finish(fs);
	fs_node_drop_all(fs);
	fs_free(fs);
}
