/* A body behind a header: what manifests and pieces have in common. The header's fields are the caller's; its last ones are the size and XXH3 of a zstd frame and the
 * XXH3 of all before. Internal to manifest.c and piece.c. */
#ifndef BD_TIER_FRAME_H
#define BD_TIER_FRAME_H

#include "common/nf_cursor.h"

/* A body that is being put together; grows. Zero-initialised is empty; a failed allocation is kept in `failed`. */
struct bd_body {
	uint8_t *data;
	size_t size, capacity;
	bool failed;
};
/* Room for `size` bytes in all, at once. */
void bd_body_reserve(struct bd_body *body, size_t size);
void bd_body_add(struct bd_body *body, const void *bytes, size_t size);
void bd_body_u8(struct bd_body *body, uint8_t value);
void bd_body_u32(struct bd_body *body, uint32_t value);
void bd_body_u64(struct bd_body *body, uint64_t value);
void bd_body_free(struct bd_body *body);

/* An object with `header_size` bytes of room and the frame of the body behind them; malloc'd. -ENOMEM. */
NF_MUST_CHECK int bd_frame_make(const struct bd_body *body, size_t header_size, uint8_t **ret_object, size_t *ret_frame_size);
/* The body of a frame whose checksum was right; malloc'd. -EUCLEAN it is not of that size; -ENOMEM. */
NF_MUST_CHECK int bd_frame_open(const void *frame, size_t frame_size, size_t body_size, uint8_t **ret_body);

#endif
