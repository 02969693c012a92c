/* Images of hot pages: what a block is in the middle of a long row of records, so that a reader need not begin at the row's beginning.
 *
 * An image belongs to the record that made its page from nothing, its `origin`, and has all records of the block up to the one at `last`. Who makes a block
 * from just that origin may take it and go on behind `last`: the result is the same, byte for byte. Who begins elsewhere may not.
 * A file has the images of a range of WAL, a segment's or several segments'. Bytes in, bytes out. Every byte is under a checksum: those of the tables are
 * checked when it is opened, those of an image when it is unpacked. A file or an image that is missing or damaged is no reason to fail, only slow.
 *
 * All functions are pure and thread-safe, each builder for one thread. */
#ifndef WA_IMAGES_H
#define WA_IMAGES_H

#include "walapply/decode/wa_record.h"

#define WA_IMAGES_VERSION 1u
#define WA_IMAGES_MAX (1u << 20) /* of a file */
#define WA_IMAGES_MERGE_MAX 64u /* files put together at once */

/* What a file is about. Pages look otherwise with another version. */
struct wa_images_info {
	struct wa_version version;
	uint64_t system_id;
	struct nf_lsn base, limit; /* each image's last record starts in [base, limit) */
};

struct wa_image {
	struct wa_block block;
	struct nf_lsn origin, last; /* where the records start */
};

/* An image in a file. */
struct wa_image_place {
	struct wa_image image;
	uint64_t offset; /* in the file */
	uint32_t size; /* bytes there: 1 .. WA_PAGE_SIZE */
	uint64_t hash;
};

/* ------------------------------------------------------------- building */

struct wa_images_builder;

/* Returns 0; -EINVAL an empty range; -ENOMEM. */
NF_MUST_CHECK int wa_images_builder_new(const struct wa_images_info *info, struct wa_images_builder **ret_builder);
void wa_images_builder_free(struct wa_images_builder *builder); /* NULL is legal */

/* One image more, sorted by block (tablespace, database, relation, fork, number), then `last`.
 * Returns 0; -EINVAL it is out of order or outside of the range; -ENOSPC there are WA_IMAGES_MAX; -ENOMEM. */
NF_MUST_CHECK int wa_images_add(struct wa_images_builder *builder, const struct wa_image *image,
				const uint8_t page[WA_PAGE_SIZE]);

/* Bytes of the file as it is now. */
size_t wa_images_size(const struct wa_images_builder *builder);
/* The file: *ret_size bytes to be freed with free(). Returns 0 or -ENOMEM. */
NF_MUST_CHECK int wa_images_finish(const struct wa_images_builder *builder, uint8_t **ret_bytes, size_t *ret_size);

/* -------------------------------------------------------------- reading */

/* A file being read: a view of its tables, which must stay. */
struct wa_images {
	struct wa_images_info info;
	const uint8_t *rows; /* private */
	uint32_t count;
	uint64_t file_size;
};

#define WA_IMAGES_HEADER 80u
/* How many bytes from the start of the file its tables take, told from its head: WA_IMAGES_HEADER bytes at least. Returns as wa_images_open. */
NF_MUST_CHECK int wa_images_tables_size(const uint8_t *head, size_t size, size_t *ret_size, struct wa_error *error);

/* Check header and table, in the first `size` bytes of a file of `file_size`.
 * Returns 0; -ENOTSUP another version (error); -EBADMSG damaged, or no such file (error). */
NF_MUST_CHECK int wa_images_open(const uint8_t *bytes, size_t size, uint64_t file_size, struct wa_images *ret_images,
				 struct wa_error *error);

struct wa_image_place wa_images_at(const struct wa_images *images, uint32_t i); /* i < count */

/* The newest image of `block` with this origin and a last record before `to`. */
NF_MUST_CHECK bool wa_images_find(const struct wa_images *images, const struct wa_block *block, struct nf_lsn origin,
				  struct nf_lsn to, struct wa_image_place *ret_place);

/* The page from the place's bytes. Returns 0; -EBADMSG damaged (error). */
NF_MUST_CHECK int wa_image_unpack(const struct wa_image_place *place, const uint8_t *bytes, uint8_t page[WA_PAGE_SIZE],
				  struct wa_error *error);

/* -------------------------------------------------------------- merging */

/* One file of several, each with all of its bytes behind its tables, in the order of the log. *ret_size bytes to be freed.
 * Returns 0; -EINVAL they overlap, are none, too many or of different clusters or versions; -ENOSPC; -ENOMEM. */
NF_MUST_CHECK int wa_images_merge(const struct wa_images *parts, size_t count, struct nf_lsn base, struct nf_lsn limit,
				  uint8_t **ret_bytes, size_t *ret_size);

#endif
