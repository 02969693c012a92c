/* Uploading an object of any size in parts side by side. See object.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/tier/object/impl.h"

#define PART_DEFAULT (UINT64_C(16) << 20)
#define PARTS_AT_ONCE_DEFAULT 4
#define PARTS_AT_ONCE_MAX 16
#define ABORT_DEADLINE_MS 30000

struct slot {
	struct ob_op op;
	void *buffer;
	struct job *job;
	bool busy;
};

struct job {
	struct ob_client *client;
	struct ob_upload *upload;
	char id[OB_UPLOAD_MAX];
	uint64_t part_size;
	unsigned count; /* of parts */
	char (*etags)[OB_ETAG_MAX];
	struct slot *slots;
	unsigned slot_count;
	pthread_mutex_t lock;
	pthread_cond_t cond; /* a slot is free again */
};

static int take_outcome(struct ob_upload *upload, const struct ob_op *op)
{
	upload->error = op->error;
	memcpy(upload->message, op->message, sizeof(upload->message));
	return op->result;
}

static int own_failure(struct ob_upload *upload, int rc, const char *what)
{
	upload->error = OB_LOCAL;
	snprintf(upload->message, sizeof(upload->message), "%s: %s: %s", upload->key, what, strerror(-rc));
	return rc;
}

static int upload_whole(struct ob_client *client, struct ob_upload *upload)
{
	void *buffer = malloc(upload->size > 0 ? upload->size : 1);
	if (buffer == NULL)
		return own_failure(upload, -ENOMEM, "upload");
	int rc = upload->size > 0 ? upload->read(upload->arg, 0, buffer, upload->size) : 0;
	if (rc != 0) {
		free(buffer);
		return own_failure(upload, rc, "read");
	}
	struct ob_op op = {
		.kind = OB_PUT, .key = upload->key, .data = buffer, .size = upload->size, .deadline_ms = upload->deadline_ms};
	(void)!ob_run(client, &op);
	free(buffer);
	memcpy(upload->etag, op.etag, sizeof(upload->etag));
	return take_outcome(upload, &op);
}

static void part_done(struct ob_op *op)
{
	struct slot *slot = op->arg;
	pthread_mutex_lock(&slot->job->lock);
	slot->busy = false;
	pthread_cond_signal(&slot->job->cond);
	pthread_mutex_unlock(&slot->job->lock);
}

/* The part in a slot that has ended; its outcome is taken once. */
static int settle_slot(struct job *job, struct slot *slot)
{
	if (slot->op.part == 0)
		return 0;
	unsigned part = slot->op.part;
	slot->op.part = 0;
	if (slot->op.result != 0)
		return take_outcome(job->upload, &slot->op);
	memcpy(job->etags[part - 1], slot->op.etag, OB_ETAG_MAX);
	return 0;
}

static struct slot *wait_for_slot(struct job *job)
{
	pthread_mutex_lock(&job->lock);
	for (;;) {
		for (unsigned i = 0; i < job->slot_count; i++) {
			if (!job->slots[i].busy) {
				pthread_mutex_unlock(&job->lock);
				return &job->slots[i];
			}
		}
		pthread_cond_wait(&job->cond, &job->lock);
	}
}

static int put_part(struct job *job, unsigned part)
{
	struct ob_upload *upload = job->upload;
	uint64_t offset = (uint64_t)(part - 1) * job->part_size;
	uint64_t size = NF_MIN(job->part_size, upload->size - offset);
	struct slot *slot = wait_for_slot(job);
	int rc = settle_slot(job, slot);
	if (rc != 0)
		return rc;
	rc = upload->read(upload->arg, offset, slot->buffer, size);
	if (rc != 0)
		return own_failure(upload, rc, "read");
	slot->op = (struct ob_op){.kind = OB_MULTI_PUT,
				  .key = upload->key,
				  .data = slot->buffer,
				  .size = size,
				  .upload = job->id,
				  .part = part,
				  .part_size = job->part_size,
				  .deadline_ms = upload->deadline_ms,
				  .on_done = part_done,
				  .arg = slot};
	slot->busy = true;
	rc = ob_submit(job->client, &slot->op);
	if (rc != 0) {
		slot->busy = false;
		slot->op.part = 0;
		take_outcome(upload, &slot->op);
	}
	return rc;
}

/* Wait for all parts; after a failure what still runs is cancelled. */
static int drain(struct job *job, int rc)
{
	for (unsigned i = 0; i < job->slot_count; i++) {
		struct slot *slot = &job->slots[i];
		if (rc != 0)
			ob_cancel(job->client, &slot->op);
		pthread_mutex_lock(&job->lock);
		while (slot->busy)
			pthread_cond_wait(&job->cond, &job->lock);
		pthread_mutex_unlock(&job->lock);
		if (rc == 0)
			rc = settle_slot(job, slot);
	}
	return rc;
}

static int end_parts(struct job *job)
{
	struct ob_upload *upload = job->upload;
	const char **etags = calloc(job->count, sizeof(*etags));
	if (etags == NULL)
		return own_failure(upload, -ENOMEM, "upload");
	for (unsigned i = 0; i < job->count; i++)
		etags[i] = job->etags[i];
	struct ob_op op = {.kind = OB_MULTI_END,
			   .key = upload->key,
			   .upload = job->id,
			   .part_size = job->part_size,
			   .part_etags = etags,
			   .part_count = job->count,
			   .deadline_ms = upload->deadline_ms};
	(void)!ob_run(job->client, &op);
	free(etags);
	memcpy(upload->etag, op.etag, sizeof(upload->etag));
	return take_outcome(upload, &op);
}

static int begin_parts(struct job *job)
{
	struct ob_op op = {.kind = OB_MULTI_BEGIN,
			   .key = job->upload->key,
			   .part_size = job->part_size,
			   .deadline_ms = job->upload->deadline_ms};
	(void)!ob_run(job->client, &op);
	memcpy(job->id, op.upload_id, sizeof(job->id));
	return take_outcome(job->upload, &op);
}

static void abort_parts(struct job *job)
{
	struct ob_op op = {.kind = OB_MULTI_ABORT, .key = job->upload->key, .upload = job->id, .deadline_ms = ABORT_DEADLINE_MS};
	/* Parts that stay are paid for and not seen: the bucket's rule for unfinished uploads takes them away. */
	(void)!ob_run(job->client, &op);
}

static int upload_parts(struct job *job)
{
	int rc = begin_parts(job);
	if (rc != 0)
		return rc;
	for (unsigned part = 1; rc == 0 && part <= job->count; part++)
		rc = put_part(job, part);
	rc = drain(job, rc);
	if (rc == 0)
		rc = end_parts(job);
	if (rc != 0)
		abort_parts(job);
	return rc;
}

static bool make_slots(struct job *job)
{
	job->etags = calloc(job->count, sizeof(*job->etags));
	job->slots = calloc(job->slot_count, sizeof(*job->slots));
	if (job->etags == NULL || job->slots == NULL)
		return false;
	for (unsigned i = 0; i < job->slot_count; i++) {
		job->slots[i].job = job;
		job->slots[i].buffer = malloc(job->part_size);
		if (job->slots[i].buffer == NULL)
			return false;
	}
	return true;
}

static void free_job(struct job *job)
{
	for (unsigned i = 0; job->slots != NULL && i < job->slot_count; i++)
		free(job->slots[i].buffer);
	free(job->slots);
	free(job->etags);
	pthread_cond_destroy(&job->cond);
	pthread_mutex_destroy(&job->lock);
	free(job);
}

int ob_upload(struct ob_client *client, struct ob_upload *upload)
{
	uint64_t part_size = upload->part_size > 0 ? upload->part_size : PART_DEFAULT;
	upload->etag[0] = upload->message[0] = '\0';
	upload->error = OB_OK;
	if (part_size < OB_PART_MIN || part_size > OB_PUT_MAX || upload->size / OB_PARTS_MAX >= part_size) {
		upload->error = OB_INVALID;
		snprintf(upload->message, sizeof(upload->message), "%s: the size of parts does not fit", upload->key);
		return -EINVAL;
	}
	if (upload->size <= part_size)
		return upload_whole(client, upload);
	struct job *job = calloc(1, sizeof(*job));
	if (job == NULL)
		return own_failure(upload, -ENOMEM, "upload");
	unsigned count = (unsigned)((upload->size + part_size - 1) / part_size);
	unsigned at_once = upload->parts_at_once > 0 ? upload->parts_at_once : PARTS_AT_ONCE_DEFAULT;
	*job = (struct job){.client = client,
			    .upload = upload,
			    .part_size = part_size,
			    .count = count,
			    .slot_count = NF_MIN(NF_MIN(at_once, PARTS_AT_ONCE_MAX), count)};
	pthread_mutex_init(&job->lock, NULL);
	pthread_cond_init(&job->cond, NULL);
	int rc = make_slots(job) ? upload_parts(job) : own_failure(upload, -ENOMEM, "upload");
	free_job(job);
	return rc;
}
