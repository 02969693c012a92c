/* What an answer of S3 means. See s3.h.
 *
 * Order: how the transfer ended (curl's code); then the status; then the code in the error document, where it says more. Anything that is
 * not known is refused, in the store's own words. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "blockdev/tier/object/answer.h"
#include "blockdev/tier/object/s3.h"
#include "blockdev/tier/object/sums.h"

/* ---------------------------------------------------------------- headers */

/* The value of header `name` in `line`, without blanks around it, if that is it and it fits. */
static bool is_header(const char *line, size_t size, const char *name, char *value, size_t value_size)
{
	size_t name_size = strlen(name);
	if (size <= name_size || line[name_size] != ':' || strncasecmp(line, name, name_size) != 0)
		return false;
	line += name_size + 1;
	size -= name_size + 1;
	while (size > 0 && (line[0] == ' ' || line[0] == '\t')) {
		line++;
		size--;
	}
	while (size > 0 && (line[size - 1] == '\r' || line[size - 1] == '\n' || line[size - 1] == ' '))
		size--;
	if (size >= value_size || memchr(line, '\0', size) != NULL)
		return false;
	memcpy(value, line, size);
	value[size] = '\0';
	return true;
}

static bool read_number(const char **text, uint64_t *ret_number)
{
	char *end;
	if (**text < '0' || **text > '9')
		return false;
	errno = 0;
	*ret_number = strtoull(*text, &end, 10);
	*text = end;
	return errno == 0;
}

/* "bytes 0-9/100" or "bytes * /100" */
static void read_range(struct s3_head *head, const char *text)
{
	uint64_t last;
	if (strncmp(text, "bytes ", 6) != 0)
		return;
	text += 6;
	if (*text == '*')
		text++;
	else if (!read_number(&text, &head->range_start) || *text++ != '-' || !read_number(&text, &last))
		return;
	if (*text++ == '/' && read_number(&text, &head->range_total))
		head->ranged = true;
}

static int64_t read_http_date(const char *text)
{
	time_t when = curl_getdate(text, NULL);
	return when > 0 ? (int64_t)when : 0;
}

void s3_answer_header(struct s3_head *head, const char *line, size_t size)
{
	char value[512];
	const char *text = value;
	uint64_t number;
	if (is_header(line, size, "etag", value, sizeof(head->etag))) {
		strcpy(head->etag, value);
		ob_answer_unquote(head->etag);
	} else if (is_header(line, size, "content-range", value, sizeof(value))) {
		read_range(head, value);
	} else if (is_header(line, size, "content-length", value, sizeof(value))) {
		head->has_length = read_number(&text, &head->length);
	} else if (is_header(line, size, "last-modified", value, sizeof(value))) {
		head->modified_s = read_http_date(value);
	} else if (is_header(line, size, "date", value, sizeof(value))) {
		head->date_s = read_http_date(value);
	} else if (is_header(line, size, "retry-after", value, sizeof(value))) {
		if (read_number(&text, &number) && *text == '\0')
			head->retry_after_ms = (uint32_t)NF_MIN(number * 1000, OB_RETRY_AFTER_MAX_MS);
	} else if (is_header(line, size, "x-amz-bucket-region", value, sizeof(head->region))) {
		strcpy(head->region, value);
	} else if (is_header(line, size, "x-amz-server-side-encryption", value, sizeof(value))) {
		head->encrypted = head->encrypted || strcmp(value, "AES256") != 0;
	} else if (is_header(line, size, "x-amz-checksum-sha256", value, sizeof(head->checksum))) {
		strcpy(head->checksum, value);
	} else if (is_header(line, size, "x-amz-server-side-encryption-customer-algorithm", value, sizeof(value))) {
		head->encrypted = true;
	}
}

/* ---------------------------------------------------------------- refusals */

/* Codes of error documents that say more than their status. */
static const struct {
	const char *code;
	enum ob_error error;
} codes[] = {
	{"RequestTimeTooSkewed", OB_SKEW},
	{"RequestExpired", OB_SKEW},
	{"NoSuchBucket", OB_NO_BUCKET},
	{"NoSuchKey", OB_NOT_FOUND},
	{"NoSuchUpload", OB_NOT_FOUND},
	{"PreconditionFailed", OB_PRECONDITION},
	{"ConditionalRequestConflict", OB_SERVER},
	{"OperationAborted", OB_SERVER},
	{"InternalError", OB_SERVER},
	{"RequestTimeout", OB_SLOW},
	{"SlowDown", OB_THROTTLED},
	{"ServiceUnavailable", OB_THROTTLED},
	{"BadDigest", OB_TRANSFER},
	{"InvalidDigest", OB_TRANSFER},
	{"XAmzContentSHA256Mismatch", OB_TRANSFER},
	{"IncompleteBody", OB_NETWORK},
	{"AccessDenied", OB_FORBIDDEN},
	{"InvalidAccessKeyId", OB_FORBIDDEN},
	{"SignatureDoesNotMatch", OB_FORBIDDEN},
	{"ExpiredToken", OB_FORBIDDEN},
	{"InvalidToken", OB_FORBIDDEN},
	{"NotImplemented", OB_UNSUPPORTED},
	{"QuotaExceeded", OB_FULL},
	{"PermanentRedirect", OB_REGION},
	{"AuthorizationHeaderMalformed", OB_REGION},
};

static enum ob_error error_of_status(long status)
{
	switch (status) {
	case 301: return OB_REGION;
	case 307:
	case 408: return OB_SERVER;
	case 401:
	case 403: return OB_FORBIDDEN;
	case 404: return OB_NOT_FOUND;
	case 412: return OB_PRECONDITION;
	case 429:
	case 503: return OB_THROTTLED;
	case 501: return OB_UNSUPPORTED;
	case 507: return OB_FULL;
	default: return status >= 500 ? OB_SERVER : OB_REFUSED;
	}
}

static enum ob_error error_of_code(const char *code, enum ob_error otherwise)
{
	for (unsigned i = 0; i < NF_ARRAY_LEN(codes); i++)
		if (strcmp(codes[i].code, code) == 0)
			return codes[i].error;
	return otherwise;
}

static bool is_region_name(const char *region)
{
	return region[0] != '\0' &&
	       strspn(region, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == strlen(region);
}

/* A bucket that is in another region says so in many ways. */
static bool refuse_region(struct s3_transfer *t, const struct ob_answer_error *said)
{
	const char *ours = t->s3->settings.region;
	const char *right = said->region[0] != '\0' ? said->region : t->head.region;
	if ((t->status != 301 && t->status != 307 && t->status != 400) || !is_region_name(right) || strcmp(right, ours) == 0)
		return false;
	ob_tried(t->s3->base.client, t->task, OB_REGION, "bucket %s is in region %s, not in %s: set AWS_REGION=%s",
		 t->s3->settings.bucket, right, ours, right);
	return true;
}

static void refuse_skew(struct s3_transfer *t)
{
	long long behind = t->head.date_s > 0 ? (long long)(t->head.date_s - time(NULL)) : 0;
	if (behind == 0)
		ob_tried(t->s3->base.client, t->task, OB_SKEW, "the clocks of this machine and the store differ too much");
	else
		ob_tried(t->s3->base.client, t->task, OB_SKEW, "the clock of this machine is %lld s %s the store's: set it right",
			 behind > 0 ? behind : -behind, behind > 0 ? "behind" : "before");
}

static void refuse(struct s3_transfer *t)
{
	struct ob_answer_error said = {0};
	struct ob_client *client = t->s3->base.client;
	const struct ob_op *op = t->task->op;
	bool has_text = t->answer_size > 0 && ob_answer_read_error(t->answer, t->answer_size, &said);
	enum ob_error error = error_of_code(said.code, error_of_status(t->status));
	t->task->retry_after_ms = t->head.retry_after_ms;
	if (refuse_region(t, &said))
		return;
	/* Malformed in another way, or a redirection without a target. */
	if (error == OB_REGION)
		error = OB_REFUSED;
	if (error == OB_SKEW)
		refuse_skew(t);
	else if (error == OB_NO_BUCKET)
		ob_tried(client, t->task, error, "there is no bucket %s at %s", t->s3->settings.bucket, t->s3->settings.host);
	else if (error == OB_NOT_FOUND)
		ob_tried(client, t->task, error, "there is no object %s%s", op->key,
			 strcmp(said.code, "NoSuchUpload") == 0 ? " under way" : "");
	else if (error == OB_PRECONDITION)
		ob_tried(client, t->task, error, "%s is not in the state that was asked for", op->key);
	else
		ob_tried(client, t->task, error, "%s: the store answered %ld%s%s%s%s", op->key, t->status, has_text ? " " : "",
			 said.code, said.message[0] != '\0' ? ": " : "", said.message);
}

/* ------------------------------------------------------------ good answers */

static void bad_answer(struct s3_transfer *t, const char *what)
{
	ob_tried(t->s3->base.client, t->task, OB_TRANSFER, "%s: %s", t->task->op->key, what);
}

static void good_get(struct s3_transfer *t)
{
	struct ob_op *op = t->task->op;
	struct ob_client *client = t->s3->base.client;
	if (t->status == 206 ? !t->head.ranged || t->head.range_start != op->offset : op->offset != 0 || t->too_long) {
		ob_tried(client, t->task, OB_UNSUPPORTED, "%s: the store does not answer with the range that it was asked for",
			 op->key);
		return;
	}
	op->object_size = t->status == 206 ? t->head.range_total : op->got;
	uint64_t left = op->object_size > op->offset ? op->object_size - op->offset : 0;
	if (t->too_long)
		bad_answer(t, "more bytes came than were asked for");
	else if (op->got != NF_MIN(op->size, left))
		ob_tried(client, t->task, OB_NETWORK, "%s: %llu bytes came, not %llu", op->key, (unsigned long long)op->got,
			 (unsigned long long)NF_MIN(op->size, left));
	else
		ob_tried(client, t->task, OB_OK, "%s", "");
}

/* A range that begins at or behind the end. */
static void get_behind_end(struct s3_transfer *t)
{
	struct ob_op *op = t->task->op;
	op->got = 0;
	op->object_size = t->head.ranged ? t->head.range_total : 0;
	ob_tried(t->s3->base.client, t->task, OB_OK, "%s", "");
}

/* Has the store got what was put, as far as its answer says? */
static bool has_our_bytes(struct s3_transfer *t)
{
	const struct ob_op *op = t->task->op;
	/* One of another form says nothing. */
	if (op->kind == OB_PUT && strlen(t->head.checksum) == strlen(t->task->sha256_base64))
		return strcmp(t->head.checksum, t->task->sha256_base64) == 0;
	/* From now on those who submit make the MD5: the store may compare it where we cannot. */
	if (op->kind == OB_PUT)
		atomic_store(&t->s3->base.wants_md5, true);
	if (t->head.encrypted || !ob_is_md5(op->etag))
		return true;
	/* On this thread for the first puts only. */
	if (t->task->expect_md5[0] == '\0' && ob_task_hash_md5(t->task) != 0)
		return false;
	return strcmp(op->etag, t->task->expect_md5) == 0;
}

static void good_put(struct s3_transfer *t)
{
	struct ob_op *op = t->task->op;
	op->object_size = op->size;
	if (op->etag[0] == '\0')
		bad_answer(t, "the store answered a put without an etag");
	else if (!has_our_bytes(t))
		bad_answer(t, "the store has other bytes than were put");
	else
		ob_tried(t->s3->base.client, t->task, OB_OK, "%s", "");
}

static void good_list(struct s3_transfer *t)
{
	struct ob_op *op = t->task->op;
	int rc = ob_answer_read_list(t->answer, t->answer_size, t->s3->settings.prefix, &op->list);
	if (rc == -ENOMEM)
		ob_tried(t->s3->base.client, t->task, OB_LOCAL, "out of memory");
	else if (rc != 0)
		bad_answer(t, "the store's list cannot be read");
	else
		ob_tried(t->s3->base.client, t->task, OB_OK, "%s", "");
}

static void good_begin(struct s3_transfer *t)
{
	struct ob_op *op = t->task->op;
	if (!ob_answer_read_text(t->answer, t->answer_size, "InitiateMultipartUploadResult", "UploadId", op->upload_id,
				 sizeof(op->upload_id)) ||
	    op->upload_id[0] == '\0')
		bad_answer(t, "the store did not name the upload");
	else
		ob_tried(t->s3->base.client, t->task, OB_OK, "%s", "");
}

/* The status of an end comes before its outcome: an error may follow in the body. */
static void good_end(struct s3_transfer *t)
{
	struct ob_op *op = t->task->op;
	struct ob_answer_error said;
	char wanted[OB_ETAG_MAX];
	if (ob_answer_read_error(t->answer, t->answer_size, &said)) {
		t->status = 500;
		refuse(t);
		return;
	}
	if (!ob_answer_read_text(t->answer, t->answer_size, "CompleteMultipartUploadResult", "ETag", op->etag,
				 sizeof(op->etag))) {
		bad_answer(t, "the store did not say what it made of the parts");
		return;
	}
	ob_answer_unquote(op->etag);
	/* Where parts have other etags than MD5s, or the whole has, there is nothing to compare. */
	if (!t->head.encrypted && ob_multi_etag(op, wanted) && strchr(op->etag, '-') != NULL && strcmp(op->etag, wanted) != 0)
		bad_answer(t, "the store made another object of the parts");
	else
		ob_tried(t->s3->base.client, t->task, OB_OK, "%s", "");
}

static void good(struct s3_transfer *t)
{
	struct ob_op *op = t->task->op;
	if (t->task->step == OB_STEP_BUCKET) {
		t->s3->base.client->bucket_seen = true;
		ob_tried(t->s3->base.client, t->task, OB_OK, "%s", "");
		return;
	}
	if (t->head.etag[0] != '\0')
		strcpy(op->etag, t->head.etag);
	op->modified_s = t->head.modified_s;
	enum ob_kind kind = t->task->step == OB_STEP_LOOK ? OB_HEAD : op->kind;
	t->s3->base.client->bucket_seen = true;
	switch (kind) {
	case OB_PUT:
	case OB_MULTI_PUT: good_put(t); break;
	case OB_GET: good_get(t); break;
	case OB_LIST: good_list(t); break;
	case OB_MULTI_BEGIN: good_begin(t); break;
	case OB_MULTI_END: good_end(t); break;
	case OB_HEAD:
		op->object_size = t->head.length;
		if (!t->head.has_length)
			bad_answer(t, "the store did not say how large it is");
		else
			ob_tried(t->s3->base.client, t->task, OB_OK, "%s", "");
		break;
	default: ob_tried(t->s3->base.client, t->task, OB_OK, "%s", ""); break;
	}
}

/* ------------------------------------------------------------ how it ended */

static enum ob_error error_of_curl(CURLcode code)
{
	switch (code) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_CRL_BADFILE:
	case CURLE_SSL_INVALIDCERTSTATUS:
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH: return OB_CERTIFICATE;
	case CURLE_OUT_OF_MEMORY: return OB_LOCAL;
	case CURLE_OPERATION_TIMEDOUT: return OB_SLOW;
	case CURLE_URL_MALFORMAT:
	case CURLE_NOT_BUILT_IN: return OB_INVALID;
	default: return OB_NETWORK;
	}
}

void s3_answer_settle(struct s3_transfer *t, CURLcode code, bool stalled)
{
	struct ob_client *client = t->s3->base.client;
	const char *host = t->s3->settings.host;
	if (stalled) {
		ob_tried(client, t->task, OB_SLOW, "%s: no progress with %s", t->task->op->key, host);
	} else if (t->too_long && !t->is_get) {
		bad_answer(t, "the store's answer is too long");
	} else if (code != CURLE_OK && !(t->is_get && t->too_long)) {
		ob_tried(client, t->task, error_of_curl(code), "%s: %s: %s", t->task->op->key, host,
			 t->curl_error[0] != '\0' ? t->curl_error : curl_easy_strerror(code));
	} else if (t->status == 416 && t->is_get) {
		get_behind_end(t);
	} else if (t->status == 200 || t->status == 204 || t->status == 206) {
		good(t);
	} else {
		refuse(t);
	}
}
