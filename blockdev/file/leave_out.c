/* Names of its parent's root directory that a new branch does not get.
 *
 * They are removed in the commit that makes the branch, so nobody ever sees it with them, and a crash leaves it without them or not there at all.
 * What is found is found before the parent is frozen; when a name of the parent changed meanwhile it is found again. A removed file leaves a
 * tombstone, and no request to sweep: it has no version in the new branch. */
#include <stdlib.h>
#include <sys/stat.h>

#include "blockdev/file/inode.h"

static int find_one(struct bd_store *store, struct bd_hops hops, struct bd_left_name *entry)
{
	entry->file = 0;
	uint64_t file;
	uint32_t type;
	int error = names_entry_get(store, hops, BD_FILE_ID_ROOT.v, entry->name, &file, &type);
	if (error != 0 || S_ISDIR(type))
		return error == -ENOENT ? 0 : error;
	struct bd_inode inode = {.store = store, .file = file};
	error = inode_load_at(&inode, hops);
	free(inode.symlink_target);
	if (error != 0)
		return error == -ENOENT ? -EUCLEAN : error; /* a name without its inode */
	entry->file = file;
	entry->links = inode.attr.nlink;
	return 0;
}

int bd_leave_out_find(struct bd_store *store, struct bd_hops hops, struct bd_leave_out *leave_out)
{
	int error = 0;
	for (unsigned i = 0; i < leave_out->count && error == 0; i++)
		error = find_one(store, hops, &leave_out->entries[i]);
	return error;
}

int bd_leave_out_prepare(struct bd_store *store, struct bd_branch *parent, struct bd_leave_out *leave_out)
{
	pthread_rwlock_rdlock(&parent->names_lock);
	leave_out->names_changes = parent->names_changes;
	int error = bd_leave_out_find(store, (struct bd_hops){.branch = parent, .view_epoch = UINT32_MAX}, leave_out);
	pthread_rwlock_unlock(&parent->names_lock);
	return error;
}

/* The file's record in `child` with `links` links; 0: none any more. */
static int commit_links(struct bd_store *store, struct bd_branch *child, uint64_t file, uint32_t links, struct bd_commit *commit)
{
	struct bd_inode inode = {.store = store, .branch = child, .view_epoch = UINT32_MAX, .file = file};
	if (links == 0) {
		names_tombstone_commit(&inode, commit);
		return 0;
	}
	int error = inode_load(&inode);
	if (error == 0) {
		inode.attr.nlink = links;
		inode.attr.ctime_ns = bd_now_ns();
		bd_inode_commit(&inode, commit);
	}
	free(inode.symlink_target);
	return error;
}

/* How many of the names before `end` are links to `file`. */
static unsigned links_among(const struct bd_leave_out *leave_out, unsigned end, uint64_t file)
{
	unsigned links = 0;
	for (unsigned i = 0; i < end; i++)
		links += leave_out->entries[i].file == file;
	return links;
}

int bd_leave_out_commit(struct bd_store *store, struct bd_branch *child, const struct bd_leave_out *leave_out,
			struct bd_commit *commit)
{
	struct bd_inode root = {.store = store, .branch = child, .file = BD_FILE_ID_ROOT.v};
	int error = 0;
	for (unsigned i = 0; i < leave_out->count && error == 0; i++) {
		const struct bd_left_name *entry = &leave_out->entries[i];
		if (entry->file == 0)
			continue;
		names_entry_commit(&root, entry->name, 0, 0, commit);
		/* Names of one file change its record once. */
		unsigned links = links_among(leave_out, leave_out->count, entry->file);
		if (links_among(leave_out, i, entry->file) == 0)
			error = commit_links(store, child, entry->file, entry->links > links ? entry->links - links : 0, commit);
	}
	return error;
}
