/* See sleeper.h. */
#include "blockdev/tier/object/sleeper.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define NAP_MAX_NS INT64_C(50000000) /* how late a cancellation is seen */

int ob_sleeper_init(struct ob_sleeper *sleeper)
{
	sleeper->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return sleeper->event_fd >= 0 ? 0 : -errno;
}

void ob_sleeper_destroy(struct ob_sleeper *sleeper)
{
	if (sleeper->event_fd >= 0)
		close(sleeper->event_fd);
	sleeper->event_fd = -1;
}

void ob_sleeper_wait(struct ob_sleeper *sleeper, int64_t until_ns)
{
	struct pollfd descriptor = {.fd = sleeper->event_fd, .events = POLLIN};
	uint64_t count;
	int64_t left_ns = until_ns == OB_NEVER ? 0 : NF_MAX(until_ns - ob_now_ns(), 0);
	const struct timespec left = {.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
	if (ppoll(&descriptor, 1, until_ns == OB_NEVER ? NULL : &left, NULL) > 0)
		(void)!read(sleeper->event_fd, &count,
			    sizeof(count)); /* readable, or taken by nobody else: this thread is the only reader */
}

void ob_sleeper_wake(struct ob_sleeper *sleeper)
{
	const uint64_t one = 1;
	(void)!write(sleeper->event_fd, &one, sizeof(one)); /* fails only when the counter is full, and so readable */
}

uint64_t ob_pace(struct ob_client *client, struct ob_task *task, struct ob_bucket *bucket, uint64_t want)
{
	for (;;) {
		if (ob_is_cancelled(client, task))
			return 0;
		uint64_t taken = ob_bucket_take(bucket, want, ob_now_ns());
		if (taken > 0)
			return taken;
		int64_t nap_ns = ob_bucket_ready_ns(bucket, ob_now_ns()) - ob_now_ns();
		nap_ns = NF_MIN(NF_MAX(nap_ns, 1000000), NAP_MAX_NS);
		const struct timespec nap = {.tv_nsec = nap_ns};
		nanosleep(&nap, NULL);
	}
}
