/* The daemon's log: see nf_log.h.
 *
 * A line is `2026-11-24T01:34:00.123Z ERROR 4711 message`: UTC time, level, thread id, text. It leaves
 * in one write(2), so that lines of several threads or processes on one O_APPEND file never mix.
 * Control characters in the text become '?', so a line stays a line whatever a name contains.
 * Threading: the descriptor and the level are atomics; nothing is locked. */
#include "common/nf_log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048 /* a longer message is cut and ends in "..." */

static atomic_int log_fd = STDERR_FILENO;
static atomic_int log_level = NF_LOG_INFO;

int nf_log_open(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
	if (fd < 0)
		return -errno;
	int old = atomic_exchange(&log_fd, fd);
	if (old != STDERR_FILENO)
		close(old);
	return 0;
}

void nf_log_set_level(enum nf_log_level level)
{
	atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
}

static size_t put_head(char *line, size_t size, enum nf_log_level level)
{
	static const char *const names[] = {"ERROR", "WARN", "INFO", "DEBUG"};
	struct timespec now;
	struct tm utc;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	size_t used = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &utc);
	int more = snprintf(line + used, size - used, ".%03ldZ %s %d ", now.tv_nsec / 1000000, names[level], (int)gettid());
	return used + (size_t)more;
}

static void write_all(int fd, const char *text, size_t size)
{
	while (size > 0) {
		ssize_t done = write(fd, text, size);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return; /* there is nowhere left to tell it */
		text += done;
		size -= (size_t)done;
	}
}

void nf_log(enum nf_log_level level, const char *format, ...)
{
	if ((int)level > atomic_load_explicit(&log_level, memory_order_relaxed))
		return;

	int saved_errno = errno;
	char line[LINE_MAX_BYTES];
	size_t head = put_head(line, sizeof(line), level);
	size_t room = sizeof(line) - head - 1; /* the last byte is for the newline */
	va_list args;

	va_start(args, format);
	errno = saved_errno; /* for %m */
	int wanted = vsnprintf(line + head, room, format, args);
	va_end(args);

	size_t size = wanted < 0 ? 0 : NF_MIN((size_t)wanted, room - 1);
	if (wanted >= 0 && (size_t)wanted > size)
		memcpy(line + head + size - 3, "...", 3);
	for (size_t i = head; i < head + size; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 127)
			line[i] = '?';
	line[head + size] = '\n';
	write_all(atomic_load(&log_fd), line, head + size + 1);
	errno = saved_errno;
}
