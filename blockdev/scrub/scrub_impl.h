/* Inside of the scrub: shared by scrub.c, scrub_keys.c, scrub_data.c. */
#ifndef BD_SCRUB_IMPL_H
#define BD_SCRUB_IMPL_H

#include "blockdev/extent/extent.h"
#include "blockdev/file/inode.h"

struct scrub {
	struct bd_store *store;
	bd_progress_fn progress;
	void (*report)(void *arg, const char *line);
	void *arg;
	struct bd_scrub_result result;
	/* index keys that refer to each extent, by extent id */
	uint32_t *refs;
	uint32_t extents;
	/* the branch that was looked at last, with its pins */
	struct bd_branch *branch;
	uint32_t branch_id, *pins;
	size_t pin_count;
	bool branch_sweeps; /* its versions are about to be swept */
};

/* A line about something wrong. */
void scrub_say(struct scrub *scrub, const char *format, ...) NF_PRINTF(2, 3);
/* Progress; -ECANCELED when the caller wants no more. */
NF_MUST_CHECK int scrub_progress(struct scrub *scrub, const char *phase, uint64_t done, uint64_t total);

/* A checked record: the value is without its check. */
typedef int (*scrub_record_fn)(struct scrub *scrub, void *arg, const uint8_t *key, size_t key_size, const uint8_t *value,
			       size_t size);
/* Every sound record of a kind whose key begins with `from`, in order; damaged ones are counted and reported (`count` false: silently
 * skipped, for a second walk). Looks at the newest state every few thousand records. */
NF_MUST_CHECK int scrub_each(struct scrub *scrub, const struct bd_key *from, bool count, scrub_record_fn each, void *arg);

/* All kinds of records (scrub_keys.c). Fills `refs`. */
NF_MUST_CHECK int scrub_keys(struct scrub *scrub);
/* All blocks in extents (scrub_data.c). */
NF_MUST_CHECK int scrub_data(struct scrub *scrub);

/* Does the block version still have this place? 1, 0 or an error. */
NF_MUST_CHECK int scrub_is_at(struct scrub *scrub, const struct bd_block_id *id, struct bd_place place);
/* A place did not verify: when the version still has it, it is bad: counted and reported. */
NF_MUST_CHECK int scrub_bad_place(struct scrub *scrub, const struct bd_block_id *id, struct bd_place place, const char *what);
void scrub_forget_branch(struct scrub *scrub);

#endif
