/* Blocks that are made when they are read (make.c). */
#ifndef BD_MAKE_H
#define BD_MAKE_H

#include "blockdev/layer/layer.h"

#define MAKE_BLOCKS_MAX 128u /* of one call */

struct maker;
/* Under no lock. False: somebody else was making some of these blocks of a head; it was waited for, look again. Else they are this caller's until
 * make_leave; *ret_maker may be NULL then too. */
NF_MUST_CHECK bool make_enter(struct bd_inode *inode, uint32_t first, uint32_t end, struct maker **ret_maker);
void make_leave(struct bd_store *store, struct maker *maker);
/* Under no lock: those of the blocks from `first` on that have a layer, into their places of `buf`. -EIO (logged); -EUCLEAN. */
NF_MUST_CHECK int make_blocks(struct bd_inode *inode, uint32_t first, uint32_t count, struct bd_layer *const *layers,
			      uint8_t *buf);
/* Under no lock: store blocks from all over a head's file, each made by its layer, with one write. `count` <= MAKE_BLOCKS_MAX. */
NF_MUST_CHECK int make_store_at(struct bd_inode *inode, const uint32_t *blocks, uint32_t count, struct bd_layer *const *layers,
				const uint8_t *const *pages);
/* Under no lock: as make_store, but soon, by a thread of its own, where there is one and the blocks are few; otherwise at once. What becomes of it nobody is
 * told: a block that is not stored is made again. */
void make_store_later(struct bd_inode *inode, uint32_t first, uint32_t count, struct bd_layer *const *layers, const uint8_t *buf);
/* Under no lock: in a head, store them. */
NF_MUST_CHECK int make_store(struct bd_inode *inode, uint32_t first, uint32_t count, struct bd_layer *const *layers,
			     const uint8_t *buf);

#endif
