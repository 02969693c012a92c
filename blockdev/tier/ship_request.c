/* The ship's requests. What fails for a passing reason is tried again by the client, for ever; any other refusal (no rights, no bucket, no room) is told, shown in the status, and
 * tried again here, with growing pauses: nothing of it reaches a writer. */
#include "blockdev/tier/ship_impl.h"

#include <stdio.h>
#include <stdlib.h>

#include "blockdev/tier/lease.h"
#include "common/nf_log.h"

#define TELL_MS 60000 /* between two lines about what goes wrong */
#define FIRST_PAUSE_MS 100

void ship_note_error(struct bd_ship *ship, const char *what, const char *message)
{
	int64_t now = ship_now_ms();
	pthread_mutex_lock(&ship->lock);
	snprintf(ship->last_error, sizeof(ship->last_error), "%s: %s", what, message);
	bool tell = ship->told_ms == 0 || now - ship->told_ms >= TELL_MS;
	if (tell)
		ship->told_ms = now;
	pthread_mutex_unlock(&ship->lock);
	if (tell)
		nf_error("object store: %s: %s; tried again", what, message);
}

static void note_success(struct bd_ship *ship)
{
	pthread_mutex_lock(&ship->lock);
	ship->last_error[0] = '\0';
	pthread_mutex_unlock(&ship->lock);
}

void ship_pause(struct bd_ship *ship, unsigned tries)
{
	int64_t until = ship_now_ms() + NF_MIN(SHIP_PAUSE_MS, FIRST_PAUSE_MS << NF_MIN(tries - 1, 10u));
	pthread_mutex_lock(&ship->lock);
	uint64_t asked = ship->flush_asked;
	for (int64_t now; !ship->stop && ship->flush_asked == asked && (now = ship_now_ms()) < until;)
		ship_wait(ship, until - now);
	pthread_mutex_unlock(&ship->lock);
}

/* Not there, or another one than was looked for: asking again does not help. */
static bool is_final(const struct ob_op *op, int error)
{
	return op->kind == OB_GET && (error == -ENOENT || error == -ENODATA || error == -EUCLEAN);
}

/* Until it is done, or fails for good, or the ship is over. */
static int run(struct bd_ship *ship, struct ob_op *op)
{
	for (unsigned tries = 1;; tries++) {
		int error = ob_run(ship->client, op);
		if (error == 0 || is_final(op, error)) {
			note_success(ship);
			return error;
		}
		if (error == -ECANCELED || error == -ESHUTDOWN || ship_is_over(ship))
			return -ECANCELED;
		ship_note_error(ship, op->key, op->message);
		ob_op_clear(op);
		ship_pause(ship, tries);
	}
}

int ship_put(struct bd_ship *ship, const char *key, const void *bytes, uint64_t size)
{
	struct ob_op op = {.kind = OB_PUT, .key = key, .data = bytes, .size = size};
	int error = run(ship, &op);
	if (error == 0) {
		pthread_mutex_lock(&ship->lock);
		ship->put_requests++;
		ship->put_bytes += size;
		pthread_mutex_unlock(&ship->lock);
	}
	return error;
}

int ship_get(struct bd_ship *ship, const char *key, uint64_t size, void **ret_bytes)
{
	void *bytes = malloc(size + 1);
	if (bytes == NULL)
		return -ENOMEM;
	struct ob_op op = {.kind = OB_GET, .key = key, .buf = bytes, .size = size};
	int error = run(ship, &op);
	if (error == 0 && op.object_size != size)
		error = -EUCLEAN;
	if (error != 0) {
		free(bytes);
		return error;
	}
	pthread_mutex_lock(&ship->lock);
	ship->get_requests++;
	ship->get_bytes += size;
	pthread_mutex_unlock(&ship->lock);
	*ret_bytes = bytes;
	return 0;
}

int ship_list(struct bd_ship *ship, const char *prefix, const char *after, struct ob_op *ret_op)
{
	*ret_op = (struct ob_op){.kind = OB_LIST, .key = prefix, .after = after};
	int error = run(ship, ret_op);
	pthread_mutex_lock(&ship->lock);
	ship->get_requests++;
	pthread_mutex_unlock(&ship->lock);
	return error;
}

int ship_delete(struct bd_ship *ship, const char *key)
{
	int error = ship->tier->lease != NULL ? bd_lease_confirm(ship->tier->lease) : 0;
	if (error != 0)
		return -ECANCELED;
	struct ob_op op = {.kind = OB_DELETE, .key = key};
	error = run(ship, &op);
	if (error == 0) {
		pthread_mutex_lock(&ship->lock);
		ship->deleted_objects++;
		pthread_mutex_unlock(&ship->lock);
	}
	return error;
}
