/* Walking the records under a prefix, or of one kind. */
#include "blockdev/bd_impl.h"

int bd_index_each(struct bd_index *index, const struct bd_key *prefix, bd_index_each_fn each, void *arg)
{
	struct bd_index_iter *iter = bd_index_iter_new(index);
	if (iter == NULL)
		return -ENOMEM;
	int result = 0;
	for (bd_index_iter_seek(iter, prefix, prefix->size); result == 0 && bd_index_iter_valid(iter);
	     bd_index_iter_next(iter)) {
		size_t key_size, size;
		const uint8_t *key = bd_index_iter_key(iter, &key_size);
		const uint8_t *value = bd_index_iter_value(iter, &size);
		result = each(arg, key, key_size, value, size);
	}
	if (result == 0)
		result = bd_index_iter_status(iter);
	bd_index_iter_free(iter);
	return result;
}

int bd_index_each_kind(struct bd_index *index, char kind, bd_index_each_fn each, void *arg)
{
	struct bd_key prefix = {.bytes = {(uint8_t)kind}, .size = 1};
	return bd_index_each(index, &prefix, each, arg);
}

struct each_u32 {
	struct bd_store *store;
	bd_each_u32_fn each;
};

static int check_u32(void *arg, const uint8_t *key, size_t key_size, const uint8_t *value, size_t raw_size)
{
	const struct each_u32 *walk = arg;
	struct nf_reader r = nf_reader_init(key + 1, key_size - 1);
	uint32_t id = nf_read_u32_be(&r);
	size_t size;
	int error = bd_value_check(key, key_size, value, raw_size, &size);
	return error != 0 ? error : r.failed ? -EUCLEAN : walk->each(walk->store, id, value, size);
}

int bd_each_u32(struct bd_store *store, char kind, bd_each_u32_fn each)
{
	struct each_u32 walk = {.store = store, .each = each};
	return bd_index_each_kind(store->index, kind, check_u32, &walk);
}
