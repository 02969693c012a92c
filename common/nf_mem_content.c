/* File content of the memory backend: see nf_mem_content.h.
 *
 * The table has two levels: an array of chunks, each of CHUNK_PAGES page pointers (2 MiB of file). A
 * pointer is NULL for a hole, &zero_page for allocated space that is all zeros, else a counted page.
 * Invariant: bytes past the size of a content are zeros. */
#include "common/nf_mem_content.h"

#include <stdlib.h>
#include <string.h>

#include "common/nf_log.h"

#define CHUNK_PAGES 512u
#define CHUNK_SIZE ((uint64_t)CHUNK_PAGES * NF_MEM_PAGE)
#define SECTORS_PER_PAGE (NF_MEM_PAGE / NF_MEM_SECTOR)
#define ALL_SECTORS ((1u << SECTORS_PER_PAGE) - 1)

struct nf_mem_page {
	uint32_t refs;
	uint8_t data[NF_MEM_PAGE];
};

struct nf_mem_chunk {
	struct nf_mem_page *pages[CHUNK_PAGES];
};

static struct nf_mem_page zero_page; /* not counted, never written */

/* ---- helpers ---- */

uint64_t nf_mem_random_next(struct nf_mem_random *random)
{
	uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t nf_mem_random_below(struct nf_mem_random *random, uint64_t limit)
{
	return nf_mem_random_next(random) % limit;
}

static void *check_memory(void *memory)
{
	if (memory == NULL) {
		nf_error("memory backend: out of memory; run a smaller test");
		abort();
	}
	return memory;
}

void *nf_mem_alloc(size_t size)
{
	return check_memory(malloc(size));
}

char *nf_mem_strdup(const char *text)
{
	return check_memory(strdup(text));
}

/* ---- pages ---- */

/* Of one reference; the data is not set. */
static struct nf_mem_page *page_new(void)
{
	struct nf_mem_page *page = nf_mem_alloc(sizeof(*page));

	page->refs = 1;
	return page;
}

static struct nf_mem_page *page_ref(struct nf_mem_page *page)
{
	if (page != NULL && page != &zero_page)
		page->refs++;
	return page;
}

static void page_unref(struct nf_mem_page *page)
{
	if (page != NULL && page != &zero_page && --page->refs == 0)
		free(page);
}

static const uint8_t *page_bytes(const struct nf_mem_page *page)
{
	return page != NULL ? page->data : zero_page.data;
}

/* ---- the table ---- */

static struct nf_mem_page *get_page(const struct nf_mem_content *content, uint64_t index)
{
	uint64_t c = index / CHUNK_PAGES;

	if (c >= content->chunk_count || content->chunks[c] == NULL)
		return NULL;
	return content->chunks[c]->pages[index % CHUNK_PAGES];
}

static void grow_table(struct nf_mem_content *content, uint64_t chunk_count)
{
	uint64_t wanted = NF_MAX(chunk_count, content->chunk_count * 2);

	content->chunks = check_memory(realloc(content->chunks, wanted * sizeof(content->chunks[0])));
	memset(content->chunks + content->chunk_count, 0, (wanted - content->chunk_count) * sizeof(content->chunks[0]));
	content->chunk_count = wanted;
}

/* Takes over the caller's reference; NULL makes a hole. */
static void set_page(struct nf_mem_content *content, uint64_t index, struct nf_mem_page *page)
{
	uint64_t c = index / CHUNK_PAGES;

	if (c >= content->chunk_count) {
		if (page == NULL)
			return;
		grow_table(content, c + 1);
	}
	if (content->chunks[c] == NULL) {
		if (page == NULL)
			return;
		content->chunks[c] = check_memory(calloc(1, sizeof(*content->chunks[c])));
	}
	struct nf_mem_page **slot = &content->chunks[c]->pages[index % CHUNK_PAGES];
	content->allocated += (page != NULL);
	content->allocated -= (*slot != NULL);
	page_unref(*slot);
	*slot = page;
}

void nf_mem_content_clear(struct nf_mem_content *content)
{
	for (uint64_t c = 0; c < content->chunk_count; c++) {
		if (content->chunks[c] == NULL)
			continue;
		for (unsigned i = 0; i < CHUNK_PAGES; i++)
			page_unref(content->chunks[c]->pages[i]);
		free(content->chunks[c]);
	}
	free(content->chunks);
	*content = (struct nf_mem_content){0};
}

void nf_mem_content_copy(struct nf_mem_content *to, const struct nf_mem_content *from)
{
	assert(to->chunk_count == 0);
	for (uint64_t c = 0; c < from->chunk_count; c++)
		for (unsigned i = 0; from->chunks[c] != NULL && i < CHUNK_PAGES; i++)
			set_page(to, c * CHUNK_PAGES + i, page_ref(from->chunks[c]->pages[i]));
	to->size = from->size;
}

void nf_mem_content_read(const struct nf_mem_content *content, uint64_t offset, void *buf, size_t size)
{
	assert(offset + size <= nf_round_up(content->size, NF_MEM_PAGE));
	for (size_t at = 0; at < size; at += NF_MEM_PAGE)
		memcpy((uint8_t *)buf + at, page_bytes(get_page(content, (offset + at) / NF_MEM_PAGE)), NF_MEM_PAGE);
}

/* The first and one past the last page that [offset, offset + size) touches. */
static uint64_t first_page(uint64_t offset)
{
	return offset / NF_MEM_PAGE;
}

static uint64_t end_page(uint64_t offset, uint64_t size)
{
	return (offset + size + NF_MEM_PAGE - 1) / NF_MEM_PAGE;
}

uint64_t nf_mem_content_holes(const struct nf_mem_content *content, uint64_t offset, uint64_t size)
{
	uint64_t holes = 0;

	for (uint64_t i = first_page(offset); i < end_page(offset, size); i++)
		holes += get_page(content, i) == NULL;
	return holes;
}

/* ---- changes ---- */

struct nf_mem_change *nf_mem_change_write(uint64_t offset, const void *bytes, size_t size)
{
	uint64_t count = size / NF_MEM_PAGE;
	struct nf_mem_change *change = nf_mem_alloc(sizeof(*change) + count * sizeof(change->pages[0]));

	*change = (struct nf_mem_change){.kind = NF_MEM_WRITE, .offset = offset, .size = size, .page_count = count};
	for (uint64_t i = 0; i < count; i++) {
		const uint8_t *from = (const uint8_t *)bytes + i * NF_MEM_PAGE;
		change->pages[i] = &zero_page;
		if (memcmp(from, zero_page.data, NF_MEM_PAGE) != 0) {
			change->pages[i] = page_new();
			memcpy(change->pages[i]->data, from, NF_MEM_PAGE);
		}
	}
	return change;
}

struct nf_mem_change *nf_mem_change_range(enum nf_mem_change_kind kind, uint64_t offset, uint64_t size)
{
	struct nf_mem_change *change = nf_mem_alloc(sizeof(*change));

	*change = (struct nf_mem_change){.kind = kind, .offset = offset, .size = size};
	return change;
}

void nf_mem_change_free(struct nf_mem_change *change)
{
	for (uint64_t i = 0; i < change->page_count; i++)
		page_unref(change->pages[i]);
	free(change);
}

/* Put the chosen sectors of `page` over what is there. */
static void write_sectors(struct nf_mem_content *content, uint64_t index, struct nf_mem_page *page, unsigned sectors)
{
	if (sectors == 0)
		return;
	if (sectors == ALL_SECTORS) {
		set_page(content, index, page_ref(page));
		return;
	}
	struct nf_mem_page *mixed = page_new();
	memcpy(mixed->data, page_bytes(get_page(content, index)), NF_MEM_PAGE);
	for (unsigned s = 0; s < SECTORS_PER_PAGE; s++)
		if (sectors & (1u << s))
			memcpy(mixed->data + s * NF_MEM_SECTOR, page->data + s * NF_MEM_SECTOR, NF_MEM_SECTOR);
	set_page(content, index, mixed);
}

static void allocate(struct nf_mem_content *content, uint64_t offset, uint64_t size)
{
	for (uint64_t i = first_page(offset); i < end_page(offset, size); i++)
		if (get_page(content, i) == NULL)
			set_page(content, i, &zero_page);
	content->size = NF_MAX(content->size, offset + size);
}

/* Zero a part of one page; the page stays allocated. */
static void zero_part(struct nf_mem_content *content, uint64_t offset, uint64_t size)
{
	struct nf_mem_page *old = get_page(content, offset / NF_MEM_PAGE);

	if (old == NULL || size == 0)
		return;
	struct nf_mem_page *page = page_new();
	memcpy(page->data, old->data, NF_MEM_PAGE);
	memset(page->data + offset % NF_MEM_PAGE, 0, size);
	set_page(content, offset / NF_MEM_PAGE, page);
}

static void punch(struct nf_mem_content *content, uint64_t offset, uint64_t size)
{
	uint64_t table_end = content->chunk_count * CHUNK_SIZE;
	uint64_t end = NF_MIN(offset + size, table_end);

	while (offset < end) {
		if (content->chunks[offset / CHUNK_SIZE] == NULL) {
			offset = (offset / CHUNK_SIZE + 1) * CHUNK_SIZE;
			continue;
		}
		uint64_t page_end = (offset / NF_MEM_PAGE + 1) * NF_MEM_PAGE;
		uint64_t part = NF_MIN(end, page_end) - offset;
		if (part == NF_MEM_PAGE)
			set_page(content, offset / NF_MEM_PAGE, NULL);
		else
			zero_part(content, offset, part);
		offset += part;
	}
}

static void truncate_to(struct nf_mem_content *content, uint64_t size)
{
	if (size < content->size)
		punch(content, size, NF_MEM_FILE_MAX);
	content->size = size;
}

void nf_mem_content_apply(struct nf_mem_content *content, const struct nf_mem_change *change)
{
	switch (change->kind) {
	case NF_MEM_WRITE:
		for (uint64_t i = 0; i < change->page_count; i++)
			write_sectors(content, change->offset / NF_MEM_PAGE + i, change->pages[i], ALL_SECTORS);
		content->size = NF_MAX(content->size, change->offset + change->size);
		break;
	case NF_MEM_ALLOCATE: allocate(content, change->offset, change->size); break;
	case NF_MEM_PUNCH: punch(content, change->offset, change->size); break;
	case NF_MEM_TRUNCATE: truncate_to(content, change->size); break;
	}
}

/* ---- tearing ---- */

enum tear { TEAR_HEAD_KEPT, TEAR_TAIL_KEPT, TEAR_SCATTERED, TEAR_COUNT };

static void write_torn(struct nf_mem_content *content, const struct nf_mem_change *change, struct nf_mem_random *random)
{
	enum tear tear = (enum tear)nf_mem_random_below(random, TEAR_COUNT);
	uint64_t sector_count = change->size / NF_MEM_SECTOR;
	uint64_t cut = 1 + nf_mem_random_below(random, sector_count - 1);
	uint64_t end = 0; /* one past the last sector that survives */

	for (uint64_t i = 0; i < change->page_count; i++) {
		unsigned sectors = 0;
		for (unsigned s = 0; s < SECTORS_PER_PAGE; s++) {
			uint64_t at = i * SECTORS_PER_PAGE + s;
			bool kept = tear == TEAR_HEAD_KEPT   ? at < cut
				    : tear == TEAR_TAIL_KEPT ? at >= cut
							     : nf_mem_random_below(random, 2) == 0;
			if (kept) {
				sectors |= 1u << s;
				end = at + 1;
			}
		}
		write_sectors(content, change->offset / NF_MEM_PAGE + i, change->pages[i], sectors);
	}
	if (end > 0)
		content->size = NF_MAX(content->size, change->offset + end * NF_MEM_SECTOR);
}

void nf_mem_content_apply_torn(struct nf_mem_content *content, const struct nf_mem_change *change, struct nf_mem_random *random)
{
	uint64_t sector_count = change->size / NF_MEM_SECTOR;

	if (change->kind == NF_MEM_TRUNCATE || sector_count < 2) {
		nf_mem_content_apply(content, change);
		return;
	}
	if (change->kind == NF_MEM_WRITE) {
		write_torn(content, change, random);
		return;
	}
	struct nf_mem_change head = *change; /* without the pages; these kinds have none */
	head.size = (1 + nf_mem_random_below(random, sector_count - 1)) * NF_MEM_SECTOR;
	nf_mem_content_apply(content, &head);
}

/* ---- corruption ---- */

void nf_mem_content_flip(struct nf_mem_content *content, struct nf_mem_content *other, struct nf_mem_change *changes,
			 uint64_t offset, unsigned bit)
{
	uint64_t index = offset / NF_MEM_PAGE;
	struct nf_mem_page *old = page_ref(get_page(content, index));
	struct nf_mem_page *bad = page_new();

	memcpy(bad->data, page_bytes(old), NF_MEM_PAGE);
	bad->data[offset % NF_MEM_PAGE] ^= (uint8_t)(1u << bit);
	if (get_page(other, index) == old)
		set_page(other, index, page_ref(bad));
	for (struct nf_mem_change *change = changes; change != NULL; change = change->next) {
		uint64_t first = change->offset / NF_MEM_PAGE;
		if (change->kind != NF_MEM_WRITE || index < first || index - first >= change->page_count ||
		    change->pages[index - first] != old)
			continue;
		page_unref(change->pages[index - first]);
		change->pages[index - first] = page_ref(bad);
	}
	set_page(content, index, bad);
	page_unref(old);
}
