/* The file `facts`: to bytes and back. See wa_facts.h for its layout. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/nf_cursor.h"
#include "walapply/pitr/wa_facts.h"

#define MAGIC "NFHISTRY"
#define BODY 24u
#define TIMELINE_BYTES 16u
#define BASE_BYTES 40u
#define HOLD_BYTES 80u
#define STRETCH_BYTES 16u

static_assert(WA_FACTS_HEADER + (uint64_t)WA_FACTS_TIMELINES_MAX * TIMELINE_BYTES + (uint64_t)WA_FACTS_BASES_MAX * BASE_BYTES +
			      (uint64_t)WA_FACTS_HOLDS_MAX * HOLD_BYTES + (uint64_t)WA_FACTS_STRETCHES_MAX * STRETCH_BYTES <=
		      WA_FACTS_SIZE_MAX,
	      "facts that can be made can be read");

void wa_facts_free(struct wa_facts *facts)
{
	free(facts->timelines);
	free(facts->bases);
	free(facts->holds);
	free(facts->stretches);
	*facts = (struct wa_facts){0};
}

/* ------------------------------------------------------------- writing */

static size_t encoded_size(const struct wa_facts *facts)
{
	return WA_FACTS_HEADER + (size_t)facts->timeline_count * TIMELINE_BYTES + (size_t)facts->base_count * BASE_BYTES +
	       (size_t)facts->hold_count * HOLD_BYTES + (size_t)facts->stretch_count * STRETCH_BYTES;
}

static void write_lists(struct nf_writer *w, const struct wa_facts *facts)
{
	for (uint32_t i = 0; i < facts->timeline_count; i++) {
		nf_write_u32(w, facts->timelines[i].timeline);
		nf_write_u32(w, 0);
		nf_write_u64(w, facts->timelines[i].begin.v);
	}
	for (uint32_t i = 0; i < facts->base_count; i++) {
		const struct wa_facts_base *base = &facts->bases[i];
		nf_write_u32(w, base->epoch);
		nf_write_u32(w, base->flags);
		nf_write_u32(w, base->timeline);
		nf_write_u32(w, 0);
		nf_write_u64(w, (uint64_t)base->time_us);
		nf_write_u64(w, base->written.v);
		nf_write_u64(w, base->redo.v);
	}
	for (uint32_t i = 0; i < facts->hold_count; i++) {
		nf_write_bytes(w, facts->holds[i].name, sizeof(facts->holds[i].name));
		nf_write_u64(w, facts->holds[i].from.v);
		nf_write_u64(w, facts->holds[i].to.v);
	}
	for (uint32_t i = 0; i < facts->stretch_count; i++) {
		nf_write_u64(w, facts->stretches[i].from.v);
		nf_write_u64(w, facts->stretches[i].to.v);
	}
}

int wa_facts_encode(const struct wa_facts *facts, uint8_t **ret_bytes, size_t *ret_size)
{
	size_t size = encoded_size(facts);
	uint8_t *bytes = calloc(1, size);
	if (bytes == NULL)
		return -ENOMEM;
	struct nf_writer w = nf_writer_init(bytes, size);
	nf_write_bytes(&w, MAGIC, 8);
	nf_write_u32(&w, WA_FACTS_VERSION);
	nf_write_u32(&w, 0);
	nf_write_u64(&w, 0); /* the checksum's place */
	nf_write_u64(&w, facts->retention.seconds);
	nf_write_u64(&w, facts->retention.bytes);
	nf_write_u64(&w, facts->system_id);
	nf_write_u32(&w, (uint32_t)facts->major);
	nf_write_u32(&w, facts->segment_size);
	nf_write_u64(&w, facts->kept_from.v);
	nf_write_u64(&w, facts->sealed.v);
	nf_write_u64(&w, facts->next.v);
	nf_write_u64(&w, facts->prev.v);
	nf_write_u64(&w, facts->index_bytes);
	nf_write_u64(&w, (uint64_t)facts->begun_again_us);
	nf_write_bytes(&w, facts->begun_again_why, sizeof(facts->begun_again_why));
	nf_write_u32(&w, facts->timeline_count);
	nf_write_u32(&w, facts->base_count);
	nf_write_u32(&w, facts->hold_count);
	nf_write_u32(&w, facts->stretch_count);
	write_lists(&w, facts);
	assert(!w.failed && w.offset == size);
	uint64_t sum = htole64(XXH3_64bits(bytes + BODY, size - BODY));
	memcpy(bytes + 16, &sum, sizeof(sum));
	*ret_bytes = bytes;
	*ret_size = size;
	return 0;
}

/* ------------------------------------------------------------- reading */

static const char *read_head(struct nf_reader *r, struct wa_facts *facts)
{
	facts->retention.seconds = nf_read_u64(r);
	facts->retention.bytes = nf_read_u64(r);
	facts->system_id = nf_read_u64(r);
	facts->major = (int)nf_read_u32(r);
	facts->segment_size = nf_read_u32(r);
	facts->kept_from.v = nf_read_u64(r);
	facts->sealed.v = nf_read_u64(r);
	facts->next.v = nf_read_u64(r);
	facts->prev.v = nf_read_u64(r);
	facts->index_bytes = nf_read_u64(r);
	facts->begun_again_us = (int64_t)nf_read_u64(r);
	nf_read_copy(r, facts->begun_again_why, sizeof(facts->begun_again_why));
	facts->timeline_count = nf_read_u32(r);
	facts->base_count = nf_read_u32(r);
	facts->hold_count = nf_read_u32(r);
	facts->stretch_count = nf_read_u32(r);
	uint32_t size = facts->segment_size;
	if (size != 0 && (size < WA_SEGMENT_MIN || size > WA_SEGMENT_MAX || (size & (size - 1)) != 0))
		return "an impossible segment size";
	if (size != 0 && (facts->kept_from.v % size != 0 || facts->sealed.v % size != 0 || facts->sealed.v < facts->kept_from.v))
		return "positions that do not fit each other";
	if (size == 0 && (facts->timeline_count != 0 || facts->base_count != 0 || facts->stretch_count != 0))
		return "bases without a segment size";
	if (size != 0 && facts->timeline_count == 0)
		return "no timeline";
	if (facts->begun_again_why[sizeof(facts->begun_again_why) - 1] != '\0')
		return "a text without an end";
	if (facts->timeline_count > WA_FACTS_TIMELINES_MAX || facts->base_count > WA_FACTS_BASES_MAX ||
	    facts->hold_count > WA_FACTS_HOLDS_MAX || facts->stretch_count > WA_FACTS_STRETCHES_MAX)
		return "more of something than there can be";
	return NULL;
}

static const char *read_timelines(struct nf_reader *r, struct wa_facts *facts)
{
	for (uint32_t i = 0; i < facts->timeline_count; i++) {
		struct wa_facts_timeline *timeline = &facts->timelines[i];
		timeline->timeline = nf_read_u32(r);
		(void)nf_read_u32(r);
		timeline->begin.v = nf_read_u64(r);
		if (timeline->timeline == 0 ||
		    (i > 0 && (timeline->timeline <= timeline[-1].timeline || timeline->begin.v < timeline[-1].begin.v)))
			return "timelines out of order";
	}
	return NULL;
}

static const char *read_bases(struct nf_reader *r, struct wa_facts *facts)
{
	for (uint32_t i = 0; i < facts->base_count; i++) {
		struct wa_facts_base *base = &facts->bases[i];
		base->epoch = nf_read_u32(r);
		base->flags = nf_read_u32(r);
		base->timeline = nf_read_u32(r);
		(void)nf_read_u32(r);
		base->time_us = (int64_t)nf_read_u64(r);
		base->written.v = nf_read_u64(r);
		base->redo.v = nf_read_u64(r);
		if (i > 0 && base->epoch <= base[-1].epoch)
			return "bases out of order";
		if ((base->flags & ~(uint32_t)(WA_BASE_AUTOMATIC | WA_BASE_UNUSABLE)) != 0 || base->redo.v > base->written.v)
			return "a base that cannot be";
	}
	return NULL;
}

static const char *read_holds(struct nf_reader *r, struct wa_facts *facts)
{
	for (uint32_t i = 0; i < facts->hold_count; i++) {
		struct wa_facts_hold *hold = &facts->holds[i];
		nf_read_copy(r, hold->name, sizeof(hold->name));
		hold->from.v = nf_read_u64(r);
		hold->to.v = nf_read_u64(r);
		if (hold->name[0] == '\0' || hold->name[WA_FACTS_NAME_MAX] != '\0' || hold->to.v < hold->from.v)
			return "a hold that cannot be";
	}
	return NULL;
}

static const char *read_stretches(struct nf_reader *r, struct wa_facts *facts)
{
	for (uint32_t i = 0; i < facts->stretch_count; i++) {
		facts->stretches[i].from.v = nf_read_u64(r);
		facts->stretches[i].to.v = nf_read_u64(r);
		if (facts->stretches[i].to.v < facts->stretches[i].from.v)
			return "a stretch that ends before it begins";
	}
	return NULL;
}

static bool make_lists(struct wa_facts *facts)
{
	facts->timelines = calloc(facts->timeline_count + 1u, sizeof(*facts->timelines));
	facts->bases = calloc(facts->base_count + 1u, sizeof(*facts->bases));
	facts->holds = calloc(facts->hold_count + 1u, sizeof(*facts->holds));
	facts->stretches = calloc(facts->stretch_count + 1u, sizeof(*facts->stretches));
	return facts->timelines != NULL && facts->bases != NULL && facts->holds != NULL && facts->stretches != NULL;
}

/* NULL, or why not. */
static const char *read_body(struct nf_reader *r, struct wa_facts *facts, bool *ret_no_memory)
{
	const char *why = read_head(r, facts);
	if (why != NULL)
		return why;
	if (encoded_size(facts) != r->size)
		return "another length than its lists have";
	*ret_no_memory = !make_lists(facts);
	if (*ret_no_memory)
		return "no memory";
	why = read_timelines(r, facts);
	if (why == NULL)
		why = read_bases(r, facts);
	if (why == NULL)
		why = read_holds(r, facts);
	if (why == NULL)
		why = read_stretches(r, facts);
	return why != NULL || !r->failed ? why : "it is cut";
}

int wa_facts_decode(const uint8_t *bytes, size_t size, struct wa_facts *ret_facts, const char **ret_why)
{
	struct nf_reader r = nf_reader_init(bytes, size);
	struct wa_facts facts = {0};
	const uint8_t *magic = nf_read_bytes(&r, 8);
	uint32_t version = nf_read_u32(&r);
	(void)nf_read_u32(&r);
	uint64_t sum = nf_read_u64(&r);
	*ret_why = "it is no facts file";
	if (r.failed || size < WA_FACTS_HEADER || size > WA_FACTS_SIZE_MAX || memcmp(magic, MAGIC, 8) != 0)
		return -EUCLEAN;
	*ret_why = "a newer version of neonfs wrote it";
	if (version > WA_FACTS_VERSION)
		return -EPROTONOSUPPORT;
	*ret_why = "its checksum does not match";
	if (version != WA_FACTS_VERSION || XXH3_64bits(bytes + BODY, size - BODY) != sum)
		return -EUCLEAN;
	bool no_memory = false;
	const char *why = read_body(&r, &facts, &no_memory);
	if (why != NULL) {
		facts.timeline_count = facts.base_count = facts.hold_count = facts.stretch_count = 0;
		wa_facts_free(&facts);
		*ret_why = why;
		return no_memory ? -ENOMEM : -EUCLEAN;
	}
	*ret_facts = facts;
	*ret_why = "";
	return 0;
}
