/* What the commands of neonfs-nbd share. */
#ifndef NEONFS_NBD_H
#define NEONFS_NBD_H

#include <limits.h>
#include <sys/un.h>

#include "tools/lib/cli.h"

int run_serve(const struct tl_call *call);
int run_stop(const struct tl_call *call);
int run_attach(const struct tl_call *call);
int run_detach(const struct tl_call *call);

/* Where a served volume leaves its traces: NAME.sock and NAME.pid in a directory of the user's own, NAME made of the volume's. */
struct nbd_place {
	char socket[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	char pid_file[PATH_MAX];
};
/* Makes the directory. An exit code, after the error was printed. */
NF_MUST_CHECK int nbd_place_of(const char *volume, struct nbd_place *ret_place);

/* Run a program found in PATH, with what it prints on stdout in `ret_output` (may be NULL), without its last newline. Returns its exit code; -errno when
 * it could not be run; 128 + the signal that ended it. */
NF_MUST_CHECK int nbd_run(char *const words[], char *ret_output, size_t size);

/* Serve in the background on a Unix socket. TL_OK, or an exit code after the error was printed. */
NF_MUST_CHECK int nbd_serve(const struct tl_call *call, const char *store, const char *socket, const char *pid_file, bool read_only);
/* End the nbdkit of a pid file, and wait for it. */
NF_MUST_CHECK int nbd_stop(const char *pid_file);

#endif
