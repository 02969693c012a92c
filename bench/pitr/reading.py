"""first-read: what reading a block costs that has to be made, against reading it again. Past the kernel's page cache (O_DIRECT), one block at a
time, at random. The first block of a branch, for which what says where everything is comes into memory, is measured by itself; the first block of each other file is not
counted. The indexes' own pieces come as they are needed."""

import mmap
import os
import random
import time

from results import percentile

BLOCK = 8192
BLOCKS_MAX = 2000
TARGET_MS = 1.0
BENCH = "first-read"
FIRST, AGAIN = "first read", "read again"


def read_all(path, blocks):
    """Milliseconds for each block."""
    page = mmap.mmap(-1, BLOCK)
    times = []
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        for block in blocks:
            began = time.perf_counter()
            if os.preadv(fd, [page], block * BLOCK) != BLOCK:
                raise OSError(f"{path}: block {block} cannot be read whole")
            times.append((time.perf_counter() - began) * 1000)
    finally:
        os.close(fd)
        page.close()
    return times


def run(results, world, options):
    world.remount("--drain-rate", "0")
    for turn in range(options.rounds):
        name = f"read{turn}"
        world.create(name, world.last)
        path = os.path.join(world.data(name), world.files["pgbench_accounts"])
        results.sample(BENCH, "the very first block", FIRST, turn + 1, read_all(path, [0])[0], "ms", "lower")
        for kind, tables in (("few records a page", ["pgbench_accounts"]), ("hot pages", ["hot", "pgbench_tellers", "pgbench_branches"])):
            times = {FIRST: [], AGAIN: []}
            for table in tables:
                path = os.path.join(world.data(name), world.files[table])
                count = os.path.getsize(path) // BLOCK
                blocks = random.Random(turn).sample(range(1, count), min(BLOCKS_MAX, count - 1)) if count > 1 else []
                read_all(path, [0])
                times[FIRST] += read_all(path, blocks)
                times[AGAIN] += read_all(path, blocks)
            for system, values in times.items():
                for percent in (50, 99):
                    results.sample(BENCH, f"{kind}, p{percent}", system, turn + 1, percentile(values, percent), "ms", "lower")
            results.add(BENCH, blocks=len(times[FIRST]), what=kind, round=turn + 1, slowest_ms=max(times[FIRST]))
        world.remove(name)
    for kind in ("few records a page", "hot pages"):
        value = results.median(BENCH, f"{kind}, p99", FIRST)
        results.target(f"first read, {kind}, p99", f"<= {TARGET_MS} ms", f"{value:.2f} ms", value <= TARGET_MS)
