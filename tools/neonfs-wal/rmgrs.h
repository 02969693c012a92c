/* Lists of resource managers as people write them. */
#ifndef WAL_RMGRS_H
#define WAL_RMGRS_H

#include "walapply/decode/wa_records.h"

/* Set ret_rmgrs[id] for every manager named in `text`: "Heap,Heap2", upper and lower case alike; "custom135" is an extension's.
 * Returns TL_OK, or TL_USAGE with a message that names the wrong word. */
NF_MUST_CHECK int wal_rmgrs_parse(const char *text, bool ret_rmgrs[256]);

#endif
