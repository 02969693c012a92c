/* The command: options, the order of the steps, and what is said. */
#include "tools/neonfs-wal/replay.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <jansson.h>

#include "tools/lib/format.h"
#include "tools/lib/proto.h"
#include "tools/neonfs-wal/replay_impl.h"

#define MEMORY_MIN (16u << 20)
#define MEMORY_OF_STATE (64u << 20) /* for pages of free space maps and init forks */
#define LOCK_FILE "postmaster.pid"

const struct tl_option wal_replay_options[] = {
	{.name = "to", .argument = "LSN", .help = "replay what ends at or before LSN (default: all there is)"},
	{.name = "wal",
	 .argument = "DIR",
	 .help = "a directory of WAL segments, before DATADIR/pg_wal; may be given several times"},
	{.name = "timeline", .letter = 't', .argument = "N", .help = "follow timeline N (default: the highest that is there)"},
	{.name = "new-timeline", .argument = "N", .help = "begin timeline N at the end (default: the next)"},
	{.name = "no-finish", .help = "write no checkpoint at the end: leave pg_control, pg_wal and backup_label alone"},
	{.name = "state-only",
	 .help = "leave the pages of relations and their visibility maps to who serves the directory; bring only their files to "
		 "length"},
	{.name = "summaries",
	 .argument = "PATH",
	 .help = "with --state-only: take what segments say from their summaries, where PATH has them: a directory, or a file of several"},
	{.name = "checked",
	 .help = "with --to: LSN is known to be the end of a record, and not before what the directory holds; do not look for "
		 "that"},
	{.name = "no-unlogged", .help = "DATADIR is known to have no unlogged relations: do not look for them"},
	{.name = "no-sync", .help = "make nothing durable: who calls does that, or throws the directory away"},
	{.name = "keep-slots",
	 .help = "keep replication slots and what is archived: the directory is not a copy, and its standbys will come back"},
	{.name = "parent",
	 .argument = "PID",
	 .help = "for programs: process PID has started this; when it ends, end too, whatever is half done"},
	{.name = "inside-only",
	 .help = "stop at a record that makes a tablespace outside of DATADIR: its files are the original's"},
	{.name = "tablespace-map", .argument = "OLD=NEW[,...]", .help = "tablespaces that the log creates at OLD go to NEW"},
	{.name = "threads", .letter = 'j', .argument = "N", .help = "threads that work (default: one for each processor)"},
	{.name = "memory", .argument = "BYTES", .help = "room for pages (default: a quarter of the machine's)"},
	{.name = "json", .help = "print one JSON object"},
	{.name = "lines", .help = "for programs: progress, and the result or the error, as lines of JSON"},
	{0},
};

/* --------------------------------------------------------------- options */

static int parse_maps(char *text, struct rp_options *options)
{
	for (char *map; (map = strsep(&text, ",")) != NULL;) {
		char *equals = strchr(map, '=');
		if (equals == NULL || equals == map || equals[1] != '/' || options->map_count == RP_SPACE_MAPS_MAX)
			return tl_usage("--tablespace-map wants at most %d pairs OLD=NEW, NEW an absolute path",
					RP_SPACE_MAPS_MAX);
		*equals = 0;
		options->maps[options->map_count++] =
			(struct rp_space_map){.from = map, .from_size = (size_t)(equals - map), .to = equals + 1};
	}
	return TL_OK;
}

static int parse_number(const struct tl_call *call, const char *name, uint64_t low, uint64_t high, uint64_t *number)
{
	const char *text = tl_value(call, name);
	if (text != NULL && tl_parse_number(text, low, high, number) < 0)
		return tl_usage("--%s: \"%s\" is not a number from %llu to %llu", name, text, (unsigned long long)low,
				(unsigned long long)high);
	return TL_OK;
}

static int parse_options(const struct tl_call *call, struct rp_options *options, char **ret_maps)
{
	const char *to = tl_value(call, "to"), *memory = tl_value(call, "memory"), *maps = tl_value(call, "tablespace-map");
	uint64_t threads = (uint64_t)NF_MAX(sysconf(_SC_NPROCESSORS_ONLN), 1L), timeline = 0, new_timeline = 0, parent = 0;
	*options = (struct rp_options){.directory = call->args[0],
				       .finish = !tl_flag(call, "no-finish"),
				       .state_only = tl_flag(call, "state-only"),
				       .keep_slots = tl_flag(call, "keep-slots"),
				       .inside_only = tl_flag(call, "inside-only"),
				       .is_logged = tl_flag(call, "no-unlogged"),
				       .syncs = !tl_flag(call, "no-sync")};
	options->summaries = tl_value(call, "summaries");
	options->is_checked = tl_flag(call, "checked");
	for (unsigned i = 0; i < RP_LOG_DIRECTORIES_MAX; i++)
		options->wal[i] = tl_value_at(call, "wal", i);
	if (tl_value_at(call, "wal", RP_LOG_DIRECTORIES_MAX) != NULL)
		return tl_usage("--wal can be given at most %d times", RP_LOG_DIRECTORIES_MAX);
	/* The state alone is little work: what it would take to get ready for more is saved. */
	if (options->state_only)
		threads = 1;
	options->memory = options->state_only ? MEMORY_OF_STATE : (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 4;
	if (to != NULL && (nf_lsn_parse(to, &options->to) < 0 || options->to.v == 0))
		return tl_usage("--to: \"%s\" is not an LSN (like 16/B374D848)", to);
	if (memory != NULL && (tl_parse_bytes(memory, &options->memory) < 0 || options->memory < MEMORY_MIN))
		return tl_usage("--memory: \"%s\" is not a size of at least 16M", memory);
	int code = parse_number(call, "threads", 1, RP_THREADS_MAX, &threads);
	if (code == TL_OK)
		code = parse_number(call, "timeline", 1, UINT32_MAX, &timeline);
	if (code == TL_OK)
		code = parse_number(call, "new-timeline", 1, UINT32_MAX, &new_timeline);
	if (code == TL_OK)
		code = parse_number(call, "parent", 1, INT32_MAX, &parent);
	if (code == TL_OK && options->state_only && !options->finish)
		return tl_usage("--state-only and --no-finish exclude each other");
	if (code == TL_OK && options->summaries != NULL && !options->state_only)
		return tl_usage("--summaries needs --state-only");
	if (code == TL_OK && options->inside_only && maps != NULL)
		return tl_usage("--inside-only and --tablespace-map exclude each other");
	if (code == TL_OK && options->is_checked && to == NULL)
		return tl_usage("--checked needs --to");
	if (code == TL_OK && new_timeline != 0 && !options->finish)
		return tl_usage("--new-timeline and --no-finish exclude each other");
	options->threads = (unsigned)NF_MIN(threads, (uint64_t)RP_THREADS_MAX);
	options->timeline = (uint32_t)timeline;
	options->new_timeline = (uint32_t)new_timeline;
	options->parent = (pid_t)parent;
	if (code == TL_OK && maps != NULL) {
		*ret_maps = strdup(maps);
		code = *ret_maps != NULL ? parse_maps(*ret_maps, options) : tl_fail("memory is short");
	}
	return code;
}

/* ----------------------------------------------------------------- steps */

static int make_parts(struct replay *replay)
{
	int status = rp_rels_new(replay->root, replay->version.major, &replay->control, &replay->rels);
	if (status == 0) {
		replay->cache =
			rp_cache_new(replay->rels, replay->options.memory, replay->version.checksums, replay->options.threads);
		replay->slru = rp_slru_new(replay->root, replay->version.major);
		if (replay->cache == NULL || replay->slru == NULL)
			status = -ENOMEM;
	}
	if (status == 0)
		status = rp_pool_new(&replay->version, replay->cache, replay->options.threads, &replay->pool);
	return status < 0 ? rp_fail(replay, status, "%s", strerror(-status)) : 0;
}

static void free_parts(struct replay *replay)
{
	rp_pool_free(replay->pool);
	rp_batch_free(&replay->batches[0]);
	rp_batch_free(&replay->batches[1]);
	rp_cache_free(replay->cache);
	rp_rels_free(replay->rels);
	rp_slru_free(replay->slru);
	rp_prepared_free(replay);
	rp_log_close(replay->log);
	free(replay->drops);
	rp_close_summaries(replay);
	if (replay->root >= 0)
		close(replay->root);
}

/* Let threads started from here on read what root can read: the log may lie where the directory's owner cannot go. */
static int keep_reading(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	if (syscall(SYS_capget, &header, data) < 0)
		return -1;
	data[CAP_TO_INDEX(CAP_DAC_READ_SEARCH)].effective |=
		data[CAP_TO_INDEX(CAP_DAC_READ_SEARCH)].permitted & CAP_TO_MASK(CAP_DAC_READ_SEARCH);
	return (int)syscall(SYS_capset, &header, data);
}

/* Root makes files as the directory's owner, who must be able to start Postgres on them. The saved id too is the owner's: Postgres asks with kill(2)
 * whether who holds the directory lives. */
static int become_owner(struct replay *replay)
{
	struct stat st;
	if (geteuid() != 0)
		return 0;
	if (fstat(replay->root, &st) < 0 ||
	    (st.st_uid != 0 && (setresgid((gid_t)-1, st.st_gid, st.st_gid) < 0 ||
				setresuid((uid_t)-1, st.st_uid, st.st_uid) < 0 || keep_reading() < 0)))
		return rp_fail(replay, -errno, "the directory's owner: %s", strerror(errno));
	return 0;
}

/* Nothing is done for a parent that has ended: what it had mounted may be served by another daemon since, and used. While it lives, the descriptor of
 * the directory is of its mount, and useless afterwards. After become_owner, which makes the kernel forget the signal. */
static int end_with_parent(struct replay *replay)
{
	pid_t parent = replay->options.parent;
	if (parent == 0)
		return 0;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return rp_fail(replay, -errno, "process %ld, which started this: %s", (long)parent, strerror(errno));
	return getppid() == parent ? 0 : rp_fail(replay, -ESRCH, "process %ld, which started this, has ended", (long)parent);
}

/* As long as this process lives, no Postgres starts on the directory: its lock file names us. One that a dead server left has been looked at. */
static int hold_directory(struct replay *replay)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	unlinkat(replay->root, LOCK_FILE, 0);
	int fd = openat(replay->root, LOCK_FILE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return rp_fail(replay, -errno, LOCK_FILE ": %s", strerror(errno));
	replay->holds = true;
	int status = write(fd, text, (size_t)length) == length ? 0 : -EIO;
	close(fd);
	return status < 0 ? rp_fail(replay, status, LOCK_FILE ": %s", strerror(-status)) : 0;
}

static void let_go(struct replay *replay)
{
	if (replay->holds)
		unlinkat(replay->root, LOCK_FILE, 0);
}

static int run_steps(struct replay *replay)
{
	replay->root = open(replay->options.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (replay->root < 0)
		return rp_fail(replay, -errno, "%s", strerror(errno));
	int status = rp_examine(replay);
	if (status == 0)
		status = become_owner(replay);
	if (status == 0)
		status = end_with_parent(replay);
	if (status == 0)
		status = hold_directory(replay);
	if (status == 0)
		status = make_parts(replay);
	if (status == 0)
		status = rp_run(replay);
	if (status == 0)
		status = replay->options.finish ? rp_finish(replay) : rp_sync(replay);
	return status;
}

/* ------------------------------------------------------------------ words */

static json_t *lsn_json(struct nf_lsn lsn)
{
	char text[NF_LSN_TEXT_MAX];
	snprintf(text, sizeof(text), NF_LSN_FMT, NF_LSN_ARG(lsn));
	return json_string(text);
}

static json_t *result_json(const struct replay *replay, double seconds)
{
	return json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:f, s:f, s:b}", "start", lsn_json(replay->start), "end",
			 lsn_json(replay->end), "bytes", (json_int_t)(replay->end.v - replay->start.v), "timeline",
			 (json_int_t)replay->end_timeline, "records", (json_int_t)replay->records, "blocks",
			 (json_int_t)rp_pool_redone(replay->pool), "seconds", seconds, "redo_seconds", replay->redo_seconds,
			 "finished", replay->options.finish);
}

/* Steals the object. */
static int print_json(json_t *object, size_t flags)
{
	if (object == NULL)
		return tl_fail("memory is short");
	json_dumpf(object, stdout, flags);
	putchar('\n');
	json_decref(object);
	return tl_finish(TL_OK);
}

static int say(const struct replay *replay, double seconds)
{
	char bytes[TL_NUMBER_MAX];
	printf("replayed " NF_LSN_FMT " to " NF_LSN_FMT ": %llu records, %llu block changes, %s of WAL in %.3f s\n",
	       NF_LSN_ARG(replay->start), NF_LSN_ARG(replay->end), (unsigned long long)replay->records,
	       (unsigned long long)rp_pool_redone(replay->pool), tl_bytes_human(bytes, replay->end.v - replay->start.v), seconds);
	if (replay->options.finish)
		printf("ready to start on timeline %u\n", replay->end_timeline);
	return tl_finish(TL_OK);
}

/* What a program does about an error: only Postgres itself can replay this; the log leads out of the directory; or it is none of these, and for
 * people. */
static const char *error_code(int status)
{
	return status == -ENOTSUP ? "unsupported" : status == -EXDEV ? "outside" : "failed";
}

static int say_failure(const struct tl_call *call, const struct replay *replay, int status)
{
	char text[sizeof(replay->error.text) + NF_LSN_TEXT_MAX + 2] = "";
	if (replay->error.lsn.v != 0)
		snprintf(text, sizeof(text), NF_LSN_FMT ": ", NF_LSN_ARG(replay->error.lsn));
	snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s", replay->error.text);
	if (!tl_flag(call, "lines"))
		return tl_fail("%s", text);
	(void)print_json(json_pack("{s:{s:s, s:o}}", "error", "code", error_code(status), "message", tl_json_text(text)),
			 JSON_COMPACT);
	return TL_FAILED;
}

static int say_success(const struct tl_call *call, const struct replay *replay, double seconds)
{
	if (tl_flag(call, "lines"))
		return print_json(json_pack("{s:o}", "result", result_json(replay, seconds)), JSON_COMPACT);
	return tl_flag(call, "json") ? print_json(result_json(replay, seconds), JSON_INDENT(2)) : say(replay, seconds);
}

int run_replay(const struct tl_call *call)
{
	double start = rp_clock();
	char *maps = NULL;
	struct replay *replay = calloc(1, sizeof(*replay));
	if (replay == NULL)
		return tl_fail("memory is short");
	tl_subject(call->args[0]);
	replay->root = replay->summaries = -1;
	int code = parse_options(call, &replay->options, &maps);
	if (code == TL_OK) {
		tl_progress_start(&replay->progress, "replay");
		replay->progress.as_lines = tl_flag(call, "lines");
		int status = run_steps(replay);
		tl_progress_end(&replay->progress);
		if (status < 0)
			code = say_failure(call, replay, status);
		else
			code = say_success(call, replay, rp_clock() - start);
	}
	let_go(replay);
	free_parts(replay);
	free(replay);
	free(maps);
	return code;
}
