"""history: what keeping history costs a busy server in transactions a second, in pairs on one cluster, each pair begun the other way round; and
the size of the indexes."""

import os
import re
import statistics

import host

ON, OFF = "retain 7d", "off"
TARGET_LOST, TARGET_INDEX = 5, 10
BENCH = "history"


def index_share(world):
    """Bytes of the indexes, those of many segments too, in percent of the WAL that they are of."""
    def sizes(kind):
        directory = os.path.join(world.neonfs.root, ".history", str(world.branch_id()), kind)
        names = [name for name in os.listdir(directory) if re.match("[0-9A-F]{24}", name)] if os.path.isdir(directory) else []
        return [os.path.getsize(os.path.join(directory, name)) for name in names]
    own, merged = sizes("index"), sizes("merged")
    return 100 * (sum(own) + sum(merged)) / (len(own) * (16 << 20)) if own else None


def run(results, world, options):
    if world.main.is_stopped():
        world.main.start()
    share = index_share(world)
    if share is not None:
        results.sample(BENCH, "size of the indexes", ON, 1, share, "% of WAL", "lower")
        results.target("size of the indexes", f"<= {TARGET_INDEX} % of WAL", f"{share:.1f} %", share <= TARGET_INDEX)
    world.main.sql("CHECKPOINT")
    losses = []
    for turn in range(options.pairs):
        tps = {}
        for system in ((ON, OFF), (OFF, ON))[turn % 2]:
            world.neonfs.branch("retain", "main", "7d" if system == ON else "off")
            output = world.main.pgbench("-b", "tpcb-like", "-c", "8", "-j", "2", "-T", str(options.seconds))
            tps[system] = float(re.search(r"^tps = ([0-9.]+) \(without", output, re.MULTILINE)[1])
            results.sample(BENCH, "TPC-B-like", system, turn + 1, tps[system], "TPS")
        losses.append(100 * (1 - tps[ON] / tps[OFF]))
        host.say(f"history, pair {turn + 1}: {tps[ON]:.0f} TPS with it, {tps[OFF]:.0f} without")
    lost = statistics.median(losses)
    spread = statistics.stdev(losses) / len(losses) ** 0.5 if len(losses) > 1 else 0
    results.add(BENCH, losses_percent=losses)
    results.target("TPS lost by history", f"<= {TARGET_LOST} %", f"{lost:.1f} % (standard error {spread:.1f})", lost <= TARGET_LOST)
