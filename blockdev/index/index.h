/* The index: RocksDB behind a narrow door.
 *
 * One column family, no RocksDB log: the store's own log is the log. RocksDB's memtable is flushed only when
 * bd_index_flush asks for it, so what is durable in the index is always a prefix of its writes, up to a
 * point the store chose (see checkpoint.c).
 * Thread-safe. */
#ifndef BD_INDEX_H
#define BD_INDEX_H

#include "blockdev/index/key.h"

struct bd_index;
struct bd_index_batch;
struct bd_index_iter;

struct bd_index_options {
	bool create;		/* make a new one; else it must exist */
	bool read_only;
	uint64_t cache_bytes;
};

/* -ENOENT not there; -EUCLEAN damaged; -EIO. The message is RocksDB's own reason. */
NF_MUST_CHECK int bd_index_open(const char *path, const struct bd_index_options *options,
				struct bd_index **ret_index, char *ret_message, size_t message_size);
/* What was not flushed is dropped: the log has it. */
void bd_index_close(struct bd_index *index);

/* 0 and the checked value without its check in `buf` (size in *ret_size); -ENOENT; -EUCLEAN; -EIO; -ERANGE buf too small. */
NF_MUST_CHECK int bd_index_get(struct bd_index *index, const struct bd_key *key, void *buf, size_t buf_size,
			       size_t *ret_size);

struct bd_index_batch *bd_index_batch_new(void);
void bd_index_batch_free(struct bd_index_batch *batch);
void bd_index_batch_clear(struct bd_index_batch *batch);
unsigned bd_index_batch_count(const struct bd_index_batch *batch);
/* `value` is sealed (bd_value_seal). */
void bd_index_batch_put(struct bd_index_batch *batch, const void *key, size_t key_size, const void *value, size_t size);
void bd_index_batch_delete(struct bd_index_batch *batch, const void *key, size_t key_size);
/* Every key in [from, to). */
void bd_index_batch_delete_range(struct bd_index_batch *batch, const struct bd_key *from, const struct bd_key *to);
/* Atomic. The batch is empty afterwards. */
NF_MUST_CHECK int bd_index_write(struct bd_index *index, struct bd_index_batch *batch);

/* Iterate keys that start with the first `prefix_size` bytes of `from`, starting at `from`. When they are
 * one bloom prefix (see key_prefix in index.c), files without it are skipped. */
struct bd_index_iter *bd_index_iter_new(struct bd_index *index);
void bd_index_iter_seek(struct bd_index_iter *iter, const struct bd_key *from, size_t prefix_size);
bool bd_index_iter_valid(const struct bd_index_iter *iter);
const uint8_t *bd_index_iter_key(const struct bd_index_iter *iter, size_t *ret_size);
/* Raw value with its check still on. */
const uint8_t *bd_index_iter_value(const struct bd_index_iter *iter, size_t *ret_size);
void bd_index_iter_next(struct bd_index_iter *iter);
/* 0, or -EIO when the iteration ended because of an error rather than the end. */
NF_MUST_CHECK int bd_index_iter_status(const struct bd_index_iter *iter);
void bd_index_iter_free(struct bd_index_iter *iter);

/* Call `each` for every record whose key begins with `prefix` (or is of one kind), in order; values with their check still on. A non-zero return
 * ends it and is returned. The records are those of the moment at which it began. */
typedef int (*bd_index_each_fn)(void *arg, const uint8_t *key, size_t key_size, const uint8_t *value, size_t size);
NF_MUST_CHECK int bd_index_each(struct bd_index *index, const struct bd_key *prefix, bd_index_each_fn each, void *arg);
NF_MUST_CHECK int bd_index_each_kind(struct bd_index *index, char kind, bd_index_each_fn each, void *arg);

/* Bytes put since the last flush began. */
uint64_t bd_index_unflushed_bytes(struct bd_index *index);
/* Switch to a new memtable; everything written before is on its way to disk. Fast. No writes may run meanwhile. */
NF_MUST_CHECK int bd_index_flush_begin(struct bd_index *index);
/* Wait until it is there. */
NF_MUST_CHECK int bd_index_flush_wait(struct bd_index *index);
/* Make directory `path`, which must not exist, on the same file system: an index that is in the state of the last flush (no memtable is flushed), of hard links. */
NF_MUST_CHECK int bd_index_checkpoint(struct bd_index *index, const char *path);
uint64_t bd_index_disk_bytes(struct bd_index *index);
uint64_t bd_index_memory_bytes(struct bd_index *index);

#endif
