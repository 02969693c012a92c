/* Operations on names: create, link, unlink, rename, look-up, listing. */
#include "mt.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* A name from a small pool, so that operations meet; now and then a long or an odd one. */
static void random_name(struct mt *mt, char name[BD_NAME_MAX + 2])
{
	static const char *const odd[] = {"...", ".hidden", "with space", "sn\xc3\xb6n", "\xff\xfe", "a\nb", "-x", "@"};

	if (mt_chance(mt, 20)) {
		memset(name, 'n', BD_NAME_MAX);
		name[BD_NAME_MAX - 1] = (char)('a' + mt_below(mt, 3));
		name[BD_NAME_MAX] = 0;
	} else if (mt_chance(mt, 40)) {
		strcpy(name, odd[mt_below(mt, NF_ARRAY_LEN(odd))]);
	} else {
		name[0] = (char)('a' + mt_below(mt, 12));
		name[1] = 0;
	}
}

/* A name that is in the directory; any name when it is empty. */
static void present_name(struct mt *mt, const struct mm_inode *dir, char name[BD_NAME_MAX + 2])
{
	if (dir->entry_count == 0)
		random_name(mt, name);
	else
		strcpy(name, (const char *)dir->entries[mt_below(mt, dir->entry_count)].name->bytes);
}

static uint32_t random_permissions(struct mt *mt)
{
	static const uint32_t modes[] = {0600, 0644, 0700, 0755, 02755, 04755, 06777, 01777, 0};

	return modes[mt_below(mt, NF_ARRAY_LEN(modes))];
}

static void check_new_file(struct mt *mt, const struct bd_attr *attr)
{
	if (attr->file.v <= MM_ROOT || attr->file.v >> 40 != 0)
		mt_fail(mt, "new file number %" PRIu64 " is out of range", attr->file.v);
	for (unsigned i = 0; i < MT_BRANCHES; i++)
		if (mt->branches[i].used && mm_get(mt->branches[i].head, attr->file.v) != NULL)
			mt_fail(mt, "new file number %" PRIu64 " is in use", attr->file.v);
	for (unsigned i = 0; i < MT_SNAPSHOTS; i++)
		if (mt->snapshots[i].used && mm_get(mt->snapshots[i].tree, attr->file.v) != NULL)
			mt_fail(mt, "new file number %" PRIu64 " is in use in a snapshot", attr->file.v);
	if (attr->file.v <= mt->highest_file)
		mt_fail(mt, "new file number %" PRIu64 " was given before (highest %" PRIu64 ")", attr->file.v,
			mt->highest_file);
	mt->highest_file = attr->file.v;
}

/* What a new inode in `dir` looks like: its own wishes and what a setgid directory hands down. */
static struct mm_inode *new_inode(struct mt *mt, const struct mm_inode *dir, const struct bd_create *how, uint64_t file)
{
	struct mm_inode *inode = mm_inode_new(file, how->mode, how->uid, how->gid);

	if (dir->mode & S_ISGID) {
		inode->gid = dir->gid;
		if (S_ISDIR(how->mode))
			inode->mode |= S_ISGID;
	}
	inode->rdev = how->rdev;
	inode->parent = S_ISDIR(how->mode) ? dir->file : 0;
	inode->named_at = inode->entries_at = mt->op;
	if (S_ISLNK(how->mode))
		inode->target = mm_blob_text(how->symlink_target);
	return inode;
}

/* `dir` of the tree, to be changed: its entries will differ. */
static struct mm_inode *change_dir(struct mt *mt, struct mm_tree *tree, uint64_t file)
{
	struct mm_inode *dir = mm_change(tree, file);

	dir->entries_at = mt->op;
	return dir;
}

static void create(struct mt *mt, struct bd_create *how)
{
	struct mt_pick dir;
	char name[BD_NAME_MAX + 2];
	struct bd_inode *real;
	struct bd_attr attr;
	struct mm_tree *tree;
	struct mm_inode *parent, *inode;
	int want, err;

	if (!mt_pick(mt, MT_WANT_DIR, &dir))
		return;
	random_name(mt, name);
	how->uid = (uint32_t)mt_below(mt, 3);
	how->gid = (uint32_t)mt_below(mt, 3);
	want = mm_entry_find(dir.inode, name) != 0 ? -EEXIST : 0;
	if (mt->branches[dir.branch].head->count >= MT_INODES && want == 0) {
		bd_inode_unref(dir.real, 1);
		return;
	}
	mt_trace(mt, "create %s: dir %" PRIu64 " '%.20s' mode %o", mt->branches[dir.branch].name, dir.inode->file, name,
		 how->mode);
	err = bd_create(dir.real, name, how, &real);
	mt_expect(mt, "bd_create", err, want);
	if (err == 0) {
		bd_inode_attr(real, &attr);
		check_new_file(mt, &attr);
		inode = new_inode(mt, dir.inode, how, attr.file.v);
		tree = mt_begin(mt, dir.branch);
		mm_add(tree, inode);
		parent = change_dir(mt, tree, dir.inode->file);
		mm_entry_set(parent, name, inode->file);
		if (mm_is_dir(inode))
			parent->nlink++;
		mt_absorb(mt, inode, real, MT_NEW);
		mt_absorb(mt, parent, dir.real, MT_MTIME | MT_CTIME);
		mt_commit(mt, dir.branch, true);
		mt_trace(mt, "  -> file %" PRIu64, attr.file.v);
		if (mt_chance(mt, 400))
			mt_keep(mt, dir.branch, real, attr.file.v);
		bd_inode_unref(real, 1);
	}
	bd_inode_unref(dir.real, 1);
}

void mt_op_create(struct mt *mt)
{
	create(mt, &(struct bd_create){.mode = S_IFREG | random_permissions(mt)});
}

void mt_op_mkdir(struct mt *mt)
{
	create(mt, &(struct bd_create){.mode = S_IFDIR | random_permissions(mt)});
}

void mt_op_symlink(struct mt *mt)
{
	char target[BD_SYMLINK_MAX + 1];
	size_t size = mt_chance(mt, 100) ? BD_SYMLINK_MAX : 1 + mt_below(mt, 100);

	for (size_t i = 0; i < size; i++)
		target[i] = (char)('!' + mt_below(mt, 90));
	target[size] = 0;
	create(mt, &(struct bd_create){.mode = S_IFLNK | 0777, .symlink_target = target});
}

void mt_op_mknod(struct mt *mt)
{
	static const uint32_t types[] = {S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
	uint32_t type = types[mt_below(mt, NF_ARRAY_LEN(types))];

	create(mt, &(struct bd_create){.mode = type | 0640,
				       .rdev = type == S_IFCHR || type == S_IFBLK ? (uint32_t)makedev(8, mt_below(mt, 20)) : 0});
}

void mt_op_unnamed(struct mt *mt)
{
	struct bd_create how = {.mode = S_IFREG | 0600, .uid = 1, .gid = 1};
	struct mt_pick dir;
	struct bd_inode *real;
	struct bd_attr attr;
	struct mm_inode *inode;
	struct mm_tree *tree;

	if (!mt_pick(mt, MT_WANT_DIR, &dir))
		return;
	if (mt->branches[dir.branch].head->count < MT_INODES) {
		mt_trace(mt, "create_unnamed %s: dir %" PRIu64, mt->branches[dir.branch].name, dir.inode->file);
		mt_expect(mt, "bd_create_unnamed", bd_create_unnamed(dir.real, &how, &real), 0);
		bd_inode_attr(real, &attr);
		check_new_file(mt, &attr);
		inode = new_inode(mt, dir.inode, &how, attr.file.v);
		inode->nlink = 0;
		mt_absorb(mt, inode, real, MT_NEW);
		if (mt_keep(mt, dir.branch, real, attr.file.v)) {
			tree = mt_begin(mt, dir.branch);
			mm_add(tree, inode);
			mt_commit(mt, dir.branch, false);
			mt_trace(mt, "  -> file %" PRIu64, attr.file.v);
		} else {
			mm_inode_unref(inode);
		}
		bd_inode_unref(real, 1);
	}
	bd_inode_unref(dir.real, 1);
}

void mt_op_link(struct mt *mt)
{
	struct mt_pick from, dir;
	char name[BD_NAME_MAX + 2];
	struct mm_tree *tree;
	struct mm_inode *inode, *parent;
	unsigned branch = mt_any_branch(mt);
	int want = 0, err;

	if (!mt_pick_in(mt, branch, MT_WANT_ANY, &from))
		return;
	if (!mt_pick_in(mt, mt_chance(mt, 950) ? branch : mt_any_branch(mt), MT_WANT_DIR, &dir)) {
		bd_inode_unref(from.real, 1);
		return;
	}
	random_name(mt, name);
	if (dir.branch != branch)
		want = -EXDEV;
	else if (mm_is_dir(from.inode))
		want = -EPERM;
	else if (mm_entry_find(dir.inode, name) != 0)
		want = -EEXIST;
	/* When two things are wrong at once, either may be named. */
	if (dir.branch == branch || (!mm_is_dir(from.inode) && mm_entry_find(dir.inode, name) == 0)) {
		bool both = want == -EPERM && mm_entry_find(dir.inode, name) != 0;
		mt_trace(mt, "link %s: file %" PRIu64 " to dir %" PRIu64 " of %s '%.20s'", mt->branches[branch].name,
			 from.inode->file, dir.inode->file, mt->branches[dir.branch].name, name);
		err = bd_link(from.real, dir.real, name);
		mt_expect(mt, "bd_link", both && err == -EEXIST ? want : err, want);
		if (err == 0) {
			tree = mt_begin(mt, branch);
			inode = mm_change(tree, from.inode->file);
			parent = change_dir(mt, tree, dir.inode->file);
			mm_entry_set(parent, name, inode->file);
			inode->nlink++;
			inode->named_at = mt->op;
			mt_absorb(mt, inode, from.real, MT_CTIME);
			mt_absorb(mt, parent, dir.real, MT_MTIME | MT_CTIME);
			mt_commit(mt, branch, true);
		}
	}
	bd_inode_unref(from.real, 1);
	bd_inode_unref(dir.real, 1);
}

/* `name` of `parent` (both to be changed) goes away: of `inode` one link is gone, of a directory everything. */
static void lose_name(struct mt *mt, struct mm_tree *tree, unsigned branch, struct mm_inode *parent, uint64_t file,
		      struct bd_inode *real)
{
	struct mm_inode *inode = mm_change(tree, file);

	inode->named_at = mt->op;
	if (mm_is_dir(inode)) {
		inode->nlink = 0;
		parent->nlink--;
	} else {
		inode->nlink--;
	}
	if (real != NULL)
		mt_absorb(mt, inode, real, MT_MAY_CTIME | MT_MAY_MTIME);
	mt_maybe_drop(mt, branch, tree, file);
}

static void remove_name(struct mt *mt, bool rmdir)
{
	struct mt_pick dir;
	char name[BD_NAME_MAX + 2];
	struct mm_tree *tree;
	struct mm_inode *parent;
	const struct mm_inode *inode = NULL;
	struct bd_inode *real = NULL;
	uint64_t file;
	int want = 0, err;

	if (!mt_pick(mt, MT_WANT_DIR, &dir))
		return;
	present_name(mt, dir.inode, name);
	file = mm_entry_find(dir.inode, name);
	if (file != 0)
		inode = mm_get(mt->branches[dir.branch].head, file);
	if (inode == NULL)
		want = -ENOENT;
	else if (rmdir && !mm_is_dir(inode))
		want = -ENOTDIR;
	else if (rmdir && inode->entry_count > 0)
		want = -ENOTEMPTY;
	else if (!rmdir && mm_is_dir(inode))
		want = -EISDIR;
	if (inode != NULL && (inode->nlink > 1 || mt_is_kept(mt, dir.branch, file) || mt_chance(mt, 500)))
		real = mt_acquire(mt, dir.branch, file);
	mt_trace(mt, "%s %s: dir %" PRIu64 " '%.20s' file %" PRIu64, rmdir ? "rmdir" : "unlink", mt->branches[dir.branch].name,
		 dir.inode->file, name, file);
	err = rmdir ? bd_rmdir(dir.real, name) : bd_unlink(dir.real, name);
	mt_expect(mt, rmdir ? "bd_rmdir" : "bd_unlink", err, want);
	if (err == 0) {
		tree = mt_begin(mt, dir.branch);
		parent = change_dir(mt, tree, dir.inode->file);
		mm_entry_remove(parent, name);
		lose_name(mt, tree, dir.branch, parent, file, real);
		mt_absorb(mt, parent, dir.real, MT_MTIME | MT_CTIME);
		mt_commit(mt, dir.branch, true);
	}
	if (real != NULL)
		bd_inode_unref(real, 1);
	bd_inode_unref(dir.real, 1);
}

void mt_op_unlink(struct mt *mt)
{
	remove_name(mt, false);
}

void mt_op_rmdir(struct mt *mt)
{
	remove_name(mt, true);
}

/* ---- rename ---- */

struct rename {
	struct mt_pick from_dir, to_dir;
	char from[BD_NAME_MAX + 2], to[BD_NAME_MAX + 2];
	unsigned flags;
	const struct mm_inode *moved, *target; /* NULL: not there */
};

/* What the model says; *ret_either: a second answer that is as good. */
static int rename_result(struct mt *mt, const struct rename *r, int *ret_either)
{
	const struct mm_tree *tree = mt->branches[r->from_dir.branch].head;
	const struct mm_inode *moved = r->moved, *target = r->target;
	int result = 0;

	*ret_either = 0;
	if (moved == NULL)
		return -ENOENT;
	if ((r->flags & BD_RENAME_EXCHANGE) && target == NULL)
		result = -ENOENT;
	else if ((r->flags & BD_RENAME_NOREPLACE) && target != NULL)
		result = -EEXIST;
	if (mm_is_dir(moved) && mm_is_above(tree, moved->file, r->to_dir.inode->file)) {
		*ret_either = result;
		return -EINVAL;
	}
	if (result != 0)
		return result;
	if (r->flags & BD_RENAME_EXCHANGE)
		return mm_is_dir(target) && mm_is_above(tree, target->file, r->from_dir.inode->file) ? -EINVAL : 0;
	if (target == NULL || target == moved)
		return 0;
	if (mm_is_dir(moved) && !mm_is_dir(target))
		return -ENOTDIR;
	if (!mm_is_dir(moved) && mm_is_dir(target)) {
		*ret_either = -ENOTEMPTY; /* when the target lies above the source */
		return -EISDIR;
	}
	return mm_is_dir(target) && target->entry_count > 0 ? -ENOTEMPTY : 0;
}

static void set_parent(struct mm_inode *inode, struct mm_inode *old, struct mm_inode *new)
{
	if (!mm_is_dir(inode))
		return;
	inode->parent = new->file;
	old->nlink--;
	new->nlink++;
}

static void rename_apply(struct mt *mt, const struct rename *r, struct bd_inode *moved_real, struct bd_inode *target_real)
{
	unsigned branch = r->from_dir.branch;
	struct mm_tree *tree = mt_begin(mt, branch);
	struct mm_inode *from_dir = change_dir(mt, tree, r->from_dir.inode->file);
	struct mm_inode *to_dir = change_dir(mt, tree, r->to_dir.inode->file);
	struct mm_inode *moved = mm_change(tree, r->moved->file), *target;

	moved->named_at = mt->op;
	if (r->flags & BD_RENAME_EXCHANGE) {
		target = mm_change(tree, r->target->file);
		target->named_at = mt->op;
		mm_entry_set(from_dir, r->from, target->file);
		mm_entry_set(to_dir, r->to, moved->file);
		set_parent(moved, from_dir, to_dir);
		set_parent(target, to_dir, from_dir);
		mt_absorb(mt, target, target_real, MT_MAY_CTIME);
	} else {
		mm_entry_remove(from_dir, r->from);
		mm_entry_set(to_dir, r->to, moved->file);
		set_parent(moved, from_dir, to_dir);
		if (r->target != NULL) {
			mt_add_replaced(mt, branch, moved->file);
			lose_name(mt, tree, branch, to_dir, r->target->file, target_real);
		}
	}
	mt_absorb(mt, moved, moved_real, MT_MAY_CTIME);
	mt_absorb(mt, from_dir, r->from_dir.real, MT_MTIME | MT_CTIME);
	if (to_dir != from_dir)
		mt_absorb(mt, to_dir, r->to_dir.real, MT_MTIME | MT_CTIME);
	mt_commit(mt, branch, true);
}

static void rename_run(struct mt *mt, struct rename *r)
{
	unsigned branch = r->from_dir.branch;
	struct bd_inode *moved_real = NULL, *target_real = NULL;
	uint64_t file;
	int want, either, err;

	file = mm_entry_find(r->from_dir.inode, r->from);
	r->moved = file != 0 ? mm_get(mt->branches[branch].head, file) : NULL;
	file = mm_entry_find(r->to_dir.inode, r->to);
	r->target = file != 0 ? mm_get(mt->branches[branch].head, file) : NULL;
	want = rename_result(mt, r, &either);
	if (r->moved != NULL)
		moved_real = mt_acquire(mt, branch, r->moved->file);
	if (r->target != NULL)
		target_real = mt_acquire(mt, branch, r->target->file);
	mt_trace(mt, "rename %s: dir %" PRIu64 " '%.20s' -> dir %" PRIu64 " '%.20s' flags %u", mt->branches[branch].name,
		 r->from_dir.inode->file, r->from, r->to_dir.inode->file, r->to, r->flags);
	err = bd_rename(r->from_dir.real, r->from, r->to_dir.real, r->to, r->flags);
	mt_expect(mt, "bd_rename", either != 0 && err == either ? want : err, want);
	if (err == 0 && r->moved != r->target)
		rename_apply(mt, r, moved_real, target_real);
	if (moved_real != NULL)
		bd_inode_unref(moved_real, 1);
	if (target_real != NULL)
		bd_inode_unref(target_real, 1);
}

void mt_op_rename(struct mt *mt)
{
	static const unsigned flags[] = {0, 0, 0, BD_RENAME_NOREPLACE, BD_RENAME_EXCHANGE,
					 BD_RENAME_NOREPLACE | BD_RENAME_EXCHANGE};
	struct rename r = {.flags = flags[mt_below(mt, mt_chance(mt, 20) ? 6 : 5)]};

	if (!mt_pick(mt, MT_WANT_DIR, &r.from_dir))
		return;
	if (!mt_pick_in(mt, mt_chance(mt, 980) ? r.from_dir.branch : mt_any_branch(mt), MT_WANT_DIR, &r.to_dir)) {
		bd_inode_unref(r.from_dir.real, 1);
		return;
	}
	present_name(mt, r.from_dir.inode, r.from);
	if (mt_chance(mt, 500))
		present_name(mt, r.to_dir.inode, r.to);
	else
		random_name(mt, r.to);
	if (r.to_dir.branch != r.from_dir.branch) {
		if (mm_entry_find(r.from_dir.inode, r.from) != 0 && r.flags == 0) {
			mt_trace(mt, "rename from %s to %s", mt->branches[r.from_dir.branch].name,
				 mt->branches[r.to_dir.branch].name);
			mt_expect(mt, "bd_rename to another branch",
				  bd_rename(r.from_dir.real, r.from, r.to_dir.real, r.to, r.flags), -EXDEV);
		}
	} else if (r.flags == (BD_RENAME_NOREPLACE | BD_RENAME_EXCHANGE)) {
		mt_expect(mt, "bd_rename with both flags", bd_rename(r.from_dir.real, r.from, r.to_dir.real, r.to, r.flags),
			  -EINVAL);
	} else {
		rename_run(mt, &r);
	}
	bd_inode_unref(r.from_dir.real, 1);
	bd_inode_unref(r.to_dir.real, 1);
}

/* ---- reading names ---- */

void mt_op_lookup(struct mt *mt)
{
	struct mt_pick dir, other;
	struct bd_inode *real;
	struct bd_attr attr;
	char name[BD_NAME_MAX + 2];
	uint64_t file;

	if (!mt_pick(mt, MT_WANT_DIR, &dir))
		return;
	random_name(mt, name);
	file = mm_entry_find(dir.inode, name);
	mt_expect(mt, "bd_lookup", bd_lookup(dir.real, name, &real), file != 0 ? 0 : -ENOENT);
	if (file != 0) {
		bd_inode_attr(real, &attr);
		mt_check_attr(mt, mm_get(mt->branches[dir.branch].head, file), &attr);
		bd_inode_unref(real, 1);
	}
	mt_expect(mt, "bd_lookup_parent", bd_lookup_parent(dir.real, &real), 0);
	bd_inode_attr(real, &attr);
	mt_expect(mt, "the parent's number", (int64_t)attr.file.v,
		  (int64_t)(dir.inode->file == MM_ROOT ? MM_ROOT : dir.inode->parent));
	bd_inode_unref(real, 1);
	if (mt_pick_in(mt, dir.branch, MT_WANT_FILE, &other)) {
		mt_expect(mt, "bd_lookup in a file", bd_lookup(other.real, name, &real), -ENOTDIR);
		bd_inode_unref(other.real, 1);
	}
	bd_inode_unref(dir.real, 1);
}

void mt_op_readdir(struct mt *mt)
{
	struct mt_pick dir;
	struct bd_listing *listing;

	if (!mt_pick(mt, MT_WANT_DIR, &dir))
		return;
	mt_expect(mt, "bd_readdir", bd_readdir(dir.real, &listing), 0);
	mt_check_listing(mt, mt->branches[dir.branch].head, dir.inode, listing);
	bd_listing_free(listing);
	bd_inode_unref(dir.real, 1);
}

void mt_op_readlink(struct mt *mt)
{
	struct mt_pick link;
	char target[BD_SYMLINK_MAX + 1];

	if (!mt_pick(mt, MT_WANT_SYMLINK, &link))
		return;
	mt_expect(mt, "bd_readlink", bd_readlink(link.real, target), 0);
	if (strcmp(target, (const char *)link.inode->target->bytes) != 0)
		mt_fail(mt, "link target of file %" PRIu64 " differs", link.inode->file);
	bd_inode_unref(link.real, 1);
}
