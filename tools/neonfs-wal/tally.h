/* What WAL consists of: sums by resource manager, by record type and by relation.
 *
 * A record's bytes without its images count for its manager and type, and for the relation of the first block that it names; each image
 * counts for the relation whose page it is. So every list sums up to the same bytes. A record counts once for each relation that it names.
 * For one thread. */
#ifndef WAL_TALLY_H
#define WAL_TALLY_H

#include "walapply/decode/wa_records.h"

struct wal_sum {
	uint64_t records, images;
	uint64_t record_bytes; /* xl_tot_len without images */
	uint64_t image_bytes; /* as they are packed */
};

struct wal_relation_sum {
	struct wa_locator rel;
	struct wal_sum sum;
};

#define WAL_TALLY_OPS 16 /* types of a manager, by the upper four bits of xl_info */

struct wal_tally {
	struct wal_sum all, none; /* none: records that name no block */
	struct wal_sum rmgrs[256];
	struct wal_sum types[256][WAL_TALLY_OPS];
	struct wal_relation_sum *relations; /* by no order until wal_tally_sort; slot_count slots before */
	size_t relation_count, slot_count;
};

/* Returns NULL when memory is short. */
struct wal_tally *wal_tally_new(void);
void wal_tally_free(struct wal_tally *tally); /* NULL is legal */

/* Count a record. major: 13 to 18. Returns 0 or -ENOMEM. */
NF_MUST_CHECK int wal_tally_add(struct wal_tally *tally, int major, const struct wa_record *record);

/* Put the relations into order, the most bytes first: relations[0 .. relation_count). Nothing can be added afterwards. */
void wal_tally_sort(struct wal_tally *tally);

static inline uint64_t wal_sum_bytes(const struct wal_sum *sum)
{
	return sum->record_bytes + sum->image_bytes;
}

#endif
