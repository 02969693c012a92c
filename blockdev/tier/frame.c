/* Bodies and their zstd frames. See frame.h. */
#include "blockdev/tier/frame.h"

#include <stdlib.h>
#include <zstd.h>

#define FRAME_LEVEL 1 /* zstd's: what is put is mostly pages of a database, and the machine has other work */

void bd_body_reserve(struct bd_body *body, size_t size)
{
	if (body->failed || size <= body->capacity)
		return;
	uint8_t *data = realloc(body->data, size);
	if (data == NULL) {
		body->failed = true;
		return;
	}
	body->data = data;
	body->capacity = size;
}

void bd_body_add(struct bd_body *body, const void *bytes, size_t size)
{
	if (size > body->capacity - body->size)
		bd_body_reserve(body, NF_MAX(body->capacity * 2, NF_MAX(body->size + size, (size_t)4096)));
	if (size == 0 || body->failed)
		return;
	memcpy(body->data + body->size, bytes, size);
	body->size += size;
}

void bd_body_u8(struct bd_body *body, uint8_t value)
{
	bd_body_add(body, &value, 1);
}

void bd_body_u32(struct bd_body *body, uint32_t value)
{
	uint32_t raw = htole32(value);
	bd_body_add(body, &raw, sizeof(raw));
}

void bd_body_u64(struct bd_body *body, uint64_t value)
{
	uint64_t raw = htole64(value);
	bd_body_add(body, &raw, sizeof(raw));
}

void bd_body_free(struct bd_body *body)
{
	free(body->data);
	*body = (struct bd_body){0};
}

int bd_frame_make(const struct bd_body *body, size_t header_size, uint8_t **ret_object, size_t *ret_frame_size)
{
	size_t bound = ZSTD_compressBound(body->size);
	uint8_t *object = body->failed ? NULL : malloc(header_size + bound);
	if (object == NULL)
		return -ENOMEM;
	size_t frame_size = ZSTD_compress(object + header_size, bound, body->data, body->size, FRAME_LEVEL);
	/* With room for the bound nothing but memory can be missing. */
	if (ZSTD_isError(frame_size)) {
		free(object);
		return -ENOMEM;
	}
	uint8_t *smaller = realloc(object, header_size + frame_size);
	*ret_object = smaller != NULL ? smaller : object;
	*ret_frame_size = frame_size;
	return 0;
}

int bd_frame_open(const void *frame, size_t frame_size, size_t body_size, uint8_t **ret_body)
{
	uint8_t *body = malloc(body_size + 1);
	if (body == NULL)
		return -ENOMEM;
	size_t got = ZSTD_decompress(body, body_size, frame, frame_size);
	if (ZSTD_isError(got) || got != body_size) {
		free(body);
		return -EUCLEAN;
	}
	*ret_body = body;
	return 0;
}
