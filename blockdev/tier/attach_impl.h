/* Inside of attach: shared by the files attach*.c only. One thread; the client's own one fetches beside it, and one zeroes the ring. */
#ifndef BD_TIER_ATTACH_IMPL_H
#define BD_TIER_ATTACH_IMPL_H

#include "blockdev/extent/extent.h"
#include "blockdev/tier/attach.h"
#include "blockdev/tier/fetch.h"
#include "blockdev/tier/manifest.h"
#include "blockdev/tier/rows.h"

#define ATTACH_RANGE_BYTES (UINT64_C(8) << 20) /* of index files, read at once */

static_assert(BD_FETCH_KEY_SIZE >= BD_MANIFEST_KEY_SIZE, "keys fit");

/* What is known of an extent: by the index of the manifest, by its parts, by the log behind it, and on disk. */
struct attach_extent {
	uint32_t id;
	uint32_t used, slots; /* by its record, or part; slots that the file has room for */
	bool has_record;      /* 'E', after the log */
	bool in_index;	      /* the record was in the manifest's index already, with slots in use */
	bool has_part, has_file;
};

struct attach {
	const char *path;
	const struct bd_tier_config *config;
	const struct bd_attach_options *options;
	struct ob_client *client;
	struct nf_io *io;
	struct bd_manifest manifest;
	struct bd_rows *before, *after; /* 'T' records: of the manifest's index; and with the log behind it */
	struct attach_extent *extents;	/* by rising id */
	size_t extent_count, extent_capacity;
	struct nf_file *open_file; /* of extent open_id */
	uint32_t open_id;
	uint8_t *aligned; /* ATTACH_ALIGNED_BYTES */
	uint64_t log_end;
	struct bd_attach_result result;
	bool is_missing; /* it failed for want of an object that is referred to */
	char *message;
	size_t message_size;
};

#define ATTACH_ALIGNED_BYTES ((size_t)1 << 20)
static_assert(ATTACH_ALIGNED_BYTES >= BD_EXTENT_DATA_OFFSET && ATTACH_ALIGNED_BYTES >= BD_GROUP_BYTES, "a group fits");

/* Keep why; returns `error`. */
int attach_fail(struct attach *attach, int error, const char *format, ...) NF_PRINTF(3, 4);

/* ---- attach_fetch.c */
typedef int (*attach_got_fn)(void *arg, const struct bd_want *want, const uint8_t *bytes);
/* bd_fetch of what has to be there: an object that is missing or damaged ends it, and the message names it. */
NF_MUST_CHECK int attach_fetch(struct attach *attach, const char *phase, bd_fetch_next_fn next, attach_got_fn got, void *arg);

/* ---- attach.c: a ring that holds `bytes` from its beginning; made anew when the one that is there is too short. Positions that were padded to the end of the shorter one stay as
 * they are (log/scan.c). Sets manifest.log_bytes. */
NF_MUST_CHECK int attach_log_make_room(struct attach *attach, uint64_t bytes);

/* ---- attach_index.c: files, and what is in them: positions compared, `extents` and `before` filled */
NF_MUST_CHECK int attach_index(struct attach *attach);

/* ---- attach_extent.c */
/* The extent, made when there is none. NULL: no memory. */
struct attach_extent *attach_extent(struct attach *attach, uint32_t id);
NF_MUST_CHECK int attach_parts(struct attach *attach);
NF_MUST_CHECK int attach_blocks(struct attach *attach, uint32_t id, uint32_t slot, uint32_t count, const uint8_t *blocks);
/* All is known: fetch, make and remove files so that the store finds what it expects, durably. */
NF_MUST_CHECK int attach_settle_extents(struct attach *attach);
void attach_close_file(struct attach *attach);

/* ---- attach_log.c */
/* The ring is there, all zeros: fill it from pieces, with their blocks; read it as an open would, and learn of extents. Sets log_end. */
NF_MUST_CHECK int attach_log(struct attach *attach);

#endif
