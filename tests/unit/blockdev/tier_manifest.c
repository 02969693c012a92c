/* Manifests: what is encoded comes back; what is damaged anywhere, cut, or makes no sense is refused. */
#include "tier.h"

#include <errno.h>
#include <xxhash.h>

#include "blockdev/tier/manifest.h"

#define MANIFEST_HEADER 32

static struct bd_manifest sample(void)
{
	struct bd_manifest manifest = {
		.generation = 7,
		.number = 42,
		.store_id = UINT64_C(0x1122334455667788),
		.created_ns = INT64_C(1790000000000000000),
		.safe_ns = INT64_C(1790000000000000001),
		.format_version = 3,
		.size_limit_bytes = UINT64_C(10) << 30,
		.log_bytes = UINT64_C(16) << 20,
		.store_created_ns = -5,
		.replay = 40960,
		.retain = 8192,
		.log_generation = 9,
		.file_count = 2,
		.part_count = 2,
		.piece_count = 2,
		.branch_count = 2,
	};
	manifest.files = calloc(2, sizeof(*manifest.files));
	manifest.parts = calloc(2, sizeof(*manifest.parts));
	manifest.pieces = calloc(2, sizeof(*manifest.pieces));
	manifest.branches = calloc(2, sizeof(*manifest.branches));
	assert_true(manifest.files != NULL && manifest.parts != NULL && manifest.pieces != NULL && manifest.branches != NULL);
	manifest.files[0] = (struct bd_manifest_file){.name = "000012.sst", .size = 4711, .sum = 815, .generation = 6, .number = 3};
	manifest.files[1] = (struct bd_manifest_file){.name = "CURRENT", .size = 16, .bytes = tier_copy("MANIFEST-000004\n", 16)};
	manifest.files[1].sum = XXH3_64bits(manifest.files[1].bytes, 16);
	manifest.parts[0] = (struct bd_manifest_part){.extent = 5, .used = 17, .size = 9999};
	manifest.parts[1] = (struct bd_manifest_part){.extent = 6, .used = 8192, .size = UINT64_C(68000000)};
	manifest.pieces[0] = (struct bd_manifest_piece){.generation = 6, .from = 4096, .to = 20480, .size = 333};
	manifest.pieces[1] = (struct bd_manifest_piece){.generation = 7, .from = 20480, .to = 45056, .size = 444};
	manifest.branches[0] = (struct bd_manifest_branch){.name = strdup("main"), .id = 1};
	manifest.branches[1] = (struct bd_manifest_branch){.name = strdup(".history"), .id = 2, .parent = 1};
	return manifest;
}

static void expect_same(const struct bd_manifest *a, const struct bd_manifest *b)
{
	assert_int_equal(a->generation, b->generation);
	assert_int_equal(a->number, b->number);
	assert_int_equal(a->store_id, b->store_id);
	assert_int_equal(a->created_ns, b->created_ns);
	assert_int_equal(a->safe_ns, b->safe_ns);
	assert_int_equal(a->format_version, b->format_version);
	assert_int_equal(a->size_limit_bytes, b->size_limit_bytes);
	assert_int_equal(a->log_bytes, b->log_bytes);
	assert_int_equal(a->store_created_ns, b->store_created_ns);
	assert_int_equal(a->replay, b->replay);
	assert_int_equal(a->retain, b->retain);
	assert_int_equal(a->log_generation, b->log_generation);
	assert_int_equal(a->file_count, b->file_count);
	for (uint32_t i = 0; i < a->file_count; i++) {
		const struct bd_manifest_file *x = &a->files[i], *y = &b->files[i];
		assert_string_equal(x->name, y->name);
		assert_true(x->size == y->size && x->sum == y->sum && x->generation == y->generation && x->number == y->number);
		if (x->generation == 0)
			assert_memory_equal(x->bytes, y->bytes, x->size);
		else
			assert_null(y->bytes);
	}
	assert_int_equal(a->part_count, b->part_count);
	for (uint32_t i = 0; i < a->part_count; i++)
		assert_true(a->parts[i].extent == b->parts[i].extent && a->parts[i].used == b->parts[i].used &&
			    a->parts[i].size == b->parts[i].size);
	assert_int_equal(a->piece_count, b->piece_count);
	for (uint32_t i = 0; i < a->piece_count; i++)
		assert_true(a->pieces[i].generation == b->pieces[i].generation && a->pieces[i].from == b->pieces[i].from &&
			    a->pieces[i].to == b->pieces[i].to && a->pieces[i].size == b->pieces[i].size);
	assert_int_equal(a->branch_count, b->branch_count);
	for (uint32_t i = 0; i < a->branch_count; i++) {
		assert_string_equal(a->branches[i].name, b->branches[i].name);
		assert_true(a->branches[i].id == b->branches[i].id && a->branches[i].parent == b->branches[i].parent);
	}
}

static void what_is_encoded_comes_back(void **state)
{
	struct bd_manifest manifest = sample(), back;
	void *bytes;
	size_t size;

	(void)state;
	assert_ok(bd_manifest_encode(&manifest, &bytes, &size));
	assert_ok(bd_manifest_decode(bytes, size, &back));
	expect_same(&manifest, &back);
	bd_manifest_free(&back);
	bd_manifest_free(&manifest);
	free(bytes);
}

static void an_empty_one_comes_back(void **state)
{
	struct bd_manifest manifest = {.generation = 1, .log_bytes = UINT64_C(128) << 20}, back;
	void *bytes;
	size_t size;

	(void)state;
	assert_ok(bd_manifest_encode(&manifest, &bytes, &size));
	assert_ok(bd_manifest_decode(bytes, size, &back));
	expect_same(&manifest, &back);
	bd_manifest_free(&back);
	free(bytes);
}

/* Every bit, and every length: what is not the whole is not taken for it. A newer version is one whose header is sound. */
static void damage_is_refused(void **state)
{
	struct bd_manifest manifest = sample(), back;
	void *bytes;
	size_t size;

	(void)state;
	assert_ok(bd_manifest_encode(&manifest, &bytes, &size));
	for (size_t i = 0; i < size * 8; i++) {
		uint8_t *copy = tier_copy(bytes, size);
		copy[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(bd_manifest_decode(copy, size, &back), -EUCLEAN);
		free(copy);
	}
	for (size_t i = 0; i < size; i++) {
		uint8_t *copy = tier_copy(bytes, i);
		assert_int_equal(bd_manifest_decode(copy, i, &back), -EUCLEAN);
		free(copy);
	}
	uint8_t *longer = malloc(size + 1);
	assert_non_null(longer);
	memcpy(longer, bytes, size);
	longer[size] = 0;
	assert_int_equal(bd_manifest_decode(longer, size + 1, &back), -EUCLEAN);
	free(longer);
	bd_manifest_free(&manifest);
	free(bytes);
}

static void a_newer_version_is_refused_as_such(void **state)
{
	struct bd_manifest manifest = sample(), back;
	void *bytes;
	size_t size;

	(void)state;
	assert_ok(bd_manifest_encode(&manifest, &bytes, &size));
	((uint8_t *)bytes)[4] = 2;
	uint64_t sum = XXH3_64bits(bytes, MANIFEST_HEADER - 8);
	memcpy((uint8_t *)bytes + MANIFEST_HEADER - 8, &sum, 8);
	assert_int_equal(bd_manifest_decode(bytes, size, &back), -EPROTONOSUPPORT);
	bd_manifest_free(&manifest);
	free(bytes);
}

/* Checksums that are right around what makes no sense. */
static void expect_refused(const struct bd_manifest *manifest)
{
	struct bd_manifest back;
	void *bytes;
	size_t size;

	assert_ok(bd_manifest_encode(manifest, &bytes, &size));
	assert_int_equal(bd_manifest_decode(bytes, size, &back), -EUCLEAN);
	free(bytes);
}

static void nonsense_is_refused(void **state)
{
	struct bd_manifest manifest = sample();

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		static const char *const names[] = {"../etc/passwd", ".", "a/b", ""};
		strcpy(manifest.files[0].name, names[i]);
		expect_refused(&manifest);
	}
	strcpy(manifest.files[0].name, "000012.sst");
	manifest.files[1].sum++;
	expect_refused(&manifest);
	manifest.files[1].sum--;
	manifest.pieces[1].from += 4096;
	expect_refused(&manifest);
	manifest.pieces[1].from -= 4096;
	manifest.pieces[0].from = manifest.pieces[0].to;
	expect_refused(&manifest);
	manifest.pieces[0].from = 4097;
	expect_refused(&manifest);
	manifest.pieces[0].from = 4096;
	manifest.pieces[1].generation = 0;
	expect_refused(&manifest);
	manifest.pieces[1].generation = 7;
	manifest.parts[0].extent = 1u << 30;
	expect_refused(&manifest);
	manifest.parts[0].extent = 5;
	manifest.parts[0].used = 8193;
	expect_refused(&manifest);
	manifest.parts[0].used = 17;
	manifest.retain = manifest.replay + 4096;
	expect_refused(&manifest);
	manifest.retain = 8192;
	manifest.log_bytes = 4096;
	expect_refused(&manifest);
	manifest.log_bytes = UINT64_C(16) << 20;
	manifest.generation = 0;
	expect_refused(&manifest);
	manifest.generation = 7;
	void *bytes;
	size_t size;
	assert_ok(bd_manifest_encode(&manifest, &bytes, &size));
	free(bytes);
	bd_manifest_free(&manifest);
}

static void keys(void **state)
{
	char key[BD_MANIFEST_KEY_SIZE];
	uint32_t generation = 0, number = 0;

	(void)state;
	bd_manifest_key(0xabc, 0x12345678, key);
	assert_string_equal(key, "manifest/00000abc-12345678");
	assert_true(bd_manifest_key_parse(key, &generation, &number));
	assert_true(generation == 0xabc && number == 0x12345678);
	bd_manifest_file_key(1, 2, "000012.sst", key);
	assert_string_equal(key, "index/00000001-00000002-000012.sst");
	bd_manifest_part_key(1, 2, 0x3f, key);
	assert_string_equal(key, "part/00000001-00000002-0000003f");
	static const char *const none[] = {"manifest/00000abc-12345678x", "manifest/00000abc-1234567", "manifest/abc-12345678",
					   "manifest/00000ABC-12345678", "manifest/", "", "store", "index/00000abc-12345678"};
	for (unsigned i = 0; i < NF_ARRAY_LEN(none); i++)
		assert_false(bd_manifest_key_parse(none[i], &generation, &number));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_encoded_comes_back),
		cmocka_unit_test(an_empty_one_comes_back),
		cmocka_unit_test(damage_is_refused),
		cmocka_unit_test(a_newer_version_is_refused_as_such),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(keys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
