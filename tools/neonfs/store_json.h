/* What the store says of itself, as JSON: the same from the daemon and from a command that opened the store. */
#ifndef NEONFS_STORE_JSON_H
#define NEONFS_STORE_JSON_H

#include <jansson.h>

#include "blockdev/bd.h"
#include "blockdev/tier/check.h"

/* NULL: out of memory. */
json_t *store_status_json(const struct bd_status *status);
/* With the redo layers that are left: what lies below them stays for their sake. */
json_t *store_gc_json(struct bd_store *store, const struct bd_gc_result *result);
json_t *store_scrub_json(const struct bd_scrub_result *result);
json_t *store_check_json(const struct bd_check_result *result);
/* Of the object store behind it; also NULL when there is none. */
json_t *store_tier_json(struct bd_store *store);

#endif
