"""Space under updates, with no snapshots: what a store takes on disk after a long TPC-B-like run, against the same run on
ext4, and whether garbage is collected while the run goes on."""

import time

import host
import systems
from postgres import Cluster

SAMPLES = 20


class Run:
    """One system under updates."""

    def __init__(self, results, name, scratch, cleanup, options):
        self.results, self.name, self.options = results, name, options
        self.system = systems.make(name, scratch, cleanup, 0)
        self.system.setup()
        self.cluster = Cluster(self.system, "space", cleanup)
        self.cluster.start()
        self.cluster.load(options.scale)
        self.cluster.sql("CHECKPOINT")
        self.sizes = []
        self.collected = 0
        self._load = None

    def start(self):
        host.say(f"{self.options.space_seconds} s of TPC-B-like on {self.name}")
        self._load = self.cluster.pgbench_start("tpcb-like", self.options.space_seconds)

    def sample(self):
        self.sizes.append(self.system.store_bytes("space"))
        self.results.sample("space", "while it runs", self.name, len(self.sizes), self.sizes[-1] / 1e6, "MB", "lower")
        if self.name.startswith("neonfs"):
            self.collected = self.system.facts()["collected_extents"]

    def finish(self):
        self.results.sample("space", "TPC-B-like", self.name, 1, self.cluster.pgbench_finish(self._load), "TPS")
        self.cluster.sql("CHECKPOINT")
        self.final = self.system.store_bytes("space")
        self.largest = max(self.sizes)
        self.own = host.apparent_bytes(self.cluster.data)
        for metric, value in (("at the end", self.final), ("at most", self.largest), ("the data directory's files", self.own)):
            self.results.sample("space", metric, self.name, 1, value / 1e6, "MB", "lower")
        time.sleep(30)
        self.results.sample("space", "30 s after the end", self.name, 1, self.system.store_bytes("space") / 1e6, "MB", "lower")
        self.cluster.remove()
        if self.name.startswith("neonfs"):
            self.system.teardown()


def run_groups(groups, results, scratch, cleanup, options):
    """Each group's systems at once, one group after the other."""
    done = {}
    for names in groups:
        runs = [Run(results, name, scratch, cleanup, options) for name in names]
        for each in runs:
            each.start()
        for _ in range(SAMPLES):
            time.sleep(options.space_seconds / SAMPLES)
            for each in runs:
                each.sample()
        for each in runs:
            each.finish()
            done[each.name] = each
    return done


def run(results, scratch, cleanup, options):
    groups = [["ext4", "neonfs-back"]] if options.space_together else [["ext4"], ["neonfs-back"]]
    done = run_groups(groups, results, scratch, cleanup, options)
    ext4, neonfs = done["ext4"], done["neonfs-back"]
    # The faster system has more history rows, and Postgres keeps less WAL where it does not recycle it: so the store's size
    # is also told as a multiple of its own files.
    against_ext4 = neonfs.final / ext4.final
    against_own = neonfs.final / neonfs.own
    minutes = f"{options.space_seconds / 60:.3g} min"
    results.target(f"space after {minutes} of TPC-B-like at scale {options.scale}, against ext4", "<= 1.4",
                   f"{against_ext4:.2f} ({against_own:.2f} of its own files; at most {neonfs.largest / ext4.largest:.2f} "
                   "while it ran)", against_ext4 <= 1.4)
    results.target("garbage is collected while it runs", "some", f"{neonfs.collected} extents", neonfs.collected > 0)
