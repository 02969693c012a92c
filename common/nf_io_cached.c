/* Second descriptors of files, for what may go through the kernel's page cache. See nf_io_uring.c.
 *
 * Threading: two threads may open one at once; the one that is not kept is closed. The count may be passed by as many. */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/nf_io_ring.h"

#define LIMIT_SHARE 4u /* of the process's descriptors: others need theirs */
#define WRITE_BACK_STEP (UINT64_C(16) << 20)

static _Atomic unsigned open_count;

static bool may_open(void)
{
	struct rlimit limit;
	return getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
	       (limit.rlim_cur == RLIM_INFINITY || atomic_load(&open_count) < limit.rlim_cur / LIMIT_SHARE);
}

static int reopen(const struct nf_ring_file *file)
{
	char name[64];
	snprintf(name, sizeof(name), "/proc/self/fd/%d", file->fd);
	return open(name, (file->base.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
}

int nf_ring_cached_fd(struct nf_ring_file *file)
{
	int fd = atomic_load_explicit(&file->cached_fd, memory_order_acquire), none = NF_RING_NO_FD;
	if (fd != NF_RING_NO_FD)
		return fd;
	fd = may_open() ? reopen(file) : NF_RING_NO_FD;
	if (fd < 0)
		fd = file->fd;
	if (!atomic_compare_exchange_strong(&file->cached_fd, &none, fd)) {
		if (fd != file->fd)
			close(fd);
		return none;
	}
	if (fd != file->fd)
		atomic_fetch_add(&open_count, 1);
	return fd;
}

/* A flush waits for all that is dirty, and others wait for the flush: so it must not become much. A failed write-back is not told here but by the flush,
 * which has a descriptor of its own to be told by. */
void nf_ring_cached_wrote(struct nf_ring_file *file, size_t size)
{
	uint64_t before = atomic_fetch_add_explicit(&file->cached_bytes, size, memory_order_relaxed);
	if (before / WRITE_BACK_STEP != (before + size) / WRITE_BACK_STEP && nf_ring_cached_fd(file) != file->fd)
		(void)sync_file_range(nf_ring_cached_fd(file), 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE);
}

void nf_ring_close_cached(struct nf_ring_file *file)
{
	int fd = atomic_load(&file->cached_fd);
	if (fd == NF_RING_NO_FD || fd == file->fd)
		return;
	close(fd);
	atomic_fetch_sub(&open_count, 1);
}
