/* The blocks of a share: their bases read, their pages stored. */
#include <stdlib.h>
#include <string.h>

#include "walapply/pitr/lazy_window.h"

#define LONG_RUN 16u /* bases: a run like this is read by itself, shorter ones many at once */

/* Blocks of the share from `first` on that follow each other in one file, `max` at most, and are of the same kind as it. */
static size_t run_length(const struct lz_share *share, size_t first, size_t max, bool (*of_kind)(const struct wa_batch_block *block))
{
	const struct lz_window *window = share->window;
	size_t n = 1;
	while (n < max && first + n < share->end && window->file_of[first + n] == window->file_of[first] &&
	       window->at[first + n] == window->at[first] + n &&
	       of_kind(&window->blocks[first + n]) == of_kind(&window->blocks[first]))
		n++;
	return n;
}

static bool needs_base(const struct wa_batch_block *block)
{
	return block->needs_base;
}

static bool is_made(const struct wa_batch_block *block)
{
	return block->status >= 0;
}

/* ---------------------------------------------------------------- bases */

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
		n = run_length(share, i, BD_LAYER_STORE_MAX, needs_base);
		if (!window->blocks[i].needs_base)
			continue;
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

int lz_window_store(const struct lz_share *share)
{
	struct lz_window *window = share->window;
	struct lz_drain *drain = window->drain;
	int error = 0;
	for (size_t i = share->first, n; i < share->end && error == 0; i += n) {
		struct bd_inode *inode;
		n = run_length(share, i, BD_LAYER_STORE_MAX, is_made);
		if (!is_made(&window->blocks[i])) {
			drain->has_failed = true;
			continue;
		}
		error = lz_drain_file(drain, window->file_of[i], drain->head, &inode);
		if (error != 0 || inode == NULL)
			continue; /* removed meanwhile */
		error = bd_layer_store(inode, drain->epoch, window->at[i], (uint32_t)n, window->blocks[i].page);
		bd_inode_unref(inode, 1);
		atomic_fetch_add(&drain->draining->blocks, n);
		if (error == 0)
			error = lz_pace(drain->draining, n * WA_PAGE_SIZE);
	}
	return error;
}
