/* Branches that are made without some names of their parent: what they show, what the parent keeps, what a crash leaves, what memory and disk agree on. */
#include "api.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static const char *const both[] = {"pid", "opts"};

static void put_file(struct bd_inode *dir, const char *name, int byte)
{
	struct bd_inode *file = api_create(dir, name, S_IFREG | 0600);

	api_put(file, 0, byte, 2 * BLOCK);
	bd_inode_unref(file, 1);
}

static struct bd_branch_info create_without(struct api *api, const char *name, struct bd_view from, const char *const *without,
					    unsigned count)
{
	struct bd_branch_info child;

	assert_ok(bd_branch_create_without(api->store, name, from, without, count, &child, NULL));
	return child;
}

/* The names in a view's root directory must be these, in any order; each file holds two blocks of its name's first byte. */
static void expect_names(struct api *api, struct bd_view view, const char *const *names, size_t count)
{
	struct bd_inode *root = api_root(api, view), *file;
	struct bd_listing *listing;

	assert_ok(bd_readdir(root, &listing));
	assert_int_equal(listing->count, count);
	bd_listing_free(listing);
	for (size_t i = 0; i < count; i++) {
		file = api_lookup(root, names[i]);
		if (S_ISREG(api_attr(file).mode))
			api_expect(file, 0, names[i][0], 2 * BLOCK);
		bd_inode_unref(file, 1);
	}
	bd_inode_unref(root, 1);
}

static struct bd_file_id file_id(struct bd_inode *dir, const char *name)
{
	struct bd_inode *file = api_lookup(dir, name);
	struct bd_file_id id = api_attr(file).file;

	bd_inode_unref(file, 1);
	return id;
}

static void expect_gone(struct api *api, struct bd_view view, struct bd_file_id file)
{
	struct bd_inode *inode;

	assert_int_equal(bd_inode_by_id(api->store, view, file, &inode), -ENOENT);
}

static void expect_sound(struct api *api)
{
	struct bd_scrub_result scrub;

	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	assert_ok(bd_store_scrub(api->store, NULL, NULL, NULL, &scrub));
	assert_int_equal(scrub.bad_blocks + scrub.bad_keys + scrub.orphan_keys, 0);
}

static void names_are_left_out_for_good(void **state)
{
	static const char *const of_parent[] = {"keep", "opts", "pid"}, *const of_child[] = {"keep"};
	struct api *api = *state;
	struct bd_branch_info child, grandchild;

	put_file(api->root, "pid", 'p');
	put_file(api->root, "opts", 'o');
	put_file(api->root, "keep", 'k');
	struct bd_file_id pid = file_id(api->root, "pid"), opts = file_id(api->root, "opts");
	child = create_without(api, "child", api_head(api->main.id), both, 2);
	expect_names(api, api_head(child.id), of_child, 1);
	expect_gone(api, api_head(child.id), pid);
	expect_gone(api, api_head(child.id), opts);
	expect_names(api, api_head(api->main.id), of_parent, 3);
	api_crash(api);
	expect_gone(api, api_head(child.id), pid);
	expect_gone(api, api_head(child.id), opts);
	expect_names(api, api_head(child.id), of_child, 1);
	expect_names(api, api_head(api->main.id), of_parent, 3);
	grandchild = create_without(api, "grandchild", api_head(child.id), both, 2);
	expect_names(api, api_head(grandchild.id), of_child, 1);
	expect_sound(api);
	api_reopen(api);
	expect_names(api, api_head(grandchild.id), of_child, 1);
	/* The names are free for files of the branch's own. */
	struct bd_inode *root = api_root(api, api_head(child.id));
	put_file(root, "pid", 'p');
	bd_inode_unref(root, 1);
	expect_names(api, api_head(child.id), (const char *const[]){"keep", "pid"}, 2);
	expect_sound(api);
}

static void what_is_not_there_and_directories_are_passed_over(void **state)
{
	static const char *const without[] = {"absent", "opts", "pid"}, *const of_child[] = {"keep", "opts"};
	struct api *api = *state;

	put_file(api->root, "keep", 'k');
	put_file(api->root, "pid", 'p');
	bd_inode_unref(api_create(api->root, "opts", S_IFDIR | 0700), 1);
	struct bd_branch_info child = create_without(api, "child", api_head(api->main.id), without, 3);
	expect_names(api, api_head(child.id), of_child, 2);
	expect_sound(api);
}

static void too_many_names_are_refused(void **state)
{
	struct api *api = *state;
	const char *many[BD_WITHOUT_MAX + 1];
	struct bd_branch_info info;

	for (size_t i = 0; i < NF_ARRAY_LEN(many); i++)
		many[i] = "pid";
	assert_int_equal(
		bd_branch_create_without(api->store, "child", api_head(api->main.id), many, NF_ARRAY_LEN(many), &info, NULL),
		-E2BIG);
	assert_int_equal(bd_branch_find(api->store, "child", &info), -ENOENT);
}

/* A file with another name keeps it, and counts right; one that loses all its names is gone. */
static void links_are_counted(void **state)
{
	static const char *const of_child[] = {"keep"};
	struct api *api = *state;
	struct bd_inode *file;

	put_file(api->root, "keep", 'k');
	file = api_lookup(api->root, "keep");
	assert_ok(bd_link(file, api->root, "pid"));
	bd_inode_unref(file, 1);
	put_file(api->root, "opts", 'o');
	struct bd_branch_info child = create_without(api, "child", api_head(api->main.id), both, 2);
	expect_names(api, api_head(child.id), of_child, 1);
	struct bd_inode *root = api_root(api, api_head(child.id));
	file = api_lookup(root, "keep");
	assert_int_equal(api_attr(file).nlink, 1);
	struct bd_file_id kept = api_attr(file).file;
	bd_inode_unref(file, 1);
	bd_inode_unref(root, 1);
	assert_ok(bd_inode_by_id(api->store, api_head(api->main.id), kept, &file));
	assert_int_equal(api_attr(file).nlink, 2);
	bd_inode_unref(file, 1);

	struct bd_branch_info bare = create_without(api, "bare", api_head(api->main.id), (const char *const[]){"pid", "keep"}, 2);
	expect_names(api, api_head(bare.id), (const char *const[]){"opts"}, 1);
	expect_gone(api, api_head(bare.id), kept);
	expect_sound(api);
	api_crash(api);
	expect_names(api, api_head(child.id), of_child, 1);
	expect_names(api, api_head(bare.id), (const char *const[]){"opts"}, 1);
}

/* What a snapshot shows decides, whatever the head has become. */
static void a_snapshot_has_names_of_its_own(void **state)
{
	struct api *api = *state;
	struct bd_snapshot_info snapshot;

	put_file(api->root, "pid", 'p');
	put_file(api->root, "keep", 'k');
	assert_ok(bd_snapshot_create(api->store, api->main.id, "s", &snapshot));
	assert_ok(bd_unlink(api->root, "pid"));
	put_file(api->root, "opts", 'o');
	struct bd_branch_info child = create_without(api, "child", (struct bd_view){api->main.id, snapshot.epoch}, both, 2);
	expect_names(api, api_head(child.id), (const char *const[]){"keep"}, 1);
	child = create_without(api, "later", api_head(api->main.id), both, 2);
	expect_names(api, api_head(child.id), (const char *const[]){"keep"}, 1);
	expect_sound(api);
}

/* ---- names that change while branches are made */

#define RACING_BRANCHES 200u

struct racer {
	struct api *api;
	const char *name;
	atomic_bool stop;
	int error;
};

/* A name comes and goes, for a new file each time. */
static void *come_and_go(void *arg)
{
	struct racer *racer = arg;
	const struct bd_create how = {.mode = S_IFREG | 0600};

	while (!atomic_load(&racer->stop) && racer->error == 0) {
		struct bd_inode *file;
		racer->error = bd_create(racer->api->root, racer->name, &how, &file);
		if (racer->error == 0) {
			bd_inode_unref(file, 1);
			racer->error = bd_unlink(racer->api->root, racer->name);
		}
	}
	return NULL;
}

static void names_may_change_meanwhile(void **state)
{
	struct api *api = *state;
	struct racer racers[] = {{.api = api, .name = both[0]}, {.api = api, .name = both[1]}};
	pthread_t threads[NF_ARRAY_LEN(racers)];

	put_file(api->root, "keep", 'k');
	for (size_t i = 0; i < NF_ARRAY_LEN(racers); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &racers[i]), 0);
	for (unsigned i = 0; i < RACING_BRANCHES; i++) {
		char name[32];
		snprintf(name, sizeof(name), "child%u", i);
		struct bd_branch_info child = create_without(api, name, api_head(api->main.id), both, 2);
		expect_names(api, api_head(child.id), (const char *const[]){"keep"}, 1);
	}
	for (size_t i = 0; i < NF_ARRAY_LEN(racers); i++) {
		atomic_store(&racers[i].stop, true);
		pthread_join(threads[i], NULL);
		assert_int_equal(racers[i].error, 0);
	}
	expect_sound(api);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		api_test(names_are_left_out_for_good),     api_test(what_is_not_there_and_directories_are_passed_over),
		api_test(too_many_names_are_refused),      api_test(links_are_counted),
		api_test(a_snapshot_has_names_of_its_own), api_test(names_may_change_meanwhile),
	};

	return cmocka_run_group_tests_name("api_without", tests, NULL, NULL);
}
