/* neonfs object-store check: try what the tier needs of an object store, under a scratch prefix, and say how fast it is. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/tier/object/object.h"
#include "tools/lib/format.h"
#include "tools/lib/progress.h"
#include "tools/lib/proto.h"
#include "tools/neonfs/commands.h"

#define SMALL_SIZE 4096u
#define SMALL_COUNT 16u
#define LARGE_SIZE_DEFAULT (UINT64_C(64) << 20)
#define LARGE_SIZE_MAX (UINT64_C(16) << 30)
#define RANGE_SIZE (UINT64_C(4) << 20)
#define RANGES_AT_ONCE 8u
#define DEADLINE_DEFAULT_S 30
#define SCRATCH_MAX 64

struct check {
	struct ob_client *client;
	uint32_t deadline_ms;
	uint64_t large_size;
	char scratch[SCRATCH_MAX]; /* prefix of all keys used here, without '/' */
	uint8_t small[SMALL_SIZE];
	uint64_t seed; /* of the large object's bytes */
	double put_ms, get_ms; /* medians of small objects */
	double upload_s, download_s; /* of the large one */
	struct ob_conditional conditional;
	char conditional_text[OB_MESSAGE_MAX];
	struct tl_progress progress;
	char message[OB_MESSAGE_MAX + 128];
	enum ob_error error; /* why it failed */
	const char *step; /* what was being tried */
};

static double now_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static char *key_of(const struct check *check, const char *name, char key[OB_KEY_MAX + 1])
{
	snprintf(key, OB_KEY_MAX + 1, "%s/%s", check->scratch, name);
	return key;
}

static bool failed(struct check *check, enum ob_error error, const char *message)
{
	check->error = error;
	snprintf(check->message, sizeof(check->message), "%s", message);
	return false;
}

static bool run(struct check *check, struct ob_op *op)
{
	op->deadline_ms = check->deadline_ms;
	return ob_run(check->client, op) == 0 || failed(check, op->error, op->message);
}

/* Byte i of the large object: not compressible at a glance, and another in each run. */
static void fill(const struct check *check, uint64_t offset, void *buf, size_t size)
{
	uint64_t *words = buf;
	for (size_t i = 0; i < size / sizeof(*words); i++) {
		uint64_t x = check->seed + (offset / sizeof(*words) + i) * UINT64_C(0x9E3779B97F4A7C15);
		x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
		words[i] = x ^ x >> 27;
	}
}

/* ------------------------------------------------------------------- steps */

static int compare_times(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;
	return (a > b) - (a < b);
}

static double median(double *times)
{
	qsort(times, SMALL_COUNT, sizeof(*times), compare_times);
	return 1000 * times[SMALL_COUNT / 2];
}

static bool small_objects(struct check *check)
{
	double put_times[SMALL_COUNT], get_times[SMALL_COUNT];
	char key[OB_KEY_MAX + 1], name[32];
	uint8_t got[SMALL_SIZE];
	check->step = "put and get";
	for (unsigned i = 0; i < SMALL_COUNT; i++) {
		snprintf(name, sizeof(name), "small/%02u", i);
		struct ob_op put = {.kind = OB_PUT, .key = key_of(check, name, key), .data = check->small, .size = SMALL_SIZE};
		struct ob_op get = {.kind = OB_GET, .key = key, .buf = got, .size = SMALL_SIZE};
		double started = now_s();
		if (!run(check, &put))
			return false;
		put_times[i] = now_s() - started;
		started = now_s();
		get.expect_etag = put.etag;
		if (!run(check, &get))
			return false;
		get_times[i] = now_s() - started;
		if (memcmp(got, check->small, SMALL_SIZE) != 0)
			return failed(check, OB_CORRUPT, "what was got is not what was put");
	}
	check->put_ms = median(put_times);
	check->get_ms = median(get_times);
	return true;
}

static bool ranges(struct check *check)
{
	char key[OB_KEY_MAX + 1];
	uint8_t got[100];
	check->step = "get a range";
	struct ob_op get = {
		.kind = OB_GET, .key = key_of(check, "small/00", key), .buf = got, .size = sizeof(got), .offset = 1000};
	if (!run(check, &get))
		return false;
	if (get.object_size != SMALL_SIZE || memcmp(got, check->small + 1000, sizeof(got)) != 0)
		return failed(check, OB_CORRUPT, "the range is not the one that was asked for");
	struct ob_op beyond = {
		.kind = OB_GET, .key = key, .buf = got, .size = sizeof(got), .offset = SMALL_SIZE - 10, .may_be_short = true};
	if (!run(check, &beyond))
		return false;
	return beyond.got == 10 || failed(check, OB_CORRUPT, "a range over the end gives another number of bytes than there are");
}

/* Pages of five, so that going on from page to page is tried too. */
static bool list(struct check *check)
{
	char prefix[OB_KEY_MAX + 1], after[OB_AFTER_MAX] = "";
	unsigned found = 0;
	bool more = true;
	check->step = "list";
	while (more) {
		struct ob_op op = {.kind = OB_LIST, .key = key_of(check, "small/", prefix), .after = after, .limit = 5};
		if (!run(check, &op))
			return false;
		found += op.list.count;
		more = op.list.more && found <= SMALL_COUNT;
		memcpy(after, op.list.next_after, sizeof(after));
		ob_op_clear(&op);
	}
	return found == SMALL_COUNT || failed(check, OB_CORRUPT, "the list does not show each object once");
}

static bool missing(struct check *check)
{
	char key[OB_KEY_MAX + 1];
	struct ob_op op = {.kind = OB_HEAD, .key = key_of(check, "missing", key), .deadline_ms = check->deadline_ms};
	check->step = "head of what is not there";
	if (ob_run(check->client, &op) == -ENOENT)
		return true;
	return op.error == OB_OK ? failed(check, OB_CORRUPT, "an object that was never put is there")
				 : failed(check, op.error, op.message);
}

static bool conditions(struct check *check)
{
	char key[OB_KEY_MAX + 1];
	check->step = "conditional put";
	int rc = ob_check_conditional(check->client, key_of(check, "conditional", key), &check->conditional,
				      check->conditional_text, sizeof(check->conditional_text));
	return rc == 0 || failed(check, OB_REFUSED, check->conditional_text);
}

static int read_large(void *arg, uint64_t offset, void *buf, size_t size)
{
	struct check *check = arg;
	tl_progress_update(&check->progress, "uploading", offset, check->large_size);
	fill(check, offset, buf, size);
	return 0;
}

static bool upload(struct check *check)
{
	char key[OB_KEY_MAX + 1];
	struct ob_upload job = {.key = key_of(check, "large", key),
				.size = check->large_size,
				.read = read_large,
				.arg = check,
				.deadline_ms = check->deadline_ms};
	double started = now_s();
	check->step = "upload";
	int rc = ob_upload(check->client, &job);
	check->upload_s = now_s() - started;
	/* Without uploads in parts (s3v2) it is one put. */
	if (rc == -ENOTSUP) {
		job.part_size = check->large_size > OB_PART_MIN ? check->large_size : OB_PART_MIN;
		started = now_s();
		rc = ob_upload(check->client, &job);
		check->upload_s = now_s() - started;
	}
	return rc == 0 || failed(check, job.error, job.message);
}

struct range {
	struct ob_op op;
	uint8_t *buf;
};

/* Submit the range at `offset`; false when it was refused. */
static bool submit_range(struct check *check, struct range *range, const char *key, uint64_t offset)
{
	range->op = (struct ob_op){.kind = OB_GET,
				   .key = key,
				   .buf = range->buf,
				   .offset = offset,
				   .arg = range,
				   .size = NF_MIN(RANGE_SIZE, check->large_size - offset),
				   .deadline_ms = check->deadline_ms};
	return ob_submit(check->client, &range->op) == 0 || failed(check, range->op.error, range->op.message);
}

static bool verify_range(struct check *check, const struct ob_op *op, uint8_t *expected)
{
	if (op->result != 0)
		return failed(check, op->error, op->message);
	fill(check, op->offset, expected, op->size);
	return memcmp(op->buf, expected, op->size) == 0 || failed(check, OB_CORRUPT, "the large object is not what was uploaded");
}

static bool download_ranges(struct check *check, struct range *all, uint8_t *expected)
{
	char key[OB_KEY_MAX + 1];
	uint64_t next = 0, done = 0;
	unsigned running = 0;
	bool good = true;
	key_of(check, "large", key);
	for (; running < RANGES_AT_ONCE && next < check->large_size && good; next += RANGE_SIZE) {
		good = submit_range(check, &all[running], key, next);
		running += good;
	}
	while (running > 0) {
		struct ob_op *op;
		if (ob_poll(check->client, &op, 1, -1) != 1)
			return failed(check, OB_LOCAL, "an operation did not come back");
		running--;
		good = good && verify_range(check, op, expected);
		done += op->size;
		tl_progress_update(&check->progress, "downloading", done, check->large_size);
		if (good && next < check->large_size) {
			good = submit_range(check, op->arg, key, next);
			running += good;
			next += RANGE_SIZE;
		}
	}
	return good;
}

static bool download(struct check *check)
{
	struct range all[RANGES_AT_ONCE] = {0};
	uint8_t *expected = malloc(RANGE_SIZE);
	bool good = expected != NULL;
	check->step = "download";
	for (unsigned i = 0; i < RANGES_AT_ONCE; i++) {
		all[i].buf = malloc(RANGE_SIZE);
		good = good && all[i].buf != NULL;
	}
	double started = now_s();
	good = good ? download_ranges(check, all, expected) : failed(check, OB_LOCAL, "out of memory");
	check->download_s = now_s() - started;
	for (unsigned i = 0; i < RANGES_AT_ONCE; i++)
		free(all[i].buf);
	free(expected);
	return good;
}

/* Everything under the scratch prefix goes, also after a failure. */
static bool clean_up(struct check *check)
{
	char prefix[OB_KEY_MAX + 1];
	for (bool more = true; more;) {
		struct ob_op op = {.kind = OB_LIST, .key = key_of(check, "", prefix)};
		if (!run(check, &op))
			return false;
		for (unsigned i = 0; i < op.list.count; i++) {
			struct ob_op gone = {.kind = OB_DELETE, .key = op.list.entries[i].key};
			if (!run(check, &gone)) {
				ob_op_clear(&op);
				return false;
			}
		}
		more = op.list.more;
		ob_op_clear(&op);
	}
	struct ob_op left = {.kind = OB_LIST, .key = prefix, .limit = 1};
	if (!run(check, &left))
		return false;
	bool clean = left.list.count == 0;
	ob_op_clear(&left);
	return clean || failed(check, OB_CORRUPT, "objects are listed after they were deleted");
}

static bool all_steps(struct check *check)
{
	bool good = small_objects(check) && ranges(check) && list(check) && missing(check) && conditions(check) &&
		    upload(check) && download(check);
	if (good)
		check->step = "delete";
	if (good)
		return clean_up(check);
	/* The first failure is the one to tell. Where nothing could be put nothing has to go. */
	char kept[sizeof(check->message)];
	enum ob_error error = check->error;
	memcpy(kept, check->message, sizeof(kept));
	if (strcmp(check->step, "put and get") != 0)
		(void)!clean_up(check);
	memcpy(check->message, kept, sizeof(kept));
	check->error = error;
	return false;
}

/* ------------------------------------------------------------------ report */

static double mb_s(uint64_t bytes, double seconds)
{
	return seconds > 0 ? (double)bytes / 1e6 / seconds : 0;
}

static bool lease_is_safe(const struct check *check)
{
	return check->conditional.if_none_match && check->conditional.one_winner;
}

static void print_json(const struct check *check)
{
	json_t *object = json_pack(
		"{s:o, s:f, s:f, s:I, s:f, s:f, s:b, s:b, s:b, s:b, s:s}", "place", tl_json_text(ob_client_place(check->client)),
		"put_ms", check->put_ms, "get_ms", check->get_ms, "large_bytes", (json_int_t)check->large_size, "upload_mb_s",
		mb_s(check->large_size, check->upload_s), "download_mb_s", mb_s(check->large_size, check->download_s),
		"conditional_put", check->conditional.if_none_match, "one_winner", check->conditional.one_winner, "if_match",
		check->conditional.if_match, "lease", lease_is_safe(check), "conditional_text", check->conditional_text);
	json_dumpf(object, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(object);
}

static void print_text(const struct check *check)
{
	char size[TL_NUMBER_MAX], place[OB_URL_MAX];
	tl_escape(place, sizeof(place), ob_client_place(check->client));
	printf("place             %s\n", place);
	printf("put, get          %.1f ms, %.1f ms (median of %u objects of %u bytes, one after the other)\n", check->put_ms,
	       check->get_ms, SMALL_COUNT, SMALL_SIZE);
	printf("upload, download  %.1f MB/s, %.1f MB/s (%s)\n", mb_s(check->large_size, check->upload_s),
	       mb_s(check->large_size, check->download_s), tl_bytes_human(size, check->large_size));
	printf("conditional put   %s\n", lease_is_safe(check) ? "works, one winner" : "does NOT work");
	printf("lease             %s\n", lease_is_safe(check) ? "works: one machine at a time writes to a store here" : "does NOT work");
	printf("  by etag         %s\n", check->conditional.if_match ? "works" : "does NOT work");
	if (!lease_is_safe(check)) {
		tl_escape(place, sizeof(place), check->conditional_text);
		printf("%s.\nWithout conditional puts nothing here can keep two machines from writing to one store: use it from "
		       "one machine only, with --unsafe-no-lease.\n",
		       place);
	}
	printf("ok: put, get, ranges, list, delete and what was never put are as they should be\n");
}

/* What to do about it, where that is not in the message. */
static const char *advice(enum ob_error error)
{
	switch (error) {
	case OB_FORBIDDEN:
		return "; check the keys, the session token and the rights to put, get, list and delete under the prefix";
	case OB_NO_BUCKET: return "; make the bucket first, or check its name and the region";
	case OB_CERTIFICATE: return "; AWS_CA_BUNDLE names a file with the certificates to trust";
	case OB_NETWORK:
	case OB_SLOW: return "; check the endpoint (AWS_ENDPOINT_URL) and the way to it";
	default: return "";
	}
}

static int check_place(struct check *check, bool json)
{
	uint64_t random[2];
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return tl_fail("no random numbers: %s", strerror(errno));
	check->seed = random[0];
	snprintf(check->scratch, sizeof(check->scratch), "neonfs-check-%016" PRIx64, random[1]);
	for (unsigned i = 0; i < SMALL_SIZE; i++)
		check->small[i] = (uint8_t)(i * 7 + i / 256 + random[0]);
	tl_progress_start(&check->progress, "object-store check");
	bool good = all_steps(check);
	tl_progress_end(&check->progress);
	if (!good)
		return tl_fail("%s: %s (%s)%s", check->step, check->message, ob_error_name(check->error), advice(check->error));
	if (json)
		print_json(check);
	else
		print_text(check);
	return TL_OK;
}

static int read_numbers(const struct tl_call *call, struct check *check, struct ob_options *options)
{
	const char *size = tl_value(call, "size"), *parallel = tl_value(call, "parallel"), *deadline = tl_value(call, "deadline");
	uint64_t number;
	check->large_size = LARGE_SIZE_DEFAULT;
	check->deadline_ms = DEADLINE_DEFAULT_S * 1000;
	if (size != NULL &&
	    (tl_parse_bytes(size, &check->large_size) != 0 || check->large_size < 8 || check->large_size > LARGE_SIZE_MAX))
		return tl_usage("--size \"%s\" is no size between 8 and 16G; write one like 64M", size);
	check->large_size -= check->large_size % 8;
	if (parallel != NULL) {
		if (tl_parse_number(parallel, 1, OB_PARALLEL_MAX, &number) != 0)
			return tl_usage("--parallel \"%s\" is no number between 1 and %u", parallel, OB_PARALLEL_MAX);
		options->parallel = (unsigned)number;
	}
	if (deadline != NULL) {
		if (tl_parse_duration(deadline, &number) != 0 || number < 1 || number > 86400)
			return tl_usage("--deadline \"%s\" is no time between 1s and 24h; write one like 30s", deadline);
		check->deadline_ms = (uint32_t)number * 1000;
	}
	options->unverified_tls = tl_flag(call, "unverified-tls");
	return TL_OK;
}

int run_object_store(const struct tl_call *call)
{
	struct ob_options options = {0};
	char message[OB_MESSAGE_MAX];
	if (strcmp(call->args[0], "check") != 0) {
		char quoted[TL_QUOTE_MAX];
		tl_quote(quoted, sizeof(quoted), call->args[0]);
		return tl_usage("there is no action %s; there is: check", quoted);
	}
	tl_subject(call->args[1]);
	struct check *check = calloc(1, sizeof(*check));
	if (check == NULL)
		return tl_fail("out of memory");
	int code = read_numbers(call, check, &options);
	if (code == TL_OK) {
		int rc = ob_client_open(call->args[1], &options, &check->client, message, sizeof(message));
		if (rc != 0)
			code = rc == -EINVAL ? tl_usage("%s", message) : tl_fail("%s", message);
	}
	if (code == TL_OK)
		code = check_place(check, tl_flag(call, "json"));
	ob_client_close(check->client);
	free(check);
	return code;
}
