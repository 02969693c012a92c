/* The reader's state, for reader.c and reader_page.c alone. */
#ifndef WA_READER_IMPL_H
#define WA_READER_IMPL_H

#include "walapply/decode/wa_reader.h"

#define WA_WAL_PAGE_HEADER 24u
#define WA_WAL_LONG_HEADER 40u

struct wa_reader {
	uint32_t segment_size;
	int major;
	uint64_t system_id;
	uint64_t start;
	bool find;
	bool entering; /* config.start has not been reached yet */

	const uint8_t *in; /* bytes given and not used yet, at address `at` */
	size_t in_len;
	uint64_t at;
	uint64_t pass_to; /* bytes before it are no concern of ours */

	uint64_t page;			    /* address of the page whose header is being gathered */
	uint8_t header[WA_WAL_LONG_HEADER]; /* as far as it has come; header_len is 0 when none is under way */
	size_t header_len;
	uint32_t timeline; /* of the last page; 0 = none yet */

	bool in_record; /* a record has begun at record_start */
	uint64_t record_start;
	uint32_t record_timeline;
	uint32_t tot_len; /* 0 = not known yet */
	size_t got;	  /* bytes of it in buffer */
	uint8_t *buffer;
	size_t capacity;

	uint64_t last; /* where the last record began; 0 = none yet */
	uint64_t end;  /* and ended */
	uint64_t overwritten; /* the last record whose continuation was overwritten; 0 = none */
	struct wa_record record;

	int failed; /* 0, or what wa_reader_next returns from now on */
	enum wa_end why;
	struct wa_error error;
};

/* How long the page header is, by its first WA_WAL_PAGE_HEADER bytes. */
size_t wa_wal_header_len(const uint8_t *header);

/* Check the page header in reader->header, whose bytes have been used, and settle what its page's bytes are: pass_to, in_record. Returns 0 or as wa_reader_stop. */
int wa_reader_page(struct wa_reader *reader);

/* End the log at lsn (why != WA_END_NONE) or refuse it (WA_END_NONE), in words. Returns -ENODATA or -EBADMSG. */
int wa_reader_stop(struct wa_reader *reader, enum wa_end why, uint64_t lsn, const char *format, ...) NF_PRINTF(4, 5);

#endif
