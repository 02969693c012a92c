"""open: from the command that makes a branch at a point to the first answered query, by what lies between the point and its checkpoint."""

import os
import shutil
import time

OURS, STOCK_MOUNT, STOCK, BACKREST = "neonfs", "Postgres's recovery, same mount", "Postgres's recovery, ext4", "pgBackRest, ext4"
TARGET_RATIO, TARGET_S = 20, 0.5
BENCH = "open"


def ours(world, distance, name):
    answer, command = world.create(name, distance)
    server = world.server(name)
    seconds = command + server.start()
    server.kill()
    world.remove(name)
    return seconds, {"command_seconds": command, "timings_us": answer.get("timings_us"), "lazy_blocks": answer.get("lazy_blocks")}


def same_mount(world, distance, name):
    _, command = world.create(name, distance, "postgres")
    server = world.server(name, {"hot_standby": "off"})
    seconds = command + server.start()
    server.kill()
    world.remove(name)
    return seconds, {"command_seconds": command}


def ext4(world, distance, name):
    path = world.stock_copy(name)
    server = world.server(path, world.recover_settings(distance))
    open(os.path.join(path, "recovery.signal"), "w").close()
    seconds = server.start()
    server.kill()
    shutil.rmtree(path)
    return seconds, {}


def backrest(world, distance, name):
    path = os.path.join(world.scratch, name)
    began = time.monotonic()
    world.repository.restore(path, world.points[distance])
    command = time.monotonic() - began
    server = world.server(path, {"hot_standby": "off", "archive_mode": "off"})
    seconds = command + server.start()
    server.kill()
    shutil.rmtree(path)
    return seconds, {"command_seconds": command}


def run(results, world, options):
    ways = {OURS: ours, STOCK_MOUNT: same_mount, STOCK: ext4}
    if world.repository is not None:
        ways[BACKREST] = backrest
    names = list(ways)
    for turn in range(options.rounds):
        for distance in world.points:
            for system in names[turn % len(names):] + names[:turn % len(names)]:
                seconds, more = ways[system](world, distance, f"open{turn}")
                results.sample(BENCH, metric(distance), system, turn + 1, seconds, "s", "lower")
                results.add(BENCH, system=system, round=turn + 1, distance_gb=distance, wal_bytes=world.bytes_to(distance), **more)
    for distance in world.points:
        for system in names[1:]:
            ratio = results.ratio(BENCH, metric(distance), OURS, system)
            results.target(f"{metric(distance)}: against {system}", f">= {TARGET_RATIO} x", f"{ratio:.1f} x", ratio >= TARGET_RATIO)
        seconds = results.median(BENCH, metric(distance), OURS)
        results.target(f"{metric(distance)}: first query", f"<= {TARGET_S} s", f"{seconds:.2f} s", seconds <= TARGET_S)


def metric(distance):
    return f"{distance:g} GB behind the checkpoint"
