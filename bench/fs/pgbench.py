"""pgbench on a new cluster a system and round: load, cold sequential scan, the three built-in scripts, a cold
sequential scan of what they left, and copies of the whole data directory by the best means the system has."""

import statistics

from postgres import Cluster

SCAN = "SELECT sum(abalance) FROM pgbench_accounts"
SCRIPTS = [("select-only", "select-only"), ("tpcb-like", "TPC-B-like"), ("simple-update", "simple-update")]
COPIES = 5


def run_round(results, system, round_number, options, cleanup):
    name = f"pg{round_number}"
    cluster = Cluster(system, name, cleanup)
    cluster.start()
    if round_number == 1:
        results.add("settings", system=system.name, settings=cluster.settings() + system.describe())

    def record(metric, value, unit, better="higher"):
        results.sample("pgbench", metric, system.name, round_number, value, unit, better)

    record("pgbench -i", cluster.load(options.scale), "s", "lower")
    cluster.sql("CHECKPOINT")
    cluster.cold_restart()
    record("sequential scan, cold", cluster.timed_sql(SCAN), "s", "lower")
    record("sequential scan, warm", statistics.median(cluster.timed_sql(SCAN) for _ in range(3)), "s", "lower")
    for script, metric in SCRIPTS:
        record(metric, cluster.pgbench(script, options.seconds), "TPS")
        cluster.sql("CHECKPOINT")
    cluster.cold_restart()
    record("sequential scan, cold, after the updates", cluster.timed_sql(SCAN), "s", "lower")

    cluster.sql("CHECKPOINT")
    for copy in range(COPIES if system.name != "ext4" else 1):
        seconds = system.copy_cluster(name, f"{name}-copy{copy}")
        results.sample("branch creation", "copy of the data directory, durable", system.name, round_number, seconds * 1000,
                       "ms", "lower")
        system.remove(f"{name}-copy{copy}")
    cluster.remove()


def targets(results, system):
    for metric, least in (("TPC-B-like", 0.75), ("simple-update", 0.75), ("select-only", 0.90), ("pgbench -i", 0.6),
                          ("sequential scan, cold", 0.7), ("sequential scan, warm", 0.7)):
        ratio = results.ratio("pgbench", metric, system)
        if ratio is not None:
            results.target(f"{metric} against ext4 ({system})", f">= {least}", f"{ratio:.2f}", ratio >= least)
    ratio = results.ratio("pgbench", "TPC-B-like", system, "btrfs")
    if ratio is not None:
        results.target(f"TPC-B-like against btrfs ({system})", ">= 2.0", f"{ratio:.2f}", ratio >= 2.0)
