/* Every interleaving of machines that want the lease, with the code that asks for it (blockdev/tier/lease_core.c): a request takes effect at the object store at any moment after the asking, its
 * answer comes at any later one, or never, and then it may take effect still; clocks go on between any two steps; processes die and their stores are opened again. In no state
 * is the lease of two machines valid.
 *
 * The search goes depth first over all states, each once (128 bits of hash stand for a state). What a scenario may do is bounded by its budgets; each run says how many states there were and
 * what was reached in them, so that a model in which nothing happens is seen.
 *
 * Everything happens at ticks; the longest ttl here is three of them, the shortest one. */
#include "tier.h"

#include <xxhash.h>

#include "blockdev/tier/lease_core.h"

#define MACHINES_MAX 3u
#define GENERATIONS_MAX 10u
#define LIMBO_MAX 3u
#define TICK_MS 160
#define TICK_NS (TICK_MS * INT64_C(1000000))
#define TABLE_BITS 22u

enum stage { QUIET, ASKED, DONE };

struct request {
	enum stage stage;
	unsigned machine;
	uint32_t version; /* of a conditional put */
	struct lease_ask ask;
	struct lease_reply reply;
};

struct machine {
	struct lease_core core;
	struct request request;
	uint32_t etag; /* what it knows of its own lease */
	unsigned kills, renewals, releases;
};

struct object {
	bool is_there;
	uint32_t version;
	struct lease_doc doc;
};

struct world {
	int64_t now;
	unsigned machine_count, faults, limbo_count;
	uint32_t next_version;
	uint64_t next_holder;
	struct object objects[GENERATIONS_MAX + 2];
	struct machine machines[MACHINES_MAX];
	struct request limbo[LIMBO_MAX]; /* sent, given up, not yet done */
};

struct search {
	int64_t horizon;
	uint64_t states, steps;
	XXH128_hash_t *seen;
	unsigned depth;
	uint32_t highest_begun; /* generation */
	uint64_t lost, failed[8], followed;
	char trail[512][24];
};

/* ------------------------------------------------------------------ state */

struct text {
	uint8_t bytes[2048];
	size_t size;
};

static void add(struct text *text, uint64_t value)
{
	assert_true(text->size + 8 <= sizeof(text->bytes));
	memcpy(text->bytes + text->size, &value, 8);
	text->size += 8;
}

static void add_doc(struct text *text, const struct lease_doc *doc)
{
	add(text, doc->holder);
	add(text, doc->counter);
	add(text, (uint64_t)doc->generation << 32 | doc->ttl_ms);
	add(text, doc->state);
}

static void add_request(struct text *text, const struct world *world, const struct request *request)
{
	add(text, request->stage);
	if (request->stage == QUIET)
		return;
	add(text, (uint64_t)request->machine << 1 | (request->version == world->objects[request->ask.generation].version));
	add(text, (uint64_t)request->ask.kind << 33 | (uint64_t)request->ask.conditional << 32 | request->ask.generation);
	add_doc(text, &request->ask.doc);
	if (request->stage != DONE)
		return;
	add(text, (uint64_t)request->reply.outcome << 32 | request->reply.generation);
	add_doc(text, &request->reply.doc);
}

/* What can still matter: two states that differ in anything else are the same. */
static void add_core(struct text *text, const struct lease_core *core, int64_t now_ns)
{
	enum lease_phase phase = core->phase;
	bool over = phase == LEASE_IN_LOST || phase == LEASE_IN_FAILED;
	add(text, core->holder);
	add(text, (uint64_t)core->ttl_ms << 32 | (uint64_t)core->adopt << 2 | (uint64_t)core->take_over << 1 | core->unsafe);
	for (unsigned i = 0; i < LEASE_OWN_MAX; i++)
		add(text, core->own[i].holder << 1 | core->own[i].has_ended);
	add(text, (uint64_t)core->own_generation << 32 | (uint64_t)phase << 8);
	add(text, (uint64_t)core->begun << 4 | core->ended);
	add(text, (uint64_t)core->generation << 32 | core->predecessor);
	if (over)
		return;
	add(text, (uint64_t)core->plain << 63 | (uint64_t)core->conflicts << 32 | core->counter);
	if (phase < LEASE_IN_PUT) {
		add(text, core->other_ttl_ms);
		add_doc(text, &core->seen);
	}
	add(text, phase == LEASE_IN_TELL ? core->told : 0);
	add(text, phase == LEASE_IN_BACK || phase == LEASE_IN_AFTER ? (uint64_t)core->made_ns : 0);
	add(text, phase == LEASE_IN_WATCH || (phase == LEASE_IN_SETTLE && core->until_ns > now_ns) ? (uint64_t)core->until_ns : 0);
	add(text, phase == LEASE_IN_WATCH ? (uint64_t)core->poll_ns : 0);
	add(text, phase == LEASE_IN_PUT || phase == LEASE_IN_LOOK ? (uint64_t)core->asked_ns : 0);
	add(text, core->valid_until_ns > now_ns ? (uint64_t)core->valid_until_ns : 0);
}

/* False when the state was there before. */
static bool is_new(struct search *search, const struct world *world)
{
	struct text text = {.size = 0};
	add(&text, (uint64_t)world->now);
	add(&text, (uint64_t)world->faults << 32 | world->limbo_count);
	add(&text, world->next_holder);
	for (unsigned g = 1; g <= GENERATIONS_MAX && world->objects[g].is_there; g++) {
		add_doc(&text, &world->objects[g].doc);
	}
	for (unsigned i = 0; i < world->machine_count; i++) {
		const struct machine *machine = &world->machines[i];
		bool knows = machine->etag == world->objects[NF_MIN(machine->core.generation, GENERATIONS_MAX)].version;
		add_core(&text, &machine->core, world->now * TICK_NS);
		add_request(&text, world, &machine->request);
		add(&text, (uint64_t)knows << 32 | machine->kills << 16 | machine->renewals << 8 | machine->releases);
	}
	for (unsigned i = 0; i < world->limbo_count; i++)
		add_request(&text, world, &world->limbo[i]);
	XXH128_hash_t hash = XXH3_128bits(text.bytes, text.size);
	size_t at = hash.low64 >> (64 - TABLE_BITS);
	for (;; at = (at + 1) & ((UINT64_C(1) << TABLE_BITS) - 1)) {
		if (search->seen[at].low64 == 0 && search->seen[at].high64 == 0)
			break;
		if (XXH128_isEqual(search->seen[at], hash))
			return false;
	}
	search->seen[at] = hash;
	search->states++;
	assert_true(search->states < (UINT64_C(1) << TABLE_BITS) * 9 / 10);
	return true;
}

static void check(struct search *search, const struct world *world)
{
	unsigned valid = 0;
	for (unsigned i = 0; i < world->machine_count; i++) {
		const struct lease_core *core = &world->machines[i].core;
		valid += lease_is_valid(core, world->now * TICK_NS);
		search->lost += core->phase == LEASE_IN_LOST;
		if (core->phase == LEASE_IN_FAILED)
			search->failed[core->failure]++;
		if (core->begun)
			search->highest_begun = NF_MAX(search->highest_begun, core->generation);
		for (unsigned j = 0; core->begun && j < i; j++)
			assert_false(world->machines[j].core.begun && world->machines[j].core.generation == core->generation);
	}
	if (valid > 1) {
		for (unsigned i = 0; i < search->depth; i++)
			printf("%s\n", search->trail[i]);
		fail_msg("the lease of %u machines is valid at tick %d", valid, (int)world->now);
	}
}

/* ------------------------------------------------------- the object store */

static void take_effect(struct world *world, struct request *request)
{
	const struct lease_ask *ask = &request->ask;
	struct lease_reply *reply = &request->reply;
	memset(reply, 0, sizeof(*reply));
	struct object *object = &world->objects[NF_MIN(ask->generation, GENERATIONS_MAX + 1)];
	switch (ask->kind) {
	case LEASE_LIST:
		for (uint32_t g = 1; g <= GENERATIONS_MAX && world->objects[g].is_there; g++)
			reply->generation = g;
		break;
	case LEASE_GET:
	case LEASE_LOOK:
		reply->outcome = object->is_there ? LEASE_DONE : LEASE_NONE;
		reply->doc = object->doc;
		request->version = object->version;
		break;
	case LEASE_MAKE:
	case LEASE_PUT:
		if ((ask->kind == LEASE_MAKE && object->is_there) || (ask->conditional && object->version != request->version)) {
			reply->outcome = LEASE_REFUSED;
			break;
		}
		assert_true(ask->generation <= GENERATIONS_MAX);
		object->is_there = true;
		object->doc = ask->doc;
		object->version = request->version = world->next_version++;
		break;
	default: fail();
	}
	request->stage = DONE;
}

static void answer(struct world *world, unsigned i, enum lease_outcome outcome)
{
	struct machine *machine = &world->machines[i];
	struct request *request = &machine->request;
	struct lease_reply reply = request->reply;
	reply.outcome = outcome;
	if (outcome == LEASE_DONE && request->ask.kind != LEASE_LIST && request->ask.generation == machine->core.generation)
		machine->etag = request->version;
	lease_answer(&machine->core, world->now * TICK_NS, &reply);
	memset(request, 0, sizeof(*request));
}

/* ----------------------------------------------------------------- search */

static void explore(struct search *search, const struct world *world);

static void go(struct search *search, const struct world *world, const char *what, unsigned i)
{
	assert_true(search->depth < NF_ARRAY_LEN(search->trail));
	snprintf(search->trail[search->depth++], sizeof(search->trail[0]), "%2d  %u %s", (int)world->now, i, what);
	search->steps++;
	check(search, world);
	if (is_new(search, world))
		explore(search, world);
	search->depth--;
}

static const char *const kinds[] = {[LEASE_LIST] = "list", [LEASE_GET] = "get", [LEASE_MAKE] = "make", [LEASE_PUT] = "put", [LEASE_LOOK] = "look"};

static void let_ask(struct search *search, const struct world *world, unsigned i)
{
	struct world next = *world;
	struct machine *machine = &next.machines[i];
	struct request *request = &machine->request;
	lease_next(&machine->core, next.now * TICK_NS, &request->ask);
	if (request->ask.kind != LEASE_PAUSE && request->ask.kind != LEASE_NOTHING) {
		request->stage = ASKED;
		request->machine = i;
		request->version = machine->etag;
		const char *what = kinds[request->ask.kind];
		if (request->ask.kind != LEASE_LIST && request->ask.kind != LEASE_GET) {
			go(search, &next, what, i);
			return;
		}
		/* When it was asked and when its answer came is nothing: what is asked next may come as late. */
		struct world silent = next;
		take_effect(&next, request);
		answer(&next, i, request->reply.outcome);
		go(search, &next, what, i);
		if (silent.faults > 0) {
			silent.faults--;
			answer(&silent, i, LEASE_FAILED);
			go(search, &silent, "no answer", i);
		}
		return;
	}
	if (request->ask.kind == LEASE_PAUSE || machine->core.phase != LEASE_IN_HOLD)
		return;
	if (world->machines[i].renewals > 0) {
		next = *world;
		next.machines[i].renewals--;
		if (lease_renew(&next.machines[i].core))
			go(search, &next, "renews", i);
	}
	if (world->machines[i].releases > 0) {
		next = *world;
		next.machines[i].releases--;
		if (lease_tell(&next.machines[i].core, LEASE_RELEASED))
			go(search, &next, "releases", i);
	}
}

static bool put_aside(struct world *world, const struct request *request)
{
	if (world->limbo_count == LIMBO_MAX || (request->ask.kind != LEASE_MAKE && request->ask.kind != LEASE_PUT))
		return false;
	world->limbo[world->limbo_count++] = *request;
	return true;
}

static void let_answer(struct search *search, const struct world *world, unsigned i)
{
	const struct request *request = &world->machines[i].request;
	struct world next = *world;
	if (request->stage == ASKED) {
		take_effect(&next, &next.machines[i].request);
		go(search, &next, "done", i);
	} else {
		answer(&next, i, request->reply.outcome);
		go(search, &next, "answer", i);
	}
	if (world->faults == 0)
		return;
	/* The answer is lost, or the request is, or it is only late. */
	next = *world;
	next.faults--;
	answer(&next, i, LEASE_FAILED);
	go(search, &next, "no answer", i);
	next = *world;
	next.faults--;
	if (request->stage == ASKED && put_aside(&next, request)) {
		answer(&next, i, LEASE_FAILED);
		go(search, &next, "late", i);
	}
	/* It was tried twice, and the second try met the first. */
	if (request->stage == DONE && request->reply.outcome == LEASE_DONE &&
	    (request->ask.kind == LEASE_MAKE || request->ask.conditional)) {
		next = *world;
		next.faults--;
		answer(&next, i, LEASE_REFUSED);
		go(search, &next, "tried twice", i);
	}
}

/* The process dies; its store is opened again on the same machine: with its lock, so it knows that the other has ended. */
static void let_die(struct search *search, const struct world *world, unsigned i, bool late)
{
	struct world next = *world;
	struct machine *machine = &next.machines[i];
	struct lease_core old = machine->core, *core = &machine->core;
	if (machine->kills == 0 || (late && (machine->request.stage != ASKED || !put_aside(&next, &machine->request))))
		return;
	machine->kills--;
	memset(&machine->request, 0, sizeof(machine->request));
	memset(core, 0, sizeof(*core));
	machine->etag = 0;
	core->holder = next.next_holder++;
	core->ttl_ms = old.ttl_ms;
	core->own_generation = old.own_generation;
	memcpy(core->own, old.own, sizeof(core->own));
	if (old.begun) {
		memset(core->own, 0, sizeof(core->own));
		core->own_generation = old.generation;
	}
	if (old.begun || old.phase >= LEASE_IN_MAKE) {
		memmove(core->own + 1, core->own, sizeof(core->own) - sizeof(core->own[0]));
		core->own[0] = (struct lease_own){.holder = old.holder, .has_ended = true};
	}
	/* A directory that never had a lease is none. */
	core->adopt = core->own[0].holder == 0;
	core->take_over = core->adopt && old.take_over;
	go(search, &next, late ? "dies, late" : "dies", i);
}

static void explore(struct search *search, const struct world *world)
{
	for (unsigned i = 0; i < world->machine_count; i++) {
		if (world->machines[i].request.stage == QUIET)
			let_ask(search, world, i);
		else
			let_answer(search, world, i);
		let_die(search, world, i, false);
		let_die(search, world, i, true);
	}
	for (unsigned k = 0; k < world->limbo_count; k++) {
		struct world next = *world;
		take_effect(&next, &next.limbo[k]);
		next.limbo[k] = next.limbo[--next.limbo_count];
		memset(&next.limbo[next.limbo_count], 0, sizeof(next.limbo[0]));
		go(search, &next, "late one", world->limbo[k].machine);
	}
	if (world->now < search->horizon) {
		struct world next = *world;
		next.now++;
		go(search, &next, "tick", 9);
	}
}

static struct world world_of(unsigned machines, const unsigned *ttls, bool take_over)
{
	struct world world;
	memset(&world, 0, sizeof(world));
	world.now = 1;
	world.machine_count = machines;
	world.next_version = 1;
	world.next_holder = 100;
	for (unsigned i = 0; i < machines; i++) {
		struct lease_core *core = &world.machines[i].core;
		core->holder = i + 1;
		core->ttl_ms = ttls[i] * TICK_MS;
		core->adopt = true;
		core->take_over = take_over;
	}
	return world;
}

/* Machine 0 has lease/1, just renewed. */
static void give(struct world *world)
{
	struct lease_core *core = &world->machines[0].core;
	struct object *object = &world->objects[1];
	core->phase = LEASE_IN_HOLD;
	core->begun = true;
	core->generation = 1;
	core->asked_ns = world->now * TICK_NS;
	core->valid_until_ns = core->asked_ns + core->ttl_ms * INT64_C(1000000);
	object->is_there = true;
	object->version = world->machines[0].etag = world->next_version++;
	object->doc = (struct lease_doc){.holder = core->holder, .generation = 1, .ttl_ms = core->ttl_ms, .state = LEASE_HELD};
}

static struct search run(const struct world *world, int64_t ticks)
{
	struct search *search = calloc(1, sizeof(*search));
	search->seen = calloc(UINT64_C(1) << TABLE_BITS, sizeof(*search->seen));
	assert_non_null(search->seen);
	search->horizon = world->now + ticks;
	check(search, world);
	if (is_new(search, world))
		explore(search, world);
	free(search->seen);
	printf("%llu states, %llu steps, up to lease %u; lost %llu, refused: race %llu, alive %llu, stale %llu\n",
	       (unsigned long long)search->states, (unsigned long long)search->steps, search->highest_begun,
	       (unsigned long long)search->lost, (unsigned long long)search->failed[LEASE_FAIL_RACE],
	       (unsigned long long)search->failed[LEASE_FAIL_ALIVE], (unsigned long long)search->failed[LEASE_FAIL_STALE]);
	struct search result = *search;
	free(search);
	return result;
}

/* Nobody has it, two want it, and one may die and come again. */
static void the_first_lease(void **state)
{
	const unsigned ttls[] = {2, 1};
	struct world world = world_of(2, ttls, true);
	(void)state;
	world.faults = 1;
	world.machines[0].kills = 1;
	world.machines[0].renewals = world.machines[1].renewals = 1;
	world.machines[0].releases = world.machines[1].releases = 1;
	struct search search = run(&world, 4);
	assert_true(search.highest_begun >= 2);
	assert_true(search.failed[LEASE_FAIL_RACE] > 0);
	assert_true(search.lost > 0);
}

/* One has it, with a long ttl; two with short ones take over, each after the other or both at once. */
static void take_overs(void **state)
{
	const unsigned ttls[] = {3, 1, 1};
	struct world world = world_of(3, ttls, true);
	(void)state;
	give(&world);
	world.machines[0].renewals = 1;
	world.machines[1].releases = 1;
	struct search search = run(&world, 5);
	assert_true(search.highest_begun >= 3);
	assert_true(search.lost > 0);
	assert_true(search.failed[LEASE_FAIL_RACE] > 0);
}

static struct world take_over_of_one(void)
{
	const unsigned ttls[] = {3, 1};
	struct world world = world_of(2, ttls, true);
	give(&world);
	world.faults = 1;
	world.machines[0].renewals = 1;
	return world;
}

/* Who takes over dies, and comes again, or does not hear an answer; or both. */
static void taker_dies(void **state)
{
	struct world world = take_over_of_one();
	(void)state;
	world.machines[1].kills = 1;
	world.machines[1].renewals = 1;
	world.machines[1].releases = 1;
	struct search search = run(&world, 6);
	assert_true(search.highest_begun >= 3);
	assert_true(search.lost > 0);
}

/* Who has it dies, and comes again: to its own lease, or to somebody else's. */
static void holder_dies(void **state)
{
	struct world world = take_over_of_one();
	(void)state;
	world.machines[0].kills = 1;
	world.machines[0].releases = 1;
	struct search search = run(&world, 6);
	assert_true(search.highest_begun >= 3);
	assert_true(search.failed[LEASE_FAIL_STALE] > 0);
}

/* Answers are lost, twice. */
static void lost_answers(void **state)
{
	const unsigned ttls[] = {2, 1};
	struct world world = world_of(2, ttls, true);
	(void)state;
	give(&world);
	world.faults = 2;
	world.machines[0].renewals = 2;
	world.machines[1].renewals = 1;
	struct search search = run(&world, 5);
	assert_true(search.highest_begun >= 2);
}

/* Without take_over who is alive keeps it; who is dead does not. */
static void politeness(void **state)
{
	const unsigned ttls[] = {2, 2};
	struct world world = world_of(2, ttls, false);
	(void)state;
	give(&world);
	world.faults = 1;
	world.machines[0].renewals = 1;
	world.machines[0].kills = 1;
	struct search search = run(&world, 8);
	assert_true(search.failed[LEASE_FAIL_ALIVE] > 0);
	assert_true(search.highest_begun >= 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_lease), cmocka_unit_test(take_overs),   cmocka_unit_test(taker_dies),	cmocka_unit_test(holder_dies),
		cmocka_unit_test(lost_answers),	   cmocka_unit_test(politeness),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
