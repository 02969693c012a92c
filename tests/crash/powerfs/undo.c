/* The undo of a file's data: a two-level table from page number to the page's last durable bytes.
 * A page is copied whole when its first sector changes; its other sectors are the same until they are
 * changed as well, so one copy serves all eight. Guarded by the node's lock. */
#include "powerfs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEAF_BYTES ((uint64_t)PF_LEAF_PAGES * PF_PAGE)

static uint64_t memory_bytes;	/* atomic */

uint64_t pf_undo_memory(void)
{
	return __atomic_load_n(&memory_bytes, __ATOMIC_RELAXED);
}

static struct pf_page *page_at(struct pf_undo *undo, uint64_t page_number)
{
	size_t leaf = page_number / PF_LEAF_PAGES;

	if (leaf >= undo->leaf_count || !undo->leaves[leaf])
		return NULL;
	return &undo->leaves[leaf]->pages[page_number % PF_LEAF_PAGES];
}

static struct pf_page *page_make(struct pf_undo *undo, uint64_t page_number)
{
	size_t leaf = page_number / PF_LEAF_PAGES;

	if (leaf >= undo->leaf_count) {
		size_t count = leaf + leaf / 2 + 8;
		struct pf_leaf **leaves = realloc(undo->leaves, count * sizeof(*leaves));

		if (!leaves)
			return NULL;
		memset(leaves + undo->leaf_count, 0, (count - undo->leaf_count) * sizeof(*leaves));
		undo->leaves = leaves;
		undo->leaf_count = count;
	}
	if (!undo->leaves[leaf]) {
		undo->leaves[leaf] = calloc(1, sizeof(struct pf_leaf));
		if (!undo->leaves[leaf])
			return NULL;
		__atomic_add_fetch(&memory_bytes, sizeof(struct pf_leaf), __ATOMIC_RELAXED);
	}
	return &undo->leaves[leaf]->pages[page_number % PF_LEAF_PAGES];
}

static void page_drop_old(struct pf_page *page)
{
	if (page->old)
		__atomic_sub_fetch(&memory_bytes, PF_PAGE, __ATOMIC_RELAXED);
	free(page->old);
	page->old = NULL;
}

/* Copy what the page holds now; all zeros need no copy. */
static int page_capture(struct pf_page *page, int fd, uint64_t durable_size, uint64_t offset)
{
	uint8_t bytes[PF_PAGE];
	ssize_t got = 0;

	if (offset < durable_size) {
		got = pread(fd, bytes, sizeof(bytes), (off_t)offset);
		if (got < 0)
			return -errno;
	}
	memset(bytes + got, 0, sizeof(bytes) - (size_t)got);
	if (bytes[0] == 0 && memcmp(bytes, bytes + 1, sizeof(bytes) - 1) == 0) {
		page_drop_old(page);
		return 0;
	}
	if (!page->old) {
		page->old = malloc(PF_PAGE);
		if (!page->old)
			return -ENOMEM;
		__atomic_add_fetch(&memory_bytes, PF_PAGE, __ATOMIC_RELAXED);
	}
	memcpy(page->old, bytes, PF_PAGE);
	return 0;
}

/* Bits of the sectors of the page at `page_offset` that [offset, end) touches. */
static uint8_t sectors_touched(uint64_t page_offset, uint64_t offset, uint64_t end)
{
	uint8_t bits = 0;

	for (unsigned i = 0; i < PF_SECTORS_PER_PAGE; i++) {
		uint64_t sector = page_offset + (uint64_t)i * PF_SECTOR;

		if (sector < end && sector + PF_SECTOR > offset)
			bits |= (uint8_t)(1u << i);
	}
	return bits;
}

int pf_undo_note(struct pf_undo *undo, int fd, uint64_t durable_size, uint64_t offset, uint64_t size,
		 uint32_t write_id, bool refresh)
{
	uint64_t end = offset + size;

	for (uint64_t at = offset / PF_PAGE * PF_PAGE; at < end; at += PF_PAGE) {
		struct pf_page *page = page_make(undo, at / PF_PAGE);
		uint8_t bits = sectors_touched(at, offset, end);

		if (!page)
			return -ENOMEM;
		if (!page->changed || refresh) {
			int err = page_capture(page, fd, refresh ? UINT64_MAX : durable_size, at);

			if (err)
				return err;
		}
		page->changed |= bits;
		for (unsigned i = 0; i < PF_SECTORS_PER_PAGE; i++)
			if (bits & (1u << i))
				page->write_id[i] = write_id;
	}
	return 0;
}

int pf_undo_forget(struct pf_undo *undo, int fd, uint64_t offset, uint64_t size)
{
	uint64_t end = offset + size;

	for (uint64_t at = offset / PF_PAGE * PF_PAGE; at < end; at += PF_PAGE) {
		struct pf_page *page = page_at(undo, at / PF_PAGE), now = {0};
		uint8_t bits = sectors_touched(at, offset, end);
		int err;

		if (!page || !page->changed)
			continue;
		page->changed &= (uint8_t)~bits;
		if (!page->changed) {
			page_drop_old(page);
			continue;
		}
		/* The copy stays for the page's other sectors; in these it now has to be what became durable. */
		err = page_capture(&now, fd, UINT64_MAX, at);
		if (err)
			return err;
		if (now.old || page->old) {
			for (unsigned i = 0; i < PF_SECTORS_PER_PAGE; i++) {
				size_t from = (size_t)i * PF_SECTOR;

				if (bits & (1u << i))
					continue;
				if (!now.old) {
					now.old = calloc(1, PF_PAGE);
					if (!now.old)
						return -ENOMEM;
					__atomic_add_fetch(&memory_bytes, PF_PAGE, __ATOMIC_RELAXED);
				}
				if (page->old)
					memcpy(now.old + from, page->old + from, PF_SECTOR);
				else
					memset(now.old + from, 0, PF_SECTOR);
			}
			page_drop_old(page);
			page->old = now.old;
		}
	}
	return 0;
}

void pf_undo_clear(struct pf_undo *undo)
{
	for (size_t i = 0; i < undo->leaf_count; i++) {
		struct pf_leaf *leaf = undo->leaves[i];

		if (!leaf)
			continue;
		for (size_t p = 0; p < PF_LEAF_PAGES; p++)
			page_drop_old(&leaf->pages[p]);
		free(leaf);
		__atomic_sub_fetch(&memory_bytes, sizeof(struct pf_leaf), __ATOMIC_RELAXED);
	}
	free(undo->leaves);
	*undo = (struct pf_undo){0};
}
