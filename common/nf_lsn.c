#include "nf_lsn.h"

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* One to eight digits from *text on; *text is left behind them. */
static int parse_half(const char **text, uint32_t *ret_half)
{
	uint32_t half = 0;
	int digits = 0;
	for (int digit; (digit = hex_digit(**text)) >= 0; (*text)++) {
		if (++digits > 8)
			return -EINVAL;
		half = half << 4 | (uint32_t)digit;
	}
	*ret_half = half;
	return digits > 0 ? 0 : -EINVAL;
}

int nf_lsn_parse(const char *text, struct nf_lsn *ret_lsn)
{
	uint32_t high, low;
	if (parse_half(&text, &high) < 0 || (*text != '/' && *text != '-'))
		return -EINVAL;
	text++;
	if (parse_half(&text, &low) < 0 || *text != 0)
		return -EINVAL;
	*ret_lsn = (struct nf_lsn){(uint64_t)high << 32 | low};
	return 0;
}
