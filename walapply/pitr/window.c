/* The lists of the facts: changing them, and what follows from them: which segment file is the branch's, which bases are in the window, what WAL
 * is needed. Pure. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "walapply/pitr/wa_facts.h"

/* --------------------------------------------------------------- lists */

/* Room for one more. Lists change with a snapshot or a segment, so one at a time is no cost. */
static int grow(void **list, uint32_t count, uint32_t max, size_t element_size)
{
	if (count >= max)
		return -ENOSPC;
	void *grown = realloc(*list, ((size_t)count + 1) * element_size);
	if (grown == NULL)
		return -ENOMEM;
	*list = grown;
	return 0;
}

#define GROW(facts, list, count, max) grow((void **)&(facts)->list, (facts)->count, max, sizeof(*(facts)->list))

int wa_facts_add_timeline(struct wa_facts *facts, struct wa_facts_timeline timeline)
{
	int error = GROW(facts, timelines, timeline_count, WA_FACTS_TIMELINES_MAX);
	if (error == 0)
		facts->timelines[facts->timeline_count++] = timeline;
	return error;
}

int wa_facts_add_base(struct wa_facts *facts, struct wa_facts_base base)
{
	uint32_t at = facts->base_count;
	while (at > 0 && facts->bases[at - 1].epoch >= base.epoch)
		at--;
	if (at < facts->base_count && facts->bases[at].epoch == base.epoch) {
		facts->bases[at] = base;
		return 0;
	}
	int error = GROW(facts, bases, base_count, WA_FACTS_BASES_MAX);
	if (error != 0)
		return error;
	memmove(facts->bases + at + 1, facts->bases + at, (facts->base_count - at) * sizeof(base));
	facts->bases[at] = base;
	facts->base_count++;
	return 0;
}

void wa_facts_drop_base(struct wa_facts *facts, uint32_t index)
{
	facts->base_count--;
	memmove(facts->bases + index, facts->bases + index + 1, (facts->base_count - index) * sizeof(*facts->bases));
}

bool wa_facts_drop_hold(struct wa_facts *facts, const char *name)
{
	for (uint32_t i = 0; i < facts->hold_count; i++) {
		if (strcmp(facts->holds[i].name, name) == 0) {
			facts->holds[i] = facts->holds[--facts->hold_count];
			return true;
		}
	}
	return false;
}

int wa_facts_add_hold(struct wa_facts *facts, const char *name, struct nf_lsn from, struct nf_lsn to)
{
	int error = GROW(facts, holds, hold_count, WA_FACTS_HOLDS_MAX);
	if (error != 0)
		return error;
	wa_facts_drop_hold(facts, name);
	struct wa_facts_hold *hold = &facts->holds[facts->hold_count++];
	*hold = (struct wa_facts_hold){.from = from, .to = to};
	snprintf(hold->name, sizeof(hold->name), "%s", name);
	return 0;
}

int wa_facts_add_stretch(struct wa_facts *facts, struct wa_facts_stretch stretch)
{
	int error = GROW(facts, stretches, stretch_count, WA_FACTS_STRETCHES_MAX);
	if (error == 0)
		facts->stretches[facts->stretch_count++] = stretch;
	return error;
}

/* ------------------------------------------------------------ segments */

void wa_segment_name(char name[WA_SEGMENT_NAME + 1], uint32_t timeline, struct nf_lsn lsn, uint32_t segment_size)
{
	uint64_t number = lsn.v / segment_size, per_log = (UINT64_C(1) << 32) / segment_size;
	snprintf(name, WA_SEGMENT_NAME + 1, "%08" PRIX32 "%08" PRIX32 "%08" PRIX32, timeline, (uint32_t)(number / per_log),
		 (uint32_t)(number % per_log));
}

/* Eight upper-case hexadecimal digits, as the whole name has been checked to be. */
static uint32_t hex_part(const char *digits)
{
	uint32_t value = 0;
	for (unsigned i = 0; i < 8; i++)
		value = value << 4 | (uint32_t)(digits[i] <= '9' ? digits[i] - '0' : digits[i] - 'A' + 10);
	return value;
}

bool wa_segment_parse(const char *name, uint32_t segment_size, uint32_t *ret_timeline, struct nf_lsn *ret_start)
{
	if (strlen(name) != WA_SEGMENT_NAME || strspn(name, "0123456789ABCDEF") != WA_SEGMENT_NAME)
		return false;
	uint64_t log = hex_part(name + 8), part = hex_part(name + 16);
	if (part >= (UINT64_C(1) << 32) / segment_size)
		return false;
	*ret_timeline = hex_part(name);
	ret_start->v = (log << 32) + part * segment_size;
	return true;
}

uint32_t wa_facts_timeline_of(const struct wa_facts *facts, struct nf_lsn start)
{
	uint64_t end = start.v + facts->segment_size;
	for (uint32_t i = facts->timeline_count; i-- > 0;) {
		if (facts->timelines[i].begin.v < end || i == 0)
			return facts->timelines[i].timeline;
	}
	return 0;
}

/* One line: "timeline <tab> where it ended <tab> reason". 1 an entry; 0 nothing in it; -EBADMSG. */
static int parse_line(const char *line, uint32_t *ret_timeline, struct nf_lsn *ret_until)
{
	uint32_t high, low;
	line += strspn(line, " \t\r");
	if (*line == '\0' || *line == '#')
		return 0;
	if (sscanf(line, "%10" SCNu32 " %8" SCNx32 "/%8" SCNx32, ret_timeline, &high, &low) != 3)
		return -EBADMSG;
	ret_until->v = (uint64_t)high << 32 | low;
	return 1;
}

int wa_facts_follow(struct wa_facts *facts, const char *text, uint32_t newest, struct nf_lsn reached)
{
	uint32_t from = facts->timelines[facts->timeline_count - 1].timeline, timeline, begun = 0;
	struct nf_lsn until, begin = {0};
	int status = 0;
	char line[128];
	for (; *text != '\0' && status >= 0; text += strcspn(text, "\n"), text += *text != '\0') {
		snprintf(line, sizeof(line), "%.*s", (int)strcspn(text, "\n"), text);
		status = parse_line(line, &timeline, &until);
		if (status <= 0)
			continue;
		if (begun != 0 && (timeline <= begun || until.v < begin.v))
			return -EBADMSG;
		if (begun != 0)
			status = wa_facts_add_timeline(facts, (struct wa_facts_timeline){timeline, begin});
		if (begun == 0 && timeline == from &&
		    (until.v < reached.v || until.v < facts->timelines[facts->timeline_count - 1].begin.v))
			return -ERANGE;
		if (begun != 0 || timeline == from) {
			begun = timeline;
			begin = until;
		}
	}
	if (status < 0)
		return status;
	if (begun == 0)
		return -ENOENT;
	return newest > begun ? wa_facts_add_timeline(facts, (struct wa_facts_timeline){newest, begin}) : -EBADMSG;
}

/* ----------------------------------------------------------- decisions */

static bool is_usable(const struct wa_facts_base *base)
{
	return (base->flags & WA_BASE_UNUSABLE) == 0;
}

const struct wa_facts_base *wa_facts_oldest(const struct wa_facts *facts)
{
	for (uint32_t i = 0; i < facts->base_count; i++) {
		if (is_usable(&facts->bases[i]))
			return &facts->bases[i];
	}
	return NULL;
}

const struct wa_facts_base *wa_facts_newest(const struct wa_facts *facts)
{
	return wa_facts_base_for(facts, (struct nf_lsn){UINT64_MAX});
}

const struct wa_facts_base *wa_facts_base_for(const struct wa_facts *facts, struct nf_lsn x)
{
	for (uint32_t i = facts->base_count; i-- > 0;) {
		if (is_usable(&facts->bases[i]) && facts->bases[i].written.v <= x.v)
			return &facts->bases[i];
	}
	return NULL;
}

struct nf_lsn wa_facts_begun(const struct wa_facts *facts)
{
	if (facts->timeline_count > 0 && facts->timelines[0].begin.v != 0)
		return facts->timelines[0].begin;
	const struct wa_facts_base *oldest = wa_facts_oldest(facts);
	return oldest != NULL ? oldest->redo : (struct nf_lsn){0};
}

struct nf_lsn wa_facts_needed_from(const struct wa_facts *facts, uint32_t first)
{
	struct nf_lsn from = facts->sealed;
	for (uint32_t i = first; i < facts->base_count; i++) {
		if (is_usable(&facts->bases[i]))
			from.v = NF_MIN(from.v, facts->bases[i].redo.v);
	}
	return (struct nf_lsn){wa_segment_start(from, facts->segment_size)};
}

/* The next usable base behind index i, or base_count. */
static uint32_t next_usable(const struct wa_facts *facts, uint32_t i)
{
	do
		i++;
	while (i < facts->base_count && !is_usable(&facts->bases[i]));
	return i;
}

uint32_t wa_facts_window(const struct wa_facts *facts, int64_t now_us, struct nf_lsn end)
{
	uint32_t first = 0, next;
	if (facts->base_count > 0 && !is_usable(&facts->bases[0]))
		first = next_usable(facts, 0);
	if (facts->retention.seconds != 0 && facts->retention.seconds < INT64_MAX / 1000000) {
		/* The newest base before the window stays, so that the window's first point has one. */
		int64_t begin_us = now_us - (int64_t)facts->retention.seconds * 1000000;
		while ((next = next_usable(facts, first)) < facts->base_count && facts->bases[next].time_us <= begin_us)
			first = next;
	}
	if (facts->retention.bytes != 0) {
		while ((next = next_usable(facts, first)) < facts->base_count && end.v > wa_facts_needed_from(facts, first).v &&
		       end.v - wa_facts_needed_from(facts, first).v > facts->retention.bytes)
			first = next;
	}
	return NF_MIN(first, facts->base_count);
}

bool wa_facts_needs(const struct wa_facts *facts, struct nf_lsn start)
{
	if (start.v >= facts->kept_from.v)
		return true;
	for (uint32_t i = 0; i < facts->hold_count; i++) {
		if (facts->holds[i].to.v >= start.v && facts->holds[i].from.v < start.v + facts->segment_size)
			return true;
	}
	return false;
}

bool wa_facts_is_minimal(const struct wa_facts *facts, struct nf_lsn from, struct nf_lsn to)
{
	for (uint32_t i = 0; i < facts->stretch_count; i++) {
		if (facts->stretches[i].to.v > from.v && facts->stretches[i].from.v < to.v)
			return true;
	}
	return false;
}

int wa_facts_wal_level(struct wa_facts *facts, struct nf_lsn lsn, bool is_minimal)
{
	struct wa_facts_stretch *last = facts->stretch_count > 0 ? &facts->stretches[facts->stretch_count - 1] : NULL;
	bool is_open = last != NULL && last->to.v == UINT64_MAX;
	uint64_t known = last == NULL ? 0 : is_open ? last->from.v : last->to.v;
	if (lsn.v <= known || is_open == is_minimal)
		return 0;
	if (is_minimal)
		return wa_facts_add_stretch(facts, (struct wa_facts_stretch){lsn, {UINT64_MAX}});
	last->to = lsn;
	return 0;
}
