/* STORE/tier.json: where a store's object store is, and how it is used. JSON, mode 0600, no secrets. */
#ifndef BD_TIER_CONFIG_H
#define BD_TIER_CONFIG_H

#include "blockdev/tier/object/object.h"

#define BD_TIER_CONFIG_FILE "tier.json"

struct bd_tier_config {
	char url[OB_URL_MAX];
	uint64_t local_limit_bytes; /* of everything in the store's directory; 0 = the disk's */
	uint32_t delay_ms;	    /* the tail of the log is uploaded so long after it was written; default 1000 */
	uint32_t lease_s;	    /* default 20 */
	uint32_t grace_s;	    /* objects are deleted so long after nothing refers to them; default 86400 */
	uint32_t close_wait_s;	    /* default 60 */
	uint64_t send_rate, receive_rate; /* bytes a second; 0 = no limit */
	unsigned parallel;		  /* requests at a time; default 8 */
	bool no_lease;			  /* --unsafe-no-lease */
	bool read_only;			  /* attached to look at only: no lease, nothing is written, locally neither but for the cache */
};

/* -ENOENT there is none; others with a message: -EUCLEAN it makes no sense. Numbers that are missing have their default. Unknown members are refused by name. */
NF_MUST_CHECK int bd_tier_config_read(const char *store_path, struct bd_tier_config *ret_config, char *message, size_t size);
/* Numbers with a default that are 0 become that. */
void bd_tier_config_fill(struct bd_tier_config *config);
/* Durable, by rename. Numbers with a default that are 0 are written as the default. -EINVAL: could not be read again. */
NF_MUST_CHECK int bd_tier_config_write(const char *store_path, const struct bd_tier_config *config);

#endif
