/* The index of a manifest: its files, verified; then what is in it: positions, extents and 'T' records. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "blockdev/tier/attach_impl.h"

#define INDEX "index"
#define READ_CACHE_BYTES (UINT64_C(8) << 20)

struct files {
	struct attach *attach;
	uint32_t next_file;  /* to be asked for, */
	uint64_t next_offset; /* from there on */
	int directory, fd;
	XXH3_state_t *hash;
};

static int write_all(int fd, const uint8_t *bytes, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t put = write(fd, bytes + done, size - done);
		if (put < 0 && errno != EINTR)
			return -errno;
		done += put > 0 ? (size_t)put : 0;
	}
	return 0;
}

static int open_file(struct files *files, const char *name)
{
	files->fd = openat(files->directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (files->fd < 0)
		return attach_fail(files->attach, -errno, "%s/" INDEX "/%s cannot be made: %s", files->attach->path, name, strerror(errno));
	XXH3_64bits_reset(files->hash);
	return 0;
}

static int close_file(struct files *files)
{
	int error = fsync(files->fd) == 0 ? 0 : -errno;
	close(files->fd);
	files->fd = -1;
	return error;
}

static int write_file(struct files *files, const char *name, const uint8_t *bytes, size_t size)
{
	int error = write_all(files->fd, bytes, size);
	if (error != 0)
		return attach_fail(files->attach, error, "%s/" INDEX "/%s cannot be written: %s", files->attach->path, name, strerror(-error));
	XXH3_64bits_update(files->hash, bytes, size);
	return 0;
}

/* The next range of the files that are objects of their own. An empty file is asked for too: it has to be there. */
static int next_range(void *arg, struct bd_want *ret_want)
{
	struct files *files = arg;
	const struct bd_manifest *manifest = &files->attach->manifest;
	while (files->next_file < manifest->file_count && manifest->files[files->next_file].generation == 0)
		files->next_file++;
	if (files->next_file == manifest->file_count)
		return 1;
	const struct bd_manifest_file *file = &manifest->files[files->next_file];
	*ret_want = (struct bd_want){.offset = files->next_offset,
					 .size = NF_MIN(file->size - files->next_offset, ATTACH_RANGE_BYTES),
					 .object_size = file->size,
					 .tag = files->next_file};
	bd_manifest_file_key(file->generation, file->number, file->name, ret_want->key);
	files->next_offset += ret_want->size;
	if (files->next_offset == file->size) {
		files->next_file++;
		files->next_offset = 0;
	}
	return 0;
}

static int got_range(void *arg, const struct bd_want *want, const uint8_t *bytes)
{
	struct files *files = arg;
	const struct bd_manifest_file *file = &files->attach->manifest.files[want->tag];
	int error = want->offset == 0 ? open_file(files, file->name) : 0;
	if (error == 0)
		error = write_file(files, file->name, bytes, want->size);
	if (error != 0 || want->offset + want->size < file->size)
		return error;
	if (XXH3_64bits_digest(files->hash) != file->sum)
		return attach_fail(files->attach, -EUCLEAN, "object %s is damaged: its checksum is not the manifest's", want->key);
	return close_file(files);
}

/* Small files that the manifest carries; their checksums were looked at with it. */
static int write_small(struct files *files)
{
	const struct bd_manifest *manifest = &files->attach->manifest;
	int error = 0;
	for (uint32_t i = 0; i < manifest->file_count && error == 0; i++) {
		const struct bd_manifest_file *file = &manifest->files[i];
		if (file->generation != 0)
			continue;
		error = open_file(files, file->name);
		if (error == 0)
			error = write_file(files, file->name, file->bytes, file->size);
		if (error == 0)
			error = close_file(files);
	}
	return error;
}

static int make_files(struct attach *attach)
{
	char path[PATH_MAX];
	struct files files = {.attach = attach, .fd = -1, .directory = -1, .hash = XXH3_createState()};
	if (files.hash == NULL)
		return -ENOMEM;
	int error = snprintf(path, sizeof(path), "%s/" INDEX, attach->path) < (int)sizeof(path) ? 0 : -ENAMETOOLONG;
	if (error == 0 && mkdir(path, 0700) != 0)
		error = -errno;
	if (error == 0)
		files.directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (error == 0 && files.directory < 0)
		error = -errno;
	if (error == 0)
		error = write_small(&files);
	if (error == 0)
		error = attach_fetch(attach, "index", next_range, got_range, &files);
	if (error == 0 && fsync(files.directory) != 0)
		error = -errno;
	if (files.fd >= 0)
		close(files.fd);
	if (files.directory >= 0)
		close(files.directory);
	XXH3_freeState(files.hash);
	return error;
}

/* ---- what is in it */

static int load_extent(void *arg, const uint8_t *key, size_t key_size, const uint8_t *value, size_t raw_size)
{
	struct attach *attach = arg;
	struct nf_reader k = nf_reader_init(key, key_size), v = nf_reader_init(value, raw_size);
	size_t size;
	nf_read_u8(&k);
	uint32_t id = nf_read_u32_be(&k);
	nf_read_u8(&v);
	uint32_t used = nf_read_u32(&v);
	if (bd_value_check(key, key_size, value, raw_size, &size) != 0 || k.failed || v.failed || used > BD_EXTENT_SLOTS)
		return -EUCLEAN;
	struct attach_extent *extent = attach_extent(attach, id);
	if (extent == NULL)
		return -ENOMEM;
	extent->has_record = true;
	/* Without a slot in use it may be too young to have been looked at when the manifest was made: its blocks are in pieces. */
	extent->in_index = used > 0;
	extent->used = used;
	return 0;
}

static int load_row(void *arg, const uint8_t *key, size_t key_size, const uint8_t *value, size_t size)
{
	struct attach *attach = arg;
	int error = bd_rows_replay(attach->before, key, key_size, value, size);
	return error != 0 ? error : bd_rows_replay(attach->after, key, key_size, value, size);
}

static int check_positions(struct attach *attach, struct bd_index *index)
{
	struct bd_key key;
	uint8_t raw[64];
	size_t size;
	bd_key_meta(&key, "replay");
	int error = bd_index_get(index, &key, raw, sizeof(raw), &size);
	if (error != 0)
		return error == -ENOENT ? -EUCLEAN : error;
	struct nf_reader r = nf_reader_init(raw, size);
	uint64_t replay = nf_read_u64(&r), retain = nf_read_u64(&r);
	nf_read_u64(&r);
	return !r.failed && replay == attach->manifest.replay && retain == attach->manifest.retain ? 0 : -EUCLEAN;
}

int attach_index(struct attach *attach)
{
	char path[PATH_MAX], reason[384] = "its records make no sense";
	struct bd_index *index = NULL;
	int error = make_files(attach);
	if (error != 0)
		return error;
	snprintf(path, sizeof(path), "%s/" INDEX, attach->path);
	const struct bd_index_options options = {.read_only = true, .cache_bytes = READ_CACHE_BYTES};
	error = bd_index_open(path, &options, &index, reason, sizeof(reason));
	if (error == 0)
		error = check_positions(attach, index);
	if (error == 0)
		error = bd_index_each_kind(index, 'E', load_extent, attach);
	if (error == 0)
		error = bd_index_each_kind(index, 'T', load_row, attach);
	bd_index_close(index);
	if (error == 0 || error == -ENOMEM)
		return error;
	return attach_fail(attach, -EUCLEAN, "the index of manifest %08x-%08x is damaged: %s", attach->manifest.generation,
			   attach->manifest.number, reason);
}
