/* Waiting and pacing for backends whose requests block the client's thread. */
#ifndef OB_SLEEPER_H
#define OB_SLEEPER_H

#include "blockdev/tier/object/impl.h"

struct ob_sleeper {
	int event_fd;
};

NF_MUST_CHECK int ob_sleeper_init(struct ob_sleeper *sleeper); /* 0; -errno */
void ob_sleeper_destroy(struct ob_sleeper *sleeper);
/* Sleep until woken since the last call, or until_ns. */
void ob_sleeper_wait(struct ob_sleeper *sleeper, int64_t until_ns);
void ob_sleeper_wake(struct ob_sleeper *sleeper); /* from any thread */

/* How many of `want` bytes `task` may move now, after sleeping for them where the rate asks for it; 0 = it was cancelled. */
uint64_t ob_pace(struct ob_client *client, struct ob_task *task, struct ob_bucket *bucket, uint64_t want);

#endif
