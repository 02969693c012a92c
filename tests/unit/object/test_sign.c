/* Signature Version 4 against the examples of Amazon's documentation: the S3 API reference ("Authenticating Requests: Using the
 * Authorization Header") and the general reference's test suite (get-vanilla and its like). */
#include "tests/unit/object/case.h"

#include "blockdev/tier/object/secret.h"
#include "blockdev/tier/object/sign.h"
#include "blockdev/tier/object/sums.h"

#define S3_KEY "AKIAIOSFODNN7EXAMPLE"
#define S3_SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define S3_HOST "examplebucket.s3.amazonaws.com"
#define S3_DATE "20130524T000000Z"

static struct ob_secrets *secrets_of(const char *key, const char *secret)
{
	struct ob_secrets *secrets = ob_secret_alloc(sizeof(*secrets));
	assert_non_null(secrets);
	snprintf(secrets->access_key_id, sizeof(secrets->access_key_id), "%s", key);
	snprintf(secrets->secret_key, sizeof(secrets->secret_key), "%s", secret);
	return secrets;
}

static void expect_s3(const char *method, const char *path, const char *query, const struct ob_header *headers, unsigned count,
		      const char *sha256, const char *names, const char *signature)
{
	struct ob_secrets *secrets = secrets_of(S3_KEY, S3_SECRET);
	const struct ob_request request = {
		.method = method, .path = path, .query = query, .headers = headers, .header_count = count, .sha256 = sha256};
	char got[OB_AUTHORIZATION_MAX], wanted[OB_AUTHORIZATION_MAX];
	snprintf(wanted, sizeof(wanted),
		 "AWS4-HMAC-SHA256 Credential=" S3_KEY "/20130524/us-east-1/s3/aws4_request,SignedHeaders=%s,Signature=%s", names,
		 signature);
	/* Twice: the second time with the signing key that is kept. */
	for (unsigned turn = 0; turn < 2; turn++) {
		assert_int_equal(ob_sign(secrets, "us-east-1", "s3", S3_DATE, &request, got), 0);
		assert_string_equal(got, wanted);
	}
	ob_secret_free(secrets, sizeof(*secrets));
}

static void get_object_with_a_range(void **state)
{
	const struct ob_header headers[] = {
		{"host", S3_HOST}, {"range", "bytes=0-9"}, {"x-amz-content-sha256", OB_EMPTY_SHA256}, {"x-amz-date", S3_DATE}};
	(void)state;
	expect_s3("GET", "/test.txt", "", headers, 4, OB_EMPTY_SHA256, "host;range;x-amz-content-sha256;x-amz-date",
		  "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

static void put_object(void **state)
{
	static const char sha256[] = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
	const struct ob_header headers[] = {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
					    {"host", S3_HOST},
					    {"x-amz-content-sha256", sha256},
					    {"x-amz-date", S3_DATE},
					    {"x-amz-storage-class", "REDUCED_REDUNDANCY"}};
	char path[64];
	(void)state;
	assert_true(ob_encode("/test$file.text", true, path, sizeof(path)));
	expect_s3("PUT", path, "", headers, 5, sha256, "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
		  "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

static void queries(void **state)
{
	const struct ob_header headers[] = {
		{"host", S3_HOST}, {"x-amz-content-sha256", OB_EMPTY_SHA256}, {"x-amz-date", S3_DATE}};
	static const char names[] = "host;x-amz-content-sha256;x-amz-date";
	(void)state;
	expect_s3("GET", "/", "lifecycle=", headers, 3, OB_EMPTY_SHA256, names,
		  "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
	expect_s3("GET", "/", "max-keys=2&prefix=J", headers, 3, OB_EMPTY_SHA256, names,
		  "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

/* The general test suite: service "service", which hashes the body but does not name the hash in a header. */
static void general_suite(void **state)
{
	static const struct {
		const char *method, *query, *signature;
	} rows[] = {
		{"GET", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"POST", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{"GET", "Param1=value1&Param2=value2", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
	};
	const struct ob_header headers[] = {{"host", "example.amazonaws.com"}, {"x-amz-date", "20150830T123600Z"}};
	struct ob_secrets *secrets = secrets_of("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
	char got[OB_AUTHORIZATION_MAX];
	(void)state;
	for (unsigned i = 0; i < NF_ARRAY_LEN(rows); i++) {
		const struct ob_request request = {.method = rows[i].method,
						   .path = "/",
						   .query = rows[i].query,
						   .headers = headers,
						   .header_count = 2,
						   .sha256 = OB_EMPTY_SHA256};
		assert_int_equal(ob_sign(secrets, "us-east-1", "service", "20150830T123600Z", &request, got), 0);
		assert_string_equal(strstr(got, "Signature=") + 10, rows[i].signature);
	}
	ob_secret_free(secrets, sizeof(*secrets));
}

static void the_signing_key(void **state)
{
	const struct ob_header headers[] = {{"content-type", "application/x-www-form-urlencoded; charset=utf-8"},
					    {"host", "iam.amazonaws.com"},
					    {"x-amz-date", "20150830T123600Z"}};
	const struct ob_request request = {.method = "GET",
					   .path = "/",
					   .query = "Action=ListUsers&Version=2010-05-08",
					   .headers = headers,
					   .header_count = 3,
					   .sha256 = OB_EMPTY_SHA256};
	struct ob_secrets *secrets = secrets_of("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
	char got[OB_AUTHORIZATION_MAX], hex[65];
	(void)state;
	assert_int_equal(ob_sign(secrets, "us-east-1", "iam", "20150830T123600Z", &request, got), 0);
	ob_hex(hex, secrets->signing_key, 32);
	assert_string_equal(hex, "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
	assert_string_equal(strstr(got, "Signature=") + 10, "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
	/* The next day has another key. */
	assert_int_equal(ob_sign(secrets, "us-east-1", "iam", "20150831T000000Z", &request, got), 0);
	ob_hex(hex, secrets->signing_key, 32);
	assert_string_not_equal(hex, "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
	ob_secret_free(secrets, sizeof(*secrets));
}

static void limits(void **state)
{
	struct ob_header headers[OB_SIGNED_HEADERS_MAX + 1];
	struct ob_request request = {.method = "GET",
				     .path = "/",
				     .query = "",
				     .headers = headers,
				     .header_count = NF_ARRAY_LEN(headers),
				     .sha256 = OB_EMPTY_SHA256};
	struct ob_secrets *secrets = secrets_of(S3_KEY, S3_SECRET);
	char got[OB_AUTHORIZATION_MAX];
	(void)state;
	assert_int_equal(ob_sign(secrets, "us-east-1", "s3", S3_DATE, &request, got), -EINVAL);
	ob_secret_free(secrets, sizeof(*secrets));
}

static void encoding(void **state)
{
	char text[16];
	(void)state;
	assert_true(ob_encode("aZ09-._~/", true, text, sizeof(text)));
	assert_string_equal(text, "aZ09-._~/");
	assert_true(ob_encode("a b/\xc3\xa4", false, text, sizeof(text)));
	assert_string_equal(text, "a%20b%2F%C3%A4");
	assert_true(ob_encode("", false, text, 1));
	assert_false(ob_encode("", false, text, 0));
	assert_false(ob_encode("abc", false, text, 3));
	assert_true(ob_encode("abc", false, text, 4));
	assert_false(ob_encode("a+", false, text, 4));
	assert_true(ob_encode("a+", false, text, 5));
}

static void dates(void **state)
{
	char date[OB_DATE_MAX];
	(void)state;
	ob_sign_date(1369353600, date);
	assert_string_equal(date, S3_DATE);
	ob_sign_date(0, date);
	assert_string_equal(date, "19700101T000000Z");
}

static void etags_of_parts(void **state)
{
	/* MD5 of the two MD5s' bytes, computed with md5sum. */
	const char *const etags[] = {"d41d8cd98f00b204e9800998ecf8427e", "d41d8cd98f00b204e9800998ecf8427e"};
	const char *const odd[] = {"d41d8cd98f00b204e9800998ecf8427e", "part-2-100"};
	struct ob_op op = {.part_etags = etags, .part_count = 2};
	char etag[OB_ETAG_MAX], text[32];
	(void)state;
	assert_true(ob_multi_etag(&op, etag));
	assert_string_equal(etag, "5873dd45edd01f09c1ef2e7819369e8e-2");
	op.part_etags = odd;
	assert_false(ob_multi_etag(&op, etag));
	assert_true(ob_is_md5(etags[0]));
	assert_false(ob_is_md5("d41d8cd98f00b204e9800998ecf8427"));
	assert_false(ob_is_md5("d41d8cd98f00b204e9800998ecf8427e-1"));
	assert_false(ob_is_md5("D41D8CD98F00B204E9800998ECF8427E"));
	ob_base64(text, (const uint8_t *)"neonfs", 6);
	assert_string_equal(text, "bmVvbmZz");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(get_object_with_a_range),
		cmocka_unit_test(put_object),
		cmocka_unit_test(queries),
		cmocka_unit_test(general_suite),
		cmocka_unit_test(the_signing_key),
		cmocka_unit_test(limits),
		cmocka_unit_test(encoding),
		cmocka_unit_test(dates),
		cmocka_unit_test(etags_of_parts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
