/* A radix sort from the lowest byte up, of those bytes alone in which the keys differ: mostly two or three. */
#include "tools/neonfs-wal/replay_order.h"

#include <errno.h>
#include <stdlib.h>

#define DIGITS 256u
#define DIGIT_BITS 8u
#define ROOM_MIN 1024u

int rp_order_room(struct rp_order *order, uint32_t count)
{
	if (count <= order->room)
		return 0;
	uint32_t room = NF_MAX(order->room, ROOM_MIN);
	while (room < count)
		room *= 2;
	rp_order_free(order);
	order->places = malloc(room * sizeof(*order->places));
	order->spare = malloc(room * sizeof(*order->spare));
	if (order->places == NULL || order->spare == NULL) {
		rp_order_free(order);
		return -ENOMEM;
	}
	order->room = room;
	return 0;
}

static void sort_by_digit(struct rp_order *order, uint32_t count, unsigned shift)
{
	uint32_t next[DIGITS] = {0}, sum = 0;
	for (uint32_t i = 0; i < count; i++)
		next[order->places[i].key >> shift & (DIGITS - 1)]++;
	for (unsigned digit = 0; digit < DIGITS; digit++) {
		uint32_t here = next[digit];
		next[digit] = sum;
		sum += here;
	}
	for (uint32_t i = 0; i < count; i++)
		order->spare[next[order->places[i].key >> shift & (DIGITS - 1)]++] = order->places[i];
	struct rp_place *sorted = order->spare;
	order->spare = order->places;
	order->places = sorted;
}

void rp_order_sort(struct rp_order *order, uint32_t count)
{
	uint64_t differ = 0;
	for (uint32_t i = 1; i < count; i++)
		differ |= order->places[i].key ^ order->places[0].key;
	for (unsigned shift = 0; shift < 64; shift += DIGIT_BITS)
		if (differ >> shift & (DIGITS - 1))
			sort_by_digit(order, count, shift);
}

void rp_order_free(struct rp_order *order)
{
	free(order->places);
	free(order->spare);
	*order = (struct rp_order){0};
}
