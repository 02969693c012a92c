/* The protocol of the lease, without time, threads and requests of its own: what to ask the object store next, and what an answer means. lease.c asks; tests/unit/tier/test_lease_core.c goes
 * through every interleaving of two and three machines with this very code.
 *
 *   LIST ▶ BEFORE ▶ (WATCH) ▶ MAKE ▶ BACK ▶ AFTER ▶ (SETTLE) ▶ PUT ▶ LOOK ▶ HOLD ◀──▶ PUT ▶ LOOK ...      LOST   FAILED
 *                                                               └▶ MINE ┘            └▶ TELL
 *
 * At most one machine's lease is valid at a time:
 *
 *   Assumed of the object store: a request takes effect at one moment between the asking and the answer; or, when no answer came, at any later moment, or never. A put that must
 *   find nothing is done once a key. A list shows all that was made before it was asked. lease/G is never deleted. Assumed of clocks: they run equally fast to 1/16.
 *
 *   1. A generation has one maker: MAKE is conditional, and what is there is read back; BACK finds our random number or gives up.
 *   2. G is valid from asked to asked + ttl(G), where asked is a moment before PUT, and LOOK, after PUT, found no G+1. So G is valid only until m + ttl(G), m being the moment at which G+1 was made:
 *      the LOOK came before m, or it would have found it, since nothing is deleted.
 *   3. G+1 is valid only from its first PUT on. That comes after AFTER has read lease/G, later than m, and, unless that was "released", after m + 17/16 ttl(G).
 *   4. "Released" is put by a process that has ended its validity before, for ever: so G is not valid after it was read, nor ever again. It is put only by who has begun.
 *   5. Generations before G: when lease/G is "held", "idle" or "released", G has begun (it does PUT only after 3), so all before it had ended then. When it is "taking" it has perhaps
 *      not; then its ttl_ms is not less than that of the one before it, which is the longest that any of them can still be valid after m, by induction: each of them ends at the latest its
 *      ttl after its successor was made, and that was before m.
 *   6. Nothing is waited for when the directory's own record names lease/G's holder, that process is known to have ended, and lease/G is not "taking": 2 needs a living process. (A process
 *      that has ended says nothing to anybody, whatever requests of it are still under way; those are puts of lease/G, which by 2 and 5 only make others wait longer: "held" where there
 *      was "released".)
 *
 * What is not covered: a machine whose clock stands still while it works for nobody (a paused virtual machine) goes on where it was, and may tell something within what it believes to be
 * its ttl. That harms nothing in the object store: whatever a generation puts has its number in the key.
 * Two processes with one random number (a machine copied while it runs): renewals are conditional on the version that was put last; who finds another's has lost. */
#ifndef BD_TIER_LEASE_CORE_H
#define BD_TIER_LEASE_CORE_H

#include "common/nf_base.h"

enum lease_state { LEASE_TAKING = 1, LEASE_HELD, LEASE_IDLE, LEASE_RELEASED };

/* What of lease/G matters. */
struct lease_doc {
	uint64_t holder, counter;
	uint32_t generation, ttl_ms;
	enum lease_state state;
};

enum lease_kind {
	LEASE_NOTHING, /* it is held, lost, or could not be taken */
	LEASE_PAUSE,   /* ask again at not_before_ns */
	LEASE_LIST,    /* the highest generation there is; 0: none */
	LEASE_GET,     /* lease/generation */
	LEASE_MAKE,    /* put `doc`, which must find none */
	LEASE_PUT,     /* put `doc` over lease/generation; `conditional`: over the version that was put or got last */
	LEASE_LOOK,    /* is there a lease/generation? */
};

struct lease_ask {
	enum lease_kind kind;
	bool conditional;
	uint32_t generation;
	int64_t not_before_ns;
	struct lease_doc doc;
};

enum lease_outcome {
	LEASE_DONE,
	LEASE_NONE,    /* get, look: there is none */
	LEASE_REFUSED, /* the condition does not hold; perhaps because of an earlier try of the same put */
	LEASE_FAILED,  /* no answer, or a refusal: it may have been done, or be done later */
};

struct lease_reply {
	enum lease_outcome outcome;
	uint32_t generation; /* of a list */
	struct lease_doc doc; /* of a get */
};

enum lease_phase {
	LEASE_IN_LIST,
	LEASE_IN_BEFORE, /* what does lease/G say? */
	LEASE_IN_WATCH,	 /* does it change? */
	LEASE_IN_MAKE,
	LEASE_IN_BACK,	 /* is it ours? */
	LEASE_IN_AFTER,	 /* what does lease/G say now? */
	LEASE_IN_SETTLE, /* waiting out */
	LEASE_IN_PUT,
	LEASE_IN_MINE, /* the renewal was refused: is lease/G still ours? */
	LEASE_IN_LOOK,
	LEASE_IN_HOLD,
	LEASE_IN_TELL, /* "idle" or "released" */
	LEASE_IN_LOST,
	LEASE_IN_FAILED,
};

enum lease_failure {
	LEASE_FAIL_NONE,
	LEASE_FAIL_ASKING, /* the object store */
	LEASE_FAIL_ALIVE,  /* lease/predecessor is renewed */
	LEASE_FAIL_IDLE,   /* it is idle, which looks like dead */
	LEASE_FAIL_RACE,   /* another made it first */
	LEASE_FAIL_STALE,  /* it is not this directory's */
	LEASE_FAIL_GONE,   /* this directory's last one is not there */
};

/* A lease that the directory had, or perhaps had: whoever asked for one and died does not know. */
#define LEASE_OWN_MAX 4
struct lease_own {
	uint64_t holder;  /* 0: none */
	bool has_ended;	  /* the process that held it, certainly */
};

/* Zero it, set the first part. */
struct lease_core {
	uint64_t holder; /* random */
	uint32_t ttl_ms;
	bool adopt, take_over, unsafe;
	struct lease_own own[LEASE_OWN_MAX];
	uint32_t own_generation; /* of one that certainly was made */

	enum lease_phase phase;
	enum lease_failure failure;
	bool begun, skip, plain, ended;
	uint32_t generation, predecessor;
	uint32_t other_ttl_ms; /* of the predecessor */
	uint32_t conflicts;
	enum lease_state told;
	struct lease_doc seen; /* lease/predecessor, the last time */
	uint64_t counter;
	int64_t made_ns, until_ns, poll_ns, asked_ns, valid_until_ns;
};

/* What to do next. PAUSE and NOTHING need no reply. */
void lease_next(struct lease_core *core, int64_t now_ns, struct lease_ask *ret_ask);
/* To what lease_next asked; `now_ns`: after the answer came. */
void lease_answer(struct lease_core *core, int64_t now_ns, const struct lease_reply *reply);
/* In HOLD: begin a renewal; or to tell people, the latter for RELEASED for good. False when it is neither the time nor the place. */
bool lease_renew(struct lease_core *core);
bool lease_tell(struct lease_core *core, enum lease_state state);

static inline bool lease_is_valid(const struct lease_core *core, int64_t now_ns)
{
	return now_ns < core->valid_until_ns;
}

#endif
