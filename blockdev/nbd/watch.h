/* Looking again and again for a moment, instead of sleeping at once: a sleeper takes as long to wake as a request that needs no disk takes to be served.
 * One thread of a side at a time, and where it was in vain the last times, only now and then. Where there is one processor, never. */
#ifndef BD_NBD_WATCH_H
#define BD_NBD_WATCH_H

#include <stdatomic.h>

#include "common/nf_base.h"

/* Of one side; all zero at first. Thread-safe. */
struct nbd_watch {
	_Atomic bool is_taken;
	_Atomic uint32_t in_vain; /* times in a row */
	_Atomic uint32_t skipped;
};
/* May this thread watch now? Then it calls nbd_watch_end afterwards, with whether what it watched for came. */
bool nbd_watch_begin(struct nbd_watch *watch);
void nbd_watch_end(struct nbd_watch *watch, bool came);
/* For the next turn of a loop that looks: false when the time is over. */
struct nbd_watch_time {
	int64_t end_ns;
	unsigned turns;
};
bool nbd_watch_on(struct nbd_watch_time *at);

#endif
