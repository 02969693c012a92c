/* Single flipped bits in the extents and the log: the right bytes or an error, never wrong data, and scrub finds it.
 *
 *   corrupt_test [--seed N] [--rounds N]
 *
 * A store with overwritten blocks, snapshots and a branch is closed. Each round flips one bit of one file of the block I/O, opens the
 * store read-only, reads everything in every view and holds it against the true tags; then scrubs. What a read refused,
 * scrub must name; the bit is put back. A second part does the same with a store that was not closed: there the
 * end of the log may be lost as in a power cut, so an older version of a block is allowed too, but nothing else. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/nf_log.h"
#include "tagged.h"

#define FILES 3
#define BLOCKS 24
#define VIEWS 4
#define IO_FILES 64
#define IO_PATH 128

struct place {
	char path[IO_PATH];
	uint64_t size;
};

struct corrupt {
	char path[256];
	struct nf_io *io;
	struct bd_store *store;
	uint64_t random, seed, round;
	uint32_t next_tag;
	uint32_t tags[VIEWS][FILES][BLOCKS]; /* 0: main's head; 1, 2: snapshots of main; 3: the branch */
	struct place places[IO_FILES];
	unsigned place_count;
	uint8_t *buf;
	struct place *hit; /* of this round */
	uint64_t offset;
	unsigned bit;
};

static void fail(const struct corrupt *c, const char *what, int64_t detail)
{
	fprintf(stderr, "FAILED: seed %" PRIu64 " round %" PRIu64 " (%s at %" PRIu64 " bit %u): %s (%" PRId64 ")\n", c->seed,
		c->round, c->hit != NULL ? c->hit->path : "-", c->offset, c->bit, what, detail);
	exit(1);
}

static void must(const struct corrupt *c, const char *what, int err)
{
	if (err != 0)
		fail(c, what, err);
}

static int open_store(struct corrupt *c, bool read_only)
{
	const struct bd_open_options options = {.memory_limit_bytes = UINT64_C(64) << 20,
						.no_background = true,
						.read_only = read_only};
	char message[512] = "";
	int err = bd_store_open_io(c->path, c->io, &options, &c->store, message, sizeof(message));

	if (err != 0 && message[0] == 0)
		fail(c, "an open that failed gives no message", err);
	return err;
}

/* ---- the store to be damaged ---- */

static int open_view(struct corrupt *c, unsigned view, struct bd_inode **ret_root)
{
	static const char *const labels[VIEWS] = {NULL, "s1", "s2", NULL};
	struct bd_branch_info info;
	struct bd_snapshot_info snapshot;
	struct bd_view at = {.epoch = BD_EPOCH_HEAD};
	int err = bd_branch_find(c->store, view == 3 ? "child" : "main", &info);

	if (err == 0 && labels[view] != NULL) {
		err = bd_snapshot_find(c->store, info.id, labels[view], &snapshot);
		at.epoch = snapshot.epoch;
	}
	at.branch = info.id;
	return err != 0 ? err : bd_root(c->store, at, ret_root);
}

static int open_file(struct corrupt *c, unsigned view, unsigned file, struct bd_inode **ret_inode)
{
	struct bd_inode *root;
	char name[2] = {(char)('a' + file), 0};
	int err = open_view(c, view, &root);

	if (err != 0)
		return err;
	err = bd_lookup(root, name, ret_inode);
	bd_inode_unref(root, 1);
	return err;
}

/* Blocks [from, from + count) of a file; `sync` writes take the way through the log. */
static void put(struct corrupt *c, unsigned view, unsigned file, unsigned from, unsigned count, bool sync)
{
	struct bd_inode *inode;
	uint32_t tag = c->next_tag++;

	must(c, "open_file", open_file(c, view, file, &inode));
	for (unsigned i = 0; i < count; i++) {
		tagged_fill(c->buf + (size_t)i * NF_BLOCK_SIZE, tag, from + i);
		c->tags[view][file][from + i] = tag;
	}
	must(c, "bd_write", bd_write(inode, (uint64_t)from * NF_BLOCK_SIZE, c->buf, (size_t)count * NF_BLOCK_SIZE,
				     sync ? BD_WRITE_SYNC : 0));
	must(c, "bd_fsync", bd_fsync(inode, false));
	bd_inode_unref(inode, 1);
}

static void make_store(struct corrupt *c)
{
	struct bd_create how = {.mode = S_IFREG | 0600};
	struct bd_branch_info main_info, child_info;
	struct bd_snapshot_info snapshot;
	struct bd_inode *root, *inode;

	tagged_mkdir(c->path);
	c->next_tag = 1;
	must(c, "nf_io_mem_create", nf_io_mem_create(0, &c->io));
	must(c, "bd_store_format_io", bd_store_format_io(c->path, c->io, &(struct bd_format_options){.log_bytes = UINT64_C(16) << 20}));
	must(c, "bd_store_open_io", open_store(c, false));
	must(c, "bd_branch_create_empty", bd_branch_create_empty(c->store, "main", 0, 0, &main_info));
	must(c, "open_view", open_view(c, 0, &root));
	for (unsigned i = 0; i < FILES; i++) {
		char name[2] = {(char)('a' + i), 0};
		must(c, "bd_create", bd_create(root, name, &how, &inode));
		bd_inode_unref(inode, 1);
		put(c, 0, i, 0, BLOCKS - 4, false);
	}
	bd_inode_unref(root, 1);
	must(c, "bd_snapshot_create", bd_snapshot_create(c->store, main_info.id, "s1", &snapshot));
	memcpy(c->tags[1], c->tags[0], sizeof(c->tags[0]));
	for (unsigned i = 0; i < 12; i++)
		put(c, 0, i % FILES, (i * 5) % (BLOCKS - 1), 1, i & 1);
	must(c, "bd_snapshot_create", bd_snapshot_create(c->store, main_info.id, "s2", &snapshot));
	memcpy(c->tags[2], c->tags[0], sizeof(c->tags[0]));
	must(c, "bd_branch_create",
	     bd_branch_create(c->store, "child", (struct bd_view){main_info.id, BD_EPOCH_HEAD}, &child_info, NULL));
	memcpy(c->tags[3], c->tags[0], sizeof(c->tags[0]));
	for (unsigned i = 0; i < 20; i++)
		put(c, i & 1 ? 3 : 0, i % FILES, (i * 7) % (BLOCKS - 2), 2, i % 3 == 0);
}

/* ---- files of the block I/O ---- */

struct listing {
	struct corrupt *c;
	const char *dir;
};

static int add_place(void *arg, const char *name)
{
	struct listing *listing = arg;
	struct corrupt *c = listing->c;
	struct place *place = &c->places[c->place_count];
	struct nf_file *file;

	if (c->place_count == IO_FILES)
		fail(c, "the test itself: too many files", IO_FILES);
	snprintf(place->path, IO_PATH, "%s%s%s", listing->dir, *listing->dir != 0 ? "/" : "", name);
	if (nf_io_open(c->io, place->path, NF_OPEN_READONLY, &file) != 0)
		return 0;
	if (nf_io_size(file, &place->size) == 0 && place->size > 0)
		c->place_count++;
	nf_io_close(file);
	return 0;
}

static int add_dir(void *arg, const char *name)
{
	struct corrupt *c = arg;
	struct listing listing = {.c = c, .dir = name};

	(void)!nf_io_list(c->io, name, add_place, &listing);
	return 0;
}

/* The files in the root and in its directories. */
static void find_places(struct corrupt *c)
{
	struct listing root = {.c = c, .dir = ""};

	c->place_count = 0;
	must(c, "nf_io_list", nf_io_list(c->io, ".", add_place, &root));
	must(c, "nf_io_list", nf_io_list(c->io, ".", add_dir, c));
	if (c->place_count < 2)
		fail(c, "the test itself: extents and a log were expected", c->place_count);
}

/* A page with something in it, so that a flip is likely to hit what matters. */
static void choose_bit(struct corrupt *c)
{
	struct nf_file *file;
	bool found = false;

	for (unsigned tries = 0; tries < 100000 && !found; tries++) {
		c->hit = &c->places[tagged_random(&c->random) % c->place_count];
		/* Half of the hits in the first 2 MiB, where small stores have all they have. */
		uint64_t span = tagged_random(&c->random) & 1 ? c->hit->size : NF_MIN(c->hit->size, UINT64_C(2) << 20);
		uint64_t page = tagged_random(&c->random) % span / NF_IO_ALIGN * NF_IO_ALIGN;
		must(c, "nf_io_open", nf_io_open(c->io, c->hit->path, NF_OPEN_READONLY, &file));
		if (nf_io_run_one(c->io, NF_IO_READ, file, page, c->buf, NF_IO_ALIGN) == 0)
			for (unsigned i = 0; i < NF_IO_ALIGN && !found; i++)
				found = c->buf[i] != 0;
		nf_io_close(file);
		c->offset = page + tagged_random(&c->random) % NF_IO_ALIGN;
	}
	c->bit = (unsigned)(tagged_random(&c->random) % 8);
	if (!found)
		fail(c, "the test itself: no page with data", 0);
}

/* ---- reading it all ---- */

static bool is_damage(ssize_t err)
{
	return err == -EUCLEAN || err == -EIO;
}

/* Blocks that a read refused. `older`: a tag from before is allowed too. */
static unsigned read_view(struct corrupt *c, unsigned view, bool older)
{
	unsigned refused = 0;

	for (unsigned i = 0; i < FILES; i++) {
		struct bd_inode *inode;
		int err = open_file(c, view, i, &inode);
		if (err != 0) {
			if (!is_damage(err))
				fail(c, "look-up in a damaged store", err);
			refused++;
			continue;
		}
		for (unsigned k = 0; k < BLOCKS; k++) {
			uint64_t tag;
			ssize_t got = bd_read(inode, (uint64_t)k * NF_BLOCK_SIZE, c->buf, NF_BLOCK_SIZE);
			if (got < 0) {
				if (!is_damage(got))
					fail(c, "read from a damaged store", got);
				refused++;
				continue;
			}
			if (got == 0 && (c->tags[view][i][k] == 0 || older))
				continue;
			if (got != NF_BLOCK_SIZE)
				fail(c, "a short read", got);
			if (!tagged_check(c->buf, k, &tag))
				fail(c, "WRONG DATA: not a block that was ever written here", k);
			if (tag != c->tags[view][i][k] && !(older && tag < c->tags[view][i][k]))
				fail(c, "WRONG DATA: another version of the block", (int64_t)tag);
		}
		bd_inode_unref(inode, 1);
	}
	return refused;
}

static void count_line(void *arg, const char *line)
{
	(void)line;
	(*(unsigned *)arg)++;
}

/* One round on a store that lies there: what opening, reading and scrubbing say. Counts what was noticed. */
static void round_trip(struct corrupt *c, bool older, unsigned *noticed)
{
	struct bd_scrub_result result;
	unsigned refused = 0, lines = 0;
	int err = open_store(c, true);

	if (err != 0) {
		if (!is_damage(err))
			fail(c, "opening a damaged store", err);
		(*noticed)++;
		return;
	}
	for (unsigned view = 0; view < VIEWS; view++)
		refused += read_view(c, view, older);
	err = bd_store_scrub(c->store, NULL, count_line, &lines, &result);
	if (err != 0 && !is_damage(err))
		fail(c, "scrub", err);
	if (refused > 0 && err == 0 && result.bad_blocks + result.bad_keys == 0)
		fail(c, "reads were refused, but scrub finds nothing", refused);
	if (err == 0 && result.bad_blocks + result.bad_keys > 0 && lines == 0)
		fail(c, "scrub counts damage but reports no line", (int64_t)result.bad_blocks);
	*noticed += refused > 0 || err != 0 || result.bad_blocks + result.bad_keys > 0;
	bd_store_abandon(c->store);
}

static void flip(struct corrupt *c)
{
	must(c, "nf_io_mem_corrupt", nf_io_mem_corrupt(c->io, c->hit->path, c->offset, c->bit));
}

static void part(struct corrupt *c, unsigned rounds, bool closed)
{
	unsigned noticed = 0, quiet = 0;

	make_store(c);
	if (closed)
		must(c, "bd_store_close", bd_store_close(c->store));
	else
		bd_store_abandon(c->store);
	find_places(c);
	round_trip(c, false, &quiet);
	if (quiet != 0)
		fail(c, "damage is reported before any was done", quiet);
	for (c->round = 1; c->round <= rounds; c->round++) {
		choose_bit(c);
		flip(c);
		round_trip(c, !closed, &noticed);
		flip(c);
	}
	c->hit = NULL;
	round_trip(c, false, &quiet);
	if (quiet != 0)
		fail(c, "damage is reported after it was repaired", quiet);
	printf("%s: %u rounds, %u noticed\n", closed ? "closed" : "not closed", rounds, noticed);
	if (noticed == 0)
		fail(c, "no damage was ever noticed", rounds);
	nf_io_destroy(c->io);
	tagged_rmdir(c->path);
}

int main(int argc, char **argv)
{
	struct corrupt *c = calloc(1, sizeof(*c));
	unsigned rounds = 300;

	if (c == NULL)
		abort();
	c->seed = 1;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--seed") == 0)
			c->seed = strtoull(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--rounds") == 0)
			rounds = (unsigned)strtoul(argv[i + 1], NULL, 10);
	}
	c->random = c->seed;
	c->buf = nf_io_buffer((size_t)BLOCKS * NF_BLOCK_SIZE);
	setvbuf(stdout, NULL, _IOLBF, 0);
	must(c, "nf_log_open", nf_log_open("/dev/null")); /* each hit is an error the store logs */
	part(c, rounds, true);
	memset(c->tags, 0, sizeof(c->tags));
	part(c, rounds, false);
	free(c->buf);
	free(c);
	return 0;
}
