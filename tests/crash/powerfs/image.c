/* BACKING/image: the durable names between two mounts, as text, one record a line:
 *
 *   powerfs 1
 *   next ID
 *   node ID MODE UID GID RDEV MTIME_SECONDS [TARGET]	a symbolic link has its target
 *   entry DIR ID NAME
 *
 * Every node stands before the entries that name it. NAME and TARGET have bytes up to a space, '%' and 0x7f
 * written as %XX. The root is node 1. */
#include "powerfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void pf_object_name(uint64_t id, char name[32])
{
	snprintf(name, 32, "%" PRIu64, id);
}

static void put_escaped(FILE *out, const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		if (*c <= ' ' || *c == '%' || *c == 0x7f)
			fprintf(out, "%%%02X", *c);
		else
			fputc(*c, out);
}

static char *unescape(char *text)
{
	char *to = text, hex[3] = {0};

	for (char *from = text; *from && *from != '\n'; from++)
		if (*from == '%' && from[1] && from[2]) {
			hex[0] = from[1];
			hex[1] = from[2];
			*to++ = (char)strtoul(hex, NULL, 16);
			from += 2;
		} else {
			*to++ = *from;
		}
	*to = '\0';
	return text;
}

static struct pf_node *node_by_id(uint64_t id)
{
	for (struct pf_node *node = pf.nodes; node; node = node->next)
		if (node->id == id)
			return node;
	return NULL;
}

static int load_node(char *line)
{
	uint64_t id;
	uint32_t mode, uid, gid, rdev;
	int64_t mtime;
	int used = 0;
	struct stat st;
	struct pf_node *node;

	if (sscanf(line, "node %" SCNu64 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNd64 " %n", &id, &mode,
		   &uid, &gid, &rdev, &mtime, &used) != 6 ||
	    !used)
		return -EINVAL;
	node = pf_node_new(id, mode, uid, gid);
	if (!node)
		return -errno;
	node->rdev = rdev;
	node->mtime = node->ctime = node->atime = (struct timespec){.tv_sec = mtime};
	if (S_ISLNK(mode) && !(node->target = strdup(unescape(line + used))))
		return -ENOMEM;
	if (node->fd >= 0) {
		if (fstat(node->fd, &st) != 0)
			return -errno;
		node->durable_size = (uint64_t)st.st_size;
	}
	if (id == 1)
		pf.root = node;
	return 0;
}

static int load_entry(char *line)
{
	uint64_t dir_id, id;
	int used = 0;
	struct pf_node *dir, *node;

	if (sscanf(line, "entry %" SCNu64 " %" SCNu64 " %n", &dir_id, &id, &used) != 2 || !used)
		return -EINVAL;
	dir = node_by_id(dir_id);
	node = node_by_id(id);
	if (!dir || !node || !S_ISDIR(dir->mode))
		return -EINVAL;
	return pf_assign_loaded(dir, unescape(line + used), node);
}

static int load_lines(FILE *in)
{
	char *line = NULL;
	size_t capacity = 0;
	int err = -EINVAL;

	if (getline(&line, &capacity, in) < 0 || strcmp(line, "powerfs 1\n") != 0)
		goto out;
	while (getline(&line, &capacity, in) >= 0) {
		if (sscanf(line, "next %" SCNu64, &pf.next_id) == 1)
			err = 0;
		else if (strncmp(line, "node ", 5) == 0)
			err = load_node(line);
		else
			err = load_entry(line);
		if (err) {
			fprintf(stderr, "powerfs: image: bad line: %s", line);
			goto out;
		}
	}
	err = pf.root ? 0 : -EINVAL;
out:
	free(line);
	return err;
}

int pf_image_load(const char *backing)
{
	int err = 0, fd;
	FILE *in;

	if (mkdir(backing, 0700) != 0 && errno != EEXIST)
		return -errno;
	pf.backing_fd = open(backing, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (pf.backing_fd < 0)
		return -errno;
	if (mkdirat(pf.backing_fd, "objects", 0700) != 0 && errno != EEXIST)
		return -errno;
	pf.objects_fd = openat(pf.backing_fd, "objects", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (pf.objects_fd < 0)
		return -errno;
	fd = openat(pf.backing_fd, "image", O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		pf.next_id = 2;
		pf.root = pf_node_new(1, S_IFDIR | 0755, 0, 0);
		return pf.root ? 0 : -errno;
	}
	in = fd < 0 ? NULL : fdopen(fd, "r");
	if (!in)
		return -errno;
	err = load_lines(in);
	fclose(in);
	/* The reference each node was made with; from here names hold them. */
	for (struct pf_node *node = pf.nodes, *next; !err && node; node = next) {
		next = node->next;
		pf_node_unref(node, 1);
	}
	return err;
}

static void save_tree(FILE *out, struct pf_node *dir, uint8_t *seen)
{
	for (size_t i = 0; i < dir->entry_count; i++) {
		struct pf_node *node = dir->entries[i].durable;

		if (!node)
			continue;
		if (!seen[node->id]) {
			seen[node->id] = 1;
			fprintf(out, "node %" PRIu64 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRId64 " ",
				node->id, node->mode, node->uid, node->gid, node->rdev, (int64_t)node->mtime.tv_sec);
			if (node->target)
				put_escaped(out, node->target);
			fputc('\n', out);
			if (S_ISDIR(node->mode))
				save_tree(out, node, seen);
		}
		fprintf(out, "entry %" PRIu64 " %" PRIu64 " ", dir->id, node->id);
		put_escaped(out, dir->entries[i].name);
		fputc('\n', out);
	}
}

static int remove_unseen_objects(const uint8_t *seen)
{
	DIR *dir = fdopendir(dup(pf.objects_fd));
	struct dirent *entry;

	if (!dir)
		return -errno;
	rewinddir(dir);
	while ((entry = readdir(dir))) {
		uint64_t id = strtoull(entry->d_name, NULL, 10);

		if (id > 0 && (id >= pf.next_id || !seen[id]))
			(void)unlinkat(pf.objects_fd, entry->d_name, 0);
	}
	closedir(dir);
	return 0;
}

int pf_image_save(void)
{
	int fd = openat(pf.backing_fd, "image.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), err = 0;
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
	uint8_t *seen = calloc(pf.next_id, 1);

	if (!out || !seen) {
		err = -errno;
		goto out;
	}
	seen[1] = 1;
	fprintf(out, "powerfs 1\nnext %" PRIu64 "\nnode 1 %" PRIu32 " %" PRIu32 " %" PRIu32 " 0 %" PRId64 " \n", pf.next_id,
		pf.root->mode, pf.root->uid, pf.root->gid, (int64_t)pf.root->mtime.tv_sec);
	save_tree(out, pf.root, seen);
	if (fflush(out) != 0 || ferror(out) || renameat(pf.backing_fd, "image.new", pf.backing_fd, "image") != 0)
		err = -errno;
	else
		err = remove_unseen_objects(seen);
out:
	if (out)
		fclose(out);
	free(seen);
	return err;
}
