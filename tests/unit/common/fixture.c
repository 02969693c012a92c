#include "fixture.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *make_tmpdir_in(const char *base)
{
	char *path;

	if (base == NULL)
		base = getenv("TMPDIR");
	assert_true(asprintf(&path, "%s/neonfs-unit-XXXXXX", base != NULL ? base : "/var/tmp") > 0);
	assert_non_null(mkdtemp(path));
	return path;
}

char *make_tmpdir(void)
{
	return make_tmpdir_in(NULL);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void remove_tree(const char *path)
{
	assert_int_equal(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static uint32_t word_at(size_t i, uint32_t tag)
{
	return (tag * 2654435761u) ^ (uint32_t)(i * 40503u + 1);
}

void fill(void *buf, size_t size, uint32_t tag)
{
	uint32_t *words = buf;

	for (size_t i = 0; i < size / 4; i++)
		words[i] = word_at(i, tag);
}

bool is_filled(const void *buf, size_t size, uint32_t tag)
{
	const uint32_t *words = buf;

	for (size_t i = 0; i < size / 4; i++)
		if (words[i] != word_at(i, tag))
			return false;
	return true;
}

bool is_zero(const void *buf, size_t size)
{
	const uint8_t *bytes = buf;

	for (size_t i = 0; i < size; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

void *buffer(size_t size)
{
	void *buf = nf_io_buffer(size);

	assert_non_null(buf);
	memset(buf, 0xa5, size);
	return buf;
}

void put(struct nf_io *io, struct nf_file *file, uint64_t offset, size_t size, uint32_t tag)
{
	void *buf = buffer(size);

	fill(buf, size, tag);
	assert_int_equal(nf_io_run_one(io, NF_IO_WRITE, file, offset, buf, size), 0);
	free(buf);
}

void flush_file(struct nf_io *io, struct nf_file *file)
{
	assert_int_equal(nf_io_run_one(io, NF_IO_FSYNC, file, 0, NULL, 0), 0);
}

bool holds(struct nf_io *io, struct nf_file *file, uint64_t offset, size_t size, uint32_t tag)
{
	void *buf = buffer(size);
	int rc = nf_io_run_one(io, NF_IO_READ, file, offset, buf, size);
	bool yes = rc == 0 && is_filled(buf, size, tag);

	assert_true(rc == 0 || rc == -ENODATA);
	free(buf);
	return yes;
}

bool holds_zeros(struct nf_io *io, struct nf_file *file, uint64_t offset, size_t size)
{
	void *buf = buffer(size);
	int rc = nf_io_run_one(io, NF_IO_READ, file, offset, buf, size);
	bool yes = rc == 0 && is_zero(buf, size);

	assert_true(rc == 0 || rc == -ENODATA);
	free(buf);
	return yes;
}

struct nf_file *create_file(struct nf_io *io, const char *path)
{
	struct nf_file *file;

	assert_int_equal(nf_io_open(io, path, NF_OPEN_CREATE, &file), 0);
	return file;
}

struct nf_file *open_file(struct nf_io *io, const char *path)
{
	struct nf_file *file;

	assert_int_equal(nf_io_open(io, path, 0, &file), 0);
	return file;
}

bool exists(struct nf_io *io, const char *path)
{
	struct nf_file *file;
	int rc = nf_io_open(io, path, NF_OPEN_READONLY, &file);

	assert_true(rc == 0 || rc == -ENOENT);
	if (rc == 0)
		nf_io_close(file);
	return rc == 0;
}

uint64_t size_of(struct nf_file *file)
{
	uint64_t size;

	assert_int_equal(nf_io_size(file, &size), 0);
	return size;
}

#define NAMES_MAX 64

struct names {
	char *list[NAMES_MAX];
	int count;
};

static int add_name(void *arg, const char *name)
{
	struct names *names = arg;

	assert_true(names->count < NAMES_MAX);
	names->list[names->count++] = strdup(name);
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void list_names(struct nf_io *io, const char *path, char *ret_names, size_t size)
{
	struct names names = {.count = 0};
	size_t used = 0;

	assert_int_equal(nf_io_list(io, path, add_name, &names), 0);
	qsort(names.list, (size_t)names.count, sizeof(names.list[0]), compare_names);
	ret_names[0] = '\0';
	for (int i = 0; i < names.count; i++) {
		used += (size_t)snprintf(ret_names + used, size - used, "%s%s", i > 0 ? " " : "", names.list[i]);
		assert_true(used < size);
		free(names.list[i]);
	}
}
