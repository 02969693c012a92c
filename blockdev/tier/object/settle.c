/* What one try means for its op: done, another try after a pause, or a look at what is there first.
 *
 *   MAIN ── put: precondition, after a try that broke off ──▶ LOOK ── our etag: doubt; another: precondition; nothing: MAIN again
 *    │ └─── end of an upload: no such upload, likewise ──────▶ LOOK ── the etag that it makes: ok
 *    └───── get, head: 404, and the bucket never seen ────────▶ BUCKET ── no-bucket, or not-found
 *
 * A try breaks off when its request has left and no answer came: the store may have carried it out, and then the second try of a
 * conditional put fails on the first one's success. Equal bytes of somebody else look the same, so that is called a doubt. */
#include <string.h>

#include "blockdev/tier/object/impl.h"
#include "blockdev/tier/object/sums.h"

static bool changes_something(enum ob_kind kind)
{
	return kind != OB_GET && kind != OB_HEAD && kind != OB_LIST;
}

/* A try at another step, at once. */
static bool go_to(struct ob_task *task, enum ob_step step, int64_t now_ns)
{
	task->step = step;
	task->not_before_ns = now_ns;
	return false;
}

static void settle_body(struct ob_op *op)
{
	if (op->got < op->size && !op->may_be_short)
		ob_say(op, OB_SHORT, "%s has %llu bytes, the range ends at %llu", op->key, (unsigned long long)op->object_size,
		       (unsigned long long)(op->offset + op->size));
	else if (!ob_body_is_expected(op))
		ob_say(op, OB_TRANSFER, "%s: what came are not the expected bytes", op->key);
}

/* After OB_STEP_LOOK found an object, or none. */
static bool settle_look(struct ob_task *task, int64_t now_ns)
{
	struct ob_op *op = task->op;
	char multi[OB_ETAG_MAX];
	if (op->kind == OB_MULTI_END) {
		if (op->error == OB_OK && ob_multi_etag(op, multi) && strcmp(multi, op->etag) == 0)
			return true;
		ob_say(op, OB_NOT_FOUND, "%s: there is no such upload, and its object is not there", op->key);
		return true;
	}
	if (op->error == OB_NOT_FOUND && op->if_none_match)
		return go_to(task, OB_STEP_MAIN, now_ns);
	if (op->error == OB_OK && strcmp(op->etag, task->expect_md5) == 0)
		ob_say(op, OB_DOUBT, "%s is there with these very bytes, maybe from an earlier try of this put", op->key);
	else
		ob_say(op, OB_PRECONDITION, "%s is not in the state that the put asks for", op->key);
	return true;
}

/* Some stores refuse a header that they do not know. From now on nothing is asked of this one, and this put goes again. */
static bool go_without_checksum(struct ob_client *client, struct ob_task *task)
{
	enum ob_error error = task->op->error;
	if (task->step != OB_STEP_MAIN || !task->asked_checksum || (error != OB_REFUSED && error != OB_UNSUPPORTED))
		return false;
	task->asked_checksum = false;
	atomic_store(&client->backend->no_checksum, true);
	atomic_store(&client->backend->wants_md5, true);
	return task->expect_md5[0] != '\0' || ob_task_hash_md5(task) == 0;
}

/* An answer that is no transient error. */
static bool settle_answer(struct ob_client *client, struct ob_task *task, int64_t now_ns)
{
	struct ob_op *op = task->op;
	if (go_without_checksum(client, task))
		return go_to(task, OB_STEP_MAIN, now_ns);
	if (task->step == OB_STEP_LOOK && (op->error == OB_OK || op->error == OB_NOT_FOUND))
		return settle_look(task, now_ns);
	if (task->step == OB_STEP_BUCKET) {
		if (op->error != OB_NO_BUCKET)
			ob_say(op, OB_NOT_FOUND, "there is no object %s", op->key);
		return true;
	}
	if (task->step == OB_STEP_LOOK)
		return true;
	if (task->maybe_done &&
	    ((op->kind == OB_PUT && op->error == OB_PRECONDITION) || (op->kind == OB_MULTI_END && op->error == OB_NOT_FOUND)))
		return go_to(task, OB_STEP_LOOK, now_ns);
	if ((op->kind == OB_HEAD || op->kind == OB_GET) && op->error == OB_NOT_FOUND && !client->bucket_seen)
		return go_to(task, OB_STEP_BUCKET, now_ns);
	if ((op->kind == OB_MULTI_ABORT || op->kind == OB_DELETE) && op->error == OB_NOT_FOUND)
		op->error = OB_OK;
	return true;
}

static bool settle_transient(struct ob_client *client, struct ob_task *task, int64_t now_ns)
{
	struct ob_op *op = task->op;
	if (op->error == OB_TRANSFER && ++task->bad_bodies >= OB_BAD_BODIES_MAX) {
		op->error = OB_CORRUPT;
		return true;
	}
	if (task->reached && task->step == OB_STEP_MAIN && changes_something(op->kind))
		task->maybe_done = true;
	task->failures++;
	uint32_t pause_ms = ob_pause_ms(task->failures, client->options.retry_first_ms, client->options.retry_max_ms,
					NF_MIN(task->retry_after_ms, OB_RETRY_AFTER_MAX_MS), ob_random(&client->random));
	task->not_before_ns = now_ns + (int64_t)pause_ms * 1000000;
	return task->not_before_ns >= task->deadline_ns;
}

bool ob_settle(struct ob_client *client, struct ob_task *task, int64_t now_ns)
{
	struct ob_op *op = task->op;
	bool done;
	if (op->error == OB_OK && op->kind == OB_GET)
		settle_body(op);
	done = ob_is_transient(op->error) ? settle_transient(client, task, now_ns) : settle_answer(client, task, now_ns);
	if (!done)
		return false;
	op->result = ob_error_result(op->error);
	op->maybe_done = op->result != 0 && task->maybe_done;
	if (op->error == OB_OK)
		op->message[0] = '\0';
	return true;
}
