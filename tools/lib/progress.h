/* A progress line for long work, a few times a second: on stderr and on a terminal only; or for programs on stdout, as JSON. */
#ifndef TL_PROGRESS_H
#define TL_PROGRESS_H

#include "common/nf_base.h"

struct tl_progress {
	const char *title;
	bool is_terminal;
	bool as_lines; /* set after tl_progress_start: {"progress": {"phase": ..., "done": N, "total": N}} on stdout */
	bool is_shown;
	int64_t drawn_ns;
};

void tl_progress_start(struct tl_progress *progress, const char *title);
/* `done` of `total` units; total 0 = unknown. */
void tl_progress_update(struct tl_progress *progress, const char *phase, uint64_t done, uint64_t total);
/* Take the line away. May be called any number of times. */
void tl_progress_end(struct tl_progress *progress);

#endif
