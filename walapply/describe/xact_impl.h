/* Lists that the records of ended and of prepared transactions have in common. */
#ifndef WA_DESCRIBE_XACT_IMPL_H
#define WA_DESCRIBE_XACT_IMPL_H

#include "describe_impl.h"

#define WA_XACT_MESSAGE_SIZE 16 /* SharedInvalidationMessage */

/* Some elements of a record; they are known to be there. */
struct wa_xact_list {
	int32_t count;
	struct nf_reader items;
};

/* The next `count` elements of `size` bytes, stepped over; none and failed where there are fewer. */
struct wa_xact_list wa_xact_list(struct wa_describe *d, struct nf_reader *from, int32_t count, size_t size);

/* Size of an item of dropped statistics: 15 to 17, or 18. */
size_t wa_xact_stats_size(int major);

/* Append "; LABEL: base/5/1 ..."; nothing for an empty list. So with the others. */
void wa_xact_rels(struct wa_describe *d, const char *label, struct wa_xact_list list);
void wa_xact_subxacts(struct wa_describe *d, struct wa_xact_list list);
void wa_xact_stats(struct wa_describe *d, const char *label, struct wa_xact_list list);

/* Append where a replicated transaction came from; its node is the record's own. */
void wa_xact_origin(struct wa_describe *d, uint64_t lsn, int64_t time_us);

/* A row's `rest` for PREPARE (xact_prepare.c). */
void wa_describe_prepare(struct wa_describe *d);

#endif
