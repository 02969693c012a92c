"""TPC-B with far less room here than there is data: how long somebody waits, and what is asked of the object store meanwhile."""

import glob
import os
import threading
import time

import host
import results as tables
from postgres import Cluster
from server import Server
from store import Store

OURS, PEER = "neonfs, limited", "neonfs, all here"
MIB = 1 << 20
CLIENTS = 8


class Watch(threading.Thread):
    """What the store says of itself, each half second."""

    def __init__(self, store):
        super().__init__(daemon=True)
        self.store, self.samples, self.ending = store, [], threading.Event()
        self.start()

    def run(self):
        while not self.ending.wait(0.5):
            try:
                self.samples.append((time.time(), self.store.tier()))
            except (host.Failure, OSError, ValueError):
                pass  # it is asked again

    def end(self):
        self.ending.set()
        self.join()
        return self.samples


def read_log(prefix):
    """(when it ended, milliseconds) of each transaction. Removes the files."""
    rows = []
    for path in glob.glob(f"{prefix}.*"):
        with open(path) as log:
            for line in log:
                fields = line.split()
                rows.append((int(fields[4]) + int(fields[5]) / 1e6, int(fields[2]) / 1000))
        os.unlink(path)
    return sorted(rows)


def longest_gap(rows):
    """Seconds in which nobody's transaction ended."""
    return max((after[0] - before[0] for before, after in zip(rows, rows[1:])), default=0)


def measure(results, system, store, cluster, server, number, options):
    log = os.path.join(store.scratch, "logs", "transactions")
    counts, before = server.counts(), store.tier()
    watch = Watch(store)
    tps = cluster.pgbench_finish(cluster.pgbench_start("tpcb-like", options.seconds, CLIENTS, log))
    samples = watch.end()
    asked, after, rows = server.counts().since(counts), store.tier(), read_log(log)
    written = int(asked.bytes("PUT"))
    times = [milliseconds for _, milliseconds in rows]

    def sample(metric, value, unit, better="lower"):
        results.sample("tight", metric, system, number, value, unit, better)
    sample("transactions", tps, "TPS", "higher")
    sample("transaction, p50", tables.percentile(times, 50), "ms")
    sample("transaction, p99", tables.percentile(times, 99), "ms")
    sample("longest transaction", max(times) / 1000, "s")
    sample("longest time without a commit", longest_gap(rows), "s")
    if store.limit:
        sample("most on this disk, of the limit", max(each["local_bytes"] for _, each in samples) / store.limit, "")
        sample("evicted", (after["evicted_bytes"] - before["evicted_bytes"]) / MIB, "MiB")
    sample("got", asked.bytes("GET") / MIB, "MiB")
    sample("gets a transaction", asked.requests("GET") / len(rows), "")
    sample("put", written / MIB, "MiB")
    sample("put a transaction", written / len(rows) / 1024, "KiB")
    return max(times) / 1000, samples


def one(results, scratch, number, options, limited):
    cleanup = host.Cleanup()
    system = OURS if limited else PEER
    try:
        directory = os.path.join(scratch, "objects")
        os.makedirs(directory, exist_ok=True)
        server = Server(directory, options.latency_ms)
        cleanup.add("end the object store", server.stop)
        store = Store("tight" if limited else "all-here", scratch, cleanup, server.url("store"), options.limit if limited else None)
        store.setup()
        cluster = Cluster(store, "main", cleanup)
        cluster.start()
        seconds = cluster.load(options.tight_scale)
        cluster.sql("CHECKPOINT")
        data = int(cluster.sql("SELECT pg_database_size('postgres')"))
        host.say(f"{system}: {data / MIB:.0f} MiB loaded in {seconds:.0f} s")
        results.sample("tight", "load", system, number, data / MIB / seconds, "MiB/s")
        store.flush()
        host.drop_caches()
        longest, samples = measure(results, system, store, cluster, server, number, options)
        if limited:
            most = max(each["local_bytes"] for _, each in samples)
            results.add("tight", data_bytes=data, limit_bytes=store.limit, seconds=options.seconds,
                        samples=[[when, each["local_bytes"], each["fetches"], each["put_bytes"], each["evicted_bytes"]] for when, each in samples])
            results.target("longest transaction under a limit", "<= 2 s", f"{longest:.2f} s", longest <= 2)
            results.target("local disk", "<= limit + 5 %", f"{most / store.limit * 100:.1f} %", most <= store.limit * 1.05)
        cluster.stop()
    finally:
        cleanup.run()


def run(results, scratch, options):
    for number in range(1, options.tight_rounds + 1):
        for limited in (True, False) if number % 2 else (False, True):
            if limited or not options.no_peer:
                one(results, scratch, number, options, limited)
