/* s3v2:// through libs3, for stores that know only Signature Version 2. One request at a time, in `start`, on the client's thread.
 *
 * libs3 2.0 takes the answer "100 Continue" for the answer to a put, and does not look at certificates. So a put counts when a HEAD says
 * that size and etag are right; https is refused unless it is asked for by name; and a get is preceded by a HEAD, for libs3 does not tell
 * the size of the whole, and holds to that version's etag. Its own time-outs are not ours: a request is driven in steps here, and
 * given up with its context when it was cancelled or makes no progress. Conditional puts and uploads in parts are not supported.
 *
 * The library is loaded when the first such URL is opened: it brings a second libcurl and some thirty libraries more, which nobody else needs, and
 * exports names as common as `hash`. */
#include <dlfcn.h>
#include <libs3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>

#include "blockdev/tier/object/answer.h"
#include "blockdev/tier/object/impl.h"
#include "blockdev/tier/object/s3_settings.h"
#include "blockdev/tier/object/sleeper.h"
#include "blockdev/tier/object/sums.h"

#define STEP_US 50000 /* how late a cancellation is seen */
#define FULL_KEY_MAX (OB_PREFIX_MAX + OB_KEY_MAX + 2)

struct v2_backend {
	struct ob_backend base;
	struct ob_s3_settings settings;
	struct ob_sleeper sleeper;
	S3BucketContext bucket;
	S3RequestContext *context;
};

/* One request of libs3. */
struct v2_request {
	struct v2_backend *v2;
	struct ob_task *task;
	bool done, given_up, too_long;
	S3Status status;
	uint64_t moved; /* bytes of bodies, either way */
	int64_t moved_ns; /* when the last of them were */
	uint64_t content_length;
	int64_t modified_s;
	char etag[OB_ETAG_MAX];
	char words[160]; /* of the store's error */
	/* of a list */
	size_t names_used, names_size;
	unsigned limit;
	char last[OB_AFTER_MAX];
	bool truncated, bad_list;
};

#define LIBS3_FILE "libs3.so.2"
#define LIBS3_FUNCTIONS(X)                                                                                                       \
	X(S3_initialize)                                                                                                         \
	X(S3_create_request_context)                                                                                             \
	X(S3_destroy_request_context)                                                                                            \
	X(S3_runonce_request_context)                                                                                            \
	X(S3_get_request_context_fdsets)                                                                                         \
	X(S3_get_request_context_timeout)                                                                                        \
	X(S3_get_status_name)                                                                                                    \
	X(S3_head_object)                                                                                                        \
	X(S3_put_object)                                                                                                         \
	X(S3_get_object)                                                                                                         \
	X(S3_delete_object)                                                                                                      \
	X(S3_list_bucket)

#define LIBS3_MEMBER(name) __typeof__(&(name)) name;
static struct {
	LIBS3_FUNCTIONS(LIBS3_MEMBER)
} libs3;
#undef LIBS3_MEMBER

static pthread_once_t libs3_once = PTHREAD_ONCE_INIT;
static bool libs3_ready;

/* Loaded for the rest of the process. */
static void start_libs3(void)
{
	bool whole = true;
	void *library = dlopen(LIBS3_FILE, RTLD_NOW | RTLD_LOCAL);
	if (library == NULL)
		return;
#define LIBS3_FIND(name) whole = (libs3.name = (__typeof__(libs3.name))dlsym(library, #name)) != NULL && whole;
	LIBS3_FUNCTIONS(LIBS3_FIND)
#undef LIBS3_FIND
	libs3_ready = whole && libs3.S3_initialize("neonfs", S3_INIT_ALL, "s3.amazonaws.com") == S3StatusOK;
}

/* -------------------------------------------------------- libs3 calls back */

static void moved(struct v2_request *request, uint64_t bytes)
{
	request->moved += bytes;
	request->moved_ns = ob_now_ns();
}

static S3Status take_properties(const S3ResponseProperties *properties, void *arg)
{
	struct v2_request *request = arg;
	moved(request, 0);
	request->content_length = properties->contentLength;
	request->modified_s = properties->lastModified > 0 ? properties->lastModified : 0;
	if (properties->eTag != NULL && strlen(properties->eTag) < sizeof(request->etag)) {
		strcpy(request->etag, properties->eTag);
		ob_answer_unquote(request->etag);
	}
	return S3StatusOK;
}

static void take_end(S3Status status, const S3ErrorDetails *details, void *arg)
{
	struct v2_request *request = arg;
	request->done = true;
	request->status = status;
	if (details != NULL && details->message != NULL)
		snprintf(request->words, sizeof(request->words), "%s", details->message);
}

static int give_data(int size, char *buffer, void *arg)
{
	struct v2_request *request = arg;
	struct ob_client *client = request->v2->base.client;
	const struct ob_op *op = request->task->op;
	uint64_t want = NF_MIN(op->size - request->moved, (uint64_t)size);
	if (want == 0)
		return 0;
	uint64_t taken = ob_pace(client, request->task, &client->send, want);
	if (taken == 0)
		return -1;
	memcpy(buffer, (const uint8_t *)op->data + request->moved, taken);
	request->task->reached = true;
	moved(request, taken);
	ob_count_sent(client, taken);
	return (int)taken;
}

static S3Status take_data(int count, const char *bytes, void *arg)
{
	struct v2_request *request = arg;
	struct ob_client *client = request->v2->base.client;
	struct ob_op *op = request->task->op;
	uint64_t size = (uint64_t)count;
	if (size > op->size - op->got) {
		request->too_long = true;
		return S3StatusAbortedByCallback;
	}
	for (uint64_t paid = 0; paid < size;) {
		uint64_t taken = ob_pace(client, request->task, &client->receive, size - paid);
		if (taken == 0)
			return S3StatusAbortedByCallback;
		paid += taken;
	}
	memcpy((uint8_t *)op->buf + op->got, bytes, size);
	op->got += size;
	moved(request, size);
	ob_count_received(client, size);
	return S3StatusOK;
}

static const char *keep_text(struct v2_request *request, const char *text)
{
	size_t size = strlen(text) + 1;
	assert(size <= request->names_size - request->names_used);
	char *kept = request->task->op->list.names + request->names_used;
	memcpy(kept, text, size);
	request->names_used += size;
	return kept;
}

static bool take_entry(struct v2_request *request, const S3ListBucketContent *content)
{
	struct ob_list *list = &request->task->op->list;
	const char *prefix = request->v2->settings.prefix;
	char etag[OB_ETAG_MAX] = "";
	if (content->key == NULL || strlen(content->key) >= sizeof(request->last) || strcmp(content->key, request->last) <= 0 ||
	    strncmp(content->key, prefix, strlen(prefix)) != 0 || list->count + list->foreign == request->limit)
		return false;
	strcpy(request->last, content->key);
	const char *key = content->key + strlen(prefix);
	if (!ob_key_is_valid(key)) {
		list->foreign++;
		return true;
	}
	if (content->eTag != NULL && strlen(content->eTag) < sizeof(etag))
		strcpy(etag, content->eTag);
	ob_answer_unquote(etag);
	list->entries[list->count++] = (struct ob_entry){.key = keep_text(request, key),
							 .size = content->size,
							 .modified_s = content->lastModified > 0 ? content->lastModified : 0,
							 .etag = keep_text(request, etag)};
	return true;
}

static S3Status take_list(int truncated, const char *next_marker NF_UNUSED, int count, const S3ListBucketContent *contents,
			  int prefix_count NF_UNUSED, const char **prefixes NF_UNUSED, void *arg)
{
	struct v2_request *request = arg;
	moved(request, 0);
	request->truncated = truncated != 0;
	for (int i = 0; i < count; i++) {
		if (!take_entry(request, &contents[i])) {
			request->bad_list = true;
			return S3StatusAbortedByCallback;
		}
	}
	return S3StatusOK;
}

/* ---------------------------------------------------------------- driving */

/* Wait for the request's socket, a step at most. */
static void wait_step(struct v2_backend *v2)
{
	fd_set readable, writable, odd;
	int highest = -1;
	FD_ZERO(&readable);
	FD_ZERO(&writable);
	FD_ZERO(&odd);
	/* Descriptors that fd_set has no room for are left out by libcurl: then the step is slept through. */
	if (libs3.S3_get_request_context_fdsets(v2->context, &readable, &writable, &odd, &highest) != S3StatusOK)
		highest = -1;
	int64_t timeout_ms = libs3.S3_get_request_context_timeout(v2->context);
	struct timeval timeout = {.tv_usec = timeout_ms >= 0 && timeout_ms * 1000 < STEP_US ? timeout_ms * 1000 : STEP_US};
	if (timeout.tv_usec == 0)
		timeout.tv_usec = 1000;
	(void)select(highest + 1, &readable, &writable, &odd, &timeout);
}

/* libs3 calls back with S3StatusInterrupted while its context goes. */
static void give_up(struct v2_request *request)
{
	struct v2_backend *v2 = request->v2;
	request->given_up = true;
	libs3.S3_destroy_request_context(v2->context);
	v2->context = NULL;
	if (libs3.S3_create_request_context(&v2->context) != S3StatusOK)
		v2->context = NULL;
}

static void drive(struct v2_request *request)
{
	struct ob_client *client = request->v2->base.client;
	int64_t stall_ns = (int64_t)client->options.stall_ms * 1000000;
	int left;
	while (!request->done) {
		if (libs3.S3_runonce_request_context(request->v2->context, &left) != S3StatusOK) {
			give_up(request);
			break;
		}
		if (request->done)
			break;
		if (ob_is_cancelled(client, request->task) || ob_now_ns() - request->moved_ns > stall_ns) {
			give_up(request);
			break;
		}
		wait_step(request->v2);
	}
}

static bool begin(struct v2_backend *v2, struct ob_task *task, struct v2_request *request)
{
	*request = (struct v2_request){.v2 = v2, .task = task, .status = S3StatusInterrupted, .moved_ns = ob_now_ns()};
	if (v2->context != NULL || libs3.S3_create_request_context(&v2->context) == S3StatusOK)
		return true;
	v2->context = NULL;
	ob_tried(v2->base.client, task, OB_LOCAL, "libs3 has no memory");
	return false;
}

/* ----------------------------------------------------------------- outcome */

static enum ob_error error_of(S3Status status)
{
	switch (status) {
	case S3StatusOutOfMemory: return OB_LOCAL;
	case S3StatusInterrupted:
	case S3StatusErrorRequestTimeout: return OB_SLOW;
	case S3StatusInternalError: /* any code of libcurl's that libs3 has no word for */
	case S3StatusFailedToInitializeRequest:
	case S3StatusNameLookupError:
	case S3StatusFailedToConnect:
	case S3StatusConnectionFailed:
	case S3StatusAbortedByCallback:
	case S3StatusErrorIncompleteBody: return OB_NETWORK;
	case S3StatusServerFailedVerification: return OB_CERTIFICATE;
	case S3StatusErrorBadDigest: return OB_TRANSFER;
	case S3StatusErrorSlowDown: return OB_THROTTLED;
	case S3StatusXmlParseFailure: /* mostly the page that something on the way put in place of an answer */
	case S3StatusErrorInternalError:
	case S3StatusErrorOperationAborted:
	case S3StatusHttpErrorConflict:
	case S3StatusErrorUnknown: /* a status without a document: 429, 500, 503 and the like */
	case S3StatusHttpErrorUnknown: return OB_SERVER;
	case S3StatusErrorAccessDenied:
	case S3StatusErrorAccountProblem:
	case S3StatusErrorInvalidAccessKeyId:
	case S3StatusErrorSignatureDoesNotMatch:
	case S3StatusErrorExpiredToken:
	case S3StatusErrorInvalidToken:
	case S3StatusHttpErrorForbidden: return OB_FORBIDDEN;
	case S3StatusErrorRequestTimeTooSkewed: return OB_SKEW;
	case S3StatusErrorNoSuchBucket: return OB_NO_BUCKET;
	case S3StatusErrorNoSuchKey:
	case S3StatusHttpErrorNotFound: return OB_NOT_FOUND;
	case S3StatusErrorPreconditionFailed: return OB_PRECONDITION;
	case S3StatusErrorNotImplemented: return OB_UNSUPPORTED;
	default: return OB_REFUSED;
	}
}

static void refuse(struct v2_request *request)
{
	struct ob_client *client = request->v2->base.client;
	const struct ob_s3_settings *s = &request->v2->settings;
	const char *key = request->task->op->key;
	enum ob_error error = request->given_up ? OB_SLOW : error_of(request->status);
	if (error == OB_NOT_FOUND)
		ob_tried(client, request->task, error, "there is no object %s", key);
	else if (error == OB_NO_BUCKET)
		ob_tried(client, request->task, error, "there is no bucket %s at %s", s->bucket, s->host);
	else if (error == OB_PRECONDITION)
		ob_tried(client, request->task, error, "%s is another version", key);
	else
		ob_tried(client, request->task, error, "%s: %s: %s%s%s", key, s->host, libs3.S3_get_status_name(request->status),
			 request->words[0] != '\0' ? ": " : "", request->words);
}

static const char *full_key(const struct v2_backend *v2, const char *key, char full[FULL_KEY_MAX])
{
	snprintf(full, FULL_KEY_MAX, "%s%s", v2->settings.prefix, key);
	return full;
}

/* ---------------------------------------------------------------- requests */

static const S3ResponseHandler plain_handler = {take_properties, take_end};

/* A HEAD of the op's key, into `request`. False after ob_tried. */
static bool ask_head(struct v2_backend *v2, struct ob_task *task, struct v2_request *request)
{
	char key[FULL_KEY_MAX];
	if (!begin(v2, task, request))
		return false;
	libs3.S3_head_object(&v2->bucket, full_key(v2, task->op->key, key), v2->context, &plain_handler, request);
	drive(request);
	return true;
}

static void head(struct v2_backend *v2, struct ob_task *task)
{
	struct v2_request request;
	if (!ask_head(v2, task, &request))
		return;
	if (request.status != S3StatusOK) {
		refuse(&request);
		return;
	}
	v2->base.client->bucket_seen = true;
	strcpy(task->op->etag, request.etag);
	task->op->object_size = request.content_length;
	task->op->modified_s = request.modified_s;
	ob_tried(v2->base.client, task, OB_OK, "%s", "");
}

static void verify_put(struct v2_backend *v2, struct ob_task *task)
{
	struct ob_client *client = v2->base.client;
	struct ob_op *op = task->op;
	struct v2_request look;
	if (!ask_head(v2, task, &look))
		return;
	if (look.status != S3StatusOK && error_of(look.status) == OB_NOT_FOUND) {
		ob_tried(client, task, OB_SERVER, "%s: the store did not take the put", op->key);
	} else if (look.status != S3StatusOK) {
		refuse(&look);
	} else if (look.content_length != op->size || (ob_is_md5(look.etag) && strcmp(look.etag, task->expect_md5) != 0)) {
		ob_tried(client, task, OB_TRANSFER, "%s: the store has other bytes than were put", op->key);
	} else {
		strcpy(op->etag, look.etag);
		op->object_size = op->size;
		op->modified_s = look.modified_s;
		ob_tried(client, task, OB_OK, "%s", "");
	}
}

static void put(struct v2_backend *v2, struct ob_task *task)
{
	static const S3PutObjectHandler handler = {{take_properties, take_end}, give_data};
	struct v2_request request;
	struct ob_op *op = task->op;
	char key[FULL_KEY_MAX], md5[32];
	if (op->if_none_match || op->if_match != NULL) {
		ob_tried(v2->base.client, task, OB_UNSUPPORTED, "conditional puts are not supported by s3v2://; use s3://");
		return;
	}
	if (!begin(v2, task, &request))
		return;
	ob_base64(md5, task->md5, sizeof(task->md5));
	const S3PutProperties properties = {
		.contentType = "application/octet-stream", .md5 = md5, .expires = -1, .cannedAcl = S3CannedAclPrivate};
	libs3.S3_put_object(&v2->bucket, full_key(v2, op->key, key), op->size, &properties, v2->context, &handler, &request);
	drive(&request);
	if (request.status == S3StatusOK)
		verify_put(v2, task);
	else
		refuse(&request);
}

static void get_range(struct v2_backend *v2, struct ob_task *task, const char *etag, uint64_t size)
{
	static const S3GetObjectHandler handler = {{take_properties, take_end}, take_data};
	struct ob_client *client = v2->base.client;
	struct ob_op *op = task->op;
	struct v2_request request;
	char key[FULL_KEY_MAX], quoted[OB_ETAG_MAX + 2];
	if (!begin(v2, task, &request))
		return;
	snprintf(quoted, sizeof(quoted), "\"%s\"", etag);
	const S3GetConditions conditions = {
		.ifModifiedSince = -1, .ifNotModifiedSince = -1, .ifMatchETag = etag[0] != '\0' ? quoted : NULL};
	op->got = 0;
	libs3.S3_get_object(&v2->bucket, full_key(v2, op->key, key), &conditions, op->offset, size, v2->context, &handler,
			    &request);
	drive(&request);
	if (request.too_long)
		ob_tried(client, task, OB_TRANSFER, "%s: more bytes came than were asked for", op->key);
	else if (request.status == S3StatusErrorPreconditionFailed && op->expect_etag == NULL)
		ob_tried(client, task, OB_SERVER, "%s was replaced between two requests", op->key);
	else if (request.status != S3StatusOK)
		refuse(&request);
	else if (op->got != size)
		ob_tried(client, task, OB_NETWORK, "%s: %llu bytes came, not %llu", op->key, (unsigned long long)op->got,
			 (unsigned long long)size);
	else
		ob_tried(client, task, OB_OK, "%s", "");
}

static void get(struct v2_backend *v2, struct ob_task *task)
{
	struct ob_op *op = task->op;
	struct v2_request look;
	if (!ask_head(v2, task, &look))
		return;
	if (look.status != S3StatusOK) {
		refuse(&look);
		return;
	}
	v2->base.client->bucket_seen = true;
	strcpy(op->etag, look.etag);
	op->object_size = look.content_length;
	op->modified_s = look.modified_s;
	op->got = 0;
	if (op->expect_etag != NULL && strcmp(op->expect_etag, op->etag) != 0)
		ob_tried(v2->base.client, task, OB_PRECONDITION, "%s is another version", op->key);
	else if (op->offset >= op->object_size)
		ob_tried(v2->base.client, task, OB_OK, "%s", "");
	else
		get_range(v2, task, look.etag, NF_MIN(op->size, op->object_size - op->offset));
}

static void delete (struct v2_backend *v2, struct ob_task *task)
{
	struct v2_request request;
	char key[FULL_KEY_MAX];
	if (!begin(v2, task, &request))
		return;
	libs3.S3_delete_object(&v2->bucket, full_key(v2, task->op->key, key), v2->context, &plain_handler, &request);
	drive(&request);
	if (request.status != S3StatusOK)
		refuse(&request);
	else
		ob_tried(v2->base.client, task, OB_OK, "%s", "");
}

static void end_list(struct v2_request *request)
{
	struct ob_list *list = &request->task->op->list;
	struct ob_client *client = request->v2->base.client;
	if (request->status == S3StatusOK && !request->bad_list && !(request->truncated && request->last[0] == '\0')) {
		client->bucket_seen = true;
		list->more = request->truncated;
		snprintf(list->next_after, sizeof(list->next_after), "%s",
			 request->truncated ? request->last + strlen(request->v2->settings.prefix) : "");
		ob_tried(client, request->task, OB_OK, "%s", "");
		return;
	}
	ob_op_clear(request->task->op);
	if (request->status == S3StatusOK || request->bad_list)
		ob_tried(client, request->task, OB_TRANSFER, "the store's list cannot be read");
	else
		refuse(request);
}

/* Also what OB_STEP_BUCKET asks: one entry of anything, which is dropped. */
static void list(struct v2_backend *v2, struct ob_task *task, const char *key, const char *after, unsigned limit)
{
	static const S3ListBucketHandler handler = {{take_properties, take_end}, take_list};
	struct v2_request request;
	char prefix[FULL_KEY_MAX], marker[OB_PREFIX_MAX + OB_AFTER_MAX + 2];
	if (!begin(v2, task, &request))
		return;
	request.limit = limit;
	request.names_size = (size_t)limit * (OB_KEY_MAX + 1 + OB_ETAG_MAX);
	if (ob_list_begin(&task->op->list, limit, request.names_size) != 0) {
		ob_tried(v2->base.client, task, OB_LOCAL, "out of memory");
		return;
	}
	full_key(v2, key, prefix);
	snprintf(marker, sizeof(marker), "%s%s", v2->settings.prefix, after != NULL ? after : "");
	libs3.S3_list_bucket(&v2->bucket, prefix[0] != '\0' ? prefix : NULL, after != NULL && after[0] != '\0' ? marker : NULL,
			     NULL, (int)limit, v2->context, &handler, &request);
	drive(&request);
	end_list(&request);
	if (task->op->kind != OB_LIST)
		ob_op_clear(task->op);
}

/* ----------------------------------------------------------------- backend */

static void v2_start(struct ob_backend *backend, struct ob_task *task)
{
	struct v2_backend *v2 = (struct v2_backend *)backend;
	struct ob_op *op = task->op;
	if (task->step == OB_STEP_BUCKET) {
		list(v2, task, "", NULL, 1);
		return;
	}
	switch (op->kind) {
	case OB_PUT: put(v2, task); break;
	case OB_GET: get(v2, task); break;
	case OB_HEAD: head(v2, task); break;
	case OB_LIST: list(v2, task, op->key, op->after, op->limit > 0 ? op->limit : OB_LIST_MAX); break;
	case OB_DELETE: delete (v2, task); break;
	default: ob_tried(backend->client, task, OB_UNSUPPORTED, "uploads in parts are not supported by s3v2://"); break;
	}
}

static void v2_abort(struct ob_backend *backend NF_UNUSED, struct ob_task *task NF_UNUSED)
{
	assert(!"a request of s3v2:// has ended when start returns");
}

static void v2_wait(struct ob_backend *backend, int64_t until_ns)
{
	ob_sleeper_wait(&((struct v2_backend *)backend)->sleeper, until_ns);
}

static void v2_wake(struct ob_backend *backend)
{
	ob_sleeper_wake(&((struct v2_backend *)backend)->sleeper);
}

static void v2_destroy(struct ob_backend *backend)
{
	struct v2_backend *v2 = (struct v2_backend *)backend;
	if (v2->context != NULL)
		libs3.S3_destroy_request_context(v2->context);
	ob_sleeper_destroy(&v2->sleeper);
	ob_s3_settings_free(&v2->settings);
	free(v2);
}

static const struct ob_backend_class v2_class = {
	.start = v2_start, .abort = v2_abort, .wait = v2_wait, .wake = v2_wake, .destroy = v2_destroy};

/* What libs3 cannot do is refused here, not met later. */
static int check_settings(const struct ob_client *client, const struct ob_s3_settings *s, char *message, size_t message_size)
{
	const char *refusal = NULL;
	if (s->https && !client->options.unverified_tls)
		refusal = "s3v2:// does not verify certificates, so it takes https only when asked for unverified TLS (or use "
			  "s3://)";
	else if (s->secrets->session_token[0] != '\0')
		refusal = "s3v2:// knows no session tokens; use s3://";
	else if (s->base_path[0] != '\0')
		refusal = "s3v2:// takes no path in the endpoint; use s3://";
	if (refusal == NULL)
		return 0;
	snprintf(message, message_size, "%s", refusal);
	return -EINVAL;
}

static void set_bucket(struct v2_backend *v2)
{
	const struct ob_s3_settings *s = &v2->settings;
	v2->bucket = (S3BucketContext){.hostName = s->host,
				       .bucketName = s->bucket,
				       .protocol = s->https ? S3ProtocolHTTPS : S3ProtocolHTTP,
				       .uriStyle = s->virtual_host ? S3UriStyleVirtualHost : S3UriStylePath,
				       .accessKeyId = s->secrets->access_key_id,
				       .secretAccessKey = s->secrets->secret_key};
	snprintf(v2->base.place, sizeof(v2->base.place), "s3v2://%s/%s at %s://%s", s->bucket, s->prefix,
		 s->https ? "https" : "http", s->host);
}

int ob_s3v2_open(struct ob_client *client, const char *url, struct ob_backend **ret_backend, char *message, size_t message_size)
{
	struct v2_backend *v2 = calloc(1, sizeof(*v2));
	if (v2 == NULL) {
		snprintf(message, message_size, "out of memory");
		return -ENOMEM;
	}
	v2->base = (struct ob_backend){.class = &v2_class, .client = client, .parallel_max = 1, .hashes = true, .wants_md5 = true};
	v2->sleeper.event_fd = -1;
	int rc = ob_s3_settings_load(url, "s3v2", ob_env_process, NULL, &v2->settings, message, message_size);
	if (rc == 0)
		rc = check_settings(client, &v2->settings, message, message_size);
	if (rc == 0) {
		set_bucket(v2);
		pthread_once(&libs3_once, start_libs3);
		rc = libs3_ready ? ob_sleeper_init(&v2->sleeper) : -ENOTSUP;
		if (rc != 0)
			snprintf(message, message_size, "s3v2:// needs libs3, and %s cannot be loaded here (libs3-2)",
				 LIBS3_FILE);
	}
	if (rc != 0) {
		v2_destroy(&v2->base);
		return rc;
	}
	*ret_backend = &v2->base;
	return 0;
}
