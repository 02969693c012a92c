/* Encoding of index keys and values; key.h has the table. */
#include "blockdev/index/key.h"

#include <xxhash.h>

#include "common/nf_log.h"

static_assert(BD_KEY_BLOCK_SIZE == 1 + 4 + 8 + 4 + 4, "block key layout");

static struct nf_writer key_begin(struct bd_key *key, char kind)
{
	struct nf_writer w = nf_writer_init(key->bytes, sizeof(key->bytes));
	nf_write_u8(&w, (uint8_t)kind);
	return w;
}

static void key_end(struct bd_key *key, const struct nf_writer *w)
{
	assert(!w->failed);
	key->size = (uint16_t)w->offset;
}

void bd_key_block(struct bd_key *key, const struct bd_block_id *id)
{
	struct nf_writer w = key_begin(key, 'B');
	nf_write_u32_be(&w, id->branch);
	nf_write_u64_be(&w, id->file);
	nf_write_u32_be(&w, id->block);
	nf_write_u32_be(&w, ~id->epoch);
	key_end(key, &w);
}

int bd_key_block_parse(const void *bytes, size_t size, struct bd_block_id *ret_id)
{
	struct nf_reader r = nf_reader_init(bytes, size);
	uint8_t kind = nf_read_u8(&r);
	struct bd_block_id id;
	id.branch = nf_read_u32_be(&r);
	id.file = nf_read_u64_be(&r);
	id.block = nf_read_u32_be(&r);
	id.epoch = ~nf_read_u32_be(&r);
	if (r.failed || kind != 'B' || nf_reader_left(&r) != 0)
		return -EUCLEAN;
	*ret_id = id;
	return 0;
}

void bd_key_file_prefix(struct bd_key *key, char kind, uint32_t branch, uint64_t file)
{
	struct nf_writer w = key_begin(key, kind);
	nf_write_u32_be(&w, branch);
	nf_write_u64_be(&w, file);
	key_end(key, &w);
}

void bd_key_inode(struct bd_key *key, uint32_t branch, uint64_t file, uint32_t epoch)
{
	bd_key_file_prefix(key, 'I', branch, file);
	bd_key_add_epoch(key, epoch);
}

void bd_key_named(struct bd_key *key, char kind, uint32_t branch, uint64_t file, const char *name)
{
	struct nf_writer w = key_begin(key, kind);
	nf_write_u32_be(&w, branch);
	nf_write_u64_be(&w, file);
	nf_write_bytes(&w, name, strlen(name) + 1);
	key_end(key, &w);
}

void bd_key_add_epoch(struct bd_key *key, uint32_t epoch)
{
	struct nf_writer w = nf_writer_init(key->bytes, sizeof(key->bytes));
	w.offset = key->size;
	nf_write_u32_be(&w, ~epoch);
	key_end(key, &w);
}

void bd_key_u32(struct bd_key *key, char kind, uint32_t a)
{
	struct nf_writer w = key_begin(key, kind);
	nf_write_u32_be(&w, a);
	key_end(key, &w);
}

void bd_key_u32_u32(struct bd_key *key, char kind, uint32_t a, uint32_t b)
{
	struct nf_writer w = key_begin(key, kind);
	nf_write_u32_be(&w, a);
	nf_write_u32_be(&w, b);
	key_end(key, &w);
}

void bd_key_clone(struct bd_key *key, uint32_t extent, uint32_t slot, const struct bd_block_id *id)
{
	struct bd_key block;
	bd_key_block(&block, id);
	struct nf_writer w = key_begin(key, 'C');
	nf_write_u32_be(&w, extent);
	nf_write_u32_be(&w, slot);
	nf_write_bytes(&w, block.bytes, block.size);
	key_end(key, &w);
}

size_t bd_value_age(struct bd_age age, uint8_t value[BD_AGE_VALUE_SIZE])
{
	struct nf_writer w = nf_writer_init(value, BD_AGE_VALUE_SIZE);
	nf_write_u64(&w, age.sequence);
	nf_write_u32(&w, age.moves);
	return w.offset;
}

int bd_value_age_parse(const void *value, size_t size, struct bd_age *ret_age)
{
	struct nf_reader r = nf_reader_init(value, size);
	struct bd_age age = {.sequence = nf_read_u64(&r), .moves = nf_read_u32(&r)};
	if (r.failed)
		return -EUCLEAN;
	*ret_age = age;
	return 0;
}

void bd_key_meta(struct bd_key *key, const char *name)
{
	struct nf_writer w = key_begin(key, 'M');
	nf_write_bytes(&w, name, strlen(name));
	key_end(key, &w);
}

static uint32_t value_sum(const void *key, size_t key_size, const void *value, size_t size)
{
	/* Seeding by the key's hash binds the value to its key: a value under a foreign key does not verify. */
	return (uint32_t)XXH3_64bits_withSeed(value, size, XXH3_64bits(key, key_size));
}

size_t bd_value_seal(const void *key, size_t key_size, uint8_t *value, size_t size)
{
	uint32_t sum = htole32(value_sum(key, key_size, value, size));
	memcpy(value + size, &sum, sizeof(sum));
	return size + sizeof(sum);
}

int bd_value_check(const void *key, size_t key_size, const void *value, size_t size, size_t *ret_size)
{
	uint32_t stored;
	if (size >= BD_VALUE_CHECK) {
		memcpy(&stored, (const uint8_t *)value + size - BD_VALUE_CHECK, sizeof(stored));
		if (le32toh(stored) == value_sum(key, key_size, value, size - BD_VALUE_CHECK)) {
			*ret_size = size - BD_VALUE_CHECK;
			return 0;
		}
	}
	nf_error("index: record of kind '%c' (%zu byte key) does not match its checksum; run neonfs scrub --rebuild",
		 key_size > 0 ? ((const char *)key)[0] : '?', key_size);
	return -EUCLEAN;
}

void bd_value_place(const struct bd_key *key, struct bd_place place, uint8_t value[BD_PLACE_VALUE_SIZE])
{
	struct nf_writer w = nf_writer_init(value, BD_PLACE_VALUE_SIZE);
	nf_write_u64(&w, place.loc);
	nf_write_u64(&w, place.sum);
	bd_value_seal(key->bytes, key->size, value, w.offset);
}

int bd_value_place_parse(const void *key, size_t key_size, const void *value, size_t size, struct bd_place *ret_place)
{
	size_t plain;
	int error = bd_value_check(key, key_size, value, size, &plain);
	if (error != 0)
		return error;
	struct nf_reader r = nf_reader_init(value, plain);
	struct bd_place place = {.loc = nf_read_u64(&r), .sum = nf_read_u64(&r)};
	if (r.failed)
		return -EUCLEAN;
	*ret_place = place;
	return 0;
}
