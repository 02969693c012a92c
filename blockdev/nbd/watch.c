/* See watch.h. */
#include "blockdev/nbd/watch.h"

#include <time.h>
#include <unistd.h>

#define WATCH_NS 50000
#define WATCH_TURNS 32u /* between looks at the clock */
#define IN_VAIN_MAX 4u
#define SKIP_MAX 64u

static int64_t monotonic_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static bool has_processors(void)
{
	static _Atomic long processors;
	if (atomic_load_explicit(&processors, memory_order_relaxed) == 0)
		atomic_store_explicit(&processors, sysconf(_SC_NPROCESSORS_ONLN), memory_order_relaxed);
	return atomic_load_explicit(&processors, memory_order_relaxed) > 1;
}

bool nbd_watch_begin(struct nbd_watch *watch)
{
	if (!has_processors())
		return false;
	if (atomic_load_explicit(&watch->in_vain, memory_order_relaxed) >= IN_VAIN_MAX &&
	    atomic_fetch_add_explicit(&watch->skipped, 1, memory_order_relaxed) % SKIP_MAX != 0)
		return false;
	return !atomic_exchange(&watch->is_taken, true);
}

void nbd_watch_end(struct nbd_watch *watch, bool came)
{
	uint32_t in_vain = atomic_load_explicit(&watch->in_vain, memory_order_relaxed);
	atomic_store_explicit(&watch->in_vain, came ? 0 : NF_MIN(in_vain + 1, IN_VAIN_MAX), memory_order_relaxed);
	atomic_store(&watch->is_taken, false);
}

static void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

bool nbd_watch_on(struct nbd_watch_time *at)
{
	if (at->end_ns == 0)
		at->end_ns = monotonic_ns() + WATCH_NS;
	relax();
	return ++at->turns % WATCH_TURNS != 0 || monotonic_ns() < at->end_ns;
}
