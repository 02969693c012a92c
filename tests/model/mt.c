/* Trace, random numbers and versions of the model test. */
#include "mt.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

_Noreturn void mt_fail(struct mt *mt, const char *format, ...)
{
	va_list args;
	uint64_t first = mt->line_count > MT_TRACE_LINES ? mt->line_count - MT_TRACE_LINES : 0;

	fflush(stdout);
	if (!mt->trace)
		for (uint64_t i = first; i < mt->line_count; i++)
			fprintf(stderr, "%s\n", mt->lines[i % MT_TRACE_LINES]);
	fprintf(stderr, "FAILED at op %" PRIu64 " (after %" PRIu64 " crashes): ", mt->op, mt->crashes);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\nagain: %s --seed %" PRIu64 " --ops %" PRIu64 " --crash-every %" PRIu64 " --kinds %u --trace\n",
		mt->program, mt->seed, mt->ops, mt->crash_every, mt->kinds);
	exit(1);
}

void mt_trace(struct mt *mt, const char *format, ...)
{
	char *line = mt->lines[mt->line_count++ % MT_TRACE_LINES];
	int used = snprintf(line, MT_TRACE_SIZE, "op %" PRIu64 " ", mt->op);
	va_list args;

	va_start(args, format);
	vsnprintf(line + used, MT_TRACE_SIZE - used, format, args);
	va_end(args);
	if (mt->trace) {
		printf("%s\n", line);
		fflush(stdout);
	}
}

void mt_expect(struct mt *mt, const char *what, int64_t got, int64_t want)
{
	if (got != want)
		mt_fail(mt, "%s gave %" PRId64 " (%s), the model says %" PRId64 " (%s)", what, got,
			got < 0 ? strerror((int)-got) : "fine", want, want < 0 ? strerror((int)-want) : "fine");
}

uint64_t mt_random(struct mt *mt)
{
	uint64_t x = mt->random += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

uint64_t mt_below(struct mt *mt, uint64_t bound)
{
	return mt_random(mt) % bound;
}

bool mt_chance(struct mt *mt, unsigned per_thousand)
{
	return mt_below(mt, 1000) < per_thousand;
}

void mt_fill(struct mt *mt, uint8_t *bytes, size_t size)
{
	uint64_t x = mt_random(mt) | 1;

	for (size_t i = 0; i + 8 <= size; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(bytes + i, &x, 8);
	}
	for (size_t i = size / 8 * 8; i < size; i++)
		bytes[i] = (uint8_t)(mt_random(mt) | 1);
}

int64_t mt_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* ---- versions ---- */

struct mm_tree *mt_begin(struct mt *mt, unsigned branch)
{
	struct mt_branch *b = &mt->branches[branch];

	assert(b->used);
	return b->head = mm_tree_own(b->head);
}

static void *grow(void *array, size_t count, size_t size)
{
	if ((count & (count - 1)) != 0) /* room doubles at each power of two */
		return array;
	array = realloc(array, (count == 0 ? 1 : count * 2) * size);
	if (array == NULL)
		abort();
	return array;
}

static void history_push(struct mt *mt, struct mt_branch *b)
{
	b->history = grow(b->history, b->history_count, sizeof(*b->history));
	b->history[b->history_count++] = (struct mt_version){.op = mt->op, .tree = mm_tree_ref(b->head)};
}

void mt_commit(struct mt *mt, unsigned branch, bool names_changed)
{
	struct mt_branch *b = &mt->branches[branch];

	if (names_changed)
		b->head->names_hash = 0;
	history_push(mt, b);
}

static void history_clear(struct mt_branch *b)
{
	for (size_t i = 0; i < b->history_count; i++)
		mm_tree_unref(b->history[i].tree);
	free(b->history);
	free(b->floors);
	free(b->block_floors);
	free(b->replaced);
	b->history = NULL;
	b->floors = NULL;
	b->block_floors = NULL;
	b->replaced = NULL;
	b->history_count = b->floor_count = b->block_floor_count = b->replaced_count = 0;
	b->names_floor = 0;
}

void mt_durable(struct mt *mt, unsigned branch)
{
	struct mt_branch *b = &mt->branches[branch];

	history_clear(b);
	history_push(mt, b);
}

struct mt_floor *mt_floor_of(struct mt *mt, unsigned branch, uint64_t file)
{
	struct mt_branch *b = &mt->branches[branch];

	for (size_t i = 0; i < b->floor_count; i++)
		if (b->floors[i].file == file)
			return &b->floors[i];
	b->floors = grow(b->floors, b->floor_count, sizeof(*b->floors));
	b->floors[b->floor_count] = (struct mt_floor){.file = file};
	return &b->floors[b->floor_count++];
}

void mt_add_block_floor(struct mt *mt, unsigned branch, uint64_t file, uint64_t blkno, uint64_t end)
{
	struct mt_branch *b = &mt->branches[branch];

	b->block_floors = grow(b->block_floors, b->block_floor_count, sizeof(*b->block_floors));
	b->block_floors[b->block_floor_count++] =
		(struct mt_block_floor){.file = file, .blkno = blkno, .op = mt->op, .end = end};
}

void mt_add_replaced(struct mt *mt, unsigned branch, uint64_t file)
{
	struct mt_branch *b = &mt->branches[branch];

	b->replaced = grow(b->replaced, b->replaced_count, sizeof(*b->replaced));
	b->replaced[b->replaced_count++] = (struct mt_replaced){.op = mt->op, .file = file};
}

void mt_raise_floor(struct mt *mt, unsigned branch, uint64_t file, bool attributes_too)
{
	struct mt_branch *b = &mt->branches[branch];
	const struct mm_inode *inode = mm_get(b->head, file);
	struct mt_floor *floor = mt_floor_of(mt, branch, file);

	b->names_floor = NF_MAX(b->names_floor, mm_path_version(b->head, file));
	if (mm_is_dir(inode))
		b->names_floor = NF_MAX(b->names_floor, inode->entries_at);
	floor->data = floor->size = mt->op;
	if (attributes_too)
		floor->attr = mt->op;
}

void mt_branch_clear(struct mt_branch *branch)
{
	history_clear(branch);
	mm_tree_unref(branch->head);
	*branch = (struct mt_branch){0};
}

unsigned mt_any_branch(struct mt *mt)
{
	unsigned start = (unsigned)mt_below(mt, MT_BRANCHES);

	for (unsigned i = 0; i < MT_BRANCHES; i++)
		if (mt->branches[(start + i) % MT_BRANCHES].used)
			return (start + i) % MT_BRANCHES;
	return MT_BRANCHES;
}

struct bd_view mt_head_view(const struct mt *mt, unsigned branch)
{
	return (struct bd_view){.branch = mt->branches[branch].id, .epoch = BD_EPOCH_HEAD};
}

struct bd_view mt_snapshot_view(const struct mt *mt, unsigned snapshot)
{
	const struct mt_snapshot *s = &mt->snapshots[snapshot];

	return (struct bd_view){.branch = mt->branches[s->branch].id, .epoch = s->epoch};
}
