/* Fixture of the tests of redo layers: as api.h has it, with the hook of layers.h installed. */
#ifndef LAYER_CASE_H
#define LAYER_CASE_H

#include "layers.h"

extern struct layers layer_hook; /* of the one test that runs */

int layer_set_up(void **state);
int layer_tear_down(void **state);
#define layer_test(function) cmocka_unit_test_setup_teardown(function, layer_set_up, layer_tear_down)

/* As api_reopen and api_crash, and the hook is installed again. */
void layer_reopen(struct api *api);
void layer_crash(struct api *api);
void layer_collect(struct api *api);

/* A file of `blocks` blocks, all bytes `byte`. */
struct bd_inode *layer_make_file(struct bd_inode *dir, const char *name, int byte, unsigned blocks);
struct bd_inode *layer_file_of(struct api *api, struct bd_view view, const char *name);
struct bd_branch_info layer_child_of(struct api *api, struct bd_branch_id parent, const char *name);

void layer_expect_block(struct bd_inode *file, uint32_t block, int byte);
/* Blocks [0, count): every second one through a layer that adds `add`. */
void layer_expect_through(struct bd_inode *file, unsigned count, int byte, int add);
/* What a view shows of a file, read twice and by single blocks and at once. */
void layer_check_view(struct api *api, struct bd_view view, const char *name, unsigned count, int byte, int add);
void layer_check_plain(struct api *api, struct bd_view view, const char *name, unsigned count, int byte);

#endif
