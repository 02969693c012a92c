/* Instructions a record type, counted by callgrind. */
#ifndef REDO_SAMPLES_H
#define REDO_SAMPLES_H

#include "wal_bench.h"

/* Take up to SAMPLES_MAX samples of each record type with the pages that they change, as replay finds them; then decode all samples of a type, and redo all
 * of them, between two resets of callgrind's counters: dumps "decode RMGR NAME" and "redo RMGR NAME". Prints how many samples each has. */
void redo_samples(const struct bench_wal *wal);

#endif
