/* Objects behind keys: one client for an S3 bucket or a directory.
 *
 * A client is opened from a URL:
 *   file:///srv/objects                 a directory; put whole or not at all, by rename
 *   s3://BUCKET/PREFIX                  S3 with Signature Version 4 (settings: s3_settings.h)
 *   s3v2://BUCKET/PREFIX                S3 with Signature Version 2, through libs3, where the build has it
 * Work is described by a `struct ob_op`, given away with ob_submit, and comes back when it is done: by ob_poll, or by a call of
 * its own (`on_done`), or to who waits in ob_run. Between the two it belongs to the client, with everything that it points to.
 *
 * What is promised of every kind of place:
 *   - A put that returned 0 is durable there, whole, and its bytes were compared with what the place says it has.
 *   - A get that returned 0 gave exactly the bytes of one version of the object.
 *   - Errors have names (enum ob_error). Transient ones are tried again with growing, random pauses until the op's deadline, for
 *     ever where it has none; all others end the op at once.
 *   - A conditional put is one request, and has one winner where the place keeps to its own rules: ob_check_conditional asks.
 *   - No secret is ever in a message, a log or an argument.
 *
 * Threads: a client has one of its own, which does all the work and sleeps when there is none. All functions are thread-safe but
 * for ob_client_close. */
#ifndef OB_OBJECT_H
#define OB_OBJECT_H

#include "common/nf_base.h"

#define OB_KEY_MAX 512 /* bytes of a key, without the URL's prefix */
#define OB_PREFIX_MAX 256
#define OB_URL_MAX 2048
#define OB_ETAG_MAX 136 /* with its zero */
#define OB_UPLOAD_MAX 1024 /* with its zero */
#define OB_MESSAGE_MAX 512
#define OB_AFTER_MAX 1028 /* bytes of ob_list.next_after: S3 has keys up to 1024 */
#define OB_LIST_MAX 1000 /* entries of one OB_LIST */
#define OB_PUT_MAX (UINT64_C(5) << 30) /* bytes of one put or part */
#define OB_PARTS_MAX 10000
#define OB_PART_MIN (UINT64_C(5) << 20) /* every part but the last one has at least that */
#define OB_QUEUE_MAX 4096 /* ops that a client has at a time */
#define OB_PARALLEL_MAX 64

/* name, result, is it transient, what it is called in messages and by ob_error_name */
#define OB_ERRORS(X)                                                                                                             \
	X(OB_OK, 0, false, "ok")                                                                                                 \
	/* tried again */                                                                                                        \
	X(OB_NETWORK, -ETIMEDOUT, true, "network") /* no connection, or it broke */                                              \
	X(OB_SLOW, -ETIMEDOUT, true, "slow") /* no answer, or one that crawls */                                                 \
	X(OB_THROTTLED, -ETIMEDOUT, true, "throttled") /* the store asks for fewer requests (429, 503) */                        \
	X(OB_SERVER, -ETIMEDOUT, true, "server") /* the store failed (5xx), or a conflict that it wants tried again */           \
	X(OB_TRANSFER, -ETIMEDOUT, true, "transfer") /* bytes were damaged or missing on their way */                            \
	/* final */                                                                                                              \
	X(OB_NOT_FOUND, -ENOENT, false, "not-found") /* no such object or upload */                                              \
	X(OB_PRECONDITION, -EEXIST, false, "precondition") /* if_none_match or if_match did not hold: nothing was put */         \
	X(OB_DOUBT, -EALREADY, false, "doubt") /* as above, but what is there may be what an earlier try of this op put: look */ \
	X(OB_SHORT, -ENODATA, false, "short") /* the object ends before the range does */                                        \
	X(OB_CORRUPT, -EUCLEAN, false, "corrupt") /* the bytes are not the expected ones, more than once */                      \
	X(OB_FORBIDDEN, -EACCES, false, "forbidden") /* keys, signature or rights */                                             \
	X(OB_SKEW, -ETIME, false, "clock-skew") /* the clocks of this machine and the store differ too much */                   \
	X(OB_REGION, -EXDEV, false, "wrong-region") /* the message names the right one */                                        \
	X(OB_NO_BUCKET, -ENODEV, false, "no-bucket")                                                                             \
	X(OB_CERTIFICATE, -EKEYREJECTED, false, "certificate") /* the server's is not trusted, or not for this name */           \
	X(OB_UNSUPPORTED, -ENOTSUP, false, "unsupported") /* the place cannot do that */                                         \
	X(OB_FULL, -ENOSPC, false, "full")                                                                                       \
	X(OB_REFUSED, -EPROTO, false, "refused") /* any other refusal of the store; its words are in the message */              \
	X(OB_INVALID, -EINVAL, false, "invalid") /* the op itself is wrong */                                                    \
	X(OB_LOCAL, -EIO, false, "local") /* this machine: memory, or the disk below file:// */                                  \
	X(OB_CANCELLED, -ECANCELED, false, "cancelled")

enum ob_error {
#define OB_ERROR_NAME(name, result, transient, text) name,
	OB_ERRORS(OB_ERROR_NAME)
#undef OB_ERROR_NAME
};

/* "not-found" and so on. */
const char *ob_error_name(enum ob_error error);

enum ob_kind {
	OB_PUT, /* key, data, size [, if_none_match | if_match] -> etag */
	OB_GET, /* key, buf, size, offset [, expect_*] -> got, object_size, etag */
	OB_HEAD, /* key -> object_size, etag, modified_s */
	OB_LIST, /* key (a prefix, may be ""), after, limit -> list */
	OB_DELETE, /* key; 0 also when there is none */
	OB_MULTI_BEGIN, /* key, part_size -> upload */
	OB_MULTI_PUT, /* key, upload, part (from 1), part_size, data, size -> etag */
	OB_MULTI_END, /* key, upload, part_size, part_etags, part_count -> etag: from here on the object is there */
	OB_MULTI_ABORT, /* key, upload: what was put is dropped */
};

struct ob_entry {
	const char *key; /* without the URL's prefix */
	uint64_t size;
	int64_t modified_s; /* Unix time; 0 when the place does not tell */
	const char *etag;
};

struct ob_list {
	struct ob_entry *entries; /* in byte order of the keys */
	unsigned count;
	unsigned foreign; /* names under the prefix that are no keys of ours: left out */
	bool more; /* go on with `after` = next_after */
	char next_after[OB_AFTER_MAX]; /* opaque: it may be a name that was left out */
	char *names; /* where the entries' texts lie */
};

struct ob_task; /* the client's side of an op */

/* Zero it, set what the kind needs, submit. Everything pointed to stays valid and unchanged until it is done. */
struct ob_op {
	/* ---- in ---- */
	enum ob_kind kind;
	const char *key; /* [A-Za-z0-9._/-], no empty part, no part "." or "..", 1 to OB_KEY_MAX bytes */
	const void *data;
	void *buf;
	uint64_t size;
	uint64_t offset;
	bool if_none_match; /* put only if there is no such object */
	const char *if_match; /* put only if the object has this etag */
	bool may_be_short; /* get: a range that reaches beyond the object's end is no error; `got` says how much there was */
	const char *expect_etag; /* get: of this version, else OB_PRECONDITION */
	const uint64_t *expect_xxh3; /* get: XXH3_64bits of the bytes got */
	const uint8_t *expect_sha256; /* get: 32 bytes */
	const char *after; /* list: only keys behind this one; NULL = from the first */
	unsigned limit; /* list: 0 = OB_LIST_MAX */
	const char *upload;
	uint64_t part_size; /* the same at begin, put and end: all parts but the last have it */
	unsigned part;
	const char *const *part_etags; /* [part_count], as the puts returned them */
	unsigned part_count;
	uint32_t deadline_ms; /* from submission, queueing included; 0 = none */
	/* Called on the client's thread when it is done, with no lock held; may submit, must not wait, run, stop or close. NULL: the op
	 * goes to ob_poll. */
	void (*on_done)(struct ob_op *op);
	void *arg; /* the caller's */

	/* ---- out ---- */
	int result; /* 0; of the error's column above; -ETIMEDOUT when the deadline passed while a transient error lasted */
	enum ob_error error; /* the last one */
	bool maybe_done; /* failed, but a try that broke off may have been carried out by the store */
	unsigned tries;
	uint64_t got;
	uint64_t object_size;
	int64_t modified_s;
	char etag[OB_ETAG_MAX]; /* without quotes; opaque */
	char upload_id[OB_UPLOAD_MAX]; /* of OB_MULTI_BEGIN */
	struct ob_list list; /* free with ob_op_clear */
	char message[OB_MESSAGE_MAX]; /* why it failed, for people; no secrets */

	/* ---- the client's ---- */
	struct ob_task *task;
	struct ob_op *next;
};

/* All may be 0 for the default. */
struct ob_options {
	unsigned parallel; /* requests at a time, up to OB_PARALLEL_MAX; default 8. file:// and s3v2:// do one at a time */
	uint64_t send_rate; /* bytes of bodies a second, all requests together; 0 = no limit */
	uint64_t receive_rate;
	uint32_t connect_ms; /* default 10 000 */
	uint32_t
		stall_ms; /* a request without progress is given up after that, one slower than 1 KiB/s after up to twice that; default 30 000 */
	uint32_t retry_first_ms; /* pause before the second try; default 200 */
	uint32_t retry_max_ms; /* longest pause; default 20 000 */
	bool unverified_tls; /* s3v2 only: accept https although libs3 does not verify it */
};

struct ob_client;

/* Open the place that `url` names. Nothing is asked of it yet.
 * message   why not, for people, without secrets
 * Returns 0; -EINVAL URL, options or settings are wrong; -ENOENT no such directory, no credentials; -ENOTSUP scheme not in this
 * build; -EACCES; -ENOMEM; -EAGAIN no thread. Starts the client's thread. */
NF_MUST_CHECK int ob_client_open(const char *url, const struct ob_options *options, struct ob_client **ret_client, char *message,
				 size_t message_size);

/* End all ops with OB_CANCELLED (those that just finished keep their result) and the thread. ob_poll still gives them out; ob_submit
 * is -ESHUTDOWN. Waits for a disk operation under way, not for the network. May be called again. Not from on_done. */
void ob_client_stop(struct ob_client *client);

/* Stop and free. No other call may be under way or follow. Ops that were never polled are the caller's again. NULL is legal. */
void ob_client_close(struct ob_client *client);

/* "s3://bucket/prefix at https://host": for people. The client's. */
const char *ob_client_place(const struct ob_client *client);

/* Hand over `op`. Hashes the data of a put on the calling thread.
 * Returns 0: it will come back. Otherwise it stays the caller's, with error and message set: -EINVAL the op is wrong;
 * -EAGAIN OB_QUEUE_MAX ops are under way; -ESHUTDOWN; -ENOTSUP; -ENOMEM. */
NF_MUST_CHECK int ob_submit(struct ob_client *client, struct ob_op *op);

/* Up to `max` ops that are done, in the order in which they were. Waits up to timeout_ms (-1: for ever) for the first, but not
 * when none that is to be polled is under way. Returns how many. */
unsigned ob_poll(struct ob_client *client, struct ob_op **ret_ops, unsigned max, int timeout_ms);

/* A descriptor that is readable while ob_poll would give something; the client's. */
int ob_client_fd(const struct ob_client *client);

/* Submit and wait. Returns op->result, or what ob_submit returned (then op->result is that too). Not from on_done. */
NF_MUST_CHECK int ob_run(struct ob_client *client, struct ob_op *op);

/* Ask for an op to end: it comes back soon, with OB_CANCELLED unless it was done already. Only between submission and return. */
void ob_cancel(struct ob_client *client, struct ob_op *op);

/* Free what a list points to. Legal on any op that is not under way. */
void ob_op_clear(struct ob_op *op);

struct ob_stats {
	uint64_t tries, retries,
		failed; /* requests begun; again after a transient error; ops that ended in an error but not-found and precondition */
	uint64_t sent, received; /* bytes of bodies */
	unsigned waiting, running; /* ops now */
	unsigned troubled; /* ops that wait after a transient error */
	char trouble[OB_MESSAGE_MAX]; /* the last transient error; "" when the last try of any op was answered */
};
void ob_client_stats(struct ob_client *client, struct ob_stats *ret_stats);

/* ---- larger jobs made of these; both wait, neither may be called from on_done ---- */

struct ob_conditional {
	bool if_none_match; /* a second put of the same key is refused */
	bool one_winner; /* and of several at once all but one */
	bool if_match; /* a put on another version than the one named is refused */
};

/* Try what conditional puts do here, with scratch_key and scratch_key-race, which must not exist and are deleted again. Never build a lease
 * on a place where if_none_match or one_winner is false: it may ignore conditions without a word.
 * Returns 0 with the answers, message saying what was seen; or as ob_run when they cannot be had. */
NF_MUST_CHECK int ob_check_conditional(struct ob_client *client, const char *scratch_key, struct ob_conditional *ret_answer,
				       char *message, size_t message_size);

/* Fill buf with `size` bytes from `offset` of what is uploaded. 0 or -errno, which ends the upload. On the thread of ob_upload. */
typedef int (*ob_read_fn)(void *arg, uint64_t offset, void *buf, size_t size);

struct ob_upload {
	const char *key;
	uint64_t size;
	uint64_t part_size; /* 0 = 16 MiB; what is not larger is one put */
	unsigned parts_at_once; /* 0 = 4; so much memory is used */
	ob_read_fn read;
	void *arg;
	uint32_t deadline_ms; /* of each request */
	char etag[OB_ETAG_MAX]; /* out */
	char message[OB_MESSAGE_MAX]; /* out */
	enum ob_error error; /* out */
};
/* Upload an object of any size, in parts side by side; the parts are dropped when it fails. Returns 0 or -errno as ob_run or read. */
NF_MUST_CHECK int ob_upload(struct ob_client *client, struct ob_upload *upload);

#endif
