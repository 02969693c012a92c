/* What the rebuild takes from the ring: which block versions lie in it, and which places its moves start from. Everything else that it says
 * behind the replay position is left to the recovery at the next open. */
#include "blockdev/scrub/rebuild_impl.h"
#include "common/nf_log.h"

static uint64_t next_log_sequence(struct rebuild *rebuild)
{
	return REBUILD_LOG_SEQUENCE + ++rebuild->log_items;
}

/* The version is in the ring no more. */
static int leave_ring(struct rebuild *rebuild, const struct bd_block_id *first, uint32_t count)
{
	struct bd_block_id id = *first;
	struct bd_age age = {.sequence = next_log_sequence(rebuild)};
	int error = 0;
	for (uint32_t i = 0; i < count && error == 0 && rebuild->inline_seen; i++, id.block++)
		error = sorter_add(&rebuild->sorter, &id, age, REBUILD_LOC_ELSEWHERE, 0);
	return error;
}

static int take_run(struct rebuild *rebuild, struct nf_reader body)
{
	struct bd_run run;
	int error = bd_item_run_parse(body, &run);
	if (error != 0)
		return error;
	if (!bd_loc_is_log(run.loc))
		return leave_ring(rebuild, &run.first, run.count);
	rebuild->inline_seen = true;
	struct bd_block_id id = run.first;
	struct bd_age age = {.sequence = next_log_sequence(rebuild)};
	for (unsigned i = 0; i < run.count && error == 0; i++, id.block++)
		error = sorter_add(&rebuild->sorter, &id, age, bd_loc_next(run.loc, i), nf_read_u64(&run.sums));
	return error;
}

/* Replay needs to find the version where the first move starts, even if that extent is gone by now. */
static int take_move(struct rebuild *rebuild, bool replay, struct nf_reader body)
{
	struct bd_block_id id;
	uint64_t from, to, sum;
	int error = bd_item_move_parse(body, &id, &from, &to, &sum);
	if (error != 0)
		return error;
	if (!replay)
		return leave_ring(rebuild, &id, 1);
	return sorter_add(&rebuild->sorter, &id, (struct bd_age){.sequence = UINT64_MAX - ++rebuild->log_items}, from, sum);
}

static int take_item(void *arg, uint64_t lsn, bool replay, uint8_t type, struct nf_reader body)
{
	struct rebuild *rebuild = arg;
	(void)lsn;
	if (type == BD_ITEM_MOVE)
		return take_move(rebuild, replay, body);
	if (replay) {
		if (type == BD_ITEM_DELETE && body.size == 5 && body.data[0] == 'E') {
			nf_read_u8(&body);
			uint32_t id = nf_read_u32_be(&body);
			if (id < rebuild->extent_slots)
				rebuild->removed_later[id] = true;
		}
		return 0;
	}
	if (type == BD_ITEM_RUN)
		return take_run(rebuild, body);
	if (type == BD_ITEM_HOLES) {
		struct bd_block_id first;
		uint32_t count;
		int error = bd_item_holes_parse(body, &first, &count);
		return error != 0 ? error : leave_ring(rebuild, &first, count);
	}
	return 0;
}

/* Read the ring from position.log.retain on. *ret_damage: where it is damaged, or UINT64_MAX. */
static int scan(struct rebuild *rebuild, uint64_t *ret_damage)
{
	struct bd_log *log;
	int error = bd_log_open(rebuild->store->io, rebuild->store->store_id, &rebuild->position.log, &log);
	if (error != 0)
		return error;
	*ret_damage = UINT64_MAX;
	error = bd_log_recover(log, take_item, rebuild);
	if (error == -EUCLEAN) {
		*ret_damage = bd_log_tail(log);
		error = 0;
		/* Behind `replay` the next open would refuse it; before, the open begins behind it. */
		if (*ret_damage >= rebuild->position.log.replay)
			error = bd_log_cut(log, *ret_damage);
	}
	bd_log_close(log);
	return error;
}

int rebuild_log(struct rebuild *rebuild)
{
	uint64_t damage;
	int error = rebuild_progress(rebuild, "log", 0, 0);
	if (error == 0)
		error = scan(rebuild, &damage);
	if (error == 0 && damage < rebuild->position.log.replay) {
		nf_error("log: the newest versions of blocks that lay in its damaged part are lost");
		rebuild->position.log.retain = rebuild->position.log.replay;
		error = scan(rebuild, &damage);
	}
	if (error == 0 && damage != UINT64_MAX)
		nf_error("log: cut off at position %llu; what was written after that is lost", (unsigned long long)damage);
	return error;
}
