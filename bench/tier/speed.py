"""How fast bytes go and come through the whole stack, against plain requests to the same server; and how soon a lost store answers again.

    write, flush ──▶ the machine is gone ──▶ attach, first query ──▶ blocks at random, a file in order"""

import http.client
import os
import random
import sys
import time

import host
import results as tables
from client import curl
from postgres import SETTINGS, Cluster
from server import BUCKET, Server
from store import Store

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "pitr"))
import restoring  # noqa: E402
from world import Server as Postgres  # noqa: E402

OURS, CURL, BACKREST = "neonfs", "plain requests", "pgBackRest"
MIB = 1 << 20
BLOCK = 8192
GROUP = 128 << 10
PART = 16 * MIB
RANDOM_READS = 200
QUERY = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711"


def write_noise(path, megabytes):
    """Bytes that nothing makes smaller, durable."""
    with open(path, "wb") as file:
        for _ in range(megabytes):
            file.write(random.randbytes(MIB))
        os.fsync(file.fileno())


def upload(results, number, server, store, scratch, options):
    """A file written and flushed, beside curl with the same bytes in parts. Both find it in the page cache."""
    size = options.speed_mb * MIB
    source = os.path.join(scratch, "noise")
    write_noise(source, options.speed_mb)
    parts = []
    with open(source, "rb") as file:
        for i in range(size // PART):
            parts.append(os.path.join(scratch, f"part{i}"))
            with open(parts[-1], "wb") as part:
                part.write(file.read(PART))
    url = f"{server.endpoint}/{BUCKET}/plain/curl-"
    requests = [f'url = "{url}{i}"\nupload-file = "{path}"\noutput = "/dev/null"' for i, path in enumerate(parts)]

    def plain():
        results.sample("speed", "upload", CURL, number, curl(scratch, requests, size, options)[0], "MB/s")

    def ours():
        before, began = server.counts(), time.monotonic()
        target = os.path.join(store.directory("files"), "noise")
        host.run(["dd", f"if={source}", f"of={target}", "bs=1M", "conv=fsync", "status=none"])
        written = time.monotonic() - began
        store.flush()
        seconds = time.monotonic() - began
        results.sample("speed", "upload", OURS, number, size / 1e6 / seconds, "MB/s")
        results.sample("speed", "written and durable here", OURS, number, size / 1e6 / written, "MB/s")
        results.sample("speed", "put for each byte", OURS, number, server.counts().since(before).bytes("PUT") / size, "", "lower")
    for task in (ours, plain) if number % 2 else (plain, ours):
        task()
    for path in [*parts, source]:
        os.unlink(path)


def open_again(results, number, server, scratch, cleanup, options):
    """Everything from the object store alone; the store, and Postgres on it."""
    stored = sum(size for name, (_, size) in server.counts().items() if name.startswith("stored") and name != "stored plain")
    host.drop_caches()
    store = Store("again", scratch, cleanup, server.url("store"))
    before, began = server.counts(), time.monotonic()
    store.attach()
    attached = time.monotonic() - began
    postgres = Postgres(os.path.join(store.root, "main"), scratch, cleanup, SETTINGS)
    postgres.start(QUERY)
    seconds = time.monotonic() - began
    got = server.counts().since(before)
    results.sample("speed", "attached and mounted", OURS, number, attached, "s", "lower")
    results.sample("speed", "to the first query", OURS, number, seconds, "s", "lower")
    results.sample("speed", "got until then", OURS, number, got.bytes("GET") / stored * 100, "%", "lower")
    results.target("attach to the first query", "<= 3 s", f"{seconds:.2f} s of {stored / 1e9:.1f} GB stored", seconds <= 3)
    results.target("got until then", "< 2 %", f"{got.bytes('GET') / stored * 100:.2f} %", got.bytes("GET") < stored * 0.02)
    results.add("speed", what="until the first query", asked={name: list(value) for name, value in got.items()})
    postgres.kill()
    return store


def wait_still(server):
    """Until nothing has been asked for a while: what a store does in the background after a mount is over."""
    before = server.counts()
    for _ in range(60):
        time.sleep(2)
        after = server.counts()
        if after == before:
            return
        before = after


def random_reads(results, number, server, store, options):
    path = os.path.join(store.root, "files", "noise")
    wait_still(server)
    blocks = random.sample(range(options.speed_mb * MIB // BLOCK), RANDOM_READS)
    before, times = server.counts(), []
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    for block in blocks:
        began = time.monotonic()
        os.pread(fd, BLOCK, block * BLOCK)
        times.append((time.monotonic() - began) * 1000)
    os.close(fd)
    asked = server.counts().since(before)
    gets, size = asked.requests("GET"), asked.bytes("GET")
    results.sample("speed", "a block at random", OURS, number, tables.percentile(times, 50), "ms", "lower")
    results.sample("speed", "requests for a block at random", OURS, number, gets / RANDOM_READS, "", "lower")
    results.sample("speed", "KiB for a block at random", OURS, number, size / RANDOM_READS / 1024, "", "lower")
    results.target("a block at random", "one GET of <= 128 KiB", f"{gets / RANDOM_READS:.2f} of {size / max(gets, 1) / 1024:.0f} KiB",
                   gets <= RANDOM_READS and size <= gets * GROUP)
    connection = http.client.HTTPConnection(server.endpoint.removeprefix("http://"))
    times = []
    for i in range(RANDOM_READS):
        at = i % (PART // GROUP) * GROUP
        began = time.monotonic()
        connection.request("GET", f"/{BUCKET}/plain/curl-0", headers={"Range": f"bytes={at}-{at + GROUP - 1}"})
        connection.getresponse().read()
        times.append((time.monotonic() - began) * 1000)
    connection.close()
    results.sample("speed", "a block at random", CURL, number, tables.percentile(times, 50), "ms", "lower")


def in_order(results, number, server, store, scratch, options):
    size, range_size = options.speed_mb * MIB, 4 * MIB
    url = f"{server.endpoint}/{BUCKET}/plain/curl-"
    requests = [f'url = "{url}{i * range_size // PART}"\nrange = "{i * range_size % PART}-{i * range_size % PART + range_size - 1}"\noutput = "/dev/null"'
                for i in range(size // range_size)]

    def plain():
        results.sample("speed", "a file in order, cold", CURL, number, curl(scratch, requests, size, options)[0], "MB/s")

    def ours():
        began = time.monotonic()
        host.run(["dd", f"if={store.root}/files/noise", "of=/dev/null", "bs=1M", "status=none"])
        results.sample("speed", "a file in order, cold", OURS, number, size / 1e6 / (time.monotonic() - began), "MB/s")
    for task in (ours, plain) if number % 2 else (plain, ours):
        task()


def with_backrest(results, number, repository, scratch, cleanup, lsn):
    """A full restore to ext4 from a repository on this disk, which is nearer than any object store."""
    path = os.path.join(scratch, "restored")
    host.drop_caches()
    began = time.monotonic()
    repository.restore(path, lsn)
    postgres = Postgres(path, scratch, cleanup, SETTINGS)
    postgres.start(QUERY)
    results.sample("speed", "to the first query", BACKREST, number, time.monotonic() - began, "s", "lower")
    postgres.kill()
    host.remove_tree(path)


def one(results, scratch, number, options):
    cleanup = host.Cleanup()
    try:
        directory = os.path.join(scratch, "objects")
        os.makedirs(directory, exist_ok=True)
        server = Server(directory, options.latency_ms)
        cleanup.add("end the object store", server.stop)
        first = Store("first", scratch, cleanup, server.url("store"))
        first.setup()
        cluster, lsn = Cluster(first, "main", cleanup), None
        repository = restoring.Repository(scratch, cleanup) if options.pgbackrest else None
        if repository is not None:
            cluster.more_settings = repository.settings(first.root)
        cluster.start()
        cluster.load(options.speed_scale)
        if repository is not None:
            repository.back_up(cluster)
            lsn = cluster.sql("SELECT pg_switch_wal()")
        cluster.stop()
        upload(results, number, server, first, scratch, options)
        first.flush()
        first.teardown()
        store = open_again(results, number, server, scratch, cleanup, options)
        random_reads(results, number, server, store, options)
        in_order(results, number, server, store, scratch, options)
        if repository is not None:
            with_backrest(results, number, repository, scratch, cleanup, lsn)
    finally:
        cleanup.run()


def targets(results, options):
    for metric in ("upload", "a file in order, cold"):
        ratio = results.ratio("speed", metric, OURS, CURL)
        results.target(f"{metric}, of plain requests", ">= 0.7", f"{ratio:.2f}", ratio >= 0.7)
    if options.pgbackrest:
        ratio = results.ratio("speed", "to the first query", OURS, BACKREST)
        results.target("attach, of pgBackRest's restore", ">= 10 times as fast", f"{ratio:.1f}", ratio >= 10)


def run(results, scratch, options):
    for number in range(1, options.speed_rounds + 1):
        host.say(f"speed, round {number}")
        one(results, scratch, number, options)
    targets(results, options)
