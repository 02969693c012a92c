/* The items of a batch's shard, page by page: a page is then fetched once for all its records, and pages that lie side by side in a file are
 * read and written together. A page's items keep their order. For one thread. */
#ifndef REPLAY_ORDER_H
#define REPLAY_ORDER_H

#include "common/nf_base.h"

struct rp_place {
	uint64_t key; /* of the page; equal keys are one page */
	uint32_t item; /* its number in the list */
};

/* Room that is used again from list to list; zeros at first. */
struct rp_order {
	struct rp_place *places, *spare;
	uint32_t room;
};

/* Room for `count` places in order->places, whose contents are lost. Returns 0 or -ENOMEM. */
NF_MUST_CHECK int rp_order_room(struct rp_order *order, uint32_t count);
/* Sort the first `count` places by key; those of one key stay in the order of the list. */
void rp_order_sort(struct rp_order *order, uint32_t count);
void rp_order_free(struct rp_order *order);

#endif
