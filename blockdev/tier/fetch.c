/* Fetching many objects. See fetch.h.
 *
 * A ring of slots: requests are submitted at the head while their bytes are bounded, and taken at the tail when they are done; those in between
 * may be done in any order. */
#include "blockdev/tier/fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct slot {
	struct ob_op op;
	struct bd_want want;
	uint8_t *buf;
	bool done;
};

struct ring {
	struct ob_client *client;
	struct slot slots[BD_FETCH_IN_FLIGHT];
	uint64_t head, tail; /* submitted, taken */
	uint64_t bytes;	     /* of those in between */
	bool waits;	     /* the slot at the head has a want that did not fit */
	bool ended;	     /* `next` has no more */
};

static int submit(struct ring *ring)
{
	struct slot *slot = &ring->slots[ring->head % BD_FETCH_IN_FLIGHT];
	slot->buf = malloc(slot->want.size + 1);
	if (slot->buf == NULL)
		return -ENOMEM;
	slot->done = false;
	slot->op = (struct ob_op){.kind = OB_GET,
				  .key = slot->want.key,
				  .buf = slot->buf,
				  .size = slot->want.size,
				  .offset = slot->want.offset,
				  .deadline_ms = BD_FETCH_REQUEST_MS,
				  .arg = slot};
	int error = ob_submit(ring->client, &slot->op);
	if (error != 0) {
		free(slot->buf);
		return error;
	}
	ring->bytes += slot->want.size;
	ring->head++;
	return 0;
}

/* Ask for as much as may be under way. */
static int fill(struct ring *ring, bd_fetch_next_fn next, void *arg)
{
	while (!ring->ended && ring->head - ring->tail < BD_FETCH_IN_FLIGHT) {
		struct slot *slot = &ring->slots[ring->head % BD_FETCH_IN_FLIGHT];
		int error = ring->waits ? 0 : next(arg, &slot->want);
		if (error == 1)
			ring->ended = true;
		if (error != 0)
			return error == 1 ? 0 : error;
		ring->waits = ring->head != ring->tail && ring->bytes + slot->want.size > BD_FETCH_IN_FLIGHT_BYTES;
		if (ring->waits)
			return 0;
		error = submit(ring);
		if (error != 0)
			return error;
	}
	return 0;
}

static void await(struct ring *ring, const struct slot *slot)
{
	while (!slot->done) {
		struct ob_op *ops[BD_FETCH_IN_FLIGHT];
		unsigned count = ob_poll(ring->client, ops, BD_FETCH_IN_FLIGHT, -1);
		for (unsigned i = 0; i < count; i++)
			((struct slot *)ops[i]->arg)->done = true;
	}
}

/* What came of it. */
static int judge(const struct slot *slot, char *why, size_t size)
{
	const struct ob_op *op = &slot->op;
	if (op->result == 0 && op->object_size == slot->want.object_size)
		return 0;
	if (op->result == 0) {
		snprintf(why, size, "it has %llu bytes, not %llu", (unsigned long long)op->object_size, (unsigned long long)slot->want.object_size);
		return -EUCLEAN;
	}
	if (op->error == OB_SHORT) {
		snprintf(why, size, "it is shorter than the %llu bytes that it should have", (unsigned long long)slot->want.object_size);
		return -EUCLEAN;
	}
	snprintf(why, size, "%s", op->message);
	return op->result;
}

static int take(struct ring *ring, bd_fetch_got_fn got, void *arg)
{
	struct slot *slot = &ring->slots[ring->tail % BD_FETCH_IN_FLIGHT];
	char why[OB_MESSAGE_MAX] = "";
	await(ring, slot);
	int error = judge(slot, why, sizeof(why));
	error = got(arg, &slot->want, error, why, slot->buf);
	free(slot->buf);
	ring->bytes -= slot->want.size;
	ring->tail++;
	return error;
}

/* Nothing of ours may be under way when buffers go. */
static void give_up(struct ring *ring)
{
	for (uint64_t i = ring->tail; i < ring->head; i++) {
		struct slot *slot = &ring->slots[i % BD_FETCH_IN_FLIGHT];
		if (!slot->done)
			ob_cancel(ring->client, &slot->op);
	}
	for (; ring->tail < ring->head; ring->tail++) {
		struct slot *slot = &ring->slots[ring->tail % BD_FETCH_IN_FLIGHT];
		await(ring, slot);
		free(slot->buf);
	}
}

int bd_fetch(struct ob_client *client, bd_fetch_next_fn next, bd_fetch_got_fn got, void *arg)
{
	struct ring *ring = calloc(1, sizeof(*ring));
	if (ring == NULL)
		return -ENOMEM;
	ring->client = client;
	int error = fill(ring, next, arg);
	while (error == 0 && ring->tail < ring->head) {
		error = take(ring, got, arg);
		if (error == 0)
			error = fill(ring, next, arg);
	}
	give_up(ring);
	free(ring);
	return error;
}

int bd_list(struct ob_client *client, const char *prefix, bd_list_fn each, void *arg, char *message, size_t size)
{
	char after[OB_AFTER_MAX] = "";
	bool more = true;
	int error = 0;
	while (more && error == 0) {
		struct ob_op op = {.kind = OB_LIST,
				   .key = prefix,
				   .after = after[0] != '\0' ? after : NULL,
				   .deadline_ms = BD_FETCH_REQUEST_MS};
		error = ob_run(client, &op);
		if (error != 0)
			snprintf(message, size, "objects %s* cannot be listed: %s", prefix, op.message);
		for (unsigned i = 0; i < op.list.count && error == 0; i++)
			error = each(arg, &op.list.entries[i]);
		more = op.list.more;
		memcpy(after, op.list.next_after, sizeof(after));
		ob_op_clear(&op);
	}
	return error;
}
