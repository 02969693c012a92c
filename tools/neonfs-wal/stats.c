/* neonfs-wal stats: what WAL consists of. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/lib/format.h"
#include "tools/neonfs-wal/commands.h"
#include "tools/neonfs-wal/source.h"
#include "tools/neonfs-wal/tally.h"

#define BAR_WIDTH 24
#define RELATIONS_DEFAULT 20
#define ROWS_MAX (256 * WAL_TALLY_OPS)

/* A line of a table. */
struct row {
	char name[64];
	struct wal_sum sum;
};

static int by_bytes(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	uint64_t left = wal_sum_bytes(&x->sum), right = wal_sum_bytes(&y->sum);
	return left != right ? (left > right ? -1 : 1) : strcmp(x->name, y->name);
}

/* The record type's name in *ret_name: "UPDATE", or its number where it has none. */
static void type_name(char *buf, size_t size, int major, unsigned rmid, unsigned op)
{
	const struct wa_record_type *type = wa_record_type(major, (uint8_t)rmid, (uint8_t)(op << 4));
	if (type != NULL)
		snprintf(buf, size, "%s", type->name);
	else
		snprintf(buf, size, "%02X", op << 4);
}

/* ---------------------------------------------------------------- text */

static double percent(uint64_t part, uint64_t whole)
{
	return whole > 0 ? 100.0 * (double)part / (double)whole : 0;
}

/* A bar of eighths of a character, on a terminal only. */
static void print_bar(uint64_t part, uint64_t whole)
{
	static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
	if (!tl_is_terminal() || whole == 0)
		return;
	unsigned length = (unsigned)((double)part / (double)whole * BAR_WIDTH * 8 + 0.5);
	fputs("  ", stdout);
	for (unsigned i = 0; i < length / 8; i++)
		fputs("█", stdout);
	fputs(eighths[length % 8], stdout);
}

static void print_heading(const char *name)
{
	printf("\n%-34s %10s %6s %13s %10s %13s %13s %6s\n", name, "RECORDS", "%", "RECORD BYTES", "IMAGES", "IMAGE BYTES",
	       "BYTES", "%");
}

static void print_row(const struct row *row, const struct wal_sum *all)
{
	const struct wal_sum *sum = &row->sum;
	printf("%-34s %10llu %6.2f %13llu %10llu %13llu %13llu %6.2f", row->name, (unsigned long long)sum->records,
	       percent(sum->records, all->records), (unsigned long long)sum->record_bytes, (unsigned long long)sum->images,
	       (unsigned long long)sum->image_bytes, (unsigned long long)wal_sum_bytes(sum),
	       percent(wal_sum_bytes(sum), wal_sum_bytes(all)));
	print_bar(wal_sum_bytes(sum), wal_sum_bytes(all));
	putchar('\n');
}

static void print_rows(const char *heading, struct row *rows, size_t count, const struct wal_sum *all)
{
	qsort(rows, count, sizeof(*rows), by_bytes);
	print_heading(heading);
	for (size_t i = 0; i < count; i++)
		print_row(&rows[i], all);
}

static void print_rmgrs(const struct wal_tally *tally, struct row *rows)
{
	size_t count = 0;
	for (unsigned rmid = 0; rmid < 256; rmid++) {
		if (tally->rmgrs[rmid].records == 0)
			continue;
		rows[count].sum = tally->rmgrs[rmid];
		snprintf(rows[count].name, sizeof(rows[count].name), "%s", wa_rmgr_name((uint8_t)rmid));
		count++;
	}
	print_rows("RESOURCE MANAGER", rows, count, &tally->all);
}

static void print_types(const struct wal_tally *tally, int major, struct row *rows)
{
	size_t count = 0;
	for (unsigned rmid = 0; rmid < 256; rmid++)
		for (unsigned op = 0; op < WAL_TALLY_OPS; op++) {
			char name[40];
			if (tally->types[rmid][op].records == 0)
				continue;
			rows[count].sum = tally->types[rmid][op];
			type_name(name, sizeof(name), major, rmid, op);
			snprintf(rows[count].name, sizeof(rows[count].name), "%s %s", wa_rmgr_name((uint8_t)rmid), name);
			count++;
		}
	print_rows("RECORD TYPE", rows, count, &tally->all);
}

static void print_relations(const struct wal_tally *tally, uint64_t limit)
{
	struct row other = {0};
	print_heading("RELATION (tablespace/database/file)");
	for (size_t i = 0; i < tally->relation_count; i++) {
		const struct wal_relation_sum *one = &tally->relations[i];
		struct row row = {.sum = one->sum};
		snprintf(row.name, sizeof(row.name), "%u/%u/%u", one->rel.spc, one->rel.db, one->rel.rel);
		if (i < limit) {
			print_row(&row, &tally->all);
			continue;
		}
		other.sum.records += one->sum.records;
		other.sum.images += one->sum.images;
		other.sum.record_bytes += one->sum.record_bytes;
		other.sum.image_bytes += one->sum.image_bytes;
	}
	if (tally->relation_count > limit) {
		snprintf(other.name, sizeof(other.name), "%llu more (--relations)",
			 (unsigned long long)(tally->relation_count - limit));
		print_row(&other, &tally->all);
	}
	struct row none = {.name = "none", .sum = tally->none};
	print_row(&none, &tally->all);
}

static int print_text(const struct tl_call *call, const struct wal_tally *tally, const struct wal_source *source,
		      uint64_t relations)
{
	char reason[256], size[TL_NUMBER_MAX];
	struct row *rows = calloc(ROWS_MAX, sizeof(*rows));
	struct row all = {.name = "all", .sum = tally->all};
	if (rows == NULL)
		return tl_fail("memory is short");
	wal_source_reason(source, reason, sizeof(reason));
	printf("Postgres %d, timeline %u, " NF_LSN_FMT " to %s\n", source->version.major, wal_dir_timeline(source->dir),
	       NF_LSN_ARG(source->first), reason);
	printf("%llu records in %s of WAL\n", (unsigned long long)tally->all.records,
	       tl_bytes_human(size, wal_dir_end(source->dir).end.v - source->first.v));
	print_rmgrs(tally, rows);
	print_row(&all, &tally->all);
	if (tl_flag(call, "types"))
		print_types(tally, source->version.major, rows);
	if (relations > 0)
		print_relations(tally, relations);
	free(rows);
	return TL_OK;
}

/* ---------------------------------------------------------------- JSON */

static json_t *sum_json(const struct wal_sum *sum)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "records", (json_int_t)sum->records, "record_bytes",
			 (json_int_t)sum->record_bytes, "images", (json_int_t)sum->images, "image_bytes",
			 (json_int_t)sum->image_bytes, "bytes", (json_int_t)wal_sum_bytes(sum));
}

static json_t *rmgrs_json(const struct wal_tally *tally, int major)
{
	json_t *rmgrs = json_array();
	for (unsigned rmid = 0; rmid < 256; rmid++) {
		if (tally->rmgrs[rmid].records == 0)
			continue;
		json_t *rmgr = sum_json(&tally->rmgrs[rmid]), *types = json_array();
		json_object_set_new(rmgr, "rmgr", json_string(wa_rmgr_name((uint8_t)rmid)));
		for (unsigned op = 0; op < WAL_TALLY_OPS; op++) {
			char name[40];
			if (tally->types[rmid][op].records == 0)
				continue;
			json_t *type = sum_json(&tally->types[rmid][op]);
			type_name(name, sizeof(name), major, rmid, op);
			json_object_set_new(type, "type", json_string(name));
			json_array_append_new(types, type);
		}
		json_object_set_new(rmgr, "types", types);
		json_array_append_new(rmgrs, rmgr);
	}
	return rmgrs;
}

static json_t *relations_json(const struct wal_tally *tally)
{
	json_t *relations = json_array();
	for (size_t i = 0; i < tally->relation_count; i++) {
		const struct wal_relation_sum *one = &tally->relations[i];
		json_t *relation = sum_json(&one->sum);
		json_object_set_new(relation, "spc", json_integer(one->rel.spc));
		json_object_set_new(relation, "db", json_integer(one->rel.db));
		json_object_set_new(relation, "rel", json_integer(one->rel.rel));
		json_array_append_new(relations, relation);
	}
	return relations;
}

static int print_json(const struct wal_tally *tally, const struct wal_source *source)
{
	json_t *object = json_object();
	wal_source_json(source, object);
	json_object_set_new(object, "wal_bytes", json_integer((json_int_t)(wal_dir_end(source->dir).end.v - source->first.v)));
	json_object_set_new(object, "all", sum_json(&tally->all));
	json_object_set_new(object, "no_relation", sum_json(&tally->none));
	json_object_set_new(object, "rmgrs", rmgrs_json(tally, source->version.major));
	json_object_set_new(object, "relations", relations_json(tally));
	json_dumpf(object, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(object);
	return TL_OK;
}

/* ------------------------------------------------------------- command */

static int count_all(struct wal_source *source, struct wal_tally *tally)
{
	const struct wa_record *record;
	while ((record = wal_source_next(source)) != NULL)
		if (wal_tally_add(tally, source->version.major, record) < 0)
			return tl_fail("memory is short");
	return wal_source_finish(source);
}

int run_stats(const struct tl_call *call)
{
	struct wal_source source;
	uint64_t relations;
	int code = wal_option_number(call, "relations", 0, UINT32_MAX, RELATIONS_DEFAULT, &relations);
	if (code == TL_OK)
		code = wal_source_open(call, &source);
	if (code != TL_OK)
		return code;
	struct wal_tally *tally = wal_tally_new();
	code = tally != NULL ? count_all(&source, tally) : tl_fail("memory is short");
	if (source.records > 0 && tally != NULL) {
		wal_tally_sort(tally);
		int printed = tl_flag(call, "json") ? print_json(tally, &source) : print_text(call, tally, &source, relations);
		code = code != TL_OK ? code : printed;
	}
	wal_tally_free(tally);
	wal_source_close(&source);
	return code;
}
