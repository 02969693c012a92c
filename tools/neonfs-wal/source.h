/* The WAL that a command reads: the options that all commands share, and what is said when it ends. */
#ifndef WAL_SOURCE_H
#define WAL_SOURCE_H

#include <jansson.h>

#include "tools/lib/cli.h"
#include "tools/lib/progress.h"
#include "tools/neonfs-wal/wal_dir.h"

/* The shared options, for a command's table. */
#define WAL_SOURCE_OPTIONS                                                                                                       \
	{.name = "start",                                                                                                        \
	 .letter = 's',                                                                                                          \
	 .argument = "LSN",                                                                                                      \
	 .help = "begin with the first record at or after LSN (default: the oldest)"},                                           \
		{.name = "end", .letter = 'e', .argument = "LSN", .help = "stop before the first record that ends after LSN"},   \
	{                                                                                                                        \
		.name = "timeline", .letter = 't', .argument = "N",                                                              \
		.help = "follow timeline N (default: the highest that is there)"                                                 \
	}

struct wal_source {
	struct wal_dir *dir;
	struct wa_version version;
	bool knows_control; /* version.checksums and log_hints are the cluster's */
	bool follow; /* at the end, wait for more until SIGINT or SIGTERM comes */
	bool failed; /* reading has failed, and the message was printed */
	struct nf_lsn first; /* where the first record began; 0 = there was none */
	uint64_t records;
	struct tl_progress progress;
};

/* Open the WAL at call->args[0] with the call's options. Returns TL_OK, or another exit code with the message printed.
 * Then wal_source_close is due. */
NF_MUST_CHECK int wal_source_open(const struct tl_call *call, struct wal_source *ret_source);
void wal_source_close(struct wal_source *source);

/* Wait for more at the end from now on: until SIGINT or SIGTERM, which then stop reading and not the program. */
void wal_source_follow(struct wal_source *source);

/* The next record (it holds until the next call), or NULL: the end, or failed. Draws progress. Following, stdout is flushed before it waits. */
const struct wa_record *wal_source_next(struct wal_source *source);

/* After the end: TL_OK; or TL_FAILED with a message when reading failed, when there was no record, or when the log is cut: a file is too short,
 * or more WAL lies behind what cannot be read. */
NF_MUST_CHECK int wal_source_finish(struct wal_source *source);

/* "0/3000060: no record was written here (length 0)". */
void wal_source_reason(const struct wal_source *source, char *buf, size_t size);

/* Add what is known of the WAL to a JSON object: version, cluster, timeline, where it begins and ends, and why it ends. */
void wal_source_json(const struct wal_source *source, json_t *object);
/* An LSN as a JSON string; null for 0. */
json_t *wal_lsn_json(struct nf_lsn lsn);

/* The option's LSN, or 0 when it was not given. Returns TL_OK or TL_USAGE with a message. */
NF_MUST_CHECK int wal_option_lsn(const struct tl_call *call, const char *name, struct nf_lsn *ret_lsn);
/* The option's number, or `otherwise`. */
NF_MUST_CHECK int wal_option_number(const struct tl_call *call, const char *name, uint64_t low, uint64_t high, uint64_t otherwise,
				    uint64_t *ret_number);

#endif
