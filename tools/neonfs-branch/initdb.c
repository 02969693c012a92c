/* Running initdb. See initdb.h. */
#include "tools/neonfs-branch/initdb.h"

#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PACKAGED_PATTERN "/usr/lib/postgresql/*/bin/initdb"
#define PACKAGED_VERSION_AT (sizeof("/usr/lib/postgresql/") - 1)
#define EXIT_NOT_RUN 127

/* ------------------------------------------------------------------ find */

static bool is_program(const char *path)
{
	return access(path, X_OK) == 0;
}

static bool find_packaged(char *ret_path)
{
	glob_t found;
	long newest = -1;
	if (glob(PACKAGED_PATTERN, 0, NULL, &found) != 0)
		return false;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		long version = strtol(found.gl_pathv[i] + PACKAGED_VERSION_AT, NULL, 10);
		if (version > newest && is_program(found.gl_pathv[i])) {
			newest = version;
			snprintf(ret_path, PATH_MAX, "%s", found.gl_pathv[i]);
		}
	}
	globfree(&found);
	return newest >= 0;
}

static bool find_on_path(char *ret_path)
{
	const char *path = getenv("PATH");
	while (path != NULL && *path != '\0') {
		size_t length = strcspn(path, ":");
		int size = snprintf(ret_path, PATH_MAX, "%.*s/initdb", (int)length, path);
		if (length > 0 && size < PATH_MAX && is_program(ret_path))
			return true;
		path += length + (path[length] == ':');
	}
	return false;
}

int initdb_find(const char *bindir, char *ret_path)
{
	if (bindir == NULL)
		return find_packaged(ret_path) || find_on_path(ret_path) ? 0 : -ENOENT;
	char given[PATH_MAX];
	if (snprintf(given, sizeof(given), "%s/initdb", bindir) >= (int)sizeof(given))
		return -ENOENT;
	/* initdb is run from another directory. */
	return realpath(given, ret_path) != NULL && is_program(ret_path) ? 0 : -ENOENT;
}

int initdb_owner_find(const char *name, struct initdb_owner *ret_owner)
{
	bool is_root = geteuid() == 0;
	errno = 0;
	const struct passwd *user = name != NULL || is_root ? getpwnam(name != NULL ? name : "postgres") : getpwuid(geteuid());
	if (user == NULL)
		return name != NULL || is_root ? -ENOENT : -EIO;
	if (!is_root && user->pw_uid != geteuid())
		return -EPERM;
	*ret_owner = (struct initdb_owner){.uid = user->pw_uid, .gid = user->pw_gid, .switches = is_root};
	snprintf(ret_owner->name, sizeof(ret_owner->name), "%s", user->pw_name);
	return 0;
}

/* ------------------------------------------------------------------- run */

static _Noreturn void become_initdb(char *const *arguments, const struct initdb_owner *owner, int output_fd)
{
	int null_fd = open("/dev/null", O_RDONLY);
	if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(output_fd, STDOUT_FILENO) < 0 ||
	    dup2(output_fd, STDERR_FILENO) < 0 || chdir("/") != 0)
		_exit(EXIT_NOT_RUN);
	if (owner->switches && (initgroups(owner->name, owner->gid) != 0 || setgid(owner->gid) != 0 || setuid(owner->uid) != 0)) {
		dprintf(STDERR_FILENO, "cannot become user %s: %s\n", owner->name, strerror(errno));
		_exit(EXIT_NOT_RUN);
	}
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	execv(arguments[0], arguments);
	dprintf(STDERR_FILENO, "cannot run %s: %s\n", arguments[0], strerror(errno));
	_exit(EXIT_NOT_RUN);
}

/* Keep the last INITDB_OUTPUT_MAX - 1 bytes of what comes. */
static void collect(int fd, char *ret_output)
{
	size_t used = 0;
	for (;;) {
		if (used == INITDB_OUTPUT_MAX - 1) {
			memmove(ret_output, ret_output + used / 2, used - used / 2);
			used -= used / 2;
		}
		ssize_t got = read(fd, ret_output + used, INITDB_OUTPUT_MAX - 1 - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		used += (size_t)got;
	}
	ret_output[used] = '\0';
}

static int await(pid_t child)
{
	int status;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECHILD;
}

static int spawn_and_wait(char *const *arguments, const struct initdb_owner *owner, char *ret_output)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) != 0)
		return -errno;
	/* An interrupt is initdb's: it fails, and then the branch is taken back in an orderly way. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	pid_t child = fork();
	if (child == 0)
		become_initdb(arguments, owner, fds[1]);
	int rc = child < 0 ? -errno : 0;
	close(fds[1]);
	if (rc == 0) {
		collect(fds[0], ret_output);
		rc = await(child);
	}
	close(fds[0]);
	return rc;
}

int initdb_run(const char *initdb, const char *directory, const struct initdb_owner *owner, char *const *words, int word_count,
	       char *ret_output)
{
	char **arguments = calloc((size_t)word_count + 4, sizeof(*arguments));
	if (arguments == NULL)
		return -ENOMEM;
	arguments[0] = (char *)initdb;
	arguments[1] = "-D";
	arguments[2] = (char *)directory;
	for (int i = 0; i < word_count; i++)
		arguments[3 + i] = words[i];
	ret_output[0] = '\0';
	int rc = spawn_and_wait(arguments, owner, ret_output);
	free(arguments);
	return rc;
}
