/* STORE/tier.json: what is written is read again; what makes no sense, or is not known, is refused by name. */
#include "tier.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blockdev/tier/config.h"

static char directory[64];

static int set_up(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/neonfs-config-XXXXXX");
	return mkdtemp(directory) != NULL ? 0 : -1;
}

static void path_of(const char *name, char path[128])
{
	snprintf(path, 128, "%s/%s", directory, name);
}

static int tear_down(void **state)
{
	char path[128];

	(void)state;
	path_of(BD_TIER_CONFIG_FILE, path);
	unlink(path);
	return rmdir(directory);
}

static void put(const char *text, size_t size)
{
	char path[128];

	path_of(BD_TIER_CONFIG_FILE, path);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, size, file), size);
	assert_ok(fclose(file));
}

static void what_is_written_is_read(void **state)
{
	const struct bd_tier_config all = {.url = "s3://bucket/prefix?endpoint=http://127.0.0.1:9000",
					   .local_limit_bytes = UINT64_C(5) << 40,
					   .delay_ms = 7,
					   .lease_s = 8,
					   .grace_s = 9,
					   .close_wait_s = 10,
					   .send_rate = 11,
					   .receive_rate = 12,
					   .parallel = 13,
					   .no_lease = true,
					   .read_only = true};
	const struct bd_tier_config few = {.url = "file:///srv/objects"};
	struct bd_tier_config back;
	char message[512] = "", path[128];
	struct stat st;

	(void)state;
	assert_ok(bd_tier_config_write(directory, &all));
	assert_ok(bd_tier_config_read(directory, &back, message, sizeof(message)));
	assert_string_equal(back.url, all.url);
	assert_true(back.local_limit_bytes == all.local_limit_bytes && back.delay_ms == 7 && back.lease_s == 8 && back.grace_s == 9);
	assert_true(back.close_wait_s == 10 && back.send_rate == 11 && back.receive_rate == 12 && back.parallel == 13);
	assert_true(back.no_lease && back.read_only);
	path_of(BD_TIER_CONFIG_FILE, path);
	assert_ok(stat(path, &st));
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_ok(bd_tier_config_write(directory, &few));
	assert_ok(bd_tier_config_read(directory, &back, message, sizeof(message)));
	assert_true(back.local_limit_bytes == 0 && back.delay_ms == 1000 && back.lease_s == 20 && back.grace_s == 86400);
	assert_true(back.close_wait_s == 60 && back.parallel == 8 && !back.no_lease && !back.read_only);
}

static void none_is_not_there(void **state)
{
	struct bd_tier_config back;
	char message[512] = "";

	(void)state;
	assert_int_equal(bd_tier_config_read(directory, &back, message, sizeof(message)), -ENOENT);
	assert_int_equal(bd_tier_config_read("/nonexistent", &back, message, sizeof(message)), -ENOENT);
}

static void what_could_not_be_read_is_not_written(void **state)
{
	struct bd_tier_config config = {.url = "file:///srv/objects", .parallel = OB_PARALLEL_MAX + 1}, back;
	char message[512];

	(void)state;
	assert_int_equal(bd_tier_config_write(directory, &config), -EINVAL);
	assert_int_equal(bd_tier_config_read(directory, &back, message, sizeof(message)), -ENOENT);
	config = (struct bd_tier_config){0};
	assert_int_equal(bd_tier_config_write(directory, &config), -EINVAL);
	config = (struct bd_tier_config){.url = "file:///srv/objects"};
	assert_int_equal(bd_tier_config_write("/nonexistent", &config), -ENOENT);
}

static void nonsense_is_refused_by_name(void **state)
{
	static const struct {
		const char *text, *named;
	} cases[] = {
		{"", "line"},
		{"[]", "object"},
		{"{}", "url"},
		{"{\"url\": 5}", "url"},
		{"{\"url\": \"\"}", "url"},
		{"{\"url\": \"file:///a\\n\"}", "url"},
		{"{\"url\": \"file:///a\", \"url\": \"file:///b\"}", "line"},
		{"{\"url\": \"file:///a\", \"lokal_limit_bytes\": 1}", "lokal_limit_bytes"},
		{"{\"url\": \"file:///a\", \"lease_s\": -1}", "lease_s"},
		{"{\"url\": \"file:///a\", \"lease_s\": 1.5}", "lease_s"},
		{"{\"url\": \"file:///a\", \"lease_s\": \"20\"}", "lease_s"},
		{"{\"url\": \"file:///a\", \"lease_s\": 4294967297}", "lease_s"},
		{"{\"url\": \"file:///a\", \"parallel\": 65}", "parallel"},
		{"{\"url\": \"file:///a\", \"no_lease\": 1}", "no_lease"},
		{"{\"url\": \"file:///a\", \"read_only\": null}", "read_only"},
		{"{\"url\": \"file:///a\"} x", "line"},
	};
	struct bd_tier_config back;
	char message[512];

	(void)state;
	for (unsigned i = 0; i < NF_ARRAY_LEN(cases); i++) {
		put(cases[i].text, strlen(cases[i].text));
		message[0] = '\0';
		assert_int_equal(bd_tier_config_read(directory, &back, message, sizeof(message)), -EUCLEAN);
		if (strstr(message, cases[i].named) == NULL || strstr(message, BD_TIER_CONFIG_FILE) == NULL)
			fail_msg("case %u: %s", i, message);
	}
}

/* Flipping bits of a file without a checksum may give another good one: only that nothing breaks, and that every refusal has words. */
static void damage_does_no_harm(void **state)
{
	const char text[] = "{\"url\": \"file:///a\", \"lease_s\": 20, \"no_lease\": true}";
	struct bd_tier_config back;
	char message[512], copy[sizeof(text)];

	(void)state;
	for (size_t i = 0; i < (sizeof(text) - 1) * 8; i++) {
		memcpy(copy, text, sizeof(text));
		copy[i / 8] ^= (char)(1 << i % 8);
		put(copy, sizeof(text) - 1);
		message[0] = '\0';
		int error = bd_tier_config_read(directory, &back, message, sizeof(message));
		assert_true(error == 0 || (error == -EUCLEAN && message[0] != '\0'));
	}
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		put(text, i);
		assert_int_equal(bd_tier_config_read(directory, &back, message, sizeof(message)), -EUCLEAN);
	}
}

#define config_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		config_test(what_is_written_is_read),
		config_test(none_is_not_there),
		config_test(what_could_not_be_read_is_not_written),
		config_test(nonsense_is_refused_by_name),
		config_test(damage_does_no_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
