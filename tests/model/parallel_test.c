/* Many threads on one store, with blocks that describe themselves.
 *
 *   parallel_test [--seconds N] [--seed N] [--writers N]
 *
 * Writer w numbers its writes 1, 2, 3 ... Write n carries the tag w * SPAN + n. Odd n go to a file of its own, even n to the
 * writer's share of a file that all writers use; in both the place follows from n. So from the highest number that a
 * view shows of a writer follows what every block of it must be: a snapshot is the state after some
 * prefix of each writer's writes, across both files. Writes that had returned before the snapshot was asked for are
 * in it; writes that had not begun when it returned are not.
 *
 * Beside the writers: readers of the head (a block is whole and not older than what had been written before the
 * read); a thread that snapshots, checks, keeps and deletes; one that branches, writes into the branch, and deletes; one that
 * renames over a name that must never be missing; one that collects, checkpoints, syncs and scrubs. At the end
 * the power is cut, and what had been synced must be there. Made to run under ThreadSanitizer as well. */
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "tagged.h"

#define WRITERS_MAX 8
#define SPAN UINT64_C(1000000000)
#define OWN_BLOCKS 24
#define SHARE_BLOCKS 16
#define KEPT 4

struct writer {
	_Atomic uint64_t begun, done, synced; /* numbers of writes */
};

/* What a view showed: the highest write of each writer. */
struct sight {
	uint64_t newest[WRITERS_MAX];
};

static struct parallel {
	unsigned writers;
	uint64_t seed;
	char path[256];
	struct nf_io *io;
	struct bd_store *store;
	struct bd_branch_id main;
	struct writer writer[WRITERS_MAX];
	_Atomic bool stop;
	_Atomic uint64_t snapshots, branches, reads, renames, collections;
} p;

static void fail(const char *format, ...) NF_PRINTF(1, 2);
static void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "FAILED (seed %" PRIu64 "): ", p.seed);
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	_Exit(1);
}

static void must(const char *what, int64_t err)
{
	if (err < 0)
		fail("%s: %s", what, strerror((int)-err));
}

static struct bd_inode *open_in(struct bd_view view, const char *name)
{
	struct bd_inode *root, *inode;

	must("bd_root", bd_root(p.store, view, &root));
	must(name, bd_lookup(root, name, &inode));
	bd_inode_unref(root, 1);
	return inode;
}

static struct bd_view head(void)
{
	return (struct bd_view){.branch = p.main, .epoch = BD_EPOCH_HEAD};
}

static void own_name(unsigned w, char name[16])
{
	snprintf(name, 16, "own%u", w);
}

/* ---- where write n of a writer goes, and what a block must be after write n ---- */

static bool goes_to_share(uint64_t n)
{
	return n % 2 == 0;
}

static uint64_t place_of(unsigned w, uint64_t n)
{
	return goes_to_share(n) ? w + (n / 2) % SHARE_BLOCKS * p.writers : (n / 2) % OWN_BLOCKS;
}

/* The newest write <= n that went to the i-th block of its own file or of its share; 0: none. */
static uint64_t newest_at(uint64_t n, bool share, uint64_t i)
{
	uint64_t period = 2 * (share ? SHARE_BLOCKS : OWN_BLOCKS);
	uint64_t first = share ? (i == 0 ? period : 2 * i) : 2 * i + 1;

	return n < first ? 0 : first + (n - first) / period * period;
}

/* ---- reading a view ---- */

/* The number of the write that a block shows; 0 for zeros. */
static uint64_t number_in(const uint8_t *block, unsigned w, uint64_t blkno, const char *where)
{
	uint64_t tag;

	if (!tagged_check(block, blkno, &tag))
		fail("%s: block %" PRIu64 " of writer %u is torn, mixed or from elsewhere", where, blkno, w);
	if (tag != 0 && tag / SPAN != w + 1)
		fail("%s: block %" PRIu64 " of writer %u was written by writer %" PRIu64, where, blkno, w, tag / SPAN - 1);
	return tag % SPAN;
}

static void read_padded(struct bd_inode *inode, uint8_t *buf, size_t size)
{
	ssize_t got = bd_read(inode, 0, buf, size);

	must("bd_read", got);
	memset(buf + got, 0, size - (size_t)got);
}

/* Read the whole view; it must be the state after a prefix of each writer's writes. */
static void look(struct bd_view view, const char *where, struct sight *ret_sight)
{
	size_t share_size = (size_t)SHARE_BLOCKS * p.writers * NF_BLOCK_SIZE;
	size_t own_size = (size_t)OWN_BLOCKS * NF_BLOCK_SIZE;
	uint8_t *share = nf_io_buffer(share_size), *own = nf_io_buffer(own_size);
	struct bd_inode *inode = open_in(view, "share");
	char name[16];

	read_padded(inode, share, share_size);
	bd_inode_unref(inode, 1);
	for (unsigned w = 0; w < p.writers; w++) {
		uint64_t numbers[OWN_BLOCKS + SHARE_BLOCKS], newest = 0;
		own_name(w, name);
		inode = open_in(view, name);
		read_padded(inode, own, own_size);
		bd_inode_unref(inode, 1);
		for (unsigned i = 0; i < OWN_BLOCKS; i++)
			numbers[i] = number_in(own + (size_t)i * NF_BLOCK_SIZE, w, i, where);
		for (unsigned i = 0; i < SHARE_BLOCKS; i++) {
			uint64_t blkno = w + (uint64_t)i * p.writers;
			numbers[OWN_BLOCKS + i] = number_in(share + blkno * NF_BLOCK_SIZE, w, blkno, where);
		}
		for (unsigned i = 0; i < OWN_BLOCKS + SHARE_BLOCKS; i++)
			newest = NF_MAX(newest, numbers[i]);
		for (unsigned i = 0; i < OWN_BLOCKS + SHARE_BLOCKS; i++) {
			bool of_share = i >= OWN_BLOCKS;
			uint64_t want = newest_at(newest, of_share, of_share ? i - OWN_BLOCKS : i);
			if (numbers[i] != want)
				fail("%s: write %" PRIu64 " of writer %u is visible, but its %s block %u shows write %" PRIu64
				     " and not %" PRIu64, where, newest, w, of_share ? "shared" : "own", i, numbers[i], want);
		}
		ret_sight->newest[w] = newest;
	}
	free(share);
	free(own);
}

static void check_between(const struct sight *low, const struct sight *seen, const struct sight *high, const char *where)
{
	for (unsigned w = 0; w < p.writers; w++)
		if (seen->newest[w] < low->newest[w] || seen->newest[w] > high->newest[w])
			fail("%s shows writes of writer %u up to %" PRIu64 ", but %" PRIu64 " were done before it and %" PRIu64
			     " begun after it", where, w, seen->newest[w], low->newest[w], high->newest[w]);
}

static void note_done(struct sight *ret)
{
	for (unsigned w = 0; w < p.writers; w++)
		ret->newest[w] = p.writer[w].done;
}

static void note_begun(struct sight *ret)
{
	for (unsigned w = 0; w < p.writers; w++)
		ret->newest[w] = p.writer[w].begun;
}

static void check_same(const struct sight *a, const struct sight *b, const char *where)
{
	for (unsigned w = 0; w < p.writers; w++)
		if (a->newest[w] != b->newest[w])
			fail("%s: history changed: writer %u was at %" PRIu64 ", now at %" PRIu64, where, w, a->newest[w],
			     b->newest[w]);
}

/* ---- threads ---- */

static void *writer_main(void *arg)
{
	unsigned w = (unsigned)(uintptr_t)arg;
	uint64_t random = p.seed + w, n = 0;
	uint8_t *block = nf_io_buffer(NF_BLOCK_SIZE);
	struct bd_inode *own, *share = open_in(head(), "share");
	char name[16];

	own_name(w, name);
	own = open_in(head(), name);
	while (!p.stop) {
		unsigned dice = (unsigned)(tagged_random(&random) % 64);
		struct bd_inode *to = goes_to_share(++n) ? share : own;
		uint64_t blkno = place_of(w, n);
		tagged_fill(block, (w + 1) * SPAN + n, blkno);
		p.writer[w].begun = n;
		must("bd_write", bd_write(to, blkno * NF_BLOCK_SIZE, block, NF_BLOCK_SIZE, dice == 0 ? BD_WRITE_SYNC : 0));
		p.writer[w].done = n;
		if (dice == 1) {
			must("bd_fsync", bd_fsync(own, true));
			must("bd_fsync", bd_fsync(share, true));
			p.writer[w].synced = n;
		}
	}
	bd_inode_unref(own, 1);
	bd_inode_unref(share, 1);
	free(block);
	return NULL;
}

/* Single blocks and ranges of the shared file, in the head. */
static void *reader_main(void *arg)
{
	uint64_t random = p.seed + 100 + (uintptr_t)arg;
	uint8_t *buf = nf_io_buffer(8 * NF_BLOCK_SIZE);
	struct bd_inode *share = open_in(head(), "share");
	uint64_t blocks = (uint64_t)SHARE_BLOCKS * p.writers;
	struct sight low, high;

	while (!p.stop) {
		uint64_t first = tagged_random(&random) % blocks, count = 1 + tagged_random(&random) % NF_MIN(8, blocks - first);
		ssize_t got;
		note_done(&low);
		got = bd_read(share, first * NF_BLOCK_SIZE, buf, count * NF_BLOCK_SIZE);
		must("bd_read", got);
		note_begun(&high);
		for (uint64_t b = first; (b - first + 1) * NF_BLOCK_SIZE <= (uint64_t)got; b++) {
			unsigned w = (unsigned)(b % p.writers);
			uint64_t number = number_in(buf + (b - first) * NF_BLOCK_SIZE, w, b, "the head");
			if (number < newest_at(low.newest[w], true, b / p.writers) || number > high.newest[w])
				fail("the head's shared block %" PRIu64 " shows write %" PRIu64 ", though %" PRIu64 " were done", b,
				     number, low.newest[w]);
		}
		p.reads++;
	}
	bd_inode_unref(share, 1);
	free(buf);
	return NULL;
}

/* Snapshots are taken, checked, kept for a while, checked again, and deleted. */
static void *snapshot_main(void *arg)
{
	struct sight kept[KEPT], low, high, seen;
	struct bd_snapshot_info info[KEPT];
	char label[KEPT][32], where[64];

	(void)arg;
	for (uint64_t i = 0; !p.stop; i++) {
		unsigned at = i % KEPT;
		if (i >= KEPT) {
			snprintf(where, sizeof(where), "old snapshot %s", label[at]);
			look((struct bd_view){p.main, info[at].epoch}, where, &seen);
			check_same(&kept[at], &seen, where);
			must("bd_snapshot_delete", bd_snapshot_delete(p.store, p.main, label[at]));
		}
		snprintf(label[at], sizeof(label[at]), "s%" PRIu64, i);
		note_done(&low);
		must("bd_snapshot_create", bd_snapshot_create(p.store, p.main, label[at], &info[at]));
		note_begun(&high);
		snprintf(where, sizeof(where), "snapshot %s", label[at]);
		look((struct bd_view){p.main, info[at].epoch}, where, &kept[at]);
		check_between(&low, &kept[at], &high, where);
		p.snapshots++;
	}
	return NULL;
}

static void *branch_main(void *arg)
{
	uint8_t *block = nf_io_buffer(NF_BLOCK_SIZE), *back = nf_io_buffer(NF_BLOCK_SIZE);
	char name[32];

	(void)arg;
	for (uint64_t i = 0; !p.stop; i++) {
		struct bd_branch_info info;
		struct bd_inode *share;
		struct bd_view view;
		struct sight low, high, seen;
		snprintf(name, sizeof(name), "b%" PRIu64, i);
		note_done(&low);
		must("bd_branch_create", bd_branch_create(p.store, name, head(), &info, NULL));
		note_begun(&high);
		view = (struct bd_view){info.id, BD_EPOCH_HEAD};
		look(view, name, &seen);
		check_between(&low, &seen, &high, name);
		share = open_in(view, "share");
		for (unsigned k = 0; k < 20; k++) {
			uint64_t blkno = (i + k) % ((uint64_t)SHARE_BLOCKS * p.writers);
			tagged_fill(block, 99 * SPAN + k, blkno);
			must("bd_write", bd_write(share, blkno * NF_BLOCK_SIZE, block, NF_BLOCK_SIZE, 0));
			must("bd_read", bd_read(share, blkno * NF_BLOCK_SIZE, back, NF_BLOCK_SIZE));
			if (memcmp(block, back, NF_BLOCK_SIZE) != 0)
				fail("branch %s does not show what was written into it", name);
		}
		if (i % 2 == 0)
			must("bd_fsync", bd_fsync(share, false));
		bd_inode_unref(share, 1);
		must("bd_branch_delete", bd_branch_delete(p.store, info.id));
		p.branches++;
	}
	free(block);
	free(back);
	return NULL;
}

/* A name that is replaced again and again is never missing, and what it names is complete. */
static void *rename_main(void *arg)
{
	struct bd_create how = {.mode = S_IFREG | 0600};
	uint8_t *block = nf_io_buffer(NF_BLOCK_SIZE);
	struct bd_inode *root, *inode;

	(void)arg;
	must("bd_root", bd_root(p.store, head(), &root));
	for (uint64_t i = 1; !p.stop; i++) {
		must("bd_create", bd_create(root, "fresh", &how, &inode));
		tagged_fill(block, i, 0);
		must("bd_write", bd_write(inode, 0, block, NF_BLOCK_SIZE, 0));
		if (i % 8 == 0)
			must("bd_fsync", bd_fsync(inode, false));
		bd_inode_unref(inode, 1);
		must("bd_rename", bd_rename(root, "fresh", root, "target", 0));
		p.renames++;
	}
	bd_inode_unref(root, 1);
	free(block);
	return NULL;
}

static void *lookup_main(void *arg)
{
	uint8_t *block = nf_io_buffer(NF_BLOCK_SIZE);
	uint64_t last = 0, tag;
	struct bd_inode *root;

	(void)arg;
	must("bd_root", bd_root(p.store, head(), &root));
	while (!p.stop) {
		struct bd_inode *inode;
		struct bd_listing *listing;
		bool found = false;
		must("bd_lookup of a name that is replaced", bd_lookup(root, "target", &inode));
		if (bd_read(inode, 0, block, NF_BLOCK_SIZE) != NF_BLOCK_SIZE || !tagged_check(block, 0, &tag))
			fail("a file that was renamed over a name is not complete");
		if (tag < last)
			fail("a replaced file came back: %" PRIu64 " after %" PRIu64, tag, last);
		last = tag;
		bd_inode_unref(inode, 1);
		must("bd_readdir", bd_readdir(root, &listing));
		for (size_t i = 0; i < listing->count; i++)
			found |= strcmp(listing->entries[i].name, "target") == 0;
		if (!found)
			fail("a name that is replaced is missing in a listing");
		bd_listing_free(listing);
	}
	bd_inode_unref(root, 1);
	free(block);
	return NULL;
}

static void print_line(void *arg, const char *line)
{
	(void)arg;
	fprintf(stderr, "scrub: %s\n", line);
}

static void scrub(void)
{
	struct bd_scrub_result result;

	must("bd_store_scrub", bd_store_scrub(p.store, NULL, print_line, NULL, &result));
	if (result.bad_blocks + result.bad_keys != 0)
		fail("scrub finds %" PRIu64 " bad blocks and %" PRIu64 " bad keys", result.bad_blocks, result.bad_keys);
}

static void *house_main(void *arg)
{
	struct bd_gc_result result;
	struct bd_status status;
	const struct timespec pause = {.tv_nsec = 5000000};

	(void)arg;
	for (uint64_t i = 0; !p.stop; i++) {
		must("bd_store_gc", bd_store_gc(p.store, NULL, NULL, &result));
		must("bd_store_checkpoint", bd_store_checkpoint(p.store));
		must("bd_store_status", bd_store_status(p.store, &status));
		if (status.error != 0)
			fail("the store went read-only: %s", status.error_message);
		if (i % 8 == 7)
			must("bd_store_sync", bd_store_sync(p.store));
		if (i % 16 == 15)
			scrub();
		p.collections++;
		nanosleep(&pause, NULL);
	}
	return NULL;
}

/* ---- the whole ---- */

static void open_store(void)
{
	const struct bd_open_options options = {.memory_limit_bytes = UINT64_C(64) << 20,};
	char message[512];
	int err = bd_store_open_io(p.path, p.io, &options, &p.store, message, sizeof(message));

	if (err != 0)
		fail("bd_store_open_io: %s", message);
}

static void set_up(void)
{
	struct bd_create how = {.mode = S_IFREG | 0600};
	struct bd_branch_info info;
	struct bd_inode *root, *inode;
	uint8_t *block = nf_io_buffer(NF_BLOCK_SIZE);
	char name[16];

	tagged_mkdir(p.path);
	must("nf_io_mem_create", nf_io_mem_create(0, &p.io));
	must("bd_store_format_io", bd_store_format_io(p.path, p.io, &(struct bd_format_options){.log_bytes = UINT64_C(16) << 20}));
	open_store();
	must("bd_branch_create_empty", bd_branch_create_empty(p.store, "main", 0, 0, &info));
	p.main = info.id;
	must("bd_root", bd_root(p.store, head(), &root));
	for (unsigned w = 0; w <= p.writers; w++) {
		own_name(w, name);
		must("bd_create", bd_create(root, w == p.writers ? "share" : name, &how, &inode));
		bd_inode_unref(inode, 1);
	}
	must("bd_create", bd_create(root, "target", &how, &inode));
	tagged_fill(block, 0, 0);
	must("bd_write", bd_write(inode, 0, block, NF_BLOCK_SIZE, 0));
	bd_inode_unref(inode, 1);
	bd_inode_unref(root, 1);
	must("bd_store_sync", bd_store_sync(p.store));
	free(block);
}

/* After the power was cut, a block shows a write between the synced and the last one. */
static void check_synced(void)
{
	size_t size = (size_t)SHARE_BLOCKS * p.writers * NF_BLOCK_SIZE;
	uint8_t *buf = nf_io_buffer(NF_MAX(size, (size_t)OWN_BLOCKS * NF_BLOCK_SIZE));
	char name[16];

	for (unsigned w = 0; w < p.writers; w++)
		for (int share = 0; share < 2; share++) {
			struct bd_inode *inode;
			own_name(w, name);
			inode = open_in(head(), share ? "share" : name);
			read_padded(inode, buf, share ? size : (size_t)OWN_BLOCKS * NF_BLOCK_SIZE);
			bd_inode_unref(inode, 1);
			for (unsigned i = 0; i < (share ? SHARE_BLOCKS : OWN_BLOCKS); i++) {
				uint64_t blkno = share ? w + (uint64_t)i * p.writers : i;
				uint64_t number = number_in(buf + blkno * NF_BLOCK_SIZE, w, blkno, "after the crash");
				if (number < newest_at(p.writer[w].synced, share, i))
					fail("block %" PRIu64 " of writer %u came back as write %" PRIu64 ", synced was %" PRIu64, blkno,
					     w, number, p.writer[w].synced);
			}
		}
	free(buf);
}

int main(int argc, char **argv)
{
	void *(*const helpers[])(void *) = {reader_main, reader_main, snapshot_main, branch_main, rename_main, lookup_main, house_main};
	pthread_t threads[WRITERS_MAX + NF_ARRAY_LEN(helpers)];
	unsigned count = 0, seconds = 5;
	uint64_t writes = 0;

	p.seed = (uint64_t)time(NULL);
	p.writers = 4;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--seconds") == 0)
			seconds = (unsigned)strtoul(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--seed") == 0)
			p.seed = strtoull(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--writers") == 0)
			p.writers = (unsigned)strtoul(argv[i + 1], NULL, 10);
	}
	if (p.writers == 0 || p.writers > WRITERS_MAX)
		p.writers = WRITERS_MAX;
	printf("seed=%" PRIu64 "\n", p.seed);
	fflush(stdout);
	set_up();
	for (unsigned w = 0; w < p.writers; w++)
		if (pthread_create(&threads[count++], NULL, writer_main, (void *)(uintptr_t)w) != 0)
			fail("no thread");
	for (unsigned i = 0; i < NF_ARRAY_LEN(helpers); i++)
		if (pthread_create(&threads[count++], NULL, helpers[i], (void *)(uintptr_t)i) != 0)
			fail("no thread");
	nanosleep(&(struct timespec){.tv_sec = seconds}, NULL);
	p.stop = true;
	while (count > 0)
		pthread_join(threads[--count], NULL);
	scrub();
	bd_store_abandon(p.store);
	nf_io_mem_power_cut(p.io, p.seed);
	open_store();
	check_synced();
	scrub();
	must("bd_store_close", bd_store_close(p.store));
	nf_io_destroy(p.io);
	tagged_rmdir(p.path);
	for (unsigned w = 0; w < p.writers; w++)
		writes += p.writer[w].done;
	printf("ok: %" PRIu64 " writes, %" PRIu64 " reads, %" PRIu64 " snapshots, %" PRIu64 " branches, %" PRIu64 " renames, %" PRIu64
	       " collections\n", writes, p.reads, p.snapshots, p.branches, p.renames, p.collections);
	if (writes == 0 || p.reads == 0 || p.snapshots <= KEPT || p.branches == 0 || p.renames == 0 || p.collections == 0)
		fail("some thread did nothing");
	return 0;
}
