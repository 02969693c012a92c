/* Bytes a second, and pauses between tries. Pure: the caller brings clock and chance. */
#ifndef OB_LIMIT_H
#define OB_LIMIT_H

#include "common/nf_base.h"

/* A token bucket: `rate` bytes a second on average, a tenth of a second's worth at once (64 KiB at least). */
struct ob_bucket {
	uint64_t rate; /* 0 = no limit */
	int64_t free_at_ns; /* all that was taken so far is paid for then; the burst reaches that far ahead */
};

/* How many of `want` bytes may be moved now (0 = none), counted as moved. */
uint64_t ob_bucket_take(struct ob_bucket *bucket, uint64_t want, int64_t now_ns);
/* For what comes in pieces that cannot be cut: may one be moved now? And it was, however large: what is too much is waited for later. */
bool ob_bucket_is_open(const struct ob_bucket *bucket, int64_t now_ns);
void ob_bucket_charge(struct ob_bucket *bucket, uint64_t count, int64_t now_ns);
/* When ob_bucket_take gives something again; now or earlier when it does. */
int64_t ob_bucket_ready_ns(const struct ob_bucket *bucket, int64_t now_ns);

/* The pause after failure number `failures` (from 1): doubled each time from first_ms up to max_ms, and of that a random part
 * between half and all. `asked_ms`: what the server asks for at least. */
uint32_t ob_pause_ms(unsigned failures, uint32_t first_ms, uint32_t max_ms, uint32_t asked_ms, uint64_t random);

/* The next of a row of random numbers (xorshift64*); `state` is not 0. */
uint64_t ob_random(uint64_t *state);

#endif
