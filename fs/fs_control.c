/* The control thread: what must not happen on a worker.
 *
 *   connected   after INIT: wait until the mount answers, set its limits, call `ready`
 *   work        posted jobs, which may wait for requests that the workers serve
 *   stop        unmount when idle, else have the kernel hand over what it gathered; then end the session's loop
 *   finish      the loop has ended: do what is posted, end
 *
 * One eventfd wakes it; its counter carries nothing, the flags beside it say what for, so that a signal handler
 * may stop the mount. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fs/fs_internal.h"

#define JOBS_MAX 1024
#define LOOP_WAKE_SIGNAL (SIGRTMIN + 3)
#define LOOP_WAKE_INTERVAL_US 10000

struct job {
	void (*work)(struct fs *fs, void *arg);
	void *arg;
	struct job *next;
};

struct fs_control {
	struct fs *fs;
	int event_fd;
	pthread_t thread, loop_thread;
	_Atomic bool connected, stop, finish;

	pthread_mutex_t lock; /* guards what follows */
	struct job *first, **last;
	unsigned job_count;
};

static void wake(struct fs_control *control)
{
	uint64_t one = 1;
	int saved = errno;

	/* Fails only when the counter is full, and then the thread is awake anyway. */
	if (write(control->event_fd, &one, sizeof(one)) < 0)
		errno = saved;
}

void fs_control_stop(struct fs_control *control)
{
	atomic_store(&control->stop, true);
	wake(control);
}

void fs_control_connected(struct fs_control *control)
{
	atomic_store(&control->connected, true);
	wake(control);
}

int fs_control_post(struct fs_control *control, void (*work)(struct fs *fs, void *arg), void *arg)
{
	struct job *job = malloc(sizeof(*job));

	if (job == NULL)
		return -ENOMEM;
	*job = (struct job){.work = work, .arg = arg};
	pthread_mutex_lock(&control->lock);
	bool has_room = control->job_count < JOBS_MAX;
	if (has_room) {
		*control->last = job;
		control->last = &job->next;
		control->job_count++;
	}
	pthread_mutex_unlock(&control->lock);
	if (!has_room) {
		free(job);
		return -ENOMEM;
	}
	wake(control);
	return 0;
}

static void do_jobs(struct fs_control *control)
{
	for (;;) {
		pthread_mutex_lock(&control->lock);
		struct job *job = control->first;
		if (job != NULL) {
			control->first = job->next;
			control->job_count--;
			if (control->first == NULL)
				control->last = &control->first;
		}
		pthread_mutex_unlock(&control->lock);
		if (job == NULL)
			return;
		job->work(control->fs, job->arg);
		free(job);
	}
}

static void do_connected(struct fs *fs)
{
	struct stat st;

	/* A request of our own: when it is answered, INIT was too. */
	if (stat(fs->place.path, &st) != 0) {
		nf_error("mount %s does not answer: %s", fs->place.path, strerror(errno));
		return;
	}
	if (fs->transport == FS_TRANSPORT_URING && !atomic_load(&fs->uring_seen)) {
		nf_error("FUSE over io_uring could not be set up at %s; mount without asking for it", fs->place.path);
		fs_stop(fs);
		return;
	}
	if (fs->is_root) {
		int err = fs_mountpoint_tune(&fs->place, fs->readahead_kb, fs->cache == FS_CACHE_BACK);
		if (err != 0)
			nf_warn("read-ahead and write limits of %s stay at the kernel's default: %s", fs->place.path,
				strerror(-err));
	}
	nf_info("mounted %s at %s: --cache=%s, libfuse %s, %s", fs->source, fs->place.path,
		fs->cache == FS_CACHE_BACK ? "back" : "through", fuse_pkgversion(),
		atomic_load(&fs->uring_seen) ? "io_uring" : "/dev/fuse");
	if (fs->ready != NULL)
		fs->ready(fs->ready_arg);
}

static void do_stop(struct fs_control *control)
{
	struct fs *fs = control->fs;
	int err = fs_mountpoint_unmount(&fs->place);

	if (err != 0) {
		if (err == -EBUSY)
			nf_warn("%s is in use; programs in it lose it now", fs->place.path);
		err = fs_mountpoint_sync(&fs->place);
		if (err != 0 && err != -ENOTCONN && err != -ENOENT)
			nf_warn("writing out %s: %s", fs->place.path, strerror(-err));
	}
	fuse_session_exit(fs->session);
	/* A loop of libfuse before 3.17 sleeps on; a signal ends its sleep. */
	while (!atomic_load(&control->finish)) {
		pthread_kill(control->loop_thread, LOOP_WAKE_SIGNAL);
		usleep(LOOP_WAKE_INTERVAL_US);
	}
}

static void *control_main(void *arg)
{
	struct fs_control *control = arg;
	bool was_connected = false, was_stopped = false;

	pthread_setname_np(pthread_self(), "fs-control");
	for (;;) {
		uint64_t count;
		if (read(control->event_fd, &count, sizeof(count)) < 0 && errno != EINTR)
			nf_error("control thread of %s: %s", control->fs->place.path, strerror(errno));
		/* Read before the jobs: what was posted before finish is done. */
		bool finish = atomic_load(&control->finish);
		if (!was_connected && !finish && atomic_load(&control->connected)) {
			was_connected = true;
			do_connected(control->fs);
		}
		do_jobs(control);
		if (!was_stopped && !finish && atomic_load(&control->stop)) {
			was_stopped = true;
			do_stop(control);
		}
		if (finish)
			return NULL;
	}
}

static void ignore_signal(int number)
{
	(void)number;
}

int fs_control_create(struct fs *fs, struct fs_control **ret_control)
{
	struct fs_control *control = calloc(1, sizeof(*control));

	if (control == NULL)
		return -ENOMEM;
	control->fs = fs;
	control->last = &control->first;
	control->event_fd = eventfd(0, EFD_CLOEXEC);
	if (control->event_fd < 0) {
		int err = -errno;
		free(control);
		return err;
	}
	pthread_mutex_init(&control->lock, NULL);
	*ret_control = control;
	return 0;
}

int fs_control_start(struct fs_control *control, pthread_t loop_thread)
{
	struct sigaction action = {.sa_handler = ignore_signal}; /* no SA_RESTART: it shall interrupt */
	sigset_t all, wake_only, old;

	if (sigaction(LOOP_WAKE_SIGNAL, &action, NULL) != 0)
		return -errno;
	control->loop_thread = loop_thread;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(&control->thread, NULL, control_main, control);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err != 0)
		return -err;
	sigemptyset(&wake_only);
	sigaddset(&wake_only, LOOP_WAKE_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &wake_only, NULL);
	return 0;
}

void fs_control_finish(struct fs_control *control)
{
	atomic_store(&control->finish, true);
	wake(control);
	pthread_join(control->thread, NULL);
}

void fs_control_destroy(struct fs_control *control)
{
	if (control == NULL)
		return;
	close(control->event_fd);
	pthread_mutex_destroy(&control->lock);
	free(control);
}
