/* Segments of posting lists: TIDs in rising order, packed as differences. gin_impl.h has the format.
 *
 * A TID counts as the number block * 2048 + offset. Both sources of a merge are read and the result is written in one pass, with no list
 * of TIDs in between. How a difference is packed leaves no choice, so the bytes are those that Postgres writes.
 *
 * Source: access/gin/ginpostinglist.c (ginPostingListDecode, ginMergeItemPointers, ginCompressPostingList). */
#include "gin_impl.h"

#define OFFSET_BITS 11 /* MaxHeapTuplesPerPageBits */
#define VALUE_BITS (32 + OFFSET_BITS)
#define PACKED_MAX 7 /* bytes of a packed number */

/* Where TIDs come from, one at a time. */
struct source {
	const uint8_t *at, *end; /* what follows the one at hand */
	uint64_t value; /* the one at hand, unless ended */
	bool packed; /* differences follow, else plain TIDs */
	bool ended, bad;
};

static uint64_t tid_value(const uint8_t *tid, bool *bad)
{
	unsigned offset = wa_get16(tid + 4);
	*bad |= offset >= 1u << OFFSET_BITS;
	return (uint64_t)tuple_block(tid) << OFFSET_BITS | offset;
}

static void put_tid(uint8_t *to, uint64_t value)
{
	tuple_set_block(to, (uint32_t)(value >> OFFSET_BITS));
	wa_put16(to + 4, (uint16_t)(value & ((1u << OFFSET_BITS) - 1)));
}

static uint64_t unpack(struct source *s)
{
	uint64_t value = 0;
	for (unsigned i = 0; i < PACKED_MAX && s->at < s->end; i++) {
		uint8_t byte = *s->at++;
		value |= (uint64_t)(byte & 0x7F) << (7 * i);
		if (!(byte & 0x80))
			return value;
	}
	s->bad = true;
	return 0;
}

static void next(struct source *s)
{
	uint64_t before = s->value;
	if (s->at == s->end) {
		s->ended = true;
		return;
	}
	if (s->packed) {
		s->value += unpack(s);
	} else {
		s->value = tid_value(s->at, &s->bad);
		s->at += TID_SIZE;
	}
	s->bad |= s->value <= before || s->value >> VALUE_BITS != 0;
	s->ended = s->bad;
}

static struct source source_of_segment(const uint8_t *segment)
{
	struct source s = {.packed = true, .ended = segment == NULL};
	if (segment == NULL)
		return s;
	s.value = tid_value(segment, &s.bad);
	s.at = segment + GIN_SEGMENT_HEADER;
	s.end = s.at + wa_get16(segment + 6);
	return s;
}

static struct source source_of_tids(const uint8_t *tids, unsigned count)
{
	struct source s = {.ended = count == 0};
	if (count == 0)
		return s;
	s.value = tid_value(tids, &s.bad);
	s.at = tids + TID_SIZE;
	s.end = tids + (size_t)count * TID_SIZE;
	return s;
}

/* The smallest TID of both, which both then leave behind. */
static uint64_t take(struct source *a, struct source *b)
{
	bool from_a = b->ended || (!a->ended && a->value <= b->value), from_b = a->ended || (!b->ended && b->value <= a->value);
	uint64_t value = from_a ? a->value : b->value;
	if (from_a)
		next(a);
	if (from_b)
		next(b);
	return value;
}

/* Returns what follows, or NULL when there is no room. */
static uint8_t *pack(uint8_t *to, const uint8_t *end, uint64_t value)
{
	while (to < end && value > 0x7F) {
		*to++ = (uint8_t)(0x80 | (value & 0x7F));
		value >>= 7;
	}
	if (to == end)
		return NULL;
	*to++ = (uint8_t)value;
	return to;
}

unsigned gin_merge(const uint8_t *segment, const uint8_t *tids, unsigned count, uint8_t *to, unsigned room)
{
	struct source a = source_of_segment(segment), b = source_of_tids(tids, count);
	uint8_t *at = to + GIN_SEGMENT_HEADER, *end = to + (room & ~1u);

	if ((a.ended && b.ended) || room < GIN_SEGMENT_HEADER)
		return 0;
	uint64_t value = take(&a, &b);
	put_tid(to, value);
	while (at != NULL && !(a.ended && b.ended)) {
		uint64_t before = value;
		value = take(&a, &b);
		at = pack(at, end, value - before);
	}
	if (a.bad || b.bad || at == NULL)
		return 0;
	unsigned bytes = (unsigned)(at - to) - GIN_SEGMENT_HEADER;
	wa_put16(to + 6, (uint16_t)bytes);
	if (bytes % 2 != 0)
		*at++ = 0;
	return (unsigned)(at - to);
}
