/* Where a served volume leaves its traces, and how programs are run. See nbd.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/neonfs-nbd/nbd.h"

/* One directory a user, which nobody else can put anything into. */
static int make_directory(char *ret_path, size_t size)
{
	const char *base = geteuid() == 0 ? "/run" : getenv("XDG_RUNTIME_DIR");
	struct stat status;
	if (base == NULL || base[0] != '/')
		return tl_fail("XDG_RUNTIME_DIR is not set: name a socket with --socket");
	if (snprintf(ret_path, size, "%s/neonfs-nbd", base) >= (int)size)
		return tl_fail("the path %s is too long: name a socket with --socket", base);
	if (mkdir(ret_path, 0700) != 0 && errno != EEXIST)
		return tl_fail("cannot make %s: %s", ret_path, strerror(errno));
	if (lstat(ret_path, &status) != 0 || !S_ISDIR(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 022) != 0)
		return tl_fail("%s is not a directory of your own: name a socket with --socket", ret_path);
	return TL_OK;
}

int nbd_place_of(const char *volume, struct nbd_place *ret_place)
{
	char directory[PATH_MAX / 2], name[256];
	int code = make_directory(directory, sizeof(directory));
	if (code != TL_OK)
		return code;
	if (strlen(volume) >= sizeof(name))
		return tl_fail("the volume's name is too long for a socket's: name one with --socket");
	strcpy(name, volume);
	for (char *at = name; *at != '\0'; at++)
		if (*at == '/')
			*at = '-';
	if (snprintf(ret_place->socket, sizeof(ret_place->socket), "%s/%s.sock", directory, name) >= (int)sizeof(ret_place->socket))
		return tl_fail("the volume's name is too long for a socket's: name one with --socket");
	snprintf(ret_place->pid_file, sizeof(ret_place->pid_file), "%s/%s.pid", directory, name);
	return TL_OK;
}

static void child(char *const words[], int output)
{
	if (output >= 0 && dup2(output, STDOUT_FILENO) < 0)
		_exit(127);
	execvp(words[0], words);
	fprintf(stderr, "neonfs-nbd: cannot run %s: %s\n", words[0], strerror(errno));
	_exit(127);
}

static void read_output(int fd, char *ret_output, size_t size)
{
	size_t used = 0;
	ssize_t got;
	while (used < size - 1 && ((got = read(fd, ret_output + used, size - 1 - used)) > 0 || (got < 0 && errno == EINTR)))
		used += got > 0 ? (size_t)got : 0;
	while (used > 0 && ret_output[used - 1] == '\n')
		used--;
	ret_output[used] = '\0';
}

int nbd_run(char *const words[], char *ret_output, size_t size)
{
	int fds[2] = {-1, -1}, status;
	if (ret_output != NULL && pipe(fds) != 0)
		return -errno;
	pid_t pid = fork();
	if (pid < 0) {
		if (fds[0] >= 0) {
			close(fds[0]);
			close(fds[1]);
		}
		return -errno;
	}
	if (pid == 0) {
		if (fds[0] >= 0)
			close(fds[0]);
		child(words, fds[1]);
	}
	if (ret_output != NULL) {
		close(fds[1]);
		read_output(fds[0], ret_output, size);
		close(fds[0]);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
