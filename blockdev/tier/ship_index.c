/* The index's files in the object store.
 *
 * RocksDB's tables (*.sst) never change and no number is given to two of them that a checkpoint has seen, so each is put once, by the first manifest that names it, and referred to by
 * the later ones. Everything else (CURRENT, MANIFEST, OPTIONS) is another one each time: small ones are in the manifest itself.
 * After a start the tables of the last manifest of earlier generations are compared with those that are here, and used again where name, size and sum match. */
#include "blockdev/tier/ship_impl.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/nf_log.h"

#define SUM_BYTES (UINT64_C(256) << 10)
#define TABLE_SUFFIX ".sst"

int ship_remove_dir(const char *path)
{
	DIR *dir = opendir(path);
	if (dir == NULL)
		return errno == ENOENT ? 0 : -errno;
	int error = 0;
	for (struct dirent *entry; error == 0 && (entry = readdir(dir)) != NULL;) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(dir), entry->d_name, 0) != 0 && errno != ENOENT)
			error = -errno;
	}
	closedir(dir);
	if (error == 0 && rmdir(path) != 0)
		error = -errno;
	if (error != 0)
		nf_error("%s: cannot be removed: %s", path, strerror(-error));
	return error;
}

static bool is_table(const char *name)
{
	size_t size = strlen(name);
	return size > strlen(TABLE_SUFFIX) && strcmp(name + size - strlen(TABLE_SUFFIX), TABLE_SUFFIX) == 0;
}

/* The whole range, or an error. */
static int read_range(int fd, uint64_t offset, void *buf, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = pread(fd, (uint8_t *)buf + done, size - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		done += (size_t)n;
	}
	return 0;
}

static int sum_file(struct bd_ship *ship, int fd, uint64_t size, uint64_t *ret_sum)
{
	void *buf = malloc(SUM_BYTES);
	XXH3_state_t *state = XXH3_createState();
	int error = buf != NULL && state != NULL ? 0 : -ENOMEM;
	if (error == 0)
		XXH3_64bits_reset(state);
	for (uint64_t at = 0; at < size && error == 0; at += SUM_BYTES) {
		size_t part = NF_MIN(SUM_BYTES, size - at);
		error = ship_is_over(ship) ? -ECANCELED : read_range(fd, at, buf, part);
		if (error == 0)
			XXH3_64bits_update(state, buf, part);
	}
	if (error == 0)
		*ret_sum = XXH3_64bits_digest(state);
	XXH3_freeState(state);
	free(buf);
	return error;
}

static const struct ship_file *find(const struct bd_ship *ship, const char *name)
{
	for (size_t i = 0; i < ship->file_count; i++) {
		if (strcmp(ship->files[i].name, name) == 0)
			return &ship->files[i];
	}
	return NULL;
}

static int remember(struct bd_ship *ship, const struct ship_file *file)
{
	if (ship->file_count == ship->file_capacity) {
		size_t capacity = ship->file_capacity * 2 + 64;
		struct ship_file *files = realloc(ship->files, capacity * sizeof(*files));
		if (files == NULL)
			return -ENOMEM;
		ship->files = files;
		ship->file_capacity = capacity;
	}
	ship->files[ship->file_count++] = *file;
	return 0;
}

/* Forget those that the manifest does not name: they have been compacted away. */
static void forget_others(struct bd_ship *ship, const struct bd_manifest *manifest)
{
	size_t kept = 0;
	for (size_t i = 0; i < ship->file_count; i++) {
		bool named = false;
		for (uint32_t j = 0; j < manifest->file_count && !named; j++)
			named = strcmp(manifest->files[j].name, ship->files[i].name) == 0;
		if (named)
			ship->files[kept++] = ship->files[i];
	}
	ship->file_count = kept;
}

static int read_part(void *arg, uint64_t offset, void *buf, size_t size)
{
	return read_range(*(const int *)arg, offset, buf, size);
}

static int put_file(struct bd_ship *ship, int fd, const char *key, uint64_t size)
{
	for (unsigned tries = 1;; tries++) {
		struct ob_upload upload = {.key = key, .size = size, .parts_at_once = 2, .read = read_part, .arg = &fd};
		int error = ob_upload(ship->client, &upload);
		if (error == 0) {
			pthread_mutex_lock(&ship->lock);
			ship->put_requests++;
			ship->put_bytes += size;
			pthread_mutex_unlock(&ship->lock);
			return 0;
		}
		if (ship_is_over(ship))
			return -ECANCELED;
		ship_note_error(ship, key, upload.message);
		ship_pause(ship, tries);
	}
}

/* A table that is not there yet, or another large file. */
static int put_new(struct bd_ship *ship, int fd, struct ship_file *file)
{
	char key[BD_MANIFEST_KEY_SIZE];
	int error = sum_file(ship, fd, file->size, &file->sum);
	if (error != 0)
		return error;
	bd_manifest_file_key(file->generation, file->number, file->name, key);
	error = put_file(ship, fd, key, file->size);
	return error == 0 && is_table(file->name) ? remember(ship, file) : error;
}

static int add_inline(int fd, struct bd_manifest_file *ret_file)
{
	ret_file->bytes = malloc(ret_file->size + 1);
	int error = ret_file->bytes != NULL ? read_range(fd, 0, ret_file->bytes, ret_file->size) : -ENOMEM;
	ret_file->sum = error == 0 ? XXH3_64bits(ret_file->bytes, ret_file->size) : 0;
	return error;
}

static int add_file(struct bd_ship *ship, int dir_fd, const char *name, struct bd_manifest *manifest)
{
	struct bd_manifest_file *entry = &manifest->files[manifest->file_count];
	if (strlen(name) >= BD_MANIFEST_NAME_MAX)
		return -ENAMETOOLONG;
	struct stat st;
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	int error = fd < 0 || fstat(fd, &st) != 0 ? -errno : 0;
	if (error == 0) {
		*entry = (struct bd_manifest_file){.size = (uint64_t)st.st_size};
		snprintf(entry->name, sizeof(entry->name), "%s", name);
		const struct ship_file *known = find(ship, name);
		struct ship_file file = {.size = entry->size, .generation = ship->generation, .number = manifest->number};
		snprintf(file.name, sizeof(file.name), "%s", name);
		if (!is_table(name) && entry->size <= SHIP_INLINE_MAX) {
			error = add_inline(fd, entry);
		} else if (known == NULL || known->size != entry->size) {
			error = put_new(ship, fd, &file);
			known = &file;
		}
		if (error == 0 && entry->bytes == NULL) {
			entry->sum = known->sum;
			entry->generation = known->generation;
			entry->number = known->number;
		}
		/* What is filled in is freed with the manifest. */
		manifest->file_count++;
	}
	if (fd >= 0)
		close(fd);
	return error;
}

static int count_files(DIR *dir, uint32_t *ret_count)
{
	uint32_t count = 0;
	errno = 0;
	while (readdir(dir) != NULL)
		count++;
	*ret_count = count;
	int error = -errno;
	rewinddir(dir);
	return error;
}

int ship_index(struct bd_ship *ship, const char *path, struct bd_manifest *manifest)
{
	uint32_t room;
	DIR *dir = opendir(path);
	if (dir == NULL)
		return -errno;
	int error = count_files(dir, &room);
	if (error == 0)
		manifest->files = calloc(room + 1, sizeof(*manifest->files));
	if (error == 0 && manifest->files == NULL)
		error = -ENOMEM;
	while (error == 0) {
		errno = 0;
		const struct dirent *entry = readdir(dir);
		if (entry == NULL) {
			error = -errno;
			break;
		}
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		error = manifest->file_count < room ? add_file(ship, dirfd(dir), entry->d_name, manifest) : -EUCLEAN;
	}
	closedir(dir);
	if (error == 0)
		forget_others(ship, manifest);
	return error;
}

/* Is the table here, with the same bytes? */
static int compare(struct bd_ship *ship, const struct bd_manifest_file *entry)
{
	char path[4096 + 128];
	struct stat st;
	uint64_t sum;
	snprintf(path, sizeof(path), "%s/index/%s", ship->store->path, entry->name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0; /* compacted away since */
	int error = fstat(fd, &st) != 0 ? -errno : 0;
	bool same = error == 0 && (uint64_t)st.st_size == entry->size;
	if (same)
		error = sum_file(ship, fd, entry->size, &sum);
	close(fd);
	if (error != 0 || !same || sum != entry->sum)
		return error == -ECANCELED || error == -ENOMEM ? error : 0;
	struct ship_file file = {.size = entry->size, .sum = entry->sum, .generation = entry->generation, .number = entry->number};
	snprintf(file.name, sizeof(file.name), "%s", entry->name);
	return remember(ship, &file);
}

int ship_look_back(struct bd_ship *ship)
{
	struct ship_known *known;
	struct bd_manifest manifest;
	size_t count;
	if (ship->looked_back)
		return 0;
	int error = ship_known_manifests(ship, &known, &count);
	if (error != 0)
		return error;
	error = count > 0 ? ship_get_manifest(ship, &known[count - 1], &manifest) : -ENOENT;
	free(known);
	if (error == 0) {
		for (uint32_t i = 0; i < manifest.file_count && error == 0 && manifest.store_id == ship->store->store_id; i++) {
			const struct bd_manifest_file *entry = &manifest.files[i];
			if (entry->generation != 0 && is_table(entry->name))
				error = compare(ship, entry);
		}
		bd_manifest_free(&manifest);
	} else if (error != -ECANCELED && error != -ENOMEM) {
		/* None, or one that is of no use: everything is put anew. */
		error = 0;
	}
	ship->looked_back = error == 0;
	return error;
}
