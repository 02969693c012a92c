/* Attaching: a store made from objects shows what the one that they came from shows; what is missing or damaged is named, and leaves nothing behind. The objects are
 * made by hand (objects.h), so that each can be wrong. */
#include "api.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blockdev/tier/attach.h"
#include "blockdev/tier/lease.h"
#include "blockdev/tier/status.h"
#include "objects.h"

/* ---- a store with everything in it */

struct world {
	char path[256]; /* of the store */
	struct objects objects;
	char into[300], parent[256]; /* where it is attached */
	char message[1024];
};

static struct bd_store *open_at(const char *path, bool read_only)
{
	const struct bd_open_options options = {.memory_limit_bytes = 64 * MIB, .no_background = true, .read_only = read_only};
	struct bd_store *store;
	char message[512] = "";

	if (bd_store_open(path, &options, &store, message, sizeof(message)) != 0)
		fail_msg("%s: open: %s", path, message);
	return store;
}

static struct bd_inode *head_root(struct bd_store *store, const char *name)
{
	struct bd_branch_info info;
	struct bd_inode *root;

	assert_ok(bd_branch_find(store, name, &info));
	assert_ok(bd_root(store, api_head(info.id), &root));
	return root;
}

/* Bytes that a compressor does not make vanish, another pattern for each seed. */
static void put_noise(struct bd_inode *inode, uint64_t offset, size_t size, uint64_t seed, unsigned flags)
{
	uint64_t *words = malloc(size);

	assert_non_null(words);
	for (size_t i = 0; i < size / sizeof(*words); i++)
		words[i] = i % 4 == 0 ? (seed + i) * UINT64_C(0x9E3779B97F4A7C15) : seed;
	assert_ok(bd_write(inode, offset, words, size, flags));
	free(words);
}

static void fill(struct bd_store *store, const char *branch, const char *name, uint64_t blocks, uint64_t seed)
{
	struct bd_inode *root = head_root(store, branch), *inode;

	if (bd_lookup(root, name, &inode) != 0)
		inode = api_create(root, name, S_IFREG | 0640);
	for (uint64_t i = 0; i < blocks; i += 64)
		put_noise(inode, i * BLOCK, NF_MIN(blocks - i, UINT64_C(64)) * BLOCK, seed + i, 0);
	assert_ok(bd_fsync(inode, false));
	bd_inode_unref(inode, 1);
	bd_inode_unref(root, 1);
}

/* Small synced writes: their bytes are in the ring. */
static void put_inline(struct bd_store *store, const char *branch, const char *name, unsigned count, uint64_t seed)
{
	struct bd_inode *root = head_root(store, branch), *inode;

	if (bd_lookup(root, name, &inode) != 0)
		inode = api_create(root, name, S_IFREG | 0640);
	for (unsigned i = 0; i < count; i++)
		put_noise(inode, i * BLOCK, BLOCK, seed + i, BD_WRITE_SYNC);
	bd_inode_unref(inode, 1);
	bd_inode_unref(root, 1);
}

static void clone(struct bd_store *store, const char *from_branch, const char *to_branch, const char *name)
{
	struct bd_inode *from_root = head_root(store, from_branch), *to_root = head_root(store, to_branch), *to;
	struct bd_inode *from = api_lookup(from_root, "data");

	to = api_create(to_root, name, S_IFREG | 0600);
	assert_int_equal(bd_clone_range(from, 0, to, 0, 100 * BLOCK), 100 * BLOCK);
	assert_ok(bd_fsync(to, false));
	bd_inode_unref(to, 1);
	bd_inode_unref(from, 1);
	bd_inode_unref(to_root, 1);
	bd_inode_unref(from_root, 1);
}

static void branch(struct bd_store *store, const char *from, const char *name)
{
	struct bd_branch_info info, made;

	assert_ok(bd_branch_find(store, from, &info));
	assert_ok(bd_branch_create(store, name, api_head(info.id), &made, NULL));
}

static void snapshot(struct bd_store *store, const char *name, const char *label)
{
	struct bd_branch_info info;
	struct bd_snapshot_info made;

	assert_ok(bd_branch_find(store, name, &info));
	assert_ok(bd_snapshot_create(store, info.id, label, &made));
}

static void names(struct bd_store *store, const char *name)
{
	struct bd_inode *root = head_root(store, name), *dir, *inode;
	struct bd_create link = {.mode = S_IFLNK | 0777, .symlink_target = "../data"};

	dir = api_create(root, "directory", S_IFDIR | 0750);
	assert_ok(bd_create(dir, "link", &link, &inode));
	bd_inode_unref(inode, 1);
	inode = api_create(dir, "file", S_IFREG | 0600);
	assert_ok(bd_xattr_set(inode, "user.colour", "blue", 4, 0));
	assert_ok(bd_link(inode, root, "hard"));
	api_put(inode, 3 * BLOCK + 17, 'q', 5);
	bd_inode_unref(inode, 1);
	assert_ok(bd_fsync(dir, false));
	bd_inode_unref(dir, 1);
	bd_inode_unref(root, 1);
}

/* Each opening seals what was open: so there are extents of all kinds, none of them large. */
static struct bd_store *again(struct bd_store *store, const char *path)
{
	assert_ok(bd_store_close(store));
	return open_at(path, false);
}

static void make_world(struct world *world, const struct objects_how *how)
{
	struct bd_branch_info info;
	struct bd_inode *root;

	*world = (struct world){0};
	api_make_dir(world->path);
	api_make_dir(world->parent);
	snprintf(world->into, sizeof(world->into), "%s/new", world->parent);
	assert_ok(bd_store_format(world->path, &(struct bd_format_options){.log_bytes = 16 * MIB}));
	struct bd_store *store = open_at(world->path, false);
	assert_ok(bd_branch_create_empty(store, "main", 10, 20, &info));
	fill(store, "main", "data", 700, 1);
	names(store, "main");
	store = again(store, world->path);
	snapshot(store, "main", "first");
	fill(store, "main", "data", 300, 2);
	branch(store, "main", "dev");
	store = again(store, world->path);
	fill(store, "dev", "data", 200, 3);
	clone(store, "main", "dev", "shared");
	put_inline(store, "main", "wal", 40, 4);
	snapshot(store, "dev", "second");
	objects_capture(&world->objects, store, world->path);
	/* What only pieces have. */
	put_inline(store, "main", "wal", 20, 5);
	fill(store, "main", "late", 400, 6);
	fill(store, "dev", "data", 100, 7);
	clone(store, "dev", "main", "shared later");
	branch(store, "dev", "third");
	put_inline(store, "third", "wal", 30, 8);
	snapshot(store, "main", "last");
	fill(store, "main", "data", 50, 9);
	root = head_root(store, "dev");
	assert_ok(bd_unlink(root, "shared"));
	assert_ok(bd_fsync(root, false));
	bd_inode_unref(root, 1);
	assert_ok(bd_store_sync(store));
	bd_store_abandon(store);
	objects_put(&world->objects, world->path, how);
}

static void free_world(struct world *world)
{
	objects_free(&world->objects);
	api_remove_dir(world->path);
	api_remove_dir(world->parent);
}

/* ---- comparison */

static void same_bytes(struct bd_inode *a, struct bd_inode *b, const char *path)
{
	const size_t step = MIB;
	uint8_t *x = malloc(step), *y = malloc(step);

	assert_true(x != NULL && y != NULL);
	for (uint64_t at = 0;; at += step) {
		ssize_t got = bd_read(a, at, x, step);
		if (got < 0 || bd_read(b, at, y, step) != got)
			fail_msg("%s at %llu: %zd", path, (unsigned long long)at, got);
		if (memcmp(x, y, (size_t)got) != 0)
			fail_msg("%s: bytes behind %llu differ", path, (unsigned long long)at);
		if (got < (ssize_t)step)
			break;
	}
	free(x);
	free(y);
}

static void same_tree(struct bd_inode *a, struct bd_inode *b, const char *path);

static void same_inode(struct bd_inode *a, struct bd_inode *b, const char *path)
{
	struct bd_attr x = api_attr(a), y = api_attr(b);
	char names_a[1000], names_b[1000], target_a[BD_SYMLINK_MAX + 1], target_b[BD_SYMLINK_MAX + 1];

	if (memcmp(&x, &y, sizeof(x)) != 0)
		fail_msg("%s: attributes differ", path);
	ssize_t size = bd_xattr_list(a, names_a, sizeof(names_a));
	assert_int_equal(bd_xattr_list(b, names_b, sizeof(names_b)), size);
	assert_true(size >= 0);
	assert_memory_equal(names_a, names_b, (size_t)size);
	if (S_ISDIR(x.mode)) {
		same_tree(a, b, path);
	} else if (S_ISREG(x.mode)) {
		same_bytes(a, b, path);
	} else if (S_ISLNK(x.mode)) {
		assert_ok(bd_readlink(a, target_a));
		assert_ok(bd_readlink(b, target_b));
		assert_string_equal(target_a, target_b);
	}
}

static void same_tree(struct bd_inode *a, struct bd_inode *b, const char *path)
{
	struct bd_listing *x, *y;
	char name[1024];

	assert_ok(bd_readdir(a, &x));
	assert_ok(bd_readdir(b, &y));
	assert_int_equal(x->count, y->count);
	for (size_t i = 0; i < x->count; i++) {
		struct bd_inode *child_a, *child_b;
		snprintf(name, sizeof(name), "%.700s/%s", path, x->entries[i].name);
		if (strcmp(x->entries[i].name, y->entries[i].name) != 0)
			fail_msg("%s is %s in the other", name, y->entries[i].name);
		child_a = api_lookup(a, x->entries[i].name);
		child_b = api_lookup(b, y->entries[i].name);
		same_inode(child_a, child_b, name);
		bd_inode_unref(child_a, 1);
		bd_inode_unref(child_b, 1);
	}
	bd_listing_free(x);
	bd_listing_free(y);
}

static void same_view(struct bd_store *a, struct bd_store *b, struct bd_view view, const char *name)
{
	struct bd_inode *root_a, *root_b;

	assert_ok(bd_root(a, view, &root_a));
	assert_ok(bd_root(b, view, &root_b));
	same_inode(root_a, root_b, name);
	bd_inode_unref(root_a, 1);
	bd_inode_unref(root_b, 1);
}

static void same_branch(struct bd_store *a, struct bd_store *b, const struct bd_branch_info *info)
{
	struct bd_snapshot_info *x, *y;
	size_t count_a, count_b;
	char name[200];

	same_view(a, b, api_head(info->id), info->name);
	assert_ok(bd_snapshot_list(a, info->id, &x, &count_a));
	assert_ok(bd_snapshot_list(b, info->id, &y, &count_b));
	assert_int_equal(count_a, count_b);
	for (size_t i = 0; i < count_a; i++) {
		assert_string_equal(x[i].label, y[i].label);
		assert_int_equal(x[i].created_ns, y[i].created_ns);
		snprintf(name, sizeof(name), "%s@%s", info->name, x[i].label);
		same_view(a, b, (struct bd_view){.branch = info->id, .epoch = x[i].epoch}, name);
	}
	free(x);
	free(y);
}

static void is_sound(struct bd_store *store)
{
	struct bd_scrub_result result;

	assert_ok(bd_store_scrub(store, NULL, NULL, NULL, &result));
	assert_int_equal(result.bad_blocks + result.bad_keys + result.orphan_keys, 0);
}

static void same_store(struct bd_store *a, struct bd_store *b, unsigned branches)
{
	struct bd_branch_info *x, *y;
	size_t count_a, count_b;

	assert_ok(bd_branch_list(a, &x, &count_a));
	assert_ok(bd_branch_list(b, &y, &count_b));
	assert_int_equal(count_a, branches);
	assert_int_equal(count_b, branches);
	for (size_t i = 0; i < count_a; i++) {
		assert_string_equal(x[i].name, y[i].name);
		assert_int_equal(x[i].id.v, y[i].id.v);
		same_branch(a, b, &x[i]);
	}
	free(x);
	free(y);
	is_sound(b);
}

/* ---- */

static int attach(struct world *world, const char *into, bool read_only, bool take_over, struct bd_attach_result *ret_result)
{
	struct bd_tier_config config = {.lease_s = 1, .read_only = read_only, .parallel = 4};

	snprintf(config.url, sizeof(config.url), "%s", world->objects.url);
	world->message[0] = '\0';
	return bd_attach(into, &config, &(struct bd_attach_options){.take_over = take_over}, ret_result, world->message,
			 sizeof(world->message));
}

static void attach_and_compare(const struct objects_how *how)
{
	struct world world;
	struct bd_attach_result result;
	struct stat st;

	make_world(&world, how);
	assert_true(world.objects.parts > 0 && world.objects.pieces > 0 && world.objects.blocks > 0);
	if (attach(&world, world.into, false, false, &result) != 0)
		fail_msg("%s", world.message);
	assert_ok(stat(world.into, &st));
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(result.generation, 3);
	assert_int_equal(result.manifest, 17);
	struct bd_store *old = open_at(world.path, false), *fresh = open_at(world.into, false);
	same_store(old, fresh, 3);
	/* And it is one to work with. */
	fill(fresh, "third", "new", 100, 11);
	put_inline(fresh, "main", "wal", 10, 12);
	is_sound(fresh);
	assert_ok(bd_store_close(fresh));
	fresh = open_at(world.into, false);
	is_sound(fresh);
	assert_ok(bd_store_close(fresh));
	assert_ok(bd_store_close(old));
	free_world(&world);
}

static void a_store_of_parts_and_pieces(void **state)
{
	(void)state;
	attach_and_compare(&(struct objects_how){0});
	attach_and_compare(&(struct objects_how){.piece_bytes = 32768});
}

static void pieces_that_are_no_end(void **state)
{
	(void)state;
	attach_and_compare(&(struct objects_how){.piece_bytes = 65536, .split_records = true, .listed = true});
}

static void extents_that_stay_there(void **state)
{
	(void)state;
	attach_and_compare(&(struct objects_how){.there_index = 2, .piece_bytes = 65536});
}

static void extents_that_only_the_log_knows_there(void **state)
{
	(void)state;
	attach_and_compare(&(struct objects_how){.there_index = 1, .there_log = 1, .piece_bytes = 65536, .split_records = true});
}

/* The last piece is missing, or one in the middle: the state ends there, and is one that was. */
static void a_chain_ends_at_a_gap(void **state)
{
	struct world world;
	struct bd_attach_result whole, cut;
	char path[512];

	(void)state;
	make_world(&world, &(struct objects_how){.piece_bytes = 32768, .split_records = true});
	assert_ok(attach(&world, world.into, true, false, &whole));
	api_remove_dir(world.into);
	/* Keys sort as positions do. */
	struct ob_op list = {.kind = OB_LIST, .key = "log/"};
	assert_ok(ob_run(world.objects.client, &list));
	assert_true(list.list.count > 10);
	uint64_t end = whole.log_end;
	for (unsigned i = list.list.count - 1; i > list.list.count - 6; i--) {
		uint64_t from = strtoull(list.list.entries[i].key + 13, NULL, 16);
		objects_path(&world.objects, list.list.entries[i].key, path);
		assert_ok(unlink(path));
		if (attach(&world, world.into, true, false, &cut) != 0)
			fail_msg("%s", world.message);
		assert_true(cut.log_end <= from && cut.log_end <= end);
		assert_true(cut.safe_ns < whole.safe_ns);
		end = cut.log_end;
		api_remove_dir(world.into);
	}
	/* One before all of those that are left: nothing behind it counts. */
	unsigned middle = list.list.count / 2;
	objects_path(&world.objects, list.list.entries[middle].key, path);
	assert_ok(unlink(path));
	uint64_t from = strtoull(list.list.entries[middle].key + 13, NULL, 16);
	int error = attach(&world, world.into, true, false, &cut);
	if (from <= world.objects.manifest.replay)
		assert_int_equal(error, -EUCLEAN);
	else
		assert_true(error == 0 && cut.log_end <= from);
	ob_op_clear(&list);
	free_world(&world);
}

static bool is_there(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0;
}

/* It fails, names the object, and leaves no directory. */
static void expect_named(struct world *world, const char *key, const char *what)
{
	struct bd_attach_result result;
	int error = attach(world, world->into, true, false, &result);

	if (error == 0)
		fail_msg("%s of %s went unnoticed", what, key);
	if (strstr(world->message, key) == NULL && strstr(world->message, "manifest") == NULL)
		fail_msg("%s of %s: %s", what, key, world->message);
	if (is_there(world->into))
		fail_msg("%s of %s left a directory", what, key);
}

static void damage(const char *path, bool first)
{
	FILE *file = fopen(path, "r+b");

	assert_non_null(file);
	assert_ok(fseek(file, 0, SEEK_END));
	long at = first ? 0 : ftell(file) / 2;
	assert_ok(fseek(file, at, SEEK_SET));
	int byte = fgetc(file);
	assert_ok(fseek(file, at, SEEK_SET));
	fputc(byte ^ 0x10, file);
	fclose(file);
}

static void every_object_that_is_read_counts(void **state)
{
	struct world world;
	struct bd_attach_result result;

	(void)state;
	make_world(&world, &(struct objects_how){.there_log = 1, .piece_bytes = 200000, .listed = true});
	struct ob_op list = {.kind = OB_LIST, .key = ""};
	assert_ok(ob_run(world.objects.client, &list));
	for (unsigned i = 0; i < list.list.count; i++) {
		const char *key = list.list.entries[i].key;
		char path[512], aside[520], command[2048];
		objects_path(&world.objects, key, path);
		snprintf(aside, sizeof(aside), "%s/aside", world.parent);
		snprintf(command, sizeof(command), "cp %s %s", path, aside);
		assert_ok(system(command));
		assert_ok(unlink(path));
		expect_named(&world, key, "loss");
		for (unsigned first = 0; first < 2; first++) {
			snprintf(command, sizeof(command), "cp %s %s", aside, path);
			assert_ok(system(command));
			damage(path, first == 1);
			/* A mark without a checksum may be another sound one; a manifest says it then. */
			expect_named(&world, key, "damage");
		}
		snprintf(command, sizeof(command), "cp %s %s && truncate -s -1 %s", aside, path, path);
		assert_ok(system(command));
		expect_named(&world, key, "a missing byte");
		snprintf(command, sizeof(command), "cp %s %s && rm %s", aside, path, aside);
		assert_ok(system(command));
	}
	ob_op_clear(&list);
	if (attach(&world, world.into, true, false, &result) != 0)
		fail_msg("%s", world.message);
	free_world(&world);
}

static void only_into_nothing(void **state)
{
	struct world world;
	struct bd_attach_result result;
	char path[512];

	(void)state;
	make_world(&world, &(struct objects_how){0});
	snprintf(path, sizeof(path), "%s/precious", world.parent);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fclose(file);
	assert_int_equal(attach(&world, world.parent, true, false, &result), -ENOTEMPTY);
	assert_true(is_there(path));
	assert_int_equal(attach(&world, world.path, true, false, &result), -ENOTEMPTY);
	assert_int_equal(attach(&world, "/nonexistent/place/store", true, false, &result), -ENOENT);
	/* An empty one stays when it fails, and is taken when it does not. */
	assert_ok(mkdir(world.into, 0755));
	objects_path(&world.objects, "store", path);
	assert_ok(unlink(path));
	assert_int_equal(attach(&world, world.into, false, false, &result), -ENOENT);
	assert_true(is_there(world.into));
	assert_non_null(strstr(world.message, "no neonfs store"));
	assert_ok(rmdir(world.into));
	assert_ok(mkdir(world.into, 0755));
	struct ob_op list = {.kind = OB_LIST, .key = "lease/"};
	assert_ok(ob_run(world.objects.client, &list));
	assert_int_equal(list.list.count, 0);
	ob_op_clear(&list);
	free_world(&world);
}

static void count_leases(struct world *world, unsigned expected)
{
	struct ob_op list = {.kind = OB_LIST, .key = "lease/"};

	assert_ok(ob_run(world->objects.client, &list));
	assert_int_equal(list.list.count, expected);
	ob_op_clear(&list);
}

static void one_machine_at_a_time(void **state)
{
	struct world world;
	struct bd_attach_result result;
	struct bd_lease *lease;
	struct ob_client *client;
	char second[300], message[512];

	(void)state;
	make_world(&world, &(struct objects_how){0});
	snprintf(second, sizeof(second), "%s/second", world.parent);
	assert_ok(attach(&world, world.into, true, false, &result));
	count_leases(&world, 0);
	api_remove_dir(world.into);
	assert_ok(attach(&world, world.into, false, false, &result));
	count_leases(&world, 1);
	/* Given back: the next one gets it. */
	assert_ok(attach(&world, second, false, false, &result));
	count_leases(&world, 2);
	api_remove_dir(second);
	assert_ok(ob_client_open(world.objects.url, &(struct ob_options){0}, &client, message, sizeof(message)));
	const struct bd_lease_options options = {.ttl_ms = 1000, .adopt = true};
	assert_ok(bd_lease_take(client, &options, &lease, message, sizeof(message)));
	assert_ok(bd_lease_confirm(lease));
	assert_int_equal(attach(&world, second, false, false, &result), -EBUSY);
	assert_true(strlen(world.message) > 10);
	assert_false(is_there(second));
	count_leases(&world, 3);
	/* To look at it needs no lease. */
	assert_ok(attach(&world, second, true, false, &result));
	api_remove_dir(second);
	if (attach(&world, second, false, true, &result) != 0)
		fail_msg("%s", world.message);
	count_leases(&world, 4);
	assert_int_equal(bd_lease_confirm(lease), -ESTALE);
	bd_lease_close(lease, true);
	ob_client_close(client);
	free_world(&world);
}

static int give_up_at(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	unsigned *left = arg;

	(void)phase, (void)done, (void)total;
	return --*left == 0;
}

/* Ended after each step of it, it leaves nothing. */
static void given_up_anywhere(void **state)
{
	struct world world;
	struct bd_attach_result result;
	struct bd_tier_config config = {0};
	int error = -ECANCELED;
	unsigned n = 0;

	(void)state;
	make_world(&world, &(struct objects_how){.there_log = 1, .piece_bytes = 100000});
	snprintf(config.url, sizeof(config.url), "file://%s", world.objects.dir);
	config.read_only = true;
	while (error != 0) {
		unsigned left = ++n;
		error = bd_attach(world.into, &config, &(struct bd_attach_options){.progress = give_up_at, .arg = &left}, &result,
				  world.message, sizeof(world.message));
		if (error != 0) {
			assert_int_equal(error, -ECANCELED);
			assert_false(is_there(world.into));
		}
	}
	assert_true(n > world.objects.parts + world.objects.pieces);
	free_world(&world);
}

/* Files that may not become large enough: the ring, extents, tables of the index. */
static void a_disk_that_does_not_take_it(void **state)
{
	const uint64_t limits[] = {1000, 200 * KIB, MIB, 4 * MIB, 15 * MIB};
	struct world world;
	struct bd_attach_result result;
	struct rlimit usual, limit;

	(void)state;
	make_world(&world, &(struct objects_how){.there_log = 1});
	assert_ok(getrlimit(RLIMIT_FSIZE, &usual));
	signal(SIGXFSZ, SIG_IGN);
	for (unsigned i = 0; i < NF_ARRAY_LEN(limits); i++) {
		limit = (struct rlimit){.rlim_cur = limits[i], .rlim_max = usual.rlim_max};
		assert_ok(setrlimit(RLIMIT_FSIZE, &limit));
		int error = attach(&world, world.into, true, false, &result);
		assert_ok(setrlimit(RLIMIT_FSIZE, &usual));
		if (error != -EFBIG && error != -ENOSPC && error != -EIO)
			fail_msg("limit %llu: %d, %s", (unsigned long long)limits[i], error, world.message);
		assert_true(strlen(world.message) > 10);
		assert_false(is_there(world.into));
	}
	assert_ok(attach(&world, world.into, true, false, &result));
	free_world(&world);
}

/* ---- with the uploader */

#define RING (16 * MIB)
#define LONG_WRITES 3400u /* of 12 KiB in the log each */
#define FULL_WRITES 1300u /* 15 MiB and more, with what else is in the log */

static void wait_safe(struct bd_store *store)
{
	struct bd_tier_status status;

	for (unsigned i = 0; i < 1200; i++) {
		assert_ok(bd_store_tier_status(store, &status));
		if (status.manifest > 0 && status.unsafe_bytes == 0)
			return;
		usleep(50000);
	}
	fail_msg("not safe after a minute: %s", status.ship_error);
}

/* Take all manifests away but the oldest: as if none could be put since, and pieces could. */
static void keep_first_manifest(const char *objects)
{
	char command[512];

	snprintf(command, sizeof(command), "ls %s/manifest/* | tail -n +2 | xargs -r rm", objects);
	assert_ok(system(command));
}

/* So many writes, all in pieces behind the first manifest: what is attached has a ring that they fit into, and can work. */
static void attach_long_log(unsigned writes)
{
	struct world world = {0};
	struct bd_tier_config config = {.lease_s = 1, .delay_ms = 200};
	const struct bd_open_options options = {.memory_limit_bytes = 64 * MIB};
	struct bd_attach_result result;
	struct bd_branch_info info;
	struct bd_store *store, *fresh;
	struct stat st;
	char path[512], objects[256];
	uint8_t block[NF_BLOCK_SIZE];

	api_make_dir(world.parent);
	api_make_dir(objects);
	snprintf(world.path, sizeof(world.path), "%.200s/old", world.parent);
	snprintf(world.into, sizeof(world.into), "%s/new", world.parent);
	snprintf(config.url, sizeof(config.url), "file://%s", objects);
	snprintf(world.objects.url, sizeof(world.objects.url), "file://%s", objects);
	if (bd_tier_format(world.path, &(struct bd_format_options){.log_bytes = RING}, &config, world.message, sizeof(world.message)) != 0)
		fail_msg("%s", world.message);
	assert_ok(bd_store_open(world.path, &options, &store, world.message, sizeof(world.message)));
	assert_ok(bd_branch_create_empty(store, "main", 10, 20, &info));
	wait_safe(store);
	struct bd_inode *root = head_root(store, "main"), *inode = api_create(root, "wal", S_IFREG | 0600);
	for (unsigned i = 0; i < writes; i++) {
		if (i % 300 == 299) /* so that the ring does not come round before it was uploaded */
			wait_safe(store);
		memset(block, (int)i, sizeof(block));
		memcpy(block, &i, sizeof(i));
		assert_ok(bd_write(inode, (uint64_t)(i % 500) * BLOCK, block, BLOCK, BD_WRITE_SYNC));
	}
	bd_inode_unref(inode, 1);
	bd_inode_unref(root, 1);
	assert_ok(bd_store_sync(store));
	wait_safe(store);
	bd_store_abandon(store);
	keep_first_manifest(objects);
	if (attach(&world, world.into, true, false, &result) != 0)
		fail_msg("%s", world.message);
	snprintf(path, sizeof(path), "%s/log", world.into);
	assert_ok(stat(path, &st));
	assert_true((uint64_t)st.st_size > RING && (uint64_t)st.st_size % RING == 0);
	assert_true(result.log_end > RING / 4 * 3);
	store = open_at(world.path, true); /* puts nothing */
	fresh = open_at(world.into, true);
	same_store(store, fresh, 1);
	assert_ok(bd_store_close(fresh));
	assert_ok(bd_store_close(store));
	/* To write to it goes on in the longer ring, also after it was opened again. */
	api_remove_dir(world.into);
	if (attach(&world, world.into, false, false, &result) != 0)
		fail_msg("%s", world.message);
	fresh = open_at(world.into, false);
	put_inline(fresh, "main", "wal", 400, 77);
	bd_store_abandon(fresh);
	fresh = open_at(world.into, false);
	put_inline(fresh, "main", "more", 1000, 78);
	is_sound(fresh);
	assert_ok(bd_store_close(fresh));
	api_remove_dir(world.parent);
	api_remove_dir(objects);
}

/* Pieces since the last manifest may be more than one ring. */
static void a_log_that_is_longer_than_its_ring(void **state)
{
	(void)state;
	attach_long_log(LONG_WRITES);
}

/* Or just fit into it: then there would be no room for the work that makes room. */
static void a_log_that_fills_its_ring(void **state)
{
	(void)state;
	for (unsigned more = 0; more <= 60; more += 30)
		attach_long_log(FULL_WRITES + more);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_store_of_parts_and_pieces),
		cmocka_unit_test(pieces_that_are_no_end),
		cmocka_unit_test(a_chain_ends_at_a_gap),
		cmocka_unit_test(every_object_that_is_read_counts),
		cmocka_unit_test(only_into_nothing),
		cmocka_unit_test(given_up_anywhere),
		cmocka_unit_test(a_disk_that_does_not_take_it),
		cmocka_unit_test(one_machine_at_a_time),
		cmocka_unit_test(extents_that_stay_there),
		cmocka_unit_test(extents_that_only_the_log_knows_there),
		cmocka_unit_test(a_log_that_is_longer_than_its_ring),
		cmocka_unit_test(a_log_that_fills_its_ring),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
