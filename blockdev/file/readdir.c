/* Listing a directory: the entries of every hop merged, nearest first. The result is a copy, so it is stable under change. */
#include <stdlib.h>
#include <sys/stat.h>

#include "blockdev/file/inode.h"

struct raw_entry {
	uint64_t file;
	uint32_t type, name_at, hop;
};
struct raw_list {
	struct raw_entry *entries;
	size_t count, capacity;
	char *names;
	size_t names_size, names_capacity;
};

static int raw_add(struct raw_list *list, const char *name, size_t name_size, uint64_t file, uint32_t type, uint32_t hop)
{
	if (list->count == list->capacity) {
		size_t capacity = list->capacity * 2 + 64;
		struct raw_entry *entries = realloc(list->entries, capacity * sizeof(*entries));
		if (entries == NULL)
			return -ENOMEM;
		list->entries = entries;
		list->capacity = capacity;
	}
	if (list->names_size + name_size > list->names_capacity) {
		size_t capacity = list->names_capacity * 2 + name_size + 1024;
		char *names = realloc(list->names, capacity);
		if (names == NULL)
			return -ENOMEM;
		list->names = names;
		list->names_capacity = capacity;
	}
	memcpy(list->names + list->names_size, name, name_size);
	list->entries[list->count++] = (struct raw_entry){
		.file = file, .type = type, .name_at = (uint32_t)list->names_size, .hop = hop};
	list->names_size += name_size;
	return 0;
}

/* What one hop says: for each name its newest version that the hop sees, whiteouts included. */
static int scan_hop(struct bd_inode *dir, struct bd_index_iter *iter, const struct bd_hop *hop, uint32_t number,
		    size_t limit, struct raw_list *list)
{
	struct bd_key from;
	bd_key_file_prefix(&from, 'D', hop->branch, dir->file);
	size_t prefix = from.size, last_name = SIZE_MAX;
	for (bd_index_iter_seek(iter, &from, prefix); bd_index_iter_valid(iter); bd_index_iter_next(iter)) {
		size_t key_size, raw_size, size;
		const uint8_t *key = bd_index_iter_key(iter, &key_size);
		const uint8_t *value = bd_index_iter_value(iter, &raw_size);
		if (key_size < prefix + 2 + 4)
			return -EUCLEAN;
		const char *name = (const char *)key + prefix;
		size_t name_size = key_size - prefix - 4;
		if (name[name_size - 1] != '\0')
			return -EUCLEAN;
		if (bd_key_epoch(key, key_size) > hop->epoch)
			continue;
		if (last_name != SIZE_MAX && strcmp(list->names + last_name, name) == 0)
			continue; /* an older version */
		int error = bd_value_check(key, key_size, value, raw_size, &size);
		struct nf_reader r = nf_reader_init(value, size);
		uint64_t file = error == 0 ? nf_read_u64(&r) : 0;
		uint32_t type = error == 0 ? (uint32_t)nf_read_u8(&r) << 12 : 0;
		if (error == 0 && r.failed)
			error = -EUCLEAN;
		if (error == 0)
			error = raw_add(list, name, name_size, file, type, number);
		if (error != 0)
			return error;
		last_name = list->entries[list->count - 1].name_at;
		/* In the last hop nothing can be hidden any more: enough is enough. */
		if (number == 0 && limit > 0 && file != 0 && --limit == 0)
			return 0;
	}
	return bd_index_iter_status(iter);
}

static int compare_raw(const void *a, const void *b, void *names)
{
	const struct raw_entry *x = a, *y = b;
	int order = strcmp((const char *)names + x->name_at, (const char *)names + y->name_at);
	return order != 0 ? order : (x->hop > y->hop) - (x->hop < y->hop);
}

/* Nearest hop wins, whiteouts go. */
static int make_listing(struct raw_list *list, struct bd_listing **ret_listing)
{
	if (list->count > 1)
		qsort_r(list->entries, list->count, sizeof(*list->entries), compare_raw, list->names);
	struct bd_listing *listing =
		malloc(sizeof(*listing) + list->count * sizeof(struct bd_dirent) + list->names_size);
	if (listing == NULL)
		return -ENOMEM;
	listing->entries = (struct bd_dirent *)(listing + 1);
	char *names = (char *)(listing->entries + list->count);
	if (list->names_size > 0)
		memcpy(names, list->names, list->names_size);
	listing->count = 0;
	const char *last = NULL;
	for (size_t i = 0; i < list->count; i++) {
		const struct raw_entry *raw = &list->entries[i];
		const char *name = names + raw->name_at;
		bool shadowed = last != NULL && strcmp(last, name) == 0;
		last = name;
		if (!shadowed && raw->file != 0)
			listing->entries[listing->count++] =
				(struct bd_dirent){.file = {raw->file}, .type = raw->type, .name = name};
	}
	*ret_listing = listing;
	return 0;
}

int names_list(struct bd_inode *dir, size_t enough, struct bd_listing **ret_listing)
{
	struct raw_list list = {0};
	struct bd_index_iter *iter = bd_index_iter_new(dir->store->index);
	int error = iter != NULL ? 0 : -ENOMEM;
	struct bd_hops hops = inode_hops(dir);
	struct bd_hop hop;
	for (unsigned i = 0; error == 0 && bd_hop_at(&hops, i, &hop); i++)
		error = scan_hop(dir, iter, &hop, i, enough, &list);
	if (error == 0)
		error = make_listing(&list, ret_listing);
	bd_index_iter_free(iter);
	free(list.entries);
	free(list.names);
	return error;
}

int bd_readdir(struct bd_inode *dir, struct bd_listing **ret_listing)
{
	pthread_rwlock_rdlock(&dir->lock);
	bool ok = S_ISDIR(dir->attr.mode);
	pthread_rwlock_unlock(&dir->lock);
	if (!ok)
		return -ENOTDIR;
	/* Without names_lock, which a long listing would keep from everybody: only the first hop can change, a change of names goes
	 * into the index as a whole, and one scan sees the index as it was at its beginning. */
	struct bd_listing *listing = NULL;
	int error = names_list(dir, 0, &listing);
	if (error == 0 && dir->branch->dead) {
		bd_listing_free(listing);
		error = -ESTALE;
	}
	if (error == 0)
		*ret_listing = listing;
	return error;
}

void bd_listing_free(struct bd_listing *listing)
{
	free(listing);
}
