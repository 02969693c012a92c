/* What crashed.c has for the rest of this folder. */
#ifndef WA_CRASHED_IMPL_H
#define WA_CRASHED_IMPL_H

#include "walapply/pitr/history_impl.h"

#define WH_CRASHED "crashed-"
#define WH_CRASHED_NAME 24u

/* The directory in the history's branch. */
void wh_crashed_name(struct bd_branch_id branch, char name[WH_CRASHED_NAME]);
/* When history is opened: remove what was left. What cannot be removed is told. */
void wh_crashed_tidy(struct bd_store *store);

#endif
