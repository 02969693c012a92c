/* The index: against a plain list over random WAL, merged and not, and damaged in every way. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <xxhash.h>

#include "index_check.h"
#include "wal_build.h"
#include "walapply/decode/wa_decode.h"

#define MEG (1u << 20)
#define BASE 0x30000000ull

static const struct wa_index_config config = {.version = {.major = 15}, .system_id = 77, .base = {BASE}, .limit = {BASE + MEG}};

/* A record under way, decoded, with bytes of its own. */
struct made {
	struct rec rec;
	struct wa_record record;
};

static void decode(struct made *made, uint64_t lsn)
{
	struct wa_error error = {0};
	rec_finish(&made->rec, 0);
	if (wa_decode_record(15, made->rec.bytes, made->rec.size, (struct nf_lsn){lsn}, &made->record, &error) != 0)
		fail_msg("%s", error.text);
	made->record.timeline = 1;
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void put_image(struct rec *rec, const struct wa_locator *rel, uint32_t blkno)
{
	static uint8_t page[WA_PAGE_SIZE];
	struct rec_image image = {.bits = 0x02, .bytes = page, .size = WA_PAGE_SIZE};
	rec_block_image(rec, 0, rel, 0, blkno, &image, NULL, 0);
}

/* Heap deletes that imply a clear of the visibility map (flags at byte 7), inserts, images, ends of transactions, files that come and go. */
static void random_record(struct rec *rec, uint32_t *seed, uint32_t xid)
{
	uint8_t main[24] = {0};
	struct wa_locator rel = {1663, 5, 16384 + next_random(seed) % 5 * (next_random(seed) % 50)};
	uint32_t blkno = next_random(seed) % 3 == 0 ? 7 : next_random(seed) % 100000;
	unsigned kind = next_random(seed) % 20;
	rec_start(rec, WA_RMGR_HEAP, 0x10, xid);
	switch (kind) {
	case 0:
		put_image(rec, &rel, blkno);
		break;
	case 1:
		rec->info = 0x80;
		rec_block(rec, 0, &rel, WILL_INIT, blkno, "tuple", 5);
		break;
	case 2: /* its end, with a time */
	case 3:
		rec->rmid = WA_RMGR_XACT;
		rec->info = kind == 2 ? 0x00 : 0x20;
		memcpy(main, &(int64_t){700000000000000 + (int64_t)next_random(seed)}, 8);
		break;
	case 4: /* SMGR CREATE */
		rec->rmid = WA_RMGR_SMGR;
		rec->info = 0x10;
		memcpy(main, &rel, 12);
		main[12] = WA_FORK_VM;
		rec_main(rec, main, 16);
		return;
	case 5: /* SMGR TRUNCATE of everything */
		rec->rmid = WA_RMGR_SMGR;
		rec->info = 0x20;
		memcpy(main, &blkno, 4);
		memcpy(main + 4, &rel, 12);
		main[16] = 7;
		rec_main(rec, main, 20);
		return;
	case 6: /* of an extension */
		rec->rmid = 200;
		rec_block(rec, 1, &rel, 0, blkno, "x", 1);
		break;
	case 7: /* changes nothing: no image */
		rec->rmid = WA_RMGR_XLOG;
		rec->info = 0xA0;
		rec_block(rec, 0, &rel, 0, blkno, NULL, 0);
		break;
	default:
		main[7] = kind % 2; /* the bits of the map are cleared */
		rec_block(rec, 0, &rel, 0, blkno, NULL, 0);
		break;
	}
	rec_main(rec, main, 8);
}

static void fill(struct index_check *check, unsigned records, uint32_t seed)
{
	uint64_t lsn = BASE + 40;
	for (unsigned i = 0; i < records && lsn < BASE + MEG; i++) {
		struct made made;
		random_record(&made.rec, &seed, 700 + i / 7 + next_random(&seed) % 3);
		decode(&made, lsn);
		check_add(check, &made.record);
		lsn += nf_round_up(made.rec.size, 8) + next_random(&seed) % 3 * 8;
		if (next_random(&seed) % 200 == 0)
			lsn += 9 * WA_PAGE_SIZE; /* a piece without records */
		rec_free(&made.rec);
	}
}

static void random_wal(void **state)
{
	(void)state;
	static const unsigned pieces[] = {1, 2, 3, 7, 16};
	uint8_t *first = NULL;
	size_t first_size = 0;
	for (uint32_t seed = 1; seed <= 8; seed++) {
		struct index_check *check = check_new(&config);
		fill(check, seed == 1 ? 1 : seed == 2 ? 40 : 20000, seed);
		for (unsigned p = 0; p < NF_ARRAY_LEN(pieces); p++) {
			struct wa_index index;
			uint8_t *bytes;
			size_t size;
			check_index(check, pieces[p], seed, &index, &bytes, &size);
			if (p == 0) {
				first = bytes;
				first_size = size;
				continue;
			}
			assert_int_equal(size, first_size); /* merging is as building at once */
			assert_memory_equal(bytes, first, size);
			free(bytes);
		}
		free(first);
		check_free(check);
	}
}

/* One block that everything touches: lists over many chunks, with few whole images far between. */
static void hot_block(void **state)
{
	(void)state;
	struct index_check *check = check_new(&config);
	struct wa_locator rel = {1663, 5, 16384};
	for (unsigned i = 0; i < 12000; i++) {
		struct made made;
		rec_start(&made.rec, WA_RMGR_HEAP, 0x10, 800);
		rec_block(&made.rec, 0, &rel, i % 5000 == 4999 ? WILL_INIT : 0, 3, NULL, 0);
		rec_main(&made.rec, "\0\0\0\0\0\0\0", 8);
		decode(&made, BASE + 40 + 64ull * i);
		check_add(check, &made.record);
		rec_free(&made.rec);
	}
	struct wa_index index;
	uint8_t *bytes;
	size_t size;
	check_index(check, 1, 5, &index, &bytes, &size);
	assert_true(index.chunks.size / 32 > 5);
	assert_true(size < 12000 * 3);
	free(bytes);
	check_free(check);
}

static void no_records(void **state)
{
	(void)state;
	struct index_check *check = check_new(&config);
	struct wa_index index;
	uint8_t *bytes;
	size_t size;
	check_index(check, 7, 1, &index, &bytes, &size);
	struct wa_index_cursor cursor;
	struct wa_index_entry entry;
	struct wa_error error;
	wa_index_seek(&index, &(struct wa_block){{1, 2, 3}, 0, 0}, (struct nf_lsn){0}, (struct nf_lsn){UINT64_MAX}, &cursor);
	assert_int_equal(wa_index_next(&cursor, &entry, &error), 0);
	assert_int_equal(index.info.first.v, 0);
	assert_int_equal(size, 304);
	free(bytes);
	check_free(check);
}

/* A commit with subtransactions and dropped files; one alone; one by two-phase commit. */
static void summary(void **state)
{
	(void)state;
	struct wa_index_builder *builder;
	struct wa_error error;
	struct made made;
	assert_int_equal(wa_index_builder_new(&config, &builder), 0);
	const int64_t time_us = 5000;
	rec_start(&made.rec, WA_RMGR_XACT, 0x80, 900);
	struct { int64_t time; uint32_t flags, subs, sub, rels, rel[3]; } __attribute__((packed)) ending = {time_us, 6, 1, 901, 1, {1663, 5, 70}};
	rec_main(&made.rec, &ending, sizeof(ending));
	decode(&made, BASE + 40);
	assert_int_equal(wa_index_add(builder, &made.record, &error), 0);
	rec_free(&made.rec);
	rec_start(&made.rec, WA_RMGR_XACT, 0x00, 899);
	rec_main(&made.rec, &(int64_t){-7}, 8);
	decode(&made, BASE + 400);
	assert_int_equal(wa_index_add(builder, &made.record, &error), 0);
	assert_int_equal(wa_index_add(builder, &made.record, &error), -EINVAL); /* once more */
	rec_free(&made.rec);
	uint8_t checkpoint[88] = {0};
	memcpy(checkpoint, &(uint64_t){BASE + 8}, 8);
	rec_start(&made.rec, WA_RMGR_XLOG, 0x10, 0);
	rec_main(&made.rec, checkpoint, sizeof(checkpoint));
	decode(&made, BASE + 800);
	assert_int_equal(wa_index_add(builder, &made.record, &error), 0);
	made.record.lsn.v = BASE + MEG; /* outside */
	assert_int_equal(wa_index_add(builder, &made.record, &error), -EINVAL);
	rec_free(&made.rec);

	struct wa_index index;
	uint8_t *bytes;
	size_t size;
	assert_int_equal(wa_index_finish(builder, &bytes, &size), 0);
	assert_int_equal(wa_index_open(bytes, size, &index, &error), 0);
	assert_int_equal(wa_index_verify(&index, &error), 0);
	struct wa_index_state_cursor cursor;
	const struct wa_index_state expected[] = {
		{.lsn = {BASE + 40}, .kind = WA_INDEX_XID, .xid = 900},
		{.lsn = {BASE + 40}, .kind = WA_INDEX_RECORD, .rmid = WA_RMGR_XACT},
		{.lsn = {BASE + 400}, .kind = WA_INDEX_COMMIT, .xid = 899, .time_us = -7},
		{.lsn = {BASE + 800}, .kind = WA_INDEX_RECORD, .rmid = WA_RMGR_XLOG, .op = 0x10},
	};
	wa_index_seek_state(&index, (struct nf_lsn){0}, (struct nf_lsn){UINT64_MAX}, &cursor);
	for (size_t i = 0; i < NF_ARRAY_LEN(expected); i++) {
		struct wa_index_state item;
		assert_int_equal(wa_index_next_state(&cursor, &item, &error), 1);
		assert_int_equal(item.lsn.v, expected[i].lsn.v);
		assert_int_equal(item.kind, expected[i].kind);
		assert_int_equal(item.xid, expected[i].xid);
		assert_true(item.time_us == expected[i].time_us);
		assert_int_equal(item.rmid, expected[i].rmid);
		assert_int_equal(item.op, expected[i].op);
	}
	struct wa_index_event event = wa_index_event_at(&index, 0);
	assert_int_equal(wa_index_event_count(&index), 1);
	assert_int_equal(event.kind, WA_EVENT_DROP);
	assert_int_equal(event.rel.rel, 70);
	assert_int_equal(index.info.checkpoint.v, BASE + 800);
	assert_int_equal(index.info.checkpoint_redo.v, BASE + 8);
	assert_true(index.info.first_commit_us == -7 && index.info.last_commit_us == time_us);
	assert_int_equal(index.info.last.v, BASE + 800);
	assert_int_equal(index.info.last_timeline, 1);
	assert_false(index.info.foreign);
	assert_int_equal(wa_index_finish(builder, &bytes, &size), -EINVAL);
	free(bytes);
	wa_index_builder_free(builder);
}

static void wrong_ranges(void **state)
{
	(void)state;
	struct wa_index_config bad[] = {config, config, config, config, config};
	struct wa_index_builder *builder;
	bad[0].limit = bad[0].base;
	bad[1].base.v += 8;
	bad[2].limit.v += 8;
	bad[3].limit.v = BASE + (32ull << 30);
	bad[4].version.major = 12;
	for (size_t i = 0; i < NF_ARRAY_LEN(bad); i++)
		assert_int_equal(wa_index_builder_new(&bad[i], &builder), -EINVAL);
	wa_index_builder_free(NULL);
	/* Parts that do not follow each other. */
	struct wa_index parts[2] = {{.info = {.base = {BASE}, .limit = {BASE + MEG}, .major = 15}},
				    {.info = {.base = {BASE + 2 * MEG}, .limit = {BASE + 3 * MEG}, .major = 15}}};
	uint8_t *bytes;
	size_t size;
	struct wa_error error;
	assert_int_equal(wa_index_merge(parts, 2, WA_MERGE_ALL, &bytes, &size, &error), -EINVAL);
	assert_int_equal(wa_index_merge(parts, 0, WA_MERGE_ALL, &bytes, &size, &error), -EINVAL);
	parts[1].info.base.v = BASE + MEG;
	parts[1].info.major = 17;
	assert_int_equal(wa_index_merge(parts, 2, WA_MERGE_ALL, &bytes, &size, &error), -EINVAL);
}

/* Read everything there is to read. Returns 0 or -EBADMSG. */
static int use(const struct wa_index *index)
{
	struct wa_error error = {0};
	struct wa_index_cursor cursor;
	struct wa_index_entry entry, some = {.flags = 0};
	struct wa_index_state_cursor state_cursor;
	struct wa_index_state item;
	uint32_t reach;
	struct nf_lsn whole;
	int status;
	wa_index_seek_all(index, &cursor);
	while ((status = wa_index_next(&cursor, &entry, &error)) == 1)
		some = entry;
	if (wa_index_last_whole(index, &some.block, index->info.base, index->info.limit, &whole, &error) < 0 && status == 0)
		fail_msg("%s", error.text);
	if (wa_index_reach(index, some.block.rel, some.block.fork, index->info.base, index->info.limit, &reach, &error) < 0 && status == 0)
		fail_msg("%s", error.text);
	wa_index_seek_state(index, index->info.base, index->info.limit, &state_cursor);
	int state_status = 0;
	while (!index->info.blocks_only && (state_status = wa_index_next_state(&state_cursor, &item, &error)) == 1)
		;
	for (size_t i = 0; i < wa_index_event_count(index); i++)
		wa_index_event_find(index, wa_index_event_at(index, i).rel);
	for (size_t i = 0; i < wa_index_type_count(index); i++)
		wa_index_type_at(index, i);
	return status < 0 ? status : state_status;
}

static int open_and_verify(const uint8_t *bytes, size_t size)
{
	struct wa_index index;
	struct wa_error error = {0};
	int status = wa_index_open(bytes, size, &index, &error);
	if (status == 0) {
		int used = use(&index);
		status = wa_index_verify(&index, &error);
		if (used < 0)
			assert_int_equal(status, -EBADMSG);
	}
	assert_true(status == 0 || error.text[0] != '\0');
	return status;
}

static void make_index(uint8_t **ret_bytes, size_t *ret_size)
{
	struct index_check *check = check_new(&config);
	struct wa_index index;
	fill(check, 600, 3);
	check_index(check, 1, 3, &index, ret_bytes, ret_size);
	check_free(check);
}

/* The same without what changes outside of pages. */
static void make_blocks_only(uint8_t **ret_bytes, size_t *ret_size)
{
	struct wa_index index;
	struct wa_error error;
	uint8_t *bytes;
	size_t size;
	make_index(&bytes, &size);
	assert_int_equal(wa_index_open(bytes, size, &index, &error), 0);
	assert_int_equal(wa_index_merge(&index, 1, WA_MERGE_BLOCKS, ret_bytes, ret_size, &error), 0);
	assert_true(*ret_size < size);
	free(bytes);
}

/* Every bit and every length: it is seen, or it does not matter (padding that nobody reads is none). */
static void expect_damage_seen(uint8_t *bytes, size_t size)
{
	assert_int_equal(open_and_verify(bytes, size), 0);
	for (size_t bit = 0; bit < 8 * size; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		int status = open_and_verify(bytes, size);
		if (status != -EBADMSG && !(status == -ENOTSUP && bit / 8 >= 8 && bit / 8 < 12))
			fail_msg("bit %zu of byte %zu: %d", bit % 8, bit / 8, status);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t cut = 0; cut < size; cut++) {
		uint8_t *copy = malloc(cut);
		memcpy(copy, bytes, cut);
		assert_int_equal(open_and_verify(copy, cut), -EBADMSG);
		free(copy);
	}
	free(bytes);
}

static void damaged(void **state)
{
	(void)state;
	uint8_t *bytes;
	size_t size;
	make_index(&bytes, &size);
	expect_damage_seen(bytes, size);
	make_blocks_only(&bytes, &size);
	expect_damage_seen(bytes, size);
}

/* Bytes that were wrong before they were sealed: all checksums fit. */
static void sealed_nonsense(void **state)
{
	(void)state;
	uint8_t *bytes, *copy;
	size_t size, refused = 0;
	uint32_t seed = 17;
	make_index(&bytes, &size);
	copy = malloc(size);
	for (unsigned i = 0; i < 30000; i++) {
		memcpy(copy, bytes, size);
		for (unsigned k = 0; k <= next_random(&seed) % 3; k++)
			copy[16 + next_random(&seed) % (size - 16)] = next_random(&seed) % 4 == 0 ? 0xFF : (uint8_t)next_random(&seed);
		uint32_t at[7], length[7];
		for (unsigned s = 0; s < 7; s++) {
			memcpy(&at[s], copy + 136 + 16 * s, 4);
			memcpy(&length[s], copy + 140 + 16 * s, 4);
		}
		for (unsigned table = 1; table <= 2; table++) { /* chunks and spans, then all tables */
			if (at[table] > size || length[table] > size - at[table])
				continue;
			for (size_t row = at[table]; row + 32 <= (size_t)at[table] + length[table]; row += 32) {
				uint32_t piece;
				uint16_t piece_size;
				memcpy(&piece, copy + row + (table == 1 ? 12 : 4), 4);
				memcpy(&piece_size, copy + row + (table == 1 ? 16 : 8), 2);
				if (at[4 + table] > size || piece > size - at[4 + table] || piece_size > size - at[4 + table] - piece)
					continue;
				uint64_t hash = XXH3_64bits(copy + at[4 + table] + piece, piece_size);
				memcpy(copy + row + 24, &hash, 8);
			}
		}
		for (unsigned s = 0; s < 5; s++) {
			if (at[s] > size || length[s] > size - at[s])
				continue;
			uint64_t hash = XXH3_64bits(copy + at[s], length[s]);
			memcpy(copy + 144 + 16 * s, &hash, 8);
		}
		uint64_t hash = XXH3_64bits(copy, 296);
		memcpy(copy + 296, &hash, 8);
		int status = open_and_verify(copy, size);
		assert_true(status == 0 || status == -EBADMSG);
		refused += status < 0;
	}
	assert_true(refused > 10000);
	free(copy);
	free(bytes);
}

/* A file of which only the tables are in memory. */
struct file {
	const uint8_t *bytes;
	size_t size;
	unsigned fetched;
	uint32_t first_at; /* of the first one fetched */
	size_t first_size;
	int fails; /* what fetch returns instead; 0 none */
};

static int fetch(void *arg, uint32_t offset, size_t size, uint8_t *to)
{
	struct file *file = arg;
	if (file->fetched++ == 0) {
		file->first_at = offset;
		file->first_size = size;
	}
	if (file->fails != 0)
		return file->fails;
	assert_true(size <= WA_INDEX_CHUNK_MAX && offset <= file->size && size <= file->size - offset);
	memcpy(to, file->bytes + offset, size);
	return 0;
}

static void tables_alone(void **state)
{
	(void)state;
	struct wa_index whole, part;
	struct wa_error error;
	struct wa_index_cursor one, other;
	struct wa_index_entry a, b;
	struct wa_index_state item;
	struct wa_index_state_cursor states;
	struct nf_lsn lsn_a = {0}, lsn_b = {0};
	uint32_t reach_a, reach_b;
	size_t size, tables;
	uint8_t *bytes;
	make_index(&bytes, &size);
	struct file file = {.bytes = bytes, .size = size};
	assert_int_equal(wa_index_open(bytes, size, &whole, &error), 0);
	assert_int_equal(wa_index_tables_size(bytes, WA_INDEX_HEADER, &tables, &error), 0);
	assert_true(tables < size);
	uint8_t *head = malloc(tables); /* exactly as much, for sanitizers */
	memcpy(head, bytes, tables);
	assert_int_equal(wa_index_open_tables(head, tables, size, fetch, &file, &part, &error), 0);
	assert_int_equal(file.fetched, 0);
	wa_index_seek_all(&whole, &one);
	wa_index_seek_all(&part, &other);
	unsigned count = 0;
	for (; wa_index_next(&one, &a, &error) == 1; count++) {
		assert_int_equal(wa_index_next(&other, &b, &error), 1);
		assert_memory_equal(&a.block, &b.block, sizeof(a.block));
		assert_true(a.lsn.v == b.lsn.v && a.flags == b.flags);
		if (count % 50 != 0)
			continue;
		assert_int_equal(wa_index_last_whole(&whole, &a.block, whole.info.base, whole.info.limit, &lsn_a, &error),
				 wa_index_last_whole(&part, &a.block, whole.info.base, whole.info.limit, &lsn_b, &error));
		assert_int_equal(lsn_a.v, lsn_b.v);
		assert_int_equal(wa_index_reach(&whole, a.block.rel, a.block.fork, whole.info.base, whole.info.limit, &reach_a, &error), 0);
		assert_int_equal(wa_index_reach(&part, a.block.rel, a.block.fork, whole.info.base, whole.info.limit, &reach_b, &error), 0);
		assert_int_equal(reach_a, reach_b);
		/* What a look-up of the block fetches first can be told before. */
		uint32_t at;
		size_t piece;
		struct wa_index_cursor seek;
		struct nf_lsn from = count % 100 == 0 ? whole.info.base : a.lsn;
		assert_true(wa_index_seek_place(&part, &a.block, from, part.info.limit, &at, &piece));
		wa_index_seek(&part, &a.block, from, part.info.limit, &seek);
		file.fetched = 0;
		assert_in_range(wa_index_next(&seek, &b, &error), 0, 1);
		assert_true(file.fetched > 0 && at == file.first_at && piece == file.first_size);
	}
	assert_true(count > 50 && file.fetched > 0);
	assert_int_equal(wa_index_next(&other, &b, &error), 0);
	/* The state is not in the tables, and nobody is told that there is none. */
	wa_index_seek_state(&part, part.info.base, part.info.limit, &states);
	assert_int_equal(wa_index_next_state(&states, &item, &error), -EBADMSG);
	/* What cannot be fetched is an error of its own; what does not fit its checksum is damage. */
	file.fails = -EIO;
	wa_index_seek_all(&part, &other);
	assert_int_equal(wa_index_next(&other, &b, &error), -EIO);
	file.fails = 0;
	bytes[part.chunks_at] ^= 1;
	wa_index_seek_all(&part, &other);
	assert_int_equal(wa_index_next(&other, &b, &error), -EBADMSG);
	/* Tables that are not all there. */
	for (size_t cut = 0; cut < tables; cut += 7)
		assert_int_equal(wa_index_open_tables(head, cut, size, fetch, &file, &part, &error), -EBADMSG);
	assert_int_equal(wa_index_open_tables(head, tables, tables, fetch, &file, &part, &error), -EBADMSG);
	free(head);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_wal),	cmocka_unit_test(hot_block), cmocka_unit_test(no_records),	cmocka_unit_test(summary),
		cmocka_unit_test(wrong_ranges), cmocka_unit_test(damaged),   cmocka_unit_test(sealed_nonsense),
		cmocka_unit_test(tables_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
