/* Fuzz target: what an object store answers (lists, errors, headers), and texts of settings (profiles, URLs, endpoints). The first byte
 * chooses. */
#include "fuzz.h"

#include <stdio.h>

#include "blockdev/tier/object/answer.h"
#include "blockdev/tier/object/impl.h"
#include "blockdev/tier/object/profile.h"
#include "blockdev/tier/object/s3.h"
#include "blockdev/tier/object/sign.h"

static void read_list(const uint8_t *bytes, size_t size)
{
	struct ob_op op = {0};
	if (ob_answer_read_list(bytes, size, "p/", &op.list) != 0) {
		fuzz_expect(op.list.entries == NULL);
		return;
	}
	for (unsigned i = 0; i < op.list.count; i++) {
		fuzz_expect(ob_key_is_valid(op.list.entries[i].key));
		fuzz_expect(strlen(op.list.entries[i].etag) < OB_ETAG_MAX);
		fuzz_expect(i == 0 || strcmp(op.list.entries[i - 1].key, op.list.entries[i].key) < 0);
	}
	fuzz_expect(op.list.count + op.list.foreign <= OB_LIST_MAX);
	fuzz_expect(!op.list.more || op.list.count + op.list.foreign > 0);
	ob_op_clear(&op);
}

static void read_documents(const uint8_t *bytes, size_t size)
{
	struct ob_answer_error said;
	char text[OB_UPLOAD_MAX];
	if (ob_answer_read_error(bytes, size, &said))
		fuzz_expect(strlen(said.code) < sizeof(said.code) && strlen(said.message) < sizeof(said.message));
	if (ob_answer_read_text(bytes, size, "InitiateMultipartUploadResult", "UploadId", text, sizeof(text)))
		fuzz_expect(strlen(text) < sizeof(text));
}

/* Lines up to a line feed, as libcurl hands them over. */
static void read_headers(const uint8_t *bytes, size_t size)
{
	struct s3_head head = {0};
	while (size > 0) {
		const uint8_t *end = memchr(bytes, '\n', size);
		size_t line = end != NULL ? (size_t)(end - bytes) + 1 : size;
		uint8_t *copy = fuzz_copy(bytes, line);
		s3_answer_header(&head, (const char *)copy, line);
		free(copy);
		bytes += line;
		size -= line;
	}
	fuzz_expect(strlen(head.etag) < sizeof(head.etag) && strlen(head.region) < sizeof(head.region));
	fuzz_expect(head.retry_after_ms <= OB_RETRY_AFTER_MAX_MS);
}

static void read_profile(const uint8_t *bytes, size_t size)
{
	char key[20] = "", region[12] = "", full[8] = "full";
	struct ob_profile_field fields[] = {{"aws_access_key_id", key, sizeof(key)},
					    {"region", region, sizeof(region)},
					    {"endpoint_url", full, sizeof(full)}};
	unsigned line = 0;
	int rc = ob_profile_parse((const char *)bytes, size, "default", fields, 3, &line);
	fuzz_expect(rc == 0 || rc == -ENOENT || (rc == -EINVAL && line > 0));
	fuzz_expect(strlen(key) < sizeof(key) && strlen(region) < sizeof(region) && strcmp(full, "full") == 0);
}

static void read_settings(const uint8_t *bytes, size_t size)
{
	char url[OB_URL_MAX + 100], endpoint[OB_URL_MAX] = "", style[16] = "", message[OB_MESSAGE_MAX],
				    encoded[3 * sizeof(url) + 1];
	struct ob_s3_settings *settings = calloc(1, sizeof(*settings));
	if (settings == NULL)
		abort();
	snprintf(url, sizeof(url), "%.*s", (int)NF_MIN(size, sizeof(url) - 1), (const char *)bytes);
	if (ob_s3_parse_url(url, "s3", settings, endpoint, style, message, sizeof(message)) == 0)
		fuzz_expect(strlen(settings->bucket) >= 3);
	if (ob_s3_parse_endpoint(url, settings, message, sizeof(message)) == 0)
		fuzz_expect(settings->host[0] != '\0' && strpbrk(settings->host, "/ @?#") == NULL);
	fuzz_expect(ob_encode(url, false, encoded, sizeof(encoded)));
	fuzz_expect(strpbrk(encoded, " /?#&=+\r\n") == NULL);
	free(settings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const readers[])(const uint8_t *bytes, size_t size) = {read_list, read_documents, read_headers,
									     read_profile, read_settings};
	if (size == 0)
		return 0;
	uint8_t *bytes = fuzz_copy(data + 1, size - 1);
	readers[data[0] % NF_ARRAY_LEN(readers)](bytes, size - 1);
	free(bytes);
	return 0;
}
