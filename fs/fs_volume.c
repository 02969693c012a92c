/* Files that somebody uses past the mount (a volume, served as a block device), and what the mount does about it. See fs.h.
 *
 * Such a file has one writer: the volume's, or those who open it through the mount, never both. Beside a volume that writes, the mount reads past the
 * page cache, as beside any O_DIRECT handle (fs_node.c): so nobody sees old bytes. What the kernel had of the file before is dropped when the use begins, and
 * what it may have got since (a private mapping) when it ends. */
#include <string.h>

#include "fs/fs_internal.h"

/* The kernel drops the pages and attributes that it has of the inode; dirty ones are written first, by requests that the workers serve. */
static void forget_pages(struct fs *fs, struct bd_inode *inode)
{
	fuse_ino_t ino = fs_node_id(fs, inode);
	pthread_rwlock_rdlock(&fs->session_lock);
	if (fs->connected) {
		int err = fuse_lowlevel_notify_inval_inode(fs->session, ino, 0, 0);
		if (err != 0 && err != -ENOENT)
			nf_warn("the kernel keeps old pages of a volume: %s", strerror(-err));
	}
	pthread_rwlock_unlock(&fs->session_lock);
}

/* Under fs->lock: may it be used so beside those who use it now? */
static bool is_free(const struct fs_node *node, bool writes)
{
	if (node->writers > 0)
		return false;
	return !writes || (!node->volume_writes && (node->handles == 0 || node->direct));
}

static int enter(struct fs *fs, struct bd_inode *inode, bool writes)
{
	pthread_mutex_lock(&fs->lock);
	struct fs_node *node = fs_node_get(fs, inode);
	int err = node == NULL ? -ENOMEM : !is_free(node, writes) ? -EBUSY : 0;
	if (err == 0) {
		node->volumes++;
		node->volume_writes |= writes;
		atomic_fetch_add(&fs->volume_count, 1);
	} else if (node != NULL) {
		fs_node_put(fs, node);
	}
	pthread_mutex_unlock(&fs->lock);
	return err;
}

static void leave(struct fs *fs, struct bd_inode *inode, bool writes)
{
	pthread_mutex_lock(&fs->lock);
	struct fs_node *node = *bd_inode_user(inode);
	assert(node != NULL && node->volumes > 0);
	node->volumes--;
	if (writes)
		node->volume_writes = false;
	atomic_fetch_sub(&fs->volume_count, 1);
	fs_node_put(fs, node);
	pthread_mutex_unlock(&fs->lock);
}

int fs_volume_begin(struct fs *fs, struct bd_inode *inode, bool writes)
{
	/* Counted first and looked then, as fs_hold.c wants it. */
	bd_inode_use(inode, 1);
	int err = writes && fs_is_held(fs, bd_inode_view(inode).branch) ? -EBUSY : enter(fs, inode, writes);
	if (err != 0)
		bd_inode_use(inode, -1);
	else
		forget_pages(fs, inode);
	return err;
}

void fs_volume_end(struct fs *fs, struct bd_inode *inode, bool writes)
{
	if (writes)
		forget_pages(fs, inode);
	leave(fs, inode, writes);
	bd_inode_use(inode, -1);
}

void fs_volume_changed(struct fs *fs, struct bd_inode *inode)
{
	pthread_mutex_lock(&fs->lock);
	struct fs_node *node = *bd_inode_user(inode);
	bool is_known = node != NULL && node->lookups > 0;
	pthread_mutex_unlock(&fs->lock);
	if (is_known)
		fs_notify_attr(fs, inode);
}

int fs_resize_begin(struct fs *fs, struct bd_inode *inode)
{
	pthread_mutex_lock(&fs->lock);
	struct fs_node *node = fs_node_get(fs, inode);
	int err = node == NULL ? -ENOMEM : node->volumes > 0 ? -EBUSY : 0;
	if (err == 0)
		node->writers++;
	pthread_mutex_unlock(&fs->lock);
	return err;
}

void fs_resize_end(struct fs *fs, struct bd_inode *inode)
{
	pthread_mutex_lock(&fs->lock);
	struct fs_node *node = *bd_inode_user(inode);
	assert(node != NULL && node->writers > 0);
	node->writers--;
	fs_node_put(fs, node);
	pthread_mutex_unlock(&fs->lock);
}

int fs_volume_check_name(struct fs *fs, struct bd_inode *dir, const char *name)
{
	struct bd_inode *inode;
	if (atomic_load(&fs->volume_count) == 0 || bd_lookup(dir, name, &inode) != 0)
		return 0;
	pthread_mutex_lock(&fs->lock);
	struct fs_node *node = *bd_inode_user(inode);
	int err = node != NULL && node->volumes > 0 ? -EBUSY : 0;
	pthread_mutex_unlock(&fs->lock);
	bd_inode_unref(inode, 1);
	return err;
}
