/* The real backend where the contract tests do not reach: threads, fork, a kernel without io_uring. */
#include "fixture.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/nf_log.h"

struct fixture {
	struct nf_io *io;
	char *dir;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->dir = make_tmpdir();
	assert_int_equal(nf_io_uring_create(f->dir, &f->io), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	nf_io_destroy(f->io);
	remove_tree(f->dir);
	free(f->dir);
	free(f);
	return 0;
}

/* Write blocks in one wide batch, read them back in another. Returns whether all were right. */
static bool wide_round_trip(struct nf_io *io, struct nf_file *file, uint64_t base, uint32_t tag)
{
	enum { COUNT = 100 };
	struct nf_io_op ops[COUNT];
	uint8_t *buf = nf_io_buffer(COUNT * BLOCK);
	bool good = true;

	fill(buf, COUNT * BLOCK, tag);
	for (unsigned i = 0; i < COUNT; i++)
		ops[i] = (struct nf_io_op){
			.kind = NF_IO_WRITE, .file = file, .offset = base + i * BLOCK, .buf = buf + i * BLOCK, .size = BLOCK};
	good = nf_io_run(io, ops, COUNT) == 0;
	memset(buf, 0, COUNT * BLOCK);
	for (unsigned i = 0; i < COUNT; i++)
		ops[i].kind = NF_IO_READ;
	good = nf_io_run(io, ops, COUNT) == 0 && good;
	good = is_filled(buf, COUNT * BLOCK, tag) && good;
	free(buf);
	return good;
}

static void missing_root(void **state)
{
	struct nf_io *io;

	(void)state;
	assert_int_equal(nf_io_uring_create("/no/such/directory", &io), -ENOENT);
	assert_int_equal(nf_io_uring_create("/proc/self/status", &io), -ENOTDIR);
}

struct worker {
	pthread_t thread;
	struct nf_io *io;
	struct nf_file *file;
	unsigned number;
	bool good;
};

static void *work(void *arg)
{
	struct worker *worker = arg;

	worker->good = true;
	for (uint32_t round = 0; round < 10; round++)
		worker->good =
			wide_round_trip(worker->io, worker->file, worker->number * 100 * BLOCK, worker->number * 1000 + round) &&
			worker->good;
	return NULL;
}

static void many_threads(void **state)
{
	struct fixture *f = *state;
	struct worker workers[8];

	struct nf_file *file = create_file(f->io, "a");
	for (unsigned i = 0; i < NF_ARRAY_LEN(workers); i++) {
		workers[i] = (struct worker){.io = f->io, .file = file, .number = i};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < NF_ARRAY_LEN(workers); i++) {
		pthread_join(workers[i].thread, NULL);
		assert_true(workers[i].good);
	}
	nf_io_close(file);
}

static unsigned count_open_files(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 1000; fd++) {
		char name[64];
		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		count += access(name, F_OK) == 0 || errno == EACCES;
	}
	return count;
}

/* A thread's ring goes with the thread; the main thread's goes with the backend. */
static void rings_are_freed(void **state)
{
	struct fixture *f = *state;

	struct nf_file *file = create_file(f->io, "a");
	unsigned before = count_open_files();
	for (unsigned i = 0; i < 5; i++) {
		struct worker worker = {.io = f->io, .file = file};
		assert_int_equal(pthread_create(&worker.thread, NULL, work, &worker), 0);
		pthread_join(worker.thread, NULL);
		assert_true(worker.good);
	}
	assert_int_equal(count_open_files(), before);
	assert_true(wide_round_trip(f->io, file, 0, 1));
	nf_io_close(file);
}

/* Pages of the file in the kernel's cache. */
static unsigned count_cached_pages(const struct fixture *f, const char *name, unsigned pages)
{
	char path[512];
	unsigned char resident[64] = {0};
	unsigned count = 0;

	assert_true(pages <= sizeof(resident));
	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	void *map = mmap(NULL, pages * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	assert_true(map != MAP_FAILED);
	assert_int_equal(mincore(map, pages * PAGE, resident), 0);
	for (unsigned i = 0; i < pages; i++)
		count += resident[i] & 1;
	munmap(map, pages * PAGE);
	close(fd);
	return count;
}

/* Through the page cache where it says so and only there; the descriptor for it goes with the file. */
static void cached_ops_use_the_page_cache(void **state)
{
	struct fixture *f = *state;
	unsigned before = count_open_files();
	struct nf_file *file = create_file(f->io, "a");
	uint8_t *buf = buffer(4 * PAGE);

	put(f->io, file, 0, 4 * PAGE, 1);
	assert_int_equal(count_open_files(), before + 1);
	assert_int_equal(count_cached_pages(f, "a", 4), 0);
	fill(buf, PAGE, 2);
	struct nf_io_op op = {.kind = NF_IO_WRITE, .cached = true, .file = file, .offset = PAGE, .buf = buf, .size = PAGE};
	assert_int_equal(nf_io_run(f->io, &op, 1), 0);
	assert_int_equal(count_cached_pages(f, "a", 4), 1);
	op = (struct nf_io_op){.kind = NF_IO_READ, .cached = true, .file = file, .buf = buf, .size = 4 * PAGE};
	assert_int_equal(nf_io_run(f->io, &op, 1), 0);
	assert_int_equal(count_cached_pages(f, "a", 4), 4);
	assert_int_equal(count_open_files(), before + 2);
	nf_io_close(file);
	assert_int_equal(count_open_files(), before);
	free(buf);
}

/* Dirty pages of the file; false: this kernel cannot tell (before 6.5). */
static bool count_dirty_pages(const struct fixture *f, const char *name, uint64_t *ret_cached, uint64_t *ret_dirty)
{
	struct { uint64_t off, len; } range = {0};
	struct { uint64_t cached, dirty, writeback, evicted, recently; } stat;
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	long rc = syscall(451 /* cachestat */, fd, &range, &stat, 0);
	close(fd);
	*ret_cached = stat.cached;
	*ret_dirty = stat.dirty;
	return rc == 0;
}

static void little_stays_dirty(void **state)
{
	enum { MIB = 1 << 20 };
	struct fixture *f = *state;
	struct nf_file *file = create_file(f->io, "a");
	uint8_t *buf = buffer(MIB);
	uint64_t cached, dirty;

	assert_int_equal(nf_io_allocate(file, 0, 64 * MIB), 0);
	fill(buf, MIB, 1);
	for (unsigned i = 0; i < 63; i++) {
		struct nf_io_op op = {.kind = NF_IO_WRITE, .cached = true, .file = file, .offset = (uint64_t)i * MIB, .buf = buf, .size = MIB};
		assert_int_equal(nf_io_run(f->io, &op, 1), 0);
	}
	bool told = count_dirty_pages(f, "a", &cached, &dirty);
	nf_io_close(file);
	free(buf);
	if (!told)
		skip();
	assert_true(cached >= 60 * MIB / PAGE);
	assert_true(dirty <= 20 * MIB / PAGE);
}

static int run_without_more_files(struct fixture *f)
{
	struct nf_file *file = create_file(f->io, "a");
	uint8_t *buf = buffer(PAGE);
	struct nf_io_op op = {.kind = NF_IO_WRITE, .cached = true, .file = file, .buf = buf, .size = PAGE};

	fill(buf, PAGE, 1);
	if (setrlimit(RLIMIT_NOFILE, &(struct rlimit){1, 1}) != 0)
		return 2;
	if (nf_io_run(f->io, &op, 1) != 0 || !holds(f->io, file, 0, PAGE, 1))
		return 3;
	nf_io_close(file);
	return 0;
}

static void expect_success(pid_t pid);

/* It is a hint: without a descriptor to spare, it is done the other way. */
static void without_more_files(void **state)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(run_without_more_files(*state));
	expect_success(pid);
}

/* Wait for a child that exits 0 when all was well. */
static void expect_success(pid_t pid)
{
	int status;

	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void after_fork(void **state)
{
	struct fixture *f = *state;

	struct nf_file *file = create_file(f->io, "a");
	assert_true(wide_round_trip(f->io, file, 0, 1));
	pid_t pid = fork();
	if (pid == 0)
		_exit(wide_round_trip(f->io, file, 0, 2) ? 0 : 1);
	expect_success(pid);
	assert_true(wide_round_trip(f->io, file, 100 * BLOCK, 3));
	assert_true(holds(f->io, file, 0, BLOCK, 2));
	nf_io_close(file);
}

/* From here on, in this process, system call `number` ends in `error` when its third argument has any
 * bit of `flags` (all calls of it when flags is 0). As a container or another file system would. */
static bool forbid(unsigned number, unsigned flags, unsigned error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, flags, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JA, flags != 0 ? 1 : 0, 0, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = NF_ARRAY_LEN(filter), .filter = filter};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* Whether the log holds `text` exactly once. */
static bool said_once(const char *log_path, const char *wanted)
{
	char text[4096] = {0};
	FILE *in = fopen(log_path, "r");

	if (in == NULL)
		return false;
	size_t size = fread(text, 1, sizeof(text) - 1, in);
	fclose(in);
	char *first = strstr(text, wanted);
	return size > 0 && first != NULL && strstr(first + 1, wanted) == NULL;
}

static int run_without_io_uring(struct fixture *f, const char *log_path)
{
	struct nf_file *file = create_file(f->io, "a");

	if (!forbid(__NR_io_uring_setup, 0, EPERM))
		return 2;
	if (!wide_round_trip(f->io, file, 0, 1) || !wide_round_trip(f->io, file, 0, 2))
		return 3;
	nf_io_close(file);
	return said_once(log_path, "io_uring is not available") ? 0 : 4;
}

static int run_without_o_direct(struct fixture *f, const char *log_path)
{
	if (!forbid(__NR_fcntl, O_DIRECT, EINVAL))
		return 2;
	struct nf_file *file = create_file(f->io, "a");
	struct nf_file *other = create_file(f->io, "b");
	if (!wide_round_trip(f->io, file, 0, 1) || !wide_round_trip(f->io, other, 0, 2))
		return 3;
	flush_file(f->io, file);
	if (nf_io_run_one(f->io, NF_IO_READ, file, 100 * BLOCK, nf_io_buffer(BLOCK), BLOCK) != -ENODATA)
		return 4;
	nf_io_close(file);
	nf_io_close(other);
	if (nf_io_open(f->io, "a", NF_OPEN_CREATE, &file) != -EEXIST)
		return 5;
	return said_once(log_path, "has no O_DIRECT") ? 0 : 6;
}

static int run_without_fallocate(struct fixture *f, const char *log_path)
{
	struct nf_file *file = create_file(f->io, "a");

	if (!forbid(__NR_fallocate, 0, EOPNOTSUPP))
		return 2;
	put(f->io, file, 0, 4 * BLOCK, 1);
	if (nf_io_allocate(file, 0, BLOCK) != 0 || size_of(file) != 4 * BLOCK)
		return 3;
	if (nf_io_allocate(file, 0, 8 * BLOCK) != 0 || size_of(file) != 8 * BLOCK)
		return 4;
	if (nf_io_punch(file, BLOCK, 100 * BLOCK) != 0 || size_of(file) != 8 * BLOCK)
		return 5;
	if (!holds(f->io, file, 0, BLOCK, 1) || !holds_zeros(f->io, file, BLOCK, 7 * BLOCK))
		return 6;
	nf_io_close(file);
	return said_once(log_path, "cannot reserve space") ? 0 : 7;
}

/* A write that the kernel does in part is continued, here up to a limit where it fails: the whole pages before the limit are
 * there, the op has failed, its chain is cancelled. `other` makes the batch wide. */
static int check_short_write(struct nf_io *io, struct nf_file *file, struct nf_file *other)
{
	uint8_t *buf = nf_io_buffer(4 * PAGE);
	struct nf_io_op ops[] = {
		{.kind = NF_IO_WRITE, .then_next = true, .file = file, .buf = buf, .size = 4 * PAGE},
		{.kind = NF_IO_WRITE, .file = file, .buf = buf, .size = PAGE},
		{.kind = NF_IO_WRITE, .file = other, .buf = buf, .size = PAGE},
	};

	fill(buf, 4 * PAGE, 1);
	if (nf_io_run(io, ops, other != NULL ? 3 : 2) != -EFBIG || ops[1].result != -ECANCELED || ops[2].result != 0)
		return 3;
	memset(buf, 0, 4 * PAGE);
	if (size_of(file) != 3 * PAGE || nf_io_run_one(io, NF_IO_READ, file, 0, buf, 3 * PAGE) != 0)
		return 4;
	bool good = is_filled(buf, 3 * PAGE, 1);
	free(buf);
	return good ? 0 : 5;
}

static int run_at_size_limit(struct fixture *f, const char *log_path)
{
	struct rlimit limit = {.rlim_cur = 3 * PAGE, .rlim_max = 3 * PAGE};
	struct nf_file *narrow = create_file(f->io, "narrow");
	struct nf_file *wide = create_file(f->io, "wide");
	struct nf_file *other = create_file(f->io, "other");

	(void)log_path;
	if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR || setrlimit(RLIMIT_FSIZE, &limit) != 0)
		return 2;
	int rc = check_short_write(f->io, narrow, NULL);
	if (rc == 0)
		rc = check_short_write(f->io, wide, other);
	nf_io_close(narrow);
	nf_io_close(wide);
	nf_io_close(other);
	return rc;
}

/* In a child, because a system call that is forbidden stays so. */
static void run_in_child(struct fixture *f, int (*run)(struct fixture *f, const char *log_path))
{
	char *log_path;

	assert_true(asprintf(&log_path, "%s/log", f->dir) > 0);
	pid_t pid = fork();
	if (pid == 0)
		_exit(nf_log_open(log_path) == 0 ? run(f, log_path) : 1);
	expect_success(pid);
	free(log_path);
}

static void without_io_uring(void **state)
{
	run_in_child(*state, run_without_io_uring);
	struct nf_file *file = open_file(((struct fixture *)*state)->io, "a");
	assert_true(holds(((struct fixture *)*state)->io, file, 0, BLOCK, 2));
	nf_io_close(file);
}

static void without_o_direct(void **state)
{
	run_in_child(*state, run_without_o_direct);
}

static void without_fallocate(void **state)
{
	run_in_child(*state, run_without_fallocate);
}

static void at_size_limit(void **state)
{
	run_in_child(*state, run_at_size_limit);
}

/* A new file is private, and so is a new directory. */
static void modes(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	char *path;

	nf_io_close(create_file(f->io, "a"));
	assert_int_equal(nf_io_mkdir(f->io, "d"), 0);
	assert_true(asprintf(&path, "%s/a", f->dir) > 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	path[strlen(path) - 1] = 'd';
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0700);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(missing_root),
		cmocka_unit_test_setup_teardown(without_io_uring, setup, teardown),
		cmocka_unit_test_setup_teardown(without_o_direct, setup, teardown),
		cmocka_unit_test_setup_teardown(without_fallocate, setup, teardown),
		cmocka_unit_test_setup_teardown(at_size_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(many_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(rings_are_freed, setup, teardown),
		cmocka_unit_test_setup_teardown(cached_ops_use_the_page_cache, setup, teardown),
		cmocka_unit_test_setup_teardown(little_stays_dirty, setup, teardown),
		cmocka_unit_test_setup_teardown(without_more_files, setup, teardown),
		cmocka_unit_test_setup_teardown(after_fork, setup, teardown),
		cmocka_unit_test_setup_teardown(modes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
