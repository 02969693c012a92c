/* Uploading: what the object store has is a state of the store at every moment, whatever fails and whoever is held up; and nothing acknowledged before the safe point is missing
 * in it. The state is looked at by attaching it (read-only, beside the owner), the objects by what their manifests name. */
#include "../../api/api.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "blockdev/extent/extent.h"
#include "blockdev/tier/attach.h"
#include "blockdev/tier/lease.h"
#include "blockdev/tier/manifest.h"
#include "blockdev/tier/piece.h"
#include "blockdev/tier/rows.h"
#include "blockdev/tier/ship.h"
#include "blockdev/tier/tier.h"

#define FILES 8u
#define WAIT_MS 60000

/* What a block of a file may be: any version from the one that must be there to the newest that was written. */
struct file_state {
	uint32_t blocks;	/* of each version */
	unsigned safe, newest;	/* 0: not there */
};

struct world {
	char path[256], objects[256], into[256];
	struct nf_io *lower, *io;
	struct bd_store *store;
	struct bd_branch_info main;
	struct bd_inode *root;
	struct file_state files[FILES];
	bool sweeps; /* versions wait to be swept, whose extents may be gone */
};

/* ---- the object store, and what goes wrong in it: every put of the ship's comes by here */

enum fault { FAULT_NONE, FAULT_REFUSED, FAULT_UNKNOWN /* carried out, and said to have failed */ };

static struct {
	pthread_mutex_t lock;
	unsigned puts, strike; /* seen; the number of the one that fails */
	enum fault fault;
	bool away;	       /* everything fails */
	struct world *world;   /* looked at when a put has failed */
	unsigned struck;
	uint64_t largest; /* object under log/ */
} place = {.lock = PTHREAD_MUTEX_INITIALIZER};

int __real_ob_run(struct ob_client *client, struct ob_op *op);
int __wrap_ob_run(struct ob_client *client, struct ob_op *op);
int __real_ob_upload(struct ob_client *client, struct ob_upload *upload);
int __wrap_ob_upload(struct ob_client *client, struct ob_upload *upload);

static void check_closed(const struct world *w);
static void check_state(struct world *w);

static bool is_ours(const char *key)
{
	static const char *const kinds[] = {"extent/", "part/", "index/", "manifest/", "log/"};

	for (size_t i = 0; i < NF_ARRAY_LEN(kinds); i++) {
		if (strncmp(key, kinds[i], strlen(kinds[i])) == 0)
			return true;
	}
	return false;
}

/* Before a put. */
static enum fault next_fault(const char *key, uint64_t size)
{
	enum fault fault = FAULT_NONE;

	if (!is_ours(key))
		return FAULT_NONE;
	pthread_mutex_lock(&place.lock);
	place.puts++;
	if (strncmp(key, "log/", 4) == 0)
		place.largest = NF_MAX(place.largest, size);
	if (place.away)
		fault = FAULT_REFUSED;
	else if (place.fault != FAULT_NONE && place.puts == place.strike)
		fault = place.fault;
	if (fault != FAULT_NONE)
		place.struck++;
	struct world *look = fault != FAULT_NONE && !place.away ? place.world : NULL;
	pthread_mutex_unlock(&place.lock);
	if (look != NULL && fault == FAULT_REFUSED) {
		check_closed(look);
		check_state(look);
	}
	return fault;
}

static void after_fault(enum fault fault)
{
	if (fault == FAULT_UNKNOWN && place.world != NULL) {
		check_closed(place.world);
		check_state(place.world);
	}
}

int __wrap_ob_run(struct ob_client *client, struct ob_op *op)
{
	enum fault fault = op->kind == OB_PUT ? next_fault(op->key, op->size) : FAULT_NONE;

	if (fault == FAULT_NONE)
		return __real_ob_run(client, op);
	if (fault == FAULT_UNKNOWN)
		assert_ok(__real_ob_run(client, op));
	after_fault(fault);
	op->error = OB_FORBIDDEN;
	op->result = -EACCES;
	snprintf(op->message, sizeof(op->message), "refused by the test");
	return op->result;
}

int __wrap_ob_upload(struct ob_client *client, struct ob_upload *upload)
{
	enum fault fault = next_fault(upload->key, upload->size);

	if (fault == FAULT_NONE)
		return __real_ob_upload(client, upload);
	if (fault == FAULT_UNKNOWN)
		assert_ok(__real_ob_upload(client, upload));
	after_fault(fault);
	upload->error = OB_FORBIDDEN;
	snprintf(upload->message, sizeof(upload->message), "refused by the test");
	return -EACCES;
}

/* ---- the world */

static void open_world(struct world *w)
{
	char message[512] = "";
	const struct bd_open_options options = {.memory_limit_bytes = 64 * MIB, .no_background = true};

	if (bd_store_open_io(w->path, w->io, &options, &w->store, message, sizeof(message)) != 0)
		fail_msg("open: %s", message);
	if (bd_branch_find(w->store, "main", &w->main) != 0)
		assert_ok(bd_branch_create_empty(w->store, "main", 10, 20, &w->main));
	assert_ok(bd_root(w->store, api_head(w->main.id), &w->root));
}

static void close_world(struct world *w)
{
	bd_inode_unref(w->root, 1);
	assert_ok(bd_store_close(w->store));
}

static void abandon_world(struct world *w)
{
	bd_inode_unref(w->root, 1);
	bd_store_abandon(w->store);
}

static void make_world(struct world *w, uint32_t lease_s)
{
	struct bd_tier_config config = {.delay_ms = 20, .grace_s = 1, .lease_s = lease_s};
	char message[1024] = "";

	memset(w, 0, sizeof(*w));
	pthread_mutex_lock(&place.lock);
	place.puts = place.struck = place.strike = 0;
	place.fault = FAULT_NONE;
	place.away = false;
	place.world = NULL;
	place.largest = 0;
	pthread_mutex_unlock(&place.lock);
	api_make_dir(w->path);
	api_make_dir(w->objects);
	snprintf(config.url, sizeof(config.url), "file://%s", w->objects);
	if (bd_tier_format(w->path, &(struct bd_format_options){.log_bytes = 16 * MIB}, &config, message, sizeof(message)) != 0)
		fail_msg("format: %s", message);
	assert_ok(nf_io_uring_create(w->path, &w->lower));
	assert_ok(nf_io_fault_create(w->lower, &w->io));
	open_world(w);
}

static void free_world(struct world *w)
{
	nf_io_destroy(w->io);
	nf_io_destroy(w->lower);
	api_remove_dir(w->path);
	api_remove_dir(w->objects);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	make_world(w, 5);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	close_world(w);
	free_world(w);
	free(w);
	return 0;
}

/* ---- what is written */

static void pattern(uint64_t *words, unsigned file, uint32_t block, unsigned version)
{
	uint64_t seed = ((uint64_t)file << 48 | (uint64_t)version << 32 | block) * UINT64_C(0x9E3779B97F4A7C15);

	for (size_t i = 0; i < BLOCK / 8; i++)
		words[i] = i % 4 == 0 ? seed + i * UINT64_C(0xBF58476D1CE4E5B9) : seed;
}

static void file_name(char name[16], unsigned file)
{
	snprintf(name, 16, "file%u", file);
}

/* A new version of all of a file, synced; in one write after the other with BD_WRITE_SYNC when `small`: those go through the ring. */
static void put_file(struct world *w, unsigned file, uint32_t blocks, bool small)
{
	struct file_state *f = &w->files[file];
	struct bd_inode *inode;
	char name[16];
	uint64_t *words = malloc(BLOCK * 64);

	assert_non_null(words);
	file_name(name, file);
	assert_true(f->blocks == 0 || f->blocks == blocks);
	pthread_mutex_lock(&place.lock);
	f->blocks = blocks;
	f->newest++;
	pthread_mutex_unlock(&place.lock);
	if (bd_lookup(w->root, name, &inode) != 0)
		inode = api_create(w->root, name, S_IFREG | 0600);
	for (uint32_t block = 0; block < blocks;) {
		uint32_t count = small ? 1 : NF_MIN(64u, blocks - block);
		for (uint32_t i = 0; i < count; i++)
			pattern(words + i * BLOCK / 8, file, block + i, f->newest);
		assert_ok(bd_write(inode, block * BLOCK, words, count * BLOCK, small ? BD_WRITE_SYNC : 0));
		block += count;
	}
	assert_ok(bd_fsync(inode, false));
	bd_inode_unref(inode, 1);
	free(words);
}

/* What is there now has been acknowledged before a flush that has come back. */
static void all_is_safe(struct world *w)
{
	pthread_mutex_lock(&place.lock);
	for (unsigned i = 0; i < FILES; i++)
		w->files[i].safe = w->files[i].newest;
	pthread_mutex_unlock(&place.lock);
}

static void flush(struct world *w)
{
	char message[OB_MESSAGE_MAX] = "";
	int error = bd_ship_flush(w->store->tier->ship, WAIT_MS, message, sizeof(message));

	if (error != 0)
		fail_msg("flush: %d, %s", error, message);
	all_is_safe(w);
}

/* Seal what is open, and let it become settled. */
static void seal(struct world *w)
{
	assert_ok(bd_extents_seal(w->store, BD_STREAM_FRONT));
	assert_ok(bd_extents_seal(w->store, BD_STREAM_MOVED));
	for (unsigned i = 0; i < 2; i++)
		assert_ok(bd_store_checkpoint(w->store));
}

static struct bd_ship_status status_of(struct world *w)
{
	struct bd_ship_status status;

	bd_ship_status(w->store->tier->ship, &status);
	return status;
}

static void pause_ms(unsigned ms)
{
	usleep(ms * 1000);
}

/* ---- the objects */

static uint8_t *object(const struct world *w, const char *key, size_t *ret_size)
{
	char path[1024];

	snprintf(path, sizeof(path), "%s/%s", w->objects, key);
	FILE *file = fopen(path, "rb");
	if (file == NULL)
		return NULL;
	assert_ok(fseek(file, 0, SEEK_END));
	*ret_size = (size_t)ftell(file);
	rewind(file);
	uint8_t *bytes = malloc(*ret_size + 1);
	assert_non_null(bytes);
	assert_int_equal(fread(bytes, 1, *ret_size, file), *ret_size);
	fclose(file);
	return bytes;
}

static unsigned count_objects(const struct world *w, const char *kind, char last[256])
{
	char path[512];
	unsigned count = 0;

	if (last != NULL)
		last[0] = '\0';
	snprintf(path, sizeof(path), "%s/%s", w->objects, kind);
	DIR *dir = opendir(path);
	for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
		uint32_t generation;
		if (strlen(entry->d_name) < 17 || sscanf(entry->d_name, "%8x-", &generation) != 1)
			continue;
		count++;
		if (last != NULL && strcmp(entry->d_name, last) > 0)
			snprintf(last, 256, "%s", entry->d_name);
	}
	if (dir != NULL)
		closedir(dir);
	return count;
}

/* `by`: the manifest, which goes before what it refers to. */
static void expect_object(const struct world *w, const char *key, const char *by, uint64_t expected, const uint64_t *sum)
{
	size_t size;
	uint8_t *bytes = object(w, key, &size), *again = bytes == NULL ? object(w, by, &size) : NULL;

	if (again != NULL)
		fail_msg("%s is referred to by %s, and not there", key, by);
	if (bytes == NULL)
		return;
	if (size != expected)
		fail_msg("%s has %zu bytes, not %llu", key, size, (unsigned long long)expected);
	if (sum != NULL && XXH3_64bits(bytes, size) != *sum)
		fail_msg("%s is another one", key);
	free(bytes);
}

static void check_manifest(const struct world *w, const char *key)
{
	char name[BD_MANIFEST_KEY_SIZE];
	size_t size;
	struct bd_manifest manifest, *m = &manifest;
	uint8_t *bytes = object(w, key, &size);

	if (bytes == NULL)
		return; /* just deleted */
	assert_ok(bd_manifest_decode(bytes, size, m));
	free(bytes);
	for (uint32_t i = 0; i < m->file_count; i++) {
		bd_manifest_file_key(m->files[i].generation, m->files[i].number, m->files[i].name, name);
		if (m->files[i].generation != 0)
			expect_object(w, name, key, m->files[i].size, &m->files[i].sum);
	}
	for (uint32_t i = 0; i < m->part_count; i++) {
		bd_manifest_part_key(m->generation, m->number, m->parts[i].extent, name);
		expect_object(w, name, key, m->parts[i].size, NULL);
	}
	uint64_t at = m->retain;
	for (uint32_t i = 0; i < m->piece_count; i++) {
		assert_true(i == 0 ? m->pieces[i].from <= at : m->pieces[i].from == at);
		at = m->pieces[i].to;
		bd_piece_key(m->pieces[i].generation, m->pieces[i].from, m->pieces[i].to, name);
		expect_object(w, name, key, m->pieces[i].size, NULL);
	}
	assert_true(at >= m->replay);
	bd_manifest_free(m);
}

/* Every manifest that is there names what is there. */
static void check_closed(const struct world *w)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/manifest", w->objects);
	DIR *dir = opendir(path);
	for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
		char key[512];
		uint32_t generation, number;
		snprintf(key, sizeof(key), "manifest/%s", entry->d_name);
		if (!bd_manifest_key_parse(key, &generation, &number))
			continue;
		check_manifest(w, key);
	}
	if (dir != NULL)
		closedir(dir);
}

/* ---- the state */

static bool block_is(const uint64_t *words, unsigned file, uint32_t block, unsigned version)
{
	uint64_t expected[BLOCK / 8];

	pattern(expected, file, block, version);
	return memcmp(words, expected, BLOCK) == 0;
}

static void check_file(struct bd_inode *root, unsigned file, const struct file_state *f)
{
	struct bd_inode *inode;
	uint64_t words[BLOCK / 8];
	char name[16];

	file_name(name, file);
	int error = bd_lookup(root, name, &inode);
	if (error == -ENOENT && f->safe == 0)
		return;
	if (error != 0)
		fail_msg("%s: %d", name, error);
	uint64_t blocks = api_attr(inode).size_bytes / BLOCK;
	if (f->safe > 0 && blocks < f->blocks)
		fail_msg("%s has %llu blocks, not %u", name, (unsigned long long)blocks, f->blocks);
	for (uint32_t block = 0; block < blocks; block++) {
		assert_int_equal(bd_read(inode, block * BLOCK, words, BLOCK), BLOCK);
		bool good = false;
		for (unsigned version = NF_MAX(f->safe, 1u); version <= f->newest && !good; version++)
			good = block_is(words, file, block, version);
		static const uint64_t zeros[BLOCK / 8];
		if (!good && !(f->safe == 0 && memcmp(words, zeros, BLOCK) == 0))
			fail_msg("%s: block %u is none of versions %u to %u", name, block, f->safe, f->newest);
	}
	bd_inode_unref(inode, 1);
}

static void tell(void *arg, const char *line)
{
	(void)arg;
	print_message("scrub: %s\n", line);
}

/* Attach what is there, and compare. Nothing there yet is a state too, as long as nothing is safe. */
static void check_state(struct world *w)
{
	struct bd_tier_config config = {.read_only = true};
	struct bd_attach_result result;
	struct bd_store *store;
	struct bd_branch_info info;
	struct file_state files[FILES];
	char path[256], into[300], message[1024] = "";
	bool any = false;

	pthread_mutex_lock(&place.lock);
	memcpy(files, w->files, sizeof(files));
	pthread_mutex_unlock(&place.lock);
	for (unsigned i = 0; i < FILES; i++)
		any = any || files[i].safe > 0;
	api_make_dir(path);
	snprintf(into, sizeof(into), "%s/store", path);
	snprintf(config.url, sizeof(config.url), "file://%s", w->objects);
	int error = bd_attach(into, &config, &(struct bd_attach_options){0}, &result, message, sizeof(message));
	if (error == -ENOENT && !any) {
		api_remove_dir(path);
		return;
	}
	if (error != 0)
		fail_msg("attach: %d, %s", error, message);
	/* The owner may have gone on while it was attached. */
	pthread_mutex_lock(&place.lock);
	for (unsigned i = 0; i < FILES; i++)
		files[i].newest = w->files[i].newest;
	pthread_mutex_unlock(&place.lock);
	const struct bd_open_options options = {.memory_limit_bytes = 64 * MIB, .no_background = true, .read_only = true};
	if (bd_store_open(into, &options, &store, message, sizeof(message)) != 0)
		fail_msg("what was attached cannot be opened: %s", message);
	error = bd_branch_find(store, "main", &info);
	if (error != 0 && any)
		fail_msg("no branch: %d", error);
	if (error == 0) {
		struct bd_inode *root;
		assert_ok(bd_root(store, api_head(info.id), &root));
		for (unsigned i = 0; i < FILES; i++)
			check_file(root, i, &files[i]);
		bd_inode_unref(root, 1);
	}
	struct bd_scrub_result scrubbed;
	assert_ok(bd_store_scrub(store, NULL, tell, NULL, &scrubbed));
	assert_int_equal(scrubbed.bad_keys + scrubbed.orphan_keys, 0);
	if (!w->sweeps)
		assert_int_equal(scrubbed.bad_blocks, 0);
	assert_ok(bd_store_close(store));
	api_remove_dir(path);
}

/* ---- tests */

static void a_flush_makes_a_state_that_can_be_attached(void **state)
{
	struct world *w = *state;
	struct bd_snapshot_info snapshot;

	put_file(w, 0, 300, false);
	put_file(w, 1, 20, true);
	seal(w);
	put_file(w, 2, 100, false);
	assert_ok(bd_snapshot_create(w->store, w->main.id, "then", &snapshot));
	put_file(w, 0, 300, false);
	flush(w);
	check_closed(w);
	check_state(w);
	assert_true(count_objects(w, "extent", NULL) >= 1);
	struct bd_ship_status status = status_of(w);
	assert_int_equal(status.unsafe_bytes, 0);
	assert_true(status.safe_ns > 0);
	assert_string_equal(status.last_error, "");

	/* Nothing new: nothing is put, once what the checkpoints have settled is there too. */
	unsigned puts, tries = 0;
	do {
		puts = place.puts;
		flush(w);
		pause_ms(200);
	} while (place.puts != puts && ++tries < 10);
	assert_int_equal(place.puts, puts);
}

static void the_tail_is_there_soon_without_a_flush(void **state)
{
	struct world *w = *state;

	put_file(w, 0, 10, false);
	flush(w);
	unsigned manifests = count_objects(w, "manifest", NULL);
	put_file(w, 1, 700, false);
	put_file(w, 0, 10, true);
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	int64_t written_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	for (unsigned i = 0; i < 500 && status_of(w).safe_ns < written_ns; i++)
		pause_ms(10);
	assert_true(status_of(w).safe_ns >= written_ns);
	assert_int_equal(count_objects(w, "manifest", NULL), manifests);
	all_is_safe(w);
	check_closed(w);
	check_state(w);
}

static void a_close_uploads_the_rest_and_the_next_life_goes_on(void **state)
{
	struct world *w = *state;

	put_file(w, 0, 100, false);
	close_world(w);
	all_is_safe(w);
	check_closed(w);
	check_state(w);
	open_world(w);
	put_file(w, 1, 100, false);
	flush(w);
	check_closed(w);
	check_state(w);
	/* As if the process had died. */
	put_file(w, 0, 100, true);
	put_file(w, 2, 200, false);
	abandon_world(w);
	check_state(w);
	open_world(w);
	flush(w);
	check_closed(w);
	check_state(w);
}

/* More blocks in one fsync than a piece takes. */
static void much_at_once_becomes_several_pieces(void **state)
{
	struct world *w = *state;

	flush(w);
	unsigned before = count_objects(w, "log", NULL);
	put_file(w, 0, 6000, false);
	struct bd_ship_status status = status_of(w);
	for (unsigned i = 0; i < 1000 && status.unsafe_bytes > 0; i++, status = status_of(w))
		pause_ms(10);
	assert_int_equal(status.unsafe_bytes, 0);
	assert_true(count_objects(w, "log", NULL) >= before + 5);
	assert_true(place.largest <= 14 * MIB);
	all_is_safe(w);
	check_state(w);
	flush(w);
	check_closed(w);
	check_state(w);
}

static uint64_t bytes_of_objects(const struct world *w, const char *kind)
{
	char path[512];
	uint64_t bytes = 0;
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", w->objects, kind);
	DIR *dir = opendir(path);
	for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
		bytes += fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	if (dir != NULL)
		closedir(dir);
	return bytes;
}

/* More than an extent at once: what is full goes as an extent, and the pieces have the rest. */
static void what_fills_extents_is_not_in_pieces(void **state)
{
	struct world *w = *state;

	flush(w);
	uint64_t before = bytes_of_objects(w, "log");
	put_file(w, 0, 9000, false);
	struct bd_ship_status status = status_of(w);
	for (unsigned i = 0; i < 3000 && status.unsafe_bytes > 0; i++, status = status_of(w))
		pause_ms(10);
	assert_int_equal(status.unsafe_bytes, 0);
	assert_int_equal(count_objects(w, "extent", NULL), 1);
	uint64_t pieces = bytes_of_objects(w, "log") - before;
	/* They are compressed, to a quarter. */
	assert_true(pieces < (9000 - 8192) * BLOCK);
	all_is_safe(w);
	check_state(w);
	flush(w);
	check_closed(w);
	check_state(w);
}

static void scenario(struct world *w)
{
	put_file(w, 0, 200, false);
	put_file(w, 1, 10, true);
	flush(w);
	seal(w);
	put_file(w, 2, 50, false);
	put_file(w, 0, 200, false);
	flush(w);
	put_file(w, 3, 20, true);
	put_file(w, 2, 50, false);
	seal(w);
	flush(w);
}

static void each_put_fails_in_turn(void **state)
{
	unsigned struck;

	(void)state;
	for (unsigned fault = FAULT_REFUSED; fault <= FAULT_UNKNOWN; fault++) {
		for (unsigned n = 1;; n++) {
			struct world *w = calloc(1, sizeof(*w));
			assert_non_null(w);
			make_world(w, 5);
			pthread_mutex_lock(&place.lock);
			place.world = w;
			place.strike = place.puts + n;
			place.fault = fault;
			pthread_mutex_unlock(&place.lock);
			scenario(w);
			check_closed(w);
			check_state(w);
			assert_string_equal(status_of(w).last_error, "");
			pthread_mutex_lock(&place.lock);
			place.world = NULL;
			struck = place.struck;
			pthread_mutex_unlock(&place.lock);
			close_world(w);
			free_world(w);
			free(w);
			if (struck == 0) {
				assert_true(n > 10);
				break;
			}
		}
	}
}

/* ---- the uploader is held up */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	bool armed, held, go;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* The first read of a thread that is not the test's own is the tail's: nothing else reads by itself here. */
static void hold_tail(void *arg, enum nf_fault_kind kind)
{
	(void)arg;
	pthread_mutex_lock(&gate.lock);
	if (kind == NF_FAULT_READ && gate.armed && !pthread_equal(pthread_self(), gate.thread)) {
		gate.armed = false;
		gate.held = true;
		pthread_cond_broadcast(&gate.changed);
		while (!gate.go)
			pthread_cond_wait(&gate.changed, &gate.lock);
		gate.held = false;
	}
	pthread_mutex_unlock(&gate.lock);
}

static void gate_arm(struct world *w)
{
	pthread_mutex_lock(&gate.lock);
	gate.armed = true;
	gate.held = gate.go = false;
	gate.thread = pthread_self();
	pthread_mutex_unlock(&gate.lock);
	nf_io_fault_hook(w->io, hold_tail, NULL);
}

static void gate_wait_held(void)
{
	pthread_mutex_lock(&gate.lock);
	while (!gate.held)
		pthread_cond_wait(&gate.changed, &gate.lock);
	pthread_mutex_unlock(&gate.lock);
}

static void gate_open(void)
{
	pthread_mutex_lock(&gate.lock);
	gate.armed = false;
	gate.go = true;
	pthread_cond_broadcast(&gate.changed);
	pthread_mutex_unlock(&gate.lock);
}

static uint64_t extents_of(struct world *w)
{
	struct bd_status status;

	assert_ok(bd_store_status(w->store, &status));
	return status.extents;
}

/* The log names an extent that is removed before its blocks are read: the piece goes on to where nothing needs them. */
static void an_extent_is_removed_beside_a_piece(void **state)
{
	struct world *w = *state;

	put_file(w, 0, 50, false);
	flush(w);
	gate_arm(w);
	put_file(w, 1, 300, false);
	gate_wait_held();
	/* The tail stands before its first record. What it will read of is overwritten and collected. */
	uint64_t extents = extents_of(w);
	assert_ok(bd_extents_seal(w->store, BD_STREAM_FRONT));
	put_file(w, 1, 300, false);
	put_file(w, 0, 50, false);
	for (unsigned i = 0; i < 2; i++)
		assert_ok(bd_store_gc(w->store, NULL, NULL, &(struct bd_gc_result){0}));
	assert_true(extents_of(w) <= extents);
	assert_false(bd_extent_exists(w->store, 0));
	/* Look as soon as the piece is there, before others follow it. */
	pthread_mutex_lock(&place.lock);
	place.world = w;
	place.strike = place.puts + 1;
	place.fault = FAULT_UNKNOWN;
	pthread_mutex_unlock(&place.lock);
	gate_open();
	struct bd_ship_status status = status_of(w);
	for (unsigned i = 0; i < 1000 && status.unsafe_bytes > 0; i++, status = status_of(w))
		pause_ms(10);
	assert_int_equal(status.unsafe_bytes, 0);
	assert_int_equal(place.struck, 1);
	nf_io_fault_hook(w->io, NULL, NULL);
	all_is_safe(w);
	check_closed(w);
	check_state(w);
	flush(w);
	check_closed(w);
	check_state(w);
}

static void set_away(bool away)
{
	pthread_mutex_lock(&place.lock);
	place.away = away;
	pthread_mutex_unlock(&place.lock);
}

static void the_ring_comes_round_while_the_objects_are_away(void **state)
{
	struct world *w = *state;
	char message[OB_MESSAGE_MAX] = "";

	put_file(w, 0, 100, false);
	flush(w);
	set_away(true);
	put_file(w, 1, 100, false);
	pause_ms(100);
	int64_t safe_ns = status_of(w).safe_ns;
	for (unsigned i = 0; i < 3; i++)
		put_file(w, 2, 1000, true);
	assert_int_equal(bd_ship_flush(w->store->tier->ship, 200, message, sizeof(message)), -ETIMEDOUT);
	assert_non_null(strstr(message, "refused by the test"));
	struct bd_ship_status status = status_of(w);
	assert_true(status.unsafe_bytes > 16 * MIB);
	assert_int_equal(status.safe_ns, safe_ns);
	assert_non_null(strstr(status.last_error, "refused by the test"));
	check_closed(w);
	check_state(w);
	set_away(false);
	flush(w);
	check_closed(w);
	check_state(w);
	assert_string_equal(status_of(w).last_error, "");
	put_file(w, 3, 30, true);
	flush(w);
	check_state(w);
}

/* Acknowledged while the lease was held, and put when another machine had it: that one has not seen it. */
static void what_is_put_after_the_lease_was_lost_is_not_safe(void **state)
{
	struct world w;
	char message[1024] = "";
	struct ob_client *client;
	struct bd_lease *lease;
	struct bd_lease_status mine = {.held = true};

	(void)state;
	make_world(&w, 1);
	put_file(&w, 0, 10, false);
	flush(&w);
	set_away(true);
	put_file(&w, 1, 10, false);
	pause_ms(100);
	int64_t safe_ns = status_of(&w).safe_ns;
	/* It is idle: nobody looks after it. */
	for (unsigned i = 0; i < 1000 && (mine.held || !mine.idle); i++) {
		pause_ms(20);
		bd_lease_status(w.store->tier->lease, &mine);
	}
	assert_true(mine.idle && !mine.held);
	assert_ok(ob_client_open(w.store->tier->config.url, NULL, &client, message, sizeof(message)));
	const struct bd_lease_options options = {.ttl_ms = 1000, .take_over = true};
	if (bd_lease_take(client, &options, &lease, message, sizeof(message)) != 0)
		fail_msg("take: %s", message);
	set_away(false);
	assert_int_equal(bd_ship_flush(w.store->tier->ship, WAIT_MS, message, sizeof(message)), -ESTALE);
	assert_int_equal(status_of(&w).safe_ns, safe_ns);
	abandon_world(&w);
	bd_lease_close(lease, true);
	ob_client_close(client);
	free_world(&w);
}

/* What a sweep deletes is not in the log; what asks for the sweep is. */
static void a_file_is_removed_and_swept_behind_the_manifest(void **state)
{
	struct world *w = *state;

	put_file(w, 0, 50, false);
	put_file(w, 1, 200, false);
	flush(w);
	unsigned manifests = count_objects(w, "manifest", NULL);
	assert_ok(bd_unlink(w->root, "file1"));
	w->files[1] = (struct file_state){0};
	for (unsigned i = 0; i < 3; i++)
		assert_ok(bd_store_gc(w->store, NULL, NULL, &(struct bd_gc_result){0}));
	assert_ok(bd_store_sync(w->store));
	struct bd_ship_status status = status_of(w);
	for (unsigned i = 0; i < 1000 && status.unsafe_bytes > 0; i++, status = status_of(w))
		pause_ms(10);
	assert_int_equal(count_objects(w, "manifest", NULL), manifests);
	w->sweeps = true;
	check_state(w);
	flush(w);
	w->sweeps = false;
	check_state(w);
	assert_ok(bd_store_gc(w->store, NULL, NULL, &(struct bd_gc_result){0}));
	flush(w);
	check_state(w);
}

/* What no manifest in the window refers to goes; what one does stays. */
static void old_objects_are_deleted(void **state)
{
	struct world *w = *state;
	char last[256], newest[256];

	for (unsigned i = 0; i < 4; i++) {
		put_file(w, 0, 400, false);
		put_file(w, 1, 20, true);
		seal(w);
		flush(w);
		assert_ok(bd_store_gc(w->store, NULL, NULL, &(struct bd_gc_result){0}));
	}
	count_objects(w, "manifest", newest);
	unsigned pieces = count_objects(w, "log", NULL), extents = count_objects(w, "extent", NULL);
	for (unsigned i = 0; i < 6; i++) {
		pause_ms(1100);
		put_file(w, 2, 1, true);
		flush(w);
		check_closed(w);
	}
	pause_ms(500);
	check_closed(w);
	check_state(w);
	assert_true(count_objects(w, "manifest", last) <= 3);
	assert_true(strcmp(last, newest) > 0);
	assert_true(count_objects(w, "extent", NULL) < extents);
	assert_true(status_of(w).deleted_objects > 0);
	struct bd_rows_doomed doomed;
	assert_int_equal(bd_rows_doomed(w->store->tier->rows, 0, &doomed, 1), 0);

	/* Another life: what the one before has left goes too, and with the ring's blocks, which a close moves to extents, the pieces. */
	close_world(w);
	open_world(w);
	for (unsigned i = 0; i < 3; i++) {
		put_file(w, 3, 1, true);
		flush(w);
		pause_ms(1100);
	}
	put_file(w, 3, 1, true);
	flush(w);
	pause_ms(500);
	check_closed(w);
	check_state(w);
	assert_true(count_objects(w, "manifest", last) <= 3);
	assert_true(count_objects(w, "log", NULL) < pieces);
}

#define ship_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ship_test(a_flush_makes_a_state_that_can_be_attached),
		ship_test(the_tail_is_there_soon_without_a_flush),
		ship_test(a_close_uploads_the_rest_and_the_next_life_goes_on),
		ship_test(much_at_once_becomes_several_pieces),
		ship_test(what_fills_extents_is_not_in_pieces),
		cmocka_unit_test(each_put_fails_in_turn),
		ship_test(an_extent_is_removed_beside_a_piece),
		ship_test(the_ring_comes_round_while_the_objects_are_away),
		cmocka_unit_test(what_is_put_after_the_lease_was_lost_is_not_safe),
		ship_test(a_file_is_removed_and_swept_behind_the_manifest),
		ship_test(old_objects_are_deleted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
