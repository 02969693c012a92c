/* Everything in the object store that should be there, compared with what is there. */
#ifndef BD_TIER_CHECK_H
#define BD_TIER_CHECK_H

#include "blockdev/bd.h"

struct bd_check_result {
	uint64_t objects, bytes, verified_bytes;
	uint64_t missing, damaged, orphans, orphan_bytes, doomed;
};

/* Lists all; compares with the store's own records and every manifest there is. `deep`: also reads and verifies every object. `report` gets one line for each finding. Runs beside a live service,
 * which it does not wait for. Objects that nothing refers to for an hour are counted as orphans; they are no damage.
 * Returns 0 also when something was found; look at the counts. -ENOENT no tier; -ECANCELED; as of ob_run; with a message. */
NF_MUST_CHECK int bd_store_check_objects(struct bd_store *store, bool deep, bd_progress_fn progress, void (*report)(void *arg, const char *line), void *arg,
					 struct bd_check_result *ret_result, char *message, size_t size);

#endif
