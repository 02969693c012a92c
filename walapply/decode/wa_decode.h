/* One record's bytes, whole and in one piece, to a struct wa_record. */
#ifndef WA_DECODE_H
#define WA_DECODE_H

#include "wa_record.h"

/* Does the record's checksum fit its bytes? record: tot_len bytes, WA_RECORD_HEADER at least; it is not looked at for its length. */
NF_MUST_CHECK bool wa_record_crc_ok(const uint8_t *record, uint32_t tot_len);

/* Take a record apart, with all the checks of DecodeXLogRecord (xlogreader.c) and some more: nothing in *ret_record leads outside.
 * major    Postgres's version, 13 to 18
 * bytes    the record; it must be exactly `size` bytes long by its own header. Its checksum is not looked at here.
 * lsn      where it starts; it becomes ret_record->lsn, and ->end is what follows when the record crosses no page (else the caller sets it)
 * *ret_record is a view of bytes: only its first ref_count refs are written. timeline becomes 0.
 * Returns 0; -EBADMSG (error says why; *ret_record undefined). Pure, thread-safe. */
NF_MUST_CHECK int wa_decode_record(int major, const uint8_t *bytes, size_t size, struct nf_lsn lsn, struct wa_record *ret_record,
				   struct wa_error *error);

#endif
