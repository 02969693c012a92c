/* The relations are a hash table with open addresses, never more than half full; a slot without records is free. */
#include "tools/neonfs-wal/tally.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS_FIRST 256u

struct wal_tally *wal_tally_new(void)
{
	struct wal_tally *tally = calloc(1, sizeof(*tally));
	if (tally == NULL)
		return NULL;
	tally->slot_count = SLOTS_FIRST;
	tally->relations = calloc(tally->slot_count, sizeof(*tally->relations));
	if (tally->relations == NULL) {
		free(tally);
		return NULL;
	}
	return tally;
}

void wal_tally_free(struct wal_tally *tally)
{
	if (tally == NULL)
		return;
	free(tally->relations);
	free(tally);
}

static struct wal_relation_sum *slot_of(struct wal_relation_sum *slots, size_t count, struct wa_locator rel)
{
	uint64_t hash = (((uint64_t)rel.db << 32 | rel.rel) + rel.spc) * UINT64_C(0x9E3779B97F4A7C15);
	size_t at = hash >> 32 & (count - 1);
	while (slots[at].sum.records > 0 && !wa_locator_equal(slots[at].rel, rel))
		at = (at + 1) & (count - 1);
	return &slots[at];
}

static int grow(struct wal_tally *tally)
{
	size_t count = tally->slot_count * 2;
	struct wal_relation_sum *slots = calloc(count, sizeof(*slots));
	if (slots == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < tally->slot_count; i++)
		if (tally->relations[i].sum.records > 0)
			*slot_of(slots, count, tally->relations[i].rel) = tally->relations[i];
	free(tally->relations);
	tally->relations = slots;
	tally->slot_count = count;
	return 0;
}

static void add(struct wal_sum *sum, uint64_t records, uint64_t record_bytes, uint64_t images, uint64_t image_bytes)
{
	sum->records += records;
	sum->record_bytes += record_bytes;
	sum->images += images;
	sum->image_bytes += image_bytes;
}

/* Is refs[index] the first of the record's refs that names this relation? */
static bool is_first_of_relation(const struct wa_record *record, unsigned index)
{
	for (unsigned i = 0; i < index; i++)
		if (wa_locator_equal(record->refs[i].block.rel, record->refs[index].block.rel))
			return false;
	return true;
}

static int add_relations(struct wal_tally *tally, const struct wa_record *record, uint64_t record_bytes)
{
	for (unsigned i = 0; i < record->ref_count; i++) {
		const struct wa_ref *ref = &record->refs[i];
		if (tally->relation_count * 2 >= tally->slot_count && grow(tally) < 0)
			return -ENOMEM;
		struct wal_relation_sum *slot = slot_of(tally->relations, tally->slot_count, ref->block.rel);
		tally->relation_count += slot->sum.records == 0;
		slot->rel = ref->block.rel;
		add(&slot->sum, is_first_of_relation(record, i), i == 0 ? record_bytes : 0, ref->has_image,
		    ref->has_image ? ref->image_len : 0);
	}
	return 0;
}

int wal_tally_add(struct wal_tally *tally, int major, const struct wa_record *record)
{
	const struct wa_record_type *type = wa_record_type(major, record->rmid, record->info);
	unsigned op = type != NULL ? type->op >> 4 : record->info >> 4;
	uint64_t images = 0, image_bytes = 0;
	for (unsigned i = 0; i < record->ref_count; i++)
		if (record->refs[i].has_image) {
			images++;
			image_bytes += record->refs[i].image_len;
		}
	uint64_t record_bytes = record->tot_len - image_bytes;
	add(&tally->all, 1, record_bytes, images, image_bytes);
	add(&tally->rmgrs[record->rmid], 1, record_bytes, images, image_bytes);
	add(&tally->types[record->rmid][op], 1, record_bytes, images, image_bytes);
	if (record->ref_count == 0)
		add(&tally->none, 1, record_bytes, 0, 0);
	return add_relations(tally, record, record_bytes);
}

static int by_bytes(const void *a, const void *b)
{
	const struct wal_relation_sum *x = a, *y = b;
	uint64_t left = wal_sum_bytes(&x->sum), right = wal_sum_bytes(&y->sum);
	if (left != right)
		return left > right ? -1 : 1;
	if (x->rel.db != y->rel.db)
		return x->rel.db < y->rel.db ? -1 : 1;
	return (x->rel.rel > y->rel.rel) - (x->rel.rel < y->rel.rel);
}

void wal_tally_sort(struct wal_tally *tally)
{
	size_t used = 0;
	for (size_t i = 0; i < tally->slot_count; i++)
		if (tally->relations[i].sum.records > 0)
			tally->relations[used++] = tally->relations[i];
	qsort(tally->relations, used, sizeof(*tally->relations), by_bytes);
}
