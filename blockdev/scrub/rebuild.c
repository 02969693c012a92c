/* Making the index again. */
#include <stdio.h>

#include "blockdev/bd_impl.h"

int bd_store_rebuild(const char *path, bd_progress_fn progress, void *arg, char *ret_message, size_t message_size)
{
	(void)progress, (void)arg;
	snprintf(ret_message, message_size, "%s: this version cannot make a lost index again; restore the store from a copy",
		 path);
	return -ENOSYS;
}
