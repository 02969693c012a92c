/* Positions in the write-ahead log.
 *
 * An LSN is the byte offset of a place in the endless stream of WAL. People write it as two hexadecimal halves, "16/B374D848";
 * in file names, where a slash cannot be, as "16-B374D848". Zero is no position. */
#ifndef NF_LSN_H
#define NF_LSN_H

#include <inttypes.h>

#include "nf_base.h"

struct nf_lsn {
	uint64_t v;
};

#define NF_LSN_FMT "%" PRIX32 "/%" PRIX32
#define NF_LSN_ARG(lsn) (uint32_t)((lsn).v >> 32), (uint32_t)(lsn).v
#define NF_LSN_TEXT_MAX 18 /* "FFFFFFFF/FFFFFFFF" and the end */

/* Parse "hi/lo" or "hi-lo", one to eight hexadecimal digits each, nothing before or after.
 * Returns 0, or -EINVAL with *ret_lsn unchanged. */
NF_MUST_CHECK int nf_lsn_parse(const char *text, struct nf_lsn *ret_lsn);

#endif
