/* lease/G as JSON, and STORE/lease.json, the directory's memory of the leases it had. */
#ifndef BD_TIER_LEASE_DOC_H
#define BD_TIER_LEASE_DOC_H

#include "blockdev/tier/lease_core.h"

#define LEASE_KEY_SIZE 32
#define LEASE_TEXT_MAX 2048u /* bytes of either JSON text */
#define LEASE_HOLDER_MAX 256

/* lease/G with what is for people. */
struct lease_paper {
	struct lease_doc doc;
	char holder[LEASE_HOLDER_MAX]; /* "HOST, process 123": printable */
	int64_t time_s;
};

void lease_key(uint32_t generation, char key[LEASE_KEY_SIZE]);
/* False when it is none. */
bool lease_key_parse(const char *key, uint32_t *ret_generation);
const char *lease_state_name(enum lease_state state);

/* malloc'd, with its length. NULL: out of memory. */
char *lease_paper_encode(const struct lease_paper *paper, size_t *ret_size);
/* -EUCLEAN it is no lease. */
NF_MUST_CHECK int lease_paper_decode(const void *bytes, size_t size, struct lease_paper *ret_paper);
/* This host and process. */
void lease_paper_sign(char holder[LEASE_HOLDER_MAX]);

/* The leases that a directory had, or perhaps had, the newest first, each with where and when it was held: boot of the kernel, device and inode of the directory. */
#define LEASE_RECORD_MAX LEASE_OWN_MAX
struct lease_record_entry {
	uint64_t holder, device, inode;
	char boot[40];
};
struct lease_record {
	uint32_t generation; /* of the last one that certainly was made; 0: none */
	unsigned count;
	struct lease_record_entry entries[LEASE_RECORD_MAX];
};

/* What an entry of this moment says. -errno. */
NF_MUST_CHECK int lease_record_here(const char *store_path, struct lease_record_entry *ret_entry);
/* Was the entry's process one of this boot, in this directory, whose lock is the caller's? Then it has ended. */
bool lease_record_has_ended(const struct lease_record_entry *entry, const struct lease_record_entry *here);
/* None: an empty one. -EUCLEAN damaged; -errno. */
NF_MUST_CHECK int lease_record_read(const char *store_path, struct lease_record *ret_record);
/* Durable, by rename. -errno. */
NF_MUST_CHECK int lease_record_write(const char *store_path, const struct lease_record *record);

#endif
