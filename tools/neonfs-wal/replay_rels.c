#include "tools/neonfs-wal/replay_rels.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/neonfs-wal/replay_files.h"

#define BUCKETS 65536u
#define LOCKS 16u
#define SPC_DEFAULT 1663u
#define SPC_GLOBAL 1664u
#define FILES_LEFT 256 /* descriptors left to others */
#define FILE_MODE 0600

struct rp_segment {
	int fd; /* -1 = not open */
};

struct rp_rels {
	int root;
	uint32_t segment_blocks;
	char space_directory[32];
	struct rp_rel *buckets[BUCKETS];
	uint32_t next_id;
	pthread_mutex_t locks[LOCKS]; /* of a relation's segments, by its id */
	_Atomic int open;
	int open_max;
};

/* ------------------------------------------------------------- paths */

const char *rp_rels_space_directory(const struct rp_rels *rels)
{
	return rels->space_directory;
}

void rp_rels_database_path(const struct rp_rels *rels, uint32_t db, uint32_t spc, char path[RP_PATH_MAX])
{
	if (spc == SPC_GLOBAL)
		snprintf(path, RP_PATH_MAX, "global");
	else if (spc == SPC_DEFAULT)
		snprintf(path, RP_PATH_MAX, "base/%u", db);
	else
		snprintf(path, RP_PATH_MAX, "pg_tblspc/%u/%s/%u", spc, rels->space_directory, db);
}

void rp_rels_path(const struct rp_rels *rels, struct wa_locator rel, uint32_t fork, uint32_t segment, char path[RP_PATH_MAX])
{
	static const char *const suffixes[WA_FORKS] = {"", "_fsm", "_vm", "_init"};
	char directory[RP_PATH_MAX], number[16] = "";
	rp_rels_database_path(rels, rel.db, rel.spc, directory);
	if (segment > 0)
		snprintf(number, sizeof(number), ".%u", segment);
	if (snprintf(path, RP_PATH_MAX, "%s/%u%s%s", directory, rel.rel, suffixes[fork], number) >= RP_PATH_MAX)
		path[0] = 0;
}

int rp_make_directories(int root, const char *path)
{
	char part[RP_PATH_MAX];
	for (const char *slash = path; slash != NULL;) {
		slash = strchr(slash + 1, '/');
		size_t length = slash != NULL ? (size_t)(slash - path) : strlen(path);
		if (length >= sizeof(part))
			return -ENAMETOOLONG;
		memcpy(part, path, length);
		part[length] = 0;
		if (mkdirat(root, part, 0700) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

static int remove_entries(int fd)
{
	DIR *dir = fdopendir(fd);
	if (dir == NULL) {
		int status = -errno;
		close(fd);
		return status;
	}
	int status = 0;
	for (struct dirent *entry; status == 0 && (entry = readdir(dir)) != NULL;)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			status = rp_remove_tree(dirfd(dir), entry->d_name);
	closedir(dir);
	return status;
}

int rp_remove_tree(int root, const char *path)
{
	if (unlinkat(root, path, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	int fd = openat(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int status = fd < 0 ? -errno : remove_entries(fd);
	if (status == 0 && unlinkat(root, path, AT_REMOVEDIR) < 0 && errno != ENOENT)
		status = -errno;
	return status;
}

/* ------------------------------------------------------------- table */

static int file_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return FILES_LEFT;
	limit.rlim_cur = NF_MIN(limit.rlim_max, (rlim_t)65536);
	setrlimit(RLIMIT_NOFILE, &limit);
	getrlimit(RLIMIT_NOFILE, &limit);
	return NF_MAX((int)NF_MIN(limit.rlim_cur, (rlim_t)65536) - FILES_LEFT, 16);
}

int rp_rels_new(int root, int major, const struct wa_control *control, struct rp_rels **ret_rels)
{
	struct rp_rels *rels = calloc(1, sizeof(*rels));
	if (rels == NULL)
		return -ENOMEM;
	rels->root = root;
	rels->segment_blocks = control->segment_blocks;
	rels->open_max = file_limit();
	snprintf(rels->space_directory, sizeof(rels->space_directory), "PG_%d_%u", major, control->catalog);
	for (unsigned i = 0; i < LOCKS; i++)
		pthread_mutex_init(&rels->locks[i], NULL);
	*ret_rels = rels;
	return 0;
}

static int close_segments(struct rp_rels *rels, struct rp_rel *rel)
{
	int status = 0;
	for (uint32_t i = 0; i < rel->segment_count; i++)
		if (rel->segments[i].fd >= 0) {
			status = rp_close_written(rel->segments[i].fd, status);
			rel->segments[i].fd = -1;
			atomic_fetch_sub(&rels->open, 1);
		}
	return status;
}

/* Of one that was not settled nobody wants the bytes. */
static void free_rel(struct rp_rels *rels, struct rp_rel *rel)
{
	(void)!close_segments(rels, rel);
	free(rel->segments);
	free(rel);
}

void rp_rels_free(struct rp_rels *rels)
{
	if (rels == NULL)
		return;
	for (unsigned i = 0; i < BUCKETS; i++)
		for (struct rp_rel *rel = rels->buckets[i], *next; rel != NULL; rel = next) {
			next = rel->next;
			free_rel(rels, rel);
		}
	for (unsigned i = 0; i < LOCKS; i++)
		pthread_mutex_destroy(&rels->locks[i]);
	free(rels);
}

static struct rp_rel **bucket(struct rp_rels *rels, struct wa_locator rel, uint32_t fork)
{
	uint64_t hash = (rel.rel ^ (uint64_t)rel.db << 20 ^ (uint64_t)rel.spc << 40 ^ (uint64_t)fork << 60) *
			UINT64_C(0x9E3779B97F4A7C15);
	return &rels->buckets[hash >> 48];
}

struct rp_rel *rp_rels_known(struct rp_rels *rels, struct wa_locator rel, uint32_t fork)
{
	for (struct rp_rel *at = *bucket(rels, rel, fork); at != NULL; at = at->next)
		if (at->block.fork == fork && wa_locator_equal(at->block.rel, rel))
			return at;
	return NULL;
}

/* The length of what is on disk: segments follow each other as long as they are full, as mdnblocks (md.c) counts. */
static int measure(struct rp_rels *rels, struct wa_locator rel, uint32_t fork, uint32_t *ret_blocks)
{
	uint64_t blocks = 0;
	for (uint32_t segment = 0;; segment++) {
		char path[RP_PATH_MAX];
		struct stat st;
		rp_rels_path(rels, rel, fork, segment, path);
		if (fstatat(rels->root, path, &st, 0) < 0) {
			if (errno != ENOENT && errno != ENOTDIR)
				return -errno;
			if (segment == 0)
				return -ENOENT;
			break;
		}
		uint64_t here = (uint64_t)st.st_size / WA_PAGE_SIZE;
		blocks += NF_MIN(here, rels->segment_blocks);
		if (here < rels->segment_blocks)
			break;
	}
	*ret_blocks = (uint32_t)NF_MIN(blocks, (uint64_t)UINT32_MAX - 1);
	return 0;
}

int rp_rels_touch(struct rp_rels *rels, struct wa_locator rel, uint32_t fork)
{
	char path[RP_PATH_MAX];
	rp_rels_path(rels, rel, fork, 0, path);
	int fd = openat(rels->root, path, O_WRONLY | O_CREAT | O_CLOEXEC, FILE_MODE);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
		char directory[RP_PATH_MAX];
		rp_rels_database_path(rels, rel.db, rel.spc, directory);
		int status = rp_make_directories(rels->root, directory);
		if (status < 0)
			return status;
		fd = openat(rels->root, path, O_WRONLY | O_CREAT | O_CLOEXEC, FILE_MODE);
	}
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

int rp_rels_get(struct rp_rels *rels, struct wa_locator locator, uint32_t fork, bool create, struct rp_rel **ret_rel)
{
	*ret_rel = rp_rels_known(rels, locator, fork);
	if (*ret_rel != NULL)
		return 0;
	uint32_t blocks = 0;
	int status = measure(rels, locator, fork, &blocks);
	if (status == -ENOENT && !create)
		return 0;
	if (status == -ENOENT)
		status = rp_rels_touch(rels, locator, fork);
	if (status < 0)
		return status;
	struct rp_rel *rel = calloc(1, sizeof(*rel));
	if (rel == NULL)
		return -ENOMEM;
	rel->block = (struct wa_block){.rel = locator, .fork = fork};
	rel->id = ++rels->next_id;
	atomic_store(&rel->blocks, blocks);
	struct rp_rel **head = bucket(rels, locator, fork);
	rel->next = *head;
	*head = rel;
	*ret_rel = rel;
	return 0;
}

void rp_rels_of_database(struct rp_rels *rels, uint32_t db, uint32_t spc, void (*each)(void *arg, struct rp_rel *rel), void *arg)
{
	for (unsigned i = 0; i < BUCKETS; i++)
		for (struct rp_rel *rel = rels->buckets[i], *next; rel != NULL; rel = next) {
			next = rel->next;
			if (rel->block.rel.db == db && rel->block.rel.spc == spc)
				each(arg, rel);
		}
}

void rp_rel_forget(struct rp_rels *rels, struct rp_rel *rel)
{
	struct rp_rel **at = bucket(rels, rel->block.rel, rel->block.fork);
	while (*at != rel)
		at = &(*at)->next;
	*at = rel->next;
	free_rel(rels, rel);
}

/* ------------------------------------------------------- reading, writing */

static int open_file(struct rp_rels *rels, const struct rp_rel *rel, uint32_t segment, bool create)
{
	char path[RP_PATH_MAX];
	rp_rels_path(rels, rel->block.rel, rel->block.fork, segment, path);
	int fd = openat(rels->root, path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), FILE_MODE);
	return fd < 0 ? -errno : fd;
}

static int make_room(struct rp_rel *rel, uint32_t segment)
{
	if (segment < rel->segment_count)
		return 0;
	struct rp_segment *segments = realloc(rel->segments, (segment + 1) * sizeof(*segments));
	if (segments == NULL)
		return -ENOMEM;
	for (uint32_t i = rel->segment_count; i <= segment; i++)
		segments[i].fd = -1;
	rel->segments = segments;
	rel->segment_count = segment + 1;
	return 0;
}

/* A descriptor of the segment. *ret_own: it is not kept, and is the caller's to close. */
static int segment_fd(struct rp_rels *rels, struct rp_rel *rel, uint32_t segment, bool create, bool *ret_own)
{
	pthread_mutex_t *lock = &rels->locks[rel->id % LOCKS];
	*ret_own = false;
	pthread_mutex_lock(lock);
	int fd = make_room(rel, segment);
	if (fd == 0 && rel->segments[segment].fd >= 0) {
		fd = rel->segments[segment].fd;
	} else if (fd == 0) {
		fd = open_file(rels, rel, segment, create);
		if (fd >= 0 && atomic_fetch_add(&rels->open, 1) < rels->open_max) {
			rel->segments[segment].fd = fd;
		} else if (fd >= 0) {
			atomic_fetch_sub(&rels->open, 1);
			*ret_own = true;
		}
	}
	pthread_mutex_unlock(lock);
	return fd;
}

static int read_pages(int fd, off_t offset, const struct iovec *pages, unsigned count)
{
	ssize_t got = preadv(fd, pages, (int)count, offset);
	if (got < 0)
		return -errno;
	for (unsigned i = 0; i < count; i++) {
		size_t have = (size_t)NF_MIN(NF_MAX(got - (ssize_t)(i * WA_PAGE_SIZE), (ssize_t)0), (ssize_t)WA_PAGE_SIZE);
		if (have == WA_PAGE_SIZE)
			continue;
		/* A short read may have been cut for other reasons than the end of the file: ask once more for the rest. */
		ssize_t more = pread(fd, (uint8_t *)pages[i].iov_base + have, WA_PAGE_SIZE - have,
				     offset + (off_t)i * WA_PAGE_SIZE + (off_t)have);
		if (more < 0)
			return -errno;
		memset((uint8_t *)pages[i].iov_base + have + more, 0, WA_PAGE_SIZE - have - (size_t)more);
	}
	return 0;
}

static int write_pages(int fd, off_t offset, const struct iovec *pages, unsigned count)
{
	size_t left = (size_t)count * WA_PAGE_SIZE, done = 0;
	while (done < left) {
		size_t page = done / WA_PAGE_SIZE, inside = done % WA_PAGE_SIZE;
		ssize_t wrote = inside == 0 ? pwritev(fd, pages + page, (int)(count - page), offset + (off_t)done)
					    : pwrite(fd, (uint8_t *)pages[page].iov_base + inside, WA_PAGE_SIZE - inside,
						     offset + (off_t)done);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return wrote < 0 ? -errno : -EIO;
		done += (size_t)wrote;
	}
	return 0;
}

/* Blocks of one segment. */
static int transfer(struct rp_rels *rels, struct rp_rel *rel, uint32_t blkno, const struct iovec *pages, unsigned count,
		    bool is_write)
{
	bool own;
	int fd = segment_fd(rels, rel, blkno / rels->segment_blocks, is_write, &own);
	if (fd == -ENOENT && !is_write) {
		for (unsigned i = 0; i < count; i++)
			memset(pages[i].iov_base, 0, WA_PAGE_SIZE);
		return 0;
	}
	if (fd < 0)
		return fd;
	off_t offset = (off_t)(blkno % rels->segment_blocks) * WA_PAGE_SIZE;
	int status = is_write ? write_pages(fd, offset, pages, count) : read_pages(fd, offset, pages, count);
	return own ? rp_close_written(fd, status) : status;
}

static int transfer_all(struct rp_rels *rels, struct rp_rel *rel, uint32_t blkno, const struct iovec *pages, unsigned count,
			bool is_write)
{
	int status = 0;
	while (count > 0 && status == 0) {
		unsigned here = NF_MIN(count, rels->segment_blocks - blkno % rels->segment_blocks);
		status = transfer(rels, rel, blkno, pages, here, is_write);
		blkno += here;
		pages += here;
		count -= here;
	}
	return status;
}

int rp_rel_read(struct rp_rels *rels, struct rp_rel *rel, uint32_t blkno, const struct iovec *pages, unsigned count)
{
	return transfer_all(rels, rel, blkno, pages, count, false);
}

int rp_rel_write(struct rp_rels *rels, struct rp_rel *rel, uint32_t blkno, const struct iovec *pages, unsigned count)
{
	return transfer_all(rels, rel, blkno, pages, count, true);
}

/* ------------------------------------------------------------- lengths */

/* Bring segment `segment` to `blocks` blocks: longer ones only when `may_cut`. */
static int set_length(struct rp_rels *rels, struct rp_rel *rel, uint32_t segment, uint32_t blocks, bool may_cut, bool create)
{
	bool own;
	struct stat st;
	int fd = segment_fd(rels, rel, segment, create, &own), status = 0;
	if (fd == -ENOENT && !create)
		return -ENOENT;
	if (fd < 0)
		return fd;
	off_t length = (off_t)blocks * WA_PAGE_SIZE;
	if (fstat(fd, &st) < 0 || ((st.st_size < length || (may_cut && st.st_size > length)) && ftruncate(fd, length) < 0))
		status = -errno;
	return own ? rp_close_written(fd, status) : status;
}

/* Segments past the end are cut to nothing but stay, as mdtruncate (md.c) leaves them. */
int rp_rel_cut(struct rp_rels *rels, struct rp_rel *rel, uint32_t blocks)
{
	uint32_t last = blocks / rels->segment_blocks;
	int status = 0;
	for (uint32_t segment = last; status == 0; segment++)
		status = set_length(rels, rel, segment, segment == last ? blocks % rels->segment_blocks : 0, true, false);
	if (status != -ENOENT)
		return status;
	atomic_store(&rel->blocks, NF_MIN(atomic_load(&rel->blocks), blocks));
	return 0;
}

static int settle(struct rp_rels *rels, struct rp_rel *rel)
{
	uint32_t blocks = atomic_load(&rel->blocks), on_disk = 0;
	int status = measure(rels, rel->block.rel, rel->block.fork, &on_disk);
	if (status == -ENOENT)
		status = rp_rels_touch(rels, rel->block.rel, rel->block.fork);
	/* Nothing is opened that has its length. */
	for (uint32_t segment = on_disk / rels->segment_blocks;
	     status == 0 && on_disk < blocks && (uint64_t)segment * rels->segment_blocks < blocks; segment++)
		status = set_length(rels, rel, segment, NF_MIN(blocks - segment * rels->segment_blocks, rels->segment_blocks),
				    false, true);
	int closed = close_segments(rels, rel);
	return status < 0 ? status : closed;
}

int rp_rels_settle(struct rp_rels *rels)
{
	int status = 0;
	for (unsigned i = 0; i < BUCKETS && status == 0; i++)
		for (struct rp_rel *rel = rels->buckets[i]; rel != NULL && status == 0; rel = rel->next)
			status = settle(rels, rel);
	return status;
}

int rp_rels_unlink(struct rp_rels *rels, struct wa_locator rel, uint32_t fork)
{
	for (uint32_t segment = 0;; segment++) {
		char path[RP_PATH_MAX];
		rp_rels_path(rels, rel, fork, segment, path);
		if (unlinkat(rels->root, path, 0) < 0)
			return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	}
}
