/* INIT: what we and the kernel agree on, and why.
 *
 * Asked for, where library and kernel have it:
 *   ASYNC_READ, ASYNC_DIO, PARALLEL_DIROPS   nothing of ours needs the order they give up
 *   ATOMIC_O_TRUNC                           open(O_TRUNC) is one request
 *   READDIRPLUS, READDIRPLUS_AUTO            ls -l without a look-up a name
 *   CACHE_SYMLINKS                           tablespace links are read once
 *   HANDLE_KILLPRIV_V2                       we clear set-id bits and file capabilities when told to; without it the
 *                                            kernel asks for security.capability before every write
 *   EXPLICIT_INVAL_DATA, not AUTO_INVAL_DATA the page cache is dropped when we say so, not when an mtime moves
 *   DIRECT_IO_ALLOW_MMAP                     a file that somebody opened O_DSYNC can still be mapped shared
 *   WRITEBACK_CACHE                          in FS_CACHE_BACK only
 * Not: the older HANDLE_KILLPRIV. It saves no request, and with it a gathered write clears the bits late. Without it the
 * kernel clears them itself before the write.
 * Not: splice. Requests and replies are copied from and to aligned memory; a pipe between costs more at 8 KiB.
 * Not: locks. flock and POSIX locks are the kernel's alone, since there is no other way in. */
#include "fs/fs_internal.h"

static bool want(struct fuse_conn_info *conn, uint64_t flag)
{
#ifdef FS_HAVE_CONN_WANT_EXT
	return fuse_set_feature_flag(conn, flag);
#else
	if ((conn->capable & flag) == 0)
		return false;
	conn->want |= (unsigned)flag;
	return true;
#endif
}

static void want_not(struct fuse_conn_info *conn, uint64_t flag)
{
#ifdef FS_HAVE_CONN_WANT_EXT
	fuse_unset_feature_flag(conn, flag);
#else
	conn->want &= ~(unsigned)flag;
#endif
}

void fs_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;
	static const uint64_t wanted[] = {
		FUSE_CAP_ASYNC_READ,           FUSE_CAP_ASYNC_DIO,        FUSE_CAP_PARALLEL_DIROPS, FUSE_CAP_ATOMIC_O_TRUNC,
		FUSE_CAP_READDIRPLUS,          FUSE_CAP_READDIRPLUS_AUTO, FUSE_CAP_CACHE_SYMLINKS,  FUSE_CAP_EXPLICIT_INVAL_DATA,
#ifdef FUSE_CAP_DIRECT_IO_ALLOW_MMAP
		FUSE_CAP_DIRECT_IO_ALLOW_MMAP,
#endif
	};
	static const uint64_t unwanted[] = {
		FUSE_CAP_AUTO_INVAL_DATA, FUSE_CAP_SPLICE_READ, FUSE_CAP_SPLICE_WRITE,    FUSE_CAP_SPLICE_MOVE,
		FUSE_CAP_POSIX_LOCKS,     FUSE_CAP_FLOCK_LOCKS, FUSE_CAP_HANDLE_KILLPRIV, FUSE_CAP_WRITEBACK_CACHE,
	};

	for (size_t i = 0; i < NF_ARRAY_LEN(wanted); i++)
		want(conn, wanted[i]);
	for (size_t i = 0; i < NF_ARRAY_LEN(unwanted); i++)
		want_not(conn, unwanted[i]);
	if (fs->cache == FS_CACHE_BACK && !want(conn, FUSE_CAP_WRITEBACK_CACHE))
		nf_warn("this kernel's FUSE cannot gather writes: --cache=back works as --cache=through");

	conn->max_write = NF_MIN(conn->max_write, FS_MAX_IO_BYTES);
	conn->max_background = FS_MAX_BACKGROUND;
	conn->congestion_threshold = FS_MAX_BACKGROUND * 3 / 4;
	conn->time_gran = 1;
#ifdef FS_HAVE_CONN_NO_INTERRUPT
	conn->no_interrupt = 1; /* no handler waits for anything an interrupt could end */
#endif

	pthread_rwlock_wrlock(&fs->session_lock);
	fs->protocol_major = conn->proto_major;
	fs->protocol_minor = conn->proto_minor;
	fs->max_write = conn->max_write;
#ifdef FUSE_CAP_HANDLE_KILLPRIV_V2
	fs->killpriv_v2 = want(conn, FUSE_CAP_HANDLE_KILLPRIV_V2);
#endif
	fs->connected = true;
	pthread_rwlock_unlock(&fs->session_lock);
	fs_control_connected(fs->control);
}
