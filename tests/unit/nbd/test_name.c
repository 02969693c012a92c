/* Names of volumes, taken apart. */
#include "tests/unit/nbd/case.h"

#include "tools/neonfs/volumes.h"

static void is(const char *text, const char *branch, const char *path, const char *point)
{
	struct volume_name name;
	char message[VOLUME_MESSAGE_MAX] = "";
	if (volume_name_parse(text, &name, message) != 0)
		fail_msg("%s is refused: %s", text, message);
	assert_string_equal(name.branch, branch);
	assert_string_equal(name.path, path);
	assert_string_equal(name.point, point);
}

static void is_refused(const char *text)
{
	struct volume_name name;
	char message[VOLUME_MESSAGE_MAX] = "";
	if (volume_name_parse(text, &name, message) == 0)
		fail_msg("%s is taken for a volume", text);
	assert_true(strlen(message) > 10);
}

static void names(void **state)
{
	(void)state;
	is("disks/v", "disks", "v", "");
	is("disks/a/b.img", "disks", "a/b.img", "");
	is("disks/v@monday", "disks", "v", "monday");
	is("disks/v@16/B374D848", "disks", "v", "16/B374D848");
	is("disks/a@b@monday", "disks", "a@b", "monday");
	is("disks@monday/v", "disks", "v", "monday");
	is("disks@monday/a@b", "disks", "a@b", "monday"); /* the path of a file with an @ */
	is("disks/v@2026-11-24T01:34:00Z", "disks", "v", "2026-11-24T01:34:00Z");
}

static void bad_names(void **state)
{
	(void)state;
	char text[4096];
	static const char *const bad[] = {"", "disks", "/v", "disks/", "disks//v", "disks/v/", "disks/./v", "disks/../other/v", "disks/..", "disks/v@",
					  "disks@/v", "@x/v", ".hidden/v", "-x/v", "di sks/v", "disks/@x", "disks@x/"};
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		is_refused(bad[i]);
	memset(text, 'a', sizeof(text));
	text[5] = '/';
	text[5 + 1 + 255] = '\0';
	is(text, "aaaaa", text + 6, "");
	text[5 + 1 + 255] = 'a';
	text[5 + 1 + 256] = '\0';
	is_refused(text); /* a name of 256 bytes */
	text[5] = 'a';
	text[64] = '/';
	text[66] = '\0';
	is_refused(text); /* a branch's of 64 */
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(names), cmocka_unit_test(bad_names)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
