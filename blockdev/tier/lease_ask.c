/* What the lease asks the object store, and what an answer says of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blockdev/tier/lease_impl.h"

int64_t lease_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static enum lease_outcome failed(struct bd_lease *lease, int error, const char *message)
{
	lease->error = error;
	snprintf(lease->message, sizeof(lease->message), "%s", message);
	return LEASE_FAILED;
}

enum lease_outcome lease_list(struct bd_lease *lease, uint32_t *ret_generation)
{
	char after[OB_AFTER_MAX];
	uint32_t highest = 0, generation;
	lease_key(lease->list_after, after);
	for (bool more = true; more;) {
		struct ob_op op = {.kind = OB_LIST, .key = "lease/", .after = after, .deadline_ms = lease->deadline_ms};
		if (ob_run(lease->client, &op) != 0)
			return failed(lease, op.result, op.message);
		for (unsigned i = 0; i < op.list.count; i++)
			if (lease_key_parse(op.list.entries[i].key, &generation))
				highest = NF_MAX(highest, generation);
		more = op.list.more;
		memcpy(after, op.list.next_after, sizeof(after));
		ob_op_clear(&op);
	}
	*ret_generation = highest;
	return LEASE_DONE;
}

enum lease_outcome lease_get(struct bd_lease *lease, uint32_t generation, struct lease_doc *ret_doc)
{
	char key[LEASE_KEY_SIZE], text[LEASE_TEXT_MAX + 1];
	lease_key(generation, key);
	struct ob_op op = {
		.kind = OB_GET, .key = key, .buf = text, .size = sizeof(text), .may_be_short = true, .deadline_ms = lease->deadline_ms};
	int rc = ob_run(lease->client, &op);
	if (rc != 0) {
		failed(lease, rc, op.message);
		return rc == -ENOENT ? LEASE_NONE : LEASE_FAILED;
	}
	bool good = lease_paper_decode(text, op.got, &lease->paper) == 0 && lease->paper.doc.generation == generation;
	if (!good && lease->core.phase == LEASE_IN_MINE) {
		/* Nobody but the holder puts it: it is a put of ours that was damaged on its way, and is put again. */
		memcpy(lease->etag, op.etag, sizeof(lease->etag));
		*ret_doc = (struct lease_doc){.holder = lease->core.holder, .generation = generation};
		return LEASE_DONE;
	}
	if (!good) {
		snprintf(lease->message, sizeof(lease->message), "%s is no lease: damaged, or of a newer neonfs", key);
		lease->error = -EUCLEAN;
		return LEASE_FAILED;
	}
	if (generation == lease->core.generation)
		memcpy(lease->etag, op.etag, sizeof(lease->etag));
	*ret_doc = lease->paper.doc;
	return LEASE_DONE;
}

static enum lease_outcome look(struct bd_lease *lease, uint32_t generation)
{
	char key[LEASE_KEY_SIZE];
	lease_key(generation, key);
	struct ob_op op = {.kind = OB_HEAD, .key = key, .deadline_ms = lease->deadline_ms};
	int rc = ob_run(lease->client, &op);
	if (rc == 0)
		return LEASE_DONE;
	return rc == -ENOENT ? LEASE_NONE : failed(lease, rc, op.message);
}

static enum lease_outcome put_text(struct bd_lease *lease, const struct lease_ask *ask, const char *text, size_t size)
{
	char key[LEASE_KEY_SIZE], etag[OB_ETAG_MAX];
	bool conditional = ask->conditional && lease->etag[0] != '\0';
	lease_key(ask->generation, key);
	memcpy(etag, lease->etag, sizeof(etag));
	struct ob_op op = {.kind = OB_PUT,
			   .key = key,
			   .data = text,
			   .size = size,
			   .if_none_match = ask->kind == LEASE_MAKE,
			   .if_match = conditional ? etag : NULL,
			   .deadline_ms = lease->deadline_ms};
	int rc = ob_run(lease->client, &op);
	if (rc == 0) {
		memcpy(lease->etag, op.etag, sizeof(lease->etag));
		return LEASE_DONE;
	}
	if (op.error == OB_PRECONDITION || op.error == OB_DOUBT || (conditional && op.error == OB_NOT_FOUND))
		return LEASE_REFUSED;
	if (op.error == OB_UNSUPPORTED && conditional) {
		/* A luxury that not every place has. */
		lease->core.plain = true;
		const struct lease_ask plain = {.kind = LEASE_PUT, .generation = ask->generation};
		return put_text(lease, &plain, text, size);
	}
	return failed(lease, op.error == OB_UNSUPPORTED ? -EOPNOTSUPP : rc, op.message);
}

static enum lease_outcome put(struct bd_lease *lease, const struct lease_ask *ask)
{
	struct timespec now;
	struct lease_paper paper = {.doc = ask->doc};
	size_t size;
	clock_gettime(CLOCK_REALTIME, &now);
	paper.time_s = now.tv_sec;
	lease_paper_sign(paper.holder);
	char *text = lease_paper_encode(&paper, &size);
	if (text == NULL)
		return failed(lease, -ENOMEM, "out of memory");
	enum lease_outcome outcome = put_text(lease, ask, text, size);
	free(text);
	return outcome;
}

void lease_ask_store(struct bd_lease *lease, const struct lease_ask *ask)
{
	struct lease_reply reply = {0};
	switch (ask->kind) {
	case LEASE_LIST: reply.outcome = lease_list(lease, &reply.generation); break;
	case LEASE_GET: reply.outcome = lease_get(lease, ask->generation, &reply.doc); break;
	case LEASE_LOOK: reply.outcome = look(lease, ask->generation); break;
	case LEASE_MAKE:
	case LEASE_PUT: reply.outcome = put(lease, ask); break;
	case LEASE_PAUSE:
	case LEASE_NOTHING: return;
	}
	lease_answer(&lease->core, lease_now_ns(), &reply);
}

void lease_run_on(struct bd_lease *lease)
{
	struct lease_ask ask;
	for (lease_next(&lease->core, lease_now_ns(), &ask); ask.kind != LEASE_NOTHING; lease_next(&lease->core, lease_now_ns(), &ask))
		lease_ask_store(lease, &ask);
}
