/* Names of volumes, taken apart. See volumes.h. */
#include <stdio.h>
#include <string.h>

#include "tools/neonfs/volumes.h"

static int refuse(char *ret_message, const char *why)
{
	snprintf(ret_message, VOLUME_MESSAGE_MAX, "%s; a volume is named BRANCH/FILE or BRANCH/FILE@POINT", why);
	return -EINVAL;
}

/* [from, from + length) as a text of its own. */
static bool take(char *to, size_t room, const char *from, size_t length)
{
	if (length >= room)
		return false;
	memcpy(to, from, length);
	to[length] = '\0';
	return true;
}

/* Components that lead down, none of them empty. */
static bool is_path(const char *path)
{
	for (const char *at = path;; at++) {
		size_t length = strcspn(at, "/");
		if (length == 0 || length > BD_NAME_MAX || (length == 1 && at[0] == '.') || (length == 2 && at[0] == '.' && at[1] == '.'))
			return false;
		at += length;
		if (*at == '\0')
			return true;
	}
}

int volume_name_parse(const char *text, struct volume_name *ret_name, char *ret_message)
{
	struct volume_name name = {0};
	const char *slash = strchr(text, '/');
	if (slash == NULL)
		return refuse(ret_message, "the name has no file in it");
	const char *path = slash + 1, *path_end = path + strlen(path), *branch_end = slash;
	const char *at = memchr(text, '@', (size_t)(slash - text)), *point_end = slash;
	if (at != NULL) {
		branch_end = at;
	} else if ((at = strrchr(path, '@')) != NULL) {
		point_end = path_end;
		path_end = at;
	}
	if (at != NULL && point_end == at + 1)
		return refuse(ret_message, "there is no point behind the @");
	if (!take(name.branch, sizeof(name.branch), text, (size_t)(branch_end - text)) ||
	    !take(name.path, sizeof(name.path), path, (size_t)(path_end - path)) ||
	    (at != NULL && !take(name.point, sizeof(name.point), at + 1, (size_t)(point_end - at - 1))))
		return refuse(ret_message, "the name is too long");
	if (bd_name_check(name.branch) != 0)
		return refuse(ret_message, "that is no valid branch name");
	if (!is_path(name.path))
		return refuse(ret_message, "that is no path in a branch");
	*ret_name = name;
	return 0;
}
