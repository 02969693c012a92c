/* Options about a store's object store. See tier_options.h. */
#include "tools/neonfs/tier_options.h"

#include <stdio.h>
#include <string.h>

#include "blockdev/tier/attach.h"
#include "tools/lib/format.h"

#define LEASE_MAX_S 3600
#define GRACE_MAX_S (10u * 366u * 86400u)

static int parse_bytes(const struct tl_call *call, const char *name, uint64_t *ret_bytes)
{
	const char *text = tl_value(call, name);
	if (text == NULL)
		return TL_OK;
	if (tl_parse_bytes(text, ret_bytes) != 0 || *ret_bytes == 0 || *ret_bytes > INT64_MAX)
		return tl_usage("--%s \"%s\" is no size; write one like 10737418240, 10G or 1.5T", name, text);
	return TL_OK;
}

static int parse_time(const struct tl_call *call, const char *name, uint64_t most_s, uint32_t *ret_seconds)
{
	const char *text = tl_value(call, name);
	uint64_t seconds;
	if (text == NULL)
		return TL_OK;
	if (tl_parse_duration(text, &seconds) != 0 || seconds == 0 || seconds > most_s)
		return tl_usage("--%s \"%s\" is no such time; write one like 20s, 30m or 2d", name, text);
	*ret_seconds = (uint32_t)seconds;
	return TL_OK;
}

static int refuse_without_url(const struct tl_call *call)
{
	static const struct tl_option options[] = {TIER_OPTIONS};
	for (unsigned i = 0; i < NF_ARRAY_LEN(options); i++) {
		if (tl_value(call, options[i].name) != NULL)
			return tl_usage("--%s is about an object store; name one with --object-store", options[i].name);
	}
	return TL_OK;
}

static int check_limit(const struct bd_tier_config *config)
{
	char least[TL_NUMBER_MAX];
	if (config->local_limit_bytes == 0 || config->local_limit_bytes >= bd_tier_least_limit())
		return TL_OK;
	return tl_usage("--local-limit is too small; a store needs at least %s here", tl_bytes_human(least, bd_tier_least_limit()));
}

int tier_options_parse(const struct tl_call *call, const char *url, struct bd_tier_config *ret_config)
{
	struct bd_tier_config config = {.no_lease = tl_flag(call, "unsafe-no-lease")};
	const char *parallel = tl_value(call, "parallel");
	uint64_t number = 0;
	if (url == NULL)
		return refuse_without_url(call);
	if (strlen(url) >= sizeof(config.url))
		return tl_usage("the URL is too long; at most %d bytes are possible", OB_URL_MAX - 1);
	snprintf(config.url, sizeof(config.url), "%s", url);
	int code = parse_bytes(call, "local-limit", &config.local_limit_bytes);
	if (code == TL_OK)
		code = parse_bytes(call, "send-rate", &config.send_rate);
	if (code == TL_OK)
		code = parse_bytes(call, "receive-rate", &config.receive_rate);
	if (code == TL_OK)
		code = parse_time(call, "lease", LEASE_MAX_S, &config.lease_s);
	if (code == TL_OK)
		code = parse_time(call, "grace", GRACE_MAX_S, &config.grace_s);
	if (code == TL_OK && parallel != NULL && tl_parse_number(parallel, 1, OB_PARALLEL_MAX, &number) != 0)
		code = tl_usage("--parallel %s: it is a number from 1 to %d", parallel, OB_PARALLEL_MAX);
	config.parallel = (unsigned)number;
	if (code == TL_OK)
		code = check_limit(&config);
	if (code == TL_OK)
		*ret_config = config;
	return code;
}
