/* See sums.h. */
#include "blockdev/tier/object/sums.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define MD5_SIZE 16

void ob_hex(char *hex, const uint8_t *bytes, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < size; i++) {
		hex[2 * i] = digits[bytes[i] >> 4];
		hex[2 * i + 1] = digits[bytes[i] & 15];
	}
	hex[2 * size] = '\0';
}

void ob_base64(char *text, const uint8_t *bytes, size_t size)
{
	EVP_EncodeBlock((unsigned char *)text, bytes, (int)size);
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_md5(const char *etag, uint8_t md5[MD5_SIZE])
{
	for (unsigned i = 0; i < MD5_SIZE; i++) {
		int high = digit(etag[2 * i]);
		int low = high >= 0 ? digit(etag[2 * i + 1]) : -1;
		if (low < 0)
			return false;
		md5[i] = (uint8_t)(high << 4 | low);
	}
	return etag[2 * MD5_SIZE] == '\0';
}

bool ob_is_md5(const char *etag)
{
	uint8_t md5[MD5_SIZE];
	return read_md5(etag, md5);
}

bool ob_multi_etag(const struct ob_op *op, char ret_etag[OB_ETAG_MAX])
{
	uint8_t md5[MD5_SIZE];
	bool good = true;
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	if (context == NULL)
		return false;
	good = EVP_DigestInit_ex(context, EVP_md5(), NULL) == 1;
	for (unsigned i = 0; good && i < op->part_count; i++)
		good = read_md5(op->part_etags[i], md5) && EVP_DigestUpdate(context, md5, sizeof(md5)) == 1;
	good = good && EVP_DigestFinal_ex(context, md5, NULL) == 1;
	EVP_MD_CTX_free(context);
	if (!good)
		return false;
	ob_hex(ret_etag, md5, sizeof(md5));
	snprintf(ret_etag + 2 * MD5_SIZE, OB_ETAG_MAX - 2 * MD5_SIZE, "-%u", op->part_count);
	return true;
}
