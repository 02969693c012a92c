#include "tools/neonfs/point_text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tools/lib/format.h"

#define EPOCH_2000_S INT64_C(946684800) /* of 2000-01-01, since 1970 */
#define DAY_S 86400
#define HOW_TIME "write it like 2026-11-24T01:34:00Z or 2026-11-24T02:34:00+01:00"

static int refuse(char *ret_message, const char *format, ...) NF_PRINTF(2, 3);
static int refuse(char *ret_message, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(ret_message, POINT_MESSAGE_MAX, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

/* ------------------------------------------------------------------ time */

/* What is left of the text. A mismatch moves nothing. */
struct scan {
	const char *at;
};

static bool take(struct scan *scan, const char *any)
{
	bool fits = *scan->at != '\0' && strchr(any, *scan->at) != NULL;
	scan->at += fits;
	return fits;
}

/* Exactly `digits` digits whose value is in [low, high]. */
static bool take_number(struct scan *scan, unsigned digits, int low, int high, int *ret_number)
{
	int number = 0;
	for (unsigned i = 0; i < digits; i++) {
		if (!isdigit((unsigned char)scan->at[i]))
			return false;
		number = 10 * number + scan->at[i] - '0';
	}
	if (number < low || number > high)
		return false;
	scan->at += digits;
	*ret_number = number;
	return true;
}

static int month_days(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	return days[month - 1] + (month == 2 && leap);
}

/* Days since 2000-01-01, in the proleptic Gregorian calendar; year from 1. */
static int64_t day_number(int year, int month, int day)
{
	int64_t before = year - 1, days = before * 365 + before / 4 - before / 100 + before / 400;
	for (int m = 1; m < month; m++)
		days += month_days(year, m);
	return days + day - 1 - 730119; /* that of 2000-01-01 */
}

static bool take_date(struct scan *scan, int64_t *ret_days)
{
	int year, month, day;
	if (!take_number(scan, 4, 1, 9999, &year) || !take(scan, "-") || !take_number(scan, 2, 1, 12, &month) ||
	    !take(scan, "-") || !take_number(scan, 2, 1, month_days(year, month), &day))
		return false;
	*ret_days = day_number(year, month, day);
	return true;
}

/* ".5": up to nine digits, of which six count. */
static bool take_fraction(struct scan *scan, int64_t *ret_us)
{
	unsigned digits = 0;
	*ret_us = 0;
	for (; isdigit((unsigned char)*scan->at) && digits < 9; digits++, scan->at++)
		if (digits < 6)
			*ret_us = 10 * *ret_us + *scan->at - '0';
	for (unsigned i = digits; i < 6; i++)
		*ret_us *= 10;
	return digits > 0;
}

static bool take_clock(struct scan *scan, int64_t *ret_us)
{
	int hour, minute, second = 0;
	int64_t fraction = 0;
	if (!take_number(scan, 2, 0, 23, &hour) || !take(scan, ":") || !take_number(scan, 2, 0, 59, &minute))
		return false;
	if (take(scan, ":") && (!take_number(scan, 2, 0, 59, &second) || (take(scan, ".,") && !take_fraction(scan, &fraction))))
		return false;
	*ret_us = ((hour * 60 + minute) * 60 + second) * INT64_C(1000000) + fraction;
	return true;
}

/* How far the zone is ahead of UTC, in seconds. */
static bool take_zone(struct scan *scan, int *ret_ahead_s)
{
	int hours, minutes = 0;
	*ret_ahead_s = 0;
	if (take(scan, " ") && strcmp(scan->at, "UTC") == 0) {
		scan->at += 3;
		return true;
	}
	if (take(scan, "Zz"))
		return true;
	bool behind = *scan->at == '-';
	if (!take(scan, "+-") || !take_number(scan, 2, 0, 15, &hours))
		return false;
	if ((take(scan, ":") || *scan->at != '\0') && !take_number(scan, 2, 0, 59, &minutes))
		return false;
	*ret_ahead_s = (behind ? -60 : 60) * (60 * hours + minutes);
	return true;
}

static int parse_time(const char *text, int64_t *ret_time_us, char *ret_message)
{
	struct scan scan = {text};
	char quoted[TL_QUOTE_MAX];
	int64_t days, clock_us;
	int ahead_s;
	tl_quote(quoted, sizeof(quoted), text);
	if (!take_date(&scan, &days) || !take(&scan, "Tt ") || !take_clock(&scan, &clock_us))
		return refuse(ret_message, "%s is no time; %s", quoted, HOW_TIME);
	if (*scan.at == '\0')
		return refuse(ret_message, "the time %s has no zone; add Z for UTC, or like +01:00", quoted);
	if (!take_zone(&scan, &ahead_s) || *scan.at != '\0')
		return refuse(ret_message, "%s has no zone that can be read; %s", quoted, HOW_TIME);
	*ret_time_us = (days * DAY_S - ahead_s) * INT64_C(1000000) + clock_us;
	return 0;
}

/* Does it begin with this form? d: a digit; T: what stands between day and time. */
static bool begins_as(const char *text, const char *form)
{
	for (size_t i = 0; form[i] != '\0'; i++) {
		char c = text[i];
		bool fits = form[i] == 'd'   ? isdigit((unsigned char)c) != 0
			    : form[i] == 'T' ? c == 'T' || c == 't' || c == ' '
					     : c == form[i];
		if (!fits)
			return false;
	}
	return true;
}

/* A label has neither a colon nor a blank: with "2026-11-24T01:" a time begins, whatever follows. */
static bool begins_as_time(const char *text)
{
	return begins_as(text, "dddd-dd-ddTdd:");
}

bool point_is_like_lsn(const char *label)
{
	struct nf_lsn lsn;
	bool is_stamp = strlen(label) == strlen("dddddddd-dddddd") && begins_as(label, "dddddddd-dddddd");
	return nf_lsn_parse(label, &lsn) == 0 && strpbrk(label, "abcdef") == NULL && !is_stamp;
}

bool point_is_like_time(const char *label)
{
	return begins_as(label, "dddd-dd-ddTdd");
}

const char *point_name_hint(const char *name)
{
	static const char *const words[] = {"now", "today", "yesterday", "ago", "noon", "midnight"};
	bool is_time = strpbrk(name, ": ") != NULL ||
		       (isdigit((unsigned char)name[0]) && strspn(name, "0123456789-/.TtZz") == strlen(name));
	for (unsigned i = 0; i < NF_ARRAY_LEN(words); i++)
		is_time |= strcmp(name, words[i]) == 0;
	return is_time ? "; if a time is meant, " HOW_TIME : "";
}

char *point_time(char *buf, int64_t time_us)
{
	int64_t us = time_us % 1000000, s = time_us / 1000000;
	if (us < 0) {
		us += 1000000;
		s--;
	}
	time_t unix_s = (time_t)(s + EPOCH_2000_S);
	struct tm parts;
	char stamp[POINT_TIME_MAX - 8];
	if (gmtime_r(&unix_s, &parts) == NULL || strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &parts) == 0)
		snprintf(stamp, sizeof(stamp), "?");
	if (us == 0)
		snprintf(buf, POINT_TIME_MAX, "%sZ", stamp);
	else
		snprintf(buf, POINT_TIME_MAX, "%s.%06dZ", stamp, (int)us);
	return buf;
}

/* ----------------------------------------------------------------- points */

static int parse_lsn(const char *text, struct point_text *point, char *ret_message)
{
	char quoted[TL_QUOTE_MAX];
	if (nf_lsn_parse(text, &point->lsn) == 0 && point->lsn.v != 0)
		return 0;
	tl_quote(quoted, sizeof(quoted), text);
	return refuse(ret_message, "%s is no LSN; write it like 16/B374D848", quoted);
}

static int parse_name(const char *text, struct point_text *point, char *ret_message)
{
	point->name = text;
	return text[0] != '\0'
		       ? 0
		       : refuse(ret_message, "the point is empty; it is an LSN, a time, a snapshot's label or a restore point");
}

static int parse_as(enum point_kind kind, const char *text, struct point_text *point, char *ret_message)
{
	*point = (struct point_text){.kind = kind};
	switch (kind) {
	case POINT_LSN: return parse_lsn(text, point, ret_message);
	case POINT_TIME: return parse_time(text, &point->time_us, ret_message);
	default: return parse_name(text, point, ret_message);
	}
}

int point_parse(const char *text, struct point_text *ret_point, char *ret_message)
{
	static const struct {
		const char *prefix;
		enum point_kind kind;
	} prefixes[] = {
		{"lsn:", POINT_LSN}, {"time:", POINT_TIME}, {"label:", POINT_LABEL}, {"restore-point:", POINT_RESTORE_POINT}};
	struct point_text point;
	enum point_kind kind = POINT_NAME;
	for (unsigned i = 0; i < NF_ARRAY_LEN(prefixes) && kind == POINT_NAME; i++)
		if (strncmp(text, prefixes[i].prefix, strlen(prefixes[i].prefix)) == 0) {
			kind = prefixes[i].kind;
			text += strlen(prefixes[i].prefix);
		}
	struct nf_lsn lsn = {0};
	bool is_lsn = nf_lsn_parse(text, &lsn) == 0;
	if (kind == POINT_NAME && is_lsn && strchr(text, '/') != NULL)
		kind = POINT_LSN;
	else if (kind == POINT_NAME && begins_as_time(text))
		kind = POINT_TIME;
	int rc = parse_as(kind, text, &point, ret_message);
	if (rc == 0 && kind == POINT_NAME && is_lsn && lsn.v != 0) {
		point.may_be_lsn = true;
		point.lsn = lsn;
	}
	if (rc == 0)
		*ret_point = point;
	return rc;
}
