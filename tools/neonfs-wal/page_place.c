#include "tools/neonfs-wal/page_place.h"

#include <stdio.h>

#include "walapply/redo/page.h"

#define LINE_POINTER 4

static const char *header_field(unsigned offset)
{
	static const struct {
		unsigned end;
		const char *name;
	} fields[] = {
		{8, "pd_lsn"},      {10, "pd_checksum"},         {12, "pd_flags"},     {14, "pd_lower"}, {16, "pd_upper"},
		{18, "pd_special"}, {20, "pd_pagesize_version"}, {24, "pd_prune_xid"},
	};
	size_t i = 0;
	while (i + 1 < NF_ARRAY_LEN(fields) && offset >= fields[i].end)
		i++;
	return fields[i].name;
}

const char *wal_page_place(char *buf, const uint8_t *page, unsigned offset)
{
	unsigned special = wa_page_special(page), count = wa_page_item_count(page);
	if (offset < WA_PAGE_HEADER) {
		snprintf(buf, WAL_PLACE_MAX, "%s", header_field(offset));
		return buf;
	}
	if (offset < WA_PAGE_HEADER + count * LINE_POINTER) {
		snprintf(buf, WAL_PLACE_MAX, "line pointer %u", (offset - WA_PAGE_HEADER) / LINE_POINTER + 1);
		return buf;
	}
	if (offset >= special) {
		snprintf(buf, WAL_PLACE_MAX, "special space, byte %u", offset - special);
		return buf;
	}
	for (unsigned off = 1; off <= count; off++) {
		struct wa_item item;
		if (wa_page_item(page, off, &item) < 0 || offset < item.offset || offset >= (unsigned)item.offset + item.len)
			continue;
		snprintf(buf, WAL_PLACE_MAX, "item %u, byte %u", off, offset - item.offset);
		return buf;
	}
	snprintf(buf, WAL_PLACE_MAX, "unused space");
	return buf;
}
