"""What must not grow with the size of the database: branch creation under load, bytes a branch, the parent's speed
beside it, and the daemon's memory. One store and one cluster a size, one size after the other."""

import bisect
import os
import statistics
import threading
import time

import host
from postgres import Cluster
from results import percentile
from systems import Neonfs

SCALE_BYTES = 15_000_000  # of one unit of pgbench's scale, with the index
BASE_BYTES = 40_000_000  # of an empty cluster, with its WAL
MEMORY_TARGET = 512 << 20
WINDOW_S = 2
LEGS = 3  # windows of each kind together are as long as so many runs of pgbench
MIN_WINDOWS = 4
WARM_UP_S = 2
ALONE, COMMANDS, BRANCHES = "alone", "beside commands that make nothing", "while branches are made"


def scale_for(size_bytes):
    return max(1, round((size_bytes - BASE_BYTES) / SCALE_BYTES))


def size_text(size_bytes):
    return f"{size_bytes / 1e9:g} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:g} MB"


def store_growth(before, after):
    """Bytes a store grew by: what du says, or what the store itself counts, whichever is more (files allocated ahead
    hide what goes into them from du)."""
    counted = sum(after["facts"][key] - before["facts"][key] for key in ("live_bytes", "index_bytes", "log_bytes"))
    return max(after["du"] - before["du"], counted)


def measure_store(system):
    host.run(["sync", "-f", system.root])
    return {"du": host.disk_bytes(system.store), "facts": system.facts()}


class Window:
    """Some seconds of one long pgbench, with something else beside it or nothing."""

    def __init__(self, kind):
        self.kind = kind
        self.began = time.time()
        self.ended = None

    def tps(self, times):
        return (bisect.bisect(times, self.ended) - bisect.bisect(times, self.began)) / (self.ended - self.began)


def run_window(kind, action, count):
    """One window with `count` actions at even intervals."""
    window = Window(kind)
    for i in range(count):
        time.sleep(max(0, window.began + i * WINDOW_S / count - time.time()))
        action()
    time.sleep(max(0, window.began + WINDOW_S - time.time()))
    window.ended = time.time()
    return window


def create_under_load(results, system, cluster, label, options):
    """One pgbench, cut into short windows that alternate, so that what is slow for a while is slow for all kinds: nothing beside it;
    as many commands that make nothing; branches. What processes cost the machine is no cost of branches."""
    total = options.branches
    windows = max(MIN_WINDOWS, LEGS * options.seconds // WINDOW_S)
    made = []
    daemon_us = []

    def create():
        seconds, in_daemon = system.create_branch(f"b{len(made)}", cluster.name)
        made.append(seconds)
        daemon_us.append(in_daemon)
        results.sample("branch", f"{label}: in the daemon", system.name, len(made), in_daemon / 1000, "ms", "lower")
        results.sample("branch", f"{label}: with the command", system.name, len(made), seconds * 1000, "ms", "lower")

    system.branch("create", "idle")
    actions = {ALONE: None, COMMANDS: lambda: system.branch("show", "idle"), BRANCHES: create}
    log = os.path.join(system.scratch, "logs", "under-load")
    load = cluster.pgbench_start("tpcb-like", len(actions) * windows * WINDOW_S + 2 * WARM_UP_S, log=log)
    time.sleep(WARM_UP_S)
    ran = []
    for i in range(windows):
        count = total * (i + 1) // windows - total * i // windows
        for kind in list(actions) if i % 2 == 0 else reversed(actions):
            ran.append(run_window(kind, actions[kind], count if actions[kind] else 0))
    cluster.pgbench_finish(load)
    times = cluster.commit_times(log)
    tps = {kind: [window.tps(times) for window in ran if window.kind == kind] for kind in actions}
    for kind, values in tps.items():
        for number, value in enumerate(values, 1):
            results.sample("branch", f"{label}: TPC-B-like {kind}", system.name, number, value, "TPS")

    p50, p99 = percentile(daemon_us, 50) / 1000, percentile(daemon_us, 99) / 1000
    results.target(f"branch of a {label} cluster under load, {total} times, in the daemon ({system.name})",
                   "p50 <= 5 ms, p99 <= 20 ms", f"p50 {p50:.2f} ms, p99 {p99:.2f} ms", p50 <= 5 and p99 <= 20)
    alone, beside_commands, beside_branches = (statistics.mean(tps[kind]) for kind in (ALONE, COMMANDS, BRANCHES))
    # Windows of one number lie side by side: their differences are steadier than their values.
    differences = [(a - b) / alone for a, b in zip(tps[ALONE], tps[BRANCHES])]
    error = statistics.stdev(differences) / len(differences) ** 0.5
    fall = 1 - beside_branches / alone
    results.target(f"the parent's TPS beside it, {label} ({system.name})", "falls < 5 %",
                   f"falls {fall * 100:.1f} % (standard error {error * 100:.1f}); {(1 - beside_commands / alone) * 100:.1f} % beside "
                   "commands that make nothing", fall < 0.05)


def bytes_a_branch(results, system, cluster, label, options):
    """With the server at rest, so that only branches are counted."""
    cluster.sql("CHECKPOINT")
    system.settle()
    before = measure_store(system)
    names = [f"q{i}" for i in range(options.branches)]
    for name in names:
        system.create_branch(name, cluster.name)
    # Right away a log or extent file allocated ahead may stand in for all of them; what stays when the background has put
    # things in order is what branches cost. Its compaction may gain more than that: then nothing can be measured.
    at_once = store_growth(before, measure_store(system)) / len(names)
    system.settle()
    each = max(0, store_growth(before, measure_store(system))) / len(names)
    for metric, value in (("added to the store", each), ("added to the store, before it is settled", at_once)):
        results.sample("branch", f"{label}: {metric}", system.name, 1, value / 1024, "KiB a branch", "lower")
    results.target(f"bytes added a branch, {label} ({system.name})", "<= 64 KiB", f"{each / 1024:.1f} KiB", each <= 65536)


class MemoryWatch:
    """The most the daemon has had resident, in samples of our own: the kernel's own peak cannot be reset everywhere."""

    def __init__(self, pid):
        self.pid = pid
        self.most = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self):
        while not self._end.wait(0.2):
            try:
                self.most = max(self.most, host.process_memory(self.pid))
            except (OSError, host.Failure):
                return

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


def memory(results, system, cluster, label, options):
    """The daemon's memory under every kind of work, as mounted by default and with a limit."""
    limit = options.memory_limit_mb << 20
    for what, mount_options, target in ((f"{label} cluster", [], MEMORY_TARGET),
                                        (f"{label} cluster, limit {options.memory_limit_mb} MB",
                                         [f"--memory-limit={limit}"], limit)):
        cluster.stop()
        system.mount_options = mount_options
        system.cold()
        cluster.start()
        with MemoryWatch(system.pid) as watch:
            cluster.sql("SELECT sum(abalance) FROM pgbench_accounts")
            cluster.pgbench("select-only", options.seconds)
            cluster.pgbench("tpcb-like", options.seconds)
            cluster.sql("CHECKPOINT")
        results.sample("memory", what, system.name, 1, watch.most / 2**20, "MiB", "lower")
        results.target(f"daemon memory, {what} ({system.name})", f"<= {target >> 20} MiB", f"{watch.most / 2**20:.0f} MiB",
                       watch.most <= target)
    system.mount_options = []


def run(results, scratch, cleanup, options, with_branch, with_memory):
    sizes = sorted(options.branch_sizes)
    if not with_branch:
        sizes = sizes[-1:]
    for size in sizes:
        label = size_text(size)
        host.say(f"a cluster of {label}: loading pgbench at scale {scale_for(size)}")
        system = Neonfs("neonfs-back", scratch, cleanup, "back")
        system.setup()
        cluster = Cluster(system, "main", cleanup)
        cluster.start()
        results.sample("branch", f"{label}: pgbench -i", system.name, 1, cluster.load(scale_for(size)), "s", "lower")
        cluster.sql("CHECKPOINT")
        actual = int(cluster.sql("SELECT sum(pg_database_size(oid))::bigint FROM pg_database"))
        results.sample("branch", f"{label}: size of the databases", system.name, 1, actual / 1e6, "MB", "lower")
        if with_memory and size == sizes[-1]:
            host.say(f"memory of the daemon with {label}")
            memory(results, system, cluster, label, options)
        if with_branch:
            host.say(f"branches of {label}, under load")
            create_under_load(results, system, cluster, label, options)
            host.say(f"branches of {label}, at rest")
            bytes_a_branch(results, system, cluster, label, options)
        cluster.stop()
        system.teardown()
    if with_branch and len(sizes) > 1:
        _growth_target(results, sizes)


def _growth_target(results, sizes):
    """No growth with size: the largest cluster's median within half as much again of the smallest's, or 0.5 ms."""
    medians = [results.median("branch", f"{size_text(size)}: in the daemon", "neonfs-back") for size in sizes]
    text = ", ".join(f"{size_text(size)} {median:.2f} ms" for size, median in zip(sizes, medians))
    results.target("branch creation does not grow with the size", "the same time", text,
                   medians[-1] <= max(1.5 * medians[0], medians[0] + 0.5))

