/* Reference-counted byte strings of the model. */
#include "mm.h"

#include <stdlib.h>
#include <string.h>

struct mm_blob *mm_blob_new(const void *bytes, size_t size)
{
	struct mm_blob *blob = malloc(sizeof(*blob) + size);
	if (blob == NULL)
		abort();
	blob->refs = 1;
	blob->size = size;
	if (bytes != NULL)
		memcpy(blob->bytes, bytes, size);
	else
		memset(blob->bytes, 0, size);
	return blob;
}

struct mm_blob *mm_blob_text(const char *text)
{
	return mm_blob_new(text, strlen(text) + 1);
}

struct mm_blob *mm_blob_ref(struct mm_blob *blob)
{
	blob->refs++;
	return blob;
}

void mm_blob_unref(struct mm_blob *blob)
{
	if (blob != NULL && --blob->refs == 0)
		free(blob);
}

bool mm_blob_same(const struct mm_blob *a, const struct mm_blob *b)
{
	return a == b || (a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0);
}

struct mm_blob *mm_zero_block(void)
{
	static struct mm_blob *zero;

	if (zero == NULL)
		zero = mm_blob_new(NULL, MM_BLOCK);
	return zero;
}

bool mm_is_zero(const uint8_t *bytes, size_t size)
{
	return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}
