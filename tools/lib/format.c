/* Numbers, times and foreign text. See format.h. */
#include "tools/lib/format.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool tl_is_terminal(void)
{
	return isatty(STDOUT_FILENO) == 1;
}

char *tl_bytes_human(char *buf, uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t unit = 0;
	while (value >= 1024 && unit + 1 < NF_ARRAY_LEN(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(buf, TL_NUMBER_MAX, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
	return buf;
}

char *tl_bytes(char *buf, uint64_t bytes)
{
	if (tl_is_terminal())
		return tl_bytes_human(buf, bytes);
	snprintf(buf, TL_NUMBER_MAX, "%llu", (unsigned long long)bytes);
	return buf;
}

char *tl_time(char *buf, int64_t time_ns)
{
	time_t seconds = (time_t)(time_ns / 1000000000);
	struct tm parts;
	if (gmtime_r(&seconds, &parts) == NULL || strftime(buf, TL_NUMBER_MAX, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
		snprintf(buf, TL_NUMBER_MAX, "?");
	return buf;
}

char *tl_age(char *buf, int64_t time_ns)
{
	static const struct {
		int64_t seconds;
		const char *name;
	} units[] = {
		{86400, "day"},
		{3600, "hour"},
		{60, "minute"},
		{1, "second"},
	};
	int64_t age = (int64_t)time(NULL) - time_ns / 1000000000;
	if (!tl_is_terminal())
		return tl_time(buf, time_ns);
	for (size_t i = 0; i < NF_ARRAY_LEN(units); i++) {
		int64_t count = age / units[i].seconds;
		if (count > 0) {
			snprintf(buf, TL_NUMBER_MAX, "%lld %s%s ago", (long long)count, units[i].name, count == 1 ? "" : "s");
			return buf;
		}
	}
	snprintf(buf, TL_NUMBER_MAX, "just now");
	return buf;
}

int tl_parse_bytes(const char *text, uint64_t *ret_bytes)
{
	static const char letters[] = "KMGTPE";
	char *end;
	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	unsigned long long whole = strtoull(text, &end, 10);
	if (errno == ERANGE)
		return -ERANGE;
	double fraction = 0;
	if (*end == '.') {
		double scale = 0.1;
		for (end++; isdigit((unsigned char)*end); end++, scale /= 10)
			fraction += scale * (*end - '0');
	}
	const char *letter = *end != '\0' ? strchr(letters, toupper((unsigned char)*end)) : NULL;
	unsigned shift = letter != NULL ? 10 * (unsigned)(letter - letters + 1) : 0;
	if (letter != NULL)
		end++;
	if (letter != NULL && strcmp(end, "iB") == 0)
		end += 2;
	else if (strcmp(end, "B") == 0)
		end++;
	if (*end != '\0' || (fraction > 0 && shift == 0))
		return -EINVAL;
	if (shift > 0 && whole >> (64 - shift) != 0)
		return -ERANGE;
	*ret_bytes = ((uint64_t)whole << shift) + (uint64_t)(fraction * (double)(UINT64_C(1) << shift));
	return 0;
}

/* Units of time, the largest first. */
static const struct {
	char letter;
	uint32_t seconds;
} durations[] = {{'w', 604800}, {'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};

int tl_parse_duration(const char *text, uint64_t *ret_seconds)
{
	char *end;
	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	if (end[0] == '\0' || end[1] != '\0')
		return -EINVAL;
	for (unsigned i = 0; i < NF_ARRAY_LEN(durations); i++) {
		if (durations[i].letter != end[0])
			continue;
		if (errno == ERANGE || number > INT64_MAX / 1000000000 / durations[i].seconds)
			return -ERANGE;
		*ret_seconds = number * durations[i].seconds;
		return 0;
	}
	return -EINVAL;
}

char *tl_duration(char *buf, uint64_t seconds)
{
	unsigned i = 1; /* who says 7d wants to read 7d */
	while (seconds % durations[i].seconds != 0)
		i++;
	snprintf(buf, TL_NUMBER_MAX, "%llu%c", (unsigned long long)(seconds / durations[i].seconds), durations[i].letter);
	return buf;
}

int tl_parse_number(const char *text, uint64_t low, uint64_t high, uint64_t *ret_number)
{
	char *end;
	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	if (*end != '\0')
		return -EINVAL;
	if (errno == ERANGE || number < low || number > high)
		return -ERANGE;
	*ret_number = number;
	return 0;
}

size_t tl_utf8_length(const char *text)
{
	const unsigned char *t = (const unsigned char *)text;
	size_t length;
	unsigned char low = 0x80, high = 0xBF; /* bounds of the second byte: no overlong form, no surrogate */
	if (t[0] < 0x80)
		return t[0] != 0 ? 1 : 0;
	if (t[0] >= 0xC2 && t[0] <= 0xDF)
		length = 2;
	else if (t[0] >= 0xE0 && t[0] <= 0xEF)
		length = 3;
	else if (t[0] >= 0xF0 && t[0] <= 0xF4)
		length = 4;
	else
		return 0;
	if (t[0] == 0xE0)
		low = 0xA0;
	else if (t[0] == 0xED)
		high = 0x9F;
	else if (t[0] == 0xF0)
		low = 0x90;
	else if (t[0] == 0xF4)
		high = 0x8F;
	if (t[1] < low || t[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if (t[i] < 0x80 || t[i] > 0xBF)
			return 0;
	return length;
}

void tl_escape(char *buf, size_t size, const char *text)
{
	static const char tail[] = "...";
	size_t at = 0, mark = 0; /* mark: where the tail still fits */
	assert(size > sizeof(tail));
	while (*text != '\0') {
		char piece[8];
		size_t length = tl_utf8_length(text), taken = NF_MAX(length, (size_t)1);
		if (length == 0 || iscntrl((unsigned char)*text))
			length = (size_t)snprintf(piece, sizeof(piece), "\\x%02x", (unsigned char)*text);
		else
			memcpy(piece, text, length);
		if (at + sizeof(tail) <= size)
			mark = at;
		if (at + length + 1 > size) {
			memcpy(buf + mark, tail, sizeof(tail));
			return;
		}
		memcpy(buf + at, piece, length);
		at += length;
		text += taken;
	}
	buf[at] = '\0';
}

void tl_quote(char *buf, size_t size, const char *text)
{
	buf[0] = '"';
	tl_escape(buf + 1, size - 2, text);
	strcat(buf, "\"");
}
