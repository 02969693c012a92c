/* Which relations of a Postgres data directory differ between two points, and by how many blocks: from block versions and the WAL's index, without making
 * a page of either for it.
 *
 * Of two heads or snapshots the answer is that of bd_diff. A point in history is a base and the records behind it: there a block counts as different when
 * its versions in the two bases differ, or a record touches it; so one may be named that is the same byte for byte in the end, but none is
 * left out that is not. A block that is not there counts as one of zeros.
 *
 * Names come from the catalogue as the later of the two shows it, else the earlier; where it cannot say for sure, a name is empty. The catalogue of a point is
 * brought to that point; that of a head or snapshot is read as it lies there, so that what a server has done since its last checkpoint may be missing. */
#ifndef WA_COMPARE_H
#define WA_COMPARE_H

#include "walapply/catalog/wa_catalog.h"
#include "walapply/pitr/wa_lazy.h"

enum wa_compare_side { WA_COMPARE_A, WA_COMPARE_B, WA_COMPARE_SIDES };

struct wa_compare_point {
	struct bd_view view; /* a head or a frozen view */
	bool is_point; /* else: base and lsn count */
	struct wa_lazy_base base;
	struct nf_lsn lsn;
};

struct wa_compare_fork {
	bool is_there[WA_COMPARE_SIDES];
	uint64_t blocks[WA_COMPARE_SIDES]; /* its length */
	uint64_t different;
};

#define WA_COMPARE_PATH 96u

struct wa_compare_relation {
	struct wa_locator rel;
	char path[WA_COMPARE_PATH]; /* of the first file of its main fork, below the data directory */
	struct wa_compare_fork forks[WA_FORKS];
	uint64_t different; /* of all forks */
	/* "" where the catalogue does not say */
	char database[WA_CATALOG_NAME], schema[WA_CATALOG_NAME], name[WA_CATALOG_NAME];
};

struct wa_comparison {
	struct wa_compare_relation *relations; /* most different blocks first, then by path */
	size_t count;
	uint64_t different; /* blocks of all of them */
	bool has_points; /* then what is no relation's file was not compared */
	uint64_t other_files; /* else: how many other names differ in more than attributes */
};

/* Compare. `lazy`: of the store. Free with wa_comparison_free.
 * Returns 0; -ENOENT a view or base is not there any more; -EINVAL one is no data directory; -ENOTSUP the WAL has records that only Postgres can
 * replay, or a tablespace lies outside of the branch; -ENODATA WAL is not there any more; -EBADMSG; -ENOMEM; an error of the store. ret_message: one line.
 * Takes as long as walking what differs, and reading the WAL's index between base and point. Any thread, no lock of the store held. */
NF_MUST_CHECK int wa_compare(struct bd_store *store, struct wa_lazy *lazy, const struct wa_compare_point points[WA_COMPARE_SIDES],
			     struct wa_comparison **ret_comparison, char *ret_message, size_t message_size);
void wa_comparison_free(struct wa_comparison *comparison); /* NULL is legal */

#endif
