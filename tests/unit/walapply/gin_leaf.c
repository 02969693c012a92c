/* Leaves of GIN posting trees: new ones, all actions on segments, leaves of before 9.4, and random changes against a model. */
#include "gin_case.h"

#include <stdlib.h>

enum { CREATE_PTREE = 0x10, INSERT = 0x20, VACUUM_LEAF = 0x90 };
enum { DELETE = 1, INSERT_SEGMENT, REPLACE, ADD };

/* Bytes that grow: segments, or the actions of a record. */
struct bytes {
	unsigned size;
	uint8_t data[4 * GIN_CASE_SEGMENT_MAX];
};

static void add_segment(struct bytes *to, unsigned count, const uint64_t *tids)
{
	to->size += make_segment(to->data + to->size, tids, count);
}

static void add_head(struct bytes *to, unsigned segno, unsigned what)
{
	if (to->size == 0)
		to->size = 2;
	wa_put16(to->data, (uint16_t)(wa_get16(to->data) + 1));
	to->data[to->size++] = (uint8_t)segno;
	to->data[to->size++] = (uint8_t)what;
}

static void add_items(struct bytes *to, unsigned segno, unsigned count, const uint64_t *tids)
{
	add_head(to, segno, ADD);
	wa_put16(to->data + to->size, (uint16_t)count);
	to->size += 2;
	for (unsigned i = 0; i < count; i++, to->size += 6)
		make_tid(to->data + to->size, tids[i]);
}

#define TIDS(...)                                                                                                                \
	sizeof((uint64_t[]){__VA_ARGS__}) / 8, (uint64_t[])                                                                      \
	{                                                                                                                        \
		__VA_ARGS__                                                                                                      \
	}

/* Three segments, the second with an odd number of bytes. */
static struct bytes three(void)
{
	struct bytes s = {0};
	add_segment(&s, TIDS(2049, 2050, 4097));
	add_segment(&s, TIDS(8193, 8200));
	add_segment(&s, TIDS(1 << 20, 1 << 21, 1ull << 42));
	return s;
}

static struct index_case *vacuum(const struct bytes *actions)
{
	struct index_case *c = case_new(15, &gin, VACUUM_LEAF, wa_redo_gin_vacuum_leaf);
	struct bytes before = three();
	case_ref(c, 0, 7, false, actions->data, actions->size);
	set_leaf(c, before.data, before.size);
	return c;
}

static void expect(const struct bytes *actions, const struct bytes *after)
{
	struct index_case *c = vacuum(actions);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_leaf(c, after->data, after->size);
	case_free(c);
}

static void refuse(const struct bytes *actions)
{
	struct index_case *c = vacuum(actions);
	case_refuse(c, 0);
	case_free(c);
}

static void create(void **state)
{
	(void)state;
	struct index_case *c = case_new(15, &gin, CREATE_PTREE, wa_redo_gin_create_tree);
	struct bytes segments = three(), main = {.size = 4 + segments.size};
	wa_put32(main.data, segments.size);
	memcpy(main.data + 4, segments.data, segments.size);
	case_main(c, main.data, main.size);
	case_ref(c, 0, 7, true, NULL, 0);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_leaf(c, segments.data, segments.size);
	assert_int_equal(wa_get32(c->page + WA_PAGE_SIZE - 8), 0xFFFFFFFF);
	for (unsigned i = 24; i < 32; i++)
		assert_int_equal(c->page[i], 0); /* the right bound */
	case_free(c);
}

static void deletes(void **state)
{
	(void)state;
	struct bytes first = {0}, after_first = {0}, rest = {0}, after_rest = {0}, all = {0}, none = {0};
	add_head(&first, 0, DELETE);
	add_segment(&after_first, TIDS(8193, 8200));
	add_segment(&after_first, TIDS(1 << 20, 1 << 21, 1ull << 42));
	expect(&first, &after_first);
	add_head(&rest, 1, DELETE);
	add_head(&rest, 2, DELETE);
	add_segment(&after_rest, TIDS(2049, 2050, 4097));
	expect(&rest, &after_rest);
	for (unsigned i = 0; i < 3; i++)
		add_head(&all, i, DELETE);
	expect(&all, &none);
}

static void inserts(void **state)
{
	(void)state;
	struct bytes actions = {0}, after = {0};
	add_head(&actions, 0, INSERT_SEGMENT);
	add_segment(&actions, TIDS(1));
	add_head(&actions, 2, INSERT_SEGMENT);
	add_segment(&actions, TIDS(9000, 9001));
	add_head(&actions, 2, INSERT_SEGMENT);
	add_segment(&actions, TIDS(9100));
	add_head(&actions, 3, INSERT_SEGMENT);
	add_segment(&actions, TIDS((1ull << 43) - 2, (1ull << 43) - 1));
	add_segment(&after, TIDS(1));
	add_segment(&after, TIDS(2049, 2050, 4097));
	add_segment(&after, TIDS(8193, 8200));
	add_segment(&after, TIDS(9000, 9001));
	add_segment(&after, TIDS(9100));
	add_segment(&after, TIDS(1 << 20, 1 << 21, 1ull << 42));
	add_segment(&after, TIDS((1ull << 43) - 2, (1ull << 43) - 1));
	expect(&actions, &after);
}

static void appends(void **state)
{
	(void)state;
	struct bytes actions = {0}, after = three();
	add_head(&actions, 3, INSERT_SEGMENT);
	add_segment(&actions, TIDS(1ull << 42 | 5));
	add_head(&actions, 3, INSERT_SEGMENT);
	add_segment(&actions, TIDS(1ull << 42 | 7));
	add_segment(&after, TIDS(1ull << 42 | 5));
	add_segment(&after, TIDS(1ull << 42 | 7));
	expect(&actions, &after);
}

static void replaces(void **state)
{
	(void)state;
	struct bytes actions = {0}, after = {0};
	add_head(&actions, 0, REPLACE);
	add_segment(&actions, TIDS(2049, 2050, 2051, 2052, 2053, 2054, 2055, 2056, 2057, 2058, 2059, 4097));
	add_head(&actions, 2, REPLACE);
	add_segment(&actions, TIDS(1 << 21));
	add_segment(&after, TIDS(2049, 2050, 2051, 2052, 2053, 2054, 2055, 2056, 2057, 2058, 2059, 4097));
	add_segment(&after, TIDS(8193, 8200));
	add_segment(&after, TIDS(1 << 21));
	expect(&actions, &after);
}

/* Before, between, twice the same, and after. */
static void adds(void **state)
{
	(void)state;
	struct bytes actions = {0}, after = {0};
	add_items(&actions, 0, TIDS(1, 2, 2050, 4096));
	add_items(&actions, 1, TIDS(8201, 8330));
	add_items(&actions, 2, TIDS((1 << 20) + 1, (1ull << 43) - 1));
	add_segment(&after, TIDS(1, 2, 2049, 2050, 4096, 4097));
	add_segment(&after, TIDS(8193, 8200, 8201, 8330));
	add_segment(&after, TIDS(1 << 20, (1 << 20) + 1, 1 << 21, 1ull << 42, (1ull << 43) - 1));
	expect(&actions, &after);
}

/* A tree that an INSERT record changes: its data is the same. */
static void insert_record(void **state)
{
	(void)state;
	struct bytes before = three(), actions = {0}, after = three();
	struct index_case *c = case_new(15, &gin, INSERT, wa_redo_gin_insert);
	case_main(c, (uint16_t[]){3}, 2);
	add_head(&actions, 3, INSERT_SEGMENT);
	add_segment(&actions, TIDS(1ull << 42 | 5));
	add_segment(&after, TIDS(1ull << 42 | 5));
	case_ref(c, 0, 7, false, actions.data, actions.size);
	set_leaf(c, before.data, before.size);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_leaf(c, after.data, after.size);

	gin_set_flags(c->page, GIN_DATA); /* an inner page */
	case_refuse(c, 0);
	case_free(c);
}

/* Plain TIDs, their number in maxoff, pd_lower left where an empty page has it. */
static void set_old_leaf(struct index_case *c, unsigned count, const uint64_t *tids)
{
	wa_page_init(c->page, GIN_SPECIAL);
	for (unsigned i = 0; i < count; i++)
		make_tid(c->page + 32 + 6 * i, tids[i]);
	gin_set_flags(c->page, GIN_DATA | GIN_LEAF);
	gin_set_maxoff(c->page, count);
}

static void before_9_4(void **state)
{
	(void)state;
	struct bytes add = {0}, insert = {0}, after_add = {0}, after_insert = {0};
	add_items(&add, 0, TIDS(3000));
	add_segment(&after_add, TIDS(2049, 2050, 3000, 4097));
	struct index_case *c = vacuum(&add);
	set_old_leaf(c, TIDS(2049, 2050, 4097));
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_leaf(c, after_add.data, after_add.size);

	set_old_leaf(c, TIDS(2049, 2050, 2050));
	case_refuse(c, 0);
	set_old_leaf(c, TIDS(2049));
	gin_set_maxoff(c->page, 1400);
	case_refuse(c, 0);
	case_free(c);

	add_head(&insert, 0, INSERT_SEGMENT);
	add_segment(&insert, TIDS(77));
	add_segment(&after_insert, TIDS(77));
	c = vacuum(&insert);
	set_old_leaf(c, 0, NULL); /* vacuum leaves the outermost leaves empty */
	case_redo(c, 0);
	expect_leaf(c, after_insert.data, after_insert.size);
	case_free(c);
}

static void refusals(void **state)
{
	(void)state;
	struct bytes beyond = {0}, back = {0}, unknown = {0}, at_end = {0}, unsorted = {0}, offset = {0}, short_by_one = {0};
	add_head(&beyond, 4, INSERT_SEGMENT);
	add_segment(&beyond, TIDS(1));
	refuse(&beyond);
	add_head(&back, 1, DELETE);
	add_head(&back, 1, DELETE);
	refuse(&back);
	add_head(&unknown, 0, 5);
	refuse(&unknown);
	add_head(&at_end, 3, DELETE);
	refuse(&at_end);
	add_items(&unsorted, 0, TIDS(5, 4));
	refuse(&unsorted);
	add_items(&offset, 0, TIDS(5));
	wa_put16(offset.data + 10, 2048); /* no offset number that can be packed */
	refuse(&offset);
	add_items(&short_by_one, 0, TIDS(5, 6));
	short_by_one.size--;
	refuse(&short_by_one);
}

/* A leaf is filled to the last byte, and not beyond. */
static void full(void **state)
{
	(void)state;
	uint64_t tids[4000];
	uint8_t big[GIN_CASE_SEGMENT_MAX];
	struct bytes before = {0};
	for (unsigned i = 0; i < 3000; i++)
		tids[i] = 10 + i;
	unsigned size = make_segment(big, tids, 3000);
	memcpy(before.data, big, size);
	memcpy(before.data + size, big, size);
	before.size = 2 * size;
	unsigned left = GIN_CONTENT_MAX - before.size; /* the new segment: first TID, and one of a byte each */
	for (unsigned more = 0; more <= 1; more++) {
		struct bytes actions = {0};
		add_head(&actions, 2, INSERT_SEGMENT);
		add_segment(&actions, left - 8 + 1 + more, tids);
		struct index_case *c = vacuum(&actions);
		set_leaf(c, before.data, before.size);
		if (more) {
			case_refuse(c, 0);
		} else {
			case_redo(c, 0);
			assert_int_equal(wa_page_lower(c->page), WA_PAGE_SIZE - 8);
			assert_memory_equal(c->page + 32 + 2 * size, actions.data + 4, left);
		}
		case_free(c);
	}
}

/* ------------------------------------------------------------- a model: lists of TIDs */

#define MODEL_SEGMENTS 20
#define MODEL_TIDS 60
#define ROUNDS 3000

struct model {
	unsigned count;
	struct list {
		unsigned count;
		uint64_t tids[2 * MODEL_TIDS];
	} segments[4 * MODEL_SEGMENTS];
};

static uint64_t random_state;

static unsigned below(unsigned bound)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)((random_state >> 33) % bound);
}

/* TIDs from `from` on, apart by differences of all lengths. */
static struct list random_list(uint64_t from)
{
	struct list list = {.count = 1 + below(MODEL_TIDS)};
	for (unsigned i = 0; i < list.count; i++)
		list.tids[i] = from += 1 + below(1u << below(i % 8 == 7 ? 30 : 12));
	return list;
}

static struct bytes packed(const struct model *model)
{
	struct bytes bytes = {0};
	for (unsigned i = 0; i < model->count; i++)
		add_segment(&bytes, model->segments[i].count, model->segments[i].tids);
	return bytes;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void add_to(struct list *list, const struct list *added)
{
	for (unsigned i = 0; i < added->count; i++)
		if (bsearch(&added->tids[i], list->tids, list->count, 8, by_value) == NULL) {
			list->tids[list->count++] = added->tids[i];
			qsort(list->tids, list->count, 8, by_value);
		}
}

/* Random actions on `before`, written to a record and done to `after`. */
static struct bytes random_actions(const struct model *before, struct model *after)
{
	struct bytes actions = {.size = 2};
	after->count = 0;
	for (unsigned i = 0; i <= before->count; i++) {
		const struct list *old = &before->segments[i];
		if (below(6) == 0) {
			after->segments[after->count] = random_list(below(1 << 30));
			add_head(&actions, i, INSERT_SEGMENT);
			add_segment(&actions, after->segments[after->count].count, after->segments[after->count].tids);
			after->count++;
		}
		if (i == before->count)
			break;
		struct list *list = &after->segments[after->count++];
		*list = *old;
		struct list other = random_list(old->tids[0] - below((unsigned)old->tids[0]) / (1u << below(20)));
		switch (below(6)) {
		case 0:
			add_head(&actions, i, DELETE);
			after->count--;
			break;
		case 1:
			*list = other;
			add_head(&actions, i, REPLACE);
			add_segment(&actions, list->count, list->tids);
			break;
		case 2:
			add_to(list, &other);
			add_items(&actions, i, other.count, other.tids);
			break;
		default: break; /* as it is */
		}
	}
	return actions;
}

static void random_changes(void **state)
{
	(void)state;
	static struct model before, after;
	for (unsigned round = 0; round < ROUNDS; round++) {
		random_state = round;
		before.count = below(MODEL_SEGMENTS);
		for (unsigned i = 0; i < before.count; i++)
			before.segments[i] = random_list(1 + below(1 << 30));
		struct bytes actions = random_actions(&before, &after), old = packed(&before), new = packed(&after);
		if (wa_get16(actions.data) == 0)
			continue;
		struct index_case *c = vacuum(&actions);
		set_leaf(c, old.data, old.size);
		case_redo(c, 0);
		expect_leaf(c, new.data, new.size);
		case_free(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create),        cmocka_unit_test(deletes),        cmocka_unit_test(inserts),
		cmocka_unit_test(appends),       cmocka_unit_test(replaces),       cmocka_unit_test(adds),
		cmocka_unit_test(insert_record), cmocka_unit_test(before_9_4),     cmocka_unit_test(refusals),
		cmocka_unit_test(full),          cmocka_unit_test(random_changes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
