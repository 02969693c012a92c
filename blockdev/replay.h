/* Recovery of the index from the log, at open. */
#ifndef BD_REPLAY_H
#define BD_REPLAY_H

#include "blockdev/bd_impl.h"

/* Index and extents are open, nothing else runs. Afterwards the log takes appends. */
NF_MUST_CHECK int bd_replay(struct bd_store *store);

#endif
