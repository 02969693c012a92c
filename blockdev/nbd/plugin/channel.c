/* The plugin's side of a session. See channel.h.
 *
 *            daemon gone                nobody in work, a daemon has the volume,
 *      UP ───────────────▶ LOST ──────  and nothing was lost ──────▶ UP
 *       │                    └────── something was lost ────▶ BROKEN
 *       └── a flush fails ─────────────────────────────────▶ BROKEN
 *
 * `lock` guards state, free slots and who is in work. The shared memory is mapped as long as somebody is in work or the state is UP. */
#include "blockdev/nbd/plugin/channel.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/nbd/plugin/connect.h"
#include "blockdev/nbd/watch.h"

#define PIECES_MAX 8u /* of one request at a time */
#define RECONNECT_PAUSE_NS INT64_C(1000000000)

enum channel_state { CHANNEL_UP, CHANNEL_LOST, CHANNEL_BROKEN };

struct channel {
	struct channel_options options;
	struct nbd_answer answer; /* the first one: a later one must say the same */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a slot is free, the last one in work has left, a new session stands */
	/* guarded by lock */
	enum channel_state state;
	uint64_t free_slots;
	_Atomic unsigned in_work; /* changes under the lock */
	bool is_connecting;
	int64_t tried_ns; /* to connect, on the monotonic clock */
	char trouble[CHANNEL_MESSAGE_MAX];
	/* of the session: const while anybody is in work */
	void *memory;
	int socket;
	pthread_t watcher;
	_Atomic bool is_lost;
	_Atomic int64_t lost_ns; /* since 1970 */
	/* changes answered, and how many of them a flush covers */
	_Atomic uint64_t changes, flushed;
	_Atomic bool is_broken;
	struct nbd_watch watch; /* for answers */
};

static int64_t now_ns(clockid_t clock)
{
	struct timespec ts;
	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* -------------------------------------------------------------- session */

/* The daemon is gone: whoever waits for it gets an answer. */
static void give_up_slots(void *memory)
{
	for (unsigned i = 0; i < NBD_SLOTS; i++) {
		struct nbd_slot *slot = nbd_slot_of(memory, i);
		uint32_t state = atomic_load(&slot->state);
		if (state != NBD_SLOT_PENDING && state != NBD_SLOT_WAITED)
			continue;
		atomic_store(&slot->result, (int32_t)htole32((uint32_t)-ESHUTDOWN));
		atomic_store(&slot->state, NBD_SLOT_DONE);
		nbd_futex_wake(&slot->state, 1);
	}
}

/* The socket says nothing until the daemon goes. */
static void *watcher_thread(void *arg)
{
	struct channel *channel = arg;
	char byte;
	while (recv(channel->socket, &byte, 1, 0) < 0 && errno == EINTR)
		continue;
	pthread_mutex_lock(&channel->lock);
	atomic_store(&channel->lost_ns, now_ns(CLOCK_REALTIME));
	atomic_store(&channel->is_lost, true);
	if (channel->state == CHANNEL_UP)
		channel->state = CHANNEL_LOST;
	pthread_cond_broadcast(&channel->changed);
	pthread_mutex_unlock(&channel->lock);
	/* From here on take_slot hands out none: what is given up now is used by nobody again in this session. */
	give_up_slots(channel->memory);
	return NULL;
}

/* Nobody is in work. */
static void end_session(struct channel *channel)
{
	if (channel->memory == NULL)
		return;
	shutdown(channel->socket, SHUT_RDWR);
	pthread_join(channel->watcher, NULL);
	close(channel->socket);
	munmap(channel->memory, NBD_MEMORY_BYTES);
	channel->memory = NULL;
}

static int begin_session(struct channel *channel, struct nbd_answer *ret_answer, char *ret_message)
{
	int rc = connect_daemon(&channel->options, ret_answer, &channel->socket, &channel->memory, ret_message);
	if (rc != 0) {
		channel->memory = NULL;
		return rc;
	}
	atomic_store(&channel->is_lost, false);
	rc = -pthread_create(&channel->watcher, NULL, watcher_thread, channel);
	if (rc != 0) {
		snprintf(ret_message, CHANNEL_MESSAGE_MAX, "cannot start a thread: %s", strerror(-rc));
		close(channel->socket);
		munmap(channel->memory, NBD_MEMORY_BYTES);
		channel->memory = NULL;
	}
	return rc;
}

/* Under the lock. */
static void break_channel(struct channel *channel, const char *why)
{
	if (channel->state != CHANNEL_BROKEN)
		snprintf(channel->trouble, sizeof(channel->trouble), "%s", why);
	channel->state = CHANNEL_BROKEN;
	atomic_store(&channel->is_broken, true);
}

/* ------------------------------------------------------------ reconnect */

static bool is_same_volume(const struct channel *channel, const struct nbd_answer *answer)
{
	const struct nbd_answer *first = &channel->answer;
	return answer->branch == first->branch && answer->file == first->file && answer->size_bytes == first->size_bytes &&
	       answer->flags == first->flags;
}

/* Is_connecting is ours, nobody is in work, the lock is not held: a new session. 0; -ESHUTDOWN not now; -EIO never more. */
static int connect_again(struct channel *channel, char *ret_why)
{
	struct nbd_answer answer;
	char message[CHANNEL_MESSAGE_MAX];
	end_session(channel);
	if (atomic_load(&channel->changes) > atomic_load(&channel->flushed)) {
		snprintf(ret_why, CHANNEL_MESSAGE_MAX, "the daemon ended before writes were flushed, which may be lost");
		return -EIO;
	}
	int rc = begin_session(channel, &answer, message);
	/* As long as we had it, nobody else wrote. */
	if (rc == 0 && is_same_volume(channel, &answer) &&
	    (channel->options.read_only || answer.changed_ns <= atomic_load(&channel->lost_ns)))
		return 0;
	if (rc != 0)
		return -ESHUTDOWN;
	end_session(channel);
	snprintf(ret_why, CHANNEL_MESSAGE_MAX, "the volume is another one, or was written by somebody else, since the daemon ended");
	return -EIO;
}

/* Under the lock, in state LOST. */
static int reconnect(struct channel *channel)
{
	char why[CHANNEL_MESSAGE_MAX] = "";
	if (now_ns(CLOCK_MONOTONIC) - channel->tried_ns < RECONNECT_PAUSE_NS && channel->tried_ns != 0)
		return -ESHUTDOWN;
	channel->is_connecting = true;
	while (channel->in_work > 0)
		pthread_cond_wait(&channel->changed, &channel->lock);
	pthread_mutex_unlock(&channel->lock);
	int rc = connect_again(channel, why);
	pthread_mutex_lock(&channel->lock);
	channel->tried_ns = now_ns(CLOCK_MONOTONIC);
	channel->is_connecting = false;
	if (rc == 0)
		channel->state = atomic_load(&channel->is_lost) ? CHANNEL_LOST : CHANNEL_UP;
	else if (rc == -EIO)
		break_channel(channel, why);
	pthread_cond_broadcast(&channel->changed);
	return rc;
}

/* From here to `leave` the session stays. */
static int enter(struct channel *channel)
{
	int rc = 0;
	pthread_mutex_lock(&channel->lock);
	while (channel->is_connecting)
		pthread_cond_wait(&channel->changed, &channel->lock);
	if (channel->state == CHANNEL_LOST)
		rc = reconnect(channel);
	if (rc == 0 && channel->state != CHANNEL_UP)
		rc = channel->state == CHANNEL_BROKEN ? -EIO : -ESHUTDOWN;
	if (rc == 0)
		channel->in_work++;
	pthread_mutex_unlock(&channel->lock);
	return rc;
}

static void leave(struct channel *channel)
{
	pthread_mutex_lock(&channel->lock);
	if (--channel->in_work == 0 && channel->is_connecting)
		pthread_cond_broadcast(&channel->changed);
	pthread_mutex_unlock(&channel->lock);
}

/* --------------------------------------------------------------- slots */

/* A slot's number; -EAGAIN: none is free and `may_wait` is false; -ESHUTDOWN: the session is lost. Who waits holds none. */
static int take_slot(struct channel *channel, bool may_wait)
{
	pthread_mutex_lock(&channel->lock);
	while (channel->free_slots == 0 && may_wait && !atomic_load(&channel->is_lost))
		pthread_cond_wait(&channel->changed, &channel->lock);
	int slot = channel->free_slots != 0 ? __builtin_ctzll(channel->free_slots) : -EAGAIN;
	if (atomic_load(&channel->is_lost))
		slot = -ESHUTDOWN;
	if (slot >= 0)
		channel->free_slots &= ~(UINT64_C(1) << slot);
	pthread_mutex_unlock(&channel->lock);
	return slot;
}

static void give_slot(struct channel *channel, unsigned slot)
{
	pthread_mutex_lock(&channel->lock);
	bool was_empty = channel->free_slots == 0;
	channel->free_slots |= UINT64_C(1) << slot;
	if (was_empty)
		pthread_cond_broadcast(&channel->changed);
	pthread_mutex_unlock(&channel->lock);
}

static void submit(struct channel *channel, unsigned slot, const struct nbd_request *request)
{
	struct nbd_head *head = channel->memory;
	struct nbd_slot *at = nbd_slot_of(channel->memory, slot);
	nbd_request_put(at, request);
	atomic_store(&at->state, NBD_SLOT_PENDING);
	atomic_fetch_or(&head->submitted, htole64(UINT64_C(1) << slot));
	if (atomic_load(&head->watching) == 0 && atomic_load(&head->sleepers) > 0) {
		atomic_fetch_add(&head->bell, 1);
		nbd_futex_wake(&head->bell, 1);
	}
	if (atomic_load(&channel->is_lost)) /* after the watcher has looked, maybe */
		give_up_slots(channel->memory);
}

/* Where others are in work, the processor is for them. */
static void watch_for_answer(struct channel *channel, struct nbd_slot *at)
{
	if (atomic_load(&channel->in_work) != 1 || !nbd_watch_begin(&channel->watch))
		return;
	struct nbd_watch_time time = {0};
	while (atomic_load(&at->state) != NBD_SLOT_DONE && nbd_watch_on(&time))
		continue;
	nbd_watch_end(&channel->watch, atomic_load(&at->state) == NBD_SLOT_DONE);
}

static int await(struct channel *channel, unsigned slot)
{
	struct nbd_slot *at = nbd_slot_of(channel->memory, slot);
	if (atomic_load(&at->state) != NBD_SLOT_DONE)
		watch_for_answer(channel, at);
	for (;;) {
		uint32_t state = NBD_SLOT_PENDING;
		if (atomic_compare_exchange_strong(&at->state, &state, NBD_SLOT_WAITED))
			state = NBD_SLOT_WAITED;
		if (state == NBD_SLOT_DONE)
			break;
		nbd_futex_wait(&at->state, NBD_SLOT_WAITED, -1);
	}
	int32_t result = (int32_t)le32toh((uint32_t)atomic_load(&at->result));
	return result > 0 || result < -4095 ? -EPROTO : result;
}

/* ------------------------------------------------------------- requests */

struct piece {
	unsigned slot;
	uint32_t size;
	uint8_t *data;
};

struct run {
	struct channel *channel;
	enum nbd_op op;
	uint32_t flags;
	uint8_t *data;
	uint64_t offset, end;
	struct piece pieces[PIECES_MAX]; /* in work: a ring */
	unsigned first, count;
	int error;
};

/* Pieces that carry data end where a block does. */
static uint32_t piece_size(const struct run *run)
{
	uint64_t left = run->end - run->offset;
	if (run->data == NULL)
		return (uint32_t)left;
	return (uint32_t)NF_MIN(left, (run->offset + NBD_SLOT_BYTES) / NF_BLOCK_SIZE * NF_BLOCK_SIZE - run->offset);
}

static bool submit_next(struct run *run)
{
	int slot = take_slot(run->channel, run->count == 0);
	if (slot == -ESHUTDOWN && run->error == 0)
		run->error = slot;
	if (slot < 0)
		return false;
	const struct nbd_request request = {.op = run->op, .flags = run->flags, .size = piece_size(run), .offset = run->offset};
	struct piece *piece = &run->pieces[(run->first + run->count++) % PIECES_MAX];
	*piece = (struct piece){.slot = (unsigned)slot, .size = request.size, .data = run->data};
	if (run->op == NBD_WRITE)
		memcpy(nbd_area_of(run->channel->memory, piece->slot), run->data, request.size);
	submit(run->channel, piece->slot, &request);
	run->offset += request.size;
	if (run->data != NULL)
		run->data += request.size;
	return true;
}

static int take_data(struct run *run, const struct piece *piece)
{
	uint32_t skip = le32toh(atomic_load(&nbd_slot_of(run->channel->memory, piece->slot)->skip));
	if (skip >= NF_BLOCK_SIZE || piece->size > NBD_AREA_BYTES - skip)
		return -EPROTO;
	memcpy(piece->data, nbd_area_of(run->channel->memory, piece->slot) + skip, piece->size);
	return 0;
}

static void finish_first(struct run *run)
{
	struct piece *piece = &run->pieces[run->first];
	int rc = await(run->channel, piece->slot);
	if (rc == 0 && run->op == NBD_READ)
		rc = take_data(run, piece);
	give_slot(run->channel, piece->slot);
	run->first = (run->first + 1) % PIECES_MAX;
	run->count--;
	if (run->error == 0)
		run->error = rc;
}

static int run_pieces(struct run *run)
{
	while (run->count > 0 || (run->offset < run->end && run->error == 0)) {
		bool wants_more = run->offset < run->end && run->error == 0 && run->count < PIECES_MAX;
		if ((!wants_more || !submit_next(run)) && run->count > 0)
			finish_first(run);
	}
	return run->error;
}

/* Inside of enter and leave. */
static int flush(struct channel *channel)
{
	const struct nbd_request request = {.op = NBD_FLUSH};
	uint64_t covers = atomic_load(&channel->changes);
	int slot = take_slot(channel, true);
	if (slot < 0)
		return slot;
	submit(channel, (unsigned)slot, &request);
	int rc = await(channel, (unsigned)slot);
	if (rc == 0) {
		uint64_t known = atomic_load(&channel->flushed);
		while (known < covers && !atomic_compare_exchange_weak(&channel->flushed, &known, covers))
			continue;
	}
	give_slot(channel, (unsigned)slot);
	if (rc != 0 && rc != -ESHUTDOWN) {
		pthread_mutex_lock(&channel->lock);
		break_channel(channel, "a flush failed: what was written before it may be lost");
		pthread_mutex_unlock(&channel->lock);
	}
	return rc;
}

static bool changes_volume(enum nbd_op op)
{
	return op == NBD_WRITE || op == NBD_TRIM || op == NBD_ZERO;
}

int channel_run(struct channel *channel, enum nbd_op op, uint32_t flags, void *data, uint32_t size, uint64_t offset)
{
	struct run run = {.channel = channel, .op = op, .flags = flags, .data = data, .offset = offset, .end = offset + size};
	int rc = enter(channel);
	if (rc != 0)
		return rc;
	/* Several pieces are made durable by one flush behind them. */
	bool flushes = flags & NBD_FUA && piece_size(&run) < size;
	if (flushes)
		run.flags = 0;
	rc = run_pieces(&run);
	if (rc == 0 && changes_volume(op) && (run.flags & NBD_FUA) == 0)
		atomic_fetch_add(&channel->changes, 1);
	if (rc == 0 && flushes)
		rc = flush(channel);
	leave(channel);
	return rc;
}

int channel_flush(struct channel *channel)
{
	int rc = enter(channel);
	if (rc != 0)
		return rc;
	rc = flush(channel);
	leave(channel);
	return rc;
}

/* Gives the slot back. */
static int extents_by(struct channel *channel, unsigned slot, const struct nbd_request *request, struct nbd_extent *ret_extents, uint32_t *ret_count)
{
	submit(channel, slot, request);
	int rc = await(channel, slot);
	if (rc == 0) {
		*ret_count = le32toh(atomic_load(&nbd_slot_of(channel->memory, slot)->skip));
		rc = nbd_extents_decode(nbd_area_of(channel->memory, slot), *ret_count, request->size, ret_extents);
	}
	give_slot(channel, slot);
	return rc;
}

int channel_extents(struct channel *channel, uint32_t size, uint64_t offset, struct nbd_extent *ret_extents, uint32_t *ret_count)
{
	const struct nbd_request request = {.op = NBD_EXTENTS, .size = size, .offset = offset};
	int rc = enter(channel);
	if (rc != 0)
		return rc;
	int slot = take_slot(channel, true);
	rc = slot < 0 ? slot : extents_by(channel, (unsigned)slot, &request, ret_extents, ret_count);
	leave(channel);
	return rc;
}

/* ----------------------------------------------------------------- life */

int channel_probe(const struct channel_options *options, struct channel_facts *ret_facts, char *ret_message)
{
	struct nbd_answer answer;
	int rc = connect_daemon(options, &answer, NULL, NULL, ret_message);
	if (rc == 0)
		*ret_facts = (struct channel_facts){.size_bytes = answer.size_bytes, .read_only = (answer.flags & NBD_ANSWER_READ_ONLY) != 0};
	return rc;
}

int channel_open(const struct channel_options *options, struct channel **ret_channel, char *ret_message)
{
	struct channel *channel = calloc(1, sizeof(*channel));
	if (channel == NULL) {
		snprintf(ret_message, CHANNEL_MESSAGE_MAX, "no memory");
		return -ENOMEM;
	}
	channel->options = *options;
	channel->free_slots = UINT64_MAX;
	static_assert(NBD_SLOTS == 64, "one bit each");
	pthread_mutex_init(&channel->lock, NULL);
	pthread_cond_init(&channel->changed, NULL);
	int rc = begin_session(channel, &channel->answer, ret_message);
	if (rc != 0) {
		pthread_cond_destroy(&channel->changed);
		pthread_mutex_destroy(&channel->lock);
		free(channel);
		return rc;
	}
	*ret_channel = channel;
	return 0;
}

void channel_close(struct channel *channel)
{
	if (channel == NULL)
		return;
	end_session(channel);
	pthread_cond_destroy(&channel->changed);
	pthread_mutex_destroy(&channel->lock);
	free(channel);
}

struct channel_facts channel_facts(const struct channel *channel)
{
	return (struct channel_facts){.size_bytes = channel->answer.size_bytes,
				      .read_only = (channel->answer.flags & NBD_ANSWER_READ_ONLY) != 0};
}

const char *channel_trouble(const struct channel *channel)
{
	return atomic_load(&channel->is_broken) ? channel->trouble : "";
}
