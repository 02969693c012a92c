/* Index keys and values: the format of everything RocksDB holds for a store.
 *
 * Keys are ordered bytes, integers big-endian; the version comes last and inverted, so that the newest
 * version of a thing is met first and a seek to (thing, ~epoch) finds what a view at `epoch` sees.
 *
 *   kind  key after the kind byte                         value (before the 4-byte check)
 *   'B'   branch u32, file u64, block u32, ~epoch u32     block version: place u64, checksum u64
 *   'D'   branch u32, dir u64, name, NUL, ~epoch u32      entry: file u64, type u8; file 0 = whiteout
 *   'I'   branch u32, file u64, ~epoch u32                inode: see file/inode.c
 *   'X'   branch u32, file u64, name, NUL, ~epoch u32     xattr: present u8, bytes
 *   'C'   extent u32, slot u32, block key (21 bytes)      sequence u64, moves u32: this block key shares the slot (clone)
 *   'E'   extent u32                                      extent: sealed u8, slots used u32, live u32
 *   'O'   branch u32, file u64                            empty: no names left, data to be freed
 *   'L'   branch u32, epoch u32                           redo layer: its maker's facts; see layer/create.c
 *   'R'   branch u32                                      branch record: see branch/branch.h
 *   'S'   branch u32, epoch u32                           snapshot: created i64, label
 *   'T'   extent u32                                      extent in an object store: see tier/rows.h
 *   'V'   branch u32                                      empty: versions to be swept
 *   'M'   name                                            store facts: "replay" = positions, "ids" = next ids, "files" = next
 *                                                          file id, "sweep" = every branch is to be swept (after a rebuild)
 *
 * Every value ends in the low 32 bits of XXH3-64 over key and value: a bad index record is -EUCLEAN. */
#ifndef BD_KEY_H
#define BD_KEY_H

#include "blockdev/bd.h"
#include "common/nf_cursor.h"

#define BD_KEY_MAX (1 + 4 + 8 + BD_NAME_MAX + 1 + 4)
#define BD_KEY_BLOCK_SIZE 21 /* 'B' + 20 */
#define BD_VALUE_CHECK 4

struct bd_key {
	uint8_t bytes[BD_KEY_MAX];
	uint16_t size;
};

/* Key of a block version; the form that the log and clone rows also use. */
struct bd_block_id {
	uint32_t branch;
	uint32_t block;
	uint64_t file;
	uint32_t epoch;
};

void bd_key_block(struct bd_key *key, const struct bd_block_id *id);
/* -EUCLEAN when the bytes are no block key. */
NF_MUST_CHECK int bd_key_block_parse(const void *bytes, size_t size, struct bd_block_id *ret_id);
/* kind + branch + file: the prefix of 'B', 'D', 'I', 'X' and (whole) 'O' keys. */
void bd_key_file_prefix(struct bd_key *key, char kind, uint32_t branch, uint64_t file);
void bd_key_inode(struct bd_key *key, uint32_t branch, uint64_t file, uint32_t epoch);
/* 'D' and 'X': without the version; the version is added by bd_key_add_epoch. name must fit BD_NAME_MAX. */
void bd_key_named(struct bd_key *key, char kind, uint32_t branch, uint64_t file, const char *name);
void bd_key_add_epoch(struct bd_key *key, uint32_t epoch);
/* kind + one or two u32. */
void bd_key_u32(struct bd_key *key, char kind, uint32_t a);
void bd_key_u32_u32(struct bd_key *key, char kind, uint32_t a, uint32_t b);
/* How new a block version is: `sequence` rises with every change of it; `moves` tells copies of the same bytes apart. */
struct bd_age {
	uint64_t sequence;
	uint32_t moves;
};
#define BD_AGE_VALUE_SIZE (12 + BD_VALUE_CHECK)
/* The value of a clone row, without its check. Returns its size. */
size_t bd_value_age(struct bd_age age, uint8_t value[BD_AGE_VALUE_SIZE]);
NF_MUST_CHECK int bd_value_age_parse(const void *value, size_t size, struct bd_age *ret_age);
void bd_key_clone(struct bd_key *key, uint32_t extent, uint32_t slot, const struct bd_block_id *id);
void bd_key_meta(struct bd_key *key, const char *name);

/* The epoch at the end of a versioned key. */
static inline uint32_t bd_key_epoch(const void *key, size_t size)
{
	uint32_t raw;
	memcpy(&raw, (const uint8_t *)key + size - 4, 4);
	return ~be32toh(raw);
}

/* The value of a block version. */
struct bd_place {
	uint64_t loc;
	uint64_t sum;
};
#define BD_PLACE_VALUE_SIZE (16 + BD_VALUE_CHECK)

/* Finish a value: writes the check behind `size` bytes (room for BD_VALUE_CHECK more must be there). Returns the new size. */
size_t bd_value_seal(const void *key, size_t key_size, uint8_t *value, size_t size);
/* 0 and the size without the check, or -EUCLEAN (logged). */
NF_MUST_CHECK int bd_value_check(const void *key, size_t key_size, const void *value, size_t size, size_t *ret_size);
void bd_value_place(const struct bd_key *key, struct bd_place place, uint8_t value[BD_PLACE_VALUE_SIZE]);
NF_MUST_CHECK int bd_value_place_parse(const void *key, size_t key_size, const void *value, size_t size,
				       struct bd_place *ret_place);

#endif
