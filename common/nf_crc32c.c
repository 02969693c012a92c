/* One instruction takes eight bytes but its result only after three cycles, so a long input is cut into three parts that are
 * computed side by side and joined: crc(A B C) = shift(crc(A), |B|+|C|) ^ shift(crc(B), |C|) ^ crc(C), where shift(c, n) is what n bytes of
 * zeros make of register c. The shift is linear, so a table for each byte of c does it in four look-ups. Two part sizes: large ones for page
 * images, small ones for what is left of them.
 *
 * Inside this file a register is the bare one, without the inversions at both ends. Tables are made by a constructor, before main. */
#include "nf_crc32c.h"

#include <endian.h>
#include <string.h>

#define POLYNOMIAL 0x82F63B78u /* reflected */
#define LONG_PART 1024u
#define SHORT_PART 256u

static uint32_t tables[8][256]; /* tables[k][b]: byte b followed by k bytes of zeros */

/* ------------------------------------------------------------ tables */

static uint32_t register_by_table(uint32_t crc, const uint8_t *at, size_t size)
{
	for (; size >= 8; size -= 8, at += 8) {
		uint32_t low, high;
		memcpy(&low, at, 4);
		memcpy(&high, at + 4, 4);
		low = le32toh(low) ^ crc;
		high = le32toh(high);
		crc = tables[7][low & 0xFF] ^ tables[6][low >> 8 & 0xFF] ^ tables[5][low >> 16 & 0xFF] ^ tables[4][low >> 24] ^
		      tables[3][high & 0xFF] ^ tables[2][high >> 8 & 0xFF] ^ tables[1][high >> 16 & 0xFF] ^ tables[0][high >> 24];
	}
	for (; size > 0; size--, at++)
		crc = crc >> 8 ^ tables[0][(crc ^ *at) & 0xFF];
	return crc;
}

static void make_tables(void)
{
	for (uint32_t byte = 0; byte < 256; byte++) {
		uint32_t crc = byte;
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
		tables[0][byte] = crc;
	}
	for (int zeros = 1; zeros < 8; zeros++)
		for (uint32_t byte = 0; byte < 256; byte++)
			tables[zeros][byte] = tables[zeros - 1][byte] >> 8 ^ tables[0][tables[zeros - 1][byte] & 0xFF];
}

/* ------------------------------------------------------ instructions */

#if defined(__x86_64__)
#include <nmmintrin.h>
#define HAVE_INSTRUCTION 1
#define METHOD "sse4.2"
#define TARGET __attribute__((target("sse4.2")))
#define STEP8(crc, word) ((uint32_t)_mm_crc32_u64(crc, word))
#define STEP4(crc, word) _mm_crc32_u32(crc, word)
#define STEP2(crc, word) _mm_crc32_u16(crc, word)
#define STEP1(crc, byte) _mm_crc32_u8(crc, byte)
static bool instruction_works(void)
{
	return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__) && defined(__linux__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#define HAVE_INSTRUCTION 1
#define METHOD "armv8-crc"
#define TARGET __attribute__((target("+crc")))
#define STEP8(crc, word) __crc32cd(crc, word)
#define STEP4(crc, word) __crc32cw(crc, word)
#define STEP2(crc, word) __crc32ch(crc, word)
#define STEP1(crc, byte) __crc32cb(crc, byte)
static bool instruction_works(void)
{
	return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}
#endif

#ifdef HAVE_INSTRUCTION

static uint32_t shift_long[4][256], shift_short[4][256]; /* [i][b]: byte b at place i of the register, then a part's length of zeros */
static bool use_instruction;

static void make_shift(uint32_t shift[4][256], unsigned zeros)
{
	for (unsigned place = 0; place < 4; place++)
		for (uint32_t byte = 0; byte < 256; byte++) {
			/* Only the bits are computed; the rest follows from linearity. */
			uint32_t low = byte & (byte - 1);
			if (low != 0) {
				shift[place][byte] = shift[place][low] ^ shift[place][byte ^ low];
				continue;
			}
			uint32_t crc = byte << 8 * place;
			for (unsigned i = 0; i < zeros; i++)
				crc = crc >> 8 ^ tables[0][crc & 0xFF];
			shift[place][byte] = crc;
		}
}

static inline uint32_t shift_by(const uint32_t shift[4][256], uint32_t crc)
{
	return shift[0][crc & 0xFF] ^ shift[1][crc >> 8 & 0xFF] ^ shift[2][crc >> 16 & 0xFF] ^ shift[3][crc >> 24];
}

static inline uint64_t word_at(const uint8_t *at)
{
	uint64_t word;
	memcpy(&word, at, 8);
	return word;
}

TARGET static inline uint32_t three_parts(uint32_t crc, const uint8_t *at, unsigned part, const uint32_t shift[4][256])
{
	uint32_t second = 0, third = 0;
	for (unsigned i = 0; i < part; i += 8) {
		crc = STEP8(crc, word_at(at + i));
		second = STEP8(second, word_at(at + part + i));
		third = STEP8(third, word_at(at + 2 * part + i));
	}
	return shift_by(shift, shift_by(shift, crc) ^ second) ^ third;
}

TARGET static uint32_t register_by_instruction(uint32_t crc, const uint8_t *at, size_t size)
{
	for (; size >= 3 * LONG_PART; size -= 3 * LONG_PART, at += 3 * LONG_PART)
		crc = three_parts(crc, at, LONG_PART, shift_long);
	for (; size >= 3 * SHORT_PART; size -= 3 * SHORT_PART, at += 3 * SHORT_PART)
		crc = three_parts(crc, at, SHORT_PART, shift_short);
	for (; size >= 8; size -= 8, at += 8)
		crc = STEP8(crc, word_at(at));
	if (size & 4) {
		uint32_t word;
		memcpy(&word, at, 4);
		crc = STEP4(crc, word);
		at += 4;
	}
	if (size & 2) {
		uint16_t word;
		memcpy(&word, at, 2);
		crc = STEP2(crc, word);
		at += 2;
	}
	return size & 1 ? STEP1(crc, *at) : crc;
}

#endif

__attribute__((constructor)) static void choose(void)
{
	make_tables();
#ifdef HAVE_INSTRUCTION
	use_instruction = instruction_works();
	make_shift(shift_long, LONG_PART);
	make_shift(shift_short, SHORT_PART);
#endif
}

uint32_t nf_crc32c_extend_table(uint32_t crc, const void *data, size_t size)
{
	return ~register_by_table(~crc, data, size);
}

uint32_t nf_crc32c_extend(uint32_t crc, const void *data, size_t size)
{
#ifdef HAVE_INSTRUCTION
	if (use_instruction)
		return ~register_by_instruction(~crc, data, size);
#endif
	return nf_crc32c_extend_table(crc, data, size);
}

const char *nf_crc32c_method(void)
{
#ifdef HAVE_INSTRUCTION
	if (use_instruction)
		return METHOD;
#endif
	return "table";
}
