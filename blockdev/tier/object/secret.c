/* See secret.h. */
#include "blockdev/tier/object/secret.h"

#include <openssl/crypto.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t whole_pages(size_t size)
{
	return nf_round_up(size, (uint64_t)sysconf(_SC_PAGESIZE));
}

void *ob_secret_alloc(size_t size)
{
	size_t pages = whole_pages(size);
	void *memory = mmap(NULL, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return NULL;
	if (madvise(memory, pages, MADV_DONTDUMP) != 0) {
		munmap(memory, pages);
		return NULL;
	}
	/* Both are more than can be asked for everywhere: a limit on locked memory, an old kernel. */
	(void)mlock(memory, pages);
	(void)madvise(memory, pages, MADV_WIPEONFORK);
	return memory;
}

void ob_secret_wipe(void *memory, size_t size)
{
	OPENSSL_cleanse(memory, size);
}

void ob_secret_free(void *memory, size_t size)
{
	if (memory == NULL)
		return;
	OPENSSL_cleanse(memory, whole_pages(size));
	munmap(memory, whole_pages(size));
}
