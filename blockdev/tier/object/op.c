/* What an op must be, and the sums of its bytes. See object.h. */
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "blockdev/tier/object/impl.h"
#include "blockdev/tier/object/sums.h"

const char *ob_error_name(enum ob_error error)
{
	static const char *const names[] = {
#define OB_ERROR_TEXT(name, result, transient, text) [name] = text,
		OB_ERRORS(OB_ERROR_TEXT)
#undef OB_ERROR_TEXT
	};
	return (size_t)error < NF_ARRAY_LEN(names) ? names[error] : "?";
}

int ob_error_result(enum ob_error error)
{
	static const int results[] = {
#define OB_ERROR_RESULT(name, result, transient, text) [name] = result,
		OB_ERRORS(OB_ERROR_RESULT)
#undef OB_ERROR_RESULT
	};
	return results[error];
}

bool ob_is_transient(enum ob_error error)
{
	static const bool transients[] = {
#define OB_ERROR_TRANSIENT(name, result, transient, text) [name] = transient,
		OB_ERRORS(OB_ERROR_TRANSIENT)
#undef OB_ERROR_TRANSIENT
	};
	return transients[error];
}

void ob_say(struct ob_op *op, enum ob_error error, const char *format, ...)
{
	va_list arguments;
	op->error = error;
	va_start(arguments, format);
	vsnprintf(op->message, sizeof(op->message), format, arguments);
	va_end(arguments);
}

static bool is_key_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-' ||
	       c == '/';
}

/* No part of the path is empty, "." or "..". The last one of a prefix may be anything that begins a part. */
static bool parts_are_valid(const char *path, bool is_prefix)
{
	for (const char *part = path;;) {
		size_t size = strcspn(part, "/");
		bool last = part[size] == '\0';
		if (size == 0 && !(last && is_prefix))
			return false;
		if (!(last && is_prefix) && ((size == 1 && part[0] == '.') || (size == 2 && memcmp(part, "..", 2) == 0)))
			return false;
		if (last)
			return true;
		part += size + 1;
	}
}

static bool bytes_are_valid(const char *text)
{
	size_t size = 0;
	for (; text[size] != '\0'; size++)
		if (size == OB_KEY_MAX || !is_key_byte(text[size]))
			return false;
	return true;
}

bool ob_key_is_valid(const char *key)
{
	return bytes_are_valid(key) && parts_are_valid(key, false);
}

bool ob_prefix_is_valid(const char *prefix)
{
	return bytes_are_valid(prefix) && parts_are_valid(prefix, true);
}

static int wrong(struct ob_op *op, const char *what)
{
	ob_say(op, OB_INVALID, "%s", what);
	return op->result = -EINVAL;
}

static bool is_etag(const char *etag)
{
	size_t size = strnlen(etag, OB_ETAG_MAX);
	if (size == 0 || size >= OB_ETAG_MAX)
		return false;
	for (; *etag != '\0'; etag++)
		if (*etag <= ' ' || *etag > '~' || *etag == '"' || *etag == '<' || *etag == '&')
			return false;
	return true;
}

static int check_multi(struct ob_op *op)
{
	if (op->kind != OB_MULTI_BEGIN) {
		size_t size = op->upload != NULL ? strnlen(op->upload, OB_UPLOAD_MAX) : 0;
		if (size == 0 || size >= OB_UPLOAD_MAX)
			return wrong(op, "upload is no id of an upload");
	}
	if (op->kind == OB_MULTI_ABORT)
		return 0;
	if (op->part_size < OB_PART_MIN || op->part_size > OB_PUT_MAX)
		return wrong(op, "part_size is out of range");
	if (op->kind == OB_MULTI_PUT) {
		if (op->part < 1 || op->part > OB_PARTS_MAX || op->size == 0 || op->size > op->part_size)
			return wrong(op, "part or its size is out of range");
	}
	if (op->kind != OB_MULTI_END)
		return 0;
	if (op->part_count < 1 || op->part_count > OB_PARTS_MAX)
		return wrong(op, "part_count is out of range");
	for (unsigned i = 0; i < op->part_count; i++)
		if (!is_etag(op->part_etags[i]))
			return wrong(op, "a part has no etag");
	return 0;
}

int ob_op_check(struct ob_op *op)
{
	if (op->kind > OB_MULTI_ABORT)
		return wrong(op, "there is no such kind of op");
	if (op->key == NULL || !(op->kind == OB_LIST ? ob_prefix_is_valid(op->key) : ob_key_is_valid(op->key)))
		return wrong(op, "the key is not valid: parts of A-Z a-z 0-9 . _ - with / between");
	if ((op->kind == OB_PUT || op->kind == OB_MULTI_PUT) && ((op->data == NULL && op->size > 0) || op->size > OB_PUT_MAX))
		return wrong(op, "no data, or too much for one put");
	if (op->kind != OB_PUT && (op->if_none_match || op->if_match != NULL))
		return wrong(op, "only a put has conditions; use expect_etag for a get");
	if (op->if_none_match && op->if_match != NULL)
		return wrong(op, "if_none_match and if_match exclude each other");
	if (op->if_match != NULL && !is_etag(op->if_match))
		return wrong(op, "if_match is no etag");
	if (op->kind == OB_GET && (op->buf == NULL || op->size == 0 || op->size > INT64_MAX / 2 || op->offset > INT64_MAX / 2))
		return wrong(op, "a get needs a buffer and a range");
	if (op->kind == OB_GET && op->expect_etag != NULL && !is_etag(op->expect_etag))
		return wrong(op, "expect_etag is no etag");
	if (op->kind == OB_LIST &&
	    (op->limit > OB_LIST_MAX || (op->after != NULL && strnlen(op->after, OB_AFTER_MAX) == OB_AFTER_MAX)))
		return wrong(op, "limit or after is not valid");
	return op->kind >= OB_MULTI_BEGIN ? check_multi(op) : 0;
}

/* ------------------------------------------------------------------ sums */

int ob_task_hash(struct ob_task *task)
{
	const struct ob_op *op = task->op;
	uint8_t sha256[32];
	if (EVP_Digest(op->data != NULL ? op->data : "", op->size, sha256, NULL, EVP_sha256(), NULL) != 1)
		return -ENOMEM;
	ob_hex(task->sha256, sha256, sizeof(sha256));
	ob_base64(task->sha256_base64, sha256, sizeof(sha256));
	return 0;
}

int ob_task_hash_md5(struct ob_task *task)
{
	const struct ob_op *op = task->op;
	if (EVP_Digest(op->data != NULL ? op->data : "", op->size, task->md5, NULL, EVP_md5(), NULL) != 1)
		return -ENOMEM;
	ob_hex(task->expect_md5, task->md5, sizeof(task->md5));
	return 0;
}

bool ob_body_is_expected(const struct ob_op *op)
{
	uint8_t sha256[32];
	if (op->expect_xxh3 != NULL && XXH3_64bits(op->buf, op->got) != *op->expect_xxh3)
		return false;
	if (op->expect_sha256 == NULL)
		return true;
	return EVP_Digest(op->buf, op->got, sha256, NULL, EVP_sha256(), NULL) == 1 && memcmp(sha256, op->expect_sha256, 32) == 0;
}

/* ------------------------------------------------------------------ list */

int ob_list_begin(struct ob_list *list, unsigned count, size_t names_size)
{
	*list = (struct ob_list){.entries = calloc(count > 0 ? count : 1, sizeof(*list->entries)),
				 .names = malloc(names_size > 0 ? names_size : 1)};
	if (list->entries != NULL && list->names != NULL)
		return 0;
	free(list->entries);
	free(list->names);
	*list = (struct ob_list){0};
	return -ENOMEM;
}

void ob_op_clear(struct ob_op *op)
{
	free(op->list.entries);
	free(op->list.names);
	op->list = (struct ob_list){0};
}
