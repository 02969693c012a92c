"""drain: how fast the background makes what nobody reads, without its limit (mount option --drain-rate max), against stock Postgres's replay of the
same WAL. Ours is what the daemon's log says of the layer, without the seconds that it waits first; Postgres's what it says at "redo done ...
elapsed": its pages are in memory then, ours in the store."""

import os
import re
import shutil
import time

import host
from host import Failure

OURS, STOCK = "neonfs", "stock replay, ext4"
TARGET_RATIO = 4
LIMIT_S = 3600
BENCH = "drain"
DRAINED = re.compile(r" is drained: (\d+) blocks made, (\d+) bytes of WAL read in ([0-9.]+) s")


def ours(world, name):
    before = len(world.daemon_log())
    world.create(name, world.last)
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        found = DRAINED.search(world.daemon_log()[before:])
        if found:
            world.remove(name)
            return float(found[3]), int(found[1]), int(found[2])
        time.sleep(0.2)
    raise Failure(f"the layer of {name} is not drained after {LIMIT_S} s")


def stock(world, name):
    path = world.stock_copy(name)
    open(os.path.join(path, "recovery.signal"), "w").close()
    server = world.server(path, world.recover_settings(world.last))
    server.start()
    found = re.search(r"redo done at .*elapsed: ([0-9.]+) s", server.log_text())
    server.kill()
    shutil.rmtree(path)
    if not found:
        raise Failure("Postgres did not say how long recovery took")
    return float(found[1])


def run(results, world, options):
    world.remount("--drain-rate", "max")
    size = world.bytes_to(world.last)
    for turn in range(options.rounds):
        for system in ((OURS, STOCK), (STOCK, OURS))[turn % 2]:
            if system == OURS:
                seconds, blocks, read = ours(world, f"drain{turn}")
                results.sample(BENCH, "blocks a second", OURS, turn + 1, blocks / seconds, "1/s")
                results.sample(BENCH, "WAL read of what there is", OURS, turn + 1, read / size, "x", "lower")
            else:
                seconds = stock(world, f"drain{turn}")
            results.sample(BENCH, "WAL done with", system, turn + 1, size / seconds / 1e6, "MB/s")
            host.say(f"drain, round {turn + 1}: {system} {seconds:.2f} s")
    ratio = results.ratio(BENCH, "WAL done with", OURS, STOCK)
    results.target(f"drain of {world.last:g} GB of WAL", f">= {TARGET_RATIO} x stock replay", f"{ratio:.2f} x", ratio >= TARGET_RATIO)
