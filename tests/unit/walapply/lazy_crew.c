/* Threads that do the tasks of one who waits: each task once, tasks at the same time, and the first error ends it. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "walapply/pitr/lazy_crew.h"

#define TASKS 1000u

struct counting {
	_Atomic unsigned done[TASKS];
	size_t fails; /* this task and the next one */
};

static int count(void *arg, size_t i)
{
	struct counting *counting = arg;
	atomic_fetch_add(&counting->done[i], 1);
	return i == counting->fails ? -EIO : i == counting->fails + 1 ? -ENOSPC : 0;
}

static void each_once(void **state)
{
	(void)state;
	for (unsigned threads = 1; threads <= LZ_CREW_MAX; threads++) {
		static struct counting counting;
		struct lz_crew *crew;
		counting = (struct counting){.fails = TASKS};
		assert_int_equal(lz_crew_new(threads, &crew), 0);
		for (unsigned round = 1; round <= 50; round++) {
			assert_int_equal(lz_crew_run(crew, TASKS, count, &counting), 0);
			for (unsigned i = 0; i < TASKS; i++)
				assert_int_equal(counting.done[i], round);
		}
		assert_int_equal(lz_crew_run(crew, 0, count, &counting), 0);
		lz_crew_free(crew);
	}
	lz_crew_free(NULL);
}

static void first_error(void **state)
{
	static struct counting counting;
	struct lz_crew *crew;
	(void)state;
	counting = (struct counting){.fails = 10};
	assert_int_equal(lz_crew_new(1, &crew), 0);
	assert_int_equal(lz_crew_run(crew, TASKS, count, &counting), -EIO);
	for (unsigned i = 0; i < TASKS; i++)
		assert_int_equal(counting.done[i], i <= 10);
	/* It is forgotten then. */
	counting.fails = TASKS;
	assert_int_equal(lz_crew_run(crew, TASKS, count, &counting), 0);
	lz_crew_free(crew);
}

/* Each waits until the other one is at work. */
struct meeting {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned there;
};

static int meet(void *arg, size_t i)
{
	struct meeting *meeting = arg;
	struct timespec until;
	int error = 0;
	(void)i;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	pthread_mutex_lock(&meeting->lock);
	meeting->there++;
	pthread_cond_broadcast(&meeting->cond);
	while (meeting->there < 2 && error == 0)
		error = pthread_cond_timedwait(&meeting->cond, &meeting->lock, &until);
	pthread_mutex_unlock(&meeting->lock);
	return -error;
}

static void at_the_same_time(void **state)
{
	struct meeting meeting = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
	struct lz_crew *crew;
	(void)state;
	assert_int_equal(lz_crew_new(2, &crew), 0);
	assert_int_equal(lz_crew_run(crew, 2, meet, &meeting), 0);
	lz_crew_free(crew);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(each_once), cmocka_unit_test(first_error), cmocka_unit_test(at_the_same_time)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
