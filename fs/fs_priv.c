/* Set-id bits and file capabilities go when somebody without CAP_FSETID changes a file.
 *
 * With HANDLE_KILLPRIV_V2 the kernel leaves that to us and marks the requests that have to do it; the gain is that it
 * need not ask for security.capability before every write. What we clear it does not know of, so it is told.
 * Without V2 the kernel clears what it sees itself, before it writes; O_TRUNC is the case it misses. */
#include <string.h>

#include "fs/fs_internal.h"

#define CAPABILITY_XATTR "security.capability"

bool fs_kills_priv(struct fs_call *call, const struct fuse_file_info *fi)
{
#ifdef FS_HAVE_FILE_INFO_KILL_SUIDGID
	if (call->fs->killpriv_v2)
		return fi->kill_suidgid;
#endif
	/* An older library does not pass the kernel's word on; who is not root lacks CAP_FSETID. Gathered writes have no
	 * caller, but a file that has set-id bits gets no gathered writes. */
	return !fi->writepage && fuse_req_ctx(call->req)->uid != 0;
}

int fs_drop_capabilities(struct fs *fs, struct bd_inode *inode)
{
	if (fs_node_lacks_capabilities(fs, inode))
		return 0;
	int err = bd_xattr_remove(inode, CAPABILITY_XATTR);
	if (err != 0 && err != -ENODATA)
		return err;
	fs_node_set_lacks_capabilities(fs, inode, true);
	return 0;
}

void fs_xattr_changed(struct fs *fs, struct bd_inode *inode, const char *name)
{
	if (strcmp(name, CAPABILITY_XATTR) == 0)
		fs_node_set_lacks_capabilities(fs, inode, false);
}

int fs_kill_priv(struct fs *fs, struct bd_inode *inode)
{
	struct bd_attr attr;
	int err = fs_drop_capabilities(fs, inode);

	bd_inode_attr(inode, &attr);
	if (err != 0 || (attr.mode & (S_ISUID | S_ISGID)) == 0)
		return err;
	err = bd_setattr(inode, BD_KILL_PRIV, &attr, &attr);
	if (err == 0)
		fs_notify_attr(fs, inode);
	return err;
}

void fs_notify_attr(struct fs *fs, struct bd_inode *inode)
{
	fuse_ino_t ino = fs_node_id(fs, inode);
	pthread_rwlock_rdlock(&fs->session_lock);
	if (fs->connected) {
		int err = fuse_lowlevel_notify_inval_inode(fs->session, ino, -1, 0);
		if (err != 0 && err != -ENOENT)
			nf_warn("the kernel keeps old attributes of inode %#lx: %s", (unsigned long)ino, strerror(-err));
	}
	pthread_rwlock_unlock(&fs->session_lock);
}
