/* What was kept for layers that are gone is removed: the directory below .history/layers and the branch of the WAL. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "walapply/pitr/lazy_impl.h"

void lz_wal_branch_name(const char *layer, char name[BD_BRANCH_NAME_MAX + 1])
{
	snprintf(name, BD_BRANCH_NAME_MAX + 1, LZ_WAL_BRANCH "%.*s", (int)LZ_NAME_MAX, layer);
}

int lz_remove_kept(struct bd_store *store, struct bd_inode *all, const char *name)
{
	char branch[BD_BRANCH_NAME_MAX + 1];
	struct bd_branch_info info;
	lz_wal_branch_name(name, branch);
	int error = bd_branch_find(store, branch, &info);
	if (error == 0)
		error = bd_branch_delete(store, info.id);
	return error == 0 || error == -ENOENT ? wh_remove(all, name) : error;
}

int lz_remove_drained(struct wa_lazy *lazy, const char *name)
{
	struct bd_inode *all;
	int error = lz_directory(lazy->store, false, &all);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	error = lz_remove_kept(lazy->store, all, name);
	bd_inode_unref(all, 1);
	return error;
}

static bool is_used(const struct bd_layer_info *infos, size_t count, const char *name)
{
	char used[LZ_NAME_MAX + 1];
	for (size_t i = 0; i < count; i++) {
		/* Facts that this program cannot read may be of any name. */
		if (lz_facts_name(infos[i].facts, infos[i].size, used) != 0 || strcmp(used, name) == 0)
			return true;
	}
	return false;
}

static int remove_unused(struct bd_store *store, struct bd_inode *all, const struct bd_layer_info *infos, size_t count)
{
	struct bd_listing *listing;
	int error = bd_readdir(all, &listing);
	if (error != 0)
		return error;
	for (size_t i = 0; i < listing->count && error == 0; i++)
		if (!is_used(infos, count, listing->entries[i].name))
			error = lz_remove_kept(store, all, listing->entries[i].name);
	bd_listing_free(listing);
	return error;
}

/* Branches of WAL whose layer never came to have a directory, or has none any more. */
static int remove_branches(struct bd_store *store, const struct bd_layer_info *infos, size_t count)
{
	struct bd_branch_info *branches;
	size_t branch_count;
	int error = bd_branch_list_internal(store, &branches, &branch_count);
	if (error != 0)
		return error;
	for (size_t i = 0; i < branch_count && error == 0; i++)
		if (strncmp(branches[i].name, LZ_WAL_BRANCH, strlen(LZ_WAL_BRANCH)) == 0 &&
		    !is_used(infos, count, branches[i].name + strlen(LZ_WAL_BRANCH)))
			error = bd_branch_delete(store, branches[i].id);
	free(branches);
	return error;
}

static int tidy(struct wa_lazy *lazy, struct bd_inode *all)
{
	struct bd_layer_info *infos;
	size_t count;
	int error = bd_layer_list(lazy->store, (struct bd_branch_id){0}, &infos, &count);
	if (error != 0)
		return error;
	error = remove_unused(lazy->store, all, infos, count);
	if (error == 0)
		error = remove_branches(lazy->store, infos, count);
	free(infos);
	return error;
}

int wa_lazy_tidy(struct wa_lazy *lazy)
{
	struct bd_inode *all;
	int error = lz_directory(lazy->store, false, &all);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	/* Who begins one waits: its directory is not there before it is counted. */
	pthread_mutex_lock(&lazy->lock);
	error = lazy->making > 0 ? -EAGAIN : tidy(lazy, all);
	pthread_mutex_unlock(&lazy->lock);
	bd_inode_unref(all, 1);
	return error == -EAGAIN ? 0 : error;
}
