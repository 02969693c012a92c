/* Token bucket and back-off. See limit.h.
 *
 * The bucket is kept as a moment: each byte taken moves `free_at_ns` on by its share of a second. Taking is allowed while that moment
 * is less than a burst ahead of the clock, so an idle time never saves up more than a burst. */
#include "blockdev/tier/object/limit.h"

#define SECOND_NS INT64_C(1000000000)
#define BURST_MIN UINT64_C(65536)

static int64_t cost_ns(const struct ob_bucket *bucket, uint64_t bytes)
{
	return (int64_t)((unsigned __int128)bytes * SECOND_NS / bucket->rate);
}

static uint64_t burst(const struct ob_bucket *bucket)
{
	return NF_MAX(bucket->rate / 10, BURST_MIN);
}

uint64_t ob_bucket_take(struct ob_bucket *bucket, uint64_t want, int64_t now_ns)
{
	if (bucket->rate == 0)
		return want;
	if (bucket->free_at_ns < now_ns)
		bucket->free_at_ns = now_ns;
	int64_t room_ns = now_ns + cost_ns(bucket, burst(bucket)) - bucket->free_at_ns;
	if (room_ns <= 0)
		return 0;
	uint64_t room = (uint64_t)((unsigned __int128)room_ns * bucket->rate / SECOND_NS);
	uint64_t taken = NF_MIN(want, room);
	bucket->free_at_ns += cost_ns(bucket, taken);
	return taken;
}

bool ob_bucket_is_open(const struct ob_bucket *bucket, int64_t now_ns)
{
	return bucket->rate == 0 || bucket->free_at_ns < now_ns + cost_ns(bucket, burst(bucket));
}

void ob_bucket_charge(struct ob_bucket *bucket, uint64_t count, int64_t now_ns)
{
	if (bucket->rate != 0)
		bucket->free_at_ns = NF_MAX(bucket->free_at_ns, now_ns) + cost_ns(bucket, count);
}

int64_t ob_bucket_ready_ns(const struct ob_bucket *bucket, int64_t now_ns)
{
	if (bucket->rate == 0)
		return now_ns;
	/* Half a burst, not one byte: fewer, larger pieces. */
	return bucket->free_at_ns - cost_ns(bucket, burst(bucket) / 2);
}

uint32_t ob_pause_ms(unsigned failures, uint32_t first_ms, uint32_t max_ms, uint32_t asked_ms, uint64_t random)
{
	uint64_t pause = first_ms;
	for (unsigned i = 1; i < failures && pause < max_ms; i++)
		pause *= 2;
	if (pause > max_ms)
		pause = max_ms;
	pause = pause / 2 + random % (pause - pause / 2 + 1);
	return (uint32_t)NF_MAX(pause, asked_ms);
}

uint64_t ob_random(uint64_t *state)
{
	uint64_t x = *state;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * UINT64_C(2685821657736338717);
}
