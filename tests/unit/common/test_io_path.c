/* Paths, the same for every backend; seen through the memory backend and the real one. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int stop(void *arg, const char *name)
{
	(void)arg;
	(void)name;
	return 0;
}

static void check_paths(struct nf_io *io)
{
	static const char *const bad[] = {
		"", ".", "..", "/", "/a", "a/", "a//b", "a/./b", "a/../b", "../a", "a/..", "a b", "a\nb", "\xc3\xa4", "a\\b",
	};
	static const char *const good[] = {"a", "...", ".a", "..a", "a.", "A-Z_0.9", "-"};
	char name[300];

	for (size_t i = 0; i < NF_ARRAY_LEN(bad); i++) {
		struct nf_file *file;
		assert_int_equal(nf_io_open(io, bad[i], NF_OPEN_CREATE, &file), -EINVAL);
		assert_int_equal(nf_io_unlink(io, bad[i]), -EINVAL);
		assert_int_equal(nf_io_mkdir(io, bad[i]), -EINVAL);
		assert_int_equal(nf_io_rename(io, bad[i], "x"), -EINVAL);
		assert_int_equal(nf_io_rename(io, "x", bad[i]), -EINVAL);
		if (strcmp(bad[i], ".") != 0) {
			assert_int_equal(nf_io_sync_dir(io, bad[i]), -EINVAL);
			assert_int_equal(nf_io_list(io, bad[i], stop, NULL), -EINVAL);
		}
	}
	for (size_t i = 0; i < NF_ARRAY_LEN(good); i++) {
		nf_io_close(create_file(io, good[i]));
		assert_true(exists(io, good[i]));
		assert_int_equal(nf_io_unlink(io, good[i]), 0);
	}
	memset(name, 'n', 256);
	name[256] = '\0';
	assert_int_equal(nf_io_mkdir(io, name), -EINVAL);
	name[255] = '\0';
	assert_int_equal(nf_io_mkdir(io, name), 0);
	assert_int_equal(nf_io_sync_dir(io, "."), 0);
}

static void in_memory(void **state)
{
	struct nf_io *io;

	(void)state;
	assert_int_equal(nf_io_mem_create(0, &io), 0);
	check_paths(io);
	nf_io_destroy(io);
}

static void on_disk(void **state)
{
	struct nf_io *io;
	char *dir = make_tmpdir();

	(void)state;
	assert_int_equal(nf_io_uring_create(dir, &io), 0);
	check_paths(io);
	nf_io_destroy(io);
	remove_tree(dir);
	free(dir);
}

/* The store stays in its directory: a link that somebody put there is not followed. */
static void no_symlinks(void **state)
{
	struct nf_io *io;
	struct nf_file *file;
	char *path;
	char *dir = make_tmpdir();

	(void)state;
	assert_true(asprintf(&path, "%s/link", dir) > 0);
	assert_int_equal(symlink("/etc/hostname", path), 0);
	assert_int_equal(nf_io_uring_create(dir, &io), 0);
	assert_int_equal(nf_io_open(io, "link", NF_OPEN_READONLY, &file), -ELOOP);
	assert_int_equal(nf_io_list(io, "link", stop, NULL), -ENOTDIR);
	nf_io_destroy(io);
	remove_tree(dir);
	free(path);
	free(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_memory),
		cmocka_unit_test(on_disk),
		cmocka_unit_test(no_symlinks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
