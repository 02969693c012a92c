/* One request to a volume: calls of bd.h. See proto.h. */
#include <string.h>

#include "blockdev/nbd/impl.h"

struct nbd_reply {
	int32_t result;
	uint32_t skip;
};

/* Whole blocks, so that the store reads straight into the area: what was asked for begins `skip` bytes behind its start. */
static int op_read(struct nbd_session *session, const struct nbd_request *request, uint8_t *area, struct nbd_reply *reply)
{
	uint64_t from = request->offset / NF_BLOCK_SIZE * NF_BLOCK_SIZE;
	uint64_t end = nf_round_up(request->offset + request->size, NF_BLOCK_SIZE);
	reply->skip = (uint32_t)(request->offset - from);
	ssize_t got = bd_read(session->inode, from, area, (size_t)(end - from));
	if (got < 0)
		return (int)got;
	if ((size_t)got < reply->skip + request->size)
		return -EIO; /* shorter than when the session began, which nobody may make it */
	atomic_fetch_add_explicit(&session->reads, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&session->read_bytes, request->size, memory_order_relaxed);
	return 0;
}

static int op_write(struct nbd_session *session, const struct nbd_request *request, const uint8_t *area)
{
	unsigned flags = request->flags & NBD_FUA ? BD_WRITE_SYNC : 0;
	int error = bd_write(session->inode, request->offset, area, request->size, flags);
	if (error != 0)
		return error;
	atomic_fetch_add_explicit(&session->writes_done, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&session->written_bytes, request->size, memory_order_relaxed);
	return 0;
}

static int op_flush(struct nbd_session *session)
{
	int error = bd_fsync(session->inode, true);
	if (error != 0)
		return error;
	atomic_fetch_add_explicit(&session->flushes, 1, memory_order_relaxed);
	if (session->writes)
		session->volumes->hooks.flushed(session->volumes->hooks.arg, session->inode);
	return 0;
}

static int punch(struct nbd_session *session, const struct nbd_request *request, uint64_t from, uint64_t end)
{
	int error = from < end ? bd_fallocate(session->inode, BD_FALLOC_PUNCH_HOLE | BD_FALLOC_KEEP_SIZE, from, end - from) : 0;
	return error == 0 && (request->flags & NBD_FUA) != 0 ? bd_fsync(session->inode, true) : error;
}

/* Blocks that are covered in part stay as they are: to cut them would be a write. */
static int op_trim(struct nbd_session *session, const struct nbd_request *request)
{
	uint64_t end = request->offset + request->size;
	uint64_t last = end == session->size_bytes ? end : end / NF_BLOCK_SIZE * NF_BLOCK_SIZE;
	return punch(session, request, nf_round_up(request->offset, NF_BLOCK_SIZE), last);
}

static int op_zero(struct nbd_session *session, const struct nbd_request *request)
{
	return punch(session, request, request->offset, request->offset + request->size);
}

#define EXTENT_TRIES 8u

/* The extent that begins at `at`, not longer than up to `end`. A length of 0: what was data is none any more. */
static int look_at_extent(struct bd_inode *inode, uint64_t at, uint64_t end, struct nbd_extent *ret_extent)
{
	uint64_t next;
	int error = bd_seek(inode, at, true, &next);
	if (error == -ENXIO)
		next = end;
	else if (error != 0)
		return error;
	bool is_hole = next > at;
	if (!is_hole) {
		error = bd_seek(inode, at, false, &next);
		if (error != 0)
			return error == -ENXIO ? -EIO : error;
	}
	*ret_extent = (struct nbd_extent){.length = NF_MIN(next, end) - at, .is_hole = is_hole};
	return 0;
}

/* Beside somebody who writes and trims all the time a block is called data, which it is at times. */
static int extent_at(struct bd_inode *inode, uint64_t at, uint64_t end, struct nbd_extent *ret_extent)
{
	int error = 0;
	ret_extent->length = 0;
	for (unsigned i = 0; i < EXTENT_TRIES && error == 0 && ret_extent->length == 0; i++)
		error = look_at_extent(inode, at, end, ret_extent);
	if (error == 0 && ret_extent->length == 0)
		*ret_extent = (struct nbd_extent){.length = NF_MIN(end, (at / NF_BLOCK_SIZE + 1) * NF_BLOCK_SIZE) - at};
	return error;
}

static int op_extents(struct nbd_session *session, const struct nbd_request *request, uint8_t *area, struct nbd_reply *reply)
{
	uint64_t at = request->offset, end = request->offset + request->size;
	unsigned count = 0;
	while (at < end && count < NBD_EXTENTS_MAX) {
		struct nbd_extent extent;
		int error = extent_at(session->inode, at, end, &extent);
		if (error != 0)
			return error;
		nbd_extent_encode(area, count++, extent);
		at += extent.length;
	}
	reply->skip = count;
	return 0;
}

/* Reading brings the blocks here from an object store and makes those of a redo layer. There is no cache of ours beyond that. */
static int op_cache(struct nbd_session *session, const struct nbd_request *request, uint8_t *area)
{
	uint64_t at = request->offset / NF_BLOCK_SIZE * NF_BLOCK_SIZE, end = request->offset + request->size;
	for (; at < end && !atomic_load(&session->is_ending); at += NBD_SLOT_BYTES) {
		ssize_t got = bd_read(session->inode, at, area, (size_t)NF_MIN(NBD_SLOT_BYTES, nf_round_up(end - at, NF_BLOCK_SIZE)));
		if (got < 0)
			return (int)got;
	}
	return 0;
}

static int run(struct nbd_session *session, const struct nbd_request *request, uint8_t *area, struct nbd_reply *reply)
{
	switch (request->op) {
	case NBD_READ: return op_read(session, request, area, reply);
	case NBD_WRITE: return op_write(session, request, area);
	case NBD_FLUSH: return op_flush(session);
	case NBD_TRIM: return op_trim(session, request);
	case NBD_ZERO: return op_zero(session, request);
	case NBD_EXTENTS: return op_extents(session, request, area, reply);
	case NBD_CACHE: return op_cache(session, request, area);
	}
	return -EINVAL;
}

void nbd_op_serve(struct nbd_session *session, unsigned slot)
{
	struct nbd_slot *at = nbd_slot_of(session->memory, slot);
	struct nbd_request request;
	struct nbd_reply reply = {0};
	reply.result = nbd_request_get(at, session->size_bytes, !session->writes, &request);
	if (reply.result == 0)
		reply.result = run(session, &request, nbd_area_of(session->memory, slot), &reply);
	atomic_store_explicit(&at->result, (int32_t)htole32((uint32_t)reply.result), memory_order_relaxed);
	atomic_store_explicit(&at->skip, htole32(reply.skip), memory_order_relaxed);
	if (atomic_exchange(&at->state, NBD_SLOT_DONE) == NBD_SLOT_WAITED)
		nbd_futex_wake(&at->state, 1);
}
