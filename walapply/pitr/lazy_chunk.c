/* Blocks of the drain, some thousands at a time: which ones, and when their pages have to be in memory. */
#include <stdlib.h>
#include <string.h>

#include "walapply/pitr/lazy_window.h"

/* -------------------------------------------------------------- filling */

int lz_drain_file(const struct lz_drain *drain, const struct lz_file *file, struct bd_view view, struct bd_inode **ret_inode)
{
	*ret_inode = NULL;
	int error = bd_inode_by_id(drain->draining->lazy->store, view, (struct bd_file_id){file->id}, ret_inode);
	return error == -ENOENT ? 0 : error;
}

bool lz_is_of_block(int error)
{
	return error == -EIO || error == -EUCLEAN || error == -EBADMSG;
}

/* A block that the file has not whole below the layer: as a reader makes it. */
static int make_by_reading(struct bd_inode *inode, uint32_t block)
{
	uint8_t *page = nf_io_buffer(NF_BLOCK_SIZE);
	if (page == NULL)
		return -ENOMEM;
	ssize_t got = bd_read(inode, (uint64_t)block * NF_BLOCK_SIZE, page, NF_BLOCK_SIZE);
	free(page);
	return got < 0 ? (int)got : 0;
}

static int whole_blocks(const struct lz_drain *drain, const struct lz_file *file, uint32_t *ret_blocks)
{
	struct bd_inode *inode;
	struct bd_attr attr;
	int error = lz_drain_file(drain, file, drain->below, &inode);
	*ret_blocks = 0;
	if (error != 0 || inode == NULL)
		return error;
	bd_inode_attr(inode, &attr);
	bd_inode_unref(inode, 1);
	*ret_blocks = (uint32_t)NF_MIN(attr.size_bytes / NF_BLOCK_SIZE, (uint64_t)UINT32_MAX);
	return 0;
}

/* Blocks of the file from *from on that are still to be made, as many as there is room for; *from is behind them. UINT32_MAX: that were all. */
static int add_file(struct lz_drain *drain, struct lz_chunk *chunk, size_t room, const struct lz_file *file, uint32_t *from)
{
	struct bd_inode *inode;
	uint32_t whole = 0;
	size_t count = 0;
	uint32_t *at = chunk->at + chunk->count;
	int error = lz_drain_file(drain, file, drain->head, &inode);
	if (error != 0 || inode == NULL) {
		*from = UINT32_MAX;
		return error;
	}
	error = whole_blocks(drain, file, &whole);
	if (error == 0)
		error = bd_layer_unmade(inode, drain->epoch, *from, at, room, &count);
	*from = error == 0 && count == room ? at[count - 1] + 1 : UINT32_MAX;
	for (; error == 0 && count > 0 && at[count - 1] >= whole; count--) {
		error = make_by_reading(inode, at[count - 1]);
		/* As one that cannot be made: it stays unmade, and does not keep the others. */
		if (lz_is_of_block(error))
			drain->has_failed = true;
		error = lz_is_of_block(error) ? 0 : error;
	}
	for (size_t i = 0; error == 0 && i < count; i++, chunk->count++) {
		struct wa_batch_block *block = &chunk->blocks[chunk->count];
		block->block = file->first;
		block->block.blkno += at[i];
		chunk->file_of[chunk->count] = file;
	}
	bd_inode_unref(inode, 1);
	return error;
}

static struct lz_chunk *new_chunk(const struct lz_drain *drain, uint32_t room)
{
	struct lz_chunk *chunk = calloc(1, sizeof(*chunk));
	if (chunk == NULL)
		return NULL;
	chunk->blocks = calloc(room, sizeof(*chunk->blocks));
	chunk->file_of = calloc(room, sizeof(*chunk->file_of));
	chunk->at = calloc(room, sizeof(*chunk->at));
	chunk->from = calloc(room, sizeof(*chunk->from));
	chunk->to = calloc(room, sizeof(*chunk->to));
	chunk->live = calloc(drain->piece_count + 1, sizeof(*chunk->live));
	chunk->late = calloc(drain->piece_count + 1, sizeof(*chunk->late));
	if (chunk->blocks != NULL && chunk->file_of != NULL && chunk->at != NULL && chunk->from != NULL && chunk->to != NULL &&
	    chunk->live != NULL && chunk->late != NULL)
		return chunk;
	lz_chunk_free(chunk);
	return NULL;
}

void lz_chunk_free(struct lz_chunk *chunk)
{
	if (chunk == NULL)
		return;
	wa_batch_free(chunk->batch);
	free(chunk->blocks);
	free(chunk->file_of);
	free(chunk->at);
	free(chunk->from);
	free(chunk->to);
	free(chunk->live);
	free(chunk->late);
	free(chunk);
}

int lz_chunk_next(struct lz_drain *drain, uint32_t room, struct lz_chunk **ret_chunk)
{
	struct lz_chunk *chunk = new_chunk(drain, room);
	int error = chunk == NULL ? -ENOMEM : 0;
	while (error == 0 && drain->next_file < drain->file_count && chunk->count < room) {
		error = add_file(drain, chunk, room - chunk->count, drain->files[drain->next_file], &drain->next_block);
		if (drain->next_block == UINT32_MAX) {
			drain->next_file++;
			drain->next_block = 0;
		}
	}
	if (error != 0 || chunk->count == 0) {
		lz_chunk_free(chunk);
		chunk = NULL;
	}
	if (error == 0)
		*ret_chunk = chunk;
	return error;
}

/* ------------------------------------------------------------- planning */

/* The piece that has the record; 0 where there is none. */
static uint32_t piece_of(const struct lz_drain *drain, struct nf_lsn lsn)
{
	uint32_t low = 0, high = drain->piece_count;
	while (low + 1 < high) {
		uint32_t middle = low + (high - low) / 2;
		if (drain->pieces[middle].begin.v <= lsn.v)
			low = middle;
		else
			high = middle;
	}
	return low;
}

int lz_chunk_plan(const struct lz_drain *drain, struct lz_chunk *chunk)
{
	int error = wa_batch_new(&drain->range, chunk->blocks, chunk->count, &chunk->batch, &chunk->why);
	for (uint32_t i = 0; i < chunk->count && error == 0; i++) {
		const struct wa_batch_block *block = &chunk->blocks[i];
		chunk->from[i] = block->is_late ? piece_of(drain, block->first) : 0;
		chunk->to[i] = piece_of(drain, block->last);
		if (block->is_late)
			chunk->late[chunk->from[i]]++;
		/* Where it comes, and behind where it ends: the sums of these are how many there are. */
		chunk->live[chunk->from[i]]++;
		if (chunk->to[i] + 1 < drain->piece_count)
			chunk->live[chunk->to[i] + 1]--;
	}
	for (uint32_t i = 1; i < drain->piece_count; i++)
		chunk->live[i] += chunk->live[i - 1];
	return error;
}

/* ---------------------------------------------------------------- pages */

void lz_chunk_take_pages(struct lz_chunk *chunk, uint32_t piece)
{
	struct lz_pool *pool = &chunk->window->pool;
	const bool is_late = piece != UINT32_MAX;
	if (is_late && chunk->late[piece] == 0)
		return;
	pthread_mutex_lock(&pool->lock);
	for (uint32_t i = 0; i < chunk->count; i++) {
		struct wa_batch_block *block = &chunk->blocks[i];
		if (block->is_late != is_late || (is_late && chunk->from[i] != piece))
			continue;
		assert(pool->unused_count > 0);
		block->page = pool->pages + (size_t)pool->unused[--pool->unused_count] * WA_PAGE_SIZE;
	}
	pthread_mutex_unlock(&pool->lock);
}

void lz_chunk_give_page(struct lz_chunk *chunk, uint32_t i)
{
	struct lz_pool *pool = &chunk->window->pool;
	pthread_mutex_lock(&pool->lock);
	pool->unused[pool->unused_count++] = (uint32_t)((size_t)(chunk->blocks[i].page - pool->pages) / WA_PAGE_SIZE);
	pthread_mutex_unlock(&pool->lock);
	chunk->blocks[i].page = NULL;
}
