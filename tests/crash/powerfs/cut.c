/* The power cut: what is not durable survives, vanishes or tears, each change for itself, by seed.
 *
 * A disk may also lose everything it has not flushed, or keep nearly everything in the wrong order, so a cut
 * has a mood, again by seed:
 *   mixed   names, sizes and writes each at random                   (6 of 10)
 *   lost    nothing survives that was not synced                     (2 of 10)
 *   torn    names and sizes survive; writes are kept or torn         (2 of 10)
 *
 * A write's fate is a function of the seed and its number, so that all its sectors share it; a torn write decides
 * sector by sector. */
#include "powerfs.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum mood { MOOD_MIXED, MOOD_LOST, MOOD_TORN };
static const char *const mood_names[] = {"mixed", "lost", "torn"};
enum fate { FATE_KEPT, FATE_DROPPED, FATE_TORN };

struct cut {
	uint64_t seed, draws;
	enum mood mood;
	struct pf_cut_report *report;
};

/* splitmix64: a well-mixed function of the seed and what is decided. */
static uint64_t mix(uint64_t seed, uint64_t what)
{
	uint64_t z = seed + (what + 1) * UINT64_C(0x9E3779B97F4A7C15);

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

static uint64_t draw(struct cut *cut, uint64_t below)
{
	return mix(cut->seed ^ UINT64_C(0xC0FFEE), cut->draws++) % below;
}

static bool keep_name(void *arg)
{
	struct cut *cut = arg;

	return cut->mood == MOOD_TORN || (cut->mood == MOOD_MIXED && draw(cut, 2) == 0);
}

static enum fate write_fate(const struct cut *cut, uint32_t write_id)
{
	uint64_t roll = mix(cut->seed, write_id) % 16;

	switch (cut->mood) {
	case MOOD_LOST:
		return FATE_DROPPED;
	case MOOD_TORN:
		return roll < 10 ? FATE_KEPT : FATE_TORN;
	default:
		return roll < 6 ? FATE_KEPT : roll < 12 ? FATE_DROPPED : FATE_TORN;
	}
}

static bool sector_kept(const struct cut *cut, uint64_t node_id, uint64_t sector, uint32_t write_id)
{
	switch (write_fate(cut, write_id)) {
	case FATE_KEPT:
		return true;
	case FATE_DROPPED:
		return false;
	default:
		return mix(cut->seed ^ mix(write_id, node_id), sector) & 1;
	}
}

/* Where the file ends: as durable, as live, or, when it grew, anywhere between. */
static uint64_t choose_size(struct cut *cut, uint64_t durable, uint64_t live)
{
	if (durable == live)
		return live;
	if (cut->mood == MOOD_TORN || (cut->mood == MOOD_MIXED && draw(cut, 3) == 0)) {
		cut->report->sizes_kept++;
		return live;
	}
	cut->report->sizes_dropped++;
	if (cut->mood == MOOD_LOST || live < durable || draw(cut, 2) == 0)
		return durable;
	return durable + draw(cut, live - durable) / PF_SECTOR * PF_SECTOR;
}

static int put_back(int fd, const uint8_t *old, uint64_t offset)
{
	static const uint8_t zeros[PF_SECTOR];
	ssize_t done = pwrite(fd, old ? old : zeros, PF_SECTOR, (off_t)offset);

	return done == PF_SECTOR ? 0 : done < 0 ? -errno : -EIO;
}

static int cut_page(struct cut *cut, struct pf_node *node, const struct pf_page *page, uint64_t offset, uint64_t size)
{
	for (unsigned i = 0; i < PF_SECTORS_PER_PAGE; i++) {
		uint64_t at = offset + (uint64_t)i * PF_SECTOR;
		int err;

		if (!(page->changed & (1u << i)) || at >= size)
			continue;
		if (sector_kept(cut, node->id, at / PF_SECTOR, page->write_id[i])) {
			cut->report->sectors_kept++;
			continue;
		}
		if (write_fate(cut, page->write_id[i]) == FATE_TORN)
			cut->report->sectors_torn++;
		cut->report->sectors_dropped++;
		err = put_back(node->fd, page->old ? page->old + (size_t)i * PF_SECTOR : NULL, at);
		if (err)
			return err;
	}
	return 0;
}

static int cut_file(struct cut *cut, struct pf_node *node)
{
	struct stat st;
	uint64_t size;

	if (fstat(node->fd, &st) != 0)
		return -errno;
	size = choose_size(cut, node->durable_size, (uint64_t)st.st_size);
	for (size_t leaf = 0; leaf < node->undo.leaf_count; leaf++) {
		if (!node->undo.leaves[leaf])
			continue;
		for (size_t p = 0; p < PF_LEAF_PAGES; p++) {
			int err = cut_page(cut, node, &node->undo.leaves[leaf]->pages[p],
					   ((uint64_t)leaf * PF_LEAF_PAGES + p) * PF_PAGE, size);

			if (err)
				return err;
		}
	}
	pf_undo_clear(&node->undo);
	node->durable_size = size;
	return ftruncate(node->fd, (off_t)size) == 0 ? 0 : -errno;
}

int pf_lose_unsynced(struct pf_node *node, uint64_t seed)
{
	struct pf_cut_report report = {0};
	struct cut cut = {.seed = seed, .mood = MOOD_MIXED, .report = &report};

	return cut_file(&cut, node);
}

int pf_cut(uint64_t seed, struct pf_cut_report *ret_report)
{
	struct cut cut = {.seed = seed, .report = ret_report};
	uint64_t roll = mix(seed, UINT64_MAX) % 10;

	*ret_report = (struct pf_cut_report){0};
	cut.mood = roll < 6 ? MOOD_MIXED : roll < 8 ? MOOD_LOST : MOOD_TORN;
	ret_report->mood = mood_names[cut.mood];
	for (struct pf_node *node = pf.nodes; node; node = node->next) {
		int err = node->fd >= 0 ? cut_file(&cut, node) : 0;

		if (err)
			return err;
	}
	pf_resolve_changes(keep_name, &cut, &ret_report->names_kept, &ret_report->names_dropped);
	return pf_image_save();
}
