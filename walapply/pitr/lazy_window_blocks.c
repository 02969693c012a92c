/* The blocks of a chunk: their bases read, their pages stored. */
#include <stdlib.h>
#include <string.h>

#include "walapply/pitr/lazy_window.h"

#define BASES_MAX 128u /* read with one call */
#define LONG_RUN 16u /* bases: a run like this is read by itself, shorter ones many at once */

/* ---------------------------------------------------------------- bases */

/* Blocks of the chunk from `first` on that follow each other in one file and in memory, and need a base as that one does, BASES_MAX at most. */
static uint32_t run_length(const struct lz_chunk *chunk, uint32_t first)
{
	uint32_t n = 1;
	while (n < BASES_MAX && first + n < chunk->count && chunk->file_of[first + n] == chunk->file_of[first] &&
	       chunk->at[first + n] == chunk->at[first] + n && chunk->blocks[first + n].needs_base &&
	       chunk->blocks[first + n].page == chunk->blocks[first].page + (size_t)n * WA_PAGE_SIZE)
		n++;
	return n;
}

/* Bases that are read together: all of one file. */
struct bases {
	const struct lz_chunk *chunk;
	uint8_t *bytes; /* BD_SCATTERED_MAX pages */
	const struct lz_file *file; /* NULL: none yet */
	struct bd_inode *inode;
	uint32_t which[BD_SCATTERED_MAX];
	unsigned count;
};

/* Block by block, so that the one that cannot be read does not keep the others. */
static int read_singly(const struct bases *bases, uint32_t first, uint32_t count)
{
	const struct lz_chunk *chunk = bases->chunk;
	for (uint32_t i = first; i < first + count; i++) {
		ssize_t got = bd_read(bases->inode, (uint64_t)chunk->at[i] * NF_BLOCK_SIZE, chunk->blocks[i].page, NF_BLOCK_SIZE);
		int error = got == NF_BLOCK_SIZE ? 0 : got < 0 ? (int)got : -EUCLEAN;
		if (error != 0 && !lz_is_of_block(error))
			return error;
		if (error != 0)
			chunk->blocks[i].status = error;
	}
	return 0;
}

static int read_run(const struct bases *bases, uint32_t first, uint32_t count)
{
	const struct lz_chunk *chunk = bases->chunk;
	size_t size = (size_t)count * WA_PAGE_SIZE;
	ssize_t got = bd_read(bases->inode, (uint64_t)chunk->at[first] * NF_BLOCK_SIZE, chunk->blocks[first].page, size);
	int error = got == (ssize_t)size ? 0 : got < 0 ? (int)got : -EUCLEAN;
	if (lz_is_of_block(error))
		error = read_singly(bases, first, count);
	return error == 0 ? lz_pace(chunk->window->drain->draining, size) : error;
}

/* Those that were put off. */
static int read_together(struct bases *bases)
{
	const struct lz_chunk *chunk = bases->chunk;
	struct bd_scattered blocks[BD_SCATTERED_MAX];
	int error = 0;
	for (unsigned i = 0; i < bases->count; i++)
		blocks[i] = (struct bd_scattered){.inode = bases->inode, .block = chunk->at[bases->which[i]]};
	if (bases->count > 0)
		error = bd_read_scattered(blocks, bases->count, bases->bytes);
	bool is_singly = lz_is_of_block(error) || error == -ENODATA;
	for (unsigned i = 0; i < bases->count && (error == 0 || is_singly); i++) {
		if (is_singly)
			error = read_singly(bases, bases->which[i], 1);
		else
			memcpy(chunk->blocks[bases->which[i]].page, bases->bytes + (size_t)i * WA_PAGE_SIZE, WA_PAGE_SIZE);
		is_singly = is_singly && error == 0;
	}
	size_t size = bases->count * (size_t)WA_PAGE_SIZE;
	bases->count = 0;
	return error == 0 && size > 0 ? lz_pace(chunk->window->drain->draining, size) : error;
}

/* The next blocks are of this file. */
static int change_file(struct bases *bases, const struct lz_file *file)
{
	const struct lz_drain *drain = bases->chunk->window->drain;
	int error = read_together(bases);
	if (error != 0)
		return error;
	if (bases->inode != NULL)
		bd_inode_unref(bases->inode, 1);
	bases->inode = NULL;
	bases->file = file;
	error = lz_drain_file(drain, file, drain->below, &bases->inode);
	return error == 0 && bases->inode == NULL ? -EUCLEAN : error; /* it had the size that its blocks were marked by */
}

static int add_run(struct bases *bases, uint32_t first, uint32_t count)
{
	int error = 0;
	if (count >= LONG_RUN)
		return read_run(bases, first, count);
	for (uint32_t i = first; i < first + count && error == 0; i++) {
		bases->which[bases->count++] = i;
		if (bases->count == BD_SCATTERED_MAX)
			error = read_together(bases);
	}
	return error;
}

int lz_chunk_bases(const struct lz_chunk *chunk)
{
	struct bases bases = {.chunk = chunk, .bytes = nf_io_buffer(BD_SCATTERED_MAX * WA_PAGE_SIZE)};
	int error = bases.bytes == NULL ? -ENOMEM : 0;
	for (uint32_t i = 0, n; i < chunk->count && error == 0; i += n) {
		n = 1;
		if (!chunk->blocks[i].needs_base)
			continue;
		n = run_length(chunk, i);
		if (chunk->file_of[i] != bases.file)
			error = change_file(&bases, chunk->file_of[i]);
		if (error == 0)
			error = add_run(&bases, i, n);
	}
	if (error == 0)
		error = read_together(&bases);
	if (bases.inode != NULL)
		bd_inode_unref(bases.inode, 1);
	free(bases.bytes);
	return error;
}

/* -------------------------------------------------------------- storing */

/* Pages that are stored together: all of one file. */
struct pages {
	struct lz_chunk *chunk;
	uint32_t which[BD_LAYER_STORE_MAX]; /* blocks of the chunk */
	uint32_t count;
};

static void give_back(const struct pages *pages)
{
	for (uint32_t k = 0; k < pages->count; k++)
		lz_chunk_give_page(pages->chunk, pages->which[k]);
}

static int store_pages(const struct pages *pages)
{
	const struct lz_chunk *chunk = pages->chunk;
	struct lz_drain *drain = chunk->window->drain;
	uint32_t blocks[BD_LAYER_STORE_MAX];
	const uint8_t *bytes[BD_LAYER_STORE_MAX];
	struct bd_inode *inode;
	int error = lz_drain_file(drain, chunk->file_of[pages->which[0]], drain->head, &inode);
	if (error != 0 || inode == NULL)
		return error; /* without an inode: removed meanwhile */
	for (uint32_t k = 0; k < pages->count; k++) {
		blocks[k] = chunk->at[pages->which[k]];
		bytes[k] = chunk->blocks[pages->which[k]].page;
	}
	error = bd_layer_store(inode, drain->epoch, blocks, bytes, pages->count);
	bd_inode_unref(inode, 1);
	if (error != 0)
		return error;
	atomic_fetch_add(&drain->draining->blocks, pages->count);
	return lz_pace(drain->draining, (uint64_t)pages->count * WA_PAGE_SIZE);
}

static int store_together(struct pages *pages)
{
	int error = pages->count > 0 ? store_pages(pages) : 0;
	give_back(pages);
	pages->count = 0;
	return error;
}

int lz_chunk_store(struct lz_chunk *chunk)
{
	struct lz_window *window = chunk->window;
	struct pages pages = {.chunk = chunk};
	int error = 0;
	for (uint32_t i = 0; i < chunk->count && error == 0; i++) {
		struct wa_batch_block *block = &chunk->blocks[i];
		if (block->page == NULL || chunk->to[i] >= window->stored)
			continue;
		wa_batch_finish(chunk->batch, i);
		if (block->status < 0) {
			window->drain->has_failed = true;
			lz_chunk_give_page(chunk, i);
			continue;
		}
		if (pages.count == BD_LAYER_STORE_MAX || (pages.count > 0 && chunk->file_of[pages.which[0]] != chunk->file_of[i]))
			error = store_together(&pages);
		pages.which[pages.count++] = i;
	}
	return error == 0 ? store_together(&pages) : error;
}
