/* Taking records apart: every form of a header, and that no bytes whatever lead outside. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "wal_build.h"
#include "walapply/decode/wa_decode.h"
#include "walapply/decode/wa_image.h"

#define LSN ((struct nf_lsn){0x3000028})

static struct wa_record record;
static struct wa_error error;

static int decode(int major, struct rec *rec)
{
	rec_finish(rec, 0x3000000);
	error.text[0] = '\0';
	return wa_decode_record(major, rec->bytes, rec->size, LSN, &record, &error);
}

static void expect_good(int major, struct rec *rec)
{
	if (decode(major, rec) != 0)
		fail_msg("refused: %s", error.text);
}

static void expect_bad(int major, struct rec *rec)
{
	assert_int_equal(decode(major, rec), -EBADMSG);
	assert_int_equal(error.lsn.v, LSN.v);
	assert_true(error.text[0] != '\0');
	rec_free(rec);
}

static void header(void **state)
{
	(void)state;
	struct rec rec;
	rec_start(&rec, WA_RMGR_HEAP, 0x83, 777);
	expect_good(15, &rec);
	assert_int_equal(record.lsn.v, LSN.v);
	assert_int_equal(record.end.v, LSN.v + 24);
	assert_int_equal(record.prev.v, 0x3000000);
	assert_int_equal(record.tot_len, 24);
	assert_int_equal(record.xid, 777);
	assert_int_equal(record.rmid, WA_RMGR_HEAP);
	assert_int_equal(record.info, 0x83);
	assert_int_equal(record.main_len, 0);
	assert_int_equal(record.ref_count, 0);
	assert_int_equal(record.origin, 0);
	assert_int_equal(record.top_xid, 0);
	rec_free(&rec);
}

static void main_data(void **state)
{
	(void)state;
	static const uint32_t sizes[] = {1, 255, 256, 70000};
	static uint8_t bytes[70000];
	struct rec rec;
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 13);
	for (unsigned i = 0; i < NF_ARRAY_LEN(sizes); i++) {
		rec_start(&rec, WA_RMGR_XLOG, 0x20, 0);
		rec_main(&rec, bytes, sizes[i]);
		expect_good(15, &rec);
		assert_int_equal(record.main_len, sizes[i]);
		assert_memory_equal(record.main, bytes, sizes[i]);
		assert_int_equal(record.end.v, LSN.v + nf_round_up(rec.size, 8));
		rec_free(&rec);
	}
}

static void origin_and_top_xid(void **state)
{
	(void)state;
	for (int major = 13; major <= 18; major++) {
		struct rec rec;
		rec_start(&rec, WA_RMGR_XACT, 0, 9);
		rec_head(&rec, 253, 1);
		rec_head(&rec, 0x1234, 2);
		if (major >= 14) {
			rec_head(&rec, 252, 1);
			rec_head(&rec, 0xABCDEF, 4);
		}
		rec_main(&rec, "12345678", 8);
		expect_good(major, &rec);
		assert_int_equal(record.origin, 0x1234);
		assert_int_equal(record.top_xid, major >= 14 ? 0xABCDEF : 0);
		assert_memory_equal(record.main, "12345678", 8);
		rec_free(&rec);
	}
	struct rec rec;
	rec_start(&rec, WA_RMGR_XACT, 0, 9);
	rec_head(&rec, 252, 1);
	rec_head(&rec, 8, 4);
	rec_main(&rec, "12345678", 8);
	expect_bad(13, &rec);
}

static void blocks(void **state)
{
	(void)state;
	struct rec rec;
	rec_start(&rec, WA_RMGR_HEAP, 0x20, 5);
	rec_block(&rec, 0, &REL_A, WA_FORK_MAIN, 17, "abc", 3);
	rec_block(&rec, 1, NULL, WA_FORK_VM | WILL_INIT, 0, NULL, 0);
	rec_block(&rec, 4, &REL_B, WA_FORK_INIT, 0xFFFFFFFE, "defgh", 5);
	rec_block(&rec, 32, NULL, WA_FORK_FSM, 3, NULL, 0);
	rec_main(&rec, "main", 4);
	expect_good(15, &rec);
	assert_int_equal(record.ref_count, 4);
	const struct wa_ref *ref = wa_record_ref(&record, 0);
	assert_true(wa_locator_equal(ref->block.rel, REL_A));
	assert_int_equal(ref->block.fork, WA_FORK_MAIN);
	assert_int_equal(ref->block.blkno, 17);
	assert_int_equal(ref->data_len, 3);
	assert_memory_equal(ref->data, "abc", 3);
	assert_false(ref->will_init || ref->has_image || ref->apply_image);
	ref = wa_record_ref(&record, 1);
	assert_true(wa_locator_equal(ref->block.rel, REL_A));
	assert_int_equal(ref->block.fork, WA_FORK_VM);
	assert_true(ref->will_init);
	assert_null(ref->data);
	assert_null(ref->image);
	ref = wa_record_ref(&record, 4);
	assert_true(wa_locator_equal(ref->block.rel, REL_B));
	assert_int_equal(ref->block.blkno, 0xFFFFFFFE);
	assert_memory_equal(ref->data, "defgh", 5);
	ref = wa_record_ref(&record, 32);
	assert_true(wa_locator_equal(ref->block.rel, REL_B));
	assert_int_equal(ref->block.fork, WA_FORK_FSM);
	assert_memory_equal(record.main, "main", 4);
	assert_null(wa_record_ref(&record, 2));
	assert_null(wa_record_ref(&record, 33));
	rec_free(&rec);
	/* As many as there can be. */
	rec_start(&rec, WA_RMGR_XLOG, 0xB0, 5);
	for (unsigned id = 0; id < WA_BLOCKS_MAX; id++)
		rec_block(&rec, (uint8_t)id, id == 0 ? &REL_A : NULL, 0, id, NULL, 0);
	expect_good(15, &rec);
	assert_int_equal(record.ref_count, WA_BLOCKS_MAX);
	assert_int_equal(record.main_len, 0);
	rec_free(&rec);
}

static void bad_blocks(void **state)
{
	(void)state;
	struct rec rec;
	rec_start(&rec, WA_RMGR_HEAP, 0, 5); /* the same relation as what? */
	rec_block(&rec, 0, NULL, 0, 17, NULL, 0);
	expect_bad(15, &rec);
	rec_start(&rec, WA_RMGR_HEAP, 0, 5); /* twice */
	rec_block(&rec, 1, &REL_A, 0, 17, NULL, 0);
	rec_block(&rec, 1, &REL_A, 0, 17, NULL, 0);
	expect_bad(15, &rec);
	rec_start(&rec, WA_RMGR_HEAP, 0, 5); /* falling */
	rec_block(&rec, 2, &REL_A, 0, 17, NULL, 0);
	rec_block(&rec, 1, &REL_A, 0, 17, NULL, 0);
	expect_bad(15, &rec);
	rec_start(&rec, WA_RMGR_HEAP, 0, 5); /* no such id */
	rec_block(&rec, WA_BLOCKS_MAX, &REL_A, 0, 17, NULL, 0);
	expect_bad(15, &rec);
	rec_start(&rec, WA_RMGR_HEAP, 0, 5); /* no such fork */
	rec_block(&rec, 0, &REL_A, WA_FORKS, 17, NULL, 0);
	expect_bad(15, &rec);
	for (unsigned flags = 0; flags <= HAS_DATA; flags += HAS_DATA) { /* data by flag, but not by length, and the other way */
		rec_start(&rec, WA_RMGR_HEAP, 0, 5);
		rec_head(&rec, 0, 1);
		rec_head(&rec, flags | SAME_REL, 1);
		rec_head(&rec, flags ? 0 : 3, 2);
		rec_payload(&rec, "abc", flags ? 0 : 3);
		rec_main(&rec, "1234567", 7);
		expect_bad(15, &rec);
	}
	rec_start(&rec, WA_RMGR_HEAP, 0, 5); /* more than its headers tell of */
	rec_main(&rec, "1234567", 7);
	rec_payload(&rec, "8", 1);
	expect_bad(15, &rec);
	rec_start(&rec, WA_RMGR_HEAP, 0, 5); /* less */
	rec_head(&rec, 255, 1);
	rec_head(&rec, 8, 1);
	rec_payload(&rec, "1234567", 7);
	expect_bad(15, &rec);
	rec_start(&rec, WA_RMGR_HEAP, 0, 5); /* much less */
	rec_head(&rec, 254, 1);
	rec_head(&rec, 0xFFFFFFFF, 4);
	expect_bad(15, &rec);
	assert_int_equal(wa_decode_record(15, (const uint8_t[24]){24}, 23, LSN, &record, &error), -EBADMSG);
	assert_int_equal(wa_decode_record(15, (const uint8_t[24]){24}, 0, LSN, &record, &error), -EBADMSG);
	assert_int_equal(wa_decode_record(15, (const uint8_t[24]){23}, 24, LSN, &record, &error), -EBADMSG);
}

/* --------------------------------------------------------------- images */

struct image_form {
	int first, last; /* majors */
	uint8_t bits;
	bool packed, apply;
	enum wa_compression compression;
	uint16_t size, hole_offset, hole_len;
	bool good;
};

static const struct image_form forms[] = {
	/* plain, without and with a hole */
	{13, 14, 0x00, false, false, WA_PLAIN, 8192, 0, 0, true},
	{13, 14, 0x04, false, true, WA_PLAIN, 8192, 0, 0, true},
	{13, 14, 0x05, false, true, WA_PLAIN, 5000, 64, 3192, true},
	{15, 18, 0x00, false, false, WA_PLAIN, 8192, 0, 0, true},
	{15, 18, 0x02, false, true, WA_PLAIN, 8192, 0, 0, true},
	{15, 18, 0x03, false, true, WA_PLAIN, 5000, 64, 3192, true},
	{15, 18, 0x01, false, false, WA_PLAIN, 8191, 8191, 1, true},
	/* packed */
	{13, 14, 0x02, true, false, WA_PGLZ, 100, 0, 0, true},
	{13, 14, 0x07, true, true, WA_PGLZ, 100, 64, 7000, true},
	{15, 18, 0x06, true, true, WA_PGLZ, 100, 0, 0, true},
	{15, 18, 0x07, true, true, WA_PGLZ, 100, 64, 7000, true},
	{15, 18, 0x0A, true, true, WA_LZ4, 100, 0, 0, true},
	{15, 18, 0x0B, true, true, WA_LZ4, 8191, 8000, 192, true},
	{15, 18, 0x13, true, true, WA_ZSTD, 100, 64, 7000, true},
	{15, 18, 0x10, true, false, WA_ZSTD, 1, 0, 0, true},
	/* flags of nobody, or of two */
	{13, 14, 0x0C, true, true, WA_PLAIN, 100, 0, 0, false},
	{13, 14, 0x14, true, true, WA_PLAIN, 100, 0, 0, false},
	{15, 18, 0x0E, true, true, WA_PLAIN, 100, 0, 0, false},
	{15, 18, 0x1A, true, true, WA_PLAIN, 100, 0, 0, false},
	{15, 18, 0x22, true, true, WA_PLAIN, 100, 0, 0, false},
	{15, 18, 0x42, false, true, WA_PLAIN, 8192, 0, 0, false},
	{15, 18, 0x82, false, true, WA_PLAIN, 8192, 0, 0, false},
	/* lengths that are no page's */
	{15, 18, 0x02, false, true, WA_PLAIN, 8191, 0, 0, false},   /* not whole, and no hole */
	{15, 18, 0x02, false, true, WA_PLAIN, 8193, 0, 0, false},
	{15, 18, 0x02, false, true, WA_PLAIN, 0, 0, 0, false},
	{15, 18, 0x02, false, true, WA_PLAIN, 8192, 5, 0, false},   /* a place, but no hole */
	{15, 18, 0x03, false, true, WA_PLAIN, 8192, 64, 0, false},  /* a hole of nothing */
	{15, 18, 0x03, false, true, WA_PLAIN, 5000, 0, 0, false},   /* a hole in place of the header */
	{15, 18, 0x03, false, true, WA_PLAIN, 5000, 5001, 0, false}, /* a hole that leads outside */
	{15, 18, 0x06, true, true, WA_PGLZ, 8192, 0, 0, false},	    /* packed, and no shorter */
	{15, 18, 0x06, true, true, WA_PGLZ, 0, 0, 0, false},
	{15, 18, 0x07, true, true, WA_PGLZ, 100, 8000, 193, false},
	{15, 18, 0x07, true, true, WA_PGLZ, 100, 64, 8192, false},
	{15, 18, 0x0B, true, true, WA_LZ4, 100, 0, 500, false},
};

static void image_forms(void **state)
{
	(void)state;
	static uint8_t bytes[8193];
	memset(bytes, 0x5A, sizeof(bytes));
	for (size_t i = 0; i < NF_ARRAY_LEN(forms); i++)
		for (int major = forms[i].first; major <= forms[i].last; major++) {
			const struct image_form *form = &forms[i];
			struct rec rec;
			struct rec_image image = {.hole_offset = form->hole_offset, .hole_len = form->hole_len, .bits = form->bits,
						  .packed = form->packed, .bytes = bytes, .size = form->size};
			rec_start(&rec, WA_RMGR_HEAP, 0, 5);
			rec_block_image(&rec, 2, &REL_A, 0, 17, &image, "data", 4);
			rec_block_image(&rec, 3, NULL, 0, 18, &image, NULL, 0);
			rec_main(&rec, "main", 4);
			if (!form->good) {
				expect_bad(major, &rec);
				continue;
			}
			expect_good(major, &rec);
			for (unsigned r = 0; r < 2; r++) {
				const struct wa_ref *ref = &record.refs[r];
				assert_int_equal(ref->block.blkno, 17 + r);
				assert_true(ref->has_image);
				assert_int_equal(ref->apply_image, form->apply);
				assert_int_equal(ref->compression, form->compression);
				assert_int_equal(ref->image_len, form->size);
				assert_int_equal(ref->hole_offset, form->hole_offset);
				assert_int_equal(ref->hole_len, form->hole_len);
				assert_int_equal(ref->image[0], 0x5A);
			}
			assert_memory_equal(record.refs[0].data, "data", 4);
			assert_ptr_equal(record.refs[0].data, record.refs[0].image + form->size);
			assert_memory_equal(record.main, "main", 4);
			rec_free(&rec);
		}
	/* A packed image with a hole of no length: the length is there, and 0. */
	struct rec rec;
	rec_start(&rec, WA_RMGR_HEAP, 0, 5);
	rec_head(&rec, 0, 1);
	rec_head(&rec, HAS_IMAGE, 1);
	rec_head(&rec, 0, 2);
	rec_head(&rec, 100, 2);
	rec_head(&rec, 64, 2);
	rec_head(&rec, 0x07, 1);
	rec_head(&rec, 0, 2);
	for (unsigned i = 0; i < 4; i++)
		rec_head(&rec, 9, 4);
	rec_payload(&rec, bytes, 100);
	expect_bad(15, &rec);
}

/* ----------------------------------------------------------- any bytes */

static void make_rich(struct rec *rec)
{
	static uint8_t bytes[300];
	struct rec_image image = {.hole_offset = 64, .hole_len = 7000, .bits = 0x0B, .packed = true, .bytes = bytes, .size = 200};
	rec_start(rec, WA_RMGR_HEAP, 0x20, 5);
	rec_block(rec, 0, &REL_A, 0, 17, "abc", 3);
	rec_block_image(rec, 1, NULL, 0, 18, &image, "de", 2);
	rec_block(rec, 3, &REL_B, WA_FORK_VM, 4, NULL, 0);
	rec_head(rec, 253, 1);
	rec_head(rec, 1, 2);
	rec_main(rec, bytes, 260);
	rec_finish(rec, 8);
}

static void touch(const uint8_t *bytes, const uint8_t *from, size_t size, size_t bytes_size)
{
	if (size == 0)
		return;
	assert_true(from >= bytes && from + size <= bytes + bytes_size);
	volatile uint8_t sum = 0;
	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + from[i]);
}

static int decode_bytes(int major, const uint8_t *bytes, size_t size)
{
	int status = wa_decode_record(major, bytes, size, LSN, &record, &error);
	if (status < 0) {
		assert_int_equal(status, -EBADMSG);
		return status;
	}
	assert_true(record.ref_count <= WA_BLOCKS_MAX);
	touch(bytes, record.main, record.main_len, size);
	for (unsigned i = 0; i < record.ref_count; i++) {
		static uint8_t page[WA_PAGE_SIZE];
		const struct wa_ref *ref = &record.refs[i];
		touch(bytes, ref->data, ref->data_len, size);
		touch(bytes, ref->image, ref->image_len, size);
		assert_true(ref->block.fork < WA_FORKS);
		assert_true(ref->hole_offset + ref->hole_len <= (int)WA_PAGE_SIZE);
		if (ref->has_image)
			(void)!wa_image_restore(ref, record.lsn, page, &error);
	}
	return 0;
}

static void truncated_records(void **state)
{
	(void)state;
	struct rec rec;
	size_t refused = 0;
	make_rich(&rec);
	assert_int_equal(decode_bytes(15, rec.bytes, rec.size), 0);
	for (size_t size = 0; size < rec.size; size++) {
		uint8_t *cut = malloc(size);
		memcpy(cut, rec.bytes, size);
		assert_int_equal(wa_decode_record(15, cut, size, LSN, &record, &error), -EBADMSG);
		if (size >= WA_RECORD_HEADER) {
			memcpy(cut, &(uint32_t){(uint32_t)size}, 4);
			refused += decode_bytes(15, cut, size) < 0; /* a shorter record may make sense, too */
		}
		free(cut);
	}
	assert_true(refused > rec.size / 2);
	rec_free(&rec);
}

static void flipped_records(void **state)
{
	(void)state;
	struct rec rec;
	size_t refused = 0;
	make_rich(&rec);
	uint8_t *copy = malloc(rec.size);
	for (int major = 13; major <= 18; major++)
		for (size_t bit = 0; bit < 8 * rec.size; bit++) {
			memcpy(copy, rec.bytes, rec.size);
			copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_false(wa_record_crc_ok(copy, (uint32_t)rec.size));
			refused += decode_bytes(major, copy, rec.size) < 0;
		}
	/* Whole bytes of the headers, two at a time. */
	for (size_t at = WA_RECORD_HEADER; at < WA_RECORD_HEADER + 70; at++)
		for (unsigned value = 0; value < 256; value++) {
			memcpy(copy, rec.bytes, rec.size);
			copy[at] = (uint8_t)value;
			refused += decode_bytes(15, copy, rec.size) < 0;
			copy[at + 1 + value % 7] = (uint8_t)(value * 37);
			refused += decode_bytes(15, copy, rec.size) < 0;
		}
	assert_true(refused > 10000);
	free(copy);
	rec_free(&rec);
}

static void checksum(void **state)
{
	(void)state;
	struct rec rec;
	make_rich(&rec);
	assert_true(wa_record_crc_ok(rec.bytes, (uint32_t)rec.size));
	rec.bytes[20] ^= 0x10;
	assert_false(wa_record_crc_ok(rec.bytes, (uint32_t)rec.size));
	rec_free(&rec);
	/* A CHECKPOINT_SHUTDOWN of Postgres 15.20's initdb, byte for byte: the checksum is not only our own idea of it. */
	static const uint8_t checkpoint[] = {
#include "checkpoint_15.inc"
	};
	assert_true(wa_record_crc_ok(checkpoint, sizeof(checkpoint)));
	assert_int_equal(wa_decode_record(15, checkpoint, sizeof(checkpoint), LSN, &record, &error), 0);
	assert_int_equal(record.main_len, 88);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header),	      cmocka_unit_test(main_data),   cmocka_unit_test(origin_and_top_xid),
		cmocka_unit_test(blocks),	      cmocka_unit_test(bad_blocks),  cmocka_unit_test(image_forms),
		cmocka_unit_test(truncated_records), cmocka_unit_test(flipped_records), cmocka_unit_test(checksum),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
