/* See sign.h.
 *
 *   canonical request = method \n path \n query \n (name:value\n)* \n names \n sha256(body)
 *   string to sign    = AWS4-HMAC-SHA256 \n date \n scope \n sha256(canonical request)        scope = day/region/service/aws4_request
 *   signing key       = HMAC(HMAC(HMAC(HMAC("AWS4" secret, day), region), service), "aws4_request")
 *   signature         = HMAC(signing key, string to sign) */
#include "blockdev/tier/object/sign.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "blockdev/tier/object/secret.h"
#include "blockdev/tier/object/sums.h"

#define DAY_SIZE 8 /* of a date's day */
#define HASH_SIZE 32

void ob_sign_date(int64_t unix_s, char date[OB_DATE_MAX])
{
	struct tm utc;
	time_t when = (time_t)unix_s;
	gmtime_r(&when, &utc);
	strftime(date, OB_DATE_MAX, "%Y%m%dT%H%M%SZ", &utc);
}

bool ob_encode(const char *text, bool keep_slash, char *encoded, size_t size)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t used = 0;
	for (; *text != '\0'; text++) {
		uint8_t c = (uint8_t)*text;
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
			     c == '_' || c == '~' || (c == '/' && keep_slash);
		if (used + (plain ? 1 : 3) >= size)
			return false;
		if (plain) {
			encoded[used++] = (char)c;
		} else {
			encoded[used++] = '%';
			encoded[used++] = digits[c >> 4];
			encoded[used++] = digits[c & 15];
		}
	}
	if (used >= size)
		return false;
	encoded[used] = '\0';
	return true;
}

static bool hmac(const void *key, size_t key_size, const char *text, size_t text_size, uint8_t result[HASH_SIZE])
{
	unsigned size = HASH_SIZE;
	return HMAC(EVP_sha256(), key, (int)key_size, (const uint8_t *)text, text_size, result, &size) != NULL;
}

/* The key for this day, region and service; derived anew when one of them changed. */
static bool derive_key(struct ob_secrets *secrets, const char *region, const char *service, const char *date)
{
	char first[4 + sizeof(secrets->secret_key)];
	uint8_t a[HASH_SIZE], b[HASH_SIZE];
	/* A client has one region and one service: the day is what changes. */
	if (secrets->key_scope[0] != '\0' && strncmp(secrets->key_scope, date, DAY_SIZE) == 0)
		return true;
	size_t size = (size_t)snprintf(first, sizeof(first), "AWS4%s", secrets->secret_key);
	bool good = hmac(first, size, date, DAY_SIZE, a) && hmac(a, sizeof(a), region, strlen(region), b) &&
		    hmac(b, sizeof(b), service, strlen(service), a) &&
		    hmac(a, sizeof(a), "aws4_request", 12, secrets->signing_key);
	ob_secret_wipe(first, sizeof(first));
	ob_secret_wipe(a, sizeof(a));
	ob_secret_wipe(b, sizeof(b));
	if (good)
		snprintf(secrets->key_scope, sizeof(secrets->key_scope), "%.*s", DAY_SIZE, date);
	return good;
}

/* Feeds the canonical request to a hash, piece by piece: it may be longer than a buffer here would be. */
static bool feed(EVP_MD_CTX *context, const char *first, ...)
{
	va_list texts;
	bool good = true;
	va_start(texts, first);
	for (const char *text = first; good && text != NULL; text = va_arg(texts, const char *))
		good = EVP_DigestUpdate(context, text, strlen(text)) == 1;
	va_end(texts);
	return good;
}

static bool hash_request(const struct ob_request *request, const char *names, char hex[2 * HASH_SIZE + 1])
{
	uint8_t hash[HASH_SIZE];
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool good = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
		    feed(context, request->method, "\n", request->path, "\n", request->query, "\n", NULL);
	for (unsigned i = 0; good && i < request->header_count; i++)
		good = feed(context, request->headers[i].name, ":", request->headers[i].value, "\n", NULL);
	good = good && feed(context, "\n", names, "\n", request->sha256, NULL) && EVP_DigestFinal_ex(context, hash, NULL) == 1;
	EVP_MD_CTX_free(context);
	if (good)
		ob_hex(hex, hash, sizeof(hash));
	return good;
}

int ob_sign(struct ob_secrets *secrets, const char *region, const char *service, const char date[OB_DATE_MAX],
	    const struct ob_request *request, char authorization[OB_AUTHORIZATION_MAX])
{
	char names[256], scope[192], hex[2 * HASH_SIZE + 1], text[512];
	uint8_t signature[HASH_SIZE];
	size_t used = 0;
	if (request->header_count > OB_SIGNED_HEADERS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < request->header_count; i++) {
		assert(i == 0 || strcmp(request->headers[i - 1].name, request->headers[i].name) < 0);
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", i > 0 ? ";" : "", request->headers[i].name);
		if (used >= sizeof(names))
			return -EINVAL;
	}
	if (!hash_request(request, names, hex) || !derive_key(secrets, region, service, date))
		return -ENOMEM;
	snprintf(scope, sizeof(scope), "%.*s/%s/%s/aws4_request", DAY_SIZE, date, region, service);
	int size = snprintf(text, sizeof(text), "AWS4-HMAC-SHA256\n%s\n%s\n%s", date, scope, hex);
	if (size >= (int)sizeof(text))
		return -EINVAL;
	if (!hmac(secrets->signing_key, sizeof(secrets->signing_key), text, (size_t)size, signature))
		return -ENOMEM;
	ob_hex(hex, signature, sizeof(signature));
	size = snprintf(authorization, OB_AUTHORIZATION_MAX, "AWS4-HMAC-SHA256 Credential=%s/%s,SignedHeaders=%s,Signature=%s",
			secrets->access_key_id, scope, names, hex);
	return size < OB_AUTHORIZATION_MAX ? 0 : -EINVAL;
}
