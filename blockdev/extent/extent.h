/* Extents: large append-only files that hold block bytes.
 *
 * File extents/%08x, made of
 *   page 0          header: magic "NFX1" u32, format u32, extent id u32, slots u32, store id u64, XXH3 of bytes 0-23 u64
 *   pages 1 to 96   slot table: BD_EXTENT_SLOTS x 48 bytes, who each slot belongs to:
 *                     0 branch u32, 4 block u32, 8 file u64, 16 epoch u32, 20 flags u32 (bit 0 = used, bits 8-31 = how
 *                     often it was moved), 24 sequence u64, 32 checksum of the block u64, 40 low 32 bits of XXH3 of bytes 0-39,
 *                     44 zero
 *   page 97 on      slots: 8192 blocks of 8 KiB
 * A slot is written once. The table is written when the extent is sealed and at checkpoints; until then the log describes the slots.
 * `sequence` rises with every change of a block version (taken under the inode's lock), and stays with it when the collector moves it:
 * of two slots for the same block version the one with the higher sequence is newer, of two with the same one the one moved more often.
 * The table on disk names only slots that the log has described (see scrub/README.md, which needs that).
 *
 * Streams: front writes and the collector's moves fill different extents, so that what dies together lies together. Blocks of files that are used through
 * the kernel's page cache have a stream of their own: all slots of an extent are written in one way, as nf_io.h wants it.
 * Threading: thread-safe; `lock` guards the table of extents and each extent's counts. */
#ifndef BD_EXTENT_H
#define BD_EXTENT_H

#include "blockdev/bd_impl.h"

#define BD_EXTENT_SLOTS 8192u
#define BD_EXTENT_SLOT_SIZE 48u
#define BD_EXTENT_DATA_OFFSET (NF_IO_ALIGN + BD_EXTENT_SLOTS * BD_EXTENT_SLOT_SIZE)
#define BD_EXTENT_BYTES (BD_EXTENT_DATA_OFFSET + (uint64_t)BD_EXTENT_SLOTS * NF_BLOCK_SIZE)

enum bd_stream { BD_STREAM_FRONT, BD_STREAM_CACHED, BD_STREAM_MOVED, BD_STREAMS };

struct bd_slot {
	struct bd_block_id id;
	struct bd_age age;
	uint64_t sum;
};

struct bd_extent_stat {
	uint32_t id, used, live;
	uint32_t allocated;	/* slots it has disk for; after a crash more than it uses */
	bool sealed, filling;	/* filling: writers have slots that they have not filled yet */
	bool damaged;		/* a checksum did not match: not to be collected */
	bool away;		/* in the object store only */
};

NF_MUST_CHECK int bd_extents_init(struct bd_store *store);
/* Load what the index says of extents. */
NF_MUST_CHECK int bd_extents_load(struct bd_store *store);
/* Before anything is written: remove spare files that a crash has left. One that cannot be removed is told and left. */
NF_MUST_CHECK int bd_extents_remove_leftovers(struct bd_store *store);
/* After the log was replayed: remove files that nothing knows. */
NF_MUST_CHECK int bd_extents_settle(struct bd_store *store);
void bd_extents_free(struct bd_store *store);

/* The first page of the file of extent `id`: NF_IO_ALIGN bytes. */
void bd_extent_header(uint64_t store_id, uint32_t id, void *page);

/* Room for up to `want` consecutive blocks in the stream's extent; the extent is held until bd_extent_put. -ENOSPC. */
NF_MUST_CHECK int bd_extent_alloc(struct bd_store *store, enum bd_stream stream, unsigned want,
				  struct bd_extent **ret_extent, uint32_t *ret_slot, unsigned *ret_count);
/* Write `count` aligned blocks into allocated slots; those of BD_STREAM_CACHED into the kernel's page cache. */
NF_MUST_CHECK int bd_extent_write(struct bd_store *store, struct bd_extent *extent, uint32_t slot, unsigned count,
				  void *data);
/* The slots hold these versions now (counted live). *ret_sequence: bd_extents_sync up to it makes them durable. */
void bd_extent_fill(struct bd_store *store, struct bd_extent *extent, uint32_t slot, unsigned count,
		    const struct bd_block_id *first, const uint64_t *sums, uint64_t *ret_sequence);
/* The same for one block that was moved: it keeps its sequence. Its bytes are durable already (bd_extent_wrote, bd_extents_sync). */
void bd_extent_fill_moved(struct bd_store *store, struct bd_extent *extent, uint32_t slot, const struct bd_block_id *id,
			  uint64_t sum, struct bd_age age);
/* Bytes were written: the next bd_extents_sync makes them durable. */
void bd_extent_wrote(struct bd_store *store, struct bd_extent *extent);
/* Allocated slots will not be filled. */
void bd_extent_abandon(struct bd_store *store, struct bd_extent *extent, unsigned count);
/* A new sequence number; the last one given out; make the next ones higher than `least`. */
uint64_t bd_extents_tick(struct bd_store *store);
uint64_t bd_extents_sequence(struct bd_store *store);
void bd_extents_raise(struct bd_store *store, uint64_t least);
uint32_t bd_extent_id(const struct bd_extent *extent);
void bd_extent_put(struct bd_store *store, struct bd_extent *extent);

/* Hold an extent for reading. -ESTALE when it is gone. */
NF_MUST_CHECK int bd_extent_get(struct bd_store *store, uint32_t id, struct bd_extent **ret_extent);
bool bd_extent_exists(struct bd_store *store, uint32_t id);
/* May it be read through the kernel's page cache? Nobody writes to slots of it past that. */
bool bd_extent_may_cache(struct bd_store *store, const struct bd_extent *extent);
/* The op that reads `count` slots. */
struct nf_io_op bd_extent_read_op(struct bd_extent *extent, uint32_t slot, unsigned count, void *buf);

/* Everything filled with a sequence <= the returned one is durable. */
NF_MUST_CHECK int bd_extents_sync(struct bd_store *store, uint64_t *ret_sequence);
/* Synced up to here already. */
uint64_t bd_extents_synced(struct bd_store *store);
/* Counts: one more or fewer index key refers to the slot. Places outside extents are ignored. */
void bd_extent_count(struct bd_store *store, uint64_t loc, int delta);
/* For checkpoints: write tables and counts that changed. The counts go into `batch`. Slots with a sequence above `until` are left out until
 * the next time: the log does not describe them yet. */
NF_MUST_CHECK int bd_extents_write_tables(struct bd_store *store, uint64_t until, struct bd_index_batch *batch);
/* Recovery: the log says that a slot run is used. */
NF_MUST_CHECK int bd_extent_replay_record(struct bd_store *store, const void *key, size_t key_size, const void *value,
					  size_t size); /* an 'E' record put, or deleted (value NULL) */
NF_MUST_CHECK int bd_extent_replay_run(struct bd_store *store, const struct bd_run *run);
/* Recovery: the log has a 'T' record of that key. Was it made, the table on disk was whole by then: what was replayed into the one in memory is given up. */
void bd_extent_replay_packed(struct bd_store *store, const void *key, size_t key_size);

/* Collector. All sealed extents (malloc'd). */
NF_MUST_CHECK int bd_extents_list(struct bd_store *store, struct bd_extent_stat **ret_stats, size_t *ret_count);
/* The slot table of an extent, BD_EXTENT_SLOTS entries, free(). Entries with file 0 are unused or damaged (*ret_bad). */
NF_MUST_CHECK int bd_extent_slots(struct bd_store *store, struct bd_extent *extent, struct bd_slot **ret_slots, uint32_t *ret_bad);
/* Seal the current extents of the streams of new blocks, so that they can be collected. */
NF_MUST_CHECK int bd_extents_seal_new(struct bd_store *store);
NF_MUST_CHECK int bd_extents_seal(struct bd_store *store, enum bd_stream stream);
uint32_t bd_extents_next_id(struct bd_store *store);
void bd_extents_set_next_id(struct bd_store *store, uint32_t least);
/* Disk space that front writes leave alone, of a disk of this size. */
uint64_t bd_extents_reserve(uint64_t total_bytes);
/* Give back what open extents reserved and did not use: at a clean close, and after a collection that was asked for. */
NF_MUST_CHECK int bd_extents_trim_open(struct bd_store *store);
/* Will the file never change any more? Sealed, every slot filled or given up, its table on disk, and what describes its slots in the log lies before the
 * position from which recovery would replay. So a checkpoint has begun and ended since the table was written. */
bool bd_extent_is_settled(struct bd_store *store, uint32_t id);
/* Is the slot table on disk, and will not be written any more? (It may not be durable yet.) */
bool bd_extent_table_is_final(struct bd_store *store, struct bd_extent *extent);
/* Read `size` bytes of the file from `offset` (aligned), as they are on disk: header, slot table, slots. -ENODATA behind its end. */
NF_MUST_CHECK int bd_extent_read_file(struct bd_store *store, struct bd_extent *extent, uint64_t offset, void *buf, size_t size);
/* While an extent is being collected its slots must not get new references. */
void bd_extent_set_collecting(struct bd_store *store, uint32_t id, bool collecting);
void bd_extent_set_damaged(struct bd_store *store, uint32_t id);
/* May a new reference to this slot be made? */
bool bd_extent_can_share(struct bd_store *store, uint32_t id);
/* Take the extent out of the table (readers who hold it go on) and delete its file, or keep that as a spare. Nothing may refer to the extent,
 * and that must be durable. */
NF_MUST_CHECK int bd_extent_remove(struct bd_store *store, uint32_t id);
struct bd_extent_totals {
	uint64_t extents, bytes, live_bytes, used_bytes; /* bytes: on disk, with tables */
	uint64_t spare_bytes;				 /* beside them: files that wait to be used again */
};
struct bd_extent_totals bd_extents_totals(struct bd_store *store);
/* Delete all spare files when the disk gets full; else one that nobody has wanted for a while, at most one a second. To be called often. */
void bd_extents_age_spares(struct bd_store *store);
/* Set the count of live slots as a scrub has found it. */
void bd_extent_set_live(struct bd_store *store, uint32_t id, uint32_t live);

#endif
