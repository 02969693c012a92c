/* pglz: Postgres's own LZ77.
 * A control byte tells of the next eight items, lowest bit first: 0 = one byte as it is; 1 = a copy of earlier output, two or three bytes:
 *   length - 3 in the low and distance's upper four bits in the high half of the first, distance's lower eight bits in the second;
 *   with length 18 (15 + 3) a third byte is added to the length.
 * Source: src/common/pg_lzcompress.c. */
#include "walapply/decode/wa_image.h"

#include <string.h>

#define LENGTH_BASE 3u
#define LENGTH_EXTENDED 18u

/* Copy `length` bytes from `distance` before `to`. Where they overlap the copy repeats, each round on twice as much. */
static void copy_back(uint8_t *to, size_t distance, size_t length)
{
	while (distance < length) {
		memcpy(to, to - distance, distance);
		to += distance;
		length -= distance;
		distance *= 2;
	}
	memcpy(to, to - distance, length);
}

int wa_pglz_unpack(const uint8_t *source, size_t source_len, uint8_t *raw, size_t raw_len)
{
	const uint8_t *in = source, *in_end = source + source_len;
	uint8_t *out = raw, *out_end = raw + raw_len;
	while (in < in_end && out < out_end) {
		unsigned control = *in++;
		for (int item = 0; item < 8 && in < in_end && out < out_end; item++, control >>= 1) {
			if (!(control & 1)) {
				*out++ = *in++;
				continue;
			}
			if (in_end - in < 2)
				return -EBADMSG;
			size_t length = (in[0] & 0x0Fu) + LENGTH_BASE;
			size_t distance = (in[0] & 0xF0u) << 4 | in[1];
			in += 2;
			if (length == LENGTH_EXTENDED) {
				if (in == in_end)
					return -EBADMSG;
				length += *in++;
			}
			if (distance == 0 || distance > (size_t)(out - raw))
				return -EBADMSG;
			length = NF_MIN(length, (size_t)(out_end - out)); /* Postgres cuts the last copy off, too */
			copy_back(out, distance, length);
			out += length;
		}
	}
	return in == in_end && out == out_end ? 0 : -EBADMSG;
}
