/* Amazon's Signature Version 4 for one HTTP request. Pure but for the signing key, which is kept with the secrets for its day.
 * Source: "Authenticating Requests (AWS Signature Version 4)" in the S3 API reference. */
#ifndef OB_SIGN_H
#define OB_SIGN_H

#include "blockdev/tier/object/s3_settings.h"

#define OB_DATE_MAX 17 /* "20130524T000000Z" */
#define OB_AUTHORIZATION_MAX 1024
#define OB_SIGNED_HEADERS_MAX 12
#define OB_EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct ob_header {
	const char *name; /* lower case */
	const char *value; /* without blanks around it */
};

struct ob_request {
	const char *method;
	const char *path; /* encoded (ob_encode), beginning with '/' */
	const char *query; /* "name=value&..." encoded and in order of the names; "" = none */
	const struct ob_header *headers; /* in order of the names; all of them are signed, "host" among them */
	unsigned header_count;
	const char *sha256; /* of the body, hexadecimal */
};

/* "20130524T000000Z" of a Unix time. */
void ob_sign_date(int64_t unix_s, char date[OB_DATE_MAX]);

/* The value of the header Authorization.
 * Returns 0; -EINVAL too many headers, or too long; -ENOMEM. */
NF_MUST_CHECK int ob_sign(struct ob_secrets *secrets, const char *region, const char *service, const char date[OB_DATE_MAX],
			  const struct ob_request *request, char authorization[OB_AUTHORIZATION_MAX]);

/* `text` for a path (keep_slash) or a query: all but A-Z a-z 0-9 - . _ ~ as %XX. Returns false when it does not fit. */
NF_MUST_CHECK bool ob_encode(const char *text, bool keep_slash, char *encoded, size_t size);

#endif
