/* The store against a plain in-memory model, with random operations from a seed.
 *
 *   model_test [--seed N] [--ops N] [--crash-every N] [--check-every N] [--kinds N] [--trace] [--seeds FILE]
 *
 * --crash-every N   a crash about every N operations; 0 = never (default 400)
 * --check-every N   besides, scrub and read everything after every N operations: to find the one that did it
 * --kinds N         use only the first N kinds of operations: a sequence kept when there were no more
 * --seeds FILE      run each line "seed ops crash-every [kinds]" of the file instead (kept failures)
 * NEONFS_MODEL_OPS  when set, the number of operations instead of --ops (longer runs)
 *
 * See mt.h for how the model works. Exit 0, or 1 with the last operations and how to run them again. */
#include "mt.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CLOCK_SLACK_NS 50000000

struct operation {
	void (*run)(struct mt *mt);
	unsigned weight;
};

static const struct operation operations[] = {
	{mt_op_write, 2400},	   {mt_op_read, 900},	     {mt_op_truncate, 500},	{mt_op_fallocate, 500},
	{mt_op_clone, 500},	   {mt_op_seek, 300},	     {mt_op_fsync, 400},	{mt_op_create, 600},
	{mt_op_mkdir, 250},	   {mt_op_symlink, 100},     {mt_op_mknod, 60},		{mt_op_unnamed, 80},
	{mt_op_link, 250},	   {mt_op_unlink, 550},	     {mt_op_rmdir, 200},	{mt_op_rename, 700},
	{mt_op_lookup, 200},	   {mt_op_readdir, 200},     {mt_op_readlink, 50},	{mt_op_setattr, 300},
	{mt_op_xattr_set, 200},	   {mt_op_xattr_remove, 80}, {mt_op_xattr_get, 100},	{mt_op_close_handle, 500},
	{mt_op_read_only, 30},	   {mt_op_branch_new, 4},    {mt_op_branch_create, 25}, {mt_op_branch_delete, 20},
	{mt_op_branch_rename, 10}, {mt_op_branch_protect, 8}, {mt_op_snapshot, 40},	{mt_op_snapshot_delete, 60},
	{mt_op_diff, 15},	   {mt_op_gc, 25},	     {mt_op_checkpoint, 30},	{mt_op_sync, 10},
	{mt_op_verify, 10},	   {mt_op_scrub, 3},	     {mt_reopen, 4},	       {mt_op_branch_detach, 15},
	{mt_op_layer, 20},	   {mt_op_layer_delete, 12},
};

/* How many kinds there were when sequences were first kept: a sequence is the same only with as many. New kinds go to the end. */
#define FIRST_KINDS 39u

static void step(struct mt *mt)
{
	uint64_t total = 0, at;
	unsigned i = 0;

	mt->op++;
	mt->started_ns = mt_now_ns();
	if (mt->crash_every > 0 && mt_below(mt, mt->crash_every) == 0) {
		mt_crash(mt);
		return;
	}
	for (unsigned k = 0; k < MT_BRANCHES; k++)
		if (mt->branches[k].history_count >= MT_HISTORY_MAX) {
			mt_op_sync(mt);
			return;
		}
	if (mt_any_branch(mt) == MT_BRANCHES) {
		mt_op_branch_new(mt);
		return;
	}
	for (unsigned k = 0; k < mt->kinds; k++)
		total += operations[k].weight;
	at = mt_below(mt, total);
	while (at >= operations[i].weight)
		at -= operations[i++].weight;
	operations[i].run(mt);
}

/* The random numbers of the checks are not those of the sequence: it stays the same. */
static void check(struct mt *mt)
{
	uint64_t random = mt->random;

	mt_scrub(mt);
	mt_verify_all(mt);
	mt->random = random;
}

struct plan {
	const char *program;
	uint64_t seed, ops, crash_every, check_every;
	unsigned kinds;
	bool trace;
};

static void run(const struct plan *plan)
{
	struct mt *mt = calloc(1, sizeof(*mt));
	int64_t start_ns = mt_now_ns();

	if (mt == NULL)
		abort();
	*mt = (struct mt){.seed = plan->seed, .random = plan->seed, .ops = plan->ops, .crash_every = plan->crash_every,
			  .kinds = NF_MIN(plan->kinds, (unsigned)NF_ARRAY_LEN(operations)), .trace = plan->trace, .program = plan->program, .epsilon_ns = CLOCK_SLACK_NS};
	printf("seed=%" PRIu64 " ops=%" PRIu64 " crash-every=%" PRIu64 "\n", plan->seed, plan->ops, plan->crash_every);
	fflush(stdout);
	mt_start(mt);
	while (mt->op < plan->ops) {
		step(mt);
		if (plan->check_every > 0 && mt->op % plan->check_every == 0)
			check(mt);
	}
	mt_finish(mt);
	printf("ok: %" PRIu64 " operations, %" PRIu64 " crashes, %.1f s\n", plan->ops, mt->crashes,
	       (double)(mt_now_ns() - start_ns) / 1e9);
	free(mt);
}

#define SEEDS_MAX 256

/* Reads the lines "seed ops crash-every [kinds]" of path into plans. Returns how many, or -1. The file is read whole before anything forks:
 * a child that exits moves the position of a file that it shares with its parent. */
static int load_seeds(const struct plan *common, const char *path, struct plan plans[SEEDS_MAX])
{
	FILE *file = fopen(path, "r");
	char line[256];
	int count = 0;

	if (file == NULL) {
		fprintf(stderr, "%s: cannot open %s\n", common->program, path);
		return -1;
	}
	while (count < SEEDS_MAX && fgets(line, sizeof(line), file) != NULL) {
		struct plan plan = *common;
		plan.kinds = FIRST_KINDS;
		if (sscanf(line, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %u", &plan.seed, &plan.ops, &plan.crash_every, &plan.kinds) >= 3)
			plans[count++] = plan; /* the rest are comments */
	}
	fclose(file);
	return count;
}

/* Each kept failure in a process of its own, so that all of them are seen. Returns 0 if none failed. */
static int run_seeds(const struct plan *common, const char *path)
{
	static struct plan plans[SEEDS_MAX];
	int count = load_seeds(common, path, plans), failed = 0, status;

	for (int i = 0; i < count; i++) {
		pid_t child;
		fflush(stdout);
		child = fork();
		if (child == 0) {
			run(&plans[i]);
			exit(0);
		}
		if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0)
			failed++;
	}
	if (count <= 0)
		return 1;
	printf("%d kept sequences, %d failed\n", count, failed);
	return failed;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seed", required_argument, NULL, 's'},
						{"ops", required_argument, NULL, 'o'},
						{"crash-every", required_argument, NULL, 'c'},
						{"check-every", required_argument, NULL, 'k'},
						{"kinds", required_argument, NULL, 'i'},
						{"trace", no_argument, NULL, 't'},
						{"seeds", required_argument, NULL, 'f'},
						{0}};
	struct plan plan = {.program = argv[0], .seed = (uint64_t)time(NULL) << 16 ^ (uint64_t)getpid(), .ops = 20000,
			    .crash_every = 400, .kinds = NF_ARRAY_LEN(operations)};
	const char *seeds = NULL, *from_env = getenv("NEONFS_MODEL_OPS");
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (c) {
		case 's':
			plan.seed = strtoull(optarg, NULL, 10);
			break;
		case 'o':
			plan.ops = strtoull(optarg, NULL, 10);
			break;
		case 'c':
			plan.crash_every = strtoull(optarg, NULL, 10);
			break;
		case 'k':
			plan.check_every = strtoull(optarg, NULL, 10);
			break;
		case 'i':
			plan.kinds = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 't':
			plan.trace = true;
			break;
		case 'f':
			seeds = optarg;
			break;
		default:
			return 2;
		}
	if (seeds != NULL)
		return run_seeds(&plan, seeds) == 0 ? 0 : 1;
	if (from_env != NULL && *from_env != 0)
		plan.ops = strtoull(from_env, NULL, 10);
	run(&plan);
	return 0;
}
