/* Inodes in memory: the table, and who holds what.
 *
 * An inode is in the table while somebody refers to it, and afterwards on the idle list until it is trimmed. A removed inode (no
 * names left) leaves with its last reference, and its data goes to the collector. */
#include "blockdev/file/inode.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "blockdev/layer/layer.h"

#define TABLE_BUCKETS 16384u
#define LOAD_TRIES 8u /* while others leave the table; then the table is locked over it */

struct bd_inode_table {
	pthread_mutex_t lock;
	struct bd_inode *buckets[TABLE_BUCKETS];
	struct bd_inode idle; /* ring: idle_newer = oldest, idle_older = newest */
	uint64_t count, idle_count;
	uint64_t removals; /* ever */
};

int bd_inode_table_init(struct bd_store *store)
{
	struct bd_inode_table *table = calloc(1, sizeof(*table));
	if (table == NULL)
		return -ENOMEM;
	pthread_mutex_init(&table->lock, NULL);
	table->idle.idle_newer = table->idle.idle_older = &table->idle;
	store->inodes = table;
	return 0;
}

static struct bd_inode **bucket_of(struct bd_inode_table *table, uint32_t branch, uint32_t view_epoch, uint64_t file)
{
	uint64_t h = (file * UINT64_C(0x9e3779b97f4a7c15)) ^ (branch * UINT64_C(0xc2b2ae3d27d4eb4f)) ^ view_epoch;
	return &table->buckets[(h ^ h >> 32) % TABLE_BUCKETS];
}

static void idle_remove(struct bd_inode_table *table, struct bd_inode *inode)
{
	inode->idle_newer->idle_older = inode->idle_older;
	inode->idle_older->idle_newer = inode->idle_newer;
	inode->is_idle = false;
	table->idle_count--;
}

static void idle_add(struct bd_inode_table *table, struct bd_inode *inode)
{
	inode->idle_newer = &table->idle;
	inode->idle_older = table->idle.idle_older;
	inode->idle_older->idle_newer = inode;
	table->idle.idle_older = inode;
	inode->is_idle = true;
	table->idle_count++;
}

/* ---- views in use */

static struct bd_view_use *use_find(const struct bd_branch *branch, uint32_t epoch)
{
	struct bd_view_use *use = branch->views;
	while (use != NULL && use->epoch != epoch)
		use = use->next;
	return use;
}

/* One inode more of a view in memory. NULL when there is no memory for it. */
static struct bd_view_use *use_join(struct bd_inode_table *table, struct bd_branch *branch, uint32_t epoch)
{
	pthread_mutex_lock(&table->lock);
	struct bd_view_use *use = use_find(branch, epoch);
	if (use == NULL) {
		use = calloc(1, sizeof(*use));
		if (use != NULL) {
			*use = (struct bd_view_use){.epoch = epoch, .next = branch->views};
			branch->views = use;
		}
	}
	if (use != NULL)
		use->inodes++;
	pthread_mutex_unlock(&table->lock);
	return use;
}

static void use_leave(struct bd_inode_table *table, struct bd_branch *branch, struct bd_view_use *use)
{
	pthread_mutex_lock(&table->lock);
	if (--use->inodes == 0) {
		struct bd_view_use **at = &branch->views;
		while (*at != use)
			at = &(*at)->next;
		*at = use->next;
		free(use);
	}
	pthread_mutex_unlock(&table->lock);
}

/* Under the table's lock: an inode has its first reference, or has lost its last. */
static void use_hold(struct bd_inode *inode)
{
	if (inode->use != NULL)
		inode->use->holders++;
}

static void use_drop(struct bd_inode *inode)
{
	struct bd_view_use *use = inode->use;
	if (use == NULL || --use->holders > 0)
		return;
	/* Asked for before the mark goes: who finds no mark finds the request. */
	if (use->is_kept && !inode->branch->dead)
		bd_background_purge(inode->store, inode->branch->id, 0);
	use->is_known = use->is_kept = false;
}

static bool is_among(const uint32_t *sorted, size_t count, uint32_t value)
{
	size_t low = 0;
	while (count > 0) {
		size_t half = count / 2;
		if (sorted[low + half] < value) {
			low += half + 1;
			count -= half + 1;
		} else {
			if (sorted[low + half] == value)
				return true;
			count = half;
		}
	}
	return false;
}

int bd_inode_views(struct bd_store *store, struct bd_branch *branch, const uint32_t *pins, size_t count,
		   uint32_t **ret_epochs, size_t *ret_count)
{
	struct bd_inode_table *table = store->inodes;
	size_t room = count, n = count;
	pthread_mutex_lock(&table->lock);
	for (const struct bd_view_use *use = branch->views; use != NULL; use = use->next)
		room++;
	uint32_t *epochs = malloc((room + 1) * sizeof(*epochs));
	if (epochs != NULL && count > 0)
		memcpy(epochs, pins, count * sizeof(*epochs));
	for (struct bd_view_use *use = branch->views; epochs != NULL && use != NULL; use = use->next) {
		if (use->holders == 0 || is_among(pins, count, use->epoch))
			continue;
		use->is_kept = true;
		epochs[n++] = use->epoch;
	}
	pthread_mutex_unlock(&table->lock);
	if (epochs == NULL)
		return -ENOMEM;
	*ret_epochs = epochs;
	*ret_count = n;
	return 0;
}

bool bd_inode_keeps_views(struct bd_store *store, const struct bd_branch *branch)
{
	bool keeps = false;
	pthread_mutex_lock(&store->inodes->lock);
	for (const struct bd_view_use *use = branch->views; use != NULL; use = use->next)
		keeps = keeps || use->is_kept;
	pthread_mutex_unlock(&store->inodes->lock);
	return keeps;
}

/* ---- the table */

/* Under the table's lock. */
static struct bd_inode *find(struct bd_inode_table *table, uint32_t branch, uint32_t view_epoch, uint64_t file)
{
	struct bd_inode *inode = *bucket_of(table, branch, view_epoch, file);
	while (inode != NULL &&
	       (inode->file != file || inode->branch->id != branch || inode->view_epoch != view_epoch))
		inode = inode->hash_next;
	return inode;
}

static void hold(struct bd_inode_table *table, struct bd_inode *inode, uint64_t count)
{
	if (inode->is_idle)
		idle_remove(table, inode);
	if (inode->refs == 0)
		use_hold(inode);
	inode->refs += count;
}

static void unhash(struct bd_inode_table *table, struct bd_inode *inode)
{
	struct bd_inode **at = bucket_of(table, inode->branch->id, inode->view_epoch, inode->file);
	while (*at != inode)
		at = &(*at)->hash_next;
	*at = inode->hash_next;
	table->count--;
	table->removals++;
	inode->is_dying = true;
}

static void insert(struct bd_inode_table *table, struct bd_inode *inode)
{
	struct bd_inode **at = bucket_of(table, inode->branch->id, inode->view_epoch, inode->file);
	inode->hash_next = *at;
	*at = inode;
	table->count++;
	use_hold(inode);
}

static void inode_free(struct bd_inode *inode);

static struct bd_inode *inode_new(struct bd_store *store, struct bd_branch *branch, uint32_t view_epoch, uint64_t file)
{
	struct bd_inode *inode = calloc(1, sizeof(*inode));
	if (inode == NULL)
		return NULL;
	inode->store = store;
	inode->branch = branch;
	atomic_fetch_add(&branch->refs, 1);
	inode->view_epoch = view_epoch;
	inode->file = file;
	inode->attr.file.v = file;
	inode->refs = 1;
	pthread_rwlock_init(&inode->lock, NULL);
	if (view_epoch != UINT32_MAX) {
		inode->use = use_join(store->inodes, branch, view_epoch);
		if (inode->use == NULL) {
			inode_free(inode);
			return NULL;
		}
	}
	return inode;
}

static void dirty_remove(struct bd_inode *inode)
{
	struct bd_branch *branch = inode->branch;
	pthread_mutex_lock(&branch->dirty_lock);
	if (inode->on_dirty) {
		if (inode->dirty_prev != NULL)
			inode->dirty_prev->dirty_next = inode->dirty_next;
		else
			branch->dirty_head = inode->dirty_next;
		if (inode->dirty_next != NULL)
			inode->dirty_next->dirty_prev = inode->dirty_prev;
		inode->dirty_next = inode->dirty_prev = NULL;
		inode->on_dirty = false;
		atomic_fetch_sub(&branch->dirty_count, 1);
	}
	pthread_mutex_unlock(&branch->dirty_lock);
}

void bd_inode_mark_dirty(struct bd_inode *inode)
{
	struct bd_branch *branch = inode->branch;
	pthread_mutex_lock(&branch->dirty_lock);
	if (!inode->on_dirty) {
		inode->on_dirty = true;
		inode->dirty_prev = NULL;
		inode->dirty_next = branch->dirty_head;
		if (branch->dirty_head != NULL)
			branch->dirty_head->dirty_prev = inode;
		branch->dirty_head = inode;
		atomic_fetch_add(&branch->dirty_count, 1);
	}
	pthread_mutex_unlock(&branch->dirty_lock);
}

void inode_mark_clean(struct bd_inode *inode)
{
	dirty_remove(inode);
}

static void inode_free(struct bd_inode *inode)
{
	dirty_remove(inode);
	/* Nobody else knows the inode, but the leaf cache may be looking at its leaves. */
	pthread_rwlock_wrlock(&inode->lock);
	bd_map_free(inode);
	pthread_rwlock_unlock(&inode->lock);
	bd_passes_free(inode->passes);
	free(inode->pending);
	free(inode->symlink_target);
	pthread_rwlock_destroy(&inode->lock);
	if (inode->use != NULL)
		use_leave(inode->store->inodes, inode->branch, inode->use);
	bd_branch_release(inode->branch);
	free(inode);
}

void bd_inode_table_free(struct bd_store *store)
{
	struct bd_inode_table *table = store->inodes;
	if (table == NULL)
		return;
	for (unsigned i = 0; i < TABLE_BUCKETS; i++) {
		while (table->buckets[i] != NULL) {
			struct bd_inode *inode = table->buckets[i];
			table->buckets[i] = inode->hash_next;
			inode_free(inode);
		}
	}
	pthread_mutex_destroy(&table->lock);
	free(table);
	store->inodes = NULL;
}

struct bd_inode *bd_inode_find(struct bd_store *store, uint32_t branch, uint32_t view_epoch, uint64_t file)
{
	struct bd_inode_table *table = store->inodes;
	pthread_mutex_lock(&table->lock);
	struct bd_inode *inode = find(table, branch, view_epoch, file);
	if (inode != NULL)
		hold(table, inode, 1);
	pthread_mutex_unlock(&table->lock);
	return inode;
}

int bd_inodes_of_head(struct bd_store *store, const struct bd_branch *branch, struct bd_inode ***ret_inodes, size_t *ret_count)
{
	struct bd_inode_table *table = store->inodes;
	size_t count = 0;
	pthread_mutex_lock(&table->lock);
	struct bd_inode **inodes = malloc((table->count + 1) * sizeof(*inodes));
	for (unsigned i = 0; inodes != NULL && i < TABLE_BUCKETS; i++) {
		for (struct bd_inode *inode = table->buckets[i]; inode != NULL; inode = inode->hash_next) {
			if (inode->branch != branch || !bd_inode_is_head(inode))
				continue;
			hold(table, inode, 1);
			inodes[count++] = inode;
		}
	}
	pthread_mutex_unlock(&table->lock);
	if (inodes == NULL)
		return -ENOMEM;
	*ret_inodes = inodes;
	*ret_count = count;
	return 0;
}

/* Load an inode and put it into the table. -EAGAIN: inodes left the table meanwhile, so what was loaded may be old. With `alone` none
 * can: the table is locked while the index is read. */
static int load_into_table(struct bd_store *store, struct bd_branch *branch, uint32_t view_epoch, uint64_t file, bool alone,
			   struct bd_inode **ret_inode)
{
	struct bd_inode_table *table = store->inodes;
	struct bd_inode *loaded = inode_new(store, branch, view_epoch, file);
	if (loaded == NULL)
		return -ENOMEM;
	pthread_mutex_lock(&table->lock);
	uint64_t removals = table->removals;
	if (!alone)
		pthread_mutex_unlock(&table->lock);
	int error = inode_load(loaded);
	if (!alone)
		pthread_mutex_lock(&table->lock);
	struct bd_inode *inode = find(table, branch->id, view_epoch, file);
	if (inode != NULL) {
		hold(table, inode, 1);
		error = 0;
	} else if (error == 0 && table->removals != removals) {
		error = -EAGAIN;
	} else if (error == 0) {
		insert(table, loaded);
		inode = loaded;
		loaded = NULL;
	}
	pthread_mutex_unlock(&table->lock);
	if (loaded != NULL)
		inode_free(loaded);
	if (error == 0)
		*ret_inode = inode;
	return error;
}

int bd_inode_get(struct bd_store *store, struct bd_branch *branch, uint32_t view_epoch, uint64_t file,
		 struct bd_inode **ret_inode)
{
	struct bd_inode *inode = bd_inode_find(store, branch->id, view_epoch, file);
	int error = inode != NULL ? 0 : -EAGAIN;
	for (unsigned i = 0; error == -EAGAIN; i++)
		error = load_into_table(store, branch, view_epoch, file, i == LOAD_TRIES, &inode);
	if (error == 0)
		*ret_inode = inode;
	return error;
}

int bd_inode_reserve_id(struct bd_store *store, uint64_t *ret_file)
{
	int error = 0;
	pthread_mutex_lock(&store->ids_lock);
	if (store->next_file == store->reserved_file) {
		struct bd_commit commit;
		struct bd_key key;
		uint8_t value[8 + BD_VALUE_CHECK];
		uint64_t ticket;
		struct nf_writer w = nf_writer_init(value, sizeof(value));
		nf_write_u64(&w, store->reserved_file + 1024);
		bd_key_meta(&key, "files");
		error = bd_commit_init(&commit);
		if (error == 0) {
			bd_commit_put(&commit, &key, value, w.offset);
			error = bd_commit_apply(store, &commit, &ticket);
			bd_commit_free(&commit);
		}
		if (error == 0)
			store->reserved_file += 1024;
	}
	if (error == 0)
		*ret_file = store->next_file++;
	pthread_mutex_unlock(&store->ids_lock);
	return error;
}

int bd_inode_make(struct bd_inode *dir, const struct bd_create *how, struct bd_inode **ret_inode)
{
	struct bd_store *store = dir->store;
	uint64_t file;
	int error = bd_inode_reserve_id(store, &file);
	if (error != 0)
		return error;
	struct bd_inode *inode = inode_new(store, dir->branch, UINT32_MAX, file);
	if (inode == NULL)
		return -ENOMEM;
	int64_t now = bd_now_ns();
	struct bd_attr *attr = &inode->attr;
	attr->mode = how->mode;
	attr->uid = how->uid;
	attr->gid = how->gid;
	if (dir->attr.mode & S_ISGID) {
		attr->gid = dir->attr.gid;
		if (S_ISDIR(how->mode))
			attr->mode |= S_ISGID;
	}
	attr->nlink = S_ISDIR(how->mode) ? 2 : 1;
	attr->rdev = how->rdev;
	attr->atime_ns = attr->mtime_ns = attr->ctime_ns = attr->btime_ns = now;
	inode->base_branch = dir->branch->id;
	inode->base_epoch = dir->branch->epoch;
	if (S_ISDIR(how->mode)) {
		attr->size_bytes = 4096;
		inode->parent = dir->file;
	}
	if (S_ISLNK(how->mode)) {
		inode->symlink_target = strdup(how->symlink_target);
		attr->size_bytes = strlen(how->symlink_target);
		if (inode->symlink_target == NULL) {
			inode_free(inode);
			return -ENOMEM;
		}
	}
	*ret_inode = inode;
	return 0;
}

void inode_publish(struct bd_inode *inode)
{
	struct bd_inode_table *table = inode->store->inodes;
	pthread_mutex_lock(&table->lock);
	insert(table, inode);
	pthread_mutex_unlock(&table->lock);
}

void inode_discard(struct bd_inode *inode)
{
	inode_free(inode);
}

bool inode_hold_dirty(struct bd_inode *inode)
{
	struct bd_inode_table *table = inode->store->inodes;
	pthread_mutex_lock(&table->lock);
	bool alive = !inode->is_dying;
	if (alive)
		hold(table, inode, 1);
	pthread_mutex_unlock(&table->lock);
	return alive;
}

void bd_inode_ref(struct bd_inode *inode, uint64_t count)
{
	struct bd_inode_table *table = inode->store->inodes;
	pthread_mutex_lock(&table->lock);
	hold(table, inode, count);
	pthread_mutex_unlock(&table->lock);
}

void bd_inode_unref(struct bd_inode *inode, uint64_t count)
{
	if (inode == NULL || count == 0)
		return;
	struct bd_store *store = inode->store;
	struct bd_inode_table *table = store->inodes;
	bool gone = false;
	pthread_mutex_lock(&table->lock);
	assert(inode->refs >= count);
	inode->refs -= count;
	if (inode->refs == 0) {
		use_drop(inode);
		/* Nobody holds it, so nobody can be changing `removed`. */
		gone = inode->removed || inode->branch->dead;
		if (gone)
			unhash(table, inode);
		else
			idle_add(table, inode);
	}
	pthread_mutex_unlock(&table->lock);
	if (gone) {
		uint32_t branch = inode->branch->id;
		uint64_t file = inode->file;
		bool purge = inode->removed && bd_inode_is_head(inode);
		inode_free(inode);
		if (purge)
			bd_background_purge(store, branch, file);
	}
}

/* Take an idle inode out of the table, onto a list. Under the table's lock. */
static void take_idle(struct bd_inode_table *table, struct bd_inode *inode, struct bd_inode **list)
{
	idle_remove(table, inode);
	unhash(table, inode);
	inode->hash_next = *list;
	*list = inode;
}

static void free_taken(struct bd_inode *list)
{
	while (list != NULL) {
		struct bd_inode *inode = list;
		list = inode->hash_next;
		inode_free(inode);
	}
}

void bd_inodes_trim(struct bd_store *store, uint64_t keep)
{
	struct bd_inode_table *table = store->inodes;
	struct bd_inode *taken = NULL;
	pthread_mutex_lock(&table->lock);
	struct bd_inode *inode = table->idle.idle_newer;
	uint64_t excess = table->idle_count > keep ? table->idle_count - keep : 0;
	while (inode != &table->idle && excess > 0) {
		struct bd_inode *next = inode->idle_newer;
		/* Idle: nobody changes on_dirty to true meanwhile, for that takes a reference. */
		if (!inode->on_dirty) {
			take_idle(table, inode, &taken);
			excess--;
		}
		inode = next;
	}
	pthread_mutex_unlock(&table->lock);
	free_taken(taken);
}

void bd_inodes_forget(struct bd_store *store, const struct bd_branch *branch)
{
	struct bd_inode_table *table = store->inodes;
	struct bd_inode *taken = NULL, *next;
	pthread_mutex_lock(&table->lock);
	for (struct bd_inode *inode = table->idle.idle_newer; inode != &table->idle; inode = next) {
		next = inode->idle_newer;
		if (inode->branch == branch)
			take_idle(table, inode, &taken);
	}
	pthread_mutex_unlock(&table->lock);
	free_taken(taken);
}

uint64_t bd_inodes_in_memory(struct bd_store *store)
{
	pthread_mutex_lock(&store->inodes->lock);
	uint64_t count = store->inodes->count;
	pthread_mutex_unlock(&store->inodes->lock);
	return count;
}

struct bd_view bd_inode_view(const struct bd_inode *inode)
{
	return (struct bd_view){.branch = {inode->branch->id}, .epoch = {inode->view_epoch}};
}

void bd_inode_attr(struct bd_inode *inode, struct bd_attr *ret_attr)
{
	pthread_rwlock_rdlock(&inode->lock);
	*ret_attr = inode->attr;
	ret_attr->blocks_512 = inode_sectors(inode);
	pthread_rwlock_unlock(&inode->lock);
}

void bd_inode_use_cache(struct bd_inode *inode, int delta)
{
	atomic_fetch_add(&inode->cache_users, (uint32_t)delta);
}

void **bd_inode_user(struct bd_inode *inode)
{
	return &inode->user;
}

int bd_root(struct bd_store *store, struct bd_view view, struct bd_inode **ret_inode)
{
	return bd_inode_by_id(store, view, BD_FILE_ID_ROOT, ret_inode);
}

/* Is the frozen epoch a snapshot's or where a child begins, or somebody's view since it was one? Under table_lock. */
static int check_pin(struct bd_store *store, struct bd_inode *inode)
{
	struct bd_inode_table *table = store->inodes;
	struct bd_view_use *use = inode->use;
	pthread_mutex_lock(&table->lock);
	bool known = use->is_known;
	pthread_mutex_unlock(&table->lock);
	if (known)
		return 0;
	int error = bd_branch_check_pin(store, inode->branch, inode->view_epoch);
	if (error == 0) {
		pthread_mutex_lock(&table->lock);
		use->is_known = true;
		pthread_mutex_unlock(&table->lock);
	}
	return error;
}

int bd_inode_by_id(struct bd_store *store, struct bd_view view, struct bd_file_id file, struct bd_inode **ret_inode)
{
	struct bd_branch *branch = bd_branch_acquire(store, view.branch.v);
	struct bd_inode *inode;
	if (branch == NULL)
		return -ENOENT;
	pthread_rwlock_rdlock(&branch->epoch_lock);
	bool exists = view.epoch.v == BD_EPOCH_HEAD.v || view.epoch.v < branch->epoch;
	pthread_rwlock_unlock(&branch->epoch_lock);
	int error = exists ? bd_inode_get(store, branch, view.epoch.v, file.v, &inode) : -ENOENT;
	/* Only now: what is held, and is a pin after that, a later sweep spares; an earlier one has known it as a pin. */
	if (error == 0 && !bd_inode_is_head(inode)) {
		pthread_rwlock_rdlock(&store->table_lock);
		error = check_pin(store, inode);
		pthread_rwlock_unlock(&store->table_lock);
		if (error != 0)
			bd_inode_unref(inode, 1);
	}
	bd_branch_release(branch);
	if (error == 0)
		*ret_inode = inode;
	return error;
}
