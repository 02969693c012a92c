/* See control_tablespace.h. */
#include "tools/neonfs/control_tablespace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/lib/format.h"

#define SPACES "pg_tblspc"

/* Enough of a path to know it by. */
#define SHOWN_MAX 256

/* Where `target`, a relative link in pg_tblspc, leads, as a path from the view's root. False: above it. */
static bool resolve(const char *target, char ret_path[BD_SYMLINK_MAX + sizeof(SPACES) + 1])
{
	char words[BD_SYMLINK_MAX + 1], *rest = words;
	size_t used = (size_t)sprintf(ret_path, "%s", SPACES);
	snprintf(words, sizeof(words), "%s", target);
	for (char *word; (word = strsep(&rest, "/")) != NULL;) {
		if (word[0] == '\0' || strcmp(word, ".") == 0)
			continue;
		if (strcmp(word, "..") != 0) {
			used += (size_t)sprintf(ret_path + used, "%s%s", used > 0 ? "/" : "", word);
			continue;
		}
		if (used == 0)
			return false;
		char *slash = strrchr(ret_path, '/');
		used = slash != NULL ? (size_t)(slash - ret_path) : 0;
		ret_path[used] = '\0';
	}
	return true;
}

/* Only directories on the way: a link among them could lead anywhere. 0; -errno. */
static int walk(struct bd_inode *root, char *path, bool *ret_is_inside)
{
	struct bd_inode *at = root;
	int rc = 0;
	*ret_is_inside = true;
	for (char *word; rc == 0 && *ret_is_inside && (word = strsep(&path, "/")) != NULL;) {
		struct bd_inode *below;
		if (word[0] == '\0')
			continue;
		rc = bd_lookup(at, word, &below);
		if (rc != 0)
			break;
		if (at != root)
			bd_inode_unref(at, 1);
		at = below;
		struct bd_attr attr;
		bd_inode_attr(at, &attr);
		*ret_is_inside = S_ISDIR(attr.mode);
	}
	if (at != root)
		bd_inode_unref(at, 1);
	if (rc == -ENOENT || rc == -ENAMETOOLONG) {
		*ret_is_inside = false;
		return 0;
	}
	return rc;
}

static int is_inside(struct bd_inode *root, const char *target, bool *ret_is_inside)
{
	char path[BD_SYMLINK_MAX + sizeof(SPACES) + 1];
	*ret_is_inside = target[0] != '/' && resolve(target, path);
	return *ret_is_inside ? walk(root, path, ret_is_inside) : 0;
}

static int refuse(struct ctl_call *call, const char *space, const char *target, enum ctl_tablespace_use use)
{
#define INSTEAD                                                                                                                  \
	"drop it, with its tables moved to pg_default or to a tablespace made inside of the data directory "                     \
	"(allow_in_place_tablespaces)"
	char quoted[SHOWN_MAX];
	tl_quote(quoted, sizeof(quoted), target);
	switch (use) {
	case CTL_TABLESPACE_COPY:
		return ctl_error(
			call, "tablespace",
			"tablespace %s lies outside of the branch, in %s, so a server on the copy would write to the same "
			"files; " INSTEAD ", or give --share-tablespaces if no server will ever be started on the new branch",
			space, quoted);
	case CTL_TABLESPACE_REPLACE:
		return ctl_error(
			call, "tablespace",
			"tablespace %s lies outside of the branch, in %s, where its files are as they are now and would belong "
			"to two branches; " INSTEAD,
			space, quoted);
	case CTL_TABLESPACE_REPLAY: break;
	}
	return ctl_error(
		call, "tablespace",
		"tablespace %s lies outside of the branch, in %s, where its files are as they are now; only a cluster that is "
		"whole in its branch can be brought to an LSN: to have the points from then on, " INSTEAD,
		space, quoted);
#undef INSTEAD
}

static int check_link(struct ctl_call *call, struct bd_inode *root, struct bd_inode *spaces, const char *space,
		      enum ctl_tablespace_use use)
{
	char target[BD_SYMLINK_MAX + 1];
	struct bd_inode *link;
	bool inside = false;
	int rc = bd_lookup(spaces, space, &link);
	if (rc == -ENOENT) /* dropped since it was listed */
		return 0;
	if (rc == 0) {
		rc = bd_readlink(link, target);
		bd_inode_unref(link, 1);
	}
	if (rc == 0 && use != CTL_TABLESPACE_REPLAY)
		rc = is_inside(root, target, &inside);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot look where a tablespace lies");
	return inside ? 0 : refuse(call, space, target, use);
}

static int check_spaces(struct ctl_call *call, struct bd_inode *root, struct bd_inode *spaces, enum ctl_tablespace_use use)
{
	struct bd_listing *listing;
	int rc = bd_readdir(spaces, &listing);
	if (rc != 0)
		return rc == -ENOTDIR ? 0 : ctl_store_error(call, rc, "cannot look for tablespaces");
	for (size_t i = 0; i < listing->count && rc == 0; i++)
		if (S_ISLNK(listing->entries[i].type))
			rc = check_link(call, root, spaces, listing->entries[i].name, use);
	bd_listing_free(listing);
	return rc;
}

int ctl_check_tablespaces(struct ctl_call *call, struct bd_view view, enum ctl_tablespace_use use)
{
	struct bd_inode *root, *mark = NULL, *spaces = NULL;
	int rc = bd_root(call->store, view, &root);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot look for tablespaces");
	rc = bd_lookup(root, "PG_VERSION", &mark);
	if (rc == 0)
		rc = bd_lookup(root, SPACES, &spaces);
	if (rc == 0)
		rc = check_spaces(call, root, spaces, use);
	else
		rc = rc == -ENOENT ? 0 : ctl_store_error(call, rc, "cannot look for tablespaces");
	if (mark != NULL)
		bd_inode_unref(mark, 1);
	if (spaces != NULL)
		bd_inode_unref(spaces, 1);
	bd_inode_unref(root, 1);
	return rc;
}

int ctl_refuse_on_the_way(struct ctl_call *call, const char *what)
{
	return ctl_error(
		call, "tablespace",
		"%s, on the way to that point, and its files are as they are now; points before that can be had, and "
		"later ones once its tables are moved to pg_default, or to a tablespace made inside of the data "
		"directory (allow_in_place_tablespaces), it is dropped, and a snapshot is taken",
		what);
}
