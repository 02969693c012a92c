/* Walking the records of one kind. */
#include "blockdev/bd_impl.h"

int bd_each_u32(struct bd_store *store, char kind, bd_each_u32_fn each)
{
	struct bd_key from;
	bd_key_u32(&from, kind, 0);
	struct bd_index_iter *iter = bd_index_iter_new(store->index);
	if (iter == NULL)
		return -ENOMEM;
	int error = 0;
	for (bd_index_iter_seek(iter, &from, 1); error == 0 && bd_index_iter_valid(iter); bd_index_iter_next(iter)) {
		size_t key_size, raw_size, size;
		const uint8_t *key = bd_index_iter_key(iter, &key_size);
		const uint8_t *value = bd_index_iter_value(iter, &raw_size);
		struct nf_reader r = nf_reader_init(key + 1, key_size - 1);
		uint32_t id = nf_read_u32_be(&r);
		error = bd_value_check(key, key_size, value, raw_size, &size);
		if (error == 0)
			error = r.failed ? -EUCLEAN : each(store, id, value, size);
	}
	if (error == 0)
		error = bd_index_iter_status(iter);
	bd_index_iter_free(iter);
	return error;
}
