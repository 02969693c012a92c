/* What conditional puts do at a place: tried, since a server that does not know them says nothing. See object.h. */
#include <stdio.h>
#include <string.h>

#include "blockdev/tier/object/impl.h"

#define DEADLINE_MS 60000
#define RIVALS 4

struct check {
	struct ob_client *client;
	const char *key;
	char *message;
	size_t message_size;
};

static int put(const struct check *check, const char *text, bool if_none_match, const char *if_match, struct ob_op *ret_op)
{
	*ret_op = (struct ob_op){.kind = OB_PUT,
				 .key = check->key,
				 .data = text,
				 .size = strlen(text),
				 .if_none_match = if_none_match,
				 .if_match = if_match,
				 .deadline_ms = DEADLINE_MS};
	return ob_run(check->client, ret_op);
}

static int give_up(const struct check *check, const struct ob_op *op)
{
	snprintf(check->message, check->message_size, "%s", op->message);
	return op->result;
}

/* Was a put that must not happen refused? 1 yes, 0 it was done, or the place says that it cannot; else -errno. */
static int was_refused(const struct check *check, const struct ob_op *op)
{
	if (op->error == OB_PRECONDITION)
		return 1;
	return op->error == OB_OK || op->error == OB_UNSUPPORTED ? 0 : give_up(check, op);
}

static int check_one(const struct check *check, struct ob_conditional *answer)
{
	struct ob_op op;
	int rc = put(check, "first", true, NULL, &op);
	if (op.error == OB_UNSUPPORTED) {
		snprintf(check->message, check->message_size, "conditional puts are not supported: %s", op.message);
		return 0;
	}
	if (rc != 0)
		return give_up(check, &op);
	(void)!put(check, "second", true, NULL, &op);
	rc = was_refused(check, &op);
	answer->if_none_match = rc == 1;
	if (rc != 1) {
		if (rc == 0)
			snprintf(check->message, check->message_size,
				 "if_none_match is ignored: a second put replaced the first");
		return rc;
	}
	struct ob_op head = {.kind = OB_HEAD, .key = check->key, .deadline_ms = DEADLINE_MS};
	if (ob_run(check->client, &head) != 0)
		return give_up(check, &head);
	rc = put(check, "third", false, head.etag, &op);
	if (rc != 0)
		return op.error == OB_UNSUPPORTED || op.error == OB_PRECONDITION ? 0 : give_up(check, &op);
	(void)!put(check, "fourth", false, head.etag, &op);
	rc = was_refused(check, &op);
	answer->if_match = rc == 1;
	return rc < 0 ? rc : 0;
}

struct race {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned running;
};

static void rival_done(struct ob_op *op)
{
	struct race *race = op->arg;
	pthread_mutex_lock(&race->lock);
	race->running--;
	pthread_cond_signal(&race->cond);
	pthread_mutex_unlock(&race->lock);
}

/* Several puts of one new key that are under way at the same time. */
static int check_race(const struct check *check, struct ob_conditional *answer)
{
	static const char *const texts[RIVALS] = {"first rival", "second rival", "third rival", "fourth rival"};
	struct race race = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER, .running = RIVALS};
	struct ob_op ops[RIVALS];
	unsigned winners = 0;
	int rc = 0;
	for (unsigned i = 0; i < RIVALS; i++) {
		ops[i] = (struct ob_op){.kind = OB_PUT,
					.key = check->key,
					.data = texts[i],
					.size = strlen(texts[i]),
					.if_none_match = true,
					.deadline_ms = DEADLINE_MS,
					.on_done = rival_done,
					.arg = &race};
		if (ob_submit(check->client, &ops[i]) != 0)
			rival_done(&ops[i]);
	}
	pthread_mutex_lock(&race.lock);
	while (race.running > 0)
		pthread_cond_wait(&race.cond, &race.lock);
	pthread_mutex_unlock(&race.lock);
	for (unsigned i = 0; rc == 0 && i < RIVALS; i++) {
		if (ops[i].error == OB_OK)
			winners++;
		else if (ops[i].error != OB_PRECONDITION)
			rc = give_up(check, &ops[i]);
	}
	answer->one_winner = rc == 0 && winners == 1;
	if (rc == 0 && winners != 1)
		snprintf(check->message, check->message_size, "of %u conditional puts at once %u were accepted", RIVALS, winners);
	return rc;
}

static int clean_up(const struct check *check)
{
	struct ob_op op = {.kind = OB_DELETE, .key = check->key, .deadline_ms = DEADLINE_MS};
	return ob_run(check->client, &op) == 0 ? 0 : give_up(check, &op);
}

int ob_check_conditional(struct ob_client *client, const char *scratch_key, struct ob_conditional *ret_answer, char *message,
			 size_t message_size)
{
	char race_key[OB_KEY_MAX + 1];
	struct check check = {.client = client, .key = scratch_key, .message = message, .message_size = message_size};
	*ret_answer = (struct ob_conditional){0};
	snprintf(message, message_size, "conditional puts work: one winner");
	if (snprintf(race_key, sizeof(race_key), "%s-race", scratch_key) >= (int)sizeof(race_key)) {
		snprintf(message, message_size, "the key is too long");
		return -EINVAL;
	}
	int rc = check_one(&check, ret_answer);
	int cleaned = clean_up(&check);
	if (rc == 0 && cleaned == 0 && ret_answer->if_none_match) {
		check.key = race_key;
		rc = check_race(&check, ret_answer);
		cleaned = clean_up(&check);
	}
	return rc != 0 ? rc : cleaned;
}
