/* Texts of hashes, and the etag that S3 gives to what was put in parts. */
#ifndef OB_SUMS_H
#define OB_SUMS_H

#include "blockdev/tier/object/object.h"

/* Lower-case digits and a zero: 2 * size + 1 bytes. */
void ob_hex(char *hex, const uint8_t *bytes, size_t size);
/* Base64 with padding and a zero: 4 * ((size + 2) / 3) + 1 bytes. */
void ob_base64(char *text, const uint8_t *bytes, size_t size);
/* Is this the hexadecimal form of an MD5? */
bool ob_is_md5(const char *etag);
/* The etag of an upload's object, from those of its parts: MD5 of their MD5s, a dash, their number. False when they are no MD5s. */
NF_MUST_CHECK bool ob_multi_etag(const struct ob_op *op, char ret_etag[OB_ETAG_MAX]);

#endif
