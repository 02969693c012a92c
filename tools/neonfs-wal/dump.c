/* neonfs-wal dump: records, one after the other. */
#include <stdio.h>
#include <string.h>

#include "tools/neonfs-wal/commands.h"
#include "tools/neonfs-wal/record_print.h"
#include "tools/neonfs-wal/select.h"
#include "tools/neonfs-wal/source.h"

struct dump {
	struct wal_source source;
	struct wal_select select;
	struct wal_printer printer;
	bool is_json;
	uint64_t limit, printed;
};

static int print_record(struct dump *dump, const struct wa_record *record)
{
	int status = (dump->is_json ? wal_print_json : wal_print_text)(&dump->printer, record, stdout);
	if (status < 0)
		return tl_fail("memory is short");
	dump->printed++;
	return ferror(stdout) ? TL_FAILED : TL_OK;
}

/* Print up to where the log ends, or the limit. */
static int print_records(struct dump *dump)
{
	const struct wa_record *record;
	int code = TL_OK;
	while (code == TL_OK && dump->printed < dump->limit && (record = wal_source_next(&dump->source)) != NULL)
		if (wal_select_matches(&dump->select, record))
			code = print_record(dump, record);
	return code;
}

static int dump_all(struct dump *dump)
{
	int code = print_records(dump);
	if (ferror(stdout))
		return TL_OK; /* tl_finish tells, unless it was a reader that had enough */
	if (code == TL_OK && dump->printed < dump->limit)
		code = wal_source_finish(&dump->source);
	if (dump->printer.damaged > 0 && code == TL_OK)
		return tl_fail("%llu records hold bytes that do not fit their type: they are marked \"damaged\"",
			       (unsigned long long)dump->printer.damaged);
	return code;
}

static int open_and_dump(const struct tl_call *call, struct dump *dump)
{
	int code = wal_source_open(call, &dump->source);
	if (code != TL_OK)
		return code;
	if (tl_flag(call, "follow"))
		wal_source_follow(&dump->source);
	if (wal_printer_init(&dump->printer, &dump->source.version, tl_flag(call, "details")) == 0)
		code = dump_all(dump);
	else
		code = tl_fail("memory is short");
	wal_printer_free(&dump->printer);
	wal_source_close(&dump->source);
	return code;
}

int run_dump(const struct tl_call *call)
{
	struct dump dump = {.is_json = tl_flag(call, "json")};
	int code = wal_select_parse(call, &dump.select);
	if (code == TL_OK)
		code = wal_option_number(call, "limit", 1, UINT64_MAX, UINT64_MAX, &dump.limit);
	return code == TL_OK ? open_and_dump(call, &dump) : code;
}
