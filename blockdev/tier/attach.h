/* A store directory made from what is in an object store. */
#ifndef BD_TIER_ATTACH_H
#define BD_TIER_ATTACH_H

#include "blockdev/bd.h"
#include "blockdev/tier/config.h"

struct bd_attach_options {
	bool take_over; /* also from a machine that is alive (lease.h) */
	bool prefetch;	/* bring all extents here, as far as the local limit lets it; else what is not here is read when it is wanted */
	bd_progress_fn progress; /* may be NULL; a non-zero return ends it with -ECANCELED */
	void (*say)(void *arg, const char *line); /* for people, while it waits for the lease; may be NULL */
	void *arg;
};

struct bd_attach_result {
	uint64_t store_id, objects_read, bytes_read, bytes_total; /* total: of what is referred to */
	int64_t safe_ns; /* the state is that of this moment, or later */
	uint32_t generation, manifest; /* which manifest it was made from */
	uint64_t log_end; /* and up to where the log was there */
	uint64_t branches; /* without internal ones */
};

/* Make `path` (new or empty) a store: superblock, index files, ring, parts and the blocks of pieces; extents that are in the object store stay there. config->read_only: no lease
 * is taken, and the store can only be opened read-only. Else: take the lease *before* the newest manifest is looked for, and give it back: opening the store takes the next one. The
 * superblock is written last.
 * -ENOENT no store at that URL; -EBUSY held by another machine; -EUCLEAN something that is referred to is damaged or missing; -ENOTEMPTY the directory; -EOPNOTSUPP no conditional puts there;
 * -ETIMEDOUT no answer; others as of ob_run. The message names what it was. What was made is removed when it fails. */
NF_MUST_CHECK int bd_attach(const char *path, const struct bd_tier_config *config, const struct bd_attach_options *options, struct bd_attach_result *ret_result, char *message,
			    size_t size);

/* The smallest local limit that a store can work with, and the ring that goes with a limit (0: none). */
uint64_t bd_tier_least_limit(void);
uint64_t bd_tier_log_bytes(uint64_t local_limit_bytes);
/* Make an empty store as bd_store_format does, with an object store behind it, in which no other store is yet: puts the object `store` there and writes tier.json here. What was
 * made is removed when it fails.
 * As bd_store_format, then without a message; and with one: -EADDRINUSE there is a store at that URL already; -EOPNOTSUPP no conditional puts there, and config->no_lease was not asked for;
 * -EINVAL config; others as of ob_run. */
NF_MUST_CHECK int bd_tier_format(const char *path, const struct bd_format_options *options, const struct bd_tier_config *config, char *message, size_t size);

/* The newest manifest: what branches are there. -ENOENT none; -EUCLEAN; as of ob_run. The message names the object. Free with bd_manifest_free. */
struct bd_manifest;
NF_MUST_CHECK int bd_attach_newest(struct ob_client *client, struct bd_manifest *ret_manifest, char *message, size_t size);

#endif
