/* What pg_control tells about a cluster's WAL. */
#ifndef WAL_CONTROL_H
#define WAL_CONTROL_H

#include "walapply/decode/wa_record.h"

/* Look for global/pg_control in `path`, in case it is a data directory, and beside `wal_directory`, in case that is a pg_wal. When it
 * is there, whole, and of cluster `system_id`, set checksums and log_hints in *version. Returns whether it did. */
bool wal_control_read(const char *path, const char *wal_directory, uint64_t system_id, struct wa_version *version);

#endif
