/* Questions to history about points: where records end, times, restore points, and what only Postgres can replay. */
#include "pitr_server.h"

#include <stdlib.h>

static void bounds_of_records(void **state)
{
	struct server *server = *state;
	struct nf_lsn low, high;
	server_retain(server, 3600, 0);
	unsigned first = server->records - 1;
	server_work(server, 3 * SEGMENT);
	server_put(server, 2500000); /* longer than two segments */
	server_flush(server);
	server_work(server, SEGMENT);
	server_catch_up(server);
	server_remove_segment(server, FIRST);
	for (unsigned i = first; i + 1 < server->records; i += i + 20 < server->records ? 13 : 1) {
		const uint64_t end = server->ends[i], next = server->ends[i + 1];
		const uint64_t asked[] = {end, server->starts[i + 1], server->starts[i + 1] + 8, next - 8, next};
		for (unsigned k = 0; k < NF_ARRAY_LEN(asked); k++) {
			bool is_end = asked[k] <= server->starts[i + 1], is_next = asked[k] == next;
			server_expect(wa_history_boundary(server->history, server_main(server), (struct nf_lsn){asked[k]}, &low,
							  &high, server->message, 512),
				      server);
			assert_int_equal(low.v, is_next ? next : end);
			assert_int_equal(high.v, is_end ? end : next);
		}
	}
	assert_int_equal(wa_history_boundary(server->history, server_main(server), (struct nf_lsn){server->wal.at + 8}, &low,
					     &high, server->message, 512),
			 -ERANGE);
}

/* The first commit from record `i` on. */
static unsigned commit_from(const struct server *server, unsigned i)
{
	while (server->times[i] == 0)
		i++;
	return i;
}

static void times_and_restore_points(void **state)
{
	struct server *server = *state;
	struct nf_lsn found;
	int64_t time_us;
	server_retain(server, 3600, 0);
	server_work(server, 2 * SEGMENT);
	server_put_restore_point(server, "first");
	uint64_t first = server->wal.at;
	server_work(server, 3 * SEGMENT);
	server_put_restore_point(server, "again");
	uint64_t earlier = server->wal.at;
	server_work(server, SEGMENT);
	server_put_restore_point(server, "again");
	uint64_t again = server->wal.at;
	server_work(server, SEGMENT / 4);
	server_catch_up(server);
	for (unsigned i = 0; i < 5; i++)
		server_remove_segment(server, FIRST + i * SEGMENT);
	/* Nothing that is kept tells what was between that time and the oldest base. */
	unsigned oldest = commit_from(server, 0);
	assert_int_equal(
		wa_history_at_time(server->history, server_main(server), server->times[oldest] - 1, &found, server->message, 512),
		-ERANGE);
	assert_non_null(strstr(server->message, "the earliest is"));
	for (unsigned i = oldest + 1; i < server->records; i += 37) {
		if (server->times[i] == 0)
			continue;
		/* Up to just before the commit; with its own time it is in it. */
		server_expect(wa_history_at_time(server->history, server_main(server), server->times[i] - 1, &found,
						 server->message, 512),
			      server);
		assert_int_equal(found.v, server->ends[i - 1]);
		server_expect(
			wa_history_at_time(server->history, server_main(server), server->times[i], &found, server->message, 512),
			server);
		assert_true(found.v >= server->ends[i]);
		server_expect(wa_history_time_at(server->history, server_main(server), (struct nf_lsn){server->ends[i]}, &time_us,
						 server->message, 512),
			      server);
		assert_int_equal(time_us, server->times[i]);
	}
	assert_int_equal(wa_history_at_time(server->history, server_main(server), INT64_MAX / 2, &found, server->message, 512),
			 -ERANGE);
	struct wa_named_point named;
	server_expect(wa_history_restore_point(server->history, server_main(server), "first", &named, server->message, 512),
		      server);
	assert_int_equal(named.newest.lsn.v, first);
	assert_int_equal(named.older, 0);
	server_expect(wa_history_restore_point(server->history, server_main(server), "again", &named, server->message, 512),
		      server);
	assert_int_equal(named.newest.lsn.v, again);
	assert_int_equal(named.older, 1);
	assert_int_equal(named.before.lsn.v, earlier);
	assert_int_equal(wa_history_restore_point(server->history, server_main(server), "agai", &named, server->message, 512),
			 -ENOENT);
	struct wa_restore_point *points;
	size_t count;
	server_expect(wa_history_restore_points(server->history, server_main(server), &points, &count, server->message, 512),
		      server);
	assert_int_equal(count, 3);
	assert_int_equal(points[0].lsn.v, again);
	assert_int_equal(points[1].lsn.v, earlier);
	assert_string_equal(points[1].name, "again");
	assert_int_equal(points[2].lsn.v, first);
	assert_string_equal(points[2].name, "first");
	free(points);
}

static void what_only_postgres_replays(void **state)
{
	struct server *server = *state;
	struct wa_base base;
	struct rec rec;
	server_retain(server, 3600, 0);
	server_work(server, SEGMENT / 2);
	uint64_t plain = server->wal.at;
	rec_start(&rec, 200, 0, 0);
	rec_main(&rec, "x", 1);
	uint64_t start = wal_put(&server->wal, &rec);
	server_note(server, start, 0);
	uint64_t foreign = server->wal.at;
	server_flush(server);
	for (unsigned round = 0; round < 2; round++) { /* in the part that is not indexed, then in an index */
		server_catch_up(server);
		server_expect(wa_history_base(server->history, server_main(server), (struct nf_lsn){plain}, &base,
					      server->message, 512),
			      server);
		if (round == 0)
			assert_false(base.is_foreign);
		server_expect(wa_history_base(server->history, server_main(server), (struct nf_lsn){foreign}, &base,
					      server->message, 512),
			      server);
		assert_true(base.is_foreign);
		server_work(server, 2 * SEGMENT);
	}
	server_put_wal_level(server, 0);
	uint64_t minimal = server->wal.at;
	server_put_wal_level(server, 1);
	server_work(server, SEGMENT);
	server_catch_up(server);
	server_expect(
		wa_history_base(server->history, server_main(server), (struct nf_lsn){minimal}, &base, server->message, 512),
		server);
	assert_true(base.is_minimal);
	server_expect(
		wa_history_base(server->history, server_main(server), (struct nf_lsn){foreign}, &base, server->message, 512),
		server);
	assert_false(base.is_minimal);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		server_test(bounds_of_records),
		server_test(times_and_restore_points),
		server_test(what_only_postgres_replays),
	};

	return cmocka_run_group_tests_name("pitr_questions", tests, NULL, NULL);
}
