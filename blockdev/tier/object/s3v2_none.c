/* s3v2:// in a build without libs3: refused by name. */
#include <stdio.h>

#include "blockdev/tier/object/impl.h"

int ob_s3v2_open(struct ob_client *client NF_UNUSED, const char *url NF_UNUSED, struct ob_backend **ret_backend NF_UNUSED,
		 char *message, size_t message_size)
{
	snprintf(message, message_size, "s3v2:// needs libs3, which was not there when neonfs was built (libs3-dev)");
	return -ENOTSUP;
}
