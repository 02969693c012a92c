/* A manifest: the state of a store at a checkpoint, in one object.
 *
 * magic "NFM1" u32, version u32, size of the body u32 and of its zstd frame u32, XXH3 of the frame u64, XXH3 of the 24 bytes before u64; then the frame. The body (manifest.c
 * has the field list) is a sequence of lengths and bytes through the bounded cursor. */
#ifndef BD_TIER_MANIFEST_H
#define BD_TIER_MANIFEST_H

#include "common/nf_base.h"

#define BD_MANIFEST_NAME_MAX 64 /* of an index file */

struct bd_manifest_file { /* of the index */
	char name[BD_MANIFEST_NAME_MAX];
	uint64_t size, sum; /* XXH3 of the file */
	uint32_t generation, number; /* of its key; generation 0: the bytes are in the manifest itself (`bytes`) */
	uint8_t *bytes;
};
struct bd_manifest_part {
	uint32_t extent, used;
	uint64_t size; /* of the object */
};
struct bd_manifest_piece {
	uint32_t generation;
	uint64_t from, to, size;
};
struct bd_manifest_branch { /* for people and for who attaches: what is in it */
	char *name;
	uint32_t id, parent;
};

struct bd_manifest {
	uint32_t generation, number;
	uint64_t store_id;
	int64_t created_ns, safe_ns; /* safe: everything acknowledged before is in it or in the pieces it lists */
	uint32_t format_version;
	uint64_t size_limit_bytes, log_bytes;
	int64_t store_created_ns;
	uint64_t replay, retain, log_generation;
	struct bd_manifest_file *files;
	uint32_t file_count;
	struct bd_manifest_part *parts;
	uint32_t part_count;
	struct bd_manifest_piece *pieces; /* of earlier generations, or this one's when it was put: they follow each other; the first begins at or before `retain` */
	uint32_t piece_count;
	struct bd_manifest_branch *branches;
	uint32_t branch_count;
};

/* malloc'd. -ENOMEM; -E2BIG: a body has 256 MiB at most. */
NF_MUST_CHECK int bd_manifest_encode(const struct bd_manifest *manifest, void **ret_bytes, size_t *ret_size);
/* Free with bd_manifest_free, also the one encoded from. -EUCLEAN damaged; -EPROTONOSUPPORT newer; -ENOMEM. */
NF_MUST_CHECK int bd_manifest_decode(const void *bytes, size_t size, struct bd_manifest *ret_manifest);
void bd_manifest_free(struct bd_manifest *manifest);

#define BD_MANIFEST_KEY_SIZE 128
void bd_manifest_key(uint32_t generation, uint32_t number, char key[BD_MANIFEST_KEY_SIZE]);
void bd_manifest_file_key(uint32_t generation, uint32_t number, const char *name, char key[BD_MANIFEST_KEY_SIZE]);
void bd_manifest_part_key(uint32_t generation, uint32_t number, uint32_t extent, char key[BD_MANIFEST_KEY_SIZE]);
/* False when the key is none. */
bool bd_manifest_key_parse(const char *key, uint32_t *ret_generation, uint32_t *ret_number);

#endif
