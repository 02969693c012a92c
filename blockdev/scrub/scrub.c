/* Scrub. */
#include "blockdev/bd_impl.h"

int bd_store_scrub(struct bd_store *store, bd_progress_fn progress, void (*report)(void *arg, const char *line), void *arg,
		   struct bd_scrub_result *ret_result)
{
	(void)store, (void)progress, (void)report, (void)arg, (void)ret_result;
	return -ENOSYS;
}
