/* A record as text and as JSON. */
#ifndef WAL_RECORD_PRINT_H
#define WAL_RECORD_PRINT_H

#include <stdio.h>

#include "walapply/decode/wa_records.h"

struct wal_printer {
	struct wa_version version;
	bool details; /* text: block references on lines of their own, with the place of the hole and the compression */
	char *text; /* room for descriptions */
	size_t text_size;
	uint64_t damaged; /* records whose bytes did not fit their type */
};

/* Returns 0 or -ENOMEM. */
NF_MUST_CHECK int wal_printer_init(struct wal_printer *printer, const struct wa_version *version, bool details);
void wal_printer_free(struct wal_printer *printer);

/* Print to `file`: a line as pg_waldump prints it (with details: as pg_waldump --bkp-details of 15), or one JSON object on a line.
 * Returns 0 or -ENOMEM. What the file did not take is found out by ferror. */
NF_MUST_CHECK int wal_print_text(struct wal_printer *printer, const struct wa_record *record, FILE *file);
NF_MUST_CHECK int wal_print_json(struct wal_printer *printer, const struct wa_record *record, FILE *file);

#endif
