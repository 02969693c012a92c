/* Handlers for extended attributes: kept byte for byte, in the namespaces user, trusted and security.
 * POSIX ACLs (system.*) are refused: storing them without enforcing them would be a lie. */
#include <stdlib.h>
#include <string.h>
#include <linux/limits.h>
#include <sys/xattr.h>

#include "fs/fs_internal.h"

static int check_name(const char *name)
{
	return strncmp(name, "system.", 7) == 0 ? -EOPNOTSUPP : 0;
}

/* `name` is set to the value; removed when that is NULL. */
static int change(struct fs_call *call, struct bd_inode *inode, const char *name, const char *value, size_t size, unsigned flags)
{
	int err = fs_change_begin(call, inode);

	if (err != 0)
		return err;
	err = value != NULL ? bd_xattr_set(inode, name, value, size, flags) : bd_xattr_remove(inode, name);
	fs_change_end(inode);
	return err;
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	FS_CALL(req, FS_OP_SETXATTR);
	unsigned store_flags = 0;
	int err = check_name(name);

	if (flags & XATTR_CREATE)
		store_flags |= BD_XATTR_CREATE;
	if (flags & XATTR_REPLACE)
		store_flags |= BD_XATTR_REPLACE;
	if (err == 0 && ino == FUSE_ROOT_ID)
		err = fs_root_refuse(call.fs, "extended attribute of", "");
	if (err == 0)
		err = change(&call, fs_inode(ino), name, value, size, store_flags);
	if (err == 0)
		fs_xattr_changed(call.fs, fs_inode(ino), name);
	fs_reply_result(&call, err);
}

/* Answer a get or list: `got` bytes in buf, or their number when none were asked for, or an error. */
static void reply_bytes(struct fs_call *call, const char *buf, size_t asked, ssize_t got)
{
	if (got < 0)
		fs_reply_result(call, (int)got);
	else if (asked == 0)
		fuse_reply_xattr(call->req, (size_t)got);
	else
		fuse_reply_buf(call->req, buf, (size_t)got);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	FS_CALL(req, FS_OP_GETXATTR);
	ssize_t got = ino != FUSE_ROOT_ID ? check_name(name) : -ENODATA;
	char *buf = NULL;

	size = NF_MIN(size, BD_XATTR_VALUE_MAX);
	if (got == 0 && size > 0) {
		buf = malloc(size);
		if (buf == NULL)
			got = -ENOMEM;
	}
	if (got == 0)
		got = bd_xattr_get(fs_inode(ino), name, buf, size);
	reply_bytes(&call, buf, size, got);
	free(buf);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	FS_CALL(req, FS_OP_LISTXATTR);
	ssize_t got = 0;
	char *buf = NULL;

	size = NF_MIN(size, XATTR_LIST_MAX);
	if (ino != FUSE_ROOT_ID && size > 0) {
		buf = malloc(size);
		if (buf == NULL)
			got = -ENOMEM;
	}
	if (got == 0 && ino != FUSE_ROOT_ID)
		got = bd_xattr_list(fs_inode(ino), buf, size);
	reply_bytes(&call, buf, size, got);
	free(buf);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	FS_CALL(req, FS_OP_REMOVEXATTR);
	int err = check_name(name);

	if (err == 0 && ino == FUSE_ROOT_ID)
		err = fs_root_refuse(call.fs, "extended attribute of", "");
	if (err == 0)
		err = change(&call, fs_inode(ino), name, NULL, 0, 0);
	fs_reply_result(&call, err);
}

void fs_add_xattr_ops(struct fuse_lowlevel_ops *ops)
{
	ops->setxattr = op_setxattr;
	ops->getxattr = op_getxattr;
	ops->listxattr = op_listxattr;
	ops->removexattr = op_removexattr;
}
