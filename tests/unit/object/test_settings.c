/* URLs, endpoints, profiles, and which setting comes first. */
#include "tests/unit/object/case.h"

#include <sys/stat.h>
#include <unistd.h>

#include "blockdev/tier/object/profile.h"
#include "blockdev/tier/object/s3_settings.h"

#define MAX_PAIRS 16

struct pairs {
	const char *pairs[MAX_PAIRS]; /* name, value, name, value ... NULL */
};

static const char *look_up(void *arg, const char *name)
{
	const struct pairs *pairs = arg;
	for (unsigned i = 0; pairs->pairs[i] != NULL; i += 2)
		if (strcmp(pairs->pairs[i], name) == 0)
			return pairs->pairs[i + 1];
	return NULL;
}

static char message[512];

static int load(const char *url, struct pairs pairs, struct ob_s3_settings *settings)
{
	message[0] = '\0';
	return ob_s3_settings_load(url, "s3", look_up, &pairs, settings, message, sizeof(message));
}

#define KEYS "AWS_ACCESS_KEY_ID", "key", "AWS_SECRET_ACCESS_KEY", "secret"
#define WITH(...) ((struct pairs){{__VA_ARGS__}})

static void defaults(void **state)
{
	struct ob_s3_settings s;
	(void)state;
	assert_int_equal(load("s3://bucket/a/b/", WITH(KEYS), &s), 0);
	assert_string_equal(s.bucket, "bucket");
	assert_string_equal(s.prefix, "a/b/");
	assert_string_equal(s.region, "us-east-1");
	assert_string_equal(s.host, "s3.us-east-1.amazonaws.com");
	assert_true(s.https && s.virtual_host);
	assert_string_equal(s.secrets->access_key_id, "key");
	assert_string_equal(s.secrets->secret_key, "secret");
	assert_string_equal(s.secrets->session_token, "");
	ob_s3_settings_free(&s);
	assert_int_equal(load("s3://dotted.bucket", WITH(KEYS, "AWS_DEFAULT_REGION", "cn-north-1", "AWS_SESSION_TOKEN", "t"), &s),
			 0);
	assert_string_equal(s.prefix, "");
	assert_string_equal(s.host, "s3.cn-north-1.amazonaws.com.cn");
	assert_false(s.virtual_host);
	assert_string_equal(s.secrets->session_token, "t");
	ob_s3_settings_free(&s);
}

static void order_of_settings(void **state)
{
	struct ob_s3_settings s;
	(void)state;
	assert_int_equal(load("s3://bucket?endpoint=http://h:1&region=r-1&style=virtual",
			      WITH(KEYS, "AWS_REGION", "r-2", "AWS_ENDPOINT_URL", "http://h:2"), &s),
			 0);
	assert_string_equal(s.host, "h:1");
	assert_string_equal(s.region, "r-1");
	assert_true(s.virtual_host);
	ob_s3_settings_free(&s);
	assert_int_equal(load("s3://bucket",
			      WITH(KEYS, "AWS_DEFAULT_REGION", "r-3", "AWS_REGION", "r-2", "AWS_ENDPOINT_URL", "http://h:2",
				   "AWS_ENDPOINT_URL_S3", "http://h:3/base/"),
			      &s),
			 0);
	assert_string_equal(s.host, "h:3");
	assert_string_equal(s.base_path, "/base");
	assert_string_equal(s.region, "r-2");
	assert_false(s.virtual_host || s.https);
	ob_s3_settings_free(&s);
}

static void bad_urls(void **state)
{
	static const struct {
		const char *url, *said;
	} rows[] = {
		{"s3:/bucket", "does not begin"},
		{"s3://", "name of a bucket"},
		{"s3://Bucket", "name of a bucket"},
		{"s3://ab", "name of a bucket"},
		{"s3://a..b", "name of a bucket"},
		{"s3://key:secret@bucket", "do not belong into the URL"},
		{"s3://bucket//x", "prefix is not valid"},
		{"s3://bucket/a b", "prefix is not valid"},
		{"s3://bucket/..", "prefix is not valid"},
		{"s3://bucket?endpoint", "has no value"},
		{"s3://bucket?endpoint=", "has no value"},
		{"s3://bucket?secret=x", "is not known"},
		{"s3://bucket?style=odd", "is not known, or its value"},
		{"s3://bucket?region=a/b", "is not known, or its value"},
		{"s3://bucket?endpoint=ftp://x", "does not begin with http"},
	};
	struct ob_s3_settings s;
	char longest[OB_URL_MAX + 10] = "s3://bucket/";
	(void)state;
	for (unsigned i = 0; i < NF_ARRAY_LEN(rows); i++) {
		assert_int_equal(load(rows[i].url, WITH(KEYS), &s), -EINVAL);
		assert_non_null(strstr(message, rows[i].said));
		assert_null(strstr(message, "secret@"));
		ob_s3_settings_free(&s);
	}
	memset(longest + 12, 'x', sizeof(longest) - 13);
	assert_int_equal(load(longest, WITH(KEYS), &s), -EINVAL);
	ob_s3_settings_free(&s);
	longest[12 + OB_PREFIX_MAX + 1] = '\0';
	assert_int_equal(load(longest, WITH(KEYS), &s), -EINVAL);
	ob_s3_settings_free(&s);
	longest[12 + OB_PREFIX_MAX] = '\0';
	assert_int_equal(load(longest, WITH(KEYS), &s), 0);
	ob_s3_settings_free(&s);
}

static void endpoints(void **state)
{
	static const struct {
		const char *endpoint, *host, *base_path;
	} good[] = {
		{"https://h", "h", ""},
		{"https://h:443/", "h", ""},
		{"https://h:80", "h:80", ""},
		{"http://h:80", "h", ""},
		{"http://127.0.0.1:9000/x/y//", "127.0.0.1:9000", "/x/y"},
		{"http://[::1]:9000", "[::1]:9000", ""},
		{"http://[::1]", "[::1]", ""},
	};
	static const char *const bad[] = {
		"h",           "",           "https://",   "https:///x",  "http://h:",  "http://h:0",    "http://h:65536",
		"http://h:8x", "http://a b", "http://a@b", "http://[::1", "http://[x]", "http://[::1]x", "http://h/%",
		"http://h?x",  "http://:80"};
	struct ob_s3_settings s;
	(void)state;
	for (unsigned i = 0; i < NF_ARRAY_LEN(good); i++) {
		memset(&s, 0, sizeof(s));
		assert_int_equal(ob_s3_parse_endpoint(good[i].endpoint, &s, message, sizeof(message)), 0);
		assert_string_equal(s.host, good[i].host);
		assert_string_equal(s.base_path, good[i].base_path);
	}
	for (unsigned i = 0; i < NF_ARRAY_LEN(bad); i++)
		assert_int_equal(ob_s3_parse_endpoint(bad[i], &s, message, sizeof(message)), -EINVAL);
}

static void keys_that_are_wrong(void **state)
{
	struct ob_s3_settings s;
	char longest[300];
	(void)state;
	assert_int_equal(load("s3://bucket", WITH("HOME", "/nonexistent"), &s), -ENOENT);
	assert_non_null(strstr(message, "AWS_ACCESS_KEY_ID"));
	ob_s3_settings_free(&s);
	assert_int_equal(load("s3://bucket", WITH("AWS_ACCESS_KEY_ID", "x"), &s), -EINVAL);
	ob_s3_settings_free(&s);
	assert_int_equal(load("s3://bucket", WITH("AWS_ACCESS_KEY_ID", "x", "AWS_SECRET_ACCESS_KEY", "hidden\nX: y"), &s),
			 -EINVAL);
	assert_null(strstr(message, "hidden"));
	ob_s3_settings_free(&s);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(load("s3://bucket", WITH("AWS_ACCESS_KEY_ID", "x", "AWS_SECRET_ACCESS_KEY", longest), &s), -EINVAL);
	assert_null(strstr(message, "xxxx"));
	ob_s3_settings_free(&s);
}

/* ---------------------------------------------------------------- profiles */

static int parse(const char *text, const char *profile, char key[16], char region[16], unsigned *ret_line)
{
	struct ob_profile_field fields[] = {{"aws_access_key_id", key, 16}, {"region", region, 16}};
	key[0] = region[0] = '\0';
	*ret_line = 0;
	return ob_profile_parse(text, strlen(text), profile, fields, 2, ret_line);
}

static void profiles(void **state)
{
	static const char text[] =
		"# comment\n; another\n\n[default]\naws_access_key_id = one\r\nregion=r-1\nother = x\n s3 =\n    a = b\n"
		"[profile  two ]\n\taws_access_key_id = indented\naws_access_key_id=2=2\n[two]\nregion = never\n[ three "
		"]\nregion =\n"
		"[four]\nregion = r-4";
	char key[16], region[16];
	unsigned line;
	(void)state;
	assert_int_equal(parse(text, "default", key, region, &line), 0);
	assert_string_equal(key, "one");
	assert_string_equal(region, "r-1");
	assert_int_equal(parse(text, "two", key, region, &line), 0);
	assert_string_equal(key, "2=2");
	assert_string_equal(region, "");
	assert_int_equal(parse(text, "three", key, region, &line), 0);
	assert_string_equal(region, "");
	assert_int_equal(parse(text, "four", key, region, &line), 0);
	assert_string_equal(region, "r-4");
	assert_int_equal(parse(text, "five", key, region, &line), -ENOENT);
	assert_int_equal(parse("", "default", key, region, &line), -ENOENT);
}

static void profiles_that_are_wrong(void **state)
{
	char key[16], region[16];
	unsigned line;
	(void)state;
	assert_int_equal(parse("[a]\nregion\n", "a", key, region, &line), -EINVAL);
	assert_int_equal(line, 2);
	assert_int_equal(parse("[a]\n\nregion = 0123456789012345\n", "a", key, region, &line), -EINVAL);
	assert_int_equal(line, 3);
	/* What is wrong elsewhere is nobody's business. */
	assert_int_equal(parse("[b]\nregion\n[a]\nregion=x\n", "a", key, region, &line), 0);
	assert_int_equal(parse("[a\nregion=x\n", "a", key, region, &line), -ENOENT);
}

/* What is set already is not replaced. */
static void fields_that_are_full(void **state)
{
	char region[16] = "mine";
	struct ob_profile_field field = {"region", region, sizeof(region)};
	unsigned line;
	(void)state;
	assert_int_equal(ob_profile_parse("[a]\nregion=x\n", 13, "a", &field, 1, &line), 0);
	assert_string_equal(region, "mine");
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void files(void **state)
{
	char top[] = "/tmp/neonfs-settings-XXXXXX", aws[64], credentials[96], config[96];
	struct ob_s3_settings s;
	(void)state;
	assert_non_null(mkdtemp(top));
	snprintf(aws, sizeof(aws), "%s/.aws", top);
	snprintf(credentials, sizeof(credentials), "%s/credentials", aws);
	snprintf(config, sizeof(config), "%s/config", aws);
	assert_int_equal(mkdir(aws, 0700), 0);
	write_file(
		credentials,
		"[default]\naws_access_key_id=k1\naws_secret_access_key=s1\naws_session_token=t1\n[half]\naws_access_key_id=k\n");
	write_file(config, "[default]\nregion=r-1\nca_bundle=/ca\n[profile "
			   "p]\naws_access_key_id=k2\naws_secret_access_key=s2\nendpoint_url=http://h:5\n");
	assert_int_equal(load("s3://bucket", WITH("HOME", top), &s), 0);
	assert_string_equal(s.secrets->access_key_id, "k1");
	assert_string_equal(s.secrets->session_token, "t1");
	assert_string_equal(s.region, "r-1");
	assert_string_equal(s.ca_bundle, "/ca");
	ob_s3_settings_free(&s);
	assert_int_equal(load("s3://bucket", WITH("HOME", top, "AWS_PROFILE", "p"), &s), 0);
	assert_string_equal(s.secrets->secret_key, "s2");
	assert_string_equal(s.secrets->session_token, "");
	assert_string_equal(s.host, "h:5");
	ob_s3_settings_free(&s);
	/* Keys of the environment are whole: no token of a file comes with them. */
	assert_int_equal(load("s3://bucket", WITH("HOME", top, KEYS), &s), 0);
	assert_string_equal(s.secrets->access_key_id, "key");
	assert_string_equal(s.secrets->session_token, "");
	ob_s3_settings_free(&s);
	assert_int_equal(load("s3://bucket", WITH("HOME", top, "AWS_PROFILE", "half"), &s), -EINVAL);
	ob_s3_settings_free(&s);
	assert_int_equal(load("s3://bucket", WITH("HOME", top, "AWS_PROFILE", "none"), &s), -ENOENT);
	ob_s3_settings_free(&s);
	write_file(config, "[default]\nregion\n");
	assert_int_equal(load("s3://bucket", WITH("HOME", top), &s), -EINVAL);
	assert_non_null(strstr(message, "config, line 2"));
	ob_s3_settings_free(&s);
	unlink(config);
	unlink(credentials);
	rmdir(aws);
	rmdir(top);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(order_of_settings),
		cmocka_unit_test(bad_urls),
		cmocka_unit_test(endpoints),
		cmocka_unit_test(keys_that_are_wrong),
		cmocka_unit_test(profiles),
		cmocka_unit_test(profiles_that_are_wrong),
		cmocka_unit_test(fields_that_are_full),
		cmocka_unit_test(files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
