/* The object `store`: that a URL is a neonfs store's, and which one's. JSON: version, store_id (16 hexadecimal digits), created_s. Put once, by `neonfs init`. */
#ifndef BD_TIER_MARK_H
#define BD_TIER_MARK_H

#include "blockdev/tier/object/object.h"

#define BD_MARK_KEY "store"

struct bd_mark {
	uint64_t store_id;
	int64_t created_s; /* Unix time */
};

/* -EEXIST there is one already (`conditional`: that is the place's word; else it was looked for before, which another machine may overtake); others as of ob_run, with a message. */
NF_MUST_CHECK int bd_mark_put(struct ob_client *client, const struct bd_mark *mark, bool conditional, char *message, size_t size);
/* -ENOENT no store there; -EUCLEAN an object that is none of ours; -EPROTONOSUPPORT newer; others as of ob_run, with a message. */
NF_MUST_CHECK int bd_mark_get(struct ob_client *client, struct bd_mark *ret_mark, char *message, size_t size);

#endif
