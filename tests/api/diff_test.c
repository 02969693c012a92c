/* bd_diff: what is reported, in which order, with how many blocks. */
#include "api.h"

#include <stdio.h>
#include <stdlib.h>

/* What a diff reported, as lines "kind path blocks". */
struct report {
	char text[4096];
	unsigned count, stop_at;
};

static int note(void *arg, enum bd_diff_kind kind, const char *path, uint64_t blocks)
{
	static const char letters[] = {[BD_DIFF_ADDED] = '+', [BD_DIFF_REMOVED] = '-', [BD_DIFF_CHANGED] = '*', [BD_DIFF_META] = 'm'};
	struct report *report = arg;
	size_t at = strlen(report->text);

	snprintf(report->text + at, sizeof(report->text) - at, "%c %s %llu\n", letters[kind], path, (unsigned long long)blocks);
	return ++report->count == report->stop_at ? -EINTR : 0;
}

static void expect(struct api *api, struct bd_view a, struct bd_view b, const char *lines)
{
	struct report report = {.count = 0};

	assert_ok(bd_diff(api->store, a, b, note, &report));
	assert_string_equal(report.text, lines);
}

static struct bd_view freeze(struct api *api, const char *label)
{
	struct bd_snapshot_info info;

	assert_ok(bd_snapshot_create(api->store, api->main.id, label, &info));
	return (struct bd_view){.branch = api->main.id, .epoch = info.epoch};
}

static void put_file(struct bd_inode *dir, const char *name, int byte, size_t size)
{
	struct bd_inode *inode = api_create(dir, name, S_IFREG | 0600);

	api_put(inode, 0, byte, size);
	bd_inode_unref(inode, 1);
}

static struct bd_inode *make_link(struct bd_inode *dir, const char *name, const char *target)
{
	struct bd_create how = {.mode = S_IFLNK | 0777, .symlink_target = target};
	struct bd_inode *inode;

	assert_ok(bd_create(dir, name, &how, &inode));
	return inode;
}

static void a_view_equals_itself(void **state)
{
	struct api *api = *state;

	put_file(api->root, "file", 1, 3 * BLOCK);
	struct bd_view then = freeze(api, "then");
	expect(api, then, then, "");
	expect(api, then, api_head(api->main.id), "");
	expect(api, api_head(api->main.id), api_head(api->main.id), "");
}

static void trees_are_walked_in_order(void **state)
{
	struct api *api = *state;
	struct bd_inode *base = api_create(api->root, "base", S_IFDIR | 0700), *five = api_create(base, "5", S_IFDIR | 0700);
	struct bd_inode *gone = api_create(api->root, "gone", S_IFDIR | 0700), *fresh;

	put_file(five, "1259", 1, 2 * BLOCK);
	put_file(gone, "a", 1, BLOCK);
	put_file(api->root, "z", 1, BLOCK);
	struct bd_view then = freeze(api, "then");
	struct bd_inode *file = api_lookup(five, "1259");
	api_put(file, BLOCK, 2, BLOCK);
	assert_ok(bd_unlink(gone, "a"));
	assert_ok(bd_rmdir(api->root, "gone"));
	fresh = api_create(base, "6", S_IFDIR | 0700);
	put_file(fresh, "new", 1, 3 * BLOCK);
	assert_ok(bd_rename(api->root, "z", api->root, "y", 0));
	expect(api, then, api_head(api->main.id),
	       "* base/5/1259 1\n+ base/6 0\n+ base/6/new 3\n- gone 0\n- gone/a 1\n+ y 1\n- z 1\n");
	/* The other way around. */
	expect(api, api_head(api->main.id), then,
	       "* base/5/1259 1\n- base/6 0\n- base/6/new 3\n+ gone 0\n+ gone/a 1\n- y 1\n+ z 1\n");
	bd_inode_unref(file, 1);
	bd_inode_unref(fresh, 1);
	bd_inode_unref(gone, 1);
	bd_inode_unref(five, 1);
	bd_inode_unref(base, 1);
}

static void content_is_what_counts(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "zeros", S_IFREG | 0600), *grown = api_create(api->root, "grown", S_IFREG | 0600);

	api_set_size(file, 4 * BLOCK);
	put_file(api->root, "same", 7, 5 * BLOCK);
	put_file(api->root, "other", 7, 5 * BLOCK);
	struct bd_view then = freeze(api, "then");
	/* Written zeros read as the hole did; the file that was made again has the old bytes. */
	api_put(file, 0, 0, 4 * BLOCK);
	assert_ok(bd_unlink(api->root, "same"));
	put_file(api->root, "same", 7, 5 * BLOCK);
	assert_ok(bd_unlink(api->root, "other"));
	put_file(api->root, "other", 8, 5 * BLOCK);
	/* A size is content, even without blocks. */
	api_set_size(grown, 100 * BLOCK);
	expect(api, then, api_head(api->main.id), "* grown 0\n* other 5\n");
	/* Behind the end nothing counts. */
	api_set_size(file, BLOCK);
	expect(api, then, api_head(api->main.id), "* grown 0\n* other 5\n* zeros 0\n");
	bd_inode_unref(grown, 1);
	bd_inode_unref(file, 1);
}

static void blocks_are_found_in_large_sparse_files(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);

	for (unsigned i = 0; i < 20; i++)
		api_put(file, i * 700 * BLOCK, 1, BLOCK);
	assert_ok(bd_fsync(file, false));
	struct bd_view then = freeze(api, "then");
	api_put(file, 3 * 700 * BLOCK, 2, BLOCK);
	api_put(file, 40000 * BLOCK, 2, 2 * BLOCK);
	assert_ok(bd_fallocate(file, BD_FALLOC_PUNCH_HOLE | BD_FALLOC_KEEP_SIZE, 7 * 700 * BLOCK, BLOCK));
	expect(api, then, api_head(api->main.id), "* file 4\n");
	bd_inode_unref(file, 1);
	api_reopen(api);
	expect(api, then, api_head(api->main.id), "* file 4\n");
}

static void metadata_is_told_apart(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "xattr", S_IFREG | 0600), *dir = api_create(api->root, "dir", S_IFDIR | 0700);
	struct bd_attr attr = {.mode = 0755, .mtime_ns = 1, .uid = 77}, after;

	assert_ok(bd_xattr_set(file, "user.a", "1", 1, 0));
	assert_ok(bd_xattr_set(file, "user.b", "2", 1, 0));
	bd_inode_unref(make_link(api->root, "link", "old"), 1);
	put_file(api->root, "times", 1, BLOCK);
	put_file(api->root, "type", 1, BLOCK);
	struct bd_view then = freeze(api, "then");
	assert_ok(bd_xattr_remove(file, "user.b"));
	assert_ok(bd_xattr_set(file, "user.c", "2", 1, 0));
	assert_ok(bd_setattr(dir, BD_SET_MODE, &attr, &after));
	assert_ok(bd_unlink(api->root, "link"));
	bd_inode_unref(make_link(api->root, "link", "new"), 1);
	assert_ok(bd_unlink(api->root, "type"));
	struct bd_inode *type = api_create(api->root, "type", S_IFDIR | 0700), *times = api_lookup(api->root, "times");
	put_file(type, "in", 1, BLOCK);
	assert_ok(bd_setattr(times, BD_SET_MTIME, &attr, &after));
	expect(api, then, api_head(api->main.id), "m dir 0\nm link 0\n- type 1\n+ type 0\n+ type/in 1\nm xattr 0\n");
	assert_ok(bd_setattr(times, BD_SET_UID, &attr, &after));
	expect(api, then, api_head(api->main.id),
	       "m dir 0\nm link 0\nm times 0\n- type 1\n+ type 0\n+ type/in 1\nm xattr 0\n");
	bd_inode_unref(times, 1);
	bd_inode_unref(type, 1);
	bd_inode_unref(dir, 1);
	bd_inode_unref(file, 1);
}

static void branches_and_clones_are_compared(void **state)
{
	struct api *api = *state;
	struct bd_branch_info left, right, other;
	uint64_t pause;

	put_file(api->root, "file", 1, 10 * BLOCK);
	assert_ok(bd_branch_create(api->store, "left", api_head(api->main.id), &left, &pause));
	assert_ok(bd_branch_create(api->store, "right", api_head(api->main.id), &right, &pause));
	assert_ok(bd_branch_create_empty(api->store, "other", 10, 20, &other));
	expect(api, api_head(left.id), api_head(right.id), "");
	struct bd_inode *root = api_root(api, api_head(left.id)), *file = api_lookup(root, "file");
	api_put(file, 2 * BLOCK, 3, 3 * BLOCK);
	expect(api, api_head(left.id), api_head(right.id), "* file 3\n");
	expect(api, api_head(right.id), api_head(api->main.id), "");
	/* A clone has the same blocks. */
	struct bd_inode *other_root = api_root(api, api_head(other.id)), *copy = api_create(other_root, "file", S_IFREG | 0600);
	assert_int_equal(bd_clone_range(file, 0, copy, 0, 10 * BLOCK), 10 * BLOCK);
	expect(api, api_head(left.id), api_head(other.id), "");
	expect(api, api_head(api->main.id), api_head(other.id), "* file 3\n");
	bd_inode_unref(copy, 1);
	bd_inode_unref(other_root, 1);
	bd_inode_unref(file, 1);
	bd_inode_unref(root, 1);
}

static void it_can_be_ended_and_asked_wrongly(void **state)
{
	struct api *api = *state;
	struct report report = {.stop_at = 2};
	struct bd_view then = freeze(api, "then");

	for (char name[2] = "a"; name[0] < 'f'; name[0]++)
		put_file(api->root, name, 1, BLOCK);
	assert_int_equal(bd_diff(api->store, then, api_head(api->main.id), note, &report), -EINTR);
	assert_string_equal(report.text, "+ a 1\n+ b 1\n");
	assert_int_equal(bd_diff(api->store, then, api_head((struct bd_branch_id){4711}), note, &report), -ENOENT);
	assert_int_equal(bd_diff(api->store, api_head((struct bd_branch_id){4711}), then, note, &report), -ENOENT);
}

/* Block numbers, as text. */
static int note_block(void *arg, uint32_t block)
{
	struct report *report = arg;
	size_t at = strlen(report->text);

	snprintf(report->text + at, sizeof(report->text) - at, "%u ", block);
	return ++report->count == report->stop_at ? -EINTR : 0;
}

static void expect_blocks(struct api *api, struct bd_inode *a, struct bd_inode *b, const char *text)
{
	struct report report = {.count = 0};

	assert_ok(bd_diff_blocks(api->store, a, b, note_block, &report));
	assert_string_equal(report.text, text);
}

static void blocks_of_two_files_are_named(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);

	api_put(file, 0, 1, 4 * BLOCK);
	api_put(file, 700 * BLOCK, 1, BLOCK);
	struct bd_view then = freeze(api, "then");
	struct bd_inode *root = api_root(api, then), *old = api_lookup(root, "file");
	expect_blocks(api, old, file, "");
	api_put(file, BLOCK, 2, 2 * BLOCK);
	api_put(file, 3 * BLOCK, 1, BLOCK); /* the same bytes */
	api_put(file, 700 * BLOCK, 3, 2 * BLOCK);
	api_put(file, 800 * BLOCK, 0, BLOCK); /* zeros where there was nothing */
	expect_blocks(api, old, file, "1 2 700 701 ");
	expect_blocks(api, file, old, "1 2 700 701 ");
	expect_blocks(api, old, NULL, "0 1 2 3 700 ");
	expect_blocks(api, NULL, old, "0 1 2 3 700 ");
	expect_blocks(api, NULL, NULL, "");
	struct report report = {.stop_at = 3};
	assert_int_equal(bd_diff_blocks(api->store, old, file, note_block, &report), -EINTR);
	assert_string_equal(report.text, "1 2 700 ");
	bd_inode_unref(old, 1);
	bd_inode_unref(root, 1);
	bd_inode_unref(file, 1);
}

struct deleting {
	struct report report; /* first */
	struct api *api;
};

static int delete_middle(void *arg, enum bd_diff_kind kind, const char *path, uint64_t blocks)
{
	struct deleting *deleting = arg;
	struct api *api = deleting->api;

	if (deleting->report.count == 0) {
		assert_ok(bd_snapshot_delete(api->store, api->main.id, "middle"));
		assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	}
	return note(&deleting->report, kind, path, blocks);
}

static void a_snapshot_deleted_meanwhile_is_compared_to_the_end(void **state)
{
	struct deleting deleting = {.api = *state};
	struct api *api = deleting.api;

	put_file(api->root, "a", 1, BLOCK);
	struct bd_inode *file = api_create(api->root, "b", S_IFREG | 0600);
	api_put(file, 0, 1, BLOCK);
	freeze(api, "first");
	api_put(file, 0, 2, BLOCK);
	struct bd_view middle = freeze(api, "middle");
	api_put(file, 0, 1, BLOCK);
	bd_inode_unref(file, 1);
	assert_ok(bd_unlink(api->root, "a"));
	assert_ok(bd_diff(api->store, middle, api_head(api->main.id), delete_middle, &deleting));
	assert_string_equal(deleting.report.text, "- a 1\n* b 1\n");
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	assert_int_equal(bd_diff(api->store, middle, api_head(api->main.id), note, &deleting.report), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		api_test(a_view_equals_itself),
		api_test(trees_are_walked_in_order),
		api_test(content_is_what_counts),
		api_test(blocks_are_found_in_large_sparse_files),
		api_test(metadata_is_told_apart),
		api_test(branches_and_clones_are_compared),
		api_test(it_can_be_ended_and_asked_wrongly),
		api_test(blocks_of_two_files_are_named),
		api_test(a_snapshot_deleted_meanwhile_is_compared_to_the_end),
	};

	return cmocka_run_group_tests_name("api_diff", tests, NULL, NULL);
}
