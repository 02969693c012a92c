#include "tools/neonfs-wal/rmgrs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tools/lib/cli.h"
#include "tools/lib/format.h"
#include "tools/lib/suggest.h"

static int unknown(const char *word)
{
	const char *names[WA_RMGR_BUILTIN];
	char quoted[TL_QUOTE_MAX], list[400] = "";
	for (unsigned id = 0; id < WA_RMGR_BUILTIN; id++) {
		names[id] = wa_rmgr_name((uint8_t)id);
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", id > 0 ? ", " : "", names[id]);
	}
	tl_quote(quoted, sizeof(quoted), word);
	const char *near = tl_nearest(word, names, NF_ARRAY_LEN(names));
	if (near != NULL)
		return tl_usage("--rmgr: no resource manager is named %s (did you mean \"%s\"?)", quoted, near);
	return tl_usage("--rmgr: no resource manager is named %s; there are %s, and custom128 to custom255", quoted, list);
}

static int find(const char *word)
{
	uint64_t number;
	for (unsigned id = 0; id < WA_RMGR_BUILTIN; id++)
		if (strcasecmp(word, wa_rmgr_name((uint8_t)id)) == 0)
			return (int)id;
	if (strncasecmp(word, "custom", 6) == 0 && tl_parse_number(word + 6, WA_RMGR_CUSTOM_MIN, 255, &number) == 0)
		return (int)number;
	return -ENOENT;
}

int wal_rmgrs_parse(const char *text, bool ret_rmgrs[256])
{
	memset(ret_rmgrs, false, 256);
	for (;;) {
		char word[64];
		size_t length = strcspn(text, ",");
		snprintf(word, sizeof(word), "%.*s", (int)NF_MIN(length, sizeof(word) - 1), text);
		int id = find(word);
		if (id < 0)
			return unknown(word);
		ret_rmgrs[id] = true;
		if (text[length] == '\0')
			return TL_OK;
		text += length + 1;
	}
}
