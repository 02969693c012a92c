/* The log's room: whoever was let in has it, whatever the others do and wherever in the ring they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "blockdev/log/log.h"
#include "common/nf_io.h"

#define WRITE_BLOCKS 32u /* 256 KiB, the most that is written inline */
#define STEPS 4000u

struct driver {
	struct bd_log *log;
	uint64_t random, inside; /* operations that were let in, and have not written yet */
	uint8_t *data;
	uint64_t sums[WRITE_BLOCKS];
};

static uint64_t below(struct driver *driver, uint64_t limit)
{
	driver->random = driver->random * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (driver->random >> 33) % limit;
}

static int none(void *arg, uint64_t lsn, bool replay, uint8_t type, struct nf_reader body)
{
	(void)arg, (void)lsn, (void)replay, (void)type, (void)body;
	return 0;
}

/* Nobody makes room on its own here, so who would have to wait is refused. */
static bool enter(struct driver *driver)
{
	int error = bd_log_enter(driver->log);
	assert_true(error == 0 || error == -ENOSPC);
	driver->inside += error == 0;
	return error == 0;
}

static void write_and_leave(struct driver *driver)
{
	const struct bd_block_id first = {.branch = 1, .file = 2, .block = 0, .epoch = 1};
	unsigned count = 1 + (unsigned)below(driver, WRITE_BLOCKS);
	uint64_t loc, ticket;
	count = below(driver, 4) == 0 ? count : WRITE_BLOCKS;
	assert_int_equal(bd_log_append_blocks(driver->log, &first, count, driver->data, driver->sums, NULL, 0, &loc, &ticket), 0);
	if (below(driver, 3) == 0)
		assert_int_equal(bd_log_sync(driver->log, ticket), 0);
	bd_log_leave(driver->log);
	driver->inside--;
}

static void make_room(struct driver *driver)
{
	assert_int_equal(bd_log_sync(driver->log, UINT64_MAX), 0);
	uint64_t from = bd_log_retain(driver->log), tail = bd_log_tail(driver->log);
	uint64_t to = from + (tail - from) / NF_IO_ALIGN * below(driver, 101) / 100 * NF_IO_ALIGN;
	bd_log_release(driver->log, to, to);
}

static void drive(uint64_t seed)
{
	struct nf_io *io;
	struct driver driver = {.random = seed, .data = nf_io_buffer(WRITE_BLOCKS * NF_BLOCK_SIZE)};
	const struct bd_log_position position = {.generation = 1};
	assert_non_null(driver.data);
	assert_int_equal(nf_io_mem_create(0, &io), 0);
	assert_int_equal(bd_log_format(io, BD_LOG_MIN_BYTES), 0);
	assert_int_equal(bd_log_open(io, 1, &position, &driver.log), 0);
	assert_int_equal(bd_log_recover(driver.log, none, NULL), 0);
	bd_log_set_room_error(driver.log, -ENOSPC);
	for (unsigned step = 0; step < STEPS; step++) {
		bool let_in = below(&driver, 3) > 0 && enter(&driver);
		if (!let_in && driver.inside > 0)
			write_and_leave(&driver);
		else if (!let_in)
			make_room(&driver);
	}
	while (driver.inside > 0)
		write_and_leave(&driver);
	make_room(&driver);
	bd_log_release(driver.log, bd_log_tail(driver.log), bd_log_tail(driver.log));
	assert_true(enter(&driver)); /* an empty ring lets somebody in, wherever it ends */
	write_and_leave(&driver);
	bd_log_close(driver.log);
	nf_io_destroy(io);
	free(driver.data);
}

static void who_is_let_in_has_room(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 12; seed++)
		drive(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(who_is_let_in_has_room)};
	return cmocka_run_group_tests_name("unit_blockdev_log", tests, NULL, NULL);
}
