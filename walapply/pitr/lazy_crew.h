/* Threads that do the tasks of one who waits for them.
 *
 * Tasks are taken in order, each by whoever is free; so of tasks that wait for the disk and tasks that compute, both are under way at a time. */
#ifndef WA_LAZY_CREW_H
#define WA_LAZY_CREW_H

#include "common/nf_base.h"

#define LZ_CREW_MAX 4u /* with the one who waits */

struct lz_crew;

/* `threads`, 1 to LZ_CREW_MAX, with the caller; fewer where they cannot be had. They have the priority of what works in the background. -ENOMEM. */
NF_MUST_CHECK int lz_crew_new(unsigned threads, struct lz_crew **ret_crew);
void lz_crew_free(struct lz_crew *crew); /* NULL is legal */

/* task(arg, i) of each i < count. Returns 0, or the first error: then tasks that nobody had taken yet are not done. Not from within a task. */
NF_MUST_CHECK int lz_crew_run(struct lz_crew *crew, size_t count, int (*task)(void *arg, size_t i), void *arg);

#endif
