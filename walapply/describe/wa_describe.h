/* Describe: a WAL record in words, the words that Postgres's own pg_waldump uses.
 *
 * For each built-in resource manager and each major, 13 to 18, the text is the one that pg_waldump of the cluster's own major prints
 * after "desc: NAME " and before the block references. Nothing is allocated and no file is read, except that the C library may read the
 * time zone's rules: times are printed in the zone of TZ through localtime_r, as pg_waldump does ("UTC" under TZ=UTC).
 *
 * Records may hold anything. Nothing outside them is read; what does not fit is an error. Names that a record carries (restore points,
 * prepared transactions, tablespace directories, message prefixes) are copied as they are, control characters too: as pg_waldump does.
 * Thread-safe as long as each thread has its own text. */
#ifndef WA_DESCRIBE_H
#define WA_DESCRIBE_H

#include "walapply/decode/wa_record.h"

/* A text in the caller's buffer: never longer than that, always ended by a NUL. A text that does not fit is cut and then ends in "...".
 * length  what the whole text takes, so that the caller may try again with length + 1 bytes; length >= size tells that it was cut. */
struct wa_text {
	char *data;
	size_t size; /* at least 1 */
	size_t length;
};

static inline struct wa_text wa_text_init(char *data, size_t size)
{
	assert(size > 0);
	data[0] = '\0';
	return (struct wa_text){.data = data, .size = size};
}

static inline bool wa_text_is_cut(const struct wa_text *text)
{
	return text->length >= text->size;
}

/* Append to the text, within its bounds. */
void wa_text_put(struct wa_text *text, const char *format, ...) NF_PRINTF(2, 3);
void wa_text_put_bytes(struct wa_text *text, const void *bytes, size_t count);

/* Append the description of a record: nothing for types that have nothing to tell, "rmid: 135" for an extension's resource manager.
 * Returns 0, also when the text was cut; -EBADMSG when the record's bytes do not fit its type (error says which): what was appended
 * until then stays, a caller may show it. */
NF_MUST_CHECK int wa_describe(const struct wa_version *version, const struct wa_record *record, struct wa_text *out,
			      struct wa_error *error);

/* Append the name of a record's type: "INSERT", "INSERT+INIT" for one that makes its page, "UNKNOWN (f0)" where Postgres has none.
 * info  xl_info whole, or only its upper four bits. */
void wa_describe_name(int major, uint8_t rmid, uint8_t info, struct wa_text *out);

#endif
