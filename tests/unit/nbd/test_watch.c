/* Watching before sleeping: by one thread at a time, for a short time, and seldom where it is in vain. */
#include "tests/unit/nbd/case.h"

#include <time.h>
#include <unistd.h>

#include "blockdev/nbd/watch.h"

static void need_processors(void)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		skip();
}

static void one_watches_at_a_time(void **state)
{
	struct nbd_watch watch = {0};

	(void)state;
	need_processors();
	assert_true(nbd_watch_begin(&watch));
	assert_false(nbd_watch_begin(&watch));
	nbd_watch_end(&watch, true);
	assert_true(nbd_watch_begin(&watch));
	nbd_watch_end(&watch, true);
}

/* How many of `tries` may watch, each in vain or not. */
static unsigned count_watches(struct nbd_watch *watch, unsigned tries, bool came)
{
	unsigned count = 0;

	for (unsigned i = 0; i < tries; i++) {
		if (!nbd_watch_begin(watch))
			continue;
		count++;
		nbd_watch_end(watch, came);
	}
	return count;
}

static void in_vain_is_seldom_and_success_brings_it_back(void **state)
{
	struct nbd_watch watch = {0};

	(void)state;
	need_processors();
	assert_int_equal(count_watches(&watch, 1000, true), 1000);
	unsigned count = count_watches(&watch, 1000, false);
	assert_in_range(count, 2, 50);
	/* As soon as one of the few sees something. */
	count = count_watches(&watch, 1000, true);
	assert_in_range(count, 900, 1000);
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void it_ends(void **state)
{
	struct nbd_watch_time time = {0};
	int64_t began = now_ns();

	(void)state;
	while (nbd_watch_on(&time))
		assert_true(now_ns() - began < INT64_C(10000000000));
	assert_true(now_ns() - began > 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_watches_at_a_time),
		cmocka_unit_test(in_vain_is_seldom_and_success_brings_it_back),
		cmocka_unit_test(it_ends),
	};
	return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
