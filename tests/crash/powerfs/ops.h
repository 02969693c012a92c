/* What the request handlers share, and the handlers that stand in ops_names.c and ops_data.c. */
#ifndef POWERFS_OPS_H
#define POWERFS_OPS_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include "powerfs.h"

#define TIMEOUT_S 60.0	/* nothing changes behind the kernel's back */

/* Every handler: if (!op_enter(req)) return; ... reply ...; op_leave(). False: the power is off, and the reply was sent. */
bool op_enter(fuse_req_t req);
void op_leave(void);
void op_leave_err(fuse_req_t req, int err);
void op_leave_entry(fuse_req_t req, int err, const struct fuse_entry_param *entry);
struct pf_node *op_node(fuse_ino_t ino);
/* mtime and ctime are now. The first: caller holds names. */
void op_touch_locked(struct pf_node *node);
void op_touch(struct pf_node *node);
/* What the kernel is told of a node it looked up; it gets one reference. Caller holds names. */
int op_fill_entry(struct pf_node *node, struct fuse_entry_param *ret);
/* Drop references that the kernel had. */
void op_drop(fuse_ino_t ino, uint64_t count);
void op_reply_attr(fuse_req_t req, struct pf_node *node);

/* ops_names.c */
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_readlink(fuse_req_t req, fuse_ino_t ino);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
	       unsigned flags);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name);
void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);

/* ops_data.c */
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
		  struct fuse_file_info *fi);

#endif
