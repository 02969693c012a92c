/* Pages from full-page images. Source: RestoreBlockImage in src/backend/access/transam/xlogreader.c.
 * The bytes before and after the hole are unpacked to the page's start; then what follows the hole moves to its place. */
#include "walapply/decode/wa_image.h"

#include <lz4.h>
#include <pthread.h>
#include <string.h>
#include <zstd.h>

/* zstd needs a work space of some 100 KiB, too much for a stack: each thread that meets a zstd image keeps one until it ends. */
static pthread_key_t zstd_key;
static bool have_zstd_key;

static void free_zstd(void *context)
{
	ZSTD_freeDCtx(context);
}

static void make_zstd_key(void)
{
	have_zstd_key = pthread_key_create(&zstd_key, free_zstd) == 0;
}

/* Returns whether source became exactly raw_len bytes; -ENOMEM. */
static int zstd_unpack(const uint8_t *source, size_t source_len, uint8_t *raw, size_t raw_len)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, make_zstd_key);
	if (!have_zstd_key)
		return -ENOMEM;
	ZSTD_DCtx *context = pthread_getspecific(zstd_key);
	if (context == NULL) {
		context = ZSTD_createDCtx();
		if (context == NULL || pthread_setspecific(zstd_key, context) != 0) {
			ZSTD_freeDCtx(context);
			return -ENOMEM;
		}
	}
	return ZSTD_decompressDCtx(context, raw, raw_len, source, source_len) == raw_len ? 0 : -EBADMSG;
}

static int unpack(const struct wa_ref *ref, uint8_t *raw, size_t raw_len)
{
	switch (ref->compression) {
	case WA_PLAIN:
		if (ref->image_len != raw_len)
			return -EBADMSG;
		memcpy(raw, ref->image, raw_len);
		return 0;
	case WA_PGLZ: return wa_pglz_unpack(ref->image, ref->image_len, raw, raw_len);
	case WA_LZ4:
		return LZ4_decompress_safe((const char *)ref->image, (char *)raw, ref->image_len, (int)raw_len) == (int)raw_len
			       ? 0
			       : -EBADMSG;
	case WA_ZSTD: return zstd_unpack(ref->image, ref->image_len, raw, raw_len);
	default: return -EBADMSG;
	}
}

int wa_image_restore(const struct wa_ref *ref, struct nf_lsn lsn, uint8_t *page, struct wa_error *error)
{
	static const char *const names[] = {"plain", "pglz", "lz4", "zstd"};
	if (!ref->has_image)
		return wa_bad(error, lsn, "block reference %u has no image", ref->id);
	assert(ref->compression < NF_ARRAY_LEN(names) && ref->hole_offset + ref->hole_len <= (int)WA_PAGE_SIZE);
	size_t raw_len = WA_PAGE_SIZE - ref->hole_len;
	int status = unpack(ref, page, raw_len);
	if (status < 0) {
		wa_bad(error, lsn, "block reference %u: its %s image %s", ref->id, names[ref->compression],
		       status == -ENOMEM ? "cannot be unpacked: memory is short" : "does not unpack to a page");
		return status;
	}
	if (ref->hole_len > 0) {
		uint8_t *hole = page + ref->hole_offset;
		memmove(hole + ref->hole_len, hole, raw_len - ref->hole_offset);
		memset(hole, 0, ref->hole_len);
	}
	return 0;
}
