/* The bounded text, and the words that several managers share: times, paths, strings out of a record. */
#include "describe_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#define SPC_DEFAULT 1663u /* pg_default: base/ */
#define SPC_GLOBAL 1664u /* pg_global: global/ */
#define EPOCH_2000_S 946684800 /* 2000-01-01 UTC in Unix time */
#define US_PER_S 1000000

/* A cut text ends in dots. */
static void mark_cut(struct wa_text *text)
{
	size_t dots = NF_MIN(text->size - 1, (size_t)3);
	memset(text->data + text->size - 1 - dots, '.', dots);
	text->data[text->size - 1] = '\0';
}

/* Count `count` more characters of which as many as there was room for have been written. */
static void grow(struct wa_text *text, size_t count)
{
	bool was_cut = wa_text_is_cut(text);
	text->length += count;
	if (!was_cut && wa_text_is_cut(text))
		mark_cut(text);
}

void wa_text_put(struct wa_text *text, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	bool cut = wa_text_is_cut(text);
	int count = vsnprintf(cut ? NULL : text->data + text->length, cut ? 0 : text->size - text->length, format, args);
	va_end(args);
	if (count > 0)
		grow(text, (size_t)count);
}

void wa_text_put_bytes(struct wa_text *text, const void *bytes, size_t count)
{
	if (!wa_text_is_cut(text)) {
		size_t fits = NF_MIN(count, text->size - 1 - text->length);
		memcpy(text->data + text->length, bytes, fits);
		text->data[text->length + fits] = '\0';
	}
	grow(text, count);
}

void wa_describe_string(struct wa_describe *d, struct nf_reader *from, size_t field_size)
{
	const char *bytes = nf_read_bytes(from, field_size);
	if (bytes != NULL)
		wa_text_put_bytes(d->out, bytes, strnlen(bytes, field_size));
}

/* As timestamptz_to_str in src/bin/pg_waldump/compat.c: whole seconds and the rest are both cut towards zero, so a time before 2000 has
 * a negative fraction. */
void wa_describe_time(struct wa_describe *d, int64_t time_us)
{
	time_t seconds = time_us / US_PER_S + EPOCH_2000_S;
	struct tm local;
	char date[64], zone[64];
	if (localtime_r(&seconds, &local) == NULL || strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &local) == 0) {
		d->failed = true;
		return;
	}
	if (strftime(zone, sizeof(zone), "%Z", &local) == 0)
		zone[0] = '\0';
	wa_text_put(d->out, "%s.%06d %s", date, (int)(time_us % US_PER_S), zone);
}

/* The catalog version is in the names of the directories below a tablespace (TABLESPACE_VERSION_DIRECTORY; CATALOG_VERSION_NO in
 * src/include/catalog/catversion.h of each major). */
static unsigned catalog_version(int major)
{
	static const unsigned versions[] = {202007201, 202107181, 202209061, 202307071, 202406281, 202506291};
	static_assert(NF_ARRAY_LEN(versions) == WA_MAJOR_MAX - WA_MAJOR_MIN + 1, "a catalog version for every major");
	return versions[major - WA_MAJOR_MIN];
}

/* GetRelationPath, src/common/relpath.c. */
void wa_describe_path(struct wa_describe *d, struct wa_locator rel, uint32_t fork)
{
	static const char *const suffixes[WA_FORKS] = {"", "_fsm", "_vm", "_init"};
	if (fork >= WA_FORKS) {
		d->failed = true;
		return;
	}
	if (rel.spc == SPC_GLOBAL)
		wa_text_put(d->out, "global/%u%s", rel.rel, suffixes[fork]);
	else if (rel.spc == SPC_DEFAULT)
		wa_text_put(d->out, "base/%u/%u%s", rel.db, rel.rel, suffixes[fork]);
	else
		wa_text_put(d->out, "pg_tblspc/%u/PG_%d_%u/%u/%u%s", rel.spc, d->major, catalog_version(d->major), rel.db,
			    rel.rel, suffixes[fork]);
}

struct wa_locator wa_describe_locator(struct nf_reader *from)
{
	struct wa_locator rel = {.spc = nf_read_u32(from)};
	rel.db = nf_read_u32(from);
	rel.rel = nf_read_u32(from);
	return rel;
}
