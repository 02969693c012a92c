/* See asked.h. */
#include "walapply/pitr/asked.h"

#include <stdlib.h>
#include <string.h>

static int no_history(char *ret_message, size_t size)
{
	return wh_say(ret_message, size, -ENODATA, "the branch keeps no history; turn it on with neonfs-branch retain");
}

void wh_leave(struct asked *asked)
{
	bd_inode_unref(asked->live, 1);
	pthread_mutex_unlock(&asked->entry->work);
}

int wh_enter(struct wa_history *history, struct bd_branch_id branch, bool all, struct asked *ret_asked, char *ret_message,
	     size_t size)
{
	struct wh_entry *entry = wh_find(history, branch);
	if (entry == NULL)
		return no_history(ret_message, size);
	pthread_mutex_lock(&entry->work);
	int error = entry->is_on ? 0 : no_history(ret_message, size);
	if (error == 0 && (all || entry->facts.segment_size == 0))
		error = wh_follow(entry, all, ret_message, size);
	if (error == 0)
		error = wh_path(history->store, wh_head(branch), "pg_wal", &ret_asked->live);
	if (error != 0) {
		pthread_mutex_unlock(&entry->work);
		return error;
	}
	*ret_asked = (struct asked){.entry = entry, .live = ret_asked->live, .message = ret_message, .message_size = size};
	return 0;
}

int wh_enter_at(struct wa_history *history, struct bd_branch_id branch, struct nf_lsn x, struct asked *ret_asked,
		char *ret_message, size_t size)
{
	int error = wh_enter(history, branch, false, ret_asked, ret_message, size);
	if (error == 0 && x.v > ret_asked->entry->tail.end.v) {
		wh_leave(ret_asked);
		error = wh_enter(history, branch, true, ret_asked, ret_message, size);
	}
	if (error != 0)
		return error;
	const struct wa_facts_base *oldest = wa_facts_oldest(&ret_asked->entry->facts);
	struct nf_lsn latest = ret_asked->entry->tail.end;
	if (oldest == NULL || x.v < oldest->written.v)
		error = wh_say(ret_message, size, -ERANGE, NF_LSN_FMT " is before the earliest point kept, " NF_LSN_FMT,
			       NF_LSN_ARG(x), NF_LSN_ARG(oldest != NULL ? oldest->written : latest));
	else if (x.v > latest.v)
		error = wh_say(ret_message, size, -ERANGE, NF_LSN_FMT " is behind the end of the branch's WAL, " NF_LSN_FMT,
			       NF_LSN_ARG(x), NF_LSN_ARG(latest));
	if (error != 0)
		wh_leave(ret_asked);
	return error;
}

/* ------------------------------------------------------------- scanning */

int wh_scan(struct asked *asked, struct nf_lsn start, int (*each)(void *arg, const struct wa_record *record), void *arg)
{
	struct wh_entry *entry = asked->entry;
	struct wh_log log;
	const struct wa_record *record;
	/* Before the oldest base's redo pointer a segment may hold anything. */
	struct wh_log_start from = {.lsn = start, .find = true};
	const struct wa_facts_base *oldest = wa_facts_oldest(&entry->facts);
	if (oldest != NULL && oldest->redo.v > start.v && oldest->redo.v - start.v < entry->facts.segment_size)
		from = (struct wh_log_start){.lsn = oldest->redo};
	int status = wh_log_open(&log, &entry->facts, asked->live, entry->wal, from);
	if (status != 0)
		return wh_say(asked->message, asked->message_size, status, "cannot read the WAL: %s", strerror(-status));
	int done = 0;
	while (done == 0 && (status = wh_log_next(&log, &record)) == 1 && record->end.v <= entry->tail.end.v)
		done = each(arg, record);
	if (status < 0)
		wh_say(asked->message, asked->message_size, status, "cannot read the WAL at " NF_LSN_FMT ": %s",
		       NF_LSN_ARG(log.error.lsn), status == -EBADMSG ? log.error.text : strerror(-status));
	wh_log_close(&log);
	return done < 0 ? done : status < 0 ? status : 0;
}

/* The file of the segment's index, whose name becomes *name. */
static int open_index(struct asked *asked, struct nf_lsn start, char name[WA_SEGMENT_NAME + 1], struct bd_inode **ret_file)
{
	const struct wa_facts *facts = &asked->entry->facts;
	wa_segment_name(name, wa_facts_timeline_of(facts, start), start, facts->segment_size);
	int error = bd_lookup(asked->entry->index, name, ret_file);
	if (error == -ENOENT) /* of before a switch of timelines that came in this segment */
		return wh_say(asked->message, asked->message_size, -EUCLEAN, "the index of segment %s is missing", name);
	return error == 0 ? 0
			  : wh_say(asked->message, asked->message_size, error, "cannot read the index of segment %s: %s", name,
				   strerror(-error));
}

int wh_index_info(struct asked *asked, struct nf_lsn start, struct wa_index_info *ret_info)
{
	char name[WA_SEGMENT_NAME + 1];
	struct bd_inode *file;
	struct wa_error why;
	int error = open_index(asked, start, name, &file);
	if (error != 0)
		return error;
	uint8_t *bytes = nf_io_buffer(NF_BLOCK_SIZE);
	ssize_t got = bytes != NULL ? bd_read(file, 0, bytes, NF_BLOCK_SIZE) : -ENOMEM;
	bd_inode_unref(file, 1);
	if (got < 0)
		error = wh_say(asked->message, asked->message_size, (int)got, "cannot read the index of segment %s: %s", name,
			       strerror((int)-got));
	else if (wa_index_read_info(bytes, (size_t)got, ret_info, &why) < 0)
		error = wh_say(asked->message, asked->message_size, -EUCLEAN, "the index of segment %s: %s", name, why.text);
	free(bytes);
	return error;
}

static int fetch_nothing(void *arg, uint32_t offset, size_t size, uint8_t *to)
{
	(void)arg, (void)offset, (void)size, (void)to;
	return -EIO;
}

/* The first `size` bytes of a file, in a new buffer. */
static ssize_t read_first(struct bd_inode *file, size_t size, uint8_t **ret_bytes)
{
	uint8_t *bytes = nf_io_buffer(nf_round_up(size, NF_BLOCK_SIZE));
	ssize_t got = bytes != NULL ? bd_read(file, 0, bytes, nf_round_up(size, NF_BLOCK_SIZE)) : -ENOMEM;
	if (got < 0) {
		free(bytes);
		return got;
	}
	*ret_bytes = bytes;
	return got;
}

/* Damage is said in *why, and nothing else: other errors leave it as it is. */
static int read_tables(struct bd_inode *file, struct wa_index *ret_index, uint8_t **ret_bytes, struct wa_error *why)
{
	struct bd_attr attr;
	uint8_t *bytes;
	size_t size = 0;
	bd_inode_attr(file, &attr);
	ssize_t got = read_first(file, NF_BLOCK_SIZE, &bytes);
	if (got < 0)
		return (int)got;
	int status = wa_index_tables_size(bytes, (size_t)got, &size, why);
	if (status == 0 && size > (size_t)got && size <= attr.size_bytes) {
		free(bytes);
		got = read_first(file, size, &bytes);
		if (got < 0)
			return (int)got;
	}
	if (status == 0)
		status = wa_index_open_tables(bytes, NF_MIN(size, (size_t)got), (size_t)attr.size_bytes, fetch_nothing, NULL, ret_index,
					      why);
	if (status < 0) {
		free(bytes);
		return status;
	}
	*ret_bytes = bytes;
	return 0;
}

int wh_load_tables(struct asked *asked, struct nf_lsn start, struct wa_index *ret_index, uint8_t **ret_bytes)
{
	char name[WA_SEGMENT_NAME + 1];
	struct bd_inode *file;
	struct wa_error why = {0};
	int error = open_index(asked, start, name, &file);
	if (error != 0)
		return error;
	error = read_tables(file, ret_index, ret_bytes, &why);
	bd_inode_unref(file, 1);
	if (error == 0)
		return 0;
	return wh_say(asked->message, asked->message_size, error == -EBADMSG ? -EUCLEAN : error,
		      "the index of segment %s cannot be read: %s", name, why.text[0] != '\0' ? why.text : strerror(-error));
}

int wh_load_index(struct asked *asked, struct nf_lsn start, struct wa_index *ret_index, uint8_t **ret_bytes)
{
	char name[WA_SEGMENT_NAME + 1];
	struct bd_inode *file;
	struct wa_error why;
	size_t size;
	int error = open_index(asked, start, name, &file);
	if (error != 0)
		return error;
	error = wh_read(file, UINT32_MAX, ret_bytes, &size);
	bd_inode_unref(file, 1);
	if (error != 0)
		return wh_say(asked->message, asked->message_size, error, "cannot read the index of segment %s: %s", name,
			      strerror(-error));
	if (wa_index_open(*ret_bytes, size, ret_index, &why) == 0)
		return 0;
	free(*ret_bytes);
	return wh_say(asked->message, asked->message_size, -EUCLEAN, "the index of segment %s: %s", name, why.text);
}
