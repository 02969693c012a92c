/* Questions about a branch's history: its entry at work, its WAL as records, the indexes of its segments. Inside of history. */
#ifndef WA_HISTORY_ASKED_H
#define WA_HISTORY_ASKED_H

#include "walapply/pitr/history_impl.h"

/* An entry at work, with its pg_wal. */
struct asked {
	struct wh_entry *entry;
	struct bd_inode *live;
	char *message;
	size_t message_size;
};

/* Take the branch's work lock; `all`: after bringing it up to its end. On success wh_leave is due. -ENODATA no history; the message says so. */
NF_MUST_CHECK int wh_enter(struct wa_history *history, struct bd_branch_id branch, bool all, struct asked *ret_asked,
			   char *ret_message, size_t size);
/* Enter, with x inside the window; else -ERANGE. */
NF_MUST_CHECK int wh_enter_at(struct wa_history *history, struct bd_branch_id branch, struct nf_lsn x, struct asked *ret_asked,
			      char *ret_message, size_t size);
void wh_leave(struct asked *asked);

/* Each record from the segment at `start` on; a non-zero return of `each` ends it: 1 is success. */
NF_MUST_CHECK int wh_scan(struct asked *asked, struct nf_lsn start, int (*each)(void *arg, const struct wa_record *record), void *arg);

/* What the index of the segment at `start` says of it: its head alone is read. */
NF_MUST_CHECK int wh_index_info(struct asked *asked, struct nf_lsn start, struct wa_index_info *ret_info);
/* Its tables, bytes to be freed: of such an index no entries and no state can be read. */
NF_MUST_CHECK int wh_load_tables(struct asked *asked, struct nf_lsn start, struct wa_index *ret_index, uint8_t **ret_bytes);
/* All of it, its bytes to be freed. */
NF_MUST_CHECK int wh_load_index(struct asked *asked, struct nf_lsn start, struct wa_index *ret_index, uint8_t **ret_bytes);

#endif
