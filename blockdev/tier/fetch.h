/* Many objects, or ranges of them, fetched side by side and handed over in the order in which they were asked for. Bounded in requests and memory. For one thread, with a client whose
 * ob_poll nobody else uses. */
#ifndef BD_TIER_FETCH_H
#define BD_TIER_FETCH_H

#include "blockdev/tier/object/object.h"

#define BD_FETCH_IN_FLIGHT 32u	 /* requests at most, */
#define BD_FETCH_IN_FLIGHT_BYTES (UINT64_C(96) << 20) /* and bytes, but for one that is larger */
#define BD_FETCH_REQUEST_MS 900000u /* for each, with its time in the queue */
#define BD_FETCH_KEY_SIZE 128

struct bd_want {
	char key[BD_FETCH_KEY_SIZE];
	uint64_t offset, size, object_size; /* object_size: what the whole has to have */
	uint64_t tag;			    /* the caller's */
};
/* The next thing to fetch: 0; 1 there is none; -errno. */
typedef int (*bd_fetch_next_fn)(void *arg, struct bd_want *ret_want);
/* It was fetched, in the order of `next`: 0 and its bytes; or why not, with words: -ENOENT it is not there; -EUCLEAN it is damaged, or not of that size; others as of ob_run. What is not 0 of what it
 * returns ends the fetching, and is returned. */
typedef int (*bd_fetch_got_fn)(void *arg, const struct bd_want *want, int error, const char *why, const uint8_t *bytes);
NF_MUST_CHECK int bd_fetch(struct ob_client *client, bd_fetch_next_fn next, bd_fetch_got_fn got, void *arg);

/* Every key under a prefix, in order. A non-zero return ends it and is returned; a failure of the list has a message. */
typedef int (*bd_list_fn)(void *arg, const struct ob_entry *entry);
NF_MUST_CHECK int bd_list(struct ob_client *client, const char *prefix, bd_list_fn each, void *arg, char *message, size_t size);

#endif
