/* Taking the lease: the protocol with its pauses, what people are told, and what the store's directory remembers. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "blockdev/tier/lease_impl.h"

struct taking {
	struct bd_lease *lease;
	const struct bd_lease_options *options;
	struct lease_record record;
	struct lease_record_entry here;
	enum lease_phase told; /* people, of this phase */
	char *message;
	size_t size;
};

static void say(const struct taking *taking, const char *format, ...) NF_PRINTF(2, 3);
static void say(const struct taking *taking, const char *format, ...)
{
	char line[512];
	va_list args;
	if (taking->options->say == NULL)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	taking->options->say(taking->options->arg, line);
}

static int explain(const struct taking *taking)
{
	const struct bd_lease *lease = taking->lease;
	const struct lease_core *core = &lease->core;
	const char *holder = lease->paper.holder;
	switch (core->failure) {
	case LEASE_FAIL_ALIVE:
		snprintf(taking->message, taking->size,
			 "the store is in use (lease %" PRIu32 "): %s; stop it there, or take it over with --take-over", core->predecessor,
			 holder);
		return -EBUSY;
	case LEASE_FAIL_IDLE:
		snprintf(taking->message, taking->size,
			 "the store is open elsewhere, or was until a machine died (lease %" PRIu32 "): %s, idle for a while; if that one is "
			 "to lose it, take it over with --take-over",
			 core->predecessor, holder);
		return -EBUSY;
	case LEASE_FAIL_STALE:
		snprintf(taking->message, taking->size,
			 "another machine has taken this store over (lease %" PRIu32 "): %s. What is in this directory is not the newest "
			 "any more, and is left as it is; to go on here attach the object store with another directory",
			 core->predecessor, holder);
		return -ESTALE;
	case LEASE_FAIL_GONE:
		snprintf(taking->message, taking->size,
			 "the object store has no lease %" PRIu32 ", which this store had: is it the right one, was it emptied?",
			 core->own_generation);
		return -ENOENT;
	case LEASE_FAIL_RACE:
	case LEASE_FAIL_NONE:
		snprintf(taking->message, taking->size,
			 "another machine has taken the store at the same moment (after lease %" PRIu32 "); look again", core->predecessor);
		return -EBUSY;
	case LEASE_FAIL_ASKING: break;
	}
	snprintf(taking->message, taking->size, "lease: %s", lease->message);
	return lease->error != 0 ? lease->error : -EIO;
}

/* Before the first lease at a place, and for who comes to a place: does it do what the lease is built on? */
static int check_place(struct taking *taking)
{
	char key[OB_KEY_MAX + 1], why[OB_MESSAGE_MAX];
	struct ob_conditional answer;
	snprintf(key, sizeof(key), "lease-check-%016" PRIx64, taking->lease->core.holder);
	int rc = ob_check_conditional(taking->lease->client, key, &answer, why, sizeof(why));
	if (rc != 0) {
		snprintf(taking->message, taking->size, "lease: %s", why);
		return rc;
	}
	if (!answer.if_none_match || !answer.one_winner) {
		snprintf(taking->message, taking->size,
			 "this object store cannot keep two machines from writing to one store: %s; with --unsafe-no-lease it can be used all the "
			 "same, from one machine only, and nothing sees to that",
			 why);
		return -EOPNOTSUPP;
	}
	taking->lease->core.plain = !answer.if_match;
	return 0;
}

/* The one that is there is the last to be forgotten, however often no other can be made. */
static void keep_in_front(struct lease_record *record, uint64_t holder)
{
	for (unsigned i = 1; i < record->count; i++) {
		if (record->entries[i].holder == holder) {
			struct lease_record_entry entry = record->entries[i];
			memmove(record->entries + 1, record->entries, i * sizeof(entry));
			record->entries[0] = entry;
			return;
		}
	}
}

/* The directory knows which lease is perhaps its own before it is. */
static int record(struct taking *taking, bool made)
{
	const struct lease_core *core = &taking->lease->core;
	struct lease_record *record = &taking->record;
	if (taking->options->store_path == NULL)
		return 0;
	if (made) {
		record->generation = core->generation;
		record->count = 1;
	} else {
		keep_in_front(record, core->seen.holder);
		memmove(record->entries + 1, record->entries, (LEASE_RECORD_MAX - 1) * sizeof(record->entries[0]));
		record->entries[0] = taking->here;
		record->entries[0].holder = core->holder;
		record->count = NF_MIN(record->count + 1, LEASE_RECORD_MAX);
	}
	int error = lease_record_write(taking->options->store_path, record);
	if (error != 0)
		snprintf(taking->message, taking->size, "%s/" BD_LEASE_RECORD_FILE ": %s", taking->options->store_path, strerror(-error));
	return error;
}

static int before_making(struct taking *taking)
{
	const struct lease_core *core = &taking->lease->core;
	int error = 0;
	if (!core->unsafe && (core->predecessor == 0 || core->adopt))
		error = check_place(taking);
	return error != 0 ? error : record(taking, false);
}

static void sleep_until(int64_t until_ns)
{
	struct timespec pause;
	int64_t left = until_ns - lease_now_ns();
	if (left <= 0)
		return;
	pause.tv_sec = left / 1000000000;
	pause.tv_nsec = left % 1000000000;
	/* Interrupted: asked again. */
	nanosleep(&pause, NULL);
}

static void tell_pause(struct taking *taking)
{
	const struct lease_core *core = &taking->lease->core;
	if (taking->told == core->phase)
		return;
	taking->told = core->phase;
	if (core->phase == LEASE_IN_WATCH)
		say(taking, "lease %" PRIu32 " is held by %s: looking whether that one is alive", core->predecessor, taking->lease->paper.holder);
	else
		say(taking, "lease %" PRIu32 " is ours; up to %" PRId64 " s until whatever %s may still believe has passed", core->generation,
		    (core->until_ns - lease_now_ns()) / 1000000000 + 1, taking->lease->paper.holder);
}

static int take(struct taking *taking)
{
	struct bd_lease *lease = taking->lease;
	struct lease_ask ask;
	for (lease_next(&lease->core, lease_now_ns(), &ask); ask.kind != LEASE_NOTHING; lease_next(&lease->core, lease_now_ns(), &ask)) {
		int error = lease->core.phase == LEASE_IN_MAKE ? before_making(taking) : 0;
		if (error != 0)
			return error;
		if (ask.kind == LEASE_PAUSE) {
			tell_pause(taking);
			sleep_until(ask.not_before_ns);
		} else {
			lease_ask_store(lease, &ask);
		}
	}
	return lease->core.phase == LEASE_IN_HOLD && lease->core.begun ? record(taking, true) : explain(taking);
}

static int begin(struct taking *taking)
{
	const struct bd_lease_options *options = taking->options;
	struct lease_core *core = &taking->lease->core;
	core->ttl_ms = options->ttl_ms;
	core->adopt = options->adopt || options->store_path == NULL;
	core->take_over = options->take_over;
	core->unsafe = options->unsafe;
	if (getrandom(&core->holder, sizeof(core->holder), 0) != sizeof(core->holder) || core->holder == 0) {
		snprintf(taking->message, taking->size, "lease: no random numbers");
		return -EIO;
	}
	if (options->store_path == NULL)
		return 0;
	int error = lease_record_read(options->store_path, &taking->record);
	if (error == 0)
		error = lease_record_here(options->store_path, &taking->here);
	if (error != 0) {
		snprintf(taking->message, taking->size, "%s/" BD_LEASE_RECORD_FILE ": %s; restore it from a copy", options->store_path,
			 strerror(-error));
		return error;
	}
	for (unsigned i = 0; i < taking->record.count; i++) {
		core->own[i].holder = taking->record.entries[i].holder;
		core->own[i].has_ended = lease_record_has_ended(&taking->record.entries[i], &taking->here);
	}
	core->own_generation = taking->record.generation;
	taking->lease->list_after = core->own_generation > 0 ? core->own_generation - 1 : 0;
	return 0;
}

int lease_take(struct bd_lease *lease, const struct bd_lease_options *options, char *message, size_t size)
{
	struct taking taking = {.lease = lease, .options = options, .told = LEASE_IN_LIST, .message = message, .size = size};
	int error = begin(&taking);
	return error != 0 ? error : take(&taking);
}
