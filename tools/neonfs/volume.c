/* neonfs volume: make, resize, list and delete volumes. A volume is a file with a mark (an extended attribute) in the top directory of a branch; all is done
 * through the mount, so that programs there see it at once. Only who is served what is asked of the daemon. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "blockdev/bd.h"
#include "tools/lib/format.h"
#include "tools/lib/store.h"
#include "tools/neonfs/commands.h"
#include "tools/neonfs/volumes.h"

#define MARK "user.neonfs.volume"
#define NEW_SUFFIX ".new-volume"

/* One volume, as named on the command line. */
struct place {
	char mountpoint[PATH_MAX];
	struct volume_name name;
	int directory; /* the branch's top directory */
};

/* -------------------------------------------------------------- the place */

static int parse_name(const char *text, struct volume_name *ret_name)
{
	char message[VOLUME_MESSAGE_MAX];
	if (volume_name_parse(text, ret_name, message) != 0)
		return tl_usage("%s", message);
	if (ret_name->point[0] != '\0' || strchr(text, '@') != NULL)
		return tl_usage("a point of a branch does not change; name a volume as BRANCH/NAME, without an @");
	return strchr(ret_name->path, '/') == NULL ? TL_OK : tl_usage("a volume lies in the top directory of its branch: BRANCH/NAME");
}

static int open_place(const struct tl_call *call, struct place *ret_place)
{
	char store[PATH_MAX], path[PATH_MAX + BD_BRANCH_NAME_MAX + 2];
	if (call->args[1] == NULL)
		return tl_usage("which volume? Name it: BRANCH/NAME");
	tl_subject(call->args[1]);
	int code = parse_name(call->args[1], &ret_place->name);
	if (code == TL_OK)
		code = tl_store_choose(tl_value(call, "store"), store);
	if (code == TL_OK)
		code = tl_store_mountpoint(store, ret_place->mountpoint, NULL);
	if (code != TL_OK)
		return code;
	snprintf(path, sizeof(path), "%s/%s", ret_place->mountpoint, ret_place->name.branch);
	ret_place->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ret_place->directory >= 0)
		return TL_OK;
	if (errno == ENOENT)
		return tl_fail("branch \"%s\" does not exist; make it with \"neonfs-branch create %s\"", ret_place->name.branch,
			       ret_place->name.branch);
	return tl_fail("cannot open the branch \"%s\": %s", ret_place->name.branch, strerror(errno));
}

static int parse_size(const struct tl_call *call, uint64_t *ret_bytes)
{
	const char *size = tl_value(call, "size");
	if (size == NULL)
		return tl_usage("how large? Say it with --size, like 64G");
	if (tl_parse_bytes(size, ret_bytes) != 0)
		return tl_usage("--size \"%s\" is no size; write one like 68719476736, 64G or 1.5T", size);
	if (*ret_bytes == 0 || *ret_bytes > BD_FILE_SIZE_MAX)
		return tl_usage("--size %s: a volume has 1 byte to 16T", size);
	return TL_OK;
}

static bool is_volume(int fd)
{
	return fgetxattr(fd, MARK, NULL, 0) >= 0;
}

static int fail_file(const char *what, int error)
{
	if (error == ENOENT)
		return tl_fail("there is no such volume; \"neonfs volume list\" shows what there is");
	if (error == EBUSY)
		return tl_fail("it is busy: a process serves it (\"neonfs volume list\" shows which)");
	return tl_fail("cannot %s it: %s", what, strerror(error));
}

/* ----------------------------------------------------------------- create */

static int fill_new(int fd, const struct stat *parent, uint64_t bytes)
{
	if (geteuid() == 0 && fchown(fd, parent->st_uid, parent->st_gid) != 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes) != 0 || fsetxattr(fd, MARK, "1", 1, 0) != 0 || fsync(fd) != 0)
		return -errno;
	return 0;
}

/* Under another name first: so it is there whole, or not at all. */
static int create_file(const struct place *place, uint64_t bytes)
{
	char fresh[sizeof(place->name.path) + sizeof(NEW_SUFFIX) + 1];
	struct stat parent;
	snprintf(fresh, sizeof(fresh), ".%s" NEW_SUFFIX, place->name.path);
	if (fstat(place->directory, &parent) != 0)
		return -errno;
	if (unlinkat(place->directory, fresh, 0) != 0 && errno != ENOENT)
		return -errno;
	int fd = openat(place->directory, fresh, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int rc = fill_new(fd, &parent, bytes);
	close(fd);
	if (rc == 0 && renameat2(place->directory, fresh, place->directory, place->name.path, RENAME_NOREPLACE) != 0)
		rc = -errno;
	if (rc != 0) {
		if (unlinkat(place->directory, fresh, 0) != 0 && errno != ENOENT)
			tl_warn("\"%s\" stays in the branch: %s", fresh, strerror(errno));
		return rc;
	}
	return fsync(place->directory) == 0 ? 0 : -errno;
}

static int create_volume(const struct tl_call *call, const struct place *place)
{
	uint64_t bytes;
	char size[TL_NUMBER_MAX];
	int code = parse_size(call, &bytes);
	if (code != TL_OK)
		return code;
	int rc = create_file(place, bytes);
	if (rc == -EEXIST)
		return tl_fail("the branch has a file of that name already; choose another");
	if (rc != 0)
		return tl_fail("cannot make it: %s", strerror(-rc));
	if (tl_is_terminal())
		printf("Made volume %s of %s; serve it with \"neonfs-nbd %s\"\n", call->args[1], tl_bytes_human(size, bytes), call->args[1]);
	return TL_OK;
}

/* ----------------------------------------------------------------- resize */

/* Is a byte behind `bytes` not zero? 1, 0 or -errno. A block that is there counts, but for the one that `bytes` cuts, which is looked at. */
static int has_data_behind(int fd, uint64_t bytes, uint64_t old_bytes)
{
	char block[NF_BLOCK_SIZE];
	uint64_t next = nf_round_up(bytes, NF_BLOCK_SIZE);
	ssize_t got = next > bytes ? pread(fd, block, (size_t)(next - bytes), (off_t)bytes) : 0;
	if (got < 0)
		return -errno;
	for (ssize_t i = 0; i < got; i++)
		if (block[i] != 0)
			return 1;
	if (next >= old_bytes)
		return 0;
	off_t found = lseek(fd, (off_t)next, SEEK_DATA);
	return found >= 0 ? 1 : errno == ENXIO ? 0 : -errno;
}

static int resize_open(const struct tl_call *call, int fd, uint64_t bytes)
{
	struct stat status;
	char size[TL_NUMBER_MAX];
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
		return tl_fail("it is no regular file");
	if (bytes < (uint64_t)status.st_size && !tl_flag(call, "force")) {
		int rc = has_data_behind(fd, bytes, (uint64_t)status.st_size);
		if (rc < 0)
			return tl_fail("cannot look what lies behind the new end: %s", strerror(-rc));
		if (rc > 0)
			return tl_fail("there is data behind %s; --force makes it smaller all the same, and the data is lost (a "
				       "snapshot keeps it: \"neonfs-branch snapshot\")",
				       tl_bytes_human(size, bytes));
	}
	if (ftruncate(fd, (off_t)bytes) != 0 || fsync(fd) != 0)
		return fail_file("resize", errno);
	return TL_OK;
}

static int resize_volume(const struct tl_call *call, const struct place *place)
{
	uint64_t bytes;
	int code = parse_size(call, &bytes);
	if (code != TL_OK)
		return code;
	int fd = openat(place->directory, place->name.path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return fail_file("open", errno);
	code = resize_open(call, fd, bytes);
	close(fd);
	return code;
}

/* ----------------------------------------------------------------- delete */

static int delete_volume(const struct tl_call *call, const struct place *place)
{
	int fd = openat(place->directory, place->name.path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return fail_file("open", errno);
	bool is_ours = is_volume(fd);
	close(fd);
	if (!is_ours && !tl_flag(call, "force"))
		return tl_fail("that file was not made with \"neonfs volume create\"; --force deletes it all the same");
	if (unlinkat(place->directory, place->name.path, 0) != 0 || fsync(place->directory) != 0)
		return fail_file("delete", errno);
	return TL_OK;
}

/* ------------------------------------------------------------------- list */

struct listing {
	const json_t *served; /* the daemon's list */
	json_t *found;
};

/* Who serves the file, as the daemon has it: an array. */
static json_t *served_by(const struct listing *listing, const char *branch, uint64_t file)
{
	json_t *by = json_array();
	const json_t *one;
	size_t index;
	json_array_foreach(listing->served, index, one)
	{
		const char *of = json_string_value(json_object_get(one, "branch"));
		if (of == NULL || strcmp(of, branch) != 0 || (uint64_t)json_integer_value(json_object_get(one, "file")) != file)
			continue;
		json_array_append_new(by, json_pack("{s:O, s:O, s:O}", "pid", json_object_get(one, "pid"), "name",
						    json_object_get(one, "name"), "writes", json_object_get(one, "writes")));
	}
	return by;
}

#define FILE_OF_INO ((UINT64_C(1) << 40) - 1) /* fs/README.md: what of st_ino is the file's number */

static void add_file(struct listing *listing, const char *branch, const char *name, const struct stat *status)
{
	char text[BD_BRANCH_NAME_MAX + BD_NAME_MAX + 2];
	snprintf(text, sizeof(text), "%s/%s", branch, name);
	json_array_append_new(listing->found, json_pack("{s:o, s:s, s:I, s:I, s:o}", "name", tl_json_text(text), "branch", branch,
							"size_bytes", (json_int_t)status->st_size, "allocated_bytes",
							(json_int_t)status->st_blocks * 512, "served",
							served_by(listing, branch, (uint64_t)status->st_ino & FILE_OF_INO)));
}

/* The volumes of one branch. A branch that may not be looked into, or is gone, is said so. */
static int list_branch(struct listing *listing, const char *mountpoint, const char *branch)
{
	char path[PATH_MAX + BD_BRANCH_NAME_MAX + 2];
	struct dirent *entry;
	snprintf(path, sizeof(path), "%s/%s", mountpoint, branch);
	DIR *directory = opendir(path);
	if (directory == NULL)
		return -errno;
	while ((entry = readdir(directory)) != NULL) {
		struct stat status;
		if (entry->d_type != DT_REG && entry->d_type != DT_UNKNOWN)
			continue;
		int fd = openat(dirfd(directory), entry->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0)
			continue;
		if (is_volume(fd) && fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
			add_file(listing, branch, entry->d_name, &status);
		close(fd);
	}
	closedir(directory);
	return 0;
}

static int list_all(struct listing *listing, const char *mountpoint)
{
	struct dirent *entry;
	DIR *directory = opendir(mountpoint);
	if (directory == NULL)
		return tl_fail("cannot read the mount %s: %s", mountpoint, strerror(errno));
	while ((entry = readdir(directory)) != NULL) {
		int rc = entry->d_name[0] != '.' ? list_branch(listing, mountpoint, entry->d_name) : 0;
		if (rc != 0 && rc != -ENOENT)
			tl_warn("branch \"%s\" cannot be looked into: %s", entry->d_name, strerror(-rc));
	}
	closedir(directory);
	return TL_OK;
}

static int by_name(const void *a, const void *b)
{
	const json_t *const *left = a, *const *right = b;
	return strcmp(json_string_value(json_object_get(*left, "name")), json_string_value(json_object_get(*right, "name")));
}

static json_t *sorted(json_t *list)
{
	size_t count = json_array_size(list), index;
	const json_t **items = calloc(count + 1, sizeof(*items));
	json_t *result = json_array(), *item;
	if (items == NULL)
		return list;
	json_array_foreach(list, index, item)
		items[index] = item;
	qsort(items, count, sizeof(*items), by_name);
	for (index = 0; index < count; index++)
		json_array_append(result, (json_t *)items[index]);
	free(items);
	json_decref(list);
	return result;
}

static void print_table(const json_t *list)
{
	size_t index;
	const json_t *one;
	char size[TL_NUMBER_MAX], allocated[TL_NUMBER_MAX];
	if (tl_is_terminal() && json_array_size(list) > 0)
		printf("%-32s %12s %12s  %s\n", "NAME", "SIZE", "STORED", "SERVED BY");
	json_array_foreach(list, index, one)
	{
		const json_t *served = json_array_get(json_object_get(one, "served"), 0);
		printf("%-32s %12s %12s", json_string_value(json_object_get(one, "name")),
		       tl_bytes(size, (uint64_t)json_integer_value(json_object_get(one, "size_bytes"))),
		       tl_bytes(allocated, (uint64_t)json_integer_value(json_object_get(one, "allocated_bytes"))));
		if (served != NULL)
			printf("  process %lld%s", (long long)json_integer_value(json_object_get(served, "pid")),
			       json_is_true(json_object_get(served, "writes")) ? "" : ", read-only");
		printf("\n");
	}
}

static int list_volumes(const struct tl_call *call)
{
	char store[PATH_MAX], mountpoint[PATH_MAX];
	struct tl_client *client;
	struct tl_answer answer;
	const char *branch = call->args[1];
	int code = tl_store_choose(tl_value(call, "store"), store);
	if (code == TL_OK && branch != NULL && bd_name_check(branch) != 0)
		code = tl_usage("\"%.64s\" is no branch name", branch);
	if (code == TL_OK)
		code = tl_store_mountpoint(store, mountpoint, &client);
	if (code != TL_OK)
		return code;
	int rc = tl_client_call(client, "volume.list", NULL, NULL, &answer);
	tl_client_close(client);
	if (rc != 0 || !answer.ok)
		return tl_fail("%s", answer.message);
	struct listing listing = {.served = json_object_get(answer.result, "served"), .found = json_array()};
	rc = branch != NULL ? list_branch(&listing, mountpoint, branch) : 0;
	if (rc == -ENOENT)
		code = tl_fail("branch \"%s\" does not exist; \"neonfs-branch list\" shows what there is", branch);
	else if (rc != 0)
		code = tl_fail("branch \"%s\" cannot be looked into: %s", branch, strerror(-rc));
	else if (branch == NULL)
		code = list_all(&listing, mountpoint);
	listing.found = sorted(listing.found);
	if (code == TL_OK && tl_flag(call, "json")) {
		json_dumpf(listing.found, stdout, JSON_INDENT(2));
		putchar('\n');
	} else if (code == TL_OK) {
		print_table(listing.found);
	}
	json_decref(listing.found);
	tl_answer_free(&answer);
	return code;
}

/* -------------------------------------------------------------------- run */

int run_volume(const struct tl_call *call)
{
	static const struct {
		const char *name;
		int (*run)(const struct tl_call *call, const struct place *place);
	} actions[] = {{"create", create_volume}, {"resize", resize_volume}, {"delete", delete_volume}};
	static struct place place;
	if (strcmp(call->args[0], "list") == 0)
		return list_volumes(call);
	for (unsigned i = 0; i < NF_ARRAY_LEN(actions); i++) {
		if (strcmp(call->args[0], actions[i].name) != 0)
			continue;
		int code = open_place(call, &place);
		if (code != TL_OK)
			return code;
		code = actions[i].run(call, &place);
		close(place.directory);
		return code;
	}
	return tl_usage("what is to be done? create, resize, list or delete");
}
