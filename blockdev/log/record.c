/* Encoding and decoding of log items; record.h has the table. */
#include "blockdev/log/record.h"

#include <stdlib.h>

void bd_items_free(struct bd_items *items)
{
	free(items->data);
	*items = (struct bd_items){0};
}

/* Room for an item of `body_size`; the writer stands behind its header. */
static struct nf_writer item_begin(struct bd_items *items, enum bd_item type, size_t body_size)
{
	size_t need = items->size + 5 + body_size;
	if (need > items->capacity && !items->failed) {
		size_t capacity = NF_MAX(need, items->capacity * 2 + 512);
		uint8_t *data = realloc(items->data, capacity);
		if (data == NULL) {
			items->failed = true;
		} else {
			items->data = data;
			items->capacity = capacity;
		}
	}
	if (items->failed)
		return nf_writer_init(NULL, 0);
	struct nf_writer w = nf_writer_init(items->data + items->size, 5 + body_size);
	nf_write_u8(&w, (uint8_t)type);
	nf_write_u32(&w, (uint32_t)body_size);
	items->size = need;
	return w;
}

static void write_id(struct nf_writer *w, const struct bd_block_id *id)
{
	nf_write_u32(w, id->branch);
	nf_write_u64(w, id->file);
	nf_write_u32(w, id->block);
	nf_write_u32(w, id->epoch);
}

static struct bd_block_id read_id(struct nf_reader *r)
{
	struct bd_block_id id;
	id.branch = nf_read_u32(r);
	id.file = nf_read_u64(r);
	id.block = nf_read_u32(r);
	id.epoch = nf_read_u32(r);
	return id;
}

void bd_items_put(struct bd_items *items, const void *key, size_t key_size, const void *value, size_t value_size)
{
	struct nf_writer w = item_begin(items, BD_ITEM_PUT, 2 + key_size + value_size);
	nf_write_u16(&w, (uint16_t)key_size);
	nf_write_bytes(&w, key, key_size);
	nf_write_bytes(&w, value, value_size);
}

void bd_items_delete(struct bd_items *items, const void *key, size_t key_size)
{
	struct nf_writer w = item_begin(items, BD_ITEM_DELETE, key_size);
	nf_write_bytes(&w, key, key_size);
}

void bd_items_run(struct bd_items *items, const struct bd_block_id *first, unsigned count, uint64_t loc,
		  const uint64_t *sums)
{
	struct nf_writer w = item_begin(items, BD_ITEM_RUN, 30 + (size_t)count * 8);
	write_id(&w, first);
	nf_write_u16(&w, (uint16_t)count);
	nf_write_u64(&w, loc);
	for (unsigned i = 0; i < count; i++)
		nf_write_u64(&w, sums[i]);
}

void bd_items_holes(struct bd_items *items, const struct bd_block_id *first, uint32_t count)
{
	struct nf_writer w = item_begin(items, BD_ITEM_HOLES, 24);
	write_id(&w, first);
	nf_write_u32(&w, count);
}

void bd_items_move(struct bd_items *items, const struct bd_block_id *id, uint64_t from, uint64_t to, uint64_t sum)
{
	struct nf_writer w = item_begin(items, BD_ITEM_MOVE, 44);
	write_id(&w, id);
	nf_write_u64(&w, from);
	nf_write_u64(&w, to);
	nf_write_u64(&w, sum);
}

int bd_item_put_parse(struct nf_reader body, const void **ret_key, size_t *ret_key_size, const void **ret_value,
		      size_t *ret_value_size)
{
	size_t key_size = nf_read_u16(&body);
	const void *key = nf_read_bytes(&body, key_size);
	size_t value_size = nf_reader_left(&body);
	const void *value = nf_read_bytes(&body, value_size);
	if (body.failed || key_size == 0 || key_size > BD_KEY_MAX)
		return -EUCLEAN;
	*ret_key = key;
	*ret_key_size = key_size;
	*ret_value = value;
	*ret_value_size = value_size;
	return 0;
}

int bd_item_run_parse(struct nf_reader body, struct bd_run *ret_run)
{
	struct bd_run run = {.first = read_id(&body)};
	run.count = nf_read_u16(&body);
	run.loc = nf_read_u64(&body);
	if (body.failed || run.count == 0 || nf_reader_left(&body) != (size_t)run.count * 8 ||
	    run.first.block > UINT32_MAX - run.count)
		return -EUCLEAN;
	run.sums = body;
	*ret_run = run;
	return 0;
}

int bd_item_holes_parse(struct nf_reader body, struct bd_block_id *ret_first, uint32_t *ret_count)
{
	struct bd_block_id first = read_id(&body);
	uint32_t count = nf_read_u32(&body);
	if (body.failed || nf_reader_left(&body) != 0 || first.block > UINT32_MAX - count)
		return -EUCLEAN;
	*ret_first = first;
	*ret_count = count;
	return 0;
}

int bd_item_move_parse(struct nf_reader body, struct bd_block_id *ret_id, uint64_t *ret_from, uint64_t *ret_to,
		       uint64_t *ret_sum)
{
	struct bd_block_id id = read_id(&body);
	uint64_t from = nf_read_u64(&body), to = nf_read_u64(&body), sum = nf_read_u64(&body);
	if (body.failed || nf_reader_left(&body) != 0)
		return -EUCLEAN;
	*ret_id = id;
	*ret_from = from;
	*ret_to = to;
	*ret_sum = sum;
	return 0;
}
