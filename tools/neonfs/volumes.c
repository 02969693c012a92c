/* See volumes.h. The hooks run on threads of the volumes' sessions, and may wait. */
#include "tools/neonfs/volumes.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/nbd/volume.h"
#include "common/nf_log.h"
#include "tools/neonfs/control_names.h"
#include "tools/neonfs/control_point.h"
#include "tools/neonfs/trees.h"

static_assert(VOLUME_MESSAGE_MAX <= BD_VOLUME_MESSAGE_MAX, "messages fit");

struct volumes {
	struct ctl_call with;
	struct bd_volumes *served; /* NULL before start and after stop */
};

/* ------------------------------------------------------------ the file */

static bool is_head(struct bd_view view)
{
	return view.epoch.v == BD_EPOCH_HEAD.v;
}

static int refuse(char *ret_message, int rc, const char *format, const char *what)
{
	snprintf(ret_message, BD_VOLUME_MESSAGE_MAX, format, what);
	return rc;
}

/* The error of a request that failed, as text. */
static int take_error(const struct ctl_call *call, char *ret_message)
{
	snprintf(ret_message, BD_VOLUME_MESSAGE_MAX, "%.500s", call->error_message);
	if (strcmp(call->error_code != NULL ? call->error_code : "", TL_CODE_USAGE) == 0)
		return -EINVAL;
	return strcmp(call->error_code != NULL ? call->error_code : "", TL_CODE_NOT_FOUND) == 0 ? -ENOENT : -EIO;
}

/* Down the path; symbolic links are not followed. One reference. */
static int walk(struct bd_store *store, struct bd_view view, const char *path, struct bd_inode **ret_inode)
{
	char name[BD_NAME_MAX + 1];
	struct bd_inode *at, *next;
	int rc = bd_root(store, view, &at);
	while (rc == 0) {
		size_t length = strcspn(path, "/");
		assert(length <= BD_NAME_MAX);
		memcpy(name, path, length);
		name[length] = '\0';
		rc = bd_lookup(at, name, &next);
		bd_inode_unref(at, 1);
		at = next;
		if (rc == 0 && path[length] == '\0') {
			*ret_inode = at;
			return 0;
		}
		path += length + 1;
	}
	return rc;
}

static int find_file(struct volumes *volumes, struct bd_view view, const struct volume_name *name, struct bd_inode **ret_inode,
		     char *ret_message)
{
	struct bd_attr attr;
	int rc = walk(volumes->with.store, view, name->path, ret_inode);
	if (rc == -ENOENT || rc == -ENOTDIR)
		return refuse(ret_message, -ENOENT, "there is no file \"%.200s\" in it; \"neonfs volume create\" makes one", name->path);
	if (rc != 0)
		return refuse(ret_message, rc, "cannot look it up: %s", strerror(-rc));
	bd_inode_attr(*ret_inode, &attr);
	if (S_ISREG(attr.mode))
		return 0;
	bd_inode_unref(*ret_inode, 1);
	return refuse(ret_message, -EINVAL, "\"%.200s\" is no regular file", name->path);
}

/* ------------------------------------------------------------ a point */

/* A tree is made by whoever asks the mount for it. With a file of it open it stays. */
static int open_in_mount(struct volumes *volumes, const struct volume_name *name, char *point, int *ret_fd, char *ret_message)
{
	char path[PATH_MAX];
	for (char *at = point; *at != '\0'; at++)
		if (*at == '/')
			*at = '-';
	if (snprintf(path, sizeof(path), "%s/%s@%s/%s", volumes->with.config->mountpoint, name->branch, point, name->path) >=
	    (int)sizeof(path))
		return refuse(ret_message, -ENAMETOOLONG, "the path %.40s... is too long", path);
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (*ret_fd >= 0)
		return 0;
	int rc = -errno;
	return refuse(ret_message, rc, rc == -ENOENT ? "there is no file %.400s" : "cannot open %.400s", path);
}

static int enter_tree(struct volumes *volumes, const struct volume_name *name, const char *point, struct bd_view *ret_view)
{
	struct fs_trees hooks;
	struct bd_view door;
	trees_hooks(volumes->with.trees, &hooks);
	int rc = hooks.find(hooks.arg, name->branch, point, &door);
	return rc == 0 ? hooks.enter(hooks.arg, door, false, ret_view) : rc;
}

static int open_in_tree(struct volumes *volumes, const struct volume_name *name, struct bd_inode **ret_inode, char *ret_message)
{
	char point[sizeof(name->point)];
	struct bd_view view;
	int fd;
	snprintf(point, sizeof(point), "%s", name->point);
	int rc = open_in_mount(volumes, name, point, &fd, ret_message);
	if (rc != 0)
		return rc;
	rc = enter_tree(volumes, name, point, &view);
	if (rc != 0)
		rc = refuse(ret_message, rc, "cannot look at the point: %s", strerror(-rc));
	else
		rc = find_file(volumes, view, name, ret_inode, ret_message);
	if (rc == 0)
		bd_inode_use(*ret_inode, 1);
	close(fd);
	return rc;
}

static int open_point(struct volumes *volumes, const struct volume_name *name, const struct bd_branch_info *branch,
		      struct bd_inode **ret_inode, char *ret_message)
{
	struct ctl_call call = volumes->with;
	struct ctl_place place;
	struct bd_snapshot_info snapshot;
	int rc = bd_snapshot_find(call.store, branch->id, name->point, &snapshot);
	if (rc == 0) {
		rc = find_file(volumes, (struct bd_view){branch->id, snapshot.epoch}, name, ret_inode, ret_message);
		if (rc == 0)
			bd_inode_use(*ret_inode, 1);
		return rc;
	}
	if (rc != -ENOENT && rc != -EINVAL && rc != -ENAMETOOLONG)
		return refuse(ret_message, rc, "cannot look the snapshot up: %s", strerror(-rc));
	/* What is wrong with the point is better said here than by the mount. */
	if (ctl_find_point(&call, branch, name->point, false, &place) != 0)
		return take_error(&call, ret_message);
	return open_in_tree(volumes, name, ret_inode, ret_message);
}

/* -------------------------------------------------------------- a head */

static int refuse_busy(char *ret_message, bool writes)
{
	return refuse(ret_message, -EBUSY, "the volume is busy: %s",
		      writes ? "it is served for writing already, or a program has the file open in the mount"
			     : "a program writes to the file in the mount");
}

/* The kernel tells of the last close of a file a moment after it: what looks busy is looked at again for a while. */
#define BUSY_TRIES 20u
#define BUSY_PAUSE_NS 100000000L

static int begin_use(struct volumes *volumes, struct bd_inode *inode, bool writes)
{
	int rc = fs_volume_begin(volumes->with.fs, inode, writes);
	for (unsigned i = 1; i < BUSY_TRIES && rc == -EBUSY; i++) {
		nanosleep(&(struct timespec){.tv_nsec = BUSY_PAUSE_NS}, NULL);
		rc = fs_volume_begin(volumes->with.fs, inode, writes);
	}
	return rc;
}

static int open_head(struct volumes *volumes, const struct volume_name *name, const struct bd_branch_info *branch, bool writes,
		     struct bd_inode **ret_inode, char *ret_message)
{
	struct bd_inode *inode, *again;
	const struct bd_view view = {branch->id, BD_EPOCH_HEAD};
	int rc = find_file(volumes, view, name, &inode, ret_message);
	if (rc != 0)
		return rc;
	rc = begin_use(volumes, inode, writes);
	if (rc != 0) {
		bd_inode_unref(inode, 1);
		return rc == -EBUSY ? refuse_busy(ret_message, writes) : refuse(ret_message, rc, "%s", strerror(-rc));
	}
	/* From now on nobody takes the name away; it may have been taken a moment ago. */
	rc = find_file(volumes, view, name, &again, ret_message);
	if (rc == 0)
		bd_inode_unref(again, 1);
	if (rc == 0 && again != inode)
		rc = refuse(ret_message, -EBUSY, "\"%.200s\" has just been replaced by another file", name->path);
	if (rc == 0) {
		*ret_inode = inode;
		return 0;
	}
	fs_volume_end(volumes->with.fs, inode, writes);
	bd_inode_unref(inode, 1);
	return rc;
}

/* --------------------------------------------------------------- hooks */

static int open_volume(void *arg, const char *text, bool *writes, struct bd_inode **ret_inode, char *ret_message)
{
	struct volumes *volumes = arg;
	struct ctl_call call = volumes->with;
	struct volume_name name;
	struct bd_branch_info branch;
	int rc = volume_name_parse(text, &name, ret_message);
	if (rc != 0)
		return rc;
	if (ctl_find_branch(&call, "branch", name.branch, &branch) != 0)
		return take_error(&call, ret_message);
	if (name.point[0] == '\0')
		return open_head(volumes, &name, &branch, *writes, ret_inode, ret_message);
	*writes = false;
	return open_point(volumes, &name, &branch, ret_inode, ret_message);
}

static void close_volume(void *arg, struct bd_inode *inode, bool writes)
{
	struct volumes *volumes = arg;
	if (is_head(bd_inode_view(inode)))
		fs_volume_end(volumes->with.fs, inode, writes);
	else
		bd_inode_use(inode, -1);
	bd_inode_unref(inode, 1);
}

static void volume_flushed(void *arg, struct bd_inode *inode)
{
	struct volumes *volumes = arg;
	fs_volume_changed(volumes->with.fs, inode);
}

/* ---------------------------------------------------------------- life */

int volumes_new(struct volumes **ret_volumes)
{
	*ret_volumes = calloc(1, sizeof(**ret_volumes));
	return *ret_volumes != NULL ? 0 : -ENOMEM;
}

int volumes_start(struct volumes *volumes, const struct ctl_call *with)
{
	const struct bd_volume_hooks hooks = {.arg = volumes, .open = open_volume, .close = close_volume, .flushed = volume_flushed};
	volumes->with = *with;
	return bd_volumes_start(with->store, with->config->store, &hooks, &volumes->served);
}

void volumes_stop(struct volumes *volumes)
{
	bd_volumes_stop(volumes->served);
	volumes->served = NULL;
}

void volumes_free(struct volumes *volumes)
{
	free(volumes);
}

/* ------------------------------------------------------------- request */

static json_t *volume_json(struct ctl_call *call, const struct bd_volume_info *info)
{
	struct bd_branch_info branch;
	bool has_branch = bd_branch_get(call->store, info->view.branch, &branch) == 0;
	return json_pack("{s:o, s:s, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:I}", "name", tl_json_text(info->name), "branch",
			 has_branch ? branch.name : "", "file", (json_int_t)info->file.v, "pid", (json_int_t)info->pid, "writes",
			 (int)info->writes, "size_bytes", (json_int_t)info->size_bytes, "reads", (json_int_t)info->reads, "read_bytes",
			 (json_int_t)info->read_bytes, "writes_done", (json_int_t)info->writes_done, "written_bytes",
			 (json_int_t)info->written_bytes, "flushes", (json_int_t)info->flushes);
}

int ctl_volume_list(struct ctl_call *call)
{
	struct bd_volume_info *infos;
	size_t count;
	int rc = bd_volumes_list(call->volumes->served, &infos, &count);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot list the volumes");
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, volume_json(call, &infos[i]));
	free(infos);
	call->result = json_pack("{s:o}", "served", list);
	return 0;
}
