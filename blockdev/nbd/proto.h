/* What the daemon and a server of volumes (the nbdkit plugin) say to each other. Both sides include this, and nothing else of each other.
 *
 * A socket, STORE/volume.sock (SOCK_SEQPACKET, mode 0600), carries one packet each way and is then only a sign of life: whoever closes it is gone.
 * With the daemon's packet comes a descriptor of shared memory, made and sealed by the daemon so that nobody can change its size. All requests go
 * through it: the data lies where the daemon reads from and writes to its disk, and where the plugin copies from and to its own client.
 *
 * Numbers are little-endian.
 *
 *   packet "hello", to the daemon              packet "answer", back
 *    0  u64 magic NBD_HELLO_MAGIC               0  u64 magic NBD_ANSWER_MAGIC
 *    8  u32 version                             8  u32 version
 *   12  u32 flags NBD_HELLO_...                12  u32 flags NBD_ANSWER_READ_ONLY
 *   16  u16 length of the name                 16  i32 status: 0, or -errno, and no descriptor
 *   18  the name: BRANCH/FILE, BRANCH/FILE     20  u32 slots
 *       @POINT or BRANCH@POINT/FILE            24  u32 bytes of data in a slot
 *                                              28  u32 branch
 *                                              32  u64 file
 *                                              40  u64 size of the volume in bytes
 *                                              48  i64 time of its last change, ns since 1970
 *                                              56  u16 length of the message, then the message (status != 0)
 *
 *   shared memory
 *      0  head: u64 submitted (a bit a slot), at 64 u32 bell, at 128 u32 sleepers, at 132 u32 watching: somebody looks at `submitted` all the time
 *   4096  NBD_SLOTS slots of 64 bytes
 *   8192  NBD_SLOTS areas of NBD_AREA_BYTES
 *
 *   slot                                       state: IDLE ─ plugin ─▶ PENDING ─ plugin, before it sleeps ─▶ WAITED
 *    0  u8 op, u8 flags, u16 0, u32 size                                  └────────── daemon ──────────┬──────┘
 *    8  u64 offset                             DONE ◀──────────────────────────────────────────────────┘
 *   16  i32 result: >= 0, or -errno
 *   20  u32 skip: where in the area the data begins (READ); count of extents (EXTENTS)
 *   24  u32 state
 *
 * The plugin fills a slot, sets its state, sets its bit in `submitted`, and rings the bell when somebody sleeps and nobody watches. A thread of the daemon that takes the
 * bit away has the request. Both sides are careful: what the other one wrote is copied first and looked at then, since it may change at any moment.
 *
 * The daemon writes to disk from the shared memory without a copy, so who changes an area while a write of it is under way may get a block with a wrong
 * checksum, which then reads as EIO. Only the store's owner and root may connect, and they could write into the store's files as well. */
#ifndef BD_NBD_PROTO_H
#define BD_NBD_PROTO_H

#include <stdatomic.h>

#include "common/nf_base.h"

#define NBD_SOCKET "volume.sock"
#define NBD_VERSION 1u
#define NBD_HELLO_MAGIC UINT64_C(0x6f6c6c656864626e)
#define NBD_ANSWER_MAGIC UINT64_C(0x7265776e6164626e)
#define NBD_NAME_MAX 1024u
#define NBD_MESSAGE_MAX 512u
#define NBD_PACKET_MAX 2048u

#define NBD_SLOTS 64u
#define NBD_SLOT_BYTES (256u << 10) /* one request carries at most so much */
#define NBD_AREA_BYTES (NBD_SLOT_BYTES + 2 * NF_BLOCK_SIZE) /* room for the whole blocks around it */
#define NBD_SLOTS_AT 4096u
#define NBD_AREAS_AT 8192u
#define NBD_MEMORY_BYTES ((size_t)NBD_AREAS_AT + (size_t)NBD_SLOTS * NBD_AREA_BYTES)
#define NBD_EXTENTS_MAX 4096u /* told at once */

/* A probe is answered as a session would be, and is none: no descriptor comes with the answer. */
enum { NBD_HELLO_READ_ONLY = 1, NBD_HELLO_PROBE = 2 };
enum { NBD_ANSWER_READ_ONLY = 1 };

struct nbd_hello {
	uint32_t flags;
	char name[NBD_NAME_MAX + 1];
};

struct nbd_answer {
	uint32_t flags;
	int32_t status;
	uint32_t slots, slot_bytes, branch;
	uint64_t file, size_bytes;
	int64_t changed_ns;
	char message[NBD_MESSAGE_MAX + 1];
};

enum nbd_op {
	NBD_READ = 1,
	NBD_WRITE,
	NBD_FLUSH,
	NBD_TRIM, /* advice: whole blocks inside of the range become holes */
	NBD_ZERO, /* every byte of the range reads as zero */
	NBD_EXTENTS,
	NBD_CACHE, /* bring it here, where that means anything */
};
enum { NBD_FUA = 1 };

struct nbd_request {
	enum nbd_op op;
	uint32_t flags;
	uint32_t size;
	uint64_t offset;
};

struct nbd_slot {
	_Atomic uint64_t what; /* op, flags, size */
	_Atomic uint64_t offset;
	_Atomic int32_t result;
	_Atomic uint32_t skip;
	_Atomic uint32_t state;
	uint8_t unused[36];
};
static_assert(sizeof(struct nbd_slot) == 64, "offsets are in the table above");
static_assert(NBD_SLOTS * sizeof(struct nbd_slot) <= NBD_AREAS_AT - NBD_SLOTS_AT, "slots fit before the areas");

struct nbd_head {
	_Atomic uint64_t submitted;
	uint8_t unused1[56];
	_Atomic uint32_t bell;
	uint8_t unused2[60];
	_Atomic uint32_t sleepers;
	_Atomic uint32_t watching;
};
static_assert(offsetof(struct nbd_head, bell) == 64 && offsetof(struct nbd_head, sleepers) == 128, "offsets are in the table above");
static_assert(offsetof(struct nbd_head, watching) == 132, "offsets are in the table above");

enum { NBD_SLOT_IDLE, NBD_SLOT_PENDING, NBD_SLOT_WAITED, NBD_SLOT_DONE };

/* An extent in the area of a slot: u64 length, u64 is it a hole. */
#define NBD_EXTENT_BYTES 16u
static_assert(NBD_EXTENTS_MAX * NBD_EXTENT_BYTES <= NBD_SLOT_BYTES, "extents fit into an area");
struct nbd_extent {
	uint64_t length;
	bool is_hole;
};

static inline struct nbd_slot *nbd_slot_of(void *memory, unsigned slot)
{
	return (struct nbd_slot *)((uint8_t *)memory + NBD_SLOTS_AT) + slot;
}

static inline uint8_t *nbd_area_of(void *memory, unsigned slot)
{
	return (uint8_t *)memory + NBD_AREAS_AT + (size_t)slot * NBD_AREA_BYTES;
}

/* Packets. encode: returns the size, at most NBD_PACKET_MAX (`buf` has so much); 0: a text is too long. decode: 0; -EPROTO it is none;
 * -EPROTONOSUPPORT of another version, and then only that is known. */
NF_MUST_CHECK size_t nbd_hello_encode(const struct nbd_hello *hello, void *buf);
NF_MUST_CHECK int nbd_hello_decode(const void *packet, size_t size, struct nbd_hello *ret_hello);
NF_MUST_CHECK size_t nbd_answer_encode(const struct nbd_answer *answer, void *buf);
NF_MUST_CHECK int nbd_answer_decode(const void *packet, size_t size, struct nbd_answer *ret_answer);

/* A request in a slot. get: what is there now, and is it one that a volume of `size_bytes` can be asked? 0; -EINVAL; -EROFS. */
void nbd_request_put(struct nbd_slot *slot, const struct nbd_request *request);
NF_MUST_CHECK int nbd_request_get(struct nbd_slot *slot, uint64_t size_bytes, bool read_only, struct nbd_request *ret_request);

/* Extents in an area. decode: `count` of them, each of some length, together not longer than `most` bytes; -EPROTO. */
void nbd_extent_encode(void *area, unsigned index, struct nbd_extent extent);
NF_MUST_CHECK int nbd_extents_decode(const void *area, uint32_t count, uint64_t most, struct nbd_extent *ret_extents);

/* Sleep while *word is `value`, at most `timeout_ms` (-1: until woken); also wakes for no reason. */
void nbd_futex_wait(_Atomic uint32_t *word, uint32_t value, int timeout_ms);
void nbd_futex_wake(_Atomic uint32_t *word, int count);

#endif
