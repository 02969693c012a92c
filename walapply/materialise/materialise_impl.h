/* Shared by path.c, record.c and materialise.c alone. */
#ifndef WA_MATERIALISE_IMPL_H
#define WA_MATERIALISE_IMPL_H

#include "walapply/materialise/wa_materialise.h"

/* A stretch of the log in which the block is found under one name: records that start in [from, to). */
struct mt_leg {
	struct wa_block block;
	struct nf_lsn from, to;
};

/* The way of a block through the range, oldest leg first. */
struct mt_path {
	struct mt_leg legs[WA_COPIES_MAX + 1];
	unsigned count;
	bool is_blank; /* the relation was cut or dropped where the first leg begins: what the base has there does not count */
};

/* Returns 0 or -ELOOP. */
NF_MUST_CHECK int mt_path_find(const struct wa_range *range, const struct wa_block *block, struct mt_path *ret_path);

#endif
