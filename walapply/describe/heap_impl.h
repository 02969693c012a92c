/* What the descriptions of Heap and Heap2 share: the bits of infomask and infomask2 at offset 6 of several records (XLHL_*). */
#ifndef WA_DESCRIBE_HEAP_IMPL_H
#define WA_DESCRIBE_HEAP_IMPL_H

#include "describe_impl.h"

/* Append the names of the bits that are set: "IS_MULTI LOCK_ONLY " up to 15, "[IS_MULTI, LOCK_ONLY]" later. */
void wa_describe_infobits(struct wa_describe *d);

/* The same, and the flags at offset 7 (16 and later). */
void wa_describe_infobits_flags(struct wa_describe *d);

#endif
