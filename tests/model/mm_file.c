/* Content and extended attributes of the model's inodes.
 *
 * A block holds zeros behind the end of the file, so growing a file needs no work. A block without a
 * slot is certainly a hole; a slot whose block is all zeros may be either in the store. */
#include "mm.h"

#include <stdlib.h>
#include <string.h>

/* Index of the first slot at or behind `blkno`. */
static size_t slot_search(const struct mm_inode *inode, uint64_t blkno)
{
	size_t low = 0, high = inode->slot_count;

	while (low < high) {
		size_t mid = (low + high) / 2;
		if (inode->slots[mid].blkno < blkno)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct mm_blob *mm_block(const struct mm_inode *inode, uint64_t blkno)
{
	size_t at = slot_search(inode, blkno);

	return at < inode->slot_count && inode->slots[at].blkno == blkno ? inode->slots[at].block : NULL;
}

void mm_block_set(struct mm_inode *inode, uint64_t blkno, struct mm_blob *block)
{
	size_t at = slot_search(inode, blkno);
	bool there = at < inode->slot_count && inode->slots[at].blkno == blkno;

	if (there) {
		mm_blob_unref(inode->slots[at].block);
		if (block != NULL) {
			inode->slots[at].block = block;
			return;
		}
		inode->slot_count--;
		memmove(&inode->slots[at], &inode->slots[at + 1], (inode->slot_count - at) * sizeof(*inode->slots));
		return;
	}
	if (block == NULL)
		return;
	inode->slots = realloc(inode->slots, (inode->slot_count + 1) * sizeof(*inode->slots));
	if (inode->slots == NULL)
		abort();
	memmove(&inode->slots[at + 1], &inode->slots[at], (inode->slot_count - at) * sizeof(*inode->slots));
	inode->slots[at] = (struct mm_slot){.blkno = blkno, .block = block};
	inode->slot_count++;
}

/* Replace part of one block: the new bytes, or zeros when `bytes` is NULL. */
static void patch(struct mm_inode *inode, uint64_t blkno, size_t from, size_t size, const uint8_t *bytes)
{
	struct mm_blob *old = mm_block(inode, blkno);
	struct mm_blob *new = mm_blob_new(old != NULL ? old->bytes : NULL, MM_BLOCK);

	if (bytes != NULL)
		memcpy(new->bytes + from, bytes, size);
	else
		memset(new->bytes + from, 0, size);
	mm_block_set(inode, blkno, new);
}

/* Zeros into a part of a block. A hole stays one or becomes a block of zeros: either is right. */
static void zero_part(struct mm_inode *inode, uint64_t blkno, size_t from, size_t size)
{
	if (mm_block(inode, blkno) == NULL)
		mm_block_set(inode, blkno, mm_blob_ref(mm_zero_block()));
	else
		patch(inode, blkno, from, size, NULL);
}

void mm_write(struct mm_inode *inode, uint64_t offset, const void *bytes, size_t size)
{
	const uint8_t *from = bytes;

	if (size > 0 && offset + size > inode->size_bytes)
		inode->size_bytes = offset + size;
	while (size > 0) {
		size_t in_block = offset % MM_BLOCK;
		size_t part = NF_MIN(size, MM_BLOCK - in_block);
		patch(inode, offset / MM_BLOCK, in_block, part, from);
		offset += part;
		from += part;
		size -= part;
	}
}

void mm_zero(struct mm_inode *inode, uint64_t offset, uint64_t size, bool hole)
{
	uint64_t end = offset + size;

	if (offset >= inode->size_bytes)
		return;
	/* The rest of the last block is zero already: to the end of the file is to the end of its block. */
	if (end >= inode->size_bytes)
		end = nf_round_up(inode->size_bytes, MM_BLOCK);
	while (offset < end) {
		uint64_t blkno = offset / MM_BLOCK;
		size_t in_block = offset % MM_BLOCK;
		size_t part = NF_MIN(end - offset, MM_BLOCK - in_block);
		size_t at = slot_search(inode, blkno);
		if (part < MM_BLOCK) {
			zero_part(inode, blkno, in_block, part);
		} else if (!hole) {
			mm_block_set(inode, blkno, mm_blob_ref(mm_zero_block()));
		} else if (at < inode->slot_count && inode->slots[at].blkno == blkno) {
			mm_block_set(inode, blkno, NULL);
		} else { /* on to the next block that is not a hole yet, or to the part at the end */
			uint64_t next = at < inode->slot_count ? inode->slots[at].blkno : UINT64_MAX;
			offset = NF_MIN(next, end / MM_BLOCK) * MM_BLOCK;
			continue;
		}
		offset += part;
	}
}

void mm_truncate(struct mm_inode *inode, uint64_t size)
{
	if (size < inode->size_bytes) {
		uint64_t whole = nf_round_up(size, MM_BLOCK);
		if (size < whole)
			zero_part(inode, size / MM_BLOCK, size % MM_BLOCK, whole - size);
		while (inode->slot_count > 0 && inode->slots[inode->slot_count - 1].blkno >= whole / MM_BLOCK)
			mm_block_set(inode, inode->slots[inode->slot_count - 1].blkno, NULL);
	}
	inode->size_bytes = size;
}

size_t mm_read(const struct mm_inode *inode, uint64_t offset, void *buf, size_t size)
{
	uint8_t *to = buf;
	size_t total;

	if (offset >= inode->size_bytes)
		return 0;
	total = size = NF_MIN(size, inode->size_bytes - offset);
	while (size > 0) {
		size_t in_block = offset % MM_BLOCK;
		size_t part = NF_MIN(size, MM_BLOCK - in_block);
		const struct mm_blob *block = mm_block(inode, offset / MM_BLOCK);
		if (block != NULL)
			memcpy(to, block->bytes + in_block, part);
		else
			memset(to, 0, part);
		to += part;
		offset += part;
		size -= part;
	}
	return total;
}

static bool same_block(const struct mm_blob *a, const struct mm_blob *b)
{
	a = a != NULL ? a : mm_zero_block();
	b = b != NULL ? b : mm_zero_block();
	return mm_blob_same(a, b);
}

bool mm_same_content(const struct mm_inode *a, const struct mm_inode *b)
{
	size_t i;

	if (a->size_bytes != b->size_bytes)
		return false;
	for (i = 0; i < a->slot_count; i++)
		if (!same_block(a->slots[i].block, mm_block(b, a->slots[i].blkno)))
			return false;
	for (i = 0; i < b->slot_count; i++)
		if (!same_block(b->slots[i].block, mm_block(a, b->slots[i].blkno)))
			return false;
	return true;
}

/* ---- extended attributes ---- */

static size_t xattr_search(const struct mm_inode *inode, const char *name)
{
	size_t at = 0;

	while (at < inode->xattr_count && strcmp((const char *)inode->xattrs[at].name->bytes, name) < 0)
		at++;
	return at;
}

static bool xattr_at(const struct mm_inode *inode, size_t at, const char *name)
{
	return at < inode->xattr_count && strcmp((const char *)inode->xattrs[at].name->bytes, name) == 0;
}

struct mm_blob *mm_xattr_get(const struct mm_inode *inode, const char *name)
{
	size_t at = xattr_search(inode, name);

	return xattr_at(inode, at, name) ? inode->xattrs[at].value : NULL;
}

void mm_xattr_set(struct mm_inode *inode, const char *name, const void *value, size_t size)
{
	size_t at = xattr_search(inode, name);

	if (xattr_at(inode, at, name)) {
		mm_blob_unref(inode->xattrs[at].value);
	} else {
		inode->xattrs = realloc(inode->xattrs, (inode->xattr_count + 1) * sizeof(*inode->xattrs));
		if (inode->xattrs == NULL)
			abort();
		memmove(&inode->xattrs[at + 1], &inode->xattrs[at], (inode->xattr_count - at) * sizeof(*inode->xattrs));
		inode->xattrs[at].name = mm_blob_text(name);
		inode->xattr_count++;
	}
	inode->xattrs[at].value = mm_blob_new(value, size);
}

void mm_xattr_remove(struct mm_inode *inode, const char *name)
{
	size_t at = xattr_search(inode, name);

	assert(xattr_at(inode, at, name));
	mm_blob_unref(inode->xattrs[at].name);
	mm_blob_unref(inode->xattrs[at].value);
	inode->xattr_count--;
	memmove(&inode->xattrs[at], &inode->xattrs[at + 1], (inode->xattr_count - at) * sizeof(*inode->xattrs));
}

bool mm_same_xattrs(const struct mm_inode *a, const struct mm_inode *b)
{
	if (a->xattr_count != b->xattr_count)
		return false;
	for (size_t i = 0; i < a->xattr_count; i++)
		if (!mm_blob_same(a->xattrs[i].name, b->xattrs[i].name) ||
		    !mm_blob_same(a->xattrs[i].value, b->xattrs[i].value))
			return false;
	return true;
}
