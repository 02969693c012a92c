/* A store's directory that was being made, and is not to be. */
#ifndef BD_TIER_CLEAR_H
#define BD_TIER_CLEAR_H

#include "common/nf_base.h"

/* Remove everything in the directory but lost+found, and the names in `keep` (ends in NULL; or NULL). Directories in it are two deep at most. Follows no link. */
NF_MUST_CHECK int bd_clear_directory(const char *path, const char *const *keep);

#endif
