/* Which way requests travel: read and write on clones of /dev/fuse, or FUSE over io_uring.
 *
 * Over io_uring (Linux 6.14, libfuse 3.18) each CPU has a queue with one thread, whose requests carry a buffer of
 * FS_MAX_IO_BYTES shared with the kernel; a reply's data is made in that buffer. A request costs less, but handlers run one
 * at a time for each CPU: libfuse 3.18.3 must not be answered from another thread (the answer's queue entry may leave half
 * written, and the request hangs). Handlers that wait for the disk want more of them at once than there are CPUs, so
 * the device is the default; README.md has the figures. It takes the module parameter enable_uring, which root may set. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "fs/fs_internal.h"

#define URING_PARAMETER "/sys/module/fuse/parameters/enable_uring"
/* Requests in flight over all queues, while a queue has at least MIN: they cost FS_MAX_IO_BYTES of memory each. */
#define URING_REQUESTS 32
#define URING_DEPTH_MIN 4
#define URING_DEPTH_MAX 16

#ifdef FUSE_CAP_OVER_IO_URING
/* 'Y', 'N', or 0 when this kernel has no such thing. */
static char uring_parameter(void)
{
	char value = 0;
	int fd = open(URING_PARAMETER, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (read(fd, &value, 1) != 1)
		value = 0;
	close(fd);
	return value;
}

static int uring_switch_on(void)
{
	int fd = open(URING_PARAMETER, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	int err = write(fd, "Y", 1) == 1 ? 0 : -errno;
	close(fd);
	return err;
}

int fs_transport_choose(const struct fs_options *options, bool *ret_uring, char *ret_message, size_t message_size)
{
	char parameter = uring_parameter();

	if (options->transport == FS_TRANSPORT_URING && parameter == 'N' && uring_switch_on() == 0)
		parameter = uring_parameter();
	if (options->transport == FS_TRANSPORT_URING && parameter != 'Y') {
		if (parameter == 0)
			snprintf(ret_message, message_size,
				 "this kernel has no FUSE over io_uring (Linux 6.14 does); leave the choice to neonfs");
		else
			snprintf(ret_message, message_size,
				 "FUSE over io_uring is switched off; as root: echo Y > " URING_PARAMETER);
		return -EOPNOTSUPP;
	}
	*ret_uring = options->transport == FS_TRANSPORT_URING;
	return 0;
}

bool fs_transport_reply_buffer(fuse_req_t req, size_t size, char **ret_buf)
{
	char *payload;
	size_t payload_size;

	if (!fuse_req_is_uring(req) || fuse_req_get_payload(req, &payload, &payload_size, NULL) != 0 || payload_size < size)
		return false;
	*ret_buf = payload;
	return true;
}

bool fs_transport_is_uring(fuse_req_t req)
{
	return fuse_req_is_uring(req);
}
#else
int fs_transport_choose(const struct fs_options *options, bool *ret_uring, char *ret_message, size_t message_size)
{
	if (options->transport == FS_TRANSPORT_URING) {
		snprintf(ret_message, message_size,
			 "built with libfuse %s, which has no FUSE over io_uring (3.18 has); build with a newer one",
			 fuse_pkgversion());
		return -EOPNOTSUPP;
	}
	*ret_uring = false;
	return 0;
}

bool fs_transport_reply_buffer(fuse_req_t req, size_t size, char **ret_buf)
{
	(void)req, (void)size, (void)ret_buf;
	return false;
}

bool fs_transport_is_uring(fuse_req_t req)
{
	(void)req;
	return false;
}
#endif

unsigned fs_transport_queue_depth(const struct fs_options *options)
{
	unsigned cpus = (unsigned)NF_MAX(get_nprocs_conf(), 1);

	if (options->uring_queue_depth != 0)
		return options->uring_queue_depth;
	return NF_MIN(NF_MAX(URING_REQUESTS / cpus, URING_DEPTH_MIN), URING_DEPTH_MAX);
}
