/* Images of hot pages in the making: shared by hot*.c alone. */
#ifndef WA_HOT_IMPL_H
#define WA_HOT_IMPL_H

#include "walapply/images/wa_images.h"
#include "walapply/materialise/wa_materialise.h"
#include "walapply/pitr/history_impl.h"

#define HOT_INDEX_MAX (64u << 20) /* bytes of one index, or file of images */

/* A page that goes with the log. */
struct wh_hot_page {
	struct wa_block block;
	struct nf_lsn origin; /* the record that made it from nothing; 0: it is no good */
	uint32_t since; /* records since the last image, or since the origin */
	uint32_t score, idle;
	uint64_t seen; /* the segment that had records of it last */
	uint8_t bytes[WA_PAGE_SIZE];
};

/* The index of a segment that was gone through. */
struct wh_hot_index {
	uint64_t number;
	uint32_t timeline;
	size_t size;
	uint8_t *bytes;
	struct wa_index view;
};

/* A segment that is to be gone through. */
struct hot_job {
	uint64_t number, generation, system_id;
	uint32_t segment_size, timeline, next_timeline;
	struct wa_version version;
	struct bd_inode *index, *kept, *live, *images;
};

/* hot_log.c: WAL of full segments, wherever their files are. */

/* One segment's file. What is read in pg_wal counts if the name still stands for the file afterwards (log.c). */
struct hot_file {
	uint64_t number;
	uint32_t timeline;
	struct bd_inode *file; /* NULL: not opened */
	bool is_live;
};
NF_MUST_CHECK int wh_hot_open(const struct hot_job *job, struct hot_file *file); /* number and timeline are set; -ENOENT */
/* Was what was read what the segment has? */
bool wh_hot_still_there(const struct hot_job *job, const struct hot_file *file);
void wh_hot_close(struct hot_file *file);
/* `size` bytes from the segment's start on. */
NF_MUST_CHECK int wh_hot_read(const struct hot_job *job, uint64_t number, uint32_t timeline, uint8_t *bytes, size_t size);

/* hot_back.c: a page that is found to be hot later than it was made from nothing. */

/* Bring the page of page->block to the start of the job's segment, by what is behind: 1 with its bytes, origin and since; 0 it cannot be had; -ENOMEM. */
NF_MUST_CHECK int wh_hot_look_back(const struct wh_hot *hot, const struct hot_job *job, struct wh_hot_page *page);
/* The segment was gone through: its index, with its bytes, is behind now. Takes them over, also on error. -ENOMEM. */
NF_MUST_CHECK int wh_hot_put_behind(struct wh_hot *hot, const struct wh_hot_index *index);
bool wh_hot_has_event(const struct wa_index *index, struct wa_locator rel); /* of the relation or its database */

/* The segment's records onto the hot pages, and its images; *ret_bytes is NULL where there are none. On error the pages are not those of the segment's end. */
NF_MUST_CHECK int wh_hot_make(struct wh_hot *hot, const struct hot_job *job, uint8_t **ret_bytes, size_t *ret_size);
/* Forget all pages. */
void wh_hot_drop(struct wh_hot *hot);

/* Under work: does anybody want what was made for the job? */
bool wh_hot_wanted(const struct wh_entry *entry, const struct hot_job *job);
/* Under work: what files of images take, more and less. */
NF_MUST_CHECK int wh_hot_count(struct wh_entry *entry, uint64_t more, uint64_t less);
/* Put the files of images together, of the runs that the job's segment is the last one of. */
NF_MUST_CHECK int wh_hot_merge(struct wh_entry *entry, const struct hot_job *job);

#endif
