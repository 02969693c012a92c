/* Timeline numbers, of which a store hands out each one once. */
#include <stdlib.h>
#include <xxhash.h>

#include "common/nf_cursor.h"
#include "common/nf_log.h"
#include "walapply/pitr/history_impl.h"

#define TIMELINE "timeline" /* beside the branches' directories: the last number handed out, and its XXH3 */

/* The last number handed out; 0 without a file. */
static int read_timeline(struct bd_inode *root, uint32_t *ret_timeline)
{
	struct bd_inode *file;
	uint8_t *bytes;
	size_t size;
	*ret_timeline = 0;
	int error = bd_lookup(root, TIMELINE, &file);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	error = wh_read(file, NF_BLOCK_SIZE, &bytes, &size);
	bd_inode_unref(file, 1);
	if (error != 0)
		return error;
	struct nf_reader r = nf_reader_init(bytes, size);
	uint32_t timeline = nf_read_u32(&r);
	uint64_t sum = nf_read_u64(&r);
	if (r.failed || nf_reader_left(&r) != 0 || XXH3_64bits(bytes, 4) != sum) {
		nf_error("%s/" TIMELINE " is damaged; remove it when no branch at an LSN is in use", WA_HISTORY_BRANCH);
		error = -EUCLEAN;
	}
	free(bytes);
	if (error == 0)
		*ret_timeline = timeline;
	return error;
}

int wa_history_new_timeline(struct wa_history *history, uint32_t above, uint32_t *ret_timeline)
{
	struct bd_inode *root;
	uint8_t bytes[12];
	uint32_t last;
	pthread_mutex_lock(&history->root_lock);
	int error = wh_root(history->store, true, &root);
	if (error == 0) {
		error = read_timeline(root, &last);
		uint32_t next = NF_MAX(last, above) + 1;
		if (error == 0 && next == 0)
			error = -ERANGE;
		if (error == 0) {
			struct nf_writer w = nf_writer_init(bytes, sizeof(bytes));
			nf_write_u32(&w, next);
			nf_write_u64(&w, XXH3_64bits(bytes, 4));
			error = wh_write(root, TIMELINE, 0600, bytes, w.offset);
		}
		bd_inode_unref(root, 1);
		if (error == 0)
			*ret_timeline = next;
	}
	pthread_mutex_unlock(&history->root_lock);
	return error;
}
