/* Bounded cursors: the only way foreign bytes are read or records are built.
 *
 * A reader never steps past its end: a read that does not fit sets `failed`, returns zero and leaves
 * the position alone, so a parser reads a whole record and checks `failed` once at the end.
 * A writer behaves the same way on a buffer that is too small. Values are little-endian,
 * except the *_be forms, which are for ordered keys. Not thread-safe; no allocation. */
#ifndef NF_CURSOR_H
#define NF_CURSOR_H

#include <endian.h>
#include <string.h>

#include "nf_base.h"

struct nf_reader {
	const uint8_t *data;
	size_t size;
	size_t offset;
	bool failed;
};

struct nf_writer {
	uint8_t *data;
	size_t size;
	size_t offset;
	bool failed;
};

static inline struct nf_reader nf_reader_init(const void *data, size_t size)
{
	return (struct nf_reader){.data = data, .size = size};
}

static inline struct nf_writer nf_writer_init(void *data, size_t size)
{
	return (struct nf_writer){.data = data, .size = size};
}

static inline size_t nf_reader_left(const struct nf_reader *r)
{
	return r->size - r->offset;
}

/* The next `count` bytes, or NULL (and failed) when fewer are left. The bytes stay the owner's. */
static inline const void *nf_read_bytes(struct nf_reader *r, size_t count)
{
	if (r->failed || count > r->size - r->offset) {
		r->failed = true;
		return NULL;
	}
	const void *at = r->data + r->offset;
	r->offset += count;
	return at;
}

static inline void nf_read_copy(struct nf_reader *r, void *to, size_t count)
{
	const void *from = nf_read_bytes(r, count);
	if (from != NULL)
		memcpy(to, from, count);
	else
		memset(to, 0, count);
}

static inline void nf_write_bytes(struct nf_writer *w, const void *from, size_t count)
{
	if (w->failed || count > w->size - w->offset) {
		w->failed = true;
		return;
	}
	if (count > 0)
		memcpy(w->data + w->offset, from, count);
	w->offset += count;
}

#define NF_CURSOR_INT(bits, suffix, to_host, from_host)                                            \
	static inline uint##bits##_t nf_read_u##bits##suffix(struct nf_reader *r)                  \
	{                                                                                          \
		uint##bits##_t raw;                                                                \
		nf_read_copy(r, &raw, sizeof(raw));                                                \
		return to_host(raw);                                                               \
	}                                                                                          \
	static inline void nf_write_u##bits##suffix(struct nf_writer *w, uint##bits##_t value)     \
	{                                                                                          \
		uint##bits##_t raw = from_host(value);                                             \
		nf_write_bytes(w, &raw, sizeof(raw));                                              \
	}
NF_CURSOR_INT(16, , le16toh, htole16)
NF_CURSOR_INT(32, , le32toh, htole32)
NF_CURSOR_INT(64, , le64toh, htole64)
NF_CURSOR_INT(16, _be, be16toh, htobe16)
NF_CURSOR_INT(32, _be, be32toh, htobe32)
NF_CURSOR_INT(64, _be, be64toh, htobe64)
#undef NF_CURSOR_INT

static inline uint8_t nf_read_u8(struct nf_reader *r)
{
	uint8_t value;
	nf_read_copy(r, &value, 1);
	return value;
}

static inline void nf_write_u8(struct nf_writer *w, uint8_t value)
{
	nf_write_bytes(w, &value, 1);
}

#endif
