/* Inside of the check: shared by check*.c only. */
#ifndef BD_TIER_CHECK_IMPL_H
#define BD_TIER_CHECK_IMPL_H

#include "blockdev/tier/check.h"
#include "blockdev/tier/fetch.h"
#include "blockdev/tier/tier.h"

enum check_kind { CHECK_OTHER, CHECK_EXTENT, CHECK_PART, CHECK_INDEX, CHECK_PIECE, CHECK_MANIFEST };

struct check_object {
	char *key;
	uint64_t size;
	int64_t modified_s;
	enum check_kind kind;
	bool is_known; /* something refers to it, or it is what its name says and may stay */
	bool is_doomed;
	uint32_t extent; /* of extents and parts */
	uint64_t sum;	 /* of index files */
};

struct check {
	struct bd_store *store;
	struct ob_client *client;
	bd_progress_fn progress;
	void (*report)(void *arg, const char *line);
	void *arg;
	struct check_object *objects; /* by rising key */
	size_t count, capacity;
	struct bd_check_result result;
	char message[OB_MESSAGE_MAX + BD_FETCH_KEY_SIZE];
};

void check_report(struct check *check, const char *format, ...) NF_PRINTF(2, 3);
/* NULL: it was not in the list. */
struct check_object *check_find(struct check *check, const char *key);
NF_MUST_CHECK int check_progress(struct check *check, const char *phase, uint64_t done, uint64_t total);

/* check_manifest.c: read every manifest there is, and mark what they refer to. */
NF_MUST_CHECK int check_manifests(struct check *check);
/* check_deep.c: read and verify every object that is known. */
NF_MUST_CHECK int check_deep(struct check *check);

/* Something refers to an object of that size. *ret_object: it, or NULL when it is missing, which was reported after a second look: `owner`, when it is an object, is still there, and
 * the other still is not. */
NF_MUST_CHECK int check_refer(struct check *check, const char *key, uint64_t size, enum check_kind kind, const char *owner, struct check_object **ret_object);

#endif
