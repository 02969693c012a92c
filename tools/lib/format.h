/* Numbers, times and foreign text in the form people (terminals) or programs (pipes) read. */
#ifndef TL_FORMAT_H
#define TL_FORMAT_H

#include "common/nf_base.h"

#define TL_QUOTE_MAX 80 /* room for a quoted name; longer ones are cut and end in "..." */
#define TL_NUMBER_MAX 32 /* room for a formatted number or time */

/* True when stdout is a terminal. */
bool tl_is_terminal(void);

/* "12.3 GiB" on a terminal, "13207024435" on a pipe. Returns `buf` (TL_NUMBER_MAX). */
char *tl_bytes(char *buf, uint64_t bytes);
/* "12.3 GiB" always. */
char *tl_bytes_human(char *buf, uint64_t bytes);
/* "2026-11-24T01:34:00Z" from nanoseconds since the Unix epoch. Returns `buf` (TL_NUMBER_MAX). */
char *tl_time(char *buf, int64_t time_ns);
/* "3 minutes ago" on a terminal, as tl_time on a pipe. */
char *tl_age(char *buf, int64_t time_ns);

/* Parse "4096", "64K", "10M", "2.5G", "1T" (powers of 1024; an ending "iB" or "B" is fine).
 * Returns 0; -EINVAL; -ERANGE (does not fit 64 bits). */
NF_MUST_CHECK int tl_parse_bytes(const char *text, uint64_t *ret_bytes);
/* Parse "90s", "30m", "12h", "7d", "2w" into seconds. Returns 0; -EINVAL; -ERANGE. */
NF_MUST_CHECK int tl_parse_duration(const char *text, uint64_t *ret_seconds);
/* The other way round, in the largest unit up to days that fits: "7d". Returns `buf` (TL_NUMBER_MAX). */
char *tl_duration(char *buf, uint64_t seconds);
/* A decimal number in [low, high]. Returns 0; -EINVAL; -ERANGE. */
NF_MUST_CHECK int tl_parse_number(const char *text, uint64_t low, uint64_t high, uint64_t *ret_number);

/* Copy `text` with control characters and bytes that are no UTF-8 as \xNN; cut with "..." when it does not fit. */
void tl_escape(char *buf, size_t size, const char *text);
/* The same in double quotes. */
void tl_quote(char *buf, size_t size, const char *text);
/* Bytes of the UTF-8 sequence at `text`, 0 when there is none. */
size_t tl_utf8_length(const char *text);

#endif
