/* Inside of the object-store client: a client, its tasks, and what a backend is.
 *
 *   ob_submit ──▶ waiting ──start──▶ running ──ob_tried──▶ tried ──settle──▶ on_done, or done list ──▶ ob_poll
 *                    ▲                                               │
 *                    └───────────────── transient: a pause ──────────┘
 *
 * The lists are the client's and guarded by its lock; a task that runs or was tried is the thread's alone, and so is the whole
 * backend but for `wake`. An op may take several requests (enum ob_step): a doubtful answer is looked into first. */
#ifndef OB_IMPL_H
#define OB_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "blockdev/tier/object/limit.h"
#include "blockdev/tier/object/object.h"

#define OB_NEVER INT64_MAX

#define OB_DEFAULT_PARALLEL 8
#define OB_DEFAULT_CONNECT_MS 10000
#define OB_DEFAULT_STALL_MS 30000
#define OB_DEFAULT_RETRY_FIRST_MS 200
#define OB_DEFAULT_RETRY_MAX_MS 20000
#define OB_RETRY_AFTER_MAX_MS 60000 /* of what a server may ask for */
#define OB_BAD_BODIES_MAX 3 /* so often wrong bytes are called an accident */

enum ob_step {
	OB_STEP_MAIN, /* the op itself */
	OB_STEP_LOOK, /* HEAD of the key: is what is there ours? */
	OB_STEP_BUCKET, /* a HEAD said 404: the object or the bucket? */
};

enum ob_place { OB_WAITING, OB_RUNNING, OB_TRIED };

struct ob_task {
	struct ob_op *op;
	struct ob_task *next, *previous; /* in the list of its place */
	enum ob_place place;
	enum ob_step step;
	int64_t deadline_ns; /* OB_NEVER */
	int64_t not_before_ns;
	unsigned failures; /* transient ones in a row: what the pause grows with */
	unsigned bad_bodies;
	bool cancelled; /* client->lock */
	bool troubled; /* client->lock: in client->troubled */
	bool maybe_done; /* a try broke off after the request had left */
	bool reached; /* of this try: something of the request has left */
	uint32_t retry_after_ms; /* of this try, as the server asked */
	char expect_md5[33]; /* of a put's data; "" where nothing asked for it */
	uint8_t md5[16];
	char sha256[65], sha256_base64[45];
	bool asked_checksum; /* this try did; the thread's */
	void *transfer; /* the backend's, while running */
};

struct ob_tasks {
	struct ob_task *first, *last;
	unsigned count;
};

struct ob_backend;

struct ob_backend_class {
	/* Begin one request for task->op at task->step. Ends with one ob_tried, at once or from `wait`. */
	void (*start)(struct ob_backend *backend, struct ob_task *task);
	/* Give a running task up, without ob_tried. */
	void (*abort)(struct ob_backend *backend, struct ob_task *task);
	/* Work until a task was tried, `wake` was called since the last `wait`, or the clock has reached until_ns. */
	void (*wait)(struct ob_backend *backend, int64_t until_ns);
	void (*wake)(struct ob_backend *backend); /* from any thread */
	void (*destroy)(struct ob_backend *backend);
};

struct ob_backend {
	const struct ob_backend_class *class;
	struct ob_client *client;
	unsigned parallel_max;
	bool hashes; /* what is put goes with its SHA-256 */
	_Atomic bool wants_md5; /* and with its MD5: nothing else in an answer says what the store has got */
	_Atomic bool no_checksum; /* the store refuses what asks for its checksum */
	char place[OB_URL_MAX];
};

struct ob_client {
	struct ob_backend *backend;
	struct ob_options options;
	struct ob_bucket send, receive; /* the thread's */
	uint64_t random; /* the thread's */
	struct ob_tasks tried; /* the thread's */
	bool bucket_seen; /* the thread's: some answer showed that the bucket exists */
	pthread_t thread;
	int event_fd;

	pthread_mutex_t lock;
	pthread_cond_t done_cond; /* the done list grew, or an op that is to be polled went elsewhere */
	struct ob_tasks waiting, running;
	struct ob_op *done_first, *done_last;
	unsigned outstanding; /* submitted, not yet given back */
	unsigned to_poll; /* of these, without on_done */
	bool stopping, stopped;
	struct ob_stats stats;
};

/* ---- for backends, on the client's thread ---- */

/* One request of `task` has ended: error OB_OK with the op's outputs set, or an error with its message. */
void ob_tried(struct ob_client *client, struct ob_task *task, enum ob_error error, const char *format, ...) NF_PRINTF(4, 5);
void ob_count_sent(struct ob_client *client, uint64_t bytes);
void ob_count_received(struct ob_client *client, uint64_t bytes);
bool ob_is_cancelled(struct ob_client *client, struct ob_task *task); /* or its deadline has passed */

int64_t ob_now_ns(void);

/* ---- work.c: the thread ---- */

void *ob_work(void *client);
void ob_tasks_append(struct ob_tasks *list, struct ob_task *task);

/* ---- settle.c: what one try means for its op. On the client's thread. Returns true when the op is done, false for another try. */
bool ob_settle(struct ob_client *client, struct ob_task *task, int64_t now_ns);
bool ob_is_transient(enum ob_error error);
int ob_error_result(enum ob_error error);
void ob_say(struct ob_op *op, enum ob_error error, const char *format, ...) NF_PRINTF(3, 4);

/* ---- op.c ---- */

/* Is the op well-formed? Returns 0, or -EINVAL with its error and message. */
int ob_op_check(struct ob_op *op);
bool ob_key_is_valid(const char *key);
bool ob_prefix_is_valid(const char *prefix);
/* SHA-256, and MD5, of a put's data. Return 0; -ENOMEM. */
int ob_task_hash(struct ob_task *task);
int ob_task_hash_md5(struct ob_task *task);
/* Do the bytes got fit what the op expects? */
bool ob_body_is_expected(const struct ob_op *op);
/* Room for `count` entries and their texts. Returns 0; -ENOMEM. */
int ob_list_begin(struct ob_list *list, unsigned count, size_t names_size);

/* ---- backends. Returns 0, or -errno with a message. ---- */
int ob_dir_open(struct ob_client *client, const char *path, struct ob_backend **ret_backend, char *message, size_t message_size);
int ob_s3_open(struct ob_client *client, const char *url, struct ob_backend **ret_backend, char *message, size_t message_size);
int ob_s3v2_open(struct ob_client *client, const char *url, struct ob_backend **ret_backend, char *message, size_t message_size);

#endif
