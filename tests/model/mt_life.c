/* Start, end and death of the store under test. */
#include "mt.h"

#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_LIMIT (UINT64_C(64) << 20)
#define LOG_BYTES (UINT64_C(16) << 20)

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static void open_store(struct mt *mt)
{
	char message[512] = "";
	int err = bd_store_open_io(mt->path, mt->io, &mt->options, &mt->store, message, sizeof(message));

	if (err != 0)
		mt_fail(mt, "bd_store_open_io: %s (%s)", strerror(-err), message);
	mt_install_layers(mt);
}

void mt_start(struct mt *mt)
{
	const char *base = getenv("TMPDIR");

	if (base == NULL)
		base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(mt->path, sizeof(mt->path), "%s/neonfs-model-XXXXXX", base);
	if (mkdtemp(mt->path) == NULL)
		mt_fail(mt, "cannot make %s", mt->path);
	mt->buf = nf_io_buffer(MT_BUFFER);
	mt->expect = nf_io_buffer(MT_BUFFER);
	mt->options = (struct bd_open_options){.memory_limit_bytes = MEMORY_LIMIT, .no_background = true};
	mt->highest_file = MM_ROOT;
	mt->started_ns = mt_now_ns();
	mt_expect(mt, "nf_io_mem_create", nf_io_mem_create(0, &mt->io), 0);
	mt_expect(mt, "bd_store_format_io", bd_store_format_io(mt->path, mt->io, &(struct bd_format_options){.log_bytes = LOG_BYTES}), 0);
	open_store(mt);
	mt_op_branch_new(mt);
}

static void close_store(struct mt *mt)
{
	mt_handles_close(mt, MT_BRANCHES);
	mt_expect(mt, "bd_store_close", bd_store_close(mt->store), 0);
	mt->store = NULL;
}

void mt_finish(struct mt *mt)
{
	mt_verify_all(mt);
	mt_scrub(mt);
	close_store(mt);
	nf_io_destroy(mt->io);
	nftw(mt->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	for (unsigned i = 0; i < MT_SNAPSHOTS; i++)
		if (mt->snapshots[i].used)
			mm_tree_unref(mt->snapshots[i].tree);
	for (unsigned i = 0; i < MT_BRANCHES; i++)
		if (mt->branches[i].used)
			mt_branch_clear(&mt->branches[i]);
	free(mt->buf);
	free(mt->expect);
}

/* The index made again from the rest of the store must show the same. */
static void rebuild_at_times(struct mt *mt)
{
	char message[512] = "";

	if (!mt_chance(mt, 150))
		return;
	mt_trace(mt, "rebuild");
	int err = bd_store_rebuild_io(mt->path, mt->io, NULL, NULL, message, sizeof(message));
	if (err != 0)
		mt_fail(mt, "bd_store_rebuild_io: %s (%s)", strerror(-err), message);
}

/* After a clean close everything is durable: cutting the power must change nothing. */
void mt_reopen(struct mt *mt)
{
	bool cut = mt_chance(mt, 500);

	mt_trace(mt, "close, %sopen", cut ? "cut the power, " : "");
	close_store(mt);
	if (cut)
		nf_io_mem_power_cut(mt->io, mt_random(mt));
	rebuild_at_times(mt);
	open_store(mt);
	mt_verify_all(mt);
	for (unsigned i = 0; i < MT_BRANCHES; i++)
		if (mt->branches[i].used)
			mt_durable(mt, i);
}

/* Numbers of files that were lost in a crash may be given again. */
static void find_highest_file(struct mt *mt)
{
	mt->highest_file = MM_ROOT;
	for (unsigned i = 0; i < MT_BRANCHES; i++) {
		const struct mm_tree *tree = mt->branches[i].head;
		if (mt->branches[i].used)
			mt->highest_file = NF_MAX(mt->highest_file, tree->inodes[tree->count - 1]->file);
	}
}

void mt_crash(struct mt *mt)
{
	bool killed = mt_chance(mt, 300); /* only the process dies: what it wrote stays */
	uint64_t seed = mt_random(mt);

	mt->crashes++;
	mt_trace(mt, "crash %" PRIu64 ": %s", mt->crashes, killed ? "process killed" : "power cut");
	/* A process that dies lets nothing go: files that were open and had no name any more are left to recovery. */
	if (mt_chance(mt, 300))
		mt_handles_close(mt, MT_BRANCHES);
	memset(mt->handles, 0, sizeof(mt->handles));
	bd_store_abandon(mt->store);
	mt->store = NULL;
	if (!killed)
		nf_io_mem_power_cut(mt->io, seed);
	rebuild_at_times(mt);
	open_store(mt);
	mt_recover(mt);
	find_highest_file(mt);
	if (mt_chance(mt, 250))
		mt_scrub(mt);
}
