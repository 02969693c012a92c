/* Packets and requests between daemon and plugin, made and read. See proto.h. */
#include "blockdev/nbd/proto.h"

#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/nf_cursor.h"

size_t nbd_hello_encode(const struct nbd_hello *hello, void *buf)
{
	struct nf_writer w = nf_writer_init(buf, NBD_PACKET_MAX);
	size_t length = strnlen(hello->name, sizeof(hello->name));
	if (length > NBD_NAME_MAX)
		return 0;
	nf_write_u64(&w, NBD_HELLO_MAGIC);
	nf_write_u32(&w, NBD_VERSION);
	nf_write_u32(&w, hello->flags);
	nf_write_u16(&w, (uint16_t)length);
	nf_write_bytes(&w, hello->name, length);
	return w.failed ? 0 : w.offset;
}

/* A text behind its length, up to the end of the packet; without a NUL in it. */
static int decode_text(struct nf_reader *r, size_t most, char *ret_text)
{
	uint16_t length = nf_read_u16(r);
	const char *text = length <= most ? nf_read_bytes(r, length) : NULL;
	if (text == NULL || r->failed || nf_reader_left(r) != 0 || memchr(text, '\0', length) != NULL)
		return -EPROTO;
	memcpy(ret_text, text, length);
	ret_text[length] = '\0';
	return 0;
}

/* Magic and version, as every version has them. */
static int decode_start(struct nf_reader *r, uint64_t magic)
{
	uint64_t found = nf_read_u64(r);
	uint32_t version = nf_read_u32(r);
	if (r->failed || found != magic)
		return -EPROTO;
	return version == NBD_VERSION ? 0 : -EPROTONOSUPPORT;
}

int nbd_hello_decode(const void *packet, size_t size, struct nbd_hello *ret_hello)
{
	struct nf_reader r = nf_reader_init(packet, size);
	struct nbd_hello hello = {0};
	int error = decode_start(&r, NBD_HELLO_MAGIC);
	if (error != 0)
		return error;
	hello.flags = nf_read_u32(&r);
	error = decode_text(&r, NBD_NAME_MAX, hello.name);
	if (error != 0 || (hello.flags & ~(uint32_t)(NBD_HELLO_READ_ONLY | NBD_HELLO_PROBE)) != 0)
		return -EPROTO;
	*ret_hello = hello;
	return 0;
}

size_t nbd_answer_encode(const struct nbd_answer *answer, void *buf)
{
	struct nf_writer w = nf_writer_init(buf, NBD_PACKET_MAX);
	size_t length = strnlen(answer->message, sizeof(answer->message));
	if (length > NBD_MESSAGE_MAX)
		return 0;
	nf_write_u64(&w, NBD_ANSWER_MAGIC);
	nf_write_u32(&w, NBD_VERSION);
	nf_write_u32(&w, answer->flags);
	nf_write_u32(&w, (uint32_t)answer->status);
	nf_write_u32(&w, answer->slots);
	nf_write_u32(&w, answer->slot_bytes);
	nf_write_u32(&w, answer->branch);
	nf_write_u64(&w, answer->file);
	nf_write_u64(&w, answer->size_bytes);
	nf_write_u64(&w, (uint64_t)answer->changed_ns);
	nf_write_u16(&w, (uint16_t)length);
	nf_write_bytes(&w, answer->message, length);
	return w.failed ? 0 : w.offset;
}

int nbd_answer_decode(const void *packet, size_t size, struct nbd_answer *ret_answer)
{
	struct nf_reader r = nf_reader_init(packet, size);
	struct nbd_answer answer = {0};
	int error = decode_start(&r, NBD_ANSWER_MAGIC);
	if (error != 0)
		return error;
	answer.flags = nf_read_u32(&r);
	answer.status = (int32_t)nf_read_u32(&r);
	answer.slots = nf_read_u32(&r);
	answer.slot_bytes = nf_read_u32(&r);
	answer.branch = nf_read_u32(&r);
	answer.file = nf_read_u64(&r);
	answer.size_bytes = nf_read_u64(&r);
	answer.changed_ns = (int64_t)nf_read_u64(&r);
	error = decode_text(&r, NBD_MESSAGE_MAX, answer.message);
	if (error != 0 || answer.status > 0)
		return -EPROTO;
	if (answer.status == 0 &&
	    (answer.slots != NBD_SLOTS || answer.slot_bytes != NBD_SLOT_BYTES || answer.size_bytes > (uint64_t)INT64_MAX))
		return -EPROTO;
	*ret_answer = answer;
	return 0;
}

/* ------------------------------------------------------------- requests */

void nbd_request_put(struct nbd_slot *slot, const struct nbd_request *request)
{
	uint64_t what = (uint64_t)request->op | (uint64_t)request->flags << 8 | (uint64_t)request->size << 32;
	atomic_store_explicit(&slot->what, htole64(what), memory_order_relaxed);
	atomic_store_explicit(&slot->offset, htole64(request->offset), memory_order_relaxed);
}

static bool changes(enum nbd_op op)
{
	return op == NBD_WRITE || op == NBD_TRIM || op == NBD_ZERO;
}

static bool carries_data(enum nbd_op op)
{
	return op == NBD_READ || op == NBD_WRITE;
}

int nbd_request_get(struct nbd_slot *slot, uint64_t size_bytes, bool read_only, struct nbd_request *ret_request)
{
	uint64_t what = le64toh(atomic_load_explicit(&slot->what, memory_order_relaxed));
	struct nbd_request request = {
		.op = (enum nbd_op)(what & 0xff),
		.flags = (uint32_t)(what >> 8 & 0xffffff),
		.size = (uint32_t)(what >> 32),
		.offset = le64toh(atomic_load_explicit(&slot->offset, memory_order_relaxed)),
	};
	if (request.op < NBD_READ || request.op > NBD_CACHE || (request.flags & ~(uint32_t)NBD_FUA) != 0)
		return -EINVAL;
	if (request.flags != 0 && !changes(request.op))
		return -EINVAL;
	if (request.op == NBD_FLUSH) {
		if (request.size != 0 || request.offset != 0)
			return -EINVAL;
	} else if (request.size == 0 || request.offset > size_bytes || request.size > size_bytes - request.offset ||
		   (carries_data(request.op) && request.size > NBD_SLOT_BYTES)) {
		return -EINVAL;
	}
	if (read_only && changes(request.op))
		return -EROFS;
	*ret_request = request;
	return 0;
}

/* -------------------------------------------------------------- extents */

void nbd_extent_encode(void *area, unsigned index, struct nbd_extent extent)
{
	struct nf_writer w = nf_writer_init((uint8_t *)area + (size_t)index * NBD_EXTENT_BYTES, NBD_EXTENT_BYTES);
	nf_write_u64(&w, extent.length);
	nf_write_u64(&w, extent.is_hole);
}

int nbd_extents_decode(const void *area, uint32_t count, uint64_t most, struct nbd_extent *ret_extents)
{
	struct nf_reader r = nf_reader_init(area, NBD_SLOT_BYTES);
	if (count == 0 || count > NBD_EXTENTS_MAX)
		return -EPROTO;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t length = nf_read_u64(&r), hole = nf_read_u64(&r);
		if (r.failed || length == 0 || length > most || hole > 1)
			return -EPROTO;
		most -= length;
		ret_extents[i] = (struct nbd_extent){.length = length, .is_hole = hole == 1};
	}
	return 0;
}

/* ---------------------------------------------------------------- futex */

void nbd_futex_wait(_Atomic uint32_t *word, uint32_t value, int timeout_ms)
{
	const struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000};
	syscall(SYS_futex, word, FUTEX_WAIT, value, timeout_ms < 0 ? NULL : &timeout, NULL, 0);
}

void nbd_futex_wake(_Atomic uint32_t *word, int count)
{
	syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}
