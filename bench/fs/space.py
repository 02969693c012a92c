"""Space under updates, with no snapshots: what a store takes on disk after a long TPC-B-like run, against the same run on
ext4, and whether garbage is collected while the run goes on."""

import time

import host
import systems
from postgres import Cluster

SAMPLES = 20


def run(results, scratch, cleanup, options):
    final, largest, own = {}, {}, {}
    collected = 0
    for name in ("ext4", "neonfs-back"):
        system = systems.make(name, scratch, cleanup, 0)
        system.setup()
        cluster = Cluster(system, "space", cleanup)
        cluster.start()
        cluster.load(options.scale)
        cluster.sql("CHECKPOINT")
        host.say(f"{options.space_seconds} s of TPC-B-like on {name}")
        load = cluster.pgbench_start("tpcb-like", options.space_seconds)
        sizes = []
        for i in range(SAMPLES):
            time.sleep(options.space_seconds / SAMPLES)
            sizes.append(system.store_bytes("space"))
            results.sample("space", "while it runs", name, i + 1, sizes[-1] / 1e6, "MB", "lower")
            if name.startswith("neonfs"):
                collected = system.facts()["collected_extents"]
        results.sample("space", "TPC-B-like", name, 1, cluster.pgbench_finish(load), "TPS")
        cluster.sql("CHECKPOINT")
        final[name] = system.store_bytes("space")
        largest[name] = max(sizes)
        own[name] = host.apparent_bytes(cluster.data)
        for metric, value in (("at the end", final[name]), ("at most", largest[name]), ("the data directory's files", own[name])):
            results.sample("space", metric, name, 1, value / 1e6, "MB", "lower")
        time.sleep(30)
        results.sample("space", "30 s after the end", name, 1, system.store_bytes("space") / 1e6, "MB", "lower")
        cluster.remove()
        if name.startswith("neonfs"):
            system.teardown()
    # The faster system has more history rows, and Postgres keeps less WAL where it does not recycle it: so the store's size
    # is also told as a multiple of its own files.
    against_ext4 = final["neonfs-back"] / final["ext4"]
    against_own = final["neonfs-back"] / own["neonfs-back"]
    minutes = f"{options.space_seconds / 60:.3g} min"
    results.target(f"space after {minutes} of TPC-B-like at scale {options.scale}, against ext4", "<= 1.4",
                   f"{against_ext4:.2f} ({against_own:.2f} of its own files; at most {largest['neonfs-back'] / largest['ext4']:.2f} "
                   "while it ran)", against_ext4 <= 1.4)
    results.target("garbage is collected while it runs", "some", f"{collected} extents", collected > 0)
