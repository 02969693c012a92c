/* A preparer: the process `neonfs-wal replay --lines` that works on a branch through the mount, as its user would, for a control request.
 *
 * It is a process of its own because Postgres's bytes are foreign bytes, and because it asks the mount for files: the request's thread only
 * waits for it, and holds no lock of the store. It lives as long as the request: it is killed when the client hangs up or the daemon ends. */
#ifndef NEONFS_PREPARER_H
#define NEONFS_PREPARER_H

#include "tools/neonfs/control_call.h"

#define PREPARER_WORDS_MAX 32
#define PREPARER_LINE_MAX 16384 /* of its answers */
#define PREPARER_MESSAGE_MAX 1024

struct preparer_answer {
	json_t *result; /* when it has done its work: what it says; the caller's */
	bool is_unsupported; /* else: only Postgres can replay this WAL */
	bool is_outside; /* or: it makes a tablespace outside of the directory */
	char message[PREPARER_MESSAGE_MAX]; /* else: why, one line */
};

/* What a preparer may be given to read besides the mount: a file that it has open, and knows by this path. */
#define PREPARER_FILE_FD 3
#define PREPARER_FILE_PATH "/proc/self/fd/3"

/* Run `neonfs-wal WORDS` (NULL-terminated, at most PREPARER_WORDS_MAX), the program that lies beside the daemon's own. Its progress goes to the
 * client. `hold` (may be NULL) lets it in as long as it lives. file_fd: the file that it is given; -1 none. Returns 0: it has ended, with a result or not; -ECANCELED it was killed; -errno it could
 * not be started. */
NF_MUST_CHECK int preparer_run(struct ctl_call *call, const char *const words[], struct fs_hold *hold, int file_fd,
			       struct preparer_answer *ret_answer);

#endif
