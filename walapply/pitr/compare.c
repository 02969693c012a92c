/* Two points side by side, at the granularity of blocks. wa_compare.h says what the answer means.
 *
 *      versions of the two views differ (bd_diff) ──┐
 *      records touch, cut, make or drop it ─────────┼──▶ bits a file, cuts a fork ──▶ lengths on both sides ──▶ counts ──▶ names
 *      unlogged, and only one side is a point ──────┘
 *
 * Two points with the same base differ by the records between them alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "walapply/pitr/compare_impl.h"

#define A WA_COMPARE_A
#define B WA_COMPARE_B
#define BITS_MIN 8u /* words */

struct message {
	char *text;
	size_t size;
};

/* ------------------------------------------------------ what may differ */

struct cmp_rel *cmp_rel(struct compare *compare, struct wa_locator locator)
{
	struct cmp_rel *rel;
	HASH_FIND(hh, compare->rels, &locator, sizeof(locator), rel);
	if (rel != NULL)
		return rel;
	rel = calloc(1, sizeof(*rel));
	if (rel == NULL)
		return NULL;
	rel->rel = locator;
	for (uint32_t fork = 0; fork < WA_FORKS; fork++)
		rel->cut[fork] = CMP_UNCUT;
	HASH_ADD(hh, compare->rels, rel, sizeof(rel->rel), rel);
	return rel;
}

int cmp_cut(struct compare *compare, struct wa_locator locator, uint32_t fork, uint64_t from)
{
	struct cmp_rel *rel = cmp_rel(compare, locator);
	if (rel == NULL)
		return -ENOMEM;
	rel->cut[fork] = NF_MIN(rel->cut[fork], from);
	return 0;
}

static struct cmp_blocks *find_blocks(const struct compare *compare, const struct wa_block *block)
{
	struct cmp_blocks *blocks;
	struct wa_block first = *block;
	first.blkno -= first.blkno % compare->segment_blocks;
	HASH_FIND(hh, compare->blocks, &first, sizeof(first), blocks);
	return blocks;
}

/* The file's bits, and its relation's entry. */
static struct cmp_blocks *make_blocks(struct compare *compare, const struct wa_block *block)
{
	struct cmp_blocks *blocks = find_blocks(compare, block);
	if (blocks != NULL)
		return blocks;
	if (cmp_rel(compare, block->rel) == NULL)
		return NULL;
	blocks = calloc(1, sizeof(*blocks));
	if (blocks == NULL)
		return NULL;
	blocks->first = *block;
	blocks->first.blkno -= block->blkno % compare->segment_blocks;
	HASH_ADD(hh, compare->blocks, first, sizeof(blocks->first), blocks);
	return blocks;
}

int cmp_add(struct compare *compare, const struct wa_block *block)
{
	if (block->fork >= WA_FORKS)
		return 0;
	struct cmp_blocks *blocks = make_blocks(compare, block);
	if (blocks == NULL)
		return -ENOMEM;
	uint32_t at = block->blkno - blocks->first.blkno;
	if (at / 64 >= blocks->words) {
		uint32_t words = NF_MAX(NF_MAX(at / 64 + 1, blocks->words * 2), BITS_MIN);
		uint64_t *bits = realloc(blocks->bits, words * sizeof(*bits));
		if (bits == NULL)
			return -ENOMEM;
		memset(bits + blocks->words, 0, (words - blocks->words) * sizeof(*bits));
		blocks->bits = bits;
		blocks->words = words;
	}
	blocks->bits[at / 64] |= UINT64_C(1) << at % 64;
	return 0;
}

/* ------------------------------------------------------- block versions */

struct adding {
	struct compare *compare;
	struct wa_block first;
};

static int add_block(void *arg, uint32_t block)
{
	const struct adding *adding = arg;
	struct wa_block here = adding->first;
	if (block >= adding->compare->segment_blocks) /* no file of Postgres's is as long */
		return 0;
	here.blkno += block;
	return cmp_add(adding->compare, &here);
}

/* The file on a side, or NULL. */
static int open_file(struct compare *compare, enum wa_compare_side s, const char *path, struct bd_inode **ret_file)
{
	int error = wh_path(compare->store, compare->sides[s].view, path, ret_file);
	if (error != 0)
		*ret_file = NULL;
	return error == -ENOENT ? 0 : error;
}

static int add_file(void *arg, enum bd_diff_kind kind, const char *path, uint64_t count)
{
	struct compare *compare = arg;
	struct adding adding = {.compare = compare};
	struct bd_inode *files[WA_COMPARE_SIDES] = {NULL, NULL};
	(void)count;
	if (kind == BD_DIFF_META)
		return 0;
	if (!cmp_path_parse(compare, path, &adding.first)) {
		compare->other_files++;
		return 0;
	}
	int error = cmp_rel(compare, adding.first.rel) != NULL ? 0 : -ENOMEM;
	for (unsigned s = 0; s < WA_COMPARE_SIDES && error == 0; s++)
		error = open_file(compare, s, path, &files[s]);
	if (error == 0)
		error = bd_diff_blocks(compare->store, files[A], files[B], add_block, &adding);
	for (unsigned s = 0; s < WA_COMPARE_SIDES; s++)
		if (files[s] != NULL)
			bd_inode_unref(files[s], 1);
	return error;
}

static bool same_view(struct bd_view a, struct bd_view b)
{
	return a.branch.v == b.branch.v && a.epoch.v == b.epoch.v;
}

/* Everything in which the two may differ. */
static int collect(struct compare *compare)
{
	struct cmp_side *a = &compare->sides[A], *b = &compare->sides[B];
	int error = 0;
	if (!same_view(a->view, b->view))
		error = bd_diff(compare->store, a->view, b->view, add_file, compare);
	if (error == 0 && a->is_point && b->is_point && same_view(a->view, b->view)) {
		const struct cmp_side *later = a->range.to.v > b->range.to.v ? a : b;
		const struct cmp_side *earlier = later == a ? b : a;
		return cmp_range(compare, &later->range, earlier->range.to, later->range.to);
	}
	for (unsigned s = 0; s < WA_COMPARE_SIDES && error == 0; s++) {
		struct cmp_side *side = &compare->sides[s];
		if (!side->is_point)
			continue;
		error = cmp_range(compare, &side->range, side->range.from, side->range.to);
		if (error == 0 && !compare->sides[1 - s].is_point)
			error = cmp_unlogged(compare, side);
	}
	return error;
}

/* ------------------------------------------------------------- counting */

/* Bits that are set below block `end` of the fork. */
static uint64_t count_bits(const struct compare *compare, struct wa_locator rel, uint32_t fork, uint64_t end)
{
	uint64_t count = 0;
	for (uint64_t at = 0; at < end; at += compare->segment_blocks) {
		const struct wa_block first = {.rel = rel, .fork = fork, .blkno = (uint32_t)at};
		const struct cmp_blocks *blocks = find_blocks(compare, &first);
		uint64_t left = end - at;
		for (uint32_t word = 0; blocks != NULL && word < blocks->words && word * UINT64_C(64) < left; word++) {
			uint64_t bits = blocks->bits[word], here = left - word * UINT64_C(64);
			if (here < 64)
				bits &= (UINT64_C(1) << here) - 1;
			count += (uint64_t)__builtin_popcountll(bits);
		}
	}
	return count;
}

static int count_fork(struct compare *compare, const struct cmp_rel *rel, uint32_t fork, struct wa_compare_fork *ret_fork)
{
	uint64_t all_from = rel->cut[fork];
	*ret_fork = (struct wa_compare_fork){0};
	for (unsigned s = 0; s < WA_COMPARE_SIDES; s++) {
		uint64_t blocks;
		int error = cmp_length(compare, &compare->sides[s], rel->rel, fork, &blocks);
		if (error != 0)
			return error;
		ret_fork->is_there[s] = blocks != CMP_ABSENT;
		ret_fork->blocks[s] = blocks != CMP_ABSENT ? blocks : 0;
	}
	uint64_t longer = NF_MAX(ret_fork->blocks[A], ret_fork->blocks[B]);
	/* Where lengths are computed, nobody has compared what is behind the shorter end. */
	if (compare->has_points)
		all_from = NF_MIN(all_from, NF_MIN(ret_fork->blocks[A], ret_fork->blocks[B]));
	ret_fork->different = count_bits(compare, rel->rel, fork, NF_MIN(all_from, longer));
	if (all_from < longer)
		ret_fork->different += longer - all_from;
	return 0;
}

static bool differs(const struct wa_compare_fork *fork)
{
	return fork->different > 0 || fork->is_there[A] != fork->is_there[B] || fork->blocks[A] != fork->blocks[B];
}

/* 1 when it differs. */
static int count_relation(struct compare *compare, const struct cmp_rel *rel, struct wa_compare_relation *relation)
{
	bool any = false;
	*relation = (struct wa_compare_relation){.rel = rel->rel};
	for (uint32_t fork = 0; fork < WA_FORKS; fork++) {
		int error = count_fork(compare, rel, fork, &relation->forks[fork]);
		if (error != 0)
			return error;
	}
	/* After replay an unlogged relation is a copy of its init fork. */
	const struct wa_compare_fork *init = &relation->forks[WA_FORK_INIT];
	bool is_copy = compare->sides[A].is_point && compare->sides[B].is_point && init->is_there[A] && init->is_there[B];
	if (is_copy)
		relation->forks[WA_FORK_MAIN].different = init->different;
	for (uint32_t fork = 0; fork < WA_FORKS; fork++) {
		relation->different += relation->forks[fork].different;
		any = any || differs(&relation->forks[fork]);
	}
	cmp_path(compare, &(struct wa_block){.rel = rel->rel}, relation->path);
	return any;
}

static int by_difference(const void *a, const void *b)
{
	const struct wa_compare_relation *x = a, *y = b;
	if (x->different != y->different)
		return x->different > y->different ? -1 : 1;
	return strcmp(x->path, y->path);
}

static int count_all(struct compare *compare, struct wa_comparison *comparison)
{
	struct cmp_rel *rel, *next;
	comparison->relations = calloc(HASH_COUNT(compare->rels) + 1, sizeof(*comparison->relations));
	if (comparison->relations == NULL)
		return -ENOMEM;
	HASH_ITER(hh, compare->rels, rel, next)
	{
		struct wa_compare_relation *relation = &comparison->relations[comparison->count];
		int status = count_relation(compare, rel, relation);
		if (status < 0)
			return status;
		comparison->count += (size_t)status;
		comparison->different += status > 0 ? relation->different : 0;
	}
	if (comparison->count > 0)
		qsort(comparison->relations, comparison->count, sizeof(*comparison->relations), by_difference);
	comparison->has_points = compare->has_points;
	comparison->other_files = compare->other_files;
	return 0;
}

/* Names as the side shows them, where they are not known yet. */
static int fill_names(struct compare *compare, enum wa_compare_side s, struct wa_comparison *comparison)
{
	struct cmp_names *names = NULL;
	int error = 0;
	for (size_t i = 0; i < comparison->count && error == 0; i++) {
		struct wa_compare_relation *relation = &comparison->relations[i];
		bool is_there = false;
		for (uint32_t fork = 0; fork < WA_FORKS; fork++)
			is_there = is_there || relation->forks[fork].is_there[s];
		if (!is_there || relation->name[0] != '\0')
			continue;
		if (names == NULL)
			error = cmp_names_open(compare, &compare->sides[s], &names);
		if (error == 0)
			error = cmp_names_fill(names, relation);
	}
	cmp_names_close(names);
	return error;
}

/* ----------------------------------------------------------------- sides */

static int read_control(struct compare *compare, const struct wa_compare_point *point, struct message message)
{
	struct wa_control control;
	int major;
	int error = wh_control(compare->store, point->is_point ? point->base.view : point->view, &control, &major, message.text,
			       message.size);
	if (error != 0)
		return error;
	if (compare->segment_blocks != 0 && compare->segment_blocks != control.segment_blocks)
		return wh_say(message.text, message.size, -EINVAL, "the two have relation files of different lengths");
	compare->segment_blocks = control.segment_blocks;
	snprintf(compare->space_directory, sizeof(compare->space_directory), "PG_%d_%u", major, control.catalog);
	return 0;
}

static int nothing(struct compare *compare, uint32_t spc, uint32_t db, void *arg)
{
	(void)compare;
	(void)spc;
	(void)db;
	(void)arg;
	return 0;
}

/* Hold the view. */
static int open_side(struct compare *compare, const struct wa_compare_point *point, struct cmp_side *side, struct message message)
{
	*side = (struct cmp_side){.view = point->is_point ? point->base.view : point->view, .is_point = point->is_point};
	int error = bd_root(compare->store, side->view, &side->root);
	if (error == 0)
		error = read_control(compare, point, message);
	if (error == 0 && side->is_point) {
		compare->has_points = true;
		error = cmp_databases(compare, side->view, nothing, NULL);
		if (error == -ENOTSUP)
			wh_say(message.text, message.size, error,
			       "a tablespace lies outside of the branch, so what it was is not known");
	}
	return error;
}

/* WAL and index of the points. Two of one base look at the same, up to where they are. */
static int open_ranges(struct compare *compare, struct wa_lazy *lazy, const struct wa_compare_point points[WA_COMPARE_SIDES],
		       struct wa_lazy_layer *layers[WA_COMPARE_SIDES], struct message message)
{
	bool is_shared = points[A].is_point && points[B].is_point && same_view(points[A].base.view, points[B].base.view);
	enum wa_compare_side later = is_shared && points[A].lsn.v > points[B].lsn.v ? A : B;
	for (unsigned s = 0; s < WA_COMPARE_SIDES; s++) {
		if (!points[s].is_point || (is_shared && s != later))
			continue;
		int error = lz_begin(lazy, &points[s].base, points[s].lsn, false, &layers[s], message.text, message.size);
		if (error != 0)
			return error;
		error = lz_layer_range(layers[s], &compare->sides[s].range);
		if (error != 0)
			return wh_say(message.text, message.size, error, "the index of the WAL cannot be read: %s", strerror(-error));
	}
	if (is_shared) {
		compare->sides[1 - later].range = compare->sides[later].range;
		compare->sides[1 - later].range.to = points[1 - later].lsn;
	}
	return 0;
}

static void free_all(struct compare *compare)
{
	struct cmp_blocks *blocks, *next_blocks;
	struct cmp_rel *rel, *next_rel;
	HASH_ITER(hh, compare->blocks, blocks, next_blocks)
	{
		HASH_DEL(compare->blocks, blocks);
		free(blocks->bits);
		free(blocks);
	}
	HASH_ITER(hh, compare->rels, rel, next_rel)
	{
		HASH_DEL(compare->rels, rel);
		free(rel);
	}
	for (unsigned s = 0; s < WA_COMPARE_SIDES; s++)
		if (compare->sides[s].root != NULL)
			bd_inode_unref(compare->sides[s].root, 1);
	free(compare);
}

static int compare_sides(struct compare *compare, struct wa_comparison *comparison)
{
	int error = collect(compare);
	if (error == 0)
		error = count_all(compare, comparison);
	if (error == 0)
		error = fill_names(compare, B, comparison);
	return error == 0 ? fill_names(compare, A, comparison) : error;
}

int wa_compare(struct bd_store *store, struct wa_lazy *lazy, const struct wa_compare_point points[WA_COMPARE_SIDES],
	       struct wa_comparison **ret_comparison, char *ret_message, size_t message_size)
{
	struct message message = {ret_message, message_size};
	struct wa_lazy_layer *layers[WA_COMPARE_SIDES] = {NULL, NULL};
	struct compare *compare = calloc(1, sizeof(*compare));
	struct wa_comparison *comparison = calloc(1, sizeof(*comparison));
	int error = compare != NULL && comparison != NULL ? 0 : -ENOMEM;
	ret_message[0] = '\0';
	if (error == 0)
		compare->store = store;
	for (unsigned s = 0; s < WA_COMPARE_SIDES && error == 0; s++)
		error = open_side(compare, &points[s], &compare->sides[s], message);
	if (error == 0)
		error = open_ranges(compare, lazy, points, layers, message);
	if (error == 0)
		error = compare_sides(compare, comparison);
	if (error != 0 && ret_message[0] == '\0')
		wh_say(ret_message, message_size, error, "%s",
		       compare != NULL && compare->why.text[0] != '\0' ? compare->why.text : strerror(-error));
	if (compare != NULL)
		free_all(compare);
	for (unsigned s = 0; s < WA_COMPARE_SIDES; s++)
		wa_lazy_end(layers[s], false);
	if (error != 0) {
		wa_comparison_free(comparison);
		return error;
	}
	*ret_comparison = comparison;
	return 0;
}

void wa_comparison_free(struct wa_comparison *comparison)
{
	if (comparison == NULL)
		return;
	free(comparison->relations);
	free(comparison);
}
