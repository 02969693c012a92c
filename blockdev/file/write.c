/* Writing, truncating, punching, fsync.
 *
 * A write copies its blocks into aligned memory, checksums them and takes one of two ways:
 *   data     new slots of an extent; bytes are written before the map says so. The description reaches log and index once
 *            the bytes are durable (fsync, freezing, or the background): BD_PENDING until then.
 *   inline   into the open log record: small writes that somebody waits for. One write and one flush make them durable.
 * Nothing is ever overwritten in place, so a block is its old or its new version whatever happens.
 *
 * Blocks that a write covers in part are read, merged, and written whole; if the block changed meanwhile, the merge is done again.
 * All of it runs inside bd_op_begin/end: freezing an epoch waits for writes that are under way. */
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <xxhash.h>

#include "blockdev/file/slots.h"
#include "blockdev/layer/layer.h"
#include "blockdev/tier/cold.h"

#define CHUNK_BLOCKS 128u
#define INLINE_SYNC_BYTES (256u << 10) /* larger synchronous writes go to extents */
#define INLINE_HOT_BYTES (64u << 10)
#define HOT_INTERVAL_NS INT64_C(2000000000)
#define LAZY_ATTEMPTS 16u
#define ROOM_WAITS 16u

/* One step of a write: whole blocks in memory. */
struct chunk {
	uint8_t *data;	 /* aligned */
	uint8_t *buffer; /* memory of our own for `data`, when the caller's is not fit */
	uint32_t block, count;
	uint64_t sums[CHUNK_BLOCKS];
	/* what the partly covered first and last block were merged with */
	bool merged[2];
	struct bd_place base[2];
};

static uint64_t place_of(struct bd_inode *inode, uint32_t block, int *ret_error)
{
	struct bd_leaf *leaf;
	*ret_error = bd_map_leaf(inode, block >> BD_LEAF_SHIFT, &leaf);
	return *ret_error == 0 ? leaf->entries[block % BD_LEAF_BLOCKS].loc : 0;
}

/* Fill an edge block of the chunk with what the file has there. BD_LAZY: a redo layer is to make it first. */
static int load_edge(struct bd_inode *inode, struct chunk *chunk, unsigned edge)
{
	uint32_t at = edge == 0 ? 0 : chunk->count - 1;
	uint8_t *to = chunk->data + (size_t)at * NF_BLOCK_SIZE;
	int error;
	pthread_rwlock_wrlock(&inode->lock);
	chunk->base[edge].loc = place_of(inode, chunk->block + at, &error);
	pthread_rwlock_unlock(&inode->lock);
	chunk->merged[edge] = true;
	if (error == 0 && (chunk->base[edge].loc == BD_LOC_NONE || chunk->base[edge].loc == BD_LOC_HOLE))
		memset(to, 0, NF_BLOCK_SIZE);
	else if (error == 0)
		error = bd_blocks_read(inode, chunk->block + at, 1, to, BD_MAKE_NOT);
	return error;
}

/* Lay [offset, offset + size) of `from` (NULL = zeros) into the chunk's blocks. */
static int chunk_fill(struct bd_inode *inode, struct chunk *chunk, uint64_t offset, const uint8_t *from, size_t size)
{
	size_t skip = offset % NF_BLOCK_SIZE, end = skip + size;
	chunk->block = (uint32_t)(offset >> NF_BLOCK_SHIFT);
	chunk->count = (uint32_t)((end + NF_BLOCK_SIZE - 1) / NF_BLOCK_SIZE);
	chunk->merged[0] = chunk->merged[1] = false;
	/* Whole blocks in aligned memory are written from where they are. */
	bool in_place = from != NULL && skip == 0 && end % NF_BLOCK_SIZE == 0 && (uintptr_t)from % NF_IO_ALIGN == 0;
	chunk->data = in_place ? (uint8_t *)from : chunk->buffer;
	int error = 0;
	if (skip != 0 || (chunk->count == 1 && end % NF_BLOCK_SIZE != 0))
		error = load_edge(inode, chunk, 0);
	if (error == 0 && chunk->count > 1 && end % NF_BLOCK_SIZE != 0)
		error = load_edge(inode, chunk, 1);
	if (error != 0)
		return error;
	if (from != NULL && chunk->data != from)
		memcpy(chunk->data + skip, from, size);
	else if (from == NULL)
		memset(chunk->data + skip, 0, size);
	for (uint32_t i = 0; i < chunk->count; i++)
		chunk->sums[i] = XXH3_64bits(chunk->data + (size_t)i * NF_BLOCK_SIZE, NF_BLOCK_SIZE);
	return 0;
}

/* Under inode->lock: are the merged blocks still what they were merged with? */
static bool bases_hold(struct bd_inode *inode, const struct chunk *chunk, int *ret_error)
{
	*ret_error = 0;
	for (unsigned edge = 0; edge < 2; edge++) {
		if (!chunk->merged[edge])
			continue;
		uint32_t block = chunk->block + (edge == 0 ? 0 : chunk->count - 1);
		if (place_of(inode, block, ret_error) != chunk->base[edge].loc)
			return false;
	}
	return true;
}

/* Under inode->lock exclusive, after the blocks are in. */
static void touch(struct bd_inode *inode, uint64_t end, unsigned flags)
{
	struct bd_attr *attr = &inode->attr;
	attr->mtime_ns = attr->ctime_ns = bd_now_ns();
	if (end > attr->size_bytes)
		attr->size_bytes = end;
	if ((flags & BD_WRITE_KILL_PRIV) && S_ISREG(attr->mode)) {
		attr->mode &= ~(uint32_t)S_ISUID;
		if (attr->mode & S_IXGRP)
			attr->mode &= ~(uint32_t)S_ISGID;
	}
	inode->attr_dirty = true;
	bd_inode_mark_dirty(inode);
}

/* Under inode->lock exclusive: every leaf of the chunk in memory, so that nothing can fail once the log has the blocks. */
static int load_leaves(struct bd_inode *inode, const struct chunk *chunk)
{
	int error = 0;
	uint32_t last = (chunk->block + chunk->count - 1) >> BD_LEAF_SHIFT;
	for (uint32_t leaf = chunk->block >> BD_LEAF_SHIFT; leaf <= last && error == 0; leaf++) {
		struct bd_leaf *loaded;
		error = bd_map_leaf(inode, leaf, &loaded);
	}
	return error;
}

/* Under inode->lock exclusive: 0 when the merged blocks are what they were merged with, and all leaves are in memory; -EAGAIN: fill again. */
static int check_bases(struct bd_inode *inode, const struct chunk *chunk)
{
	int error;
	bool hold = bases_hold(inode, chunk, &error);
	if (error == 0 && !hold)
		error = -EAGAIN;
	return error != 0 ? error : load_leaves(inode, chunk);
}

/* Under inode->lock exclusive: the chunk's blocks and what is in `commit` in one log record; the map follows. */
static int log_chunk(struct bd_inode *inode, struct chunk *chunk, struct bd_commit *commit, uint64_t *ret_ticket)
{
	struct bd_payload payload = {.first = {.branch = inode->branch->id, .file = inode->file,
					       .block = chunk->block, .epoch = inode->branch->epoch},
				     .count = chunk->count, .data = chunk->data, .sums = chunk->sums};
	int error = bd_commit_apply_blocks(inode->store, commit, &payload, ret_ticket);
	for (uint32_t i = 0; i < chunk->count && error == 0; i++)
		error = bd_map_set(inode, chunk->block + i, bd_loc_next(payload.loc, i), chunk->sums[i], BD_LOGGED);
	if (error == 0)
		error = bd_inline_note(inode->store, &payload.first, chunk->count, payload.loc, *ret_ticket - 1);
	if (error == 0)
		atomic_fetch_add_explicit(&inode->store->inline_bytes, (uint64_t)chunk->count * NF_BLOCK_SIZE,
					  memory_order_relaxed);
	return error;
}

/* The inline way. -EAGAIN: a merged block changed, fill again. */
static int put_inline(struct bd_inode *inode, struct chunk *chunk, uint64_t end, unsigned flags, uint64_t *ret_ticket)
{
	struct bd_commit commit;
	int error = bd_commit_init(&commit);
	if (error != 0)
		return error;
	pthread_rwlock_wrlock(&inode->lock);
	error = check_bases(inode, chunk);
	if (error == 0) {
		touch(inode, end, flags);
		/* Blocks behind the end that the log knows would be lost, or come back as data in a later extension: a new size goes
		 * with them. */
		if (inode->attr.size_bytes != inode->committed_size && !inode->removed)
			bd_inode_commit(inode, &commit);
		error = log_chunk(inode, chunk, &commit, ret_ticket);
	}
	pthread_rwlock_unlock(&inode->lock);
	bd_commit_free(&commit);
	return error;
}

/* Under inode->lock exclusive: the slots get their owner, the map follows. Under the lock, sequences of one block's versions rise in the
 * order in which the versions follow each other; and the inode is dirty before a checkpoint can see the sequences. */
static int take_slots(struct bd_inode *inode, const struct chunk *chunk, const struct slots_piece *pieces, unsigned count)
{
	int error = 0;
	bd_inode_mark_dirty(inode);
	for (unsigned s = 0; s < count && error == 0; s++) {
		const struct slots_piece *piece = &pieces[s];
		error = slots_take(inode, piece, 0, piece->count, chunk->block + piece->at, chunk->sums + piece->at);
	}
	return error;
}

/* The data way. -EAGAIN as above. */
static int put_data(struct bd_inode *inode, struct chunk *chunk, uint64_t end, unsigned flags)
{
	struct slots_piece pieces[SLOTS_PIECES_MAX];
	unsigned count = 0;
	int error = slots_write(inode, chunk->data, chunk->count, pieces, &count);
	if (error != 0)
		return error;
	pthread_rwlock_wrlock(&inode->lock);
	error = check_bases(inode, chunk);
	if (error == 0)
		error = inode_reserve_pending(inode, chunk->count);
	if (error != 0) {
		pthread_rwlock_unlock(&inode->lock);
		slots_abandon(inode->store, pieces, count);
		return error;
	}
	error = take_slots(inode, chunk, pieces, count);
	if (error == 0)
		touch(inode, end, flags);
	bool many = inode->pending_count > 2048;
	pthread_rwlock_unlock(&inode->lock);
	for (unsigned s = 0; s < count; s++)
		bd_extent_put(inode->store, pieces[s].extent);
	if (many)
		bd_background_kick(inode->store);
	return error;
}

/* Inside an operation: write one chunk's worth. */
static int write_chunk(struct bd_inode *inode, struct chunk *chunk, uint64_t offset, const uint8_t *from, size_t size,
		       unsigned flags, bool is_inline, uint64_t *ret_ticket)
{
	int error;
	do {
		error = chunk_fill(inode, chunk, offset, from, size);
		if (error == 0)
			error = is_inline ? put_inline(inode, chunk, offset + size, flags, ret_ticket)
					  : put_data(inode, chunk, offset + size, flags);
	} while (error == -EAGAIN);
	return error;
}

static __thread uint8_t *chunk_buffer;

static void buffer_free(void *buffer)
{
	free(buffer);
}

static pthread_key_t buffer_key;
static pthread_once_t buffer_once = PTHREAD_ONCE_INIT;

static void buffer_key_make(void)
{
	if (pthread_key_create(&buffer_key, buffer_free) != 0)
		abort();
}

/* One chunk's memory a thread, freed at its end. */
static uint8_t *thread_buffer(void)
{
	pthread_once(&buffer_once, buffer_key_make);
	if (chunk_buffer == NULL) {
		chunk_buffer = nf_io_buffer((size_t)CHUNK_BLOCKS * NF_BLOCK_SIZE);
		pthread_setspecific(buffer_key, chunk_buffer);
	}
	return chunk_buffer;
}

/* Inside an operation: all of a write. */
static int write_all(struct bd_inode *inode, uint64_t offset, const uint8_t *from, size_t size, unsigned flags,
		     bool is_inline, uint64_t *ret_ticket)
{
	struct chunk *chunk = malloc(sizeof(*chunk));
	if (chunk == NULL)
		return -ENOMEM;
	chunk->buffer = thread_buffer();
	int error = chunk->buffer != NULL ? 0 : -ENOMEM;
	while (size > 0 && error == 0) {
		size_t n = NF_MIN(size, (size_t)CHUNK_BLOCKS * NF_BLOCK_SIZE - offset % NF_BLOCK_SIZE);
		error = write_chunk(inode, chunk, offset, from, n, flags, is_inline, ret_ticket);
		offset += n;
		size -= n;
		if (from != NULL)
			from += n;
	}
	free(chunk);
	return error;
}

/* Under no lock: the block that a change at `offset` would cut in two is there, when a redo layer has it still to make: inside the operation it could
 * not be made. */
static int make_edge(struct bd_inode *inode, uint64_t offset)
{
	if (offset % NF_BLOCK_SIZE == 0)
		return 0;
	uint8_t *block = nf_io_buffer(NF_BLOCK_SIZE);
	int error = block != NULL ? bd_blocks_read(inode, (uint32_t)(offset >> NF_BLOCK_SHIFT), 1, block, BD_MAKE_STORE) : -ENOMEM;
	free(block);
	return error;
}

static int make_edges(struct bd_inode *inode, uint64_t from, uint64_t to)
{
	int error = bd_inode_open_layers(inode);
	if (error == 0)
		error = make_edge(inode, from);
	return error != 0 ? error : make_edge(inode, to);
}

bool inode_begin_edges(struct bd_inode *inode, uint64_t from, uint64_t to, unsigned *attempt, int *error)
{
	if (*attempt > 0 && *error != BD_LAZY)
		return false;
	/* Only who lays one layer on the other all the time comes here. */
	*error = (*attempt)++ < LAZY_ATTEMPTS ? 0 : -EIO;
	/* Without layers: after it was found that they are not on this disk (tier/cold.h). */
	if (*error == 0 && (bd_inode_may_pass(inode) || *attempt > 1) && bd_inode_is_head(inode))
		*error = make_edges(inode, from, to);
	if (*error == 0)
		*error = bd_op_begin(inode);
	return *error == 0;
}

static int check_regular(struct bd_inode *inode)
{
	pthread_rwlock_rdlock(&inode->lock);
	uint32_t mode = inode->attr.mode;
	pthread_rwlock_unlock(&inode->lock);
	return S_ISREG(mode) ? 0 : S_ISDIR(mode) ? -EISDIR : -EINVAL;
}

int bd_write(struct bd_inode *inode, uint64_t offset, const void *buf, size_t size, unsigned flags)
{
	struct bd_store *store = inode->store;
	if (size > BD_FILE_SIZE_MAX || offset > BD_FILE_SIZE_MAX - size)
		return -EFBIG;
	int error = check_regular(inode);
	if (error != 0)
		return error;
	pthread_rwlock_wrlock(&inode->lock);
	bool hot = inode->hot;
	inode->bytes_since_sync += size;
	pthread_rwlock_unlock(&inode->lock);
	bool sync = flags & BD_WRITE_SYNC;
	bool is_inline = sync ? size <= INLINE_SYNC_BYTES : hot && size <= INLINE_HOT_BYTES;
	uint64_t ticket = 0;
	/* In a store with a tier that fills up, blocks go to the object store and make room: who finds none tries again. */
	for (unsigned waits = 0; waits == 0 || (error == -ENOSPC && store->tier != NULL && waits < ROOM_WAITS); waits++) {
		error = bd_cold_wait_room(store, size);
		if (error != 0)
			break;
		for (unsigned attempt = 0; inode_begin_edges(inode, offset, offset + size, &attempt, &error);) {
			error = write_all(inode, offset, buf, size, flags, is_inline, &ticket);
			bd_op_end(inode);
		}
	}
	if (error == 0 && sync)
		error = is_inline ? bd_sync_log(store, ticket) : bd_fsync(inode, true);
	atomic_fetch_add_explicit(&store->writes, 1, memory_order_relaxed);
	if (error == 0)
		atomic_fetch_add_explicit(&store->written_bytes, size, memory_order_relaxed);
	bd_branch_written(store, inode->branch);
	return error;
}

/* A file that is synced again soon, with little written between, is a log of some kind. */
static void note_sync(struct bd_inode *inode)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	int64_t now = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	inode->hot = inode->bytes_since_sync <= INLINE_HOT_BYTES && now - inode->last_sync_ns < HOT_INTERVAL_NS;
	inode->bytes_since_sync = 0;
	inode->last_sync_ns = now;
}

int bd_fsync(struct bd_inode *inode, bool data_only)
{
	(void)data_only; /* times travel with the size; leaving them out would save nothing */
	struct bd_store *store = inode->store;
	atomic_fetch_add_explicit(&store->fsyncs, 1, memory_order_relaxed);
	int error = atomic_load(&store->error);
	if (error != 0)
		return -EIO;
	if (!bd_inode_is_head(inode))
		return 0;
	uint64_t synced = 0, ticket;
	pthread_rwlock_wrlock(&inode->lock);
	bool pending = inode->pending_count > 0, dirty = pending || inode->attr_dirty;
	note_sync(inode);
	pthread_rwlock_unlock(&inode->lock);
	if (pending)
		error = bd_extents_sync(store, &synced);
	if (error == 0 && dirty) {
		error = bd_op_begin(inode);
		if (error == -ENOENT)
			return 0; /* its branch was deleted */
		if (error == 0) {
			pthread_rwlock_wrlock(&inode->lock);
			error = bd_inode_flush(inode, synced, &ticket);
			pthread_rwlock_unlock(&inode->lock);
			bd_op_end(inode);
		}
	}
	if (error == 0)
		error = bd_sync_log(store, UINT64_MAX);
	return error == -EROFS ? -EIO : error;
}

/* Inside an operation: cut [from, to) out of the file and, with `size` not UINT64_MAX, set its size, all in one log record: whole blocks become
 * holes; the edges of partly covered blocks are written with zeros (one or two blocks, inline). `to` at or behind the end of the file reaches
 * to its last block's end. -EAGAIN: a merged block changed. */
static int cut(struct bd_inode *inode, struct chunk *edges, uint64_t from, uint64_t to, uint64_t size)
{
	struct bd_commit commit;
	uint64_t ticket;
	int error = bd_commit_init(&commit);
	if (error != 0)
		return error;
	pthread_rwlock_wrlock(&inode->lock);
	if (edges->count > 0)
		error = check_bases(inode, edges);
	uint64_t first = nf_round_up(from, NF_BLOCK_SIZE), last = to / NF_BLOCK_SIZE * NF_BLOCK_SIZE;
	if (to >= inode->attr.size_bytes)
		last = nf_round_up(NF_MAX(to, inode->attr.size_bytes), NF_BLOCK_SIZE);
	if (error == 0 && first < last)
		error = bd_map_punch(inode, (uint32_t)(first >> NF_BLOCK_SHIFT), (uint32_t)(last >> NF_BLOCK_SHIFT),
				     &commit.items);
	if (error == 0) {
		touch(inode, 0, 0);
		if (size != UINT64_MAX)
			inode->attr.size_bytes = size;
		if (size == 0)
			inode->allocated_blocks = 0;
		if (!inode->removed)
			bd_inode_commit(inode, &commit);
		error = edges->count > 0 ? log_chunk(inode, edges, &commit, &ticket)
					 : bd_commit_apply(inode->store, &commit, &ticket);
	}
	pthread_rwlock_unlock(&inode->lock);
	bd_commit_free(&commit);
	return error;
}

static uint64_t size_of(struct bd_inode *inode)
{
	pthread_rwlock_rdlock(&inode->lock);
	uint64_t size = inode->attr.size_bytes;
	pthread_rwlock_unlock(&inode->lock);
	return size;
}

/* One edge: zeros into [from, to), which lies in one block. */
static int cut_edge(struct bd_inode *inode, struct chunk *edge, uint64_t from, uint64_t to, uint64_t hole_from,
		    uint64_t hole_to, uint64_t size)
{
	int error;
	do {
		edge->count = 0;
		edge->merged[0] = edge->merged[1] = false;
		error = from < to ? chunk_fill(inode, edge, from, NULL, to - from) : 0;
		if (error == 0)
			error = cut(inode, edge, hole_from, hole_to, size);
	} while (error == -EAGAIN);
	return error;
}

/* Inside an operation: zeros in [from, to) and, with `size` not UINT64_MAX, a new size. */
static int cut_range(struct bd_inode *inode, uint64_t from, uint64_t to, uint64_t size)
{
	struct chunk *edge = malloc(sizeof(*edge));
	if (edge == NULL)
		return -ENOMEM;
	edge->buffer = thread_buffer();
	uint64_t old = size_of(inode), end = NF_MIN(to, old);
	uint64_t first = nf_round_up(from, NF_BLOCK_SIZE), last = end / NF_BLOCK_SIZE * NF_BLOCK_SIZE;
	int error = edge->buffer != NULL ? 0 : -ENOMEM;
	if (error == 0 && first > last && end < old) {
		/* Inside one block, with bytes to keep on its right. */
		error = cut_edge(inode, edge, from, end, 0, 0, size);
	} else if (error == 0) {
		/* The right edge alone first (only for holes, never for a truncation), then the left with the whole blocks. */
		if (end < old && last < end)
			error = cut_edge(inode, edge, last, end, 0, 0, UINT64_MAX);
		if (error == 0)
			error = cut_edge(inode, edge, from, NF_MIN(first, old), first, to, size);
	}
	free(edge);
	return error;
}

int inode_truncate(struct bd_inode *inode, uint64_t size)
{
	if (size < size_of(inode))
		return cut_range(inode, size, BD_FILE_SIZE_MAX, size);
	pthread_rwlock_wrlock(&inode->lock);
	touch(inode, size, 0);
	pthread_rwlock_unlock(&inode->lock);
	return 0;
}

/* Inside an operation. */
static int allocate(struct bd_inode *inode, unsigned flags, uint64_t offset, uint64_t size)
{
	int error = 0;
	if (!(flags & BD_FALLOC_PUNCH_HOLE)) {
		struct bd_statfs room;
		error = bd_statfs(inode->store, &room);
		if (error == 0 && room.free_bytes < size)
			error = -ENOSPC;
	}
	if (error == 0 && (flags & (BD_FALLOC_PUNCH_HOLE | BD_FALLOC_ZERO_RANGE)))
		error = cut_range(inode, offset, offset + size, UINT64_MAX);
	if (error == 0) {
		pthread_rwlock_wrlock(&inode->lock);
		bool grows = !(flags & BD_FALLOC_KEEP_SIZE) && offset + size > inode->attr.size_bytes;
		touch(inode, grows ? offset + size : 0, 0);
		pthread_rwlock_unlock(&inode->lock);
	}
	return error;
}

int bd_fallocate(struct bd_inode *inode, unsigned flags, uint64_t offset, uint64_t size)
{
	bool punch = flags & BD_FALLOC_PUNCH_HOLE, zero = flags & BD_FALLOC_ZERO_RANGE;
	bool keep = flags & BD_FALLOC_KEEP_SIZE;
	if (size == 0 || (punch && (zero || !keep)) ||
	    (flags & ~(unsigned)(BD_FALLOC_KEEP_SIZE | BD_FALLOC_PUNCH_HOLE | BD_FALLOC_ZERO_RANGE)) != 0)
		return -EINVAL;
	if (size > BD_FILE_SIZE_MAX || offset > BD_FILE_SIZE_MAX - size)
		return -EFBIG;
	int error = check_regular(inode);
	if (error != 0)
		return error;
	for (unsigned attempt = 0; inode_begin_edges(inode, offset, offset + size, &attempt, &error);) {
		error = allocate(inode, flags, offset, size);
		bd_op_end(inode);
	}
	return error;
}

/* Under inode->lock exclusive: the first block >= `block` and < `end` that is mapped (data) or not (hole). */
static int seek_block(struct bd_inode *inode, uint32_t block, uint32_t end, bool data, uint32_t *ret_block)
{
	while (block < end) {
		uint32_t next;
		int error = bd_map_next(inode, block >> BD_LEAF_SHIFT, &next);
		if (error != 0)
			return error;
		if (next != block >> BD_LEAF_SHIFT) {
			/* Nothing before the next leaf. */
			if (!data || next == UINT32_MAX)
				break;
			block = next << BD_LEAF_SHIFT;
		}
		struct bd_leaf *leaf;
		error = bd_map_leaf(inode, next, &leaf);
		if (error != 0)
			return error;
		for (; block < end && block >> BD_LEAF_SHIFT == next; block++) {
			uint64_t loc = leaf->entries[block % BD_LEAF_BLOCKS].loc;
			if ((loc != BD_LOC_NONE && loc != BD_LOC_HOLE) == data) {
				*ret_block = block;
				return 0;
			}
		}
	}
	*ret_block = data ? UINT32_MAX : NF_MIN(block, end);
	return 0;
}

int bd_seek(struct bd_inode *inode, uint64_t offset, bool data, uint64_t *ret_offset)
{
	int error = bd_inode_open_layers(inode);
	if (error != 0)
		return error;
	pthread_rwlock_wrlock(&inode->lock);
	uint64_t size = inode->attr.size_bytes;
	uint32_t block = 0;
	error = offset < size ? 0 : -ENXIO;
	if (error == 0)
		error = seek_block(inode, (uint32_t)(offset >> NF_BLOCK_SHIFT), blocks_of(size), data, &block);
	pthread_rwlock_unlock(&inode->lock);
	if (error != 0)
		return error;
	if (block == UINT32_MAX)
		return -ENXIO;
	uint64_t found = (uint64_t)block << NF_BLOCK_SHIFT;
	*ret_offset = NF_MIN(NF_MAX(found, offset), size);
	return 0;
}
