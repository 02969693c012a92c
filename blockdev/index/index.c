/* RocksDB behind index.h. Facts about RocksDB 7.8 used here are from its headers and documentation. */
#include "blockdev/index/index.h"

#include <rocksdb/c.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "common/nf_log.h"

struct bd_index {
	rocksdb_t *db;
	rocksdb_options_t *options;
	rocksdb_block_based_table_options_t *table;
	rocksdb_cache_t *cache;
	rocksdb_readoptions_t *read;	/* point reads */
	rocksdb_writeoptions_t *write;
	rocksdb_flushoptions_t *flush_begin;
	uint64_t background_errors; /* seen so far; flushing is one thread's work */
	_Atomic uint64_t unflushed_bytes;
	_Atomic bool failed; /* after one failed write nothing more is written: Debian's RocksDB asserts on it */
};

struct bd_index_batch {
	rocksdb_writebatch_t *raw;
	uint64_t bytes;
};

struct bd_index_iter {
	rocksdb_readoptions_t *read;
	rocksdb_iterator_t *raw;
	struct bd_index *index;
	uint8_t prefix[BD_KEY_MAX];
	size_t prefix_size;
	uint8_t upper[BD_KEY_MAX];
};

/* RocksDB's arena and per-entry overhead, measured once on block keys. */
#define ENTRY_OVERHEAD 48
/* Far above what is ever written between two flushes: RocksDB must not flush by itself. */
#define ROCKSDB_HEADER_LEVEL 5 /* InfoLogLevel, rocksdb/env.h */
#define MEMTABLE_BYTES (UINT64_C(1) << 30)

/* The bloom prefix: for block keys the 256-block leaf (kind, branch, file, upper 24 bits of the block), so that a scan of one leaf
 * skips files that hold none of it; for others all before the version. */
static char *key_prefix(void *state, const char *key, size_t size, size_t *ret_size)
{
	(void)state;
	if (size >= 16 && key[0] == 'B')
		*ret_size = 16;
	else if (size > 13 && (key[0] == 'D' || key[0] == 'I' || key[0] == 'X'))
		*ret_size = size - 4;
	else
		*ret_size = size;
	return (char *)key;
}

static unsigned char key_in_domain(void *state, const char *key, size_t size)
{
	(void)state;
	return (size >= 16 && key[0] == 'B') || (size > 13 && (key[0] == 'D' || key[0] == 'I' || key[0] == 'X'));
}

static unsigned char key_in_range(void *state, const char *key, size_t size)
{
	(void)state, (void)key, (void)size;
	return 0;
}

static void key_prefix_destroy(void *state)
{
	(void)state;
}

static const char *key_prefix_name(void *state)
{
	(void)state;
	return "neonfs.1";
}

static int take_error(char *error, const char *what)
{
	if (error == NULL)
		return 0;
	nf_error("index: %s: %s", what, error);
	int result = strstr(error, "orruption") != NULL ? -EUCLEAN : strstr(error, "space") != NULL ? -ENOSPC : -EIO;
	free(error);
	return result;
}

static void set_table(struct bd_index *index, uint64_t cache_bytes)
{
	index->cache = rocksdb_cache_create_lru(cache_bytes);
	index->table = rocksdb_block_based_options_create();
	rocksdb_block_based_options_set_block_cache(index->table, index->cache);
	rocksdb_block_based_options_set_block_size(index->table, 8192);
	rocksdb_block_based_options_set_cache_index_and_filter_blocks(index->table, 1);
	rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(index->table, 1);
	rocksdb_block_based_options_set_index_type(index->table,
						   rocksdb_block_based_table_index_type_two_level_index_search);
	rocksdb_block_based_options_set_filter_policy(index->table, rocksdb_filterpolicy_create_bloom_full(10));
	rocksdb_block_based_options_set_partition_filters(index->table, 1);
	rocksdb_block_based_options_set_whole_key_filtering(index->table, 1);
	rocksdb_block_based_options_set_format_version(index->table, 5);
}

static int set_options(struct bd_index *index, const struct bd_index_options *options)
{
	rocksdb_options_t *base = rocksdb_options_create();
	index->options = rocksdb_options_create();
	char *error = NULL;
	/* Only the option string reaches these from C. Without the first, closing would flush what the log has not made durable. */
	rocksdb_get_options_from_string(base, "avoid_flush_during_shutdown=true;avoid_unnecessary_blocking_io=true",
					index->options, &error);
	rocksdb_options_destroy(base);
	if (error != NULL)
		return take_error(error, "options");
	rocksdb_options_set_create_if_missing(index->options, options->create);
	rocksdb_options_set_error_if_exists(index->options, options->create);
	rocksdb_options_set_write_buffer_size(index->options, MEMTABLE_BYTES);
	rocksdb_options_set_arena_block_size(index->options, 1 << 20);
	rocksdb_options_set_max_write_buffer_number(index->options, 4);
	rocksdb_options_set_level0_slowdown_writes_trigger(index->options, 40);
	rocksdb_options_set_level0_stop_writes_trigger(index->options, 60);
	rocksdb_options_set_max_background_jobs(index->options, 2);
	rocksdb_options_set_max_open_files(index->options, 512);
	rocksdb_options_set_target_file_size_base(index->options, 32 << 20);
	rocksdb_options_set_max_bytes_for_level_base(index->options, 128 << 20);
	rocksdb_options_set_level_compaction_dynamic_level_bytes(index->options, 1);
	rocksdb_options_set_bytes_per_sync(index->options, 1 << 20);
	rocksdb_options_set_compression(index->options, rocksdb_lz4_compression);
	rocksdb_options_set_keep_log_file_num(index->options, 2);
	rocksdb_options_set_max_log_file_size(index->options, 1 << 20);
	/* Its header lines only: RocksDB 7.8 aborts the process when a second line goes to a LOG that could not be written (an assertion in
	 * WritableFileWriter, file/writable_file_writer.h; mended in 8.1), and the time to write more lines is when the disk fails. */
	rocksdb_options_set_info_log_level(index->options, ROCKSDB_HEADER_LEVEL);
	rocksdb_options_set_stats_dump_period_sec(index->options, 0);
	rocksdb_options_set_paranoid_checks(index->options, 1);
	rocksdb_options_set_memtable_prefix_bloom_size_ratio(index->options, 0.0);
	rocksdb_options_set_prefix_extractor(index->options,
		rocksdb_slicetransform_create(NULL, key_prefix_destroy, key_prefix, key_in_domain, key_in_range,
					      key_prefix_name));
	set_table(index, options->cache_bytes);
	rocksdb_options_set_block_based_table_factory(index->options, index->table);
	return 0;
}

int bd_index_open(const char *path, const struct bd_index_options *options, struct bd_index **ret_index,
		  char *ret_message, size_t message_size)
{
	char current[4096];
	snprintf(current, sizeof(current), "%s/CURRENT", path);
	if (!options->create && access(current, F_OK) != 0) {
		snprintf(ret_message, message_size, "%s is missing", current);
		return -ENOENT;
	}
	struct bd_index *index = calloc(1, sizeof(*index));
	if (index == NULL)
		return -ENOMEM;
	int result = set_options(index, options);
	if (result != 0) {
		bd_index_close(index);
		return result;
	}
	index->read = rocksdb_readoptions_create();
	index->write = rocksdb_writeoptions_create();
	rocksdb_writeoptions_disable_WAL(index->write, 1);
	index->flush_begin = rocksdb_flushoptions_create();
	rocksdb_flushoptions_set_wait(index->flush_begin, 0);
	char *error = NULL;
	if (options->read_only)
		index->db = rocksdb_open_for_read_only(index->options, path, 0, &error);
	else
		index->db = rocksdb_open(index->options, path, &error);
	if (error != NULL) {
		snprintf(ret_message, message_size, "%s", error);
		result = strstr(error, "lock") != NULL ? -EBUSY
			 : strstr(error, "orruption") != NULL ? -EUCLEAN : -EIO;
		free(error);
		bd_index_close(index);
		return result;
	}
	*ret_index = index;
	return 0;
}

void bd_index_close(struct bd_index *index)
{
	if (index == NULL)
		return;
	if (index->db != NULL) {
		rocksdb_cancel_all_background_work(index->db, 1);
		rocksdb_close(index->db);
	}
	if (index->flush_begin != NULL)
		rocksdb_flushoptions_destroy(index->flush_begin);
	if (index->read != NULL)
		rocksdb_readoptions_destroy(index->read);
	if (index->write != NULL)
		rocksdb_writeoptions_destroy(index->write);
	if (index->options != NULL)
		rocksdb_options_destroy(index->options);
	if (index->table != NULL)
		rocksdb_block_based_options_destroy(index->table);
	if (index->cache != NULL)
		rocksdb_cache_destroy(index->cache);
	free(index);
}

int bd_index_get(struct bd_index *index, const struct bd_key *key, void *buf, size_t buf_size, size_t *ret_size)
{
	char *error = NULL;
	rocksdb_pinnableslice_t *slice =
		rocksdb_get_pinned(index->db, index->read, (const char *)key->bytes, key->size, &error);
	if (error != NULL)
		return take_error(error, "read");
	if (slice == NULL)
		return -ENOENT;
	size_t raw_size, plain;
	const char *raw = rocksdb_pinnableslice_value(slice, &raw_size);
	int result = bd_value_check(key->bytes, key->size, raw, raw_size, &plain);
	if (result == 0 && plain > buf_size)
		result = -ERANGE;
	if (result == 0) {
		memcpy(buf, raw, plain);
		*ret_size = plain;
	}
	rocksdb_pinnableslice_destroy(slice);
	return result;
}

struct bd_index_batch *bd_index_batch_new(void)
{
	struct bd_index_batch *batch = calloc(1, sizeof(*batch));
	if (batch != NULL)
		batch->raw = rocksdb_writebatch_create();
	return batch;
}

void bd_index_batch_free(struct bd_index_batch *batch)
{
	if (batch == NULL)
		return;
	rocksdb_writebatch_destroy(batch->raw);
	free(batch);
}

void bd_index_batch_clear(struct bd_index_batch *batch)
{
	rocksdb_writebatch_clear(batch->raw);
	batch->bytes = 0;
}

unsigned bd_index_batch_count(const struct bd_index_batch *batch)
{
	return (unsigned)rocksdb_writebatch_count(batch->raw);
}

void bd_index_batch_put(struct bd_index_batch *batch, const void *key, size_t key_size, const void *value, size_t size)
{
	rocksdb_writebatch_put(batch->raw, key, key_size, value, size);
	batch->bytes += key_size + size + ENTRY_OVERHEAD;
}

void bd_index_batch_delete(struct bd_index_batch *batch, const void *key, size_t key_size)
{
	rocksdb_writebatch_delete(batch->raw, key, key_size);
	batch->bytes += key_size + ENTRY_OVERHEAD;
}

void bd_index_batch_delete_range(struct bd_index_batch *batch, const struct bd_key *from, const struct bd_key *to)
{
	rocksdb_writebatch_delete_range(batch->raw, (const char *)from->bytes, from->size, (const char *)to->bytes,
					to->size);
	batch->bytes += from->size + to->size + ENTRY_OVERHEAD;
}

static int note_failure(struct bd_index *index, int error)
{
	if (error != 0)
		atomic_store(&index->failed, true);
	return error;
}

int bd_index_write(struct bd_index *index, struct bd_index_batch *batch)
{
	char *error = NULL;
	if (atomic_load(&index->failed))
		return -EIO;
	rocksdb_write(index->db, index->write, batch->raw, &error);
	atomic_fetch_add(&index->unflushed_bytes, batch->bytes);
	bd_index_batch_clear(batch);
	return note_failure(index, take_error(error, "write"));
}

struct bd_index_iter *bd_index_iter_new(struct bd_index *index)
{
	struct bd_index_iter *iter = calloc(1, sizeof(*iter));
	if (iter != NULL)
		iter->index = index;
	return iter;
}

/* The smallest key above every key with this prefix: the prefix plus one. Our prefixes never are all 0xff (they begin with a letter). */
static size_t prefix_successor(const uint8_t *prefix, size_t size, uint8_t *to)
{
	memcpy(to, prefix, size);
	while (size > 0 && to[size - 1] == 0xff)
		size--;
	assert(size > 0);
	to[size - 1]++;
	return size;
}

void bd_index_iter_seek(struct bd_index_iter *iter, const struct bd_key *from, size_t prefix_size)
{
	assert(prefix_size <= from->size);
	if (iter->raw != NULL)
		rocksdb_iter_destroy(iter->raw);
	if (iter->read != NULL)
		rocksdb_readoptions_destroy(iter->read);
	iter->read = rocksdb_readoptions_create();
	memcpy(iter->prefix, from->bytes, prefix_size);
	iter->prefix_size = prefix_size;
	size_t upper_size = prefix_successor(from->bytes, prefix_size, iter->upper);
	rocksdb_readoptions_set_iterate_upper_bound(iter->read, (const char *)iter->upper, upper_size);
	/* Inside one bloom prefix RocksDB may skip files; across several it must look at everything. */
	size_t bloom_size;
	key_prefix(NULL, (const char *)from->bytes, from->size, &bloom_size);
	bool inside =
		key_in_domain(NULL, (const char *)from->bytes, from->size) && prefix_size == bloom_size;
	if (inside)
		rocksdb_readoptions_set_prefix_same_as_start(iter->read, 1);
	else
		rocksdb_readoptions_set_total_order_seek(iter->read, 1);
	iter->raw = rocksdb_create_iterator(iter->index->db, iter->read);
	rocksdb_iter_seek(iter->raw, (const char *)from->bytes, from->size);
}

bool bd_index_iter_valid(const struct bd_index_iter *iter)
{
	if (!rocksdb_iter_valid(iter->raw))
		return false;
	size_t size;
	const char *key = rocksdb_iter_key(iter->raw, &size);
	return size >= iter->prefix_size && memcmp(key, iter->prefix, iter->prefix_size) == 0;
}

const uint8_t *bd_index_iter_key(const struct bd_index_iter *iter, size_t *ret_size)
{
	return (const uint8_t *)rocksdb_iter_key(iter->raw, ret_size);
}

const uint8_t *bd_index_iter_value(const struct bd_index_iter *iter, size_t *ret_size)
{
	return (const uint8_t *)rocksdb_iter_value(iter->raw, ret_size);
}

void bd_index_iter_next(struct bd_index_iter *iter)
{
	rocksdb_iter_next(iter->raw);
}

int bd_index_iter_status(const struct bd_index_iter *iter)
{
	char *error = NULL;
	rocksdb_iter_get_error(iter->raw, &error);
	return take_error(error, "scan");
}

void bd_index_iter_free(struct bd_index_iter *iter)
{
	if (iter == NULL)
		return;
	if (iter->raw != NULL)
		rocksdb_iter_destroy(iter->raw);
	if (iter->read != NULL)
		rocksdb_readoptions_destroy(iter->read);
	free(iter);
}

uint64_t bd_index_unflushed_bytes(struct bd_index *index)
{
	return atomic_load(&index->unflushed_bytes);
}

int bd_index_flush_begin(struct bd_index *index)
{
	char *error = NULL;
	if (atomic_load(&index->failed))
		return -EIO;
	rocksdb_flush(index->db, index->flush_begin, &error);
	atomic_store(&index->unflushed_bytes, 0);
	return note_failure(index, take_error(error, "flush"));
}

static uint64_t property(struct bd_index *index, const char *name)
{
	uint64_t value = 0;
	return rocksdb_property_int(index->db, name, &value) == 0 ? value : 0;
}

/* Not rocksdb_flush with wait: that would switch the memtable again and flush writes whose log is not durable yet. */
int bd_index_flush_wait(struct bd_index *index)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	while (property(index, "rocksdb.num-immutable-mem-table") != 0) {
		uint64_t errors = property(index, "rocksdb.background-errors");
		if (errors != index->background_errors) {
			index->background_errors = errors;
			nf_error("index: flushing to disk failed; free space or mend the disk, then unmount and mount again");
			return note_failure(index, -EIO);
		}
		nanosleep(&pause, NULL);
	}
	return 0;
}

int bd_index_checkpoint(struct bd_index *index, const char *path)
{
	char *error = NULL;
	rocksdb_checkpoint_t *checkpoint = rocksdb_checkpoint_object_create(index->db, &error);
	/* The largest size: never flush (rocksdb/utilities/checkpoint.h, db/db_filesnapshot.cc). */
	if (error == NULL)
		rocksdb_checkpoint_create(checkpoint, path, UINT64_MAX, &error);
	if (checkpoint != NULL)
		rocksdb_checkpoint_object_destroy(checkpoint);
	return take_error(error, "checkpoint");
}

uint64_t bd_index_disk_bytes(struct bd_index *index)
{
	return property(index, "rocksdb.total-sst-files-size");
}

uint64_t bd_index_memory_bytes(struct bd_index *index)
{
	return property(index, "rocksdb.cur-size-all-mem-tables") + rocksdb_cache_get_usage(index->cache);
}
