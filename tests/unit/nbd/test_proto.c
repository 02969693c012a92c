/* Packets, requests and extents between daemon and plugin: there and back, cut short, and of a peer that writes what it likes. */
#include "tests/unit/nbd/case.h"

#include "blockdev/nbd/proto.h"

static void hello_comes_through(void **state)
{
	(void)state;
	uint8_t packet[NBD_PACKET_MAX];
	struct nbd_hello hello = {.flags = NBD_HELLO_READ_ONLY | NBD_HELLO_PROBE, .name = "disks/vm1@monday"}, read;
	size_t size = nbd_hello_encode(&hello, packet);
	assert_int_equal(size, 18 + 16);
	assert_int_equal(nbd_hello_decode(packet, size, &read), 0);
	assert_int_equal(read.flags, hello.flags);
	assert_string_equal(read.name, hello.name);
	/* Neither shorter nor longer. */
	for (size_t less = 0; less < size; less++)
		assert_int_equal(nbd_hello_decode(packet, less, &read), -EPROTO);
	packet[size] = 0;
	assert_int_equal(nbd_hello_decode(packet, size + 1, &read), -EPROTO);
}

static void hello_is_looked_at(void **state)
{
	(void)state;
	uint8_t packet[NBD_PACKET_MAX];
	struct nbd_hello hello = {.name = "a/b"}, read;
	size_t size = nbd_hello_encode(&hello, packet);
	packet[8]++; /* version */
	assert_int_equal(nbd_hello_decode(packet, size, &read), -EPROTONOSUPPORT);
	assert_int_equal(nbd_hello_decode(packet, 12, &read), -EPROTONOSUPPORT);
	packet[8]--;
	packet[0]++; /* magic */
	assert_int_equal(nbd_hello_decode(packet, size, &read), -EPROTO);
	packet[0]--;
	packet[15] = 0x80; /* a flag nobody knows */
	assert_int_equal(nbd_hello_decode(packet, size, &read), -EPROTO);
	packet[15] = 0;
	packet[19] = '\0'; /* inside of the name */
	assert_int_equal(nbd_hello_decode(packet, size, &read), -EPROTO);
	packet[19] = '/';
	assert_int_equal(nbd_hello_decode(packet, size, &read), 0);
}

static void longest_name_fits(void **state)
{
	(void)state;
	uint8_t packet[NBD_PACKET_MAX];
	struct nbd_hello hello = {0}, read;
	memset(hello.name, 'x', NBD_NAME_MAX);
	size_t size = nbd_hello_encode(&hello, packet);
	assert_int_equal(size, 18 + NBD_NAME_MAX);
	assert_int_equal(nbd_hello_decode(packet, size, &read), 0);
	assert_string_equal(read.name, hello.name);
	/* A length that the packet has, and the name has no room for. */
	packet[16] = (NBD_NAME_MAX + 1) & 0xff;
	packet[17] = (NBD_NAME_MAX + 1) >> 8;
	packet[size] = 'x';
	assert_int_equal(nbd_hello_decode(packet, size + 1, &read), -EPROTO);
}

static void answer_comes_through(void **state)
{
	(void)state;
	uint8_t packet[NBD_PACKET_MAX];
	struct nbd_answer answer = {.flags = NBD_ANSWER_READ_ONLY, .slots = NBD_SLOTS, .slot_bytes = NBD_SLOT_BYTES, .branch = 7, .file = 99,
				    .size_bytes = UINT64_C(1) << 40, .changed_ns = -5}, read;
	size_t size = nbd_answer_encode(&answer, packet);
	assert_int_equal(size, 58);
	assert_int_equal(nbd_answer_decode(packet, size, &read), 0);
	assert_memory_equal(&read, &answer, sizeof(read));
	for (size_t less = 12; less < size; less++)
		assert_int_equal(nbd_answer_decode(packet, less, &read), -EPROTO);
}

static void answer_is_looked_at(void **state)
{
	(void)state;
	uint8_t packet[NBD_PACKET_MAX];
	struct nbd_answer answer = {.slots = NBD_SLOTS, .slot_bytes = NBD_SLOT_BYTES, .size_bytes = 8192}, read;
	answer.slots = NBD_SLOTS + 1;
	assert_int_equal(nbd_answer_decode(packet, nbd_answer_encode(&answer, packet), &read), -EPROTO);
	answer.slots = NBD_SLOTS;
	answer.slot_bytes *= 2;
	assert_int_equal(nbd_answer_decode(packet, nbd_answer_encode(&answer, packet), &read), -EPROTO);
	answer.slot_bytes = NBD_SLOT_BYTES;
	answer.size_bytes = UINT64_MAX;
	assert_int_equal(nbd_answer_decode(packet, nbd_answer_encode(&answer, packet), &read), -EPROTO);
	answer.size_bytes = 8192;
	answer.status = 1; /* an errno is negative */
	assert_int_equal(nbd_answer_decode(packet, nbd_answer_encode(&answer, packet), &read), -EPROTO);
	answer = (struct nbd_answer){.status = -EBUSY, .message = "the volume is busy"};
	assert_int_equal(nbd_answer_decode(packet, nbd_answer_encode(&answer, packet), &read), 0);
	assert_int_equal(read.status, -EBUSY);
	assert_string_equal(read.message, "the volume is busy");
}

#define VOLUME (UINT64_C(100) * 8192 + 100)

static int asked(enum nbd_op op, uint32_t flags, uint32_t size, uint64_t offset, bool read_only)
{
	struct nbd_slot slot;
	struct nbd_request request = {.op = op, .flags = flags, .size = size, .offset = offset}, read;
	memset(&slot, 0, sizeof(slot));
	nbd_request_put(&slot, &request);
	int rc = nbd_request_get(&slot, VOLUME, read_only, &read);
	if (rc == 0)
		assert_true(read.op == op && read.flags == flags && read.size == size && read.offset == offset);
	return rc;
}

static void requests_stay_inside(void **state)
{
	(void)state;
	static const enum nbd_op ranged[] = {NBD_READ, NBD_WRITE, NBD_TRIM, NBD_ZERO, NBD_EXTENTS, NBD_CACHE};
	for (unsigned i = 0; i < NF_ARRAY_LEN(ranged); i++) {
		enum nbd_op op = ranged[i];
		assert_int_equal(asked(op, 0, 8192, 0, false), 0);
		assert_int_equal(asked(op, 0, 100, VOLUME - 100, false), 0);
		assert_int_equal(asked(op, 0, 101, VOLUME - 100, false), -EINVAL);
		assert_int_equal(asked(op, 0, 1, VOLUME, false), -EINVAL);
		assert_int_equal(asked(op, 0, 1, UINT64_MAX, false), -EINVAL);
		assert_int_equal(asked(op, 0, UINT32_MAX, UINT64_MAX - 5, false), -EINVAL);
		assert_int_equal(asked(op, 0, 0, 0, false), -EINVAL);
		bool carries = op == NBD_READ || op == NBD_WRITE;
		assert_int_equal(asked(op, 0, NBD_SLOT_BYTES + 1, 0, false), carries ? -EINVAL : 0);
	}
	assert_int_equal(asked(NBD_FLUSH, 0, 0, 0, false), 0);
	assert_int_equal(asked(NBD_FLUSH, 0, 1, 0, false), -EINVAL);
	assert_int_equal(asked((enum nbd_op)0, 0, 1, 0, false), -EINVAL);
	assert_int_equal(asked((enum nbd_op)(NBD_CACHE + 1), 0, 1, 0, false), -EINVAL);
}

static void only_changes_are_refused_read_only(void **state)
{
	(void)state;
	assert_int_equal(asked(NBD_READ, 0, 1, 0, true), 0);
	assert_int_equal(asked(NBD_FLUSH, 0, 0, 0, true), 0);
	assert_int_equal(asked(NBD_EXTENTS, 0, 1, 0, true), 0);
	assert_int_equal(asked(NBD_CACHE, 0, 1, 0, true), 0);
	assert_int_equal(asked(NBD_WRITE, 0, 1, 0, true), -EROFS);
	assert_int_equal(asked(NBD_TRIM, 0, 1, 0, true), -EROFS);
	assert_int_equal(asked(NBD_ZERO, NBD_FUA, 1, 0, true), -EROFS);
}

static void flags_belong_to_changes(void **state)
{
	(void)state;
	assert_int_equal(asked(NBD_WRITE, NBD_FUA, 1, 0, false), 0);
	assert_int_equal(asked(NBD_TRIM, NBD_FUA, 1, 0, false), 0);
	assert_int_equal(asked(NBD_READ, NBD_FUA, 1, 0, false), -EINVAL);
	assert_int_equal(asked(NBD_WRITE, NBD_FUA << 1, 1, 0, false), -EINVAL);
	assert_int_equal(asked(NBD_WRITE, 0x800000, 1, 0, false), -EINVAL);
}

static void extents_are_looked_at(void **state)
{
	(void)state;
	uint8_t *area = calloc(1, NBD_AREA_BYTES);
	struct nbd_extent read[NBD_EXTENTS_MAX];
	nbd_extent_encode(area, 0, (struct nbd_extent){.length = 8192, .is_hole = true});
	nbd_extent_encode(area, 1, (struct nbd_extent){.length = 100});
	assert_int_equal(nbd_extents_decode(area, 2, 8292, read), 0);
	assert_true(read[0].is_hole && read[0].length == 8192 && !read[1].is_hole && read[1].length == 100);
	assert_int_equal(nbd_extents_decode(area, 2, 8291, read), -EPROTO); /* further than asked */
	assert_int_equal(nbd_extents_decode(area, 3, 8292, read), -EPROTO); /* the third has no length */
	assert_int_equal(nbd_extents_decode(area, 0, 8292, read), -EPROTO);
	assert_int_equal(nbd_extents_decode(area, NBD_EXTENTS_MAX + 1, UINT64_MAX, read), -EPROTO);
	area[8] = 2;
	assert_int_equal(nbd_extents_decode(area, 2, 8292, read), -EPROTO);
	free(area);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hello_comes_through),	cmocka_unit_test(hello_is_looked_at),
		cmocka_unit_test(longest_name_fits),	cmocka_unit_test(answer_comes_through),
		cmocka_unit_test(answer_is_looked_at),	cmocka_unit_test(requests_stay_inside),
		cmocka_unit_test(only_changes_are_refused_read_only), cmocka_unit_test(flags_belong_to_changes),
		cmocka_unit_test(extents_are_looked_at),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
