/* Fuzz target: what a server of volumes and the daemon send each other: packets, a slot of the shared memory, extents. The first byte chooses. */
#include "fuzz.h"

#include "blockdev/nbd/proto.h"

static void read_hello(const uint8_t *bytes, size_t size)
{
	struct nbd_hello hello, again;
	uint8_t packet[NBD_PACKET_MAX];
	if (nbd_hello_decode(bytes, size, &hello) != 0)
		return;
	fuzz_expect(strlen(hello.name) <= NBD_NAME_MAX);
	size_t made = nbd_hello_encode(&hello, packet);
	fuzz_expect(made == size && memcmp(packet, bytes, size) == 0);
	fuzz_expect(nbd_hello_decode(packet, made, &again) == 0 && strcmp(again.name, hello.name) == 0);
}

static void read_answer(const uint8_t *bytes, size_t size)
{
	struct nbd_answer answer;
	uint8_t packet[NBD_PACKET_MAX];
	if (nbd_answer_decode(bytes, size, &answer) != 0)
		return;
	fuzz_expect(strlen(answer.message) <= NBD_MESSAGE_MAX && answer.status <= 0);
	fuzz_expect(answer.status != 0 || answer.size_bytes <= (uint64_t)INT64_MAX);
	size_t made = nbd_answer_encode(&answer, packet);
	fuzz_expect(made == size && memcmp(packet, bytes, size) == 0);
}

static void read_request(const uint8_t *bytes, size_t size)
{
	struct nbd_slot slot = {0};
	struct nbd_request request;
	uint64_t volume = 0;
	if (size < 17)
		return;
	memcpy(&volume, bytes + 1, 8);
	volume &= (uint64_t)INT64_MAX;
	memcpy((void *)&slot, bytes + 9, size - 9 < sizeof(slot) ? size - 9 : sizeof(slot));
	bool read_only = bytes[0] & 1;
	if (nbd_request_get(&slot, volume, read_only, &request) != 0)
		return;
	bool changes = request.op == NBD_WRITE || request.op == NBD_TRIM || request.op == NBD_ZERO;
	fuzz_expect(!(read_only && changes));
	fuzz_expect(request.offset <= volume && request.size <= volume - request.offset);
	fuzz_expect((request.op != NBD_READ && request.op != NBD_WRITE) || request.size <= NBD_SLOT_BYTES);
}

static void read_extents(const uint8_t *bytes, size_t size)
{
	static uint8_t area[NBD_AREA_BYTES];
	static struct nbd_extent extents[NBD_EXTENTS_MAX];
	uint32_t count, most;
	if (size < 8)
		return;
	memcpy(&count, bytes, 4);
	memcpy(&most, bytes + 4, 4);
	memset(area, 0, 20000);
	memcpy(area, bytes + 8, size - 8 < sizeof(area) ? size - 8 : sizeof(area));
	if (nbd_extents_decode(area, count, most, extents) != 0)
		return;
	uint64_t sum = 0;
	for (uint32_t i = 0; i < count; i++)
		sum += extents[i].length;
	fuzz_expect(count > 0 && count <= NBD_EXTENTS_MAX && sum <= most);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	uint8_t *bytes = fuzz_copy(data + 1, size - 1);
	switch (data[0] % 4) {
	case 0: read_hello(bytes, size - 1); break;
	case 1: read_answer(bytes, size - 1); break;
	case 2: read_request(bytes, size - 1); break;
	case 3: read_extents(bytes, size - 1); break;
	}
	free(bytes);
	return 0;
}
