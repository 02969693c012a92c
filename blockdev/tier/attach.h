/* A store directory made from what is in an object store. */
#ifndef BD_TIER_ATTACH_H
#define BD_TIER_ATTACH_H

#include "blockdev/tier/config.h"
#include "blockdev/bd.h"

struct bd_attach_result {
	uint64_t store_id, objects_read, bytes_read, bytes_total; /* total: of what is referred to */
	int64_t safe_ns; /* the state is that of this moment, or later */
	uint32_t generation, manifest;
};

/* Make `path` (new or empty) a store: superblock, index files, ring, parts and the blocks of pieces; extents that are in the object store stay there. config.read_only: no lease is taken, and the
 * store can only be opened read-only. Else: take the lease (take_over as of lease.h) *before* the newest manifest is looked for, and give it back: opening the store takes the next one. The superblock is written last.
 * -ENOENT no store at that URL; -EBUSY held; -EUCLEAN something that is referred to is damaged or missing (the message names it); -ENOTEMPTY. What was made is removed when it fails. */
NF_MUST_CHECK int bd_attach(const char *path, const struct bd_tier_config *config, bool take_over, bd_progress_fn progress, void *arg, struct bd_attach_result *ret_result,
			    char *message, size_t size);
/* The newest manifest: what branches are there. */
struct bd_manifest;
NF_MUST_CHECK int bd_attach_newest(struct ob_client *client, struct bd_manifest *ret_manifest, char *message, size_t size);

#endif
