"""What is stored and asked for, in bytes and requests, and what that costs at list prices."""

import os
import time

import host
from postgres import Cluster
from server import Server
from store import Store

# US dollars, Amazon S3 Standard, us-east-1, public list prices of 2025; deleting is free, lists cost what puts cost.
GB_MONTH, PUT_1000, GET_1000 = 0.023, 0.005, 0.0004
OURS = "neonfs"
HOUR = 3600
REST_S, REST_MOST_S = 20, 180


def dollars(asked):
    return asked.requests("PUT", "LIST") / 1000 * PUT_1000 + asked.requests("GET", "HEAD") / 1000 * GET_1000


def stored_bytes(counts):
    return sum(size for name, (_, size) in counts.items() if name.startswith("stored"))


def position(cluster):
    return int(cluster.sql("SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn"))


def hourly(results, what, asked, seconds):
    for name, methods in (("puts and lists", ("PUT", "LIST")), ("gets and heads", ("GET", "HEAD"))):
        results.sample("cost", f"{what}: {name} an hour", OURS, 1, asked.requests(*methods) / seconds * HOUR, "", "lower")
    results.sample("cost", f"{what}: requests", OURS, 1, dollars(asked) / seconds * HOUR, "$ an hour", "lower")


def idle(results, what, server, options):
    """The last checkpoint and the lease that nobody needs any more take a minute. Who is never at rest is measured as he is."""
    before, still_since = server.counts(), time.monotonic()
    until = still_since + REST_MOST_S
    while time.monotonic() < min(until, still_since + REST_S):
        time.sleep(1)
        after = server.counts()
        if after != before:
            before, still_since = after, time.monotonic()
    time.sleep(options.cost_seconds)
    hourly(results, what, server.counts().since(before), options.cost_seconds)


def busy(results, server, cluster, store, options):
    before, wal = server.counts(), position(cluster)
    stored, began = stored_bytes(before), time.monotonic()
    cluster.pgbench("tpcb-like", options.cost_seconds)
    store.flush()
    seconds, wal = time.monotonic() - began, position(cluster) - wal
    after = server.counts()
    asked = after.since(before)
    hourly(results, "TPC-B", asked, seconds)
    results.sample("cost", "TPC-B: WAL written", OURS, 1, wal / 1e6 / seconds, "MB/s", "higher")
    results.sample("cost", "TPC-B: put for each byte of WAL", OURS, 1, asked.bytes("PUT") / wal, "", "lower")
    # Nothing is deleted within the grace time.
    results.sample("cost", "TPC-B: stored for each byte of WAL", OURS, 1, (stored_bytes(after) - stored) / wal, "", "lower")
    results.add("cost", what="TPC-B", seconds=seconds, wal_bytes=wal, asked={name: list(value) for name, value in asked.items()})


def run(results, scratch, options):
    cleanup = host.Cleanup()
    try:
        directory = os.path.join(scratch, "objects")
        os.makedirs(directory, exist_ok=True)
        server = Server(directory, options.latency_ms)
        cleanup.add("end the object store", server.stop)
        store = Store("cost", scratch, cleanup, server.url("store"))
        store.setup()
        cluster = Cluster(store, "main", cleanup)
        cluster.start()
        cluster.load(options.cost_scale)
        cluster.sql("VACUUM")
        cluster.sql("CHECKPOINT")
        store.flush()
        data = int(cluster.sql("SELECT pg_database_size('postgres')"))
        counts = server.counts()
        stored = stored_bytes(counts)
        results.add("cost", what="load", data_bytes=data, asked={name: list(value) for name, value in counts.items()})
        results.sample("cost", "load: put for each byte of data", OURS, 1, counts.bytes("PUT") / data, "", "lower")
        results.sample("cost", "load: stored for each byte of data", OURS, 1, stored / data, "", "lower")
        results.sample("cost", "load: requests", OURS, 1, dollars(counts) / (data / 1e9), "$ a GB", "lower")
        results.sample("cost", "what the load stored", OURS, 1, stored / data * GB_MONTH, "$ a GB and month", "lower")
        idle(results, "Postgres at rest", server, options)
        busy(results, server, cluster, store, options)
        cluster.stop()
        idle(results, "no Postgres", server, options)
    finally:
        cleanup.run()
