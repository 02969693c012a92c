/* See preparer.h. The child's stdout has lines of JSON (progress, and at last a result or an error), its stderr what it says when it fails
 * before or beside that: the last line of it becomes the message. */
#include "tools/neonfs/preparer.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/nf_log.h"
#include "tools/neonfs/control_impl.h"

#define PROGRAM "neonfs-wal"

/* One pipe's text, of which the last line that is not whole yet is kept. A line that is too long loses its end. */
struct lines {
	int fd;
	size_t used;
	char text[PREPARER_LINE_MAX];
};

struct preparer {
	struct ctl_call *call;
	struct preparer_answer *answer;
	struct fs_hold *hold; /* NULL: none */
	int file_fd;
	pid_t pid;
	struct lines out, err;
	char last_words[PREPARER_MESSAGE_MAX]; /* the last line of stderr */
	bool is_cancelled;
};

/* ----------------------------------------------------------------- lines */

static void take_error(struct preparer *preparer, const json_t *error)
{
	const char *code = json_string_value(json_object_get(error, "code"));
	const char *message = json_string_value(json_object_get(error, "message"));
	preparer->answer->is_unsupported = code != NULL && strcmp(code, "unsupported") == 0;
	preparer->answer->is_outside = code != NULL && strcmp(code, "outside") == 0;
	snprintf(preparer->answer->message, sizeof(preparer->answer->message), "%s", message != NULL ? message : "");
}

static void take_progress(struct preparer *preparer, const json_t *progress)
{
	const char *phase = json_string_value(json_object_get(progress, "phase"));
	if (phase != NULL && ctl_progress(preparer->call, phase, (uint64_t)json_integer_value(json_object_get(progress, "done")),
					  (uint64_t)json_integer_value(json_object_get(progress, "total"))) != 0)
		preparer->is_cancelled = true;
}

static void take_out(struct preparer *preparer, const char *line)
{
	json_t *object = json_loads(line, 0, NULL);
	const json_t *progress = json_object_get(object, "progress"), *error = json_object_get(object, "error");
	json_t *result = json_object_get(object, "result");
	if (progress != NULL)
		take_progress(preparer, progress);
	if (error != NULL)
		take_error(preparer, error);
	if (json_is_object(result)) {
		json_decref(preparer->answer->result);
		preparer->answer->result = json_incref(result);
	}
	json_decref(object);
}

static void take_err(struct preparer *preparer, const char *line)
{
	if (line[0] != '\0')
		snprintf(preparer->last_words, sizeof(preparer->last_words), "%s", line);
}

/* Read what is there, and hand over every line that is whole. False at the end. */
static bool read_lines(struct preparer *preparer, struct lines *lines, void (*take)(struct preparer *preparer, const char *line))
{
	char *end;
	if (lines->used == sizeof(lines->text) - 1)
		lines->used = 0;
	ssize_t got = read(lines->fd, lines->text + lines->used, sizeof(lines->text) - 1 - lines->used);
	if (got < 0)
		return errno == EINTR || errno == EAGAIN;
	lines->used += (size_t)got;
	lines->text[lines->used] = '\0';
	while ((end = strchr(lines->text, '\n')) != NULL) {
		*end = '\0';
		take(preparer, lines->text);
		lines->used -= (size_t)(end + 1 - lines->text);
		memmove(lines->text, end + 1, lines->used + 1);
	}
	if (got == 0 && lines->used > 0)
		take(preparer, lines->text);
	return got > 0;
}

/* --------------------------------------------------------------- process */

static int find_program(char *ret_path)
{
	ssize_t length = readlink("/proc/self/exe", ret_path, PATH_MAX - sizeof(PROGRAM));
	if (length < 0)
		return -errno;
	ret_path[length] = '\0';
	char *slash = strrchr(ret_path, '/');
	if (slash == NULL)
		return -ENOENT;
	snprintf(slash + 1, sizeof(PROGRAM), "%s", PROGRAM);
	return 0;
}

/* The child gets the two pipes, the file if there is one, and nothing else of ours; signals as at a program's start; a group of its own. */
static int spawn(const char *path, char *const words[], int file_fd, int out_fd, int err_fd, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, usual;
	sigemptyset(&none);
	sigemptyset(&usual);
	sigaddset(&usual, SIGPIPE);
	sigaddset(&usual, SIGHUP);
	if (posix_spawn_file_actions_init(&actions) != 0)
		return -ENOMEM;
	int rc = posix_spawnattr_init(&attributes);
	if (rc == 0) {
		rc = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
		rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO);
		rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, err_fd, STDERR_FILENO);
		if (file_fd >= 0)
			rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, file_fd, PREPARER_FILE_FD);
		rc = rc != 0 ? rc
			     : posix_spawn_file_actions_addclosefrom_np(&actions, file_fd >= 0 ? PREPARER_FILE_FD + 1
										       : PREPARER_FILE_FD);
		posix_spawnattr_setsigmask(&attributes, &none);
		posix_spawnattr_setsigdefault(&attributes, &usual);
		posix_spawnattr_setpgroup(&attributes, 0);
		posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
		/* The child's writes go to our mount like anybody's: it must wait for dirty pages, and not be counted as who cleans them. */
		bool is_flusher = prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0) == 1 && prctl(PR_SET_IO_FLUSHER, 0, 0, 0, 0) == 0;
		rc = rc != 0 ? rc : posix_spawn(ret_pid, path, &actions, &attributes, words, environ);
		if (is_flusher && prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0)
			nf_debug("cannot become an I/O flusher again: %s", strerror(errno));
		posix_spawnattr_destroy(&attributes);
	}
	posix_spawn_file_actions_destroy(&actions);
	return -rc;
}

static int start(struct preparer *preparer, const char *const words[])
{
	char path[PATH_MAX], parent[32];
	char *all[PREPARER_WORDS_MAX + 4] = {(char *)PROGRAM};
	int out[2], err[2];
	unsigned count = 0;
	for (; words[count] != NULL; count++) {
		assert(count < PREPARER_WORDS_MAX);
		all[count + 1] = (char *)words[count];
	}
	snprintf(parent, sizeof(parent), "%ld", (long)getpid());
	all[count + 1] = (char *)"--parent";
	all[count + 2] = parent;
	int rc = find_program(path);
	if (rc != 0 || pipe2(out, O_CLOEXEC) != 0)
		return rc != 0 ? rc : -errno;
	rc = pipe2(err, O_CLOEXEC) != 0 ? -errno : 0;
	if (rc == 0) {
		if (preparer->hold != NULL)
			fs_hold_expect(preparer->hold);
		rc = spawn(path, all, preparer->file_fd, out[1], err[1], &preparer->pid);
		if (preparer->hold != NULL)
			fs_hold_admit(preparer->hold, rc == 0 ? preparer->pid : 0);
		close(err[1]);
		preparer->err.fd = err[0];
		if (rc != 0)
			close(err[0]);
	}
	close(out[1]);
	preparer->out.fd = out[0];
	if (rc != 0)
		close(out[0]);
	return rc;
}

static void close_end(struct lines *lines)
{
	close(lines->fd);
	lines->fd = -1;
}

/* Until both pipes are at their end. */
static void attend(struct preparer *preparer)
{
	struct ctl_call *call = preparer->call;
	bool was_killed = false;
	while (preparer->out.fd >= 0 || preparer->err.fd >= 0) {
		struct pollfd fds[] = {
			{.fd = preparer->out.fd, .events = POLLIN},
			{.fd = preparer->err.fd, .events = POLLIN},
			/* Once it is killed these have nothing more to say. */
			{.fd = was_killed ? -1 : call->fd, .events = POLLRDHUP},
			{.fd = was_killed ? -1 : call->control->cancel_fd, .events = POLLIN},
		};
		if (poll(fds, NF_ARRAY_LEN(fds), -1) < 0)
			continue; /* a debugger */
		if (fds[2].revents != 0 || fds[3].revents != 0)
			preparer->is_cancelled = true;
		if (fds[0].revents != 0 && !read_lines(preparer, &preparer->out, take_out))
			close_end(&preparer->out);
		if (fds[1].revents != 0 && !read_lines(preparer, &preparer->err, take_err))
			close_end(&preparer->err);
		if (preparer->is_cancelled && !was_killed) {
			kill(preparer->pid, SIGKILL);
			was_killed = true;
		}
	}
}

/* Its last words, without the program's name in front. */
static const char *last_words(const struct preparer *preparer)
{
	const char *text = preparer->last_words, *colon = strstr(text, ": ");
	return strncmp(text, PROGRAM, strlen(PROGRAM)) == 0 && colon != NULL ? colon + 2 : text;
}

static void judge(struct preparer *preparer, int status)
{
	struct preparer_answer *answer = preparer->answer;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && answer->result != NULL)
		return;
	json_decref(answer->result);
	answer->result = NULL;
	if (answer->message[0] == '\0')
		snprintf(answer->message, sizeof(answer->message), "%s", last_words(preparer));
	if (answer->message[0] == '\0' && WIFSIGNALED(status))
		snprintf(answer->message, sizeof(answer->message), "%s was ended by signal %d", PROGRAM, WTERMSIG(status));
	if (answer->message[0] == '\0')
		snprintf(answer->message, sizeof(answer->message), "%s ended with status %d and no word", PROGRAM,
			 WIFEXITED(status) ? WEXITSTATUS(status) : status);
}

int preparer_run(struct ctl_call *call, const char *const words[], struct fs_hold *hold, int file_fd,
		 struct preparer_answer *ret_answer)
{
	int status;
	struct preparer *preparer = calloc(1, sizeof(*preparer));
	if (preparer == NULL)
		return -ENOMEM;
	*ret_answer = (struct preparer_answer){0};
	*preparer = (struct preparer){.call = call, .answer = ret_answer, .hold = hold, .file_fd = file_fd};
	int rc = start(preparer, words);
	if (rc == 0) {
		attend(preparer);
		while (waitpid(preparer->pid, &status, 0) < 0 && errno == EINTR)
			;
		if (hold != NULL)
			fs_hold_admit(hold, 0);
		if (preparer->is_cancelled) {
			json_decref(ret_answer->result);
			ret_answer->result = NULL;
			rc = -ECANCELED;
		} else {
			judge(preparer, status);
		}
	}
	free(preparer);
	return rc;
}
