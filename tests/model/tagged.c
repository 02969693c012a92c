/* Blocks that describe themselves. */
#include "tagged.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS (NF_BLOCK_SIZE / sizeof(uint64_t))

uint64_t tagged_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

void tagged_fill(uint8_t *block, uint64_t tag, uint64_t blkno)
{
	uint64_t words[WORDS] = {tag, blkno}, x = (tag * UINT64_C(0x100000001b3) + blkno) | 1;

	if (tag == 0) {
		memset(block, 0, NF_BLOCK_SIZE);
		return;
	}
	for (size_t i = 2; i < WORDS; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		words[i] = x;
	}
	memcpy(block, words, NF_BLOCK_SIZE);
}

bool tagged_check(const uint8_t *block, uint64_t blkno, uint64_t *ret_tag)
{
	uint8_t want[NF_BLOCK_SIZE];
	uint64_t tag;

	memcpy(&tag, block, sizeof(tag));
	tagged_fill(want, tag, blkno);
	if (memcmp(block, want, NF_BLOCK_SIZE) != 0)
		return false;
	*ret_tag = tag;
	return true;
}

void tagged_mkdir(char path[256])
{
	const char *base = getenv("TMPDIR");

	if (base == NULL)
		base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(path, 256, "%s/neonfs-test-XXXXXX", base);
	if (mkdtemp(path) == NULL) {
		perror(path);
		exit(1);
	}
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

void tagged_rmdir(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
