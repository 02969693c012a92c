/* Names, errors and the sums of what was got. */
#include "tests/unit/object/case.h"

#include <xxhash.h>

#include "blockdev/tier/object/impl.h"

static void keys(void **state)
{
	static const char *const good[] = {"a", "A.b_c-9", "a/b/c", "...", ".a", "a..b/..c"};
	static const char *const bad[] = {"",     "/",      "/a",  "a/", "a//b", ".",        "..",  "a/.",
					  "../a", "a/../b", "a b", "a+", "a~",   "\xc3\xa4", "a\n", "a\\b"};
	char longest[OB_KEY_MAX + 2];
	(void)state;
	for (unsigned i = 0; i < NF_ARRAY_LEN(good); i++)
		assert_true(ob_key_is_valid(good[i]));
	for (unsigned i = 0; i < NF_ARRAY_LEN(bad); i++)
		assert_false(ob_key_is_valid(bad[i]));
	memset(longest, 'k', sizeof(longest));
	longest[OB_KEY_MAX + 1] = '\0';
	assert_false(ob_key_is_valid(longest));
	longest[OB_KEY_MAX] = '\0';
	assert_true(ob_key_is_valid(longest));
}

static void prefixes(void **state)
{
	static const char *const good[] = {"", "a", "a/", "a/b", "a/.", "."};
	static const char *const bad[] = {"/", "/a", "a//", "a//b", "a/../b", "../", "a ", "\x01"};
	(void)state;
	for (unsigned i = 0; i < NF_ARRAY_LEN(good); i++)
		assert_true(ob_prefix_is_valid(good[i]));
	for (unsigned i = 0; i < NF_ARRAY_LEN(bad); i++)
		assert_false(ob_prefix_is_valid(bad[i]));
}

static void errors(void **state)
{
	(void)state;
	for (enum ob_error error = OB_OK; error <= OB_CANCELLED; error++) {
		assert_true(strlen(ob_error_name(error)) > 1);
		assert_int_equal(ob_error_result(error) == 0, error == OB_OK);
		if (ob_is_transient(error))
			assert_int_equal(ob_error_result(error), -ETIMEDOUT);
		for (enum ob_error other = OB_OK; other < error; other++) {
			assert_string_not_equal(ob_error_name(error), ob_error_name(other));
			if (!ob_is_transient(error))
				assert_int_not_equal(ob_error_result(error), ob_error_result(other));
		}
	}
	assert_string_equal(ob_error_name((enum ob_error)1000), "?");
}

static void expected_bytes(void **state)
{
	static const uint8_t sha256[32] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
					   0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
					   0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
	char text[] = "abc";
	uint64_t right = XXH3_64bits(text, 3), wrong = right + 1;
	struct ob_op op = {.kind = OB_GET, .buf = text, .size = 3, .got = 3};
	(void)state;
	assert_true(ob_body_is_expected(&op));
	op.expect_xxh3 = &right;
	assert_true(ob_body_is_expected(&op));
	op.expect_sha256 = sha256;
	assert_true(ob_body_is_expected(&op));
	text[0] = 'A';
	assert_false(ob_body_is_expected(&op));
	op.expect_xxh3 = NULL;
	assert_false(ob_body_is_expected(&op));
	text[0] = 'a';
	op.expect_xxh3 = &wrong;
	assert_false(ob_body_is_expected(&op));
}

static void sums_of_a_put(void **state)
{
	struct ob_op op = {.kind = OB_PUT, .data = "abc", .size = 3};
	struct ob_task task = {.op = &op};
	(void)state;
	assert_int_equal(ob_task_hash(&task), 0);
	assert_string_equal(task.expect_md5, "");
	assert_string_equal(task.sha256_base64, "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
	assert_int_equal(ob_task_hash_md5(&task), 0);
	assert_string_equal(task.expect_md5, "900150983cd24fb0d6963f7d28e17f72");
	assert_string_equal(task.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(keys), cmocka_unit_test(prefixes), cmocka_unit_test(errors),
					   cmocka_unit_test(expected_bytes), cmocka_unit_test(sums_of_a_put)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
