/* Records for the tests of walapply/state: main data written field by field, operations collected. */
#ifndef STATE_CASE_H
#define STATE_CASE_H

/* cmocka.h wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/nf_cursor.h"
#include "walapply/decode/wa_records.h"
#include "walapply/state/wa_state.h"

#define CASE_OPS_MAX 8

struct state_case {
	struct wa_version version;
	struct wa_record record;
	uint8_t main[4096];
	struct nf_writer writer;
	struct wa_state_op ops[CASE_OPS_MAX];
	unsigned count;
	struct wa_error error;
};

/* Begin a record of that type. xid 700, origin 0, at 0/1000 to 0/1100. */
static inline void case_begin(struct state_case *c, int major, enum wa_rmgr rmid, uint8_t info)
{
	*c = (struct state_case){.version = {.major = major}};
	c->record.rmid = (uint8_t)rmid;
	c->record.info = info;
	c->record.xid = 700;
	c->record.lsn.v = 0x1000;
	c->record.end.v = 0x1100;
	c->writer = nf_writer_init(c->main, sizeof(c->main));
}

static inline void case_u16(struct state_case *c, uint16_t v)
{
	nf_write_u16(&c->writer, v);
}

static inline void case_u32(struct state_case *c, uint32_t v)
{
	nf_write_u32(&c->writer, v);
}

static inline void case_u64(struct state_case *c, uint64_t v)
{
	nf_write_u64(&c->writer, v);
}

static inline int case_collect(void *arg, const struct wa_state_op *op)
{
	struct state_case *c = arg;
	assert_true(c->count < CASE_OPS_MAX);
	c->ops[c->count++] = *op;
	return 0;
}

/* Turn the record into operations; main data of `size` bytes is taken from memory of just that size, so that a read too far is seen. */
static inline int case_run_cut(struct state_case *c, size_t size)
{
	static uint8_t *exact;
	free(exact);
	exact = malloc(size > 0 ? size : 1);
	assert_non_null(exact);
	memcpy(exact, c->main, size);
	c->record.main = exact;
	c->record.main_len = (uint32_t)size;
	c->count = 0;
	return wa_state_ops(&c->version, &c->record, case_collect, c, &c->error);
}

static inline void case_run(struct state_case *c)
{
	assert_false(c->writer.failed);
	assert_int_equal(case_run_cut(c, c->writer.offset), 0);
	for (unsigned i = 0; i < c->count; i++) {
		assert_int_equal(c->ops[i].lsn.v, 0x1000);
		assert_int_equal(c->ops[i].end.v, 0x1100);
	}
}

/* Every shorter record is refused, in words, at its place; `least` is the shortest that is whole. */
static inline void case_refuse_cuts(struct state_case *c, size_t least)
{
	for (size_t size = 0; size < least; size++) {
		memset(&c->error, 0, sizeof(c->error));
		assert_int_equal(case_run_cut(c, size), -EBADMSG);
		assert_int_equal(c->error.lsn.v, 0x1000);
		assert_true(strlen(c->error.text) > 0);
	}
	assert_int_equal(case_run_cut(c, least), 0);
}

#endif
