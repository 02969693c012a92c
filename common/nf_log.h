/* The daemon's log: one line a message, to stderr and, once opened, to a file in the store.
 * Thread-safe. A line says what happened, to what, and what to do. */
#ifndef NF_LOG_H
#define NF_LOG_H

#include "nf_base.h"

enum nf_log_level { NF_LOG_ERROR, NF_LOG_WARN, NF_LOG_INFO, NF_LOG_DEBUG };

/* Send further lines to the file `path` (appended; created 0600) instead of stderr.
 * Returns 0 or -errno; on error stderr stays in use. Call before threads start. */
NF_MUST_CHECK int nf_log_open(const char *path);

/* Lines above `level` are dropped. Default NF_LOG_INFO. */
void nf_log_set_level(enum nf_log_level level);

void nf_log(enum nf_log_level level, const char *format, ...) NF_PRINTF(2, 3);

#define nf_error(...) nf_log(NF_LOG_ERROR, __VA_ARGS__)
#define nf_warn(...) nf_log(NF_LOG_WARN, __VA_ARGS__)
#define nf_info(...) nf_log(NF_LOG_INFO, __VA_ARGS__)
#define nf_debug(...) nf_log(NF_LOG_DEBUG, __VA_ARGS__)

#endif
