/* Snapshots as bases of history: which are none, which are taken, and which are missed when they are deleted. */
#include "pitr_server.h"

#include <stdlib.h>
#include <unistd.h>

#include "walapply/pitr/lazy_make.h"
#include "walapply/pitr/wa_lazy.h"

/* History that begins in a segment whose first records cannot be read, behind a snapshot that a user made there. Returns the snapshot, its redo pointer and
 * the end of its WAL. */
static struct wa_lazy_base begin_late(struct server *server)
{
	struct bd_snapshot_info info;
	server_work(server, SEGMENT / 8);
	*wal_byte(&server->wal, server->starts[3] + 40) ^= 1; /* what a server that went back leaves, say */
	server->written = FIRST;
	server_checkpoint(server);
	struct wa_lazy_base base = {.source = server_main(server), .redo = server->control.copy.redo, .timeline = WAL_TIMELINE};
	server_work(server, SEGMENT / 8);
	base.written.v = server->wal.at;
	assert_ok(bd_snapshot_create(server->api->store, server_main(server), "before", &info));
	base.view = (struct bd_view){server_main(server), info.epoch};
	server_work(server, SEGMENT / 8);
	server_checkpoint(server);
	server_retain(server, 3600, 0);
	server_work(server, 3 * SEGMENT);
	return base;
}

static void a_snapshot_from_before_history_is_no_base(void **state)
{
	struct server *server = *state;
	struct wa_base base;
	const struct wa_lazy_base before = begin_late(server);
	const uint64_t begun = server->control.copy.redo.v;
	assert_true(begun >= before.written.v && begun < FIRST + SEGMENT);
	for (unsigned round = 0; round < 2;
	     round++) { /* also when the facts are read again, and the snapshot is looked at again */
		struct bd_snapshot_info info;
		struct wa_history_status status = server_catch_up(server);
		assert_int_equal(status.begun_again_us, 0);
		assert_true(server_has_segment(server, "index", FIRST));
		assert_true(status.earliest.v > begun);
		assert_int_equal(
			wa_history_base(server->history, server_main(server), before.written, &base, server->message, 512),
			-ERANGE);
		server_expect(wa_history_base(server->history, server_main(server), status.earliest, &base, server->message, 512),
			      server);
		assert_int_equal(base.redo.v, begun);
		assert_ok(bd_snapshot_create(server->api->store, server_main(server), round == 0 ? "mine" : "mine-too", &info));
		server_work(server, SEGMENT);
		server_close_history(server);
		api_reopen(server->api);
		server_open_history(server);
	}
}

/* The first and the last record of the layer's index i are those of the WAL between from and to. */
static void expect_records(struct server *server, const struct wa_lazy_layer *layer, uint32_t i)
{
	const struct wa_index_info *info = &layer->indexes.views[i].info;
	uint64_t begin = NF_MAX(info->base.v, layer->plan.from.v), end = NF_MIN(info->limit.v, layer->plan.to.v);
	uint64_t first = 0, last = 0;
	for (unsigned n = server->records; n-- > 0;) {
		if (server->starts[n] < begin || server->starts[n] >= end)
			continue;
		first = server->starts[n];
		last = NF_MAX(last, server->starts[n]);
	}
	assert_true(info->first.v <= first && info->last.v >= last);
}

static void a_layer_has_every_record_from_its_base_on(void **state)
{
	struct server *server = *state;
	struct wa_lazy *lazy;
	struct wa_range range;
	const struct wa_lazy_base base = begin_late(server);
	server_catch_up(server);
	assert_ok(wa_lazy_open(server->api->store, &lazy));
	for (unsigned round = 0; round < 2; round++) {
		struct wa_lazy_layer *layer;
		server_expect(wa_lazy_begin(lazy, &base, (struct nf_lsn){server->wal.at}, &layer, server->message, 512), server);
		assert_ok(lz_layer_range(layer, &range));
		assert_true(range.index_count >= 3);
		for (uint32_t i = 0; i < range.index_count; i++)
			expect_records(server, layer, i);
		assert_null(layer->summaries[0].bytes);
		assert_true((layer->summaries[1].bytes != NULL) == (round == 0));
		assert_non_null(layer->summaries[2].bytes);
		/* An index of history that begins late, in the middle of the layer's WAL. */
		struct lz_plan late = layer->plan;
		struct bd_inode *dir = server_history_path(server, "index", NULL);
		for (unsigned n = 0; late.from.v < FIRST + SEGMENT + SEGMENT / 2; n++)
			late.from.v = server->starts[n];
		assert_ok(lz_index_build(&late, &layer->log, FIRST / SEGMENT + 1, dir, server->message, 512));
		bd_inode_unref(dir, 1);
		wa_lazy_end(layer, false);
	}
	wa_lazy_stop(lazy);
	wa_lazy_close(lazy);
}

/* A layer that changes nothing: until it is taken away it is there. */
static int open_layer(void *arg, struct bd_view base, const void *facts, size_t size, void **ret_layer)
{
	(void)base, (void)facts, (void)size;
	*ret_layer = arg;
	return 0;
}

static void close_layer(void *arg, void *layer)
{
	assert_ptr_equal(layer, arg);
}

static void touch_nothing(void *arg, void *layer, uint64_t file, uint32_t first, uint64_t *bits, unsigned words)
{
	(void)arg, (void)layer, (void)file, (void)first, (void)bits, (void)words;
}

static uint32_t next_of_none(void *arg, void *layer, uint64_t file, uint32_t from)
{
	(void)arg, (void)layer, (void)file, (void)from;
	return UINT32_MAX;
}

static int apply_nothing(void *arg, void *layer, uint64_t file, uint32_t block, void *page)
{
	(void)arg, (void)layer, (void)file, (void)block, (void)page;
	return -EIO;
}

static void much_work(struct server *server, unsigned segments)
{
	for (unsigned i = 0; i < segments; i++) {
		server_put(server, SEGMENT - 20000);
		server_put_commit(server, server->records * SECOND);
		server_flush(server);
		if (i % 8 == 7)
			server_catch_up(server);
	}
}

static void no_snapshot_through_a_layer(void **state)
{
	struct server *server = *state;
	struct bd_snapshot_info info;
	struct bd_epoch epoch;
	const struct bd_layer_hooks hooks = {.arg = server,
					     .open = open_layer,
					     .close = close_layer,
					     .touched = touch_nothing,
					     .next = next_of_none,
					     .apply = apply_nothing};
	bd_store_set_layer_hooks(server->api->store, &hooks);
	server_retain(server, 86400, 0);
	assert_ok(bd_layer_create(server->api->store, server_main(server), "facts", 5, &epoch));
	server_work(server, SEGMENT / 2);
	server_checkpoint(server);
	assert_int_equal(server_catch_up(server).snapshots, 1);
	much_work(server, 9); /* twice what a snapshot is taken for */
	assert_int_equal(server_catch_up(server).snapshots, 1);
	/* A user's is a base all the same, of which the distance counts. */
	assert_ok(bd_snapshot_create(server->api->store, server_main(server), "mine", &info));
	assert_int_equal(server_catch_up(server).snapshots, 2);
	server_work(server, SEGMENT / 8);
	server_checkpoint(server);
	assert_int_equal(server_catch_up(server).snapshots, 2);
	/* What was put off is made up for when the layer is gone, and once. */
	assert_ok(bd_layer_delete(server->api->store, server_main(server), epoch));
	assert_int_equal(server_catch_up(server).snapshots, 3);
	assert_int_equal(server_catch_up(server).snapshots, 3);
	/* A layer that does not go does not keep them away for ever. */
	assert_ok(bd_layer_create(server->api->store, server_main(server), "facts", 5, &epoch));
	much_work(server, 30);
	assert_int_equal(server_catch_up(server).snapshots, 3);
	much_work(server, 4);
	struct wa_history_status status = server_catch_up(server);
	assert_int_equal(status.snapshots, 4);
	assert_string_equal(status.trouble, "");
}

/* Labels of the branch's snapshots, the oldest first; malloc'd. */
static struct bd_snapshot_info *snapshots_of(struct server *server, size_t *ret_count)
{
	struct bd_snapshot_info *infos;

	assert_ok(bd_snapshot_list(server->api->store, server_main(server), &infos, ret_count));
	return infos;
}

static int remove_snapshot(struct server *server, const char *label, bool is_forced, struct wa_history_loss *loss)
{
	return wa_history_delete_snapshot(server->history, server_main(server), label, is_forced, loss);
}

static void expect_no_loss(const struct wa_history_loss *loss)
{
	assert_true(loss->from.v == 0 && loss->to.v == 0 && !loss->is_all);
}

static void history_that_begins_with_a_snapshot_is_not_cut_silently(void **state)
{
	struct server *server = *state;
	struct wa_history_loss loss;
	struct wa_base base;
	struct bd_snapshot_info info;
	size_t count;
	server_retain(server, 86400, 0);
	server_work(server, SEGMENT);
	server_long_work(server, 12);
	const struct wa_history_status before = server_catch_up(server);
	struct bd_snapshot_info *infos = snapshots_of(server, &count);
	assert_true(count >= 5 && before.snapshots == count);
	/* One in the middle is stood in for by the one before it. */
	assert_ok(remove_snapshot(server, infos[1].label, false, &loss));
	expect_no_loss(&loss);
	struct wa_history_status now = server_catch_up(server);
	assert_true(now.earliest.v == before.earliest.v && now.snapshots == count - 1);
	/* The first one: refused, and nothing is changed. */
	assert_int_equal(remove_snapshot(server, infos[0].label, false, &loss), -ENOTEMPTY);
	assert_int_equal(loss.from.v, before.earliest.v);
	assert_int_equal(loss.from_us, before.earliest_us);
	assert_true(loss.to.v > loss.from.v && !loss.is_all);
	assert_ok(bd_snapshot_find(server->api->store, server_main(server), infos[0].label, &info));
	assert_int_equal(server_catch_up(server).earliest.v, before.earliest.v);
	server_expect(wa_history_base(server->history, server_main(server), before.earliest, &base, server->message, 512),
		      server);
	/* Forced: what was said is lost, and no more; what only it needed goes. */
	assert_true(server_has_segment(server, "index", FIRST));
	const struct nf_lsn to = loss.to;
	assert_ok(remove_snapshot(server, infos[0].label, true, &loss));
	assert_int_equal(loss.to.v, to.v);
	assert_ok(wa_history_status(server->history, server_main(server), &now));
	assert_int_equal(now.earliest.v, to.v);
	assert_int_equal(now.earliest_us, loss.to_us);
	assert_false(server_has_segment(server, "index", FIRST) || server_has_segment(server, "wal", FIRST));
	assert_int_equal(
		wa_history_base(server->history, server_main(server), (struct nf_lsn){to.v - 8}, &base, server->message, 512),
		-ERANGE);
	server_expect(wa_history_base(server->history, server_main(server), to, &base, server->message, 512), server);
	assert_string_equal(base.label, infos[2].label);
	/* The next one is the first now, without a look at the branch between. */
	assert_int_equal(remove_snapshot(server, infos[2].label, false, &loss), -ENOTEMPTY);
	assert_int_equal(loss.from.v, to.v);
	assert_int_equal(remove_snapshot(server, "nothing", true, &loss), -ENOENT);
	server_close_history(server);
	api_reopen(server->api);
	server_open_history(server);
	now = server_catch_up(server);
	assert_true(now.earliest.v == to.v && now.latest.v == before.latest.v && now.begun_again_us == 0);
	/* Also where it is the first because of somebody who has told nobody. */
	assert_ok(bd_snapshot_delete(server->api->store, server_main(server), infos[2].label));
	assert_int_equal(remove_snapshot(server, infos[3].label, false, &loss), -ENOTEMPTY);
	assert_true(loss.from.v > to.v);
	free(infos);
}

/* The branch's only snapshot goes: with nobody asking and nobody writing there is another one soon. */
static void delete_the_only_one(struct server *server)
{
	struct wa_history_loss loss;
	struct wa_history_status now = server_catch_up(server);
	const struct wa_history_status before = now;
	size_t count;
	struct bd_snapshot_info *infos = snapshots_of(server, &count);
	assert_int_equal(count, 1);
	assert_int_equal(remove_snapshot(server, infos[0].label, false, &loss), -ENOTEMPTY);
	assert_true(loss.is_all && loss.from.v == before.earliest.v && loss.to.v == before.latest.v);
	assert_ok(remove_snapshot(server, infos[0].label, true, &loss));
	assert_true(loss.is_all);
	free(infos);
	for (unsigned tries = 0; tries < 1000; tries++) {
		assert_ok(wa_history_status(server->history, server_main(server), &now));
		if (now.snapshots == 1)
			break;
		usleep(10000);
	}
	assert_int_equal(now.snapshots, 1);
	assert_int_equal(now.earliest.v, server->wal.at);
}

static void without_any_snapshot_history_begins_again(void **state)
{
	struct server *server = *state;
	struct wa_base base;
	server_retain(server, 86400, 0);
	server_work(server, 2 * SEGMENT);
	delete_the_only_one(server);
	/* What was written before was looked at by now: nothing but the deletion wakes history. */
	delete_the_only_one(server);
	const struct nf_lsn earliest = {server->wal.at};
	server_expect(wa_history_base(server->history, server_main(server), earliest, &base, server->message, 512), server);
	server_work(server, 2 * SEGMENT);
	const struct wa_history_status now = server_catch_up(server);
	assert_int_equal(now.latest.v, server->wal.at);
	assert_string_equal(now.trouble, "");
}

static void snapshots_that_history_does_not_need_go(void **state)
{
	struct server *server = *state;
	struct wa_history_loss loss;
	struct bd_snapshot_info info;
	/* Without history, and from before it. */
	assert_ok(bd_snapshot_create(server->api->store, server_main(server), "early", &info));
	assert_ok(remove_snapshot(server, "early", false, &loss));
	expect_no_loss(&loss);
	assert_ok(bd_snapshot_create(server->api->store, server_main(server), "before", &info));
	server_work(server, SEGMENT / 2);
	server_checkpoint(server);
	server_retain(server, 86400, 0);
	server_work(server, SEGMENT / 2);
	const struct wa_history_status before = server_catch_up(server);
	assert_ok(remove_snapshot(server, "before", false, &loss));
	expect_no_loss(&loss);
	/* A user's, that history has not seen yet. */
	assert_ok(bd_snapshot_create(server->api->store, server_main(server), "mine", &info));
	assert_ok(remove_snapshot(server, "mine", false, &loss));
	expect_no_loss(&loss);
	const struct wa_history_status now = server_catch_up(server);
	assert_true(now.earliest.v == before.earliest.v && now.snapshots == before.snapshots);
	/* Nor are snapshots held when history was turned off. */
	assert_ok(bd_snapshot_create(server->api->store, server_main(server), "last", &info));
	server_catch_up(server);
	server_retain(server, 0, 0);
	assert_ok(remove_snapshot(server, "last", false, &loss));
	expect_no_loss(&loss);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		server_test(a_snapshot_from_before_history_is_no_base),
		server_test(a_layer_has_every_record_from_its_base_on),
		server_test(no_snapshot_through_a_layer),
		server_test(history_that_begins_with_a_snapshot_is_not_cut_silently),
		server_test(without_any_snapshot_history_begins_again),
		server_test(snapshots_that_history_does_not_need_go),
	};

	return cmocka_run_group_tests_name("pitr_snapshots", tests, NULL, NULL);
}
