/* The store against the ledger of the fault test. */
#include "fault.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Read a file of a view and hold it against what is allowed. `strict`: errors are not allowed. */
static void check_file(struct run *r, struct view_state *v, const struct file_state *allowed, unsigned file, bool strict)
{
	struct bd_inode *inode;
	uint64_t tag;
	int err = open_file(r, v->branch, v->label, file, &inode);
	ssize_t got;

	if (err == -ENOENT) {
		if (!may_be(&allowed->exists, 0))
			fault_fail(r, "a file is gone", file);
		return;
	}
	if (err != 0) {
		if (strict)
			fault_fail(r, "look-up fails", err);
		return;
	}
	if (!may_be(&allowed->exists, 1))
		fault_fail(r, "a file is there that must not be", file);
	for (unsigned i = 0; i < BLOCKS; i++) {
		memset(fault_buffer, 0, NF_BLOCK_SIZE);
		got = bd_read(inode, (uint64_t)i * NF_BLOCK_SIZE, fault_buffer, NF_BLOCK_SIZE);
		if (got < 0 && strict)
			fault_fail(r, "a read fails", got);
		if (got < 0)
			continue;
		if (!tagged_check(fault_buffer, i, &tag))
			fault_fail(r, "a block is torn or from elsewhere", i);
		if (!may_be(&allowed->blocks[i], (uint32_t)tag)) {
			fprintf(stderr, "file f%u of %s@%s: tag %" PRIu64 ", allowed:", file, v->branch, v->label, tag);
			for (unsigned k = 0; k < allowed->blocks[i].count; k++)
				fprintf(stderr, " %u", allowed->blocks[i].tags[k]);
			fprintf(stderr, "\n");
			fault_fail(r, "a block has a version it must not have", i);
		}
	}
	bd_inode_unref(inode, 1);
}

void check_live(struct run *r)
{
	r->step = "reading while I/O may fail";
	for (unsigned i = 0; i < VIEWS; i++)
		for (unsigned k = 0; r->views[i].used && r->views[i].certain && !r->views[i].maybe_gone && k < FILES; k++)
			check_file(r, &r->views[i], &r->views[i].live[k], k, false);
}

void check_after(struct run *r, bool clean)
{
	for (unsigned i = 0; i < VIEWS; i++) {
		struct view_state *v = &r->views[i];
		struct bd_inode *root;
		int err;
		if (!v->used)
			continue;
		err = open_root(r, v->branch, v->label, &root);
		if (err == -ENOENT && (!v->certain || v->maybe_gone))
			continue;
		if (err != 0)
			fault_fail(r, v->label[0] != 0 ? "an acknowledged snapshot is gone" : "an acknowledged branch is gone", err);
		bd_inode_unref(root, 1);
		for (unsigned k = 0; k < FILES; k++)
			check_file(r, v, clean ? &v->live[k] : &v->disk[k], k, true);
		memcpy(clean ? v->disk : v->live, clean ? v->live : v->disk, sizeof(v->live));
	}
}

static void print_line(void *arg, const char *line)
{
	(void)arg;
	fprintf(stderr, "scrub: %s\n", line);
}

void check_scrub(struct run *r)
{
	struct bd_scrub_result result;
	int err = bd_store_scrub(r->store, NULL, print_line, NULL, &result);

	if (err != 0)
		fault_fail(r, "scrub fails", err);
	if (result.bad_blocks + result.bad_keys + result.orphan_keys != 0)
		fault_fail(r, "scrub finds damage", (int64_t)(result.bad_blocks + result.bad_keys));
}

