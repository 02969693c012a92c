/* LSNs as people write them. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/nf_lsn.h"

static void expect(const char *text, uint64_t value)
{
	struct nf_lsn lsn = {77};
	assert_int_equal(nf_lsn_parse(text, &lsn), 0);
	assert_true(lsn.v == value);
}

static void good(void **state)
{
	(void)state;
	expect("0/0", 0);
	expect("16/B374D848", 0x16B374D848);
	expect("16-b374d848", 0x16B374D848);
	expect("00000016/0000001", 0x1600000001);
	expect("FFFFFFFF/FFFFFFFF", UINT64_MAX);
}

static void bad(void **state)
{
	(void)state;
	static const char *const texts[] = {"",	    "/",      "0",	   "0/",	 "/0",	    " 0/0",	   "0/0 ",    "0//0", "0/-0",
					    "g/0",  "0/g",    "0x1/0",	   "123456789/0", "0/123456789", "1/2/3", "+1/0",    "1\\0", "0/0\n"};
	for (size_t i = 0; i < NF_ARRAY_LEN(texts); i++) {
		struct nf_lsn lsn = {77};
		assert_int_equal(nf_lsn_parse(texts[i], &lsn), -EINVAL);
		assert_true(lsn.v == 77);
	}
}

static void there_and_back(void **state)
{
	(void)state;
	for (uint64_t value = 1; value != 0; value *= 3) {
		char text[NF_LSN_TEXT_MAX];
		struct nf_lsn lsn = {value};
		int size = snprintf(text, sizeof(text), NF_LSN_FMT, NF_LSN_ARG(lsn));
		assert_true(size > 0 && size < NF_LSN_TEXT_MAX);
		expect(text, value);
		if (value > UINT64_MAX / 3)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good),
		cmocka_unit_test(bad),
		cmocka_unit_test(there_and_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
