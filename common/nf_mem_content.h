/* Private to common/: the content of a file in memory, and changes to it, for the memory backend.
 *
 * A content is a size and a sparse table of pages. A page never changes once it is in a table or a
 * change: a write puts new pages in place of the old ones. So the volatile content, the durable content and
 * the changes between them share pages, and a change costs one copy of its bytes.
 *
 * Out of memory ends the process: this serves tests only. Not thread-safe; the backend's lock guards all. */
#ifndef NF_MEM_CONTENT_H
#define NF_MEM_CONTENT_H

#include "common/nf_base.h"

#define NF_MEM_PAGE NF_IO_ALIGN
#define NF_MEM_SECTOR 512u /* what a device writes whole, or not at all */
#define NF_MEM_FILE_MAX (UINT64_C(1) << 40)

struct nf_mem_page;
struct nf_mem_chunk;

struct nf_mem_content {
	uint64_t size;
	uint64_t allocated; /* pages that are not holes */
	struct nf_mem_chunk **chunks;
	uint64_t chunk_count;
};

enum nf_mem_change_kind { NF_MEM_WRITE, NF_MEM_ALLOCATE, NF_MEM_PUNCH, NF_MEM_TRUNCATE };

struct nf_mem_change {
	struct nf_mem_change *next;
	enum nf_mem_change_kind kind;
	uint64_t offset; /* NF_MEM_WRITE: a multiple of NF_MEM_PAGE, as is size */
	uint64_t size; /* NF_MEM_TRUNCATE: the new size of the file */
	uint64_t page_count;
	struct nf_mem_page *pages[]; /* NF_MEM_WRITE: what was written */
};

/* A stream of numbers that a seed decides (splitmix64). */
struct nf_mem_random {
	uint64_t state;
};
uint64_t nf_mem_random_next(struct nf_mem_random *random);
/* In [0, limit). */
uint64_t nf_mem_random_below(struct nf_mem_random *random, uint64_t limit);

/* malloc and strdup that do not fail. free() the result. */
void *nf_mem_alloc(size_t size);
char *nf_mem_strdup(const char *text);

/* `bytes` is copied. The caller frees the change. */
struct nf_mem_change *nf_mem_change_write(uint64_t offset, const void *bytes, size_t size);
struct nf_mem_change *nf_mem_change_range(enum nf_mem_change_kind kind, uint64_t offset, uint64_t size);
void nf_mem_change_free(struct nf_mem_change *change);

void nf_mem_content_clear(struct nf_mem_content *content);
/* `to` must be clear. */
void nf_mem_content_copy(struct nf_mem_content *to, const struct nf_mem_content *from);
/* [offset, offset + size) must be inside the file and page-aligned. */
void nf_mem_content_read(const struct nf_mem_content *content, uint64_t offset, void *buf, size_t size);
void nf_mem_content_apply(struct nf_mem_content *content, const struct nf_mem_change *change);
/* Apply a part of the change, cut at sector boundaries. A truncation is whole. */
void nf_mem_content_apply_torn(struct nf_mem_content *content, const struct nf_mem_change *change, struct nf_mem_random *random);
/* Pages of [offset, offset + size) that are holes: what a write or an allocation there will take. */
uint64_t nf_mem_content_holes(const struct nf_mem_content *content, uint64_t offset, uint64_t size);

/* Flip one bit at `offset` in `content` and wherever `other` and `changes` share that page. */
void nf_mem_content_flip(struct nf_mem_content *content, struct nf_mem_content *other, struct nf_mem_change *changes,
			 uint64_t offset, unsigned bit);

#endif
