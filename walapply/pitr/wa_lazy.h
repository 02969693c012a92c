/* Branches at a point whose blocks are made when they are read.
 *
 * A branch is made from a base (a snapshot whose WAL ends at or before the point) and prepared: everything outside of relation pages is brought to the
 * point, and relation files to their length (`neonfs-wal replay --state-only`). What is left is a redo layer (bd.h): the blocks that the
 * WAL between touches, each made from the base's page, the index and the WAL (walapply/materialise) when somebody reads it.
 *
 * What a layer needs is kept for it alone, in the internal branch WA_HISTORY_BRANCH, `layers/<name>/`: `plan` (lazy_plan.h), `index/` and, of the WAL
 * that the base does not have itself, `wal/`. It goes with the layer.
 *
 *      wa_lazy_begin ── base, point: WAL and index gathered ──▶ prepare ──▶ wa_lazy_seal ── which blocks of which files ──▶ bd_layer_create
 *
 * Errors: as bd.h; messages are one line. All functions may be called from any thread, with no lock of the store held. */
#ifndef WA_LAZY_H
#define WA_LAZY_H

#include "blockdev/bd.h"
#include "common/nf_lsn.h"

#define WA_LAZY_DRAIN_RATE (64u << 20) /* bytes a second, what is read and what is written */
#define WA_LAZY_NO_LIMIT UINT64_MAX
#define WA_LAZY_MEMORY_MIN (1u << 20)
#define WA_LAZY_UNDRAINED ".tree-" /* layers of branches whose names begin so are not drained: such branches do not live long */

struct wa_lazy;

/* One a store; install its hooks (bd_store_set_layer_hooks) before branches are used. Returns 0 or -ENOMEM. */
NF_MUST_CHECK int wa_lazy_open(struct bd_store *store, struct wa_lazy **ret_lazy);
/* Begin to drain in the background: what nobody has read yet is made in the heads, and layers that nobody needs any more go with what was kept for
 * them. At most `rate` bytes a second (WA_LAZY_DRAIN_RATE, WA_LAZY_NO_LIMIT; with 0 none are made), some seconds after a layer was made, in `memory` bytes for
 * pages (0: a share of the machine's). 0 or -errno. */
NF_MUST_CHECK int wa_lazy_start(struct wa_lazy *lazy, uint64_t rate, uint64_t memory);
/* Before the store is closed. */
void wa_lazy_stop(struct wa_lazy *lazy);
/* After the store was closed. NULL is legal. */
void wa_lazy_close(struct wa_lazy *lazy);
void wa_lazy_hooks(struct wa_lazy *lazy, struct bd_layer_hooks *ret_hooks);

struct wa_lazy_base {
	/* Its pg_wal has the segments from `redo` to `written`. Frozen, or a head in which nobody else writes until the layer lies on it. */
	struct bd_view view;
	struct bd_branch_id source; /* whose history has indexes, and with its pg_wal the rest of the WAL */
	struct nf_lsn redo, written;
	uint32_t timeline; /* the newest whose WAL may be read */
};

struct wa_lazy_layer; /* one in the making */

/* Gather WAL and index of (base->redo, to]. -ENODATA part of the WAL is not there any more; -ENOTSUP it has records that only Postgres can
 * replay, or wal_log_hints changes in it, which decides how pages look; -EINVAL no data directory. */
NF_MUST_CHECK int wa_lazy_begin(struct wa_lazy *lazy, const struct wa_lazy_base *base, struct nf_lsn to,
				struct wa_lazy_layer **ret_layer, char *ret_message, size_t message_size);
/* Write the summaries of its segments to `fd`, a file at its start, as wa_summary_packed_next reads them: who prepares the branch needs no more of those
 * segments. Returns 0 or -errno. */
NF_MUST_CHECK int wa_lazy_pack_summaries(const struct wa_lazy_layer *layer, int fd);
/* Look up the files of the blocks that the WAL touches in the head of `branch`, which is prepared, and keep all this durably. *ret_facts is what
 * bd_layer_create wants: WA_LAZY_FACTS_MAX bytes. -ENOTSUP a tablespace lies outside of the branch. */
#define WA_LAZY_FACTS_MAX 128u
NF_MUST_CHECK int wa_lazy_seal(struct wa_lazy_layer *layer, struct bd_branch_id branch, uint8_t *ret_facts, size_t *ret_size,
			       char *ret_message, size_t message_size);
/* Blocks that are to be made, known once it is sealed. */
uint64_t wa_lazy_blocks(const struct wa_lazy_layer *layer);
/* Does it change what the file shows? Then its path below the data directory. Known once it is sealed. */
#define WA_LAZY_PATH_MAX 160u
bool wa_lazy_touches(const struct wa_lazy_layer *layer, struct bd_file_id file, char ret_path[WA_LAZY_PATH_MAX]);
/* Done with it. keep: a layer was made of it; else what was gathered is removed. NULL is legal. */
void wa_lazy_end(struct wa_lazy_layer *layer, bool keep);

/* A branch was deleted: what was kept for its layers can go soon. */
void wa_lazy_branch_deleted(struct wa_lazy *lazy);

/* Remove what was kept for layers that are gone or never came to be. The drain does it too. */
NF_MUST_CHECK int wa_lazy_tidy(struct wa_lazy *lazy);

#endif
