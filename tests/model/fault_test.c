/* Failing I/O: a scripted workload in which I/O call 1, 2, 3 ... of a kind fails, until nothing fails any more.
 *
 *   fault_test KIND [--from N] [--verbose]           KIND: a line of the table `kinds` below
 *   fault_test open-KIND | format-KIND               the same while a store is recovered, or made
 *
 * Whatever fails, the program goes on and every further step is tried; fault.h says what is allowed to come of it. At the end
 * the fault is cleared, the store is closed or the power is cut, and the store is opened again: it must show what the
 * ledger allows, scrub clean, and work. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/nf_log.h"
#include "fault.h"

#define COUNT_MAX 5000

static const struct kind kinds[] = {
	{"read", 1 << NF_FAULT_READ, -EIO, false},	     {"write", 1 << NF_FAULT_WRITE, -EIO, false},
	{"write-full", 1 << NF_FAULT_WRITE, -ENOSPC, false}, {"write-torn", 1 << NF_FAULT_WRITE, -EIO, true},
	{"fsync", 1 << NF_FAULT_FSYNC, -EIO, false},	     {"allocate", 1 << NF_FAULT_ALLOCATE, -EIO, false},
	{"allocate-full", 1 << NF_FAULT_ALLOCATE, -ENOSPC, false}, {"namespace", 1 << NF_FAULT_NAMESPACE, -EIO, false},
};

bool fault_verbose;
uint8_t *fault_buffer;

_Noreturn void fault_fail(const struct run *r, const char *what, int64_t detail)
{
	fprintf(stderr, "FAILED: call %" PRIu64 " of kind %s%s fails, then %s; at step '%s': %s (%" PRId64 ")\n"
		"again: fault_test %s --from %" PRIu64 " --verbose\n", r->number, r->kind->name,
		r->sticky ? " and all after it" : "", r->cut ? "power cut" : "close", r->step, what, detail, r->part,
		r->number);
	exit(1);
}

/* ---- a run ---- */

static const struct bd_open_options open_options = {.memory_limit_bytes = UINT64_C(64) << 20,
						    .no_background = true};

static int open_store(struct run *r)
{
	char message[512] = "";
	int err = bd_store_open_io(r->path, r->io, &open_options, &r->store, message, sizeof(message));

	if (err != 0 && message[0] == 0)
		fault_fail(r, "an open that failed gives no message", err);
	if (fault_verbose)
		printf("  open: %s %s\n", err == 0 ? "ok" : strerror(-err), message);
	return err;
}

static void must(const struct run *r, const char *what, int err)
{
	if (err != 0)
		fault_fail(r, what, err);
}

/* What is there before anything fails: three files of four blocks, synced, and a snapshot. */
static void set_up(struct run *r)
{
	struct file_state none[FILES] = {0};
	struct bd_branch_info info;

	r->step = "set-up";
	tagged_mkdir(r->path);
	must(r, "nf_io_mem_create", nf_io_mem_create(UINT64_C(1) << 30, &r->mem));
	must(r, "nf_io_fault_create", nf_io_fault_create(r->mem, &r->io));
	must(r, "bd_store_format_io", bd_store_format_io(r->path, r->io, &(struct bd_format_options){.log_bytes = UINT64_C(16) << 20}));
	must(r, "bd_store_open_io", open_store(r));
	must(r, "bd_branch_create_empty", bd_branch_create_empty(r->store, "main", 0, 0, &info));
	for (unsigned i = 0; i < FILES; i++) {
		none[i].exists.count = 1;
		for (unsigned k = 0; k < BLOCKS; k++)
			none[i].blocks[k].count = 1;
	}
	view_add(r, "main", "", none, true);
	for (unsigned i = 0; i < 3; i++) {
		step_create(r, "create", "main", i);
		step_write(r, "write", "main", i, 0, 4, 0);
	}
	step_sync(r);
	step_snapshot(r, "snapshot", "main", "first");
	if (r->failures > 0)
		fault_fail(r, "a step of the set-up failed", r->failures);
}

static void work(struct run *r)
{
	struct bd_gc_result collected;

	step_write(r, "overwrite f0", "main", 0, 0, 4, 0);
	step_fsync(r, "fsync f0", "main", 0);
	step_write(r, "synchronous write of f1", "main", 1, 1, 1, BD_WRITE_SYNC);
	step_snapshot(r, "snapshot second", "main", "second");
	step_write(r, "overwrite f0 block 2", "main", 0, 2, 1, 0);
	step_write(r, "write behind the end of f2", "main", 2, 9, 2, 0);
	step_branch(r, "branch child", "main", "child");
	step_write(r, "write f0 in child", "child", 0, 1, 1, 0);
	step_fsync(r, "fsync f0 in child", "child", 0);
	check_live(r);
	step_create(r, "create f3", "main", 3);
	step_write(r, "write f3", "main", 3, 0, 3, 0);
	step_fsync(r, "fsync f3", "main", 3);
	step_rename(r, "rename f3 over f1", "main", 3, 1);
	step_fsync_root(r, "fsync the root", "main");
	step_unlink(r, "unlink f2", "main", 2);
	step_truncate(r, "truncate f0", "main", 0, 1);
	step_fsync(r, "fsync f0 again", "main", 0);
	note(r, "checkpoint", bd_store_checkpoint(r->store));
	step_write(r, "large write of f0", "main", 0, 8, 128, 0);
	step_fsync(r, "fsync large", "main", 0);
	step_snapshot_delete(r, "delete snapshot first", "main", "first");
	note(r, "collect", bd_store_gc(r->store, NULL, NULL, &collected));
	check_live(r);
	step_write(r, "write f1 after collection", "main", 1, 0, 1, 0);
	step_sync(r);
	step_write(r, "last write", "main", 0, 3, 1, 0);
}

/* The store must take new work after the fault. */
static void work_again(struct run *r)
{
	unsigned before = r->failures;

	r->step = "working again";
	step_write(r, "write after the fault", "main", 0, 0, 2, 0);
	step_fsync(r, "fsync after the fault", "main", 0);
	step_snapshot(r, "snapshot after the fault", "main", "after");
	if (r->failures != before)
		fault_fail(r, "a step fails though the fault is gone", 0);
	check_live(r);
}

static void tear_down(struct run *r)
{
	must(r, "bd_store_close at the end", bd_store_close(r->store));
	nf_io_destroy(r->io);
	nf_io_destroy(r->mem);
	tagged_rmdir(r->path);
}

static void end_life(struct run *r, uint64_t seed, bool *ret_clean)
{
	int err;

	if (r->cut) {
		bd_store_abandon(r->store);
		*ret_clean = false;
	} else {
		err = bd_store_close(r->store);
		note(r, "close", err);
		*ret_clean = err == 0;
	}
	nf_io_fault_set(r->io, &(struct nf_fault){0});
	if (r->cut)
		nf_io_mem_power_cut(r->mem, seed);
}

static void arm(struct run *r)
{
	nf_io_fault_set(r->io, &(struct nf_fault){.kinds_mask = r->kind->mask, .countdown = r->number, .sticky = r->sticky,
						  .error = r->kind->error, .torn = r->kind->torn});
}

/* One call fails during the work. False when no call was left to fail. */
static bool run_work(struct run *r)
{
	bool struck, clean;

	set_up(r);
	arm(r);
	work(r);
	struck = nf_io_fault_struck(r->io);
	if (!struck && r->failures > 0)
		fault_fail(r, "a step fails though no call failed", r->failures);
	end_life(r, r->number, &clean);
	r->step = "opening after the fault";
	must(r, "bd_store_open_io", open_store(r));
	r->step = "checking after the fault";
	check_after(r, clean);
	check_scrub(r);
	work_again(r);
	tear_down(r);
	return struck;
}

/* One call fails while the store recovers from a power cut. */
static bool run_open(struct run *r)
{
	bool struck, clean;
	int err;

	set_up(r);
	work(r);
	r->cut = true;
	end_life(r, r->number, &clean);
	arm(r);
	r->step = "opening with a fault";
	err = open_store(r);
	struck = nf_io_fault_struck(r->io);
	if (err != 0 && !struck)
		fault_fail(r, "the store does not open though no call failed", err);
	nf_io_fault_set(r->io, &(struct nf_fault){0});
	if (err == 0) {
		check_after(r, false);
		bd_store_abandon(r->store);
	}
	r->step = "opening after the fault";
	must(r, "bd_store_open_io", open_store(r));
	check_after(r, false);
	check_scrub(r);
	work_again(r);
	tear_down(r);
	return struck;
}

/* One call fails while the store is made: that is an error, and what is left is not taken for a store. */
static bool run_format(struct run *r)
{
	bool struck;
	int err;

	r->step = "formatting with a fault";
	tagged_mkdir(r->path);
	must(r, "nf_io_mem_create", nf_io_mem_create(UINT64_C(1) << 30, &r->mem));
	must(r, "nf_io_fault_create", nf_io_fault_create(r->mem, &r->io));
	arm(r);
	err = bd_store_format_io(r->path, r->io, &(struct bd_format_options){.log_bytes = UINT64_C(16) << 20});
	struck = nf_io_fault_struck(r->io);
	nf_io_fault_set(r->io, &(struct nf_fault){0});
	if (struck != (err != 0))
		fault_fail(r, "format with a failed call must fail, and only then", err);
	if (open_store(r) == 0)
		must(r, "bd_store_close", bd_store_close(r->store));
	else if (err == 0)
		fault_fail(r, "a store that was made does not open", err);
	nf_io_destroy(r->io);
	nf_io_destroy(r->mem);
	tagged_rmdir(r->path);
	return struck;
}

/* What is made to fail, by the program's argument. */
struct part {
	const char *name;
	bool (*run)(struct run *r);
	unsigned variants; /* bit 0 of a variant: all later calls fail too; bit 1: power cut instead of close */
};
static const struct part parts[] = {{"", run_work, 4}, {"open-", run_open, 2}, {"format-", run_format, 2}};

/* Every call of the first 300; of very long sequences then one in 64, which still meets each kind of place. */
static uint64_t next_number(uint64_t number)
{
	return number + 1 + (number > 300 ? number / 64 : 0);
}

static void run_all(const char *argument, const struct part *part, const struct kind *kind, uint64_t from)
{
	uint64_t total = 0;

	for (unsigned variant = 0; variant < part->variants; variant++)
		for (uint64_t number = from;; number = next_number(number)) {
			struct run *r = calloc(1, sizeof(*r));
			bool struck;
			if (r == NULL)
				abort();
			*r = (struct run){.part = argument, .kind = kind, .number = number, .sticky = variant & 1,
					  .cut = variant & 2};
			if (fault_verbose)
				printf("%s call %" PRIu64 " sticky %d cut %d\n", argument, number, r->sticky, r->cut);
			struck = part->run(r);
			free(r);
			total++;
			if (!struck)
				break;
			if (number > COUNT_MAX) {
				fprintf(stderr, "fault_test: no end after %d calls\n", COUNT_MAX);
				exit(1);
			}
		}
	printf("%s: %" PRIu64 " runs\n", argument, total);
}

static bool is_named(const char *argument, const struct part *part, const struct kind *kind)
{
	size_t size = strlen(part->name);

	return strncmp(argument, part->name, size) == 0 && strcmp(argument + size, kind->name) == 0;
}

int main(int argc, char **argv)
{
	const char *argument = argc > 1 ? argv[1] : "";
	uint64_t from = 1;
	bool done = false;

	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "--verbose") == 0)
			fault_verbose = true;
		else if (strcmp(argv[i], "--from") == 0 && i + 1 < argc)
			from = strtoull(argv[++i], NULL, 10);
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	fault_buffer = nf_io_buffer((size_t)BLOCKS * NF_BLOCK_SIZE);
	if (!fault_verbose) /* each fault is an error the store logs */
		must(&(struct run){.part = argument, .kind = &kinds[0], .step = "log"}, "nf_log_open", nf_log_open("/dev/null"));
	for (unsigned i = 0; i < NF_ARRAY_LEN(parts); i++)
		for (unsigned k = 0; k < NF_ARRAY_LEN(kinds); k++)
			if (is_named(argument, &parts[i], &kinds[k])) {
				run_all(argument, &parts[i], &kinds[k], from);
				done = true;
			}
	free(fault_buffer);
	if (!done)
		fprintf(stderr, "usage: fault_test [open-|format-]KIND [--from N] [--verbose]\n");
	return done ? 0 : 2;
}
