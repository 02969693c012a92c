/* neonfs init: make an empty store. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "blockdev/bd.h"
#include "blockdev/tier/attach.h"
#include "tools/lib/format.h"
#include "tools/neonfs/commands.h"
#include "tools/neonfs/store_limit.h"
#include "tools/neonfs/store_path.h"
#include "tools/neonfs/tier_options.h"

static int fail_not_empty(const char *path)
{
	if (store_path_is_store(path))
		return tl_fail("there is a neonfs store in it already; mount that, or choose another directory");
	return tl_fail("the directory is not empty; choose a new or an empty one");
}

static int fail_format(const char *path, int rc)
{
	switch (rc) {
	case -ENOTEMPTY:
	case -EEXIST: return fail_not_empty(path);
	case -ENOTDIR: return tl_fail("it is not a directory; choose a new or an empty one");
	case -ENOENT: return tl_fail("the directory above it does not exist; make that first");
	case -EACCES:
	case -EPERM: return tl_fail("no permission to make a store there; choose a directory of your own");
	case -ENOSPC: return tl_fail("the disk is full; make room or choose another disk");
	default: return tl_fail("cannot make a store there: %s", strerror(-rc));
	}
}

static int make_tiered(const char *path, const struct bd_format_options *options, const struct bd_tier_config *config)
{
	char message[1024];
	int rc = bd_tier_format(path, options, config, message, sizeof(message));
	if (rc == 0)
		return TL_OK;
	return message[0] != '\0' ? tl_fail("%s", message) : fail_format(path, rc);
}

static int make_store(const char *path, const struct bd_format_options *options)
{
	int rc = bd_store_format(path, options);
	return rc == 0 ? TL_OK : fail_format(path, rc);
}

int run_init(const struct tl_call *call)
{
	struct bd_format_options options = {0};
	struct bd_tier_config config = {0};
	const char *limit = tl_value(call, "size-limit"), *url = tl_value(call, "object-store");
	struct stat status;
	int code = tier_options_parse(call, url, &config);
	if (code != TL_OK)
		return code;
	if (config.local_limit_bytes != 0)
		options.log_bytes = bd_tier_log_bytes(config.local_limit_bytes);
	if (limit != NULL) {
		if (tl_parse_bytes(limit, &options.size_limit_bytes) != 0)
			return tl_usage("--size-limit \"%s\" is no size; write one like 10737418240, 10G or 1.5T", limit);
		if (options.size_limit_bytes < STORE_LIMIT_MIN)
			return tl_usage("--size-limit %s is too small; a store needs at least 256M", limit);
	}
	if (call->args[0][0] == '\0')
		return tl_usage("STORE is empty; name a directory");
	if (stat(call->args[0], &status) == 0 && !S_ISDIR(status.st_mode))
		return fail_format(call->args[0], -ENOTDIR);
	code = url != NULL ? make_tiered(call->args[0], &options, &config) : make_store(call->args[0], &options);
	if (code != TL_OK)
		return code;
	if (tl_is_terminal())
		printf("Made store %s. Next: neonfs mount %s MOUNTPOINT\n", call->args[0], call->args[0]);
	return TL_OK;
}
