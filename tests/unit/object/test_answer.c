/* Documents of S3: lists, errors, ids. */
#include "tests/unit/object/case.h"

#include "blockdev/tier/object/answer.h"

#define ENTRY(key, size)                                                                                                         \
	"<Contents><Key>" key "</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified><ETag>&quot;etag-" key                 \
	"&quot;</ETag><Size>" size "</Size><Owner><Key>no</Key></Owner></Contents>"
#define LIST(body) "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"><Name>b</Name>" body "</ListBucketResult>"

static int read_list(const char *document, const char *prefix, struct ob_op *op)
{
	*op = (struct ob_op){0};
	return ob_answer_read_list(document, strlen(document), prefix, &op->list);
}

static void a_list(void **state)
{
	struct ob_op op;
	(void)state;
	assert_int_equal(read_list(LIST("<IsTruncated>true</IsTruncated>" ENTRY("p/a", "12") ENTRY("p/b/c", "0")), "p/", &op), 0);
	assert_int_equal(op.list.count, 2);
	assert_string_equal(op.list.entries[0].key, "a");
	assert_string_equal(op.list.entries[0].etag, "etag-p/a");
	assert_int_equal(op.list.entries[0].size, 12);
	assert_int_equal(op.list.entries[0].modified_s, 1255369830);
	assert_string_equal(op.list.entries[1].key, "b/c");
	assert_true(op.list.more);
	assert_string_equal(op.list.next_after, "b/c");
	ob_op_clear(&op);
	assert_int_equal(read_list(LIST(""), "", &op), 0);
	assert_int_equal(op.list.count, 0);
	assert_false(op.list.more);
	ob_op_clear(&op);
}

static void foreign_names(void **state)
{
	struct ob_op op;
	(void)state;
	assert_int_equal(
		read_list(LIST("<IsTruncated>true</IsTruncated>" ENTRY("p/", "0") ENTRY("p/a", "1") ENTRY("p/b+c &#228;", "1")),
			  "p/", &op),
		0);
	assert_int_equal(op.list.count, 1);
	assert_int_equal(op.list.foreign, 2);
	/* Paging goes on behind a name that is left out, or it would never end. */
	assert_string_equal(op.list.next_after, "b+c \xc3\xa4");
	ob_op_clear(&op);
}

static void lists_that_are_not(void **state)
{
	static const char *const bad[] = {
		"",
		"<ListBucketResult>",
		"<Other></Other>",
		LIST("<Contents><Key>a</Key></Contents>"),
		LIST("<Contents><Size>1</Size></Contents>"),
		LIST(ENTRY("a", "-1")),
		LIST(ENTRY("a", "1x")),
		LIST(ENTRY("a", "99999999999999999999")),
		LIST(ENTRY("b", "1") ENTRY("a", "1")),
		LIST(ENTRY("a", "1") ENTRY("a", "1")),
		LIST("<IsTruncated>true</IsTruncated>"),
	};
	struct ob_op op;
	(void)state;
	for (unsigned i = 0; i < NF_ARRAY_LEN(bad); i++) {
		assert_int_equal(read_list(bad[i], "", &op), -EBADMSG);
		assert_null(op.list.entries);
	}
	assert_int_equal(read_list(LIST(ENTRY("q/a", "1")), "p/", &op), -EBADMSG);
}

static void too_long_a_key(void **state)
{
	char document[2048], key[OB_AFTER_MAX + 8];
	struct ob_op op;
	(void)state;
	for (unsigned size = OB_AFTER_MAX - 1; size <= OB_AFTER_MAX; size++) {
		memset(key, 'k', size);
		key[size] = '\0';
		snprintf(document, sizeof(document), LIST("<Contents><Key>%s</Key><Size>1</Size></Contents>"), key);
		assert_int_equal(read_list(document, "", &op), size < OB_AFTER_MAX ? 0 : -EBADMSG);
		if (size < OB_AFTER_MAX)
			assert_int_equal(op.list.foreign, 1);
		ob_op_clear(&op);
	}
}

static void too_many(void **state)
{
	size_t room = 200 * (OB_LIST_MAX + 2), used;
	char *document = malloc(room);
	struct ob_op op;
	(void)state;
	assert_non_null(document);
	for (unsigned count = OB_LIST_MAX; count <= OB_LIST_MAX + 1; count++) {
		used = (size_t)snprintf(document, room, "<ListBucketResult>");
		for (unsigned i = 0; i < count; i++)
			used += (size_t)snprintf(document + used, room - used,
						 "<Contents><Key>k%05u</Key><Size>%u</Size></Contents>", i, i);
		used += (size_t)snprintf(document + used, room - used, "</ListBucketResult>");
		assert_int_equal(read_list(document, "", &op), count == OB_LIST_MAX ? 0 : -EBADMSG);
		ob_op_clear(&op);
	}
	free(document);
}

static void errors(void **state)
{
	static const char document[] =
		"<Error><Code>NoSuchKey</Code>\n  <Message>It is &lt;gone&gt;</Message><Region>eu-west-1</Region></Error>";
	struct ob_answer_error said;
	(void)state;
	assert_true(ob_answer_read_error(document, strlen(document), &said));
	assert_string_equal(said.code, "NoSuchKey");
	assert_string_equal(said.message, "It is <gone>");
	assert_string_equal(said.region, "eu-west-1");
	for (size_t size = 0; size < strlen(document); size++)
		assert_false(ob_answer_read_error(document, size, &said));
	assert_false(ob_answer_read_error("<a><Error><Code>x</Code></Error></a>", 36, &said));
}

static void texts(void **state)
{
	static const char document[] = "<R><UploadId>abc</UploadId><X><UploadId>no</UploadId></X></R>";
	char text[8];
	(void)state;
	assert_true(ob_answer_read_text(document, strlen(document), "R", "UploadId", text, sizeof(text)));
	assert_string_equal(text, "abc");
	assert_false(ob_answer_read_text(document, strlen(document), "R", "UploadId", text, 3));
	assert_false(ob_answer_read_text(document, strlen(document), "S", "UploadId", text, sizeof(text)));
	assert_false(ob_answer_read_text(document, strlen(document), "R", "Other", text, sizeof(text)));
	assert_int_equal(ob_answer_time("1970-01-01T00:00:01Z"), 1);
	assert_int_equal(ob_answer_time("yesterday"), 0);
	char quoted[] = "\"x\"", half[] = "\"x", one[] = "\"";
	ob_answer_unquote(quoted);
	ob_answer_unquote(half);
	ob_answer_unquote(one);
	assert_string_equal(quoted, "x");
	assert_string_equal(half, "\"x");
	assert_string_equal(one, "\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_list),         cmocka_unit_test(foreign_names), cmocka_unit_test(lists_that_are_not),
		cmocka_unit_test(too_long_a_key), cmocka_unit_test(too_many),      cmocka_unit_test(errors),
		cmocka_unit_test(texts)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
