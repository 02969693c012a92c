"""Depth must not cost: random reads at the end of a chain of branches against the first branch."""

import mmap
import os
import random
import time

import fio
import host
from systems import Neonfs

BLOCK = 8192
WRITES_A_BRANCH = 32


def write_some(path, size_bytes, seed):
    """A few random blocks, as a little work on a branch would leave."""
    chosen = random.Random(seed)
    fd = os.open(path, os.O_WRONLY)
    try:
        for _ in range(WRITES_A_BRANCH):
            os.pwrite(fd, chosen.randbytes(BLOCK), chosen.randrange(size_bytes // BLOCK) * BLOCK)
        os.fsync(fd)
    finally:
        os.close(fd)


def first_touch(path):
    """Milliseconds to open the file and read one block past the page cache."""
    buffer = mmap.mmap(-1, BLOCK)
    began = time.monotonic()
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        os.preadv(fd, [buffer], 0)
    finally:
        os.close(fd)
    return (time.monotonic() - began) * 1000


def run(results, scratch, cleanup, options):
    size = options.fio_size_mb << 20
    depth = options.chain
    system = Neonfs("neonfs-back", scratch, cleanup, "back")
    system.setup()
    directory = system.directory("c0")
    fio.job(os.path.join(directory, "file"), "write", "1M", 1, 16, size)
    host.say(f"a chain of {depth} branches, {WRITES_A_BRANCH} blocks written in each")
    for i in range(1, depth + 1):
        system.create_branch(f"c{i}", f"c{i - 1}")
        write_some(os.path.join(system.root, f"c{i}", "file"), size, i)
    ends = [("first branch", os.path.join(system.root, "c0", "file")),
            (f"branch {depth}", os.path.join(system.root, f"c{depth}", "file"))]

    for round_number in range(1, options.rounds + 1):
        for name, path in ends:
            system.cold()
            results.sample("chain", f"{name}: first touch (open, one block)", system.name, round_number, first_touch(path),
                           "ms", "lower")
            speed, _ = fio.job(path, "read", "1M", 1, 16, size)
            results.sample("chain", f"{name}: first whole read", system.name, round_number, speed / 1e6, "MB/s")
    for _, path in ends:  # both touched since the last mount
        fio.job(path, "read", "1M", 1, 16, size)
    for deep in (1, 16):
        for round_number in range(1, options.rounds + 1):
            for name, path in ends if round_number % 2 else ends[::-1]:
                _, operations = fio.job(path, "randread", "8k", 1, deep, size, options.fio_seconds)
                results.sample("chain", f"{name}: randread 8k direct {deep} deep", system.name, round_number, operations, "IOPS")
        first, last = (results.median("chain", f"{name}: randread 8k direct {deep} deep", system.name) for name, _ in ends)
        results.target(f"random read at the end of {depth} branches, time against the first branch's, {deep} deep", "<= 1.25",
                       f"{first / last:.2f}", first / last <= 1.25)
    first, last = (results.median("chain", f"{name}: first touch (open, one block)", system.name) for name, _ in ends)
    host.say(f"first touch: {first:.1f} ms on the first branch, {last:.1f} ms on the last")
    system.teardown()
