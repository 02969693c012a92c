/* Requests of s3://. See s3.h.
 *
 *   put     PUT key [If-None-Match: * | If-Match]     begin  POST key?uploads=
 *   get     GET key Range [If-Match]                  part   PUT key?partNumber=N&uploadId=ID
 *   head    HEAD key                                  end    POST key?uploadId=ID, the parts as a document
 *   list    GET ?list-type=2&...                      abort  DELETE key?uploadId=ID
 *   delete  DELETE key
 *
 * All headers of our own are signed. Bodies go with their SHA-256, which the signature covers. A whole object's is asked back too: a store that keeps it answers with what it
 * has got. Where it does not, and for parts and conditions, the MD5 goes with them, and is compared with the etag. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blockdev/tier/object/s3.h"
#include "blockdev/tier/object/secret.h"
#include "blockdev/tier/object/sign.h"
#include "blockdev/tier/object/sums.h"

struct draft {
	struct s3_transfer *transfer;
	const char *method;
	char path[S3_PATH_MAX];
	char query[S3_QUERY_MAX];
	const char *sha256, *sha256_base64;
	char md5[32], range[64], condition[OB_ETAG_MAX + 2], date[OB_DATE_MAX];
	char host[OB_HOST_MAX + 64];
	const char *if_match, *if_none_match;
	char document_sha256[65];
};

static bool add_query(struct draft *draft, const char *name, const char *value)
{
	size_t used = strlen(draft->query);
	int size = snprintf(draft->query + used, sizeof(draft->query) - used, "%s%s=", used > 0 ? "&" : "", name);
	used += (size_t)size;
	return used < sizeof(draft->query) && ob_encode(value, false, draft->query + used, sizeof(draft->query) - used);
}

static bool set_path(struct draft *draft, const char *key)
{
	const struct ob_s3_settings *s = &draft->transfer->s3->settings;
	char raw[sizeof(s->base_path) + sizeof(s->bucket) + OB_PREFIX_MAX + OB_KEY_MAX + 8];
	snprintf(raw, sizeof(raw), "%s/%s%s%s%s", s->base_path, s->virtual_host ? "" : s->bucket,
		 s->virtual_host || key == NULL ? "" : "/", key != NULL ? s->prefix : "", key != NULL ? key : "");
	snprintf(draft->host, sizeof(draft->host), "%s%s%s", s->virtual_host ? s->bucket : "", s->virtual_host ? "." : "",
		 s->host);
	return ob_encode(raw, true, draft->path, sizeof(draft->path));
}

/* ------------------------------------------------------------- by kinds */

static bool draft_put(struct draft *draft)
{
	struct s3_transfer *t = draft->transfer;
	const struct ob_op *op = t->task->op;
	char number[16];
	draft->method = "PUT";
	draft->sha256 = t->task->sha256;
	if (t->task->expect_md5[0] != '\0')
		ob_base64(draft->md5, t->task->md5, sizeof(t->task->md5));
	/* Parts have one only when their upload was begun so. */
	t->task->asked_checksum = op->kind == OB_PUT && !atomic_load(&t->s3->base.no_checksum);
	if (t->task->asked_checksum)
		draft->sha256_base64 = t->task->sha256_base64;
	t->body = op->data;
	t->body_size = op->size;
	if (op->if_none_match) {
		draft->if_none_match = "*";
	} else if (op->if_match != NULL) {
		snprintf(draft->condition, sizeof(draft->condition), "\"%s\"", op->if_match);
		draft->if_match = draft->condition;
	}
	if (op->kind == OB_PUT)
		return set_path(draft, op->key);
	snprintf(number, sizeof(number), "%u", op->part);
	return set_path(draft, op->key) && add_query(draft, "partNumber", number) && add_query(draft, "uploadId", op->upload);
}

static bool draft_get(struct draft *draft)
{
	const struct ob_op *op = draft->transfer->task->op;
	draft->method = "GET";
	draft->transfer->is_get = true;
	snprintf(draft->range, sizeof(draft->range), "bytes=%llu-%llu", (unsigned long long)op->offset,
		 (unsigned long long)(op->offset + op->size - 1));
	if (op->expect_etag != NULL) {
		snprintf(draft->condition, sizeof(draft->condition), "\"%s\"", op->expect_etag);
		draft->if_match = draft->condition;
	}
	return set_path(draft, op->key);
}

/* Parameters in order of their names. */
static bool draft_list(struct draft *draft, const char *after, const char *prefix, unsigned limit)
{
	const char *own = draft->transfer->s3->settings.prefix;
	char number[16], text[OB_PREFIX_MAX + OB_AFTER_MAX + 2];
	draft->method = "GET";
	snprintf(number, sizeof(number), "%u", limit);
	if (!set_path(draft, NULL) || !add_query(draft, "list-type", "2") || !add_query(draft, "max-keys", number))
		return false;
	snprintf(text, sizeof(text), "%s%s", own, prefix);
	if (text[0] != '\0' && !add_query(draft, "prefix", text))
		return false;
	if (after == NULL || after[0] == '\0')
		return true;
	snprintf(text, sizeof(text), "%s%s", own, after);
	return add_query(draft, "start-after", text);
}

/* The document that names the parts. Etags hold nothing that XML would mind (ob_op_check). */
static bool draft_end(struct draft *draft)
{
	struct s3_transfer *t = draft->transfer;
	const struct ob_op *op = t->task->op;
	struct ob_task sums = {.op = NULL};
	struct ob_op body = {.kind = OB_PUT};
	size_t room = 128 + (size_t)op->part_count * (OB_ETAG_MAX + 96), used = 0;
	draft->method = "POST";
	t->document = malloc(room);
	if (t->document == NULL)
		return false;
	used += (size_t)snprintf(t->document, room,
				 "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
	for (unsigned i = 0; i < op->part_count; i++)
		used += (size_t)snprintf(t->document + used, room - used,
					 "<Part><PartNumber>%u</PartNumber><ETag>\"%s\"</ETag></Part>", i + 1, op->part_etags[i]);
	used += (size_t)snprintf(t->document + used, room - used, "</CompleteMultipartUpload>");
	body.data = t->document;
	body.size = used;
	sums.op = &body;
	if (ob_task_hash(&sums) != 0 || ob_task_hash_md5(&sums) != 0)
		return false;
	memcpy(draft->document_sha256, sums.sha256, sizeof(sums.sha256));
	draft->sha256 = draft->document_sha256;
	ob_base64(draft->md5, sums.md5, sizeof(sums.md5));
	t->body = (const uint8_t *)t->document;
	t->body_size = used;
	return set_path(draft, op->key) && add_query(draft, "uploadId", op->upload);
}

static bool draft_main(struct draft *draft)
{
	const struct ob_op *op = draft->transfer->task->op;
	switch (op->kind) {
	case OB_PUT:
	case OB_MULTI_PUT: return draft_put(draft);
	case OB_GET: return draft_get(draft);
	case OB_HEAD: draft->method = "HEAD"; return set_path(draft, op->key);
	case OB_LIST: return draft_list(draft, op->after, op->key, op->limit > 0 ? op->limit : OB_LIST_MAX);
	case OB_DELETE: draft->method = "DELETE"; return set_path(draft, op->key);
	case OB_MULTI_BEGIN: draft->method = "POST"; return set_path(draft, op->key) && add_query(draft, "uploads", "");
	case OB_MULTI_END: return draft_end(draft);
	case OB_MULTI_ABORT:
		draft->method = "DELETE";
		return set_path(draft, op->key) && add_query(draft, "uploadId", op->upload);
	}
	return false;
}

static bool draft_step(struct draft *draft)
{
	switch (draft->transfer->task->step) {
	case OB_STEP_MAIN: return draft_main(draft);
	case OB_STEP_LOOK: draft->method = "HEAD"; return set_path(draft, draft->transfer->task->op->key);
	case OB_STEP_BUCKET: return draft_list(draft, NULL, "", 1);
	}
	return false;
}

/* ------------------------------------------------- signature and options */

static bool add_line(struct s3_transfer *t, const char *format, ...) NF_PRINTF(2, 3);
static bool add_line(struct s3_transfer *t, const char *format, ...)
{
	char line[sizeof(t->s3->settings.secrets->session_token) + 64];
	va_list arguments;
	va_start(arguments, format);
	int size = vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	struct curl_slist *more = size < (int)sizeof(line) ? curl_slist_append(t->headers, line) : NULL;
	ob_secret_wipe(line, sizeof(line));
	if (more == NULL)
		return false;
	t->headers = more;
	return true;
}

/* The headers that are signed, in order; and those that go over the wire, which are these but for Host, and the signature. */
static bool sign(struct draft *draft)
{
	struct s3_transfer *t = draft->transfer;
	struct ob_s3_settings *s = &t->s3->settings;
	const char *token = s->secrets->session_token;
	char authorization[OB_AUTHORIZATION_MAX];
	struct ob_header headers[OB_SIGNED_HEADERS_MAX];
	unsigned count = 0;
	ob_sign_date(time(NULL), draft->date);
	const struct ob_header all[] = {
		{"content-md5", draft->md5[0] != '\0' ? draft->md5 : NULL},
		{"host", draft->host},
		{"if-match", draft->if_match},
		{"if-none-match", draft->if_none_match},
		{"range", draft->range[0] != '\0' ? draft->range : NULL},
		{"x-amz-checksum-sha256", draft->sha256_base64},
		{"x-amz-content-sha256", draft->sha256},
		{"x-amz-date", draft->date},
		{"x-amz-security-token", token[0] != '\0' ? token : NULL},
	};
	for (unsigned i = 0; i < NF_ARRAY_LEN(all); i++)
		if (all[i].value != NULL)
			headers[count++] = all[i];
	const struct ob_request request = {.method = draft->method,
					   .path = draft->path,
					   .query = draft->query,
					   .headers = headers,
					   .header_count = count,
					   .sha256 = draft->sha256};
	if (ob_sign(s->secrets, s->region, "s3", draft->date, &request, authorization) != 0)
		return false;
	for (unsigned i = 0; i < count; i++)
		if (!add_line(t, "%s: %s", headers[i].name, headers[i].value))
			return false;
	return add_line(t, "Authorization: %s", authorization) && ((t->body_size == 0 && strcmp(draft->method, "POST") != 0) ||
								   add_line(t, "Content-Type: application/octet-stream"));
}

static bool set_method(struct draft *draft)
{
	struct s3_transfer *t = draft->transfer;
	CURL *easy = t->easy;
	if (strcmp(draft->method, "HEAD") == 0)
		return curl_easy_setopt(easy, CURLOPT_NOBODY, 1L) == CURLE_OK;
	if (strcmp(draft->method, "PUT") == 0)
		return curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L) == CURLE_OK &&
		       curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)t->body_size) == CURLE_OK;
	if (strcmp(draft->method, "POST") == 0)
		return curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK &&
		       (t->body_size > 0 || curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "") == CURLE_OK) &&
		       curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->body_size) == CURLE_OK;
	return strcmp(draft->method, "GET") == 0 ? curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L) == CURLE_OK
						 : curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, draft->method) == CURLE_OK;
}

static bool set_url(struct draft *draft)
{
	char url[16 + sizeof(draft->host) + sizeof(draft->path) + sizeof(draft->query)];
	snprintf(url, sizeof(url), "%s://%s%s%s%s", draft->transfer->s3->settings.https ? "https" : "http", draft->host,
		 draft->path, draft->query[0] != '\0' ? "?" : "", draft->query);
	return curl_easy_setopt(draft->transfer->easy, CURLOPT_URL, url) == CURLE_OK &&
	       curl_easy_setopt(draft->transfer->easy, CURLOPT_PATH_AS_IS, 1L) == CURLE_OK;
}

int s3_request_make(struct s3_transfer *transfer)
{
	struct draft *draft = calloc(1, sizeof(*draft));
	if (draft == NULL)
		return -ENOMEM;
	draft->transfer = transfer;
	draft->sha256 = OB_EMPTY_SHA256;
	bool good = draft_step(draft) && sign(draft) && set_method(draft) && set_url(draft) &&
		    curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers) == CURLE_OK;
	free(draft);
	return good ? 0 : -ENOMEM;
}
