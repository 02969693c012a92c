/* replay_order.h: sorted by key, equal keys in the order of the list, whatever bytes of the keys differ. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tools/neonfs-wal/replay_order.h"

#define SEED 20261126u

/* Keys of which only the bits of `mask` differ: few values, so that many are equal. */
static void check_sorted(struct rp_order *order, uint32_t count, uint64_t mask, uint64_t same)
{
	uint64_t state = SEED;
	assert_int_equal(rp_order_room(order, count), 0);
	for (uint32_t i = 0; i < count; i++) {
		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		order->places[i] = (struct rp_place){.key = ((state >> 24 | state << 40) & mask) | same, .item = i};
	}
	rp_order_sort(order, count);
	for (uint32_t i = 1; i < count; i++) {
		assert_true(order->places[i - 1].key <= order->places[i].key);
		if (order->places[i - 1].key == order->places[i].key)
			assert_true(order->places[i - 1].item < order->places[i].item);
	}
}

static void test_sorts_by_any_bytes_of_the_key(void **state)
{
	struct rp_order order = {0};
	(void)state;
	check_sorted(&order, 5000, UINT64_C(0x0000000700000FFF), 0);
	check_sorted(&order, 300, UINT64_C(0x8100000000000003), UINT64_C(0x4000));
	check_sorted(&order, 20000, 0xFF, UINT64_C(0x5A00));
	check_sorted(&order, 77, UINT64_MAX, 0);
	rp_order_free(&order);
}

static void test_short_lists_and_equal_keys(void **state)
{
	struct rp_order order = {0};
	(void)state;
	for (uint32_t count = 0; count < 4; count++) {
		check_sorted(&order, count, 1, 0);
		check_sorted(&order, count, 0, 7);
	}
	rp_order_free(&order);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sorts_by_any_bytes_of_the_key),
		cmocka_unit_test(test_short_lists_and_equal_keys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
