/* The table of record types: found by every major that has them and by no other. */
#include <stdarg.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#include "walapply/decode/wa_records.h"

static void looked_up(void **state)
{
	(void)state;
	size_t count;
	const struct wa_record_type *types = wa_record_types(&count);
	assert_true(count > 100);
	for (size_t i = 0; i < count; i++)
		for (int major = 12; major <= 19; major++) {
			const struct wa_record_type *found = wa_record_type(major, types[i].rmid, types[i].op);
			if (types[i].first_major <= major && major <= types[i].last_major)
				assert_ptr_equal(found, &types[i]);
			else
				assert_ptr_not_equal(found, &types[i]);
			if (found != NULL && types[i].rmid != WA_RMGR_GENERIC) /* the lower bits tell of other things */
				assert_ptr_equal(wa_record_type(major, types[i].rmid, types[i].op | 0x03), found);
		}
}

static void flag_bits(void **state)
{
	(void)state;
	const struct wa_record_type *type = wa_record_type(15, WA_RMGR_HEAP, 0x80); /* INSERT+INIT */
	assert_non_null(type);
	assert_string_equal(type->rmgr, "Heap");
	assert_string_equal(type->name, "INSERT");
	type = wa_record_type(15, WA_RMGR_XACT, 0x80); /* COMMIT with more */
	assert_string_equal(type->name, "COMMIT");
	type = wa_record_type(15, WA_RMGR_BTREE, 0x80);
	assert_string_equal(type->name, "UNLINK_PAGE");
	assert_string_equal(wa_record_type(15, WA_RMGR_GENERIC, 0x50)->name, "Generic");
	assert_string_equal(wa_record_type(13, WA_RMGR_HEAP2, 0x10)->name, "CLEAN");
	assert_string_equal(wa_record_type(14, WA_RMGR_HEAP2, 0x10)->name, "PRUNE");
	assert_string_equal(wa_record_type(17, WA_RMGR_HEAP2, 0x10)->name, "PRUNE_ON_ACCESS");
	assert_null(wa_record_type(16, WA_RMGR_XLOG, 0xE0));
	assert_non_null(wa_record_type(17, WA_RMGR_XLOG, 0xE0));
}

static void unknown(void **state)
{
	(void)state;
	for (unsigned rmid = WA_RMGR_BUILTIN; rmid < 256; rmid++)
		assert_null(wa_record_type(15, (uint8_t)rmid, 0));
	assert_null(wa_record_type(15, WA_RMGR_SMGR, 0xF0));
	assert_string_equal(wa_rmgr_name(WA_RMGR_SPGIST), "SPGist");
	assert_string_equal(wa_rmgr_name(135), "custom135");
	assert_string_equal(wa_rmgr_name(99), "unknown099");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(looked_up),
		cmocka_unit_test(flag_bits),
		cmocka_unit_test(unknown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
