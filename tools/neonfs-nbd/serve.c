/* neonfs-nbd serve, stop: nbdkit with our plugin. See nbd.h.
 *
 * nbdkit goes into the background by itself once it listens, so when it returns the volume is served, and what is wrong with it nbdkit has said. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/lib/format.h"
#include "tools/lib/store.h"
#include "tools/neonfs-nbd/nbd.h"

#define PLUGIN "nbdkit-neonfs-plugin.so"
#define WORDS_MAX 32
#define STOP_TIMEOUT_MS 60000

/* Beside this program where it was built, in the library directory where it was installed, else where nbdkit looks by itself. */
static void find_plugin(char *ret_path)
{
	static const char *const places[] = {PLUGIN, "../" NBD_PLUGIN_DIR "/" PLUGIN};
	char self[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[length > 0 ? length : 0] = '\0';
	char *slash = strrchr(self, '/');
	for (unsigned i = 0; slash != NULL && i < NF_ARRAY_LEN(places); i++) {
		int used = snprintf(ret_path, PATH_MAX, "%.*s/%s", (int)(slash - self), self, places[i]);
		if (used < PATH_MAX && access(ret_path, R_OK) == 0)
			return;
	}
	strcpy(ret_path, "neonfs");
}

struct command {
	char *words[WORDS_MAX];
	unsigned count;
	char plugin[PATH_MAX], store[PATH_MAX + 8], file[NAME_MAX + 1100];
};

static void add(struct command *command, const char *word)
{
	assert(command->count < WORDS_MAX - 1);
	command->words[command->count++] = (char *)word;
	command->words[command->count] = NULL;
}

static void add_two(struct command *command, const char *option, const char *value)
{
	add(command, option);
	add(command, value);
}

/* Everything but where to listen. */
static int begin(struct command *command, const struct tl_call *call, const char *store, bool read_only, const char *threads)
{
	char absolute[PATH_MAX];
	if (realpath(store, absolute) == NULL)
		return tl_fail("cannot reach the store %s: %s", store, strerror(errno));
	if (strlen(call->args[0]) > 1024)
		return tl_usage("the volume's name is too long");
	find_plugin(command->plugin);
	snprintf(command->store, sizeof(command->store), "store=%s", absolute);
	snprintf(command->file, sizeof(command->file), "file=%s", call->args[0]);
	add(command, "nbdkit");
	if (threads != NULL)
		add_two(command, "--threads", threads);
	if (read_only)
		add(command, "--readonly");
	return TL_OK;
}

static void end(struct command *command, bool read_only)
{
	add(command, command->plugin);
	add(command, command->store);
	add(command, command->file);
	if (read_only)
		add(command, "readonly=true");
}

static int run_in_background(struct command *command)
{
	int status = nbd_run(command->words, NULL, 0);
	if (status == 127 || status < 0)
		return tl_fail("nbdkit cannot be run; is the package nbdkit installed?");
	return status == 0 ? TL_OK : tl_fail("nbdkit does not serve it, for the reason above");
}

/* A socket that nobody listens on any more would be in nbdkit's way. */
static int clear_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (strlen(path) >= sizeof(address.sun_path)) {
		close(fd);
		return tl_usage("the socket's path is too long: at most %zu bytes are possible", sizeof(address.sun_path) - 1);
	}
	strcpy(address.sun_path, path);
	int rc = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : -errno;
	if (fd >= 0)
		close(fd);
	if (rc == 0)
		return tl_fail("it is served already, at the socket %s", path);
	if (rc == -ECONNREFUSED && unlink(path) != 0)
		return tl_fail("cannot take the old socket %s away: %s", path, strerror(errno));
	return TL_OK;
}

int nbd_serve(const struct tl_call *call, const char *store, const char *socket, const char *pid_file, bool read_only)
{
	static struct command command;
	int code = clear_socket(socket);
	if (code == TL_OK)
		code = begin(&command, call, store, read_only, NULL);
	if (code != TL_OK)
		return code;
	add_two(&command, "--unix", socket);
	add_two(&command, "--pidfile", pid_file);
	end(&command, read_only);
	return run_in_background(&command);
}

/* ------------------------------------------------------------------ serve */

struct where {
	const char *port, *address, *certificates;
	const char *pid_file;
	char socket[PATH_MAX];
	char uri[PATH_MAX + 64];
};

static int parse_where(const struct tl_call *call, const struct nbd_place *place, struct where *ret_where)
{
	const char *socket = tl_value(call, "socket");
	uint64_t number;
	*ret_where = (struct where){.port = tl_value(call, "port"), .address = tl_value(call, "listen"),
				    .certificates = tl_value(call, "tls-certificates"), .pid_file = place->pid_file};
	if (socket != NULL && ret_where->port != NULL)
		return tl_usage("--socket and --port exclude each other");
	if (ret_where->address != NULL && ret_where->port == NULL)
		return tl_usage("--listen needs --port");
	if (ret_where->port != NULL && tl_parse_number(ret_where->port, 1, 65535, &number) != 0)
		return tl_usage("--port %s: it is a number from 1 to 65535", ret_where->port);
	if (ret_where->port != NULL && ret_where->address == NULL)
		ret_where->address = "127.0.0.1";
	const char *scheme = ret_where->certificates != NULL ? "nbds" : "nbd";
	if (ret_where->port != NULL) {
		bool is_v6 = strchr(ret_where->address, ':') != NULL;
		snprintf(ret_where->uri, sizeof(ret_where->uri), "%s://%s%s%s:%s", scheme, is_v6 ? "[" : "", ret_where->address, is_v6 ? "]" : "",
			 ret_where->port);
		return TL_OK;
	}
	if (socket == NULL)
		socket = place->socket;
	if (socket[0] == '/')
		snprintf(ret_where->socket, sizeof(ret_where->socket), "%s", socket);
	else if (getcwd(ret_where->socket, sizeof(ret_where->socket)) == NULL ||
		 strlen(ret_where->socket) + strlen(socket) + 2 > sizeof(ret_where->socket))
		return tl_fail("the socket's path cannot be made absolute");
	else
		strcat(strcat(ret_where->socket, "/"), socket);
	snprintf(ret_where->uri, sizeof(ret_where->uri), "%s+unix:///?socket=%s", scheme, ret_where->socket);
	return TL_OK;
}

static void add_where(struct command *command, const struct where *where, bool is_foreground)
{
	if (where->port != NULL) {
		add_two(command, "--ipaddr", where->address);
		add_two(command, "--port", where->port);
	} else {
		add_two(command, "--unix", where->socket);
	}
	if (where->certificates != NULL) {
		add(command, "--tls=require");
		add_two(command, "--tls-certificates", where->certificates);
	}
	if (is_foreground)
		add(command, "--foreground");
	else
		add_two(command, "--pidfile", where->pid_file);
}

static int run_in_foreground(const struct command *command, const char *uri)
{
	printf("%s\n", uri);
	if (fflush(stdout) != 0)
		return tl_fail("cannot print the URI: %s", strerror(errno));
	execvp(command->words[0], command->words);
	return tl_fail("nbdkit cannot be run (%s); is the package nbdkit installed?", strerror(errno));
}

int run_serve(const struct tl_call *call)
{
	static struct command command;
	static struct nbd_place place;
	static struct where where;
	char store[PATH_MAX];
	const char *threads = tl_value(call, "threads");
	bool is_foreground = tl_flag(call, "foreground"), read_only = tl_flag(call, "read-only");
	uint64_t number;
	if (threads != NULL && tl_parse_number(threads, 1, 256, &number) != 0)
		return tl_usage("--threads %s: it is a number from 1 to 256", threads);
	int code = tl_store_choose(tl_value(call, "store"), store);
	if (code == TL_OK)
		code = nbd_place_of(call->args[0], &place);
	if (code == TL_OK)
		code = parse_where(call, &place, &where);
	if (code == TL_OK && where.port == NULL)
		code = clear_socket(where.socket);
	if (code == TL_OK)
		code = begin(&command, call, store, read_only, threads);
	if (code != TL_OK)
		return code;
	add_where(&command, &where, is_foreground);
	end(&command, read_only);
	if (is_foreground)
		return run_in_foreground(&command, where.uri);
	code = run_in_background(&command);
	if (code == TL_OK)
		printf("%s\n", where.uri);
	return code;
}

/* ------------------------------------------------------------------- stop */

/* Is it the nbdkit that wrote the number, and not a later process of that number? */
static bool is_nbdkit(pid_t pid)
{
	char path[64], name[32] = "";
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	FILE *file = fopen(path, "r");
	if (file == NULL)
		return false;
	bool is_ours = fgets(name, sizeof(name), file) != NULL && strncmp(name, "nbdkit", 6) == 0;
	fclose(file);
	return is_ours;
}

static int end_process(pid_t pid)
{
	int fd = pidfd_open(pid, 0);
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	if (fd < 0 || !is_nbdkit(pid)) {
		if (fd >= 0)
			close(fd);
		return -ESRCH;
	}
	int rc = kill(pid, SIGTERM) == 0 ? 0 : -errno;
	if (rc == 0 && poll(&poll_fd, 1, STOP_TIMEOUT_MS) != 1)
		rc = -ETIMEDOUT;
	close(fd);
	return rc;
}

int nbd_stop(const char *pid_file)
{
	int pid = 0;
	FILE *file = fopen(pid_file, "r");
	bool has_number = file != NULL && fscanf(file, "%d", &pid) == 1 && pid > 0;
	if (file != NULL)
		fclose(file);
	int rc = has_number ? end_process(pid) : -ESRCH;
	if (rc == -ESRCH)
		return tl_fail("no server of it was started in the background here");
	if (rc != 0)
		return tl_fail("its server (process %d) does not end: %s", pid, strerror(-rc));
	if (unlink(pid_file) != 0 && errno != ENOENT)
		tl_warn("%s stays: %s", pid_file, strerror(errno));
	return TL_OK;
}

int run_stop(const struct tl_call *call)
{
	static struct nbd_place place;
	int code = nbd_place_of(call->args[0], &place);
	return code == TL_OK ? nbd_stop(place.pid_file) : code;
}
