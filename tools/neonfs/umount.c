/* neonfs umount: unmount, and wait until the daemon has written everything and has ended. */
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/lib/client.h"
#include "tools/lib/format.h"
#include "tools/lib/mounts.h"
#include "tools/lib/progress.h"
#include "tools/neonfs/commands.h"
#include "tools/neonfs/users.h"

#define EXIT_TIMEOUT_MS 60000 /* of the process after it has said that all is written */

static int fail_busy(const char *mountpoint)
{
	char users[USERS_TEXT_MAX];
	users_of(mountpoint, users);
	if (users[0] != '\0')
		return tl_fail("it is in use by %s; stop that (Postgres: pg_ctl stop) or leave the directory, and try again",
			       users);
	return tl_fail("it is in use; stop what uses it (Postgres: pg_ctl stop; a shell in it: cd /) and try again");
}

static int fail_unmount(const char *mountpoint, int rc)
{
	if (rc == -EBUSY)
		return fail_busy(mountpoint);
	if (rc == -EPERM || rc == -EACCES)
		return tl_fail("no permission to unmount it; run this as root or as the user who mounted it");
	return tl_fail("cannot unmount it: %s", strerror(-rc));
}

/* The daemon notes that we wait for its end and then says "waiting": the moment to unmount. */
struct unmounting {
	struct tl_client *client;
	const char *mountpoint;
	int rc;
	bool is_done;
};

static void unmount_now(void *arg, const json_t *item)
{
	struct unmounting *unmounting = arg;
	(void)item;
	unmounting->rc = tl_unmount(unmounting->mountpoint, false);
	unmounting->is_done = true;
	if (unmounting->rc != 0)
		tl_client_hang_up(unmounting->client);
}

static int await_exit(int pid_fd)
{
	struct pollfd poll_fd = {.fd = pid_fd, .events = POLLIN};
	int rc;
	if (pid_fd < 0)
		return TL_OK;
	do
		rc = poll(&poll_fd, 1, EXIT_TIMEOUT_MS);
	while (rc < 0 && errno == EINTR);
	return rc > 0 ? TL_OK : tl_fail("everything is written, but the daemon does not end; look at its log in the store");
}

/* The kernel knows nothing of who uses a volume. */
static int check_volumes(struct tl_client *client)
{
	struct tl_answer answer;
	int code = TL_OK;
	if (tl_client_call(client, "volume.list", NULL, NULL, &answer) != 0 || !answer.ok)
		return TL_OK; /* ending, or older than volumes: unmounting says what is wrong */
	const json_t *first = json_array_get(json_object_get(answer.result, "served"), 0);
	if (first != NULL)
		code = tl_fail("it is in use: volume %s is served by process %lld; end that (\"neonfs-nbd stop\") and try again",
			       json_string_value(json_object_get(first, "name")), (long long)json_integer_value(json_object_get(first, "pid")));
	tl_answer_free(&answer);
	return code;
}

static int unmount_through(struct tl_client *client, const char *mountpoint)
{
	pid_t pid;
	struct tl_answer answer;
	struct unmounting unmounting = {.client = client, .mountpoint = mountpoint};
	const struct tl_events events = {.item = unmount_now, .arg = &unmounting};
	int pid_fd = tl_client_pid(client, &pid) == 0 ? pidfd_open(pid, 0) : -1;
	int rc = tl_client_call(client, "daemon.wait", NULL, &events, &answer);
	int code = TL_OK;
	if (unmounting.is_done && unmounting.rc != 0)
		code = fail_unmount(mountpoint, unmounting.rc);
	else if (rc != 0 || !answer.ok)
		code = tl_fail("%s", answer.message);
	tl_answer_free(&answer);
	if (code == TL_OK)
		code = await_exit(pid_fd);
	if (pid_fd >= 0)
		close(pid_fd);
	return code;
}

static int unmount_live(const struct tl_mount *mount)
{
	struct tl_client *client;
	char message[TL_MESSAGE_MAX];
	int rc = tl_client_open(mount->source, &client, message);
	if (rc == 0) {
		int code = check_volumes(client);
		if (code == TL_OK)
			code = unmount_through(client, mount->mountpoint);
		tl_client_close(client);
		return code;
	}
	if (rc != -ENOTCONN && rc != -ENOENT)
		return tl_fail("%s", message);
	/* The mount lives, but its socket or the whole store was moved away: nobody to wait for. */
	rc = tl_unmount(mount->mountpoint, false);
	if (rc != 0)
		return fail_unmount(mount->mountpoint, rc);
	tl_warn("unmounted, but the daemon could not be asked when it is done; see its log in the store %s", mount->source);
	return TL_OK;
}

static int unmount_dead(const struct tl_mount *mount)
{
	int rc = tl_unmount(mount->mountpoint, true);
	if (rc != 0)
		return fail_unmount(mount->mountpoint, rc);
	tl_warn("its daemon had died; took the dead mount away, the next mount recovers what was written");
	return TL_OK;
}

static int fail_no_mount(const char *path)
{
	struct tl_mount mount;
	struct stat status;
	if (tl_mount_of(path, &mount) == 0 && tl_mount_is_neonfs(&mount))
		return tl_fail("that is inside a neonfs mount; unmount %s", mount.mountpoint);
	if (stat(path, &status) != 0)
		return tl_fail("cannot reach it: %s", strerror(errno));
	return tl_fail("nothing is mounted there");
}

int run_umount(const struct tl_call *call)
{
	static char path[PATH_MAX];
	static struct tl_mount mount;
	int rc = tl_path_absolute(call->args[0], path);
	if (rc != 0)
		return tl_fail("cannot reach it: %s", strerror(-rc));
	rc = tl_mount_at(path, &mount);
	if (rc == -ENOENT)
		return fail_no_mount(path);
	if (rc != 0)
		return tl_fail("cannot read the mount table: %s", strerror(-rc));
	if (!tl_mount_is_neonfs(&mount))
		return tl_fail("that is no neonfs mount (it is %s); use umount(8)", mount.type);
	return tl_mount_is_dead(&mount) ? unmount_dead(&mount) : unmount_live(&mount);
}
