/* The protocol of the lease: see the header, which has the argument. Pure: no clock, no memory, no threads. */
#include "blockdev/tier/lease_core.h"

#define NS_PER_MS INT64_C(1000000)
#define POLLS 4u      /* of a lease that is watched, within its ttl */
#define CONFLICTS_MAX 2u /* refused conditional renewals, though lease/G is ours, until conditions are left out */

/* How long somebody else's validity is waited out, clocks that differ included. */
static int64_t wait_ns(uint32_t ttl_ms)
{
	return (int64_t)ttl_ms * NS_PER_MS + (int64_t)ttl_ms * NS_PER_MS / 16;
}

static void fail(struct lease_core *core, enum lease_failure failure)
{
	core->phase = LEASE_IN_FAILED;
	core->failure = failure;
	core->valid_until_ns = 0;
}

static void lose(struct lease_core *core)
{
	core->phase = LEASE_IN_LOST;
	core->valid_until_ns = 0;
}

static void ask_doc(const struct lease_core *core, enum lease_kind kind, enum lease_state state, struct lease_ask *ask)
{
	ask->kind = kind;
	ask->generation = core->generation;
	ask->doc.holder = core->holder;
	ask->doc.counter = core->counter;
	ask->doc.generation = core->generation;
	ask->doc.state = state;
	/* Who has not begun may have others before it that are still valid. */
	ask->doc.ttl_ms = state == LEASE_TAKING ? NF_MAX(core->ttl_ms, core->other_ttl_ms) : core->ttl_ms;
}

static void ask_at(enum lease_kind kind, uint32_t generation, struct lease_ask *ask)
{
	ask->kind = kind;
	ask->generation = generation;
}

static bool ask_later(int64_t now_ns, int64_t until_ns, struct lease_ask *ask)
{
	if (now_ns >= until_ns)
		return false;
	ask->kind = LEASE_PAUSE;
	ask->not_before_ns = until_ns;
	return true;
}

static void ask_renewal(struct lease_core *core, int64_t now_ns, struct lease_ask *ask)
{
	core->counter++;
	core->asked_ns = now_ns;
	ask_doc(core, LEASE_PUT, LEASE_HELD, ask);
	ask->conditional = !core->plain;
}

void lease_next(struct lease_core *core, int64_t now_ns, struct lease_ask *ret_ask)
{
	*ret_ask = (struct lease_ask){.kind = LEASE_NOTHING};
	switch (core->phase) {
	case LEASE_IN_LIST: ask_at(LEASE_LIST, 0, ret_ask); break;
	case LEASE_IN_WATCH:
		if (ask_later(now_ns, core->poll_ns, ret_ask))
			break;
		ask_at(LEASE_GET, core->predecessor, ret_ask);
		break;
	case LEASE_IN_BEFORE:
	case LEASE_IN_AFTER: ask_at(LEASE_GET, core->predecessor, ret_ask); break;
	case LEASE_IN_MAKE:
		ask_doc(core, core->unsafe ? LEASE_PUT : LEASE_MAKE, core->unsafe ? LEASE_HELD : LEASE_TAKING, ret_ask);
		break;
	case LEASE_IN_BACK:
	case LEASE_IN_MINE: ask_at(LEASE_GET, core->generation, ret_ask); break;
	case LEASE_IN_SETTLE:
		if (ask_later(now_ns, core->until_ns, ret_ask))
			break;
		core->phase = LEASE_IN_PUT;
		ask_renewal(core, now_ns, ret_ask);
		break;
	case LEASE_IN_PUT: ask_renewal(core, now_ns, ret_ask); break;
	case LEASE_IN_LOOK: ask_at(LEASE_LOOK, core->generation + 1, ret_ask); break;
	case LEASE_IN_TELL:
		core->counter++;
		ask_doc(core, LEASE_PUT, core->told, ret_ask);
		ret_ask->conditional = !core->plain && !core->unsafe;
		break;
	case LEASE_IN_HOLD:
	case LEASE_IN_LOST:
	case LEASE_IN_FAILED: break;
	}
}

/* ---- taking */

static const struct lease_own *find_own(const struct lease_core *core, uint64_t holder)
{
	for (unsigned i = 0; i < LEASE_OWN_MAX; i++)
		if (core->own[i].holder != 0 && core->own[i].holder == holder)
			return &core->own[i];
	return NULL;
}

static void on_list(struct lease_core *core, uint32_t highest)
{
	core->predecessor = highest;
	core->generation = highest + 1;
	if (highest < core->own_generation || highest == UINT32_MAX)
		fail(core, LEASE_FAIL_GONE);
	else
		core->phase = highest == 0 ? LEASE_IN_MAKE : LEASE_IN_BEFORE;
}

/* Is what lease/predecessor says reason enough not to wait? */
static bool may_skip(const struct lease_core *core, const struct lease_doc *doc)
{
	const struct lease_own *own = find_own(core, doc->holder);
	return doc->state == LEASE_RELEASED || (own != NULL && own->has_ended && doc->state != LEASE_TAKING);
}

static void on_before(struct lease_core *core, int64_t now_ns, const struct lease_doc *doc)
{
	bool is_own = find_own(core, doc->holder) != NULL;
	core->seen = *doc;
	core->other_ttl_ms = doc->ttl_ms;
	if (!core->adopt && !is_own) {
		fail(core, LEASE_FAIL_STALE);
	} else if (core->unsafe || core->take_over || may_skip(core, doc) || (is_own && doc->state == LEASE_IDLE)) {
		core->phase = LEASE_IN_MAKE;
	} else if (doc->state == LEASE_IDLE) {
		fail(core, LEASE_FAIL_IDLE);
	} else {
		core->phase = LEASE_IN_WATCH;
		/* Who is alive renews three times within it. */
		core->until_ns = now_ns + wait_ns(doc->ttl_ms) / 2;
		core->poll_ns = now_ns + wait_ns(doc->ttl_ms) / POLLS;
	}
}

static void on_watch(struct lease_core *core, int64_t now_ns, const struct lease_doc *doc)
{
	bool changed = doc->counter != core->seen.counter || doc->state != core->seen.state;
	core->other_ttl_ms = doc->ttl_ms;
	if (changed && doc->state != LEASE_RELEASED) {
		fail(core, LEASE_FAIL_ALIVE);
	} else if (changed || now_ns >= core->until_ns) {
		core->phase = LEASE_IN_MAKE;
	} else {
		core->poll_ns = NF_MIN(now_ns + wait_ns(doc->ttl_ms) / POLLS, core->until_ns);
	}
}

static void on_made(struct lease_core *core, int64_t now_ns, enum lease_outcome outcome)
{
	core->made_ns = now_ns;
	if (core->unsafe && outcome == LEASE_DONE) {
		core->begun = true;
		core->valid_until_ns = INT64_MAX;
		core->phase = LEASE_IN_HOLD;
	} else {
		core->phase = core->unsafe ? LEASE_IN_FAILED : LEASE_IN_BACK;
		core->failure = core->unsafe ? LEASE_FAIL_ASKING : LEASE_FAIL_NONE;
	}
}

/* made_ns is only moved up here: the put that was answered with a refusal, or not at all, may be done at any moment until we see that it was. */
static void on_back(struct lease_core *core, int64_t now_ns, const struct lease_doc *doc)
{
	core->made_ns = now_ns;
	if (doc->holder != core->holder)
		fail(core, LEASE_FAIL_RACE);
	else
		core->phase = core->predecessor == 0 ? LEASE_IN_PUT : LEASE_IN_AFTER;
}

static void on_after(struct lease_core *core, const struct lease_doc *doc)
{
	core->seen = *doc;
	core->other_ttl_ms = doc->ttl_ms;
	core->until_ns = may_skip(core, doc) ? 0 : core->made_ns + wait_ns(doc->ttl_ms);
	core->phase = LEASE_IN_SETTLE;
}

/* ---- holding */

static void on_mine(struct lease_core *core, const struct lease_reply *reply)
{
	if (reply->outcome == LEASE_NONE || reply->doc.holder != core->holder || reply->doc.counter > core->counter) {
		lose(core);
		return;
	}
	core->conflicts++;
	if (core->conflicts >= CONFLICTS_MAX)
		core->plain = true;
	core->phase = LEASE_IN_PUT;
}

static void on_look(struct lease_core *core, enum lease_outcome outcome)
{
	int64_t until_ns = core->asked_ns + (int64_t)core->ttl_ms * NS_PER_MS;
	if (outcome == LEASE_DONE) {
		lose(core);
		return;
	}
	core->begun = true;
	core->conflicts = 0;
	core->valid_until_ns = NF_MAX(core->valid_until_ns, until_ns);
	core->phase = LEASE_IN_HOLD;
}

/* No answer: a lease that is being taken could not be; one that is held is as valid as it was. */
static void on_no_answer(struct lease_core *core)
{
	if (!core->begun)
		fail(core, LEASE_FAIL_ASKING);
	else
		core->phase = LEASE_IN_HOLD;
}

void lease_answer(struct lease_core *core, int64_t now_ns, const struct lease_reply *reply)
{
	bool got = reply->outcome == LEASE_DONE;
	switch (core->phase) {
	case LEASE_IN_MAKE: on_made(core, now_ns, reply->outcome); return;
	case LEASE_IN_TELL: core->phase = LEASE_IN_HOLD; return;
	case LEASE_IN_PUT:
		if (got)
			core->phase = LEASE_IN_LOOK;
		else if (reply->outcome == LEASE_REFUSED)
			core->phase = LEASE_IN_MINE;
		else
			on_no_answer(core);
		return;
	case LEASE_IN_LOOK:
		if (reply->outcome == LEASE_FAILED)
			on_no_answer(core);
		else
			on_look(core, reply->outcome);
		return;
	case LEASE_IN_MINE:
		if (reply->outcome == LEASE_FAILED)
			on_no_answer(core);
		else
			on_mine(core, reply);
		return;
	default: break;
	}
	if (!got) {
		/* A lease that was listed, or made, and is not there. */
		fail(core, LEASE_FAIL_ASKING);
		return;
	}
	switch (core->phase) {
	case LEASE_IN_LIST: on_list(core, reply->generation); break;
	case LEASE_IN_BEFORE: on_before(core, now_ns, &reply->doc); break;
	case LEASE_IN_WATCH: on_watch(core, now_ns, &reply->doc); break;
	case LEASE_IN_BACK: on_back(core, now_ns, &reply->doc); break;
	case LEASE_IN_AFTER: on_after(core, &reply->doc); break;
	default: break;
	}
}

bool lease_renew(struct lease_core *core)
{
	if (core->phase != LEASE_IN_HOLD || core->ended || core->unsafe)
		return false;
	core->phase = LEASE_IN_PUT;
	return true;
}

bool lease_tell(struct lease_core *core, enum lease_state state)
{
	if (core->phase != LEASE_IN_HOLD || core->ended || !core->begun)
		return false;
	if (state == LEASE_RELEASED) {
		core->ended = true;
		core->valid_until_ns = 0;
	}
	core->told = state;
	core->phase = LEASE_IN_TELL;
	return true;
}
