/* A progress line. See progress.h. */
#include "tools/lib/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_NS 100000000

static int64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void tl_progress_start(struct tl_progress *progress, const char *title)
{
	*progress = (struct tl_progress){.title = title, .is_terminal = isatty(STDERR_FILENO) == 1};
}

void tl_progress_update(struct tl_progress *progress, const char *phase, uint64_t done, uint64_t total)
{
	if ((!progress->is_terminal && !progress->as_lines) || now_ns() - progress->drawn_ns < REDRAW_NS)
		return;
	progress->drawn_ns = now_ns();
	if (progress->as_lines) {
		/* The phases are the program's own words, with nothing in them to be escaped. */
		printf("{\"progress\": {\"phase\": \"%s\", \"done\": %llu, \"total\": %llu}}\n", phase, (unsigned long long)done,
		       (unsigned long long)total);
		fflush(stdout);
		return;
	}
	progress->is_shown = true;
	fprintf(stderr, "\r\033[K%s: %s", progress->title, phase);
	if (total > 0)
		fprintf(stderr, " %d%% (%llu of %llu)", (int)(100.0 * (double)done / (double)total), (unsigned long long)done,
			(unsigned long long)total);
	else if (done > 0)
		fprintf(stderr, " %llu", (unsigned long long)done);
	fflush(stderr);
}

void tl_progress_end(struct tl_progress *progress)
{
	if (progress->is_shown)
		fputs("\r\033[K", stderr);
	progress->is_shown = false;
}
