/* Inside of lazy: shared by lazy*.c alone. */
#ifndef WA_LAZY_IMPL_H
#define WA_LAZY_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "walapply/images/wa_images.h"
#include "walapply/materialise/wa_materialise.h"
#include "walapply/pitr/history_impl.h"
#include "walapply/pitr/lazy_plan.h"
#include "walapply/pitr/wa_lazy.h"

#define LZ_DIRECTORY "layers"
#define LZ_NAME_MAX 50u
#define LZ_CACHED_PAGES 512u /* of WAL, for a layer that is in use */
#define LZ_CACHE_WAYS 8u
#define LZ_INDEX_MAX (1u << 30) /* bytes of one index */

/* A layer that the head has no use for any more, while others still look through it. */
struct lz_drained {
	uint32_t branch, epoch;
};

struct wa_lazy {
	struct bd_store *store;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	/* guarded by lock */
	uint64_t next_name; /* of layers in the making */
	unsigned making; /* how many there are: their directories are nobody's garbage */
	struct lz_drained *drained;
	size_t drained_count, drained_room;
	bool is_stopping, is_wanted; /* a layer was made */
	bool has_thread;
	uint64_t drain_rate, drain_memory; /* const once the thread runs */
	pthread_t thread;
};

/* The drain at work: one thread or several. */
struct lz_draining {
	struct wa_lazy *lazy;
	int64_t ready_ns; /* not before it may go on (CLOCK_MONOTONIC); guarded by lazy->lock */
	_Atomic uint64_t blocks, wal_bytes; /* made and read so far */
	uint64_t windows; /* so far; one thread's */
};

/* Make what the layer still has to make in the head of its branch (lazy_window.c). What can be made is, also when some of it cannot.
 * -ECANCELED the drain is to stop; -ENOENT, -ESTALE the branch was deleted; -EIO blocks that cannot be made (logged); an error of the store. */
NF_MUST_CHECK int lz_drain_layer(struct lz_draining *draining, const struct bd_layer_info *info, const char *name);
/* After `bytes` were read or are about to be written: wait as long as they may take. -ECANCELED. */
NF_MUST_CHECK int lz_pace(struct lz_draining *draining, uint64_t bytes);

/* A layer was made: the drain looks for it after a while. */
void lz_wake(struct wa_lazy *lazy);

/* WAL of a plan by page. Each page is read once while it stays in the cache, but by readers that want it in the same moment. */
struct lz_log {
	struct bd_store *store;
	const struct lz_plan *plan;
	struct bd_inode *dirs[LZ_PLACES]; /* NULL: there is none */
	pthread_mutex_t lock;
	/* guarded by lock */
	struct bd_inode **files; /* a segment each, opened when needed */
	uint64_t held[LZ_CACHED_PAGES]; /* which page is in the place; UINT64_MAX none */
	uint8_t hands[LZ_CACHED_PAGES / LZ_CACHE_WAYS]; /* of each set: the place that is given away next */
	uint8_t *pages;
};

/* `base`: the view of LZ_IN_BASE. */
NF_MUST_CHECK int lz_log_open(struct lz_log *log, struct bd_store *store, const struct lz_plan *plan, struct bd_view base,
			      struct bd_inode *dir);
void lz_log_close(struct lz_log *log);
/* wa_range.read_log; arg is the lz_log. Thread-safe. */
NF_MUST_CHECK int lz_log_page(void *arg, struct nf_lsn at, uint8_t *page);
/* wa_range.read_ahead: into the cache. */
void lz_log_ahead(void *arg, const struct nf_lsn *pages, unsigned count);
/* `count` pages, BD_SCATTERED_MAX at most, from anywhere, with one batch of reads of the disk and past the cache, one behind the other into `bytes`
 * (nf_io_buffer). Results as lz_log_page. Thread-safe. */
NF_MUST_CHECK int lz_log_scattered(struct lz_log *log, const struct nf_lsn *pages, unsigned count, uint8_t *bytes);
/* `count` pages from `at` on, past the cache. Results as lz_log_page. Thread-safe. */
NF_MUST_CHECK int lz_log_read(struct lz_log *log, struct nf_lsn at, size_t count, uint8_t *bytes);

#define LZ_INDEX_UNIT (16u << 10) /* bytes of an index file that are read and kept together */
#define LZ_INDEX_UNITS 2048u /* kept of a layer's indexes, or one an index where there are more indexes */

struct lz_indexes;

/* One index, of a segment or of a run of them: what fetches its pieces needs. */
struct lz_index {
	struct wa_run run;
	uint8_t *bytes; /* the tables, or all of it; NULL: not loaded */
	struct bd_inode *file; /* NULL where all is in memory */
	uint64_t file_size;
	uint32_t places; /* for units in memory */
	pthread_mutex_t lock;
	/* guarded by lock */
	uint64_t *held; /* of each place: which unit is in it; UINT64_MAX none */
	uint8_t **units; /* NULL: nothing was there yet */
	uint64_t last_unit; /* asked for */
};

/* Indexes of a plan's segments, in the order of the log. */
struct lz_indexes {
	const struct lz_plan *plan;
	struct bd_inode *dir; /* their files */
	uint32_t count;
	bool has_runs; /* an index of several segments is in use */
	struct wa_index *views;
	struct lz_index *each;
};

/* One a segment; none is loaded yet. -ENOMEM. */
NF_MUST_CHECK int lz_indexes_open(struct lz_indexes *indexes, const struct lz_plan *plan, struct bd_inode *dir);
/* All of that of segment `i` of the plan, if it is not there yet. -EUCLEAN damaged or missing (logged). One thread at a time. */
NF_MUST_CHECK int lz_indexes_load(struct lz_indexes *indexes, uint32_t i);
/* Open, and load the tables of all of them: pieces are read when they are asked for, and LZ_INDEX_UNITS kept. Reading is thread-safe then. One of a run
 * that cannot be used (or of any, without `use_runs`) is replaced by its segments', one of a segment by another that is made from the WAL. */
NF_MUST_CHECK int lz_indexes_open_tables(struct lz_indexes *indexes, const struct lz_plan *plan, struct lz_log *log,
					 struct bd_inode *dir, bool use_runs);
/* The pieces that a look-up of the block begins with, of all indexes together: what has to come from the disk for it comes with one batch of reads. What goes
 * wrong is found by the look-up. Thread-safe. */
void lz_indexes_ahead(struct lz_indexes *indexes, const struct wa_block *block);
void lz_indexes_free(struct lz_indexes *indexes);
/* What an index file says of itself, from its head. As wa_index_read_info; -ENOMEM; an error of the store. */
NF_MUST_CHECK int lz_index_info(struct bd_inode *file, struct wa_index_info *ret_info);
/* Has an index every record of segment `i` of the plan from plan->from on? `behind`: the end of the last record from there on that begins before the
 * segment (without one: plan->from). An index does not say where the log was read from: one whose first record is not the very next one has not. */
bool lz_index_fits(const struct lz_plan *plan, uint32_t i, struct nf_lsn behind, const struct wa_index_info *info);
/* Make the index of the segment `number` from its WAL, up to plan->to: *ret_size bytes to be freed. -ENODATA the WAL ends before; -EBADMSG (message). */
NF_MUST_CHECK int lz_index_make(const struct lz_plan *plan, struct lz_log *log, uint64_t number, uint8_t **ret_bytes,
				size_t *ret_size, char *ret_message, size_t size);
/* The same, and write it into dir. */
NF_MUST_CHECK int lz_index_build(const struct lz_plan *plan, struct lz_log *log, uint64_t number, struct bd_inode *dir,
				 char *ret_message, size_t size);

struct lz_image_file {
	struct bd_inode *file;
	uint8_t *tables;
	struct wa_images view;
};

/* Images of hot pages that a layer has. */
struct lz_images {
	const struct lz_plan *plan;
	struct bd_inode *dir; /* the layer's, not its own */
	_Atomic uint64_t used;
	pthread_mutex_t lock;
	/* written under lock once, when the first one is asked for */
	bool is_loaded;
	size_t count;
	struct lz_image_file *files; /* the newest first */
};

void lz_images_open(struct lz_images *images, const struct lz_plan *plan, struct bd_inode *dir);
void lz_images_close(struct lz_images *images); /* zeros are legal */
/* wa_range.image; arg is the lz_images. Thread-safe. */
NF_MUST_CHECK int lz_images_find(void *arg, const struct wa_block *block, struct nf_lsn origin, struct nf_lsn to, uint8_t *page,
				 struct nf_lsn *ret_last);
/* Link those of the source's history that are of the plan's segments into the directory of a layer in the making. */
NF_MUST_CHECK int lz_images_link(struct bd_store *store, const struct lz_plan *plan, struct bd_branch_id source, struct bd_inode *layer);

/* Does the record at `lsn`, a PARAMETER_CHANGE, leave wal_log_hints as the plan has it? Pages look the same then. 1; 0 it does not; an error. */
NF_MUST_CHECK int lz_keeps_hints(const struct lz_plan *plan, struct lz_log *log, struct nf_lsn lsn);

/* The name of the index of a run, also of one segment. */
void lz_index_name(const struct lz_plan *plan, struct wa_run run, char name[WH_RUN_NAME + 1]);
/* The name of a plan's segment. */
void lz_segment_name(const struct lz_plan *plan, uint64_t number, char name[WA_SEGMENT_NAME + 1]);

/* The range of a plan, for materialise. */
struct wa_range lz_range(const struct lz_plan *plan, const struct lz_indexes *indexes, struct lz_log *log);

/* As wa_lazy_begin. Without `use_runs` each segment has its own index, with the state. */
NF_MUST_CHECK int lz_begin(struct wa_lazy *lazy, const struct wa_lazy_base *base, struct nf_lsn to, bool use_runs,
			   struct wa_lazy_layer **ret_layer, char *ret_message, size_t message_size);
/* The same of a layer in the making, begun without runs; as long as it is. All its indexes are loaded: errors as lz_indexes_load. */
NF_MUST_CHECK int lz_layer_range(struct wa_lazy_layer *layer, struct wa_range *ret_range);

/* .history/layers, made when `make`. -ENOENT. */
NF_MUST_CHECK int lz_directory(struct bd_store *store, bool make, struct bd_inode **ret_dir);

#define LZ_WAL_BRANCH ".wal-" /* and the layer's name */
void lz_wal_branch_name(const char *layer, char name[BD_BRANCH_NAME_MAX + 1]);
/* Remove what is kept for a layer: its directory in `all` and its branch. 0 also when they are not there. */
NF_MUST_CHECK int lz_remove_kept(struct bd_store *store, struct bd_inode *all, const char *name);
/* The same for a layer that was just taken away. */
NF_MUST_CHECK int lz_remove_drained(struct wa_lazy *lazy, const char *name);

/* The plan of the layer kept as `name`, and its directory (ret_dir may be NULL), one reference. -ENOENT; as lz_plan_decode; an error of the store. */
NF_MUST_CHECK int lz_plan_read(struct bd_store *store, const char *name, struct lz_plan *ret_plan, struct bd_inode **ret_dir);

/* Facts of a layer (bd.h): magic u32, version u32, name with its NUL. Returns their size. */
size_t lz_facts_make(const char *name, uint8_t facts[WA_LAZY_FACTS_MAX]);
NF_MUST_CHECK int lz_facts_name(const void *facts, size_t size, char name[LZ_NAME_MAX + 1]); /* -EUCLEAN; -EPROTONOSUPPORT */

#endif
