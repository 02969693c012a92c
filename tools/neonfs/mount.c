/* neonfs mount: check what was asked for, then become (or start) the daemon.
 *
 * The daemon is forked before any thread runs. A pipe from it tells how the start went: "+" when the mount is in
 * service, else the error line; closed without a word when it died. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/nf_log.h"
#include "tools/lib/client.h"
#include "tools/lib/format.h"
#include "tools/lib/mounts.h"
#include "tools/neonfs/commands.h"
#include "tools/neonfs/daemon.h"
#include "tools/neonfs/store_path.h"
#include "walapply/pitr/wa_lazy.h"

#define MEMORY_LIMIT_MIN (UINT64_C(64) << 20)
#define READY_MARK '+'

/* --------------------------------------------------------------- options */

static int parse_cache(const char *text, enum fs_cache *ret_cache)
{
	if (text == NULL || strcmp(text, "back") == 0)
		*ret_cache = FS_CACHE_BACK;
	else if (strcmp(text, "through") == 0)
		*ret_cache = FS_CACHE_THROUGH;
	else
		return tl_usage("--cache=%s: it is either back or through", text);
	return TL_OK;
}

static int parse_transport(const char *text, enum fs_transport *ret_transport)
{
	if (text == NULL || strcmp(text, "auto") == 0)
		*ret_transport = FS_TRANSPORT_AUTO;
	else if (strcmp(text, "dev") == 0)
		*ret_transport = FS_TRANSPORT_DEV;
	else if (strcmp(text, "uring") == 0)
		*ret_transport = FS_TRANSPORT_URING;
	else
		return tl_usage("--transport %s: it is auto, dev or uring", text);
	return TL_OK;
}

static int parse_drain_rate(const char *text, uint64_t *ret_rate)
{
	*ret_rate = WA_LAZY_DRAIN_RATE;
	if (text != NULL && strcmp(text, "max") == 0)
		*ret_rate = WA_LAZY_NO_LIMIT;
	else if (text != NULL && strcmp(text, "0") == 0)
		*ret_rate = 0;
	else if (text != NULL && tl_parse_bytes(text, ret_rate) != 0)
		return tl_usage("--drain-rate %s: it is bytes a second like 64M, max for no limit, or 0 for none at all", text);
	return TL_OK;
}

static int parse_drain_memory(const char *text, uint64_t *ret_memory)
{
	if (text != NULL && tl_parse_bytes(text, ret_memory) != 0)
		return tl_usage("--drain-memory \"%s\" is no size; write one like 402653184, 384M or 2G", text);
	if (text != NULL && *ret_memory < WA_LAZY_MEMORY_MIN)
		return tl_usage("--drain-memory %s is too small; it is at least %uM", text, WA_LAZY_MEMORY_MIN >> 20);
	return TL_OK;
}

static int parse_options(const struct tl_call *call, struct daemon_config *ret_config)
{
	const char *threads = tl_value(call, "threads"), *memory = tl_value(call, "memory-limit");
	uint64_t number = 0;
	int code = parse_cache(tl_value(call, "cache"), &ret_config->cache);
	if (code == TL_OK)
		code = parse_transport(tl_value(call, "transport"), &ret_config->transport);
	if (code == TL_OK)
		code = parse_drain_rate(tl_value(call, "drain-rate"), &ret_config->drain_rate);
	if (code == TL_OK)
		code = parse_drain_memory(tl_value(call, "drain-memory"), &ret_config->drain_memory);
	if (code != TL_OK)
		return code;
	if (threads != NULL && tl_parse_number(threads, 1, FS_THREADS_MAX, &number) != 0)
		return tl_usage("--threads %s: it is a number from 1 to %d", threads, FS_THREADS_MAX);
	ret_config->threads = (unsigned)number;
	if (memory != NULL && tl_parse_bytes(memory, &ret_config->memory_limit_bytes) != 0)
		return tl_usage("--memory-limit \"%s\" is no size; write one like 402653184, 384M or 2G", memory);
	if (memory != NULL && ret_config->memory_limit_bytes < MEMORY_LIMIT_MIN)
		return tl_usage("--memory-limit %s is too small; the daemon needs at least 64M", memory);
	ret_config->foreground = tl_flag(call, "foreground");
	return TL_OK;
}

/* ---------------------------------------------------------------- checks */

static int check_store(const char *given, struct daemon_config *ret_config)
{
	struct stat status;
	if (realpath(given, ret_config->store) == NULL)
		return errno == ENOENT ? tl_fail("the store does not exist; make it with \"neonfs init\"")
				       : tl_fail("cannot reach the store: %s", strerror(errno));
	if (stat(ret_config->store, &status) != 0)
		return tl_fail("cannot reach the store: %s", strerror(errno));
	if (!S_ISDIR(status.st_mode))
		return tl_fail("the store is not a directory; name one made with \"neonfs init\"");
	/* The daemon's log goes into the store from the start: nothing is to appear in a directory that is none. */
	if (!store_path_is_store(ret_config->store))
		return tl_fail("not a neonfs store (no superblock); make one with \"neonfs init\"");
	return TL_OK;
}

/* A daemon that answers owns the store. */
static int check_not_served(const char *store)
{
	struct tl_client *client;
	char message[TL_MESSAGE_MAX];
	struct tl_answer answer;
	if (tl_client_open(store, &client, message) != 0)
		return TL_OK;
	int rc = tl_client_call(client, "store.status", NULL, NULL, &answer);
	tl_client_close(client);
	if (rc != 0) /* it is ending just now: opening the store waits for that */
		return TL_OK;
	if (!answer.ok)
		return tl_fail("the store has a daemon already, which answers: %s", answer.message);
	const json_t *mount = json_object_get(answer.result, "mount");
	const char *where = json_string_value(json_object_get(mount, "mountpoint"));
	int code = tl_fail("the store is mounted already, at %s (process %lld); unmount that first with \"neonfs umount\"",
			   where != NULL ? where : "?", (long long)json_integer_value(json_object_get(mount, "pid")));
	tl_answer_free(&answer);
	return code;
}

/* Take away what a killed daemon left at the mount point, and of this store anywhere. Layers of it, at most this many. */
#define DEAD_MOUNTS_MAX 16

static int clear_dead_mount(const struct tl_mount *mount)
{
	int rc = tl_unmount(mount->mountpoint, true);
	if (rc != 0)
		return tl_fail("a killed daemon left a dead mount at %s that cannot be taken away: %s", mount->mountpoint,
			       strerror(-rc));
	tl_warn("took away the dead mount that a killed daemon left at %s", mount->mountpoint);
	return TL_OK;
}

static int clear_dead_mounts(const struct daemon_config *config)
{
	struct tl_mount mount;
	for (unsigned i = 0; i < DEAD_MOUNTS_MAX; i++) {
		if (tl_mount_at(config->mountpoint, &mount) != 0 || !tl_mount_is_neonfs(&mount) || !tl_mount_is_dead(&mount))
			break;
		if (clear_dead_mount(&mount) != TL_OK)
			return TL_FAILED;
	}
	for (unsigned i = 0, n = 0; i < DEAD_MOUNTS_MAX; i++) {
		if (tl_mount_of_store(config->store, n, &mount) != 0)
			break;
		if (!tl_mount_is_dead(&mount))
			n++;
		else if (clear_dead_mount(&mount) != TL_OK)
			return TL_FAILED;
	}
	return TL_OK;
}

static int check_mountpoint_empty(const char *path)
{
	DIR *directory = opendir(path);
	if (directory == NULL)
		return tl_fail("cannot read the mount point %s: %s", path, strerror(errno));
	unsigned names = 0;
	while (readdir(directory) != NULL && names < 3)
		names++;
	closedir(directory);
	return names < 3
		       ? TL_OK
		       : tl_fail("the mount point %s is not empty, and a mount would hide what is in it; use an empty directory",
				 path);
}

static bool is_inside(const char *path, const char *directory)
{
	size_t length = strlen(directory);
	return strncmp(path, directory, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static int check_mountpoint(const char *given, struct daemon_config *ret_config)
{
	struct tl_mount mount;
	struct stat status;
	char *path = ret_config->mountpoint;
	int rc = tl_path_absolute(given, path);
	if (rc != 0)
		return tl_fail("the mount point %s cannot be reached (%s); make the directory first", given, strerror(-rc));
	if (clear_dead_mounts(ret_config) != TL_OK)
		return TL_FAILED;
	if (stat(path, &status) != 0)
		return errno == ENOENT ? tl_fail("the mount point %s does not exist; make the directory first", path)
				       : tl_fail("the mount point %s cannot be used: %s", path, strerror(errno));
	if (!S_ISDIR(status.st_mode))
		return tl_fail("the mount point %s is not a directory; use an empty directory", path);
	if (tl_mount_at(path, &mount) == 0)
		return tl_fail("the mount point %s is busy: %s (%s) is mounted there; unmount it, or use another directory", path,
			       mount.source, mount.type);
	if (is_inside(path, ret_config->store) || is_inside(ret_config->store, path))
		return tl_fail("the store and the mount point must not lie in each other; use another directory");
	return check_mountpoint_empty(path);
}

/* ----------------------------------------------------------------- start */

/* In the daemon: cut the ties to the terminal and to whoever called. `report_fd` becomes descriptor 3. */
static int detach(const struct daemon_config *config, int *report_fd)
{
	char log[PATH_MAX];
	if (snprintf(log, sizeof(log), "%s/%s", config->store, DAEMON_LOG) >= (int)sizeof(log))
		return -ENAMETOOLONG;
	if (setsid() < 0 || chdir("/") != 0)
		return -errno;
	umask(077);
	int null_fd = open("/dev/null", O_RDWR);
	int log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
	if (null_fd < 0 || log_fd < 0)
		return -errno;
	/* What libraries print goes into the log too. */
	if (dup2(null_fd, STDIN_FILENO) < 0 || dup2(null_fd, STDOUT_FILENO) < 0 || dup2(log_fd, STDERR_FILENO) < 0)
		return -errno;
	if (*report_fd != 3 && dup2(*report_fd, 3) < 0)
		return -errno;
	*report_fd = 3;
	if (fcntl(3, F_SETFD, FD_CLOEXEC) != 0 || close_range(4, ~0u, 0) != 0)
		return -errno;
	return nf_log_open(log);
}

static void report(int fd, const char *text)
{
	if (write(fd, text, strlen(text)) < 0)
		nf_warn("the command that started the daemon is gone");
}

static void report_ready(void *arg)
{
	int *fd = arg;
	const char mark[] = {READY_MARK, '\0'};
	report(*fd, mark);
	close(*fd);
	*fd = -1;
}

static _Noreturn void run_detached(const struct daemon_config *config, int report_fd)
{
	char message[DAEMON_MESSAGE_MAX];
	int rc = detach(config, &report_fd);
	if (rc != 0)
		snprintf(message, sizeof(message), "cannot start the daemon or write its log %s in the store: %s", DAEMON_LOG,
			 strerror(-rc));
	else
		rc = daemon_run(config, report_ready, &report_fd, message);
	if (rc != 0)
		nf_error("%s", message);
	if (rc != 0 && report_fd >= 0)
		report(report_fd, message);
	_exit(rc == 0 ? TL_OK : TL_FAILED);
}

/* In the caller: wait for the daemon's word. */
static int await_start(int fd)
{
	char text[DAEMON_MESSAGE_MAX];
	size_t used = 0;
	ssize_t got;
	while (used < sizeof(text) - 1) {
		got = read(fd, text + used, sizeof(text) - 1 - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		used += (size_t)got;
	}
	text[used] = '\0';
	if (text[0] == READY_MARK)
		return TL_OK;
	if (used > 0)
		return tl_fail("%s", text);
	return tl_fail("the daemon died before the mount was in service; %s in the store may say why", DAEMON_LOG);
}

static int start_daemon(const struct daemon_config *config)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) != 0)
		return tl_fail("cannot start the daemon: %s", strerror(errno));
	pid_t child = fork();
	if (child < 0)
		return tl_fail("cannot start the daemon: %s", strerror(errno));
	if (child == 0) {
		close(fds[0]);
		run_detached(config, fds[1]);
	}
	close(fds[1]);
	int code = await_start(fds[0]);
	close(fds[0]);
	return code;
}

static void say_ready(void *arg)
{
	const struct daemon_config *config = arg;
	nf_info("in service at %s", config->mountpoint);
}

static int run_in_foreground(struct daemon_config *config)
{
	char message[DAEMON_MESSAGE_MAX];
	return daemon_run(config, say_ready, config, message) == 0 ? TL_OK : tl_fail("%s", message);
}

/* To whoever mounts: what was mounted with --cache=through may have been told that it can do without page images. It is in service whatever happens here. */
static void warn_of_torn(const struct daemon_config *config)
{
	struct tl_client *client;
	struct tl_answer answer = {0};
	char message[TL_MESSAGE_MAX];
	size_t index;
	json_t *name;
	if (config->cache != FS_CACHE_BACK || tl_client_open(config->store, &client, message) != 0)
		return;
	if (tl_client_call(client, "store.torn", NULL, NULL, &answer) == 0 && answer.ok) {
		json_array_foreach(json_object_get(answer.result, "branches"), index, name)
			tl_warn("branch \"%s\" has full_page_writes=off, which wants --cache=through: as it is mounted now, a power cut "
				"may tear its pages; set full_page_writes=on there, or mount with --cache=through",
				json_string_value(name));
	}
	tl_answer_free(&answer);
	tl_client_close(client);
}

int run_mount(const struct tl_call *call)
{
	static struct daemon_config config;
	int code = parse_options(call, &config);
	if (code == TL_OK)
		code = check_store(call->args[0], &config);
	if (code == TL_OK)
		code = check_not_served(config.store);
	if (code == TL_OK)
		code = check_mountpoint(call->args[1], &config);
	if (code != TL_OK)
		return code;
	if (config.foreground)
		return run_in_foreground(&config);
	code = start_daemon(&config);
	if (code == TL_OK)
		warn_of_torn(&config);
	return code;
}
