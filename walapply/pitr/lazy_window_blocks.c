/* The blocks of a share: their bases read, their pages stored. */
#include <stdlib.h>
#include <string.h>

#include "walapply/pitr/lazy_window.h"

#define BASES_MAX 128u /* read with one call */
#define LONG_RUN 16u /* bases: a run like this is read by itself, shorter ones many at once */

/* ---------------------------------------------------------------- bases */

/* Blocks of the share from `first` on that follow each other in one file and need a base as that one does, BASES_MAX at most. */
static size_t run_length(const struct lz_share *share, size_t first)
{
	const struct lz_window *window = share->window;
	size_t n = 1;
	while (n < BASES_MAX && first + n < share->end && window->file_of[first + n] == window->file_of[first] &&
	       window->at[first + n] == window->at[first] + n && window->blocks[first + n].needs_base)
		n++;
	return n;
}

/* Bases that are read together: all of one file. */
struct bases {
	struct lz_window *window;
	uint8_t *bytes; /* BD_SCATTERED_MAX pages */
	const struct lz_file *file; /* NULL: none yet */
	struct bd_inode *inode;
	size_t which[BD_SCATTERED_MAX];
	unsigned count;
};

/* Block by block, so that the one that cannot be read does not keep the others. */
static int read_singly(const struct bases *bases, size_t first, size_t count)
{
	struct lz_window *window = bases->window;
	for (size_t i = first; i < first + count; i++) {
		ssize_t got = bd_read(bases->inode, (uint64_t)window->at[i] * NF_BLOCK_SIZE, window->blocks[i].page, NF_BLOCK_SIZE);
		int error = got == NF_BLOCK_SIZE ? 0 : got < 0 ? (int)got : -EUCLEAN;
		if (error != 0 && !lz_is_of_block(error))
			return error;
		if (error != 0)
			window->blocks[i].status = error;
	}
	return 0;
}

static int read_run(const struct bases *bases, size_t first, size_t count)
{
	struct lz_window *window = bases->window;
	size_t size = count * WA_PAGE_SIZE;
	ssize_t got = bd_read(bases->inode, (uint64_t)window->at[first] * NF_BLOCK_SIZE, window->blocks[first].page, size);
	int error = got == (ssize_t)size ? 0 : got < 0 ? (int)got : -EUCLEAN;
	if (lz_is_of_block(error))
		error = read_singly(bases, first, count);
	return error == 0 ? lz_pace(window->drain->draining, size) : error;
}

/* Those that were put off. */
static int read_together(struct bases *bases)
{
	struct lz_window *window = bases->window;
	struct bd_scattered blocks[BD_SCATTERED_MAX];
	int error = 0;
	for (unsigned i = 0; i < bases->count; i++)
		blocks[i] = (struct bd_scattered){.inode = bases->inode, .block = window->at[bases->which[i]]};
	if (bases->count > 0)
		error = bd_read_scattered(blocks, bases->count, bases->bytes);
	bool is_singly = lz_is_of_block(error) || error == -ENODATA;
	for (unsigned i = 0; i < bases->count && (error == 0 || is_singly); i++) {
		if (is_singly)
			error = read_singly(bases, bases->which[i], 1);
		else
			memcpy(window->blocks[bases->which[i]].page, bases->bytes + (size_t)i * WA_PAGE_SIZE, WA_PAGE_SIZE);
		is_singly = is_singly && error == 0;
	}
	size_t size = bases->count * (size_t)WA_PAGE_SIZE;
	bases->count = 0;
	return error == 0 && size > 0 ? lz_pace(window->drain->draining, size) : error;
}

/* The next blocks are of this file. */
static int change_file(struct bases *bases, const struct lz_file *file)
{
	const struct lz_drain *drain = bases->window->drain;
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

static int add_run(struct bases *bases, size_t first, size_t count)
{
	int error = 0;
	if (count >= LONG_RUN)
		return read_run(bases, first, count);
	for (size_t i = first; i < first + count && error == 0; i++) {
		bases->which[bases->count++] = i;
		if (bases->count == BD_SCATTERED_MAX)
			error = read_together(bases);
	}
	return error;
}

int lz_window_bases(const struct lz_share *share)
{
	struct lz_window *window = share->window;
	struct bases bases = {.window = window, .bytes = nf_io_buffer(BD_SCATTERED_MAX * WA_PAGE_SIZE)};
	int error = bases.bytes == NULL ? -ENOMEM : 0;
	for (size_t i = share->first, n; i < share->end && error == 0; i += n) {
		n = 1;
		if (!window->blocks[i].needs_base)
			continue;
		n = run_length(share, i);
		if (window->file_of[i] != bases.file)
			error = change_file(&bases, window->file_of[i]);
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
	struct lz_window *window;
	const struct lz_file *file;
	uint32_t blocks[BD_LAYER_STORE_MAX];
	const uint8_t *bytes[BD_LAYER_STORE_MAX];
	uint32_t count;
};

static int store_together(struct pages *pages)
{
	struct lz_drain *drain = pages->window->drain;
	const uint32_t count = pages->count;
	struct bd_inode *inode;
	pages->count = 0;
	int error = count > 0 ? lz_drain_file(drain, pages->file, drain->head, &inode) : 0;
	if (error != 0 || count == 0 || inode == NULL)
		return error; /* without an inode: removed meanwhile */
	error = bd_layer_store(inode, drain->epoch, pages->blocks, pages->bytes, count);
	bd_inode_unref(inode, 1);
	if (error != 0)
		return error;
	atomic_fetch_add(&drain->draining->blocks, count);
	return lz_pace(drain->draining, (uint64_t)count * WA_PAGE_SIZE);
}

int lz_window_store(const struct lz_share *share)
{
	struct lz_window *window = share->window;
	struct pages pages = {.window = window};
	int error = 0;
	for (size_t i = share->first; i < share->end && error == 0; i++) {
		const struct wa_batch_block *block = &window->blocks[i];
		if (block->status < 0) {
			window->drain->has_failed = true;
			continue;
		}
		if (pages.count == BD_LAYER_STORE_MAX || pages.file != window->file_of[i])
			error = store_together(&pages);
		pages.file = window->file_of[i];
		pages.blocks[pages.count] = window->at[i];
		pages.bytes[pages.count++] = block->page;
	}
	return error == 0 ? store_together(&pages) : error;
}
