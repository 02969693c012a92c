"""recover: Postgres was killed long after its checkpoint; from then to the first answered query."""

import json
import os
import shutil
import time

import host

OURS, CHILD, STOCK = "neonfs, with history", "neonfs, no history", "crash recovery, ext4"
TARGET_S = 0.5
BENCH, METRIC = "recover", "to the first query"


def recovered(world, name):
    began = time.monotonic()
    answer = json.loads(world.neonfs.branch("recover", name, "--json"))
    command = time.monotonic() - began
    server = world.main if name == "main" else world.server(name)
    seconds = command + server.start()
    return server, seconds, {"command_seconds": command, "timings_us": answer.get("timings_us")}


def ours_without_history(world, name):
    """A copy of the killed branch has no history of its own. Where the branch has history, its WAL has no index yet; where it has none, it has the indexes of
    the branch that it is a copy of, which were made while the WAL was written."""
    world.neonfs.branch("create", name, "--from", "main")
    server, seconds, more = recovered(world, name)
    server.kill()
    world.remove(name)
    return seconds, more


def stock(world, name):
    path = os.path.join(world.scratch, name)
    host.run(["cp", "-a", world.main.data, path])
    for left in ("postmaster.pid", "postmaster.opts"):
        if os.path.exists(os.path.join(path, left)):
            os.unlink(os.path.join(path, left))
    os.sync()
    server = world.server(path)
    seconds = server.start()
    server.kill()
    shutil.rmtree(path)
    return seconds, {}


def run(results, world, options):
    world.main.kill()
    ways = {CHILD: ours_without_history, STOCK: stock}
    names = list(ways)
    for turn in range(options.rounds):
        for system in names[turn % 2:] + names[:turn % 2]:
            seconds, more = ways[system](world, f"recover{turn}")
            results.sample(BENCH, METRIC, system, turn + 1, seconds, "s", "lower")
            results.add(BENCH, system=system, round=turn + 1, **more)
    # The branch itself, of which there is one.
    own, turn = (CHILD, options.rounds + 1) if options.no_history else (OURS, 1)
    _, seconds, more = recovered(world, "main")
    results.sample(BENCH, METRIC, own, turn, seconds, "s", "lower")
    results.add(BENCH, system=own, round=turn, of="main", **more)
    for system in {own, CHILD}:
        median = results.median(BENCH, METRIC, system)
        results.target(f"recover, {system}, {world.last:g} GB of WAL", f"<= {TARGET_S} s", f"{median:.2f} s", median <= TARGET_S)
