/* Fixture of the API tests: an open store on memory with one branch, "main". */
#ifndef API_H
#define API_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <sys/stat.h>

#include "blockdev/bd.h"

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1) << 20)
#define BLOCK ((size_t)NF_BLOCK_SIZE)

struct api {
	char path[256];
	struct nf_io *io;
	struct nf_io *lower; /* NULL, or the memory below the fault wrapper `io` */
	struct bd_store *store;
	struct bd_branch_info main;
	struct bd_inode *root; /* of main */
};

/* cmocka set-up and tear-down of one test; *state is a struct api. Tear-down releases the root and closes the store, which
 * must succeed. */
int api_set_up(void **state);
int api_tear_down(void **state);

void api_make_dir(char path[256]);
void api_remove_dir(const char *path);
/* Open with the options of the tests; `ret_message` at least 512 bytes. */
int api_open(struct api *api, char *ret_message);
/* Release the root, close, open again, find main's root. */
void api_reopen(struct api *api);
/* The same through a power cut instead of a close. */
void api_crash(struct api *api);
/* What the disk keeps of what was not synced, by seed. */
void api_crash_as(struct api *api, uint64_t seed);

/* Release the root, close, and open again with the fault wrapper around the memory. */
void api_wrap(struct api *api);

struct bd_view api_head(struct bd_branch_id branch);
struct bd_inode *api_create(struct bd_inode *dir, const char *name, uint32_t mode);
struct bd_inode *api_lookup(struct bd_inode *dir, const char *name);
/* Of a view, which must be there. */
struct bd_inode *api_root(struct api *api, struct bd_view view);
struct bd_attr api_attr(struct bd_inode *inode);
void api_set_size(struct bd_inode *inode, uint64_t size);
/* Write `size` bytes of `byte` at `offset`. */
void api_put(struct bd_inode *inode, uint64_t offset, int byte, size_t size);
/* All `size` bytes at `offset` must be there and be `byte`. */
void api_expect(struct bd_inode *inode, uint64_t offset, int byte, size_t size);

#define api_test(function) cmocka_unit_test_setup_teardown(function, api_set_up, api_tear_down)
#define assert_ok(call) assert_int_equal((call), 0)

#endif
