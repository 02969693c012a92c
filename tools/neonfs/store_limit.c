#include "tools/neonfs/store_limit.h"

#include <stdio.h>
#include <string.h>

#include "tools/lib/format.h"

/* Disk is taken in steps of this many bytes at least: with less free, the next one fails. */
#define STEP_BYTES (UINT64_C(4) << 20)

int store_limit_set(struct bd_store *store, uint64_t bytes, char ret_message[STORE_LIMIT_MESSAGE_MAX])
{
	char taken[TL_NUMBER_MAX];
	struct bd_status status;
	int rc = bd_store_set_size_limit(store, bytes);
	if (rc == -ENOSPC && bd_store_status(store, &status) == 0 && status.extent_bytes + status.log_bytes > bytes)
		snprintf(ret_message, STORE_LIMIT_MESSAGE_MAX,
			 "the store takes %s now, %llu bytes, its log among them; choose a limit above that, or make room first: "
			 "delete "
			 "branches, snapshots or files, then run \"neonfs gc\"",
			 tl_bytes_human(taken, status.extent_bytes + status.log_bytes),
			 (unsigned long long)(status.extent_bytes + status.log_bytes));
	else if (rc == -EINVAL && bd_store_status(store, &status) == 0)
		snprintf(ret_message, STORE_LIMIT_MESSAGE_MAX, "that is too small for a store whose log takes %s",
			 tl_bytes_human(taken, status.log_bytes));
	else if (rc != 0)
		snprintf(ret_message, STORE_LIMIT_MESSAGE_MAX, "the limit cannot be written down: %s", strerror(-rc));
	return rc;
}

const char *store_limit_reached(const struct bd_status *status)
{
	uint64_t own = status->extent_bytes + status->log_bytes;
	if (status->free_bytes >= STEP_BYTES)
		return NULL;
	return status->size_limit_bytes != 0 && own + STEP_BYTES > status->size_limit_bytes ? "size limit" : "disk";
}
