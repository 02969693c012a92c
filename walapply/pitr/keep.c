/* Segments that are about to go: brought into wal/ first.
 *
 * The hook runs on the thread that serves Postgres's unlink or rename, before it. A segment is cloned (its blocks are shared), which costs
 * milliseconds and no space. When that is not possible because the store is full or broken, history gives way: Postgres must be able to remove
 * WAL, all the more on a full disk. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/nf_log.h"
#include "walapply/pitr/history_impl.h"

#define WHOLE_MODE 0400u
#define PART_MODE 0600u

/* Under entry->keep: is the whole segment in wal/? */
static int is_kept(struct wh_entry *entry, const char *name)
{
	struct bd_inode *file;
	struct bd_attr attr;
	int error = bd_lookup(entry->wal, name, &file);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	bd_inode_attr(file, &attr);
	bd_inode_unref(file, 1);
	return (attr.mode & 0200) == 0;
}

int wh_keep_segment(struct wh_entry *entry, struct bd_inode *live, const char *name, bool is_whole)
{
	struct bd_inode *file;
	pthread_mutex_lock(&entry->keep);
	int error = entry->wal != NULL ? is_kept(entry, name) : -ENOENT; /* turned off meanwhile */
	if (error == 0) {
		error = bd_lookup(live, name, &file);
		if (error == 0) {
			error = wh_clone(file, entry->wal, name, is_whole ? WHOLE_MODE : PART_MODE);
			bd_inode_unref(file, 1);
		}
	} else if (error > 0) {
		error = 0;
	}
	pthread_mutex_unlock(&entry->keep);
	return error;
}

/* Is it one that history needs, by its name? */
static bool is_needed(struct wh_entry *entry, const char *name, uint32_t *ret_timeline, struct nf_lsn *ret_start,
		      uint32_t *ret_size)
{
	bool needed = false;
	pthread_mutex_lock(&entry->state);
	*ret_size = entry->keeps_all ? entry->segment_size : entry->facts.segment_size;
	if (entry->lost[0] == '\0' && *ret_size != 0 && wa_segment_parse(name, *ret_size, ret_timeline, ret_start)) {
		if (entry->keeps_all)
			needed = true;
		else if (entry->is_on)
			needed = wa_facts_needs(&entry->facts, *ret_start);
	}
	pthread_mutex_unlock(&entry->state);
	return needed;
}

static void give_up(struct wh_entry *entry, const char *name, int error)
{
	pthread_mutex_lock(&entry->state);
	if (entry->lost[0] == '\0')
		snprintf(entry->lost, sizeof(entry->lost), "segment %s could not be kept (%s)", name, strerror(-error));
	pthread_mutex_unlock(&entry->state);
	nf_error("history of branch %u: segment %s goes and could not be kept: %s. Points up to here are lost; history begins "
		 "again",
		 entry->branch.v, name, strerror(-error));
	wh_wake(entry);
}

int wa_history_keep(struct wa_history *history, struct bd_inode *dir, const char *name)
{
	struct bd_view view = bd_inode_view(dir);
	struct bd_attr attr;
	struct nf_lsn start;
	uint32_t timeline, segment_size;
	if (strlen(name) != WA_SEGMENT_NAME || view.epoch.v != BD_EPOCH_HEAD.v)
		return 0;
	struct wh_entry *entry = wh_find(history, view.branch);
	if (entry == NULL)
		return 0;
	bd_inode_attr(dir, &attr);
	if (attr.file.v != atomic_load(&entry->pg_wal) || !is_needed(entry, name, &timeline, &start, &segment_size))
		return 0;
	/* Segments that Postgres has prepared for later have nothing of their own in them yet. */
	int error = wh_segment_begun(dir, timeline, start, segment_size);
	if (error == 1)
		error = wh_keep_segment(entry, dir, name, true);
	if (error == 0 || error == -ENOENT)
		return 0;
	if (error == -ENOMEM)
		return error;
	give_up(entry, name, error);
	return 0;
}
