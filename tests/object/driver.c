/* A client of an object store that does what lines of JSON on stdin tell it, and says on stdout what came of it: one line each.
 *
 * usage: object_driver URL [OPTION=NUMBER...]     (parallel send_rate receive_rate connect_ms stall_ms retry_first_ms retry_max_ms unverified_tls)
 *
 *   {"do": "put" | "get" | "head" | "list" | "delete" | "begin" | "part" | "end" | "abort", "key": ..., ...}   one op, waited for
 *   the same with "name": N                     submitted only; its line comes with "wait"
 *   {"do": "wait", "count": N, "ms": N}         lines of up to N ops that are done, then {"waited": N}
 *   {"do": "cancel", "name": N}                 {"do": "stop"}       {"do": "stats"}
 *   {"do": "conditional", "key": K}             {"do": "upload", "key": K, "size": N, "fill": N, "part_size": N}
 *
 * Bytes are not in the lines: a put has "size" and "fill", a number that says which bytes (fill_bytes); a get with "fill" compares, and
 * with "expect": true also tells the client beforehand what must come. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "blockdev/tier/object/object.h"

#define NAMES_MAX 64
#define PARTS_MAX 64

struct item {
	struct ob_op op;
	json_t *order; /* holds the texts that the op points to */
	unsigned char *bytes;
	uint64_t xxh3;
	const char *etags[PARTS_MAX];
	int64_t started_ns;
	int64_t name;
	bool used;
};

static struct item items[NAMES_MAX];
static struct ob_client *client;

static int64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Byte i of object `fill`; tests/object/place.py has the same. */
static void fill_bytes(unsigned char *bytes, uint64_t offset, uint64_t size, uint64_t fill)
{
	for (uint64_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(((offset + i) >> 12) * 31 + ((offset + i) & 4095) * 7 + fill);
}

static void die(const char *what)
{
	fprintf(stderr, "object_driver: %s\n", what);
	exit(2);
}

static void print(json_t *line)
{
	json_dumpf(line, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	json_decref(line);
}

static const char *text(const json_t *order, const char *name)
{
	return json_string_value(json_object_get(order, name));
}

static uint64_t number(const json_t *order, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(order, name));
}

static bool flag(const json_t *order, const char *name)
{
	return json_is_true(json_object_get(order, name));
}

/* ------------------------------------------------------------------ orders */

static enum ob_kind kind_of(const char *word)
{
	static const char *const words[] = {"put", "get", "head", "list", "delete", "begin", "part", "end", "abort"};
	for (unsigned i = 0; i < NF_ARRAY_LEN(words); i++)
		if (strcmp(word, words[i]) == 0)
			return (enum ob_kind)i;
	die("there is no such order");
	return OB_PUT;
}

static void take_parts(struct item *item)
{
	const json_t *parts = json_object_get(item->order, "parts");
	for (size_t i = 0; i < json_array_size(parts) && i < PARTS_MAX; i++)
		item->etags[i] = json_string_value(json_array_get(parts, i));
	item->op.part_etags = item->etags;
	item->op.part_count = (unsigned)json_array_size(parts);
}

static void take_bytes(struct item *item)
{
	struct ob_op *op = &item->op;
	bool puts = op->kind == OB_PUT || op->kind == OB_MULTI_PUT;
	op->size = number(item->order, "size");
	if (!puts && op->kind != OB_GET)
		return;
	item->bytes = malloc(op->size > 0 ? op->size : 1);
	if (item->bytes == NULL)
		die("out of memory");
	if (puts || flag(item->order, "expect"))
		fill_bytes(item->bytes, op->offset, op->size, number(item->order, "fill"));
	item->xxh3 = XXH3_64bits(item->bytes, op->size);
	if (puts) {
		op->data = item->bytes;
		return;
	}
	if (flag(item->order, "expect"))
		op->expect_xxh3 = &item->xxh3;
	memset(item->bytes, 0xee, op->size);
	op->buf = item->bytes;
}

static struct item *make_item(json_t *order)
{
	struct item *item = items;
	while (item < items + NAMES_MAX && item->used)
		item++;
	if (item == items + NAMES_MAX)
		die("too many ops at a time");
	*item = (struct item){
		.order = json_incref(order), .used = true, .started_ns = now_ns(), .name = (int64_t)number(order, "name")};
	item->op = (struct ob_op){.kind = kind_of(text(order, "do")),
				  .key = text(order, "key"),
				  .offset = number(order, "offset"),
				  .if_none_match = flag(order, "if_none_match"),
				  .if_match = text(order, "if_match"),
				  .may_be_short = flag(order, "may_be_short"),
				  .expect_etag = text(order, "expect_etag"),
				  .after = text(order, "after"),
				  .limit = (unsigned)number(order, "limit"),
				  .upload = text(order, "upload"),
				  .part = (unsigned)number(order, "part"),
				  .part_size = number(order, "part_size"),
				  .deadline_ms = (uint32_t)number(order, "deadline_ms"),
				  .arg = item};
	take_parts(item);
	take_bytes(item);
	return item;
}

/* ----------------------------------------------------------------- results */

static json_t *entries_of(const struct ob_list *list)
{
	json_t *entries = json_array();
	for (unsigned i = 0; i < list->count; i++)
		json_array_append_new(entries, json_pack("{s:s, s:I, s:s, s:I}", "key", list->entries[i].key, "size",
							 (json_int_t)list->entries[i].size, "etag", list->entries[i].etag,
							 "modified", (json_int_t)list->entries[i].modified_s));
	return json_pack("{s:o, s:b, s:s, s:i}", "entries", entries, "more", list->more, "next_after", list->next_after,
			 "foreign", (int)list->foreign);
}

static bool is_filled(const struct item *item)
{
	unsigned char *expected = malloc(item->op.got > 0 ? item->op.got : 1);
	if (expected == NULL)
		die("out of memory");
	fill_bytes(expected, item->op.offset, item->op.got, number(item->order, "fill"));
	bool same = memcmp(expected, item->bytes, item->op.got) == 0;
	free(expected);
	return same;
}

static void report(struct item *item)
{
	struct ob_op *op = &item->op;
	json_t *line = json_pack("{s:I, s:i, s:s, s:s, s:i, s:b, s:I, s:I, s:I, s:s, s:s, s:f}", "name", (json_int_t)item->name,
				 "result", op->result, "error", ob_error_name(op->error), "message", op->message, "tries",
				 (int)op->tries, "maybe_done", op->maybe_done, "got", (json_int_t)op->got, "object_size",
				 (json_int_t)op->object_size, "modified", (json_int_t)op->modified_s, "etag", op->etag, "upload",
				 op->upload_id, "ms", (double)(now_ns() - item->started_ns) / 1e6);
	if (line == NULL)
		die("a result cannot be shown");
	if (op->kind == OB_GET)
		json_object_set_new(line, "same", json_boolean(op->result == 0 && is_filled(item)));
	if (op->kind == OB_LIST && op->result == 0)
		json_object_set_new(line, "list", entries_of(&op->list));
	ob_op_clear(op);
	free(item->bytes);
	json_decref(item->order);
	item->used = false;
	print(line);
}

/* ---------------------------------------------------------------- commands */

static void do_op(json_t *order)
{
	struct item *item = make_item(order);
	bool waits = json_object_get(order, "name") == NULL;
	if (waits) {
		(void)!ob_run(client, &item->op);
		report(item);
	} else if (ob_submit(client, &item->op) != 0) {
		report(item);
	}
}

static void do_wait(const json_t *order)
{
	unsigned count = (unsigned)number(order, "count"), done = 0;
	int64_t until_ns = now_ns() + (int64_t)number(order, "ms") * 1000000;
	while (done < count && now_ns() < until_ns) {
		struct ob_op *op;
		if (ob_poll(client, &op, 1, (int)((until_ns - now_ns()) / 1000000) + 1) == 0)
			break;
		report(op->arg);
		done++;
	}
	print(json_pack("{s:i}", "waited", (int)done));
}

static void do_cancel(const json_t *order)
{
	for (unsigned i = 0; i < NAMES_MAX; i++)
		if (items[i].used && items[i].name == (int64_t)number(order, "name"))
			ob_cancel(client, &items[i].op);
	print(json_pack("{s:b}", "ok", true));
}

static void do_stats(void)
{
	struct ob_stats stats;
	ob_client_stats(client, &stats);
	print(json_pack("{s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:i, s:s, s:s}", "tries", (json_int_t)stats.tries, "retries",
			(json_int_t)stats.retries, "failed", (json_int_t)stats.failed, "sent", (json_int_t)stats.sent, "received",
			(json_int_t)stats.received, "waiting", (int)stats.waiting, "running", (int)stats.running, "troubled",
			(int)stats.troubled, "trouble", stats.trouble, "place", ob_client_place(client)));
}

static void do_conditional(const json_t *order)
{
	struct ob_conditional answer;
	char message[OB_MESSAGE_MAX];
	int rc = ob_check_conditional(client, text(order, "key"), &answer, message, sizeof(message));
	print(json_pack("{s:i, s:s, s:b, s:b, s:b}", "result", rc, "message", message, "if_none_match", answer.if_none_match,
			"one_winner", answer.one_winner, "if_match", answer.if_match));
}

static int read_filled(void *arg, uint64_t offset, void *buf, size_t size)
{
	const json_t *order = arg;
	if (json_object_get(order, "fail_at") != NULL && offset + size > number(order, "fail_at"))
		return -EIO;
	fill_bytes(buf, offset, size, number(order, "fill"));
	return 0;
}

static void do_upload(json_t *order)
{
	struct ob_upload upload = {.key = text(order, "key"),
				   .size = number(order, "size"),
				   .part_size = number(order, "part_size"),
				   .read = read_filled,
				   .arg = order,
				   .deadline_ms = (uint32_t)number(order, "deadline_ms")};
	int rc = ob_upload(client, &upload);
	print(json_pack("{s:i, s:s, s:s, s:s}", "result", rc, "error", ob_error_name(upload.error), "message", upload.message,
			"etag", upload.etag));
}

static void obey(json_t *order)
{
	const char *word = text(order, "do");
	if (word == NULL)
		die("an order without \"do\"");
	if (strcmp(word, "wait") == 0) {
		do_wait(order);
	} else if (strcmp(word, "cancel") == 0) {
		do_cancel(order);
	} else if (strcmp(word, "stats") == 0) {
		do_stats();
	} else if (strcmp(word, "conditional") == 0) {
		do_conditional(order);
	} else if (strcmp(word, "upload") == 0) {
		do_upload(order);
	} else if (strcmp(word, "stop") == 0) {
		ob_client_stop(client);
		print(json_pack("{s:b}", "ok", true));
	} else {
		do_op(order);
	}
}

static void take_option(struct ob_options *options, const char *word)
{
	const struct {
		const char *name;
		uint32_t *number;
		uint64_t *large;
	} rows[] = {{"parallel=", &options->parallel, NULL},         {"send_rate=", NULL, &options->send_rate},
		    {"receive_rate=", NULL, &options->receive_rate}, {"connect_ms=", &options->connect_ms, NULL},
		    {"stall_ms=", &options->stall_ms, NULL},         {"retry_first_ms=", &options->retry_first_ms, NULL},
		    {"retry_max_ms=", &options->retry_max_ms, NULL}};
	if (strcmp(word, "unverified_tls=1") == 0) {
		options->unverified_tls = true;
		return;
	}
	for (unsigned i = 0; i < NF_ARRAY_LEN(rows); i++) {
		size_t size = strlen(rows[i].name);
		if (strncmp(word, rows[i].name, size) != 0)
			continue;
		unsigned long long value = strtoull(word + size, NULL, 10);
		if (rows[i].number != NULL)
			*rows[i].number = (uint32_t)value;
		else
			*rows[i].large = value;
		return;
	}
	die("there is no such option");
}

int main(int argc, char **argv)
{
	struct ob_options options = {0};
	char message[OB_MESSAGE_MAX];
	char *line = NULL;
	size_t room = 0;
	if (argc < 2)
		die("usage: object_driver URL [OPTION=NUMBER...]");
	for (int i = 2; i < argc; i++)
		take_option(&options, argv[i]);
	int rc = ob_client_open(argv[1], &options, &client, message, sizeof(message));
	print(json_pack("{s:i, s:s}", "opened", rc, "message", rc == 0 ? "" : message));
	if (rc != 0)
		return 0;
	while (getline(&line, &room, stdin) > 0) {
		json_t *order = json_loads(line, 0, NULL);
		if (order == NULL)
			die("a line is no JSON");
		obey(order);
		json_decref(order);
	}
	free(line);
	ob_client_close(client);
	for (unsigned i = 0; i < NAMES_MAX; i++) {
		if (items[i].used) {
			free(items[i].bytes);
			json_decref(items[i].order);
		}
	}
	return 0;
}
