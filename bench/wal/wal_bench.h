/* WAL in memory, for the parts of wal_bench. */
#ifndef WAL_BENCH_H
#define WAL_BENCH_H

#include "walapply/decode/wa_reader.h"

struct bench_wal {
	uint8_t *bytes; /* whole segments, one behind the other */
	size_t size;
	uint64_t begin; /* address of the first */
	uint32_t segment_size;
	struct wa_version version;
};

double bench_now(void); /* seconds */
_Noreturn void bench_die(const char *what);

/* A reader that has been given everything from `start` on. */
struct wa_reader *bench_reader(const struct bench_wal *wal, uint64_t start, bool find);

#endif
