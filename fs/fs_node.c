/* Nodes and handles: what the kernel holds of the store's inodes.
 *
 * A node lives while the kernel holds a look-up reference or a handle is open (RELEASE and FORGET travel by different
 * queues, so either may come last). Each handle has a reference of its own.
 *
 * Page cache or not is a property of all handles of an inode together: the first one decides (O_DIRECT, O_DSYNC
 * and O_SYNC bypass it, so that one write() is one request that carries the flag), later ones follow while any is
 * open. So a cached reader never sits beside a writer that bypasses the cache, and nothing has to be invalidated by us; the
 * kernel drops cached pages left from earlier when it writes directly. A follower loses speed, never
 * correctness: O_DSYNC through the cache is a WRITE and an FSYNC, O_DIRECT through it flushes and invalidates. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "fs/fs_internal.h"

#define INO_BRANCH_SHIFT 40
#define INO_BRANCH_MASK UINT64_C(0x7fffff)
#define INO_FILE_MASK ((UINT64_C(1) << INO_BRANCH_SHIFT) - 1)
#define INO_FROZEN (UINT64_C(1) << 63)
#define ST_BLKSIZE 8192

#define LIST_ADD(head, item)                                                                                                     \
	do {                                                                                                                     \
		(item)->prev = NULL;                                                                                             \
		(item)->next = (head);                                                                                           \
		if ((head) != NULL)                                                                                              \
			(head)->prev = (item);                                                                                   \
		(head) = (item);                                                                                                 \
	} while (0)

#define LIST_REMOVE(head, item)                                                                                                  \
	do {                                                                                                                     \
		if ((item)->next != NULL)                                                                                        \
			(item)->next->prev = (item)->prev;                                                                       \
		if ((item)->prev != NULL)                                                                                        \
			(item)->prev->next = (item)->next;                                                                       \
		else                                                                                                             \
			(head) = (item)->next;                                                                                   \
	} while (0)

struct fs_node *fs_node_get(struct fs *fs, struct bd_inode *inode)
{
	void **user = bd_inode_user(inode);
	struct fs_node *node = *user;

	if (node == NULL) {
		node = calloc(1, sizeof(*node));
		if (node == NULL)
			return NULL;
		node->inode = inode;
		*user = node;
		LIST_ADD(fs->nodes, node);
	}
	return node;
}

void fs_node_put(struct fs *fs, struct fs_node *node)
{
	if (node->lookups > 0 || node->handles > 0 || node->writers > 0 || node->volumes > 0)
		return;
	*bd_inode_user(node->inode) = NULL;
	LIST_REMOVE(fs->nodes, node);
	free(node);
}

int fs_node_enter(struct fs *fs, struct bd_inode *inode, fuse_ino_t *ret_ino)
{
	pthread_mutex_lock(&fs->lock);
	struct fs_node *node = fs_node_get(fs, inode);
	if (node != NULL) {
		node->lookups++;
		*ret_ino = fs_ino_of(inode, node);
	}
	pthread_mutex_unlock(&fs->lock);
	return node != NULL ? 0 : -ENOMEM;
}

fuse_ino_t fs_node_id(struct fs *fs, struct bd_inode *inode)
{
	pthread_mutex_lock(&fs->lock);
	fuse_ino_t ino = fs_ino_of(inode, *bd_inode_user(inode));
	pthread_mutex_unlock(&fs->lock);
	return ino;
}

void fs_node_forget(struct fs *fs, struct bd_inode *inode, uint64_t count)
{
	pthread_mutex_lock(&fs->lock);
	struct fs_node *node = *bd_inode_user(inode);
	assert(node != NULL);
	assert(node->lookups >= count);
	node->lookups -= count;
	fs_node_put(fs, node);
	pthread_mutex_unlock(&fs->lock);
	bd_inode_unref(inode, count);
}

bool fs_node_has_writers(struct fs *fs, struct bd_inode *inode)
{
	pthread_mutex_lock(&fs->lock);
	struct fs_node *node = *bd_inode_user(inode);
	bool has_writers = node != NULL && node->writers > 0;
	pthread_mutex_unlock(&fs->lock);
	return has_writers;
}

bool fs_node_lacks_capabilities(struct fs *fs, struct bd_inode *inode)
{
	pthread_mutex_lock(&fs->lock);
	struct fs_node *node = *bd_inode_user(inode);
	bool lacks = node != NULL && node->lacks_capabilities;
	pthread_mutex_unlock(&fs->lock);
	return lacks;
}

void fs_node_set_lacks_capabilities(struct fs *fs, struct bd_inode *inode, bool lacks)
{
	pthread_mutex_lock(&fs->lock);
	struct fs_node *node = *bd_inode_user(inode);
	if (node != NULL)
		node->lacks_capabilities = lacks;
	pthread_mutex_unlock(&fs->lock);
}

int fs_handle_open(struct fs *fs, struct bd_inode *inode, int flags, struct fs_handle **ret_handle)
{
	struct fs_handle *handle = calloc(1, sizeof(*handle));

	if (handle == NULL)
		return -ENOMEM;
	pthread_mutex_init(&handle->listing_lock, NULL);
	handle->inode = inode;
	handle->writer = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0;

	pthread_mutex_lock(&fs->lock);
	if (inode != NULL) {
		struct fs_node *node = fs_node_get(fs, inode);
		int err = node == NULL ? -ENOMEM : handle->writer && node->volumes > 0 ? -EBUSY : 0;
		if (err != 0) {
			pthread_mutex_unlock(&fs->lock);
			pthread_mutex_destroy(&handle->listing_lock);
			free(handle);
			return err;
		}
		if (node->handles == 0)
			node->direct = node->volume_writes || (flags & (O_DIRECT | O_DSYNC | O_SYNC)) != 0;
		handle->node = node;
		handle->direct = node->direct;
		node->handles++;
		node->writers += handle->writer;
	}
	LIST_ADD(fs->handles, handle);
	pthread_mutex_unlock(&fs->lock);

	if (inode != NULL) {
		bd_inode_ref(inode, 1);
		bd_inode_use(inode, 1);
	}
	atomic_fetch_add(&fs->open_handles, 1);
	*ret_handle = handle;
	return 0;
}

/* Under fs->lock. */
static void handle_unlink(struct fs *fs, struct fs_handle *handle)
{
	LIST_REMOVE(fs->handles, handle);
	if (handle->inode == NULL)
		return;
	struct fs_node *node = handle->node;
	assert(node->handles > 0);
	node->handles--;
	node->writers -= handle->writer;
	fs_node_put(fs, node);
}

void fs_handle_close(struct fs *fs, struct fs_handle *handle)
{
	pthread_mutex_lock(&fs->lock);
	handle_unlink(fs, handle);
	pthread_mutex_unlock(&fs->lock);

	if (handle->inode != NULL) {
		bd_inode_use(handle->inode, -1);
		bd_inode_unref(handle->inode, 1);
		bd_listing_free(handle->listing);
	} else {
		free(handle->listing);
	}
	atomic_fetch_sub(&fs->open_handles, 1);
	pthread_mutex_destroy(&handle->listing_lock);
	free(handle);
}

void fs_node_drop_all(struct fs *fs)
{
	while (fs->handles != NULL)
		fs_handle_close(fs, fs->handles);
	while (fs->nodes != NULL)
		fs_node_forget(fs, fs->nodes->inode, fs->nodes->lookups);
}

/* A frozen view's trees carry the top bit and a mix of branch and epoch where a head carries its branch: two views
 * may share a number, a head and a view or two heads never do (below 2^23 branches ever made in a store). */
ino_t fs_ino(struct bd_view view, struct bd_file_id file)
{
	uint64_t branch = view.branch.v;

	if (view.epoch.v == BD_EPOCH_HEAD.v)
		return (branch & INO_BRANCH_MASK) << INO_BRANCH_SHIFT | (file.v & INO_FILE_MASK);
	uint64_t mix = (branch << 32 | view.epoch.v) * UINT64_C(0x9e3779b97f4a7c15);
	return INO_FROZEN | (mix >> 41) << INO_BRANCH_SHIFT | (file.v & INO_FILE_MASK);
}

static struct timespec timespec_of(int64_t ns)
{
	int64_t seconds = ns / 1000000000;
	int64_t rest = ns % 1000000000;

	if (rest < 0) { /* before 1970 */
		seconds--;
		rest += 1000000000;
	}
	return (struct timespec){.tv_sec = seconds, .tv_nsec = rest};
}

void fs_stat(struct bd_view view, const struct bd_attr *attr, struct stat *ret_stat)
{
	*ret_stat = (struct stat){
		.st_ino = fs_ino(view, attr->file),
		.st_mode = attr->mode,
		.st_nlink = attr->nlink,
		.st_uid = attr->uid,
		.st_gid = attr->gid,
		.st_rdev = attr->rdev,
		.st_size = (off_t)attr->size_bytes,
		.st_blksize = ST_BLKSIZE,
		.st_blocks = (blkcnt_t)attr->blocks_512,
		.st_atim = timespec_of(attr->atime_ns),
		.st_mtim = timespec_of(attr->mtime_ns),
		.st_ctim = timespec_of(attr->ctime_ns),
	};
}

void fs_node_attr_shown(struct fs *fs, struct bd_inode *inode)
{
	pthread_mutex_lock(&fs->lock);
	struct fs_node *node = *bd_inode_user(inode);
	if (node != NULL)
		atomic_store_explicit(&node->attr_shown, true, memory_order_relaxed);
	pthread_mutex_unlock(&fs->lock);
}

void fs_stat_inode(struct fs *fs, struct bd_inode *inode, struct stat *ret_stat)
{
	struct bd_attr attr;

	/* First the mark, then the look: a write between them tells the kernel once too often, not once too seldom. */
	if (fs->cache == FS_CACHE_BACK)
		fs_node_attr_shown(fs, inode);
	bd_inode_attr(inode, &attr);
	fs_stat(bd_inode_view(inode), &attr, ret_stat);
}
