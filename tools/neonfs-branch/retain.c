/* neonfs-branch retain: how much history a branch keeps; and history as "show" prints it. */
#include <stdio.h>
#include <string.h>

#include "tools/lib/format.h"
#include "tools/neonfs-branch/branch.h"

/* Less than a WAL segment is no history: whole segments are kept. */
#define RETAIN_BYTES_MIN (UINT64_C(16) << 20)

/* "7d", "50GB", "7d,50GB" or "off". TL_OK, or TL_USAGE with a message. */
static int parse_retention(const char *word, uint64_t *ret_seconds, uint64_t *ret_bytes)
{
	char quoted[TL_QUOTE_MAX], text[64];
	*ret_seconds = *ret_bytes = 0;
	if (strcmp(word, "off") == 0)
		return TL_OK;
	tl_quote(quoted, sizeof(quoted), word);
	if (snprintf(text, sizeof(text), "%s", word) >= (int)sizeof(text))
		return tl_usage("%s is no retention", quoted);
	char *rest = text;
	for (char *part; (part = strsep(&rest, ",")) != NULL;) {
		uint64_t value;
		if (*ret_seconds == 0 && tl_parse_duration(part, &value) == 0 && value > 0)
			*ret_seconds = value;
		else if (*ret_bytes == 0 && strpbrk(part, "KMGTPEkmgtpe") != NULL && tl_parse_bytes(part, &value) == 0 &&
			 value > 0)
			*ret_bytes = value;
		else
			return tl_usage("%s is no retention; write a time (7d, 12h), a size (50GB), both (7d,50GB), or off",
					quoted);
	}
	if (*ret_bytes != 0 && *ret_bytes < RETAIN_BYTES_MIN)
		return tl_usage("%s is less than a segment of WAL, of which only whole ones can be kept; ask for 16MiB or more", quoted);
	return TL_OK;
}

static void print_limits(const json_t *history)
{
	char text[TL_NUMBER_MAX];
	int64_t seconds = branch_number(history, "retain_seconds"), bytes = branch_number(history, "retain_bytes");
	printf("%-10s ", "history");
	if (seconds != 0)
		printf("of %s", tl_duration(text, (uint64_t)seconds));
	if (bytes != 0)
		printf("%s%s of WAL", seconds != 0 ? ", " : "up to ", tl_bytes_human(text, (uint64_t)bytes));
	printf("%s\n", seconds == 0 && bytes == 0 ? "damaged" : "");
}

/* One line of facts, where both are known. */
static void print_point(const char *what, const json_t *history, const char *lsn, const char *when, const char *note)
{
	if (branch_text(history, lsn)[0] == '\0')
		return;
	printf("           %s %s", what, branch_text(history, lsn));
	if (branch_text(history, when)[0] != '\0')
		printf("  (%s%s)", note, branch_text(history, when));
	printf("\n");
}

void print_history(const json_t *history)
{
	char wal[TL_NUMBER_MAX], index[TL_NUMBER_MAX];
	if (!json_is_object(history)) {
		printf("%-10s off\n", "history");
		return;
	}
	print_limits(history);
	print_point("from", history, "earliest", "earliest_time", "");
	print_point("to  ", history, "latest", "latest_commit_time", "last commit ");
	if (branch_text(history, "earliest")[0] != '\0')
		printf("           WAL %s, its index %s, %lld full segments, %lld snapshots to start from\n",
		       tl_bytes_human(wal, (uint64_t)branch_number(history, "wal_bytes")),
		       tl_bytes_human(index, (uint64_t)branch_number(history, "index_bytes")),
		       (long long)branch_number(history, "segments"), (long long)branch_number(history, "bases"));
	if (branch_text(history, "begun_again")[0] != '\0')
		printf("           begun again %s: %s\n", branch_text(history, "begun_again"),
		       branch_text(history, "begun_again_why"));
	if (branch_text(history, "trouble")[0] != '\0')
		printf("           trouble: %s\n", branch_text(history, "trouble"));
}

int run_retain(const struct tl_call *call)
{
	uint64_t seconds, bytes;
	json_t *result;
	int code = parse_retention(call->args[1], &seconds, &bytes);
	if (code == TL_OK)
		code = branch_request(call, "branch.retain",
				      json_pack("{s:o, s:I, s:I}", "name", branch_word(call->args[0]), "seconds",
						(json_int_t)seconds, "bytes", (json_int_t)bytes),
				      &result);
	if (code != TL_OK)
		return code;
	if (tl_flag(call, "json"))
		branch_print_json(json_object_get(result, "history"));
	else if (tl_is_terminal())
		print_history(json_object_get(result, "history"));
	json_decref(result);
	return TL_OK;
}
