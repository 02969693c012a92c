/* The facts of history: to bytes and back, hostile bytes, and what is decided from them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <xxhash.h>

#include "walapply/pitr/wa_facts.h"

#define MIB (UINT64_C(1) << 20)
#define SEGMENT (16u << 20)
#define DAY_US (INT64_C(86400) * 1000000)

static struct nf_lsn lsn(uint64_t v)
{
	return (struct nf_lsn){v};
}

/* A base whose WAL ends at `mib`, with redo 20 MiB before, made on `day`. */
static void add_base(struct wa_facts *facts, uint32_t epoch, uint32_t flags, uint64_t mib, int64_t day)
{
	struct wa_facts_base base = {.epoch = epoch, .flags = flags, .time_us = day * DAY_US};
	if ((flags & WA_BASE_UNUSABLE) == 0) {
		base.written = lsn(mib * MIB);
		base.redo = lsn((mib - 20) * MIB);
		base.timeline = 3;
	}
	assert_int_equal(wa_facts_add_base(facts, base), 0);
}

static void make(struct wa_facts *facts)
{
	*facts = (struct wa_facts){.retention = {.seconds = 5},
				   .system_id = 77,
				   .major = 15,
				   .segment_size = SEGMENT,
				   .kept_from = {2 * SEGMENT},
				   .sealed = {9 * SEGMENT},
				   .next = {9 * (uint64_t)SEGMENT + 72},
				   .prev = {9 * (uint64_t)SEGMENT - 8},
				   .index_bytes = 4711,
				   .begun_again_us = -5};
	strcpy(facts->begun_again_why, "a reason");
	assert_int_equal(wa_facts_add_timeline(facts, (struct wa_facts_timeline){3, {0}}), 0);
	assert_int_equal(wa_facts_add_timeline(facts, (struct wa_facts_timeline){4, {100 * MIB}}), 0);
	/* In any order. */
	add_base(facts, 9, WA_BASE_AUTOMATIC, 120, 5);
	add_base(facts, 2, 0, 60, 1);
	add_base(facts, 5, WA_BASE_UNUSABLE, 0, 2);
	add_base(facts, 7, WA_BASE_AUTOMATIC, 100, 3);
	assert_int_equal(wa_facts_add_hold(facts, "child", lsn(3 * MIB), lsn(20 * MIB)), 0);
	assert_int_equal(wa_facts_add_stretch(facts, (struct wa_facts_stretch){{MIB}, {2 * MIB}}), 0);
}

static void bytes_and_back(void **state)
{
	struct wa_facts facts, again;
	uint8_t *bytes, *second;
	size_t size, second_size;
	const char *why;
	(void)state;
	make(&facts);
	assert_int_equal(wa_facts_encode(&facts, &bytes, &size), 0);
	assert_int_equal(wa_facts_decode(bytes, size, &again, &why), 0);
	assert_int_equal(again.base_count, 4);
	assert_int_equal(again.bases[0].epoch, 2);
	assert_int_equal(again.bases[3].epoch, 9);
	assert_int_equal(again.timelines[1].begin.v, 100 * MIB);
	assert_string_equal(again.begun_again_why, "a reason");
	assert_string_equal(again.holds[0].name, "child");
	assert_int_equal(wa_facts_encode(&again, &second, &second_size), 0);
	assert_int_equal(second_size, size);
	assert_memory_equal(second, bytes, size);
	free(second);
	wa_facts_free(&again);
	wa_facts_free(&facts);
	/* Any byte that differs, and any other length, is noticed. */
	for (size_t i = 0; i < size; i++) {
		bytes[i] ^= 0x40;
		if (i < 12 || i >= 16) /* but the padding */
			assert_true(wa_facts_decode(bytes, size, &again, &why) < 0);
		else if (wa_facts_decode(bytes, size, &again, &why) == 0)
			wa_facts_free(&again);
		bytes[i] ^= 0x40;
		assert_int_equal(wa_facts_decode(bytes, i, &again, &why), -EUCLEAN);
	}
	bytes[8] = WA_FACTS_VERSION + 1;
	assert_int_equal(wa_facts_decode(bytes, size, &again, &why), -EPROTONOSUPPORT);
	free(bytes);
}

/* Bytes that no encoder wrote, but whose checksum is right: refused, or facts that can be encoded again. */
static void hostile_bytes(void **state)
{
	static const uint8_t values[] = {0, 1, 0x7F, 0x80, 0xFF};
	struct wa_facts facts, again;
	uint8_t *bytes;
	size_t size, refused = 0;
	const char *why;
	(void)state;
	make(&facts);
	assert_int_equal(wa_facts_encode(&facts, &bytes, &size), 0);
	wa_facts_free(&facts);
	for (size_t i = 24; i < size; i++) {
		for (unsigned k = 0; k < NF_ARRAY_LEN(values); k++) {
			uint8_t old = bytes[i];
			bytes[i] = values[k];
			uint64_t sum = htole64(XXH3_64bits(bytes + 24, size - 24));
			memcpy(bytes + 16, &sum, 8);
			int error = wa_facts_decode(bytes, size, &again, &why);
			if (error == 0) {
				uint8_t *second;
				size_t second_size;
				assert_int_equal(wa_facts_encode(&again, &second, &second_size), 0);
				assert_int_equal(second_size, size);
				free(second);
				wa_facts_free(&again);
			} else {
				assert_int_equal(error, -EUCLEAN);
				assert_true(why[0] != '\0');
				refused++;
			}
			bytes[i] = old;
		}
	}
	assert_true(refused > 100);
	free(bytes);
}

/* The epoch of the first base that stays. */
static uint32_t first_kept(struct wa_facts *facts, uint64_t seconds, uint64_t bytes, int64_t day, uint64_t end_mib)
{
	facts->retention = (struct wa_retention){.seconds = seconds, .bytes = bytes};
	uint32_t first = wa_facts_window(facts, day * DAY_US, lsn(end_mib * MIB));
	assert_true(first < facts->base_count);
	return facts->bases[first].epoch;
}

static void the_window(void **state)
{
	struct wa_facts facts;
	(void)state;
	make(&facts); /* epochs 2 (day 1, redo 40 MiB), 5 no base, 7 (day 3, redo 80 MiB), 9 (day 5, redo 100 MiB) */
	assert_int_equal(first_kept(&facts, 0, 0, 100, 130), 2);
	/* Seven days back from day 7 is day 0: all. From day 9: the window begins on day 2, whose state needs the base of day 1. */
	assert_int_equal(first_kept(&facts, 7 * 86400, 0, 7, 130), 2);
	assert_int_equal(first_kept(&facts, 7 * 86400, 0, 9, 130), 2);
	assert_int_equal(first_kept(&facts, 7 * 86400, 0, 10, 130), 7);
	assert_int_equal(first_kept(&facts, 7 * 86400, 0, 12, 130), 9);
	/* The newest stays whatever happens. */
	assert_int_equal(first_kept(&facts, 1, 1, 1000, 5000), 9);
	/* Bytes: from the start of the segment with the redo pointer on: 32, 80, 96 MiB. */
	assert_int_equal(first_kept(&facts, 0, 98 * MIB, 5, 130), 2);
	assert_int_equal(first_kept(&facts, 0, 97 * MIB, 5, 130), 7);
	assert_int_equal(first_kept(&facts, 0, 50 * MIB, 5, 130), 7);
	assert_int_equal(first_kept(&facts, 0, 49 * MIB, 5, 130), 9);
	/* The stricter one counts. */
	assert_int_equal(first_kept(&facts, 7 * 86400, 49 * MIB, 7, 130), 9);
	assert_int_equal(wa_facts_needed_from(&facts, 0).v, 32 * MIB);
	assert_int_equal(wa_facts_needed_from(&facts, 1).v, 80 * MIB);

	assert_null(wa_facts_base_for(&facts, lsn(60 * MIB - 1)));
	assert_int_equal(wa_facts_base_for(&facts, lsn(60 * MIB))->epoch, 2);
	assert_int_equal(wa_facts_base_for(&facts, lsn(110 * MIB))->epoch, 7);
	assert_int_equal(wa_facts_newest(&facts)->epoch, 9);
	assert_int_equal(wa_facts_oldest(&facts)->epoch, 2);

	/* kept from 32 MiB; a hold on 3 to 20 MiB keeps the segments at 0 and 16 MiB. */
	assert_true(wa_facts_needs(&facts, lsn(32 * MIB)));
	assert_true(wa_facts_needs(&facts, lsn(16 * MIB)));
	assert_true(wa_facts_needs(&facts, lsn(0)));
	assert_int_equal(wa_facts_add_hold(&facts, "child", lsn(3 * MIB), lsn(15 * MIB)), 0);
	assert_int_equal(facts.hold_count, 1);
	assert_false(wa_facts_needs(&facts, lsn(16 * MIB)));
	assert_true(wa_facts_drop_hold(&facts, "child"));
	assert_false(wa_facts_drop_hold(&facts, "child"));
	assert_false(wa_facts_needs(&facts, lsn(0)));
	wa_facts_free(&facts);
}

static void segments(void **state)
{
	struct wa_facts facts;
	char name[WA_SEGMENT_NAME + 1];
	uint32_t timeline;
	struct nf_lsn start;
	(void)state;
	wa_segment_name(name, 0x1F, lsn(UINT64_C(0x16B374D848)), SEGMENT);
	assert_string_equal(name, "0000001F00000016000000B3");
	assert_true(wa_segment_parse(name, SEGMENT, &timeline, &start));
	assert_int_equal(timeline, 0x1F);
	assert_int_equal(start.v, UINT64_C(0x16B3000000));
	assert_false(wa_segment_parse("0000001F00000016000001B3", SEGMENT, &timeline, &start));
	assert_true(wa_segment_parse("0000001F00000016000001B3", 1u << 20, &timeline, &start));
	assert_false(wa_segment_parse("0000001f00000016000000b3", SEGMENT, &timeline, &start));
	assert_false(wa_segment_parse("0000001F00000016000000B3.partial", SEGMENT, &timeline, &start));
	make(&facts); /* timeline 4 begins at 100 MiB, inside the segment at 96 MiB */
	assert_int_equal(wa_facts_timeline_of(&facts, lsn(80 * MIB)), 3);
	assert_int_equal(wa_facts_timeline_of(&facts, lsn(96 * MIB)), 4);
	wa_facts_free(&facts);
}

static int follow(const char *text, uint32_t newest, uint64_t reached, struct wa_facts *facts)
{
	wa_facts_free(facts);
	make(facts);
	return wa_facts_follow(facts, text, newest, lsn(reached));
}

static void timelines(void **state)
{
	static const char text[] = "1\t0/3000000\tno reason\n\n# a comment\n4\t0/9000000\tone\n6\t0/A000000\tanother\n";
	struct wa_facts facts = {0};
	(void)state;
	assert_int_equal(follow(text, 9, 0x9000000, &facts), 0);
	assert_int_equal(facts.timeline_count, 4);
	assert_int_equal(facts.timelines[2].timeline, 6);
	assert_int_equal(facts.timelines[2].begin.v, 0x9000000);
	assert_int_equal(facts.timelines[3].timeline, 9);
	assert_int_equal(facts.timelines[3].begin.v, 0xA000000);
	assert_int_equal(follow(text, 9, 0x9000008, &facts), -ERANGE);
	assert_int_equal(follow("1\t0/3000000\tx\n3\t0/4000000\tx\n", 9, 0, &facts), -ENOENT);
	assert_int_equal(follow("", 9, 0, &facts), -ENOENT);
	assert_int_equal(follow("4\tnonsense\n", 9, 0, &facts), -EBADMSG);
	assert_int_equal(follow("4\t0/9000000\tx\n6\t0/8000000\tx\n", 9, 0, &facts), -EBADMSG);
	assert_int_equal(follow("4\t0/9000000\tx\n", 4, 0, &facts), -EBADMSG);
	wa_facts_free(&facts);
}

static void minimal_stretches(void **state)
{
	struct wa_facts facts = {0};
	(void)state;
	assert_int_equal(wa_facts_wal_level(&facts, lsn(100), false), 0);
	assert_false(wa_facts_is_minimal(&facts, lsn(0), lsn(1000)));
	assert_int_equal(wa_facts_wal_level(&facts, lsn(200), true), 0);
	assert_true(wa_facts_is_minimal(&facts, lsn(150), lsn(1000)));
	assert_false(wa_facts_is_minimal(&facts, lsn(100), lsn(200)));
	assert_int_equal(wa_facts_wal_level(&facts, lsn(300), false), 0);
	/* The same records again, read a second time. */
	assert_int_equal(wa_facts_wal_level(&facts, lsn(200), true), 0);
	assert_int_equal(wa_facts_wal_level(&facts, lsn(300), false), 0);
	assert_int_equal(facts.stretch_count, 1);
	assert_true(wa_facts_is_minimal(&facts, lsn(250), lsn(260)));
	assert_false(wa_facts_is_minimal(&facts, lsn(300), lsn(1000)));
	wa_facts_free(&facts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_and_back), cmocka_unit_test(hostile_bytes), cmocka_unit_test(the_window),
		cmocka_unit_test(segments),       cmocka_unit_test(timelines),     cmocka_unit_test(minimal_stretches),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
