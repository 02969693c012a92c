"""neonfs-wal replay beside crash recovery of stock Postgres: the same crashed directory, a fresh copy of it each time, in turns.

Two times of each. The redo part is the loop over the log: what Postgres says at "redo done ... elapsed", and what replay says as redo_seconds.
Pages are in memory at its end, for both: Postgres has buffers for all of them, and writes them in the checkpoint that follows. Ready is from
the start of the command to the moment when Postgres accepts connections: for replay the whole command, which makes all durable, and
then a start of Postgres on what it left. fsync is on."""

import datetime
import json
import os
import re
import shutil
import time

import cluster
import host
from host import Failure

STOCK = "stock"
SYSTEMS = {STOCK: None, "neonfs, 1 thread": 1, "neonfs, 2 threads": 2}
TARGETS = {"neonfs, 1 thread": 2, "neonfs, 2 threads": 4}
REDO, READY = "redo part", "ready for connections"
READY_LIMIT_S = 600


def read_all(directory):
    """Into the page cache."""
    for parent, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(parent, name)
            if os.path.isfile(path):
                with open(path, "rb", buffering=0) as f:
                    while f.read(1 << 20):
                        pass


def fresh_copy(source, directory, options):
    shutil.rmtree(directory, ignore_errors=True)
    host.run(["cp", "-a", source, directory])
    for path in (f"{directory}/data/postmaster.pid", f"{directory}/log"):
        if os.path.exists(path):
            os.remove(path)
    os.sync()
    if options.cold:
        host.drop_caches()
    else:
        read_all(f"{directory}/data")


def start_postgres(directory):
    """Start it and wait for the line that says it is ready; when that was by the line's own time, and the log."""
    path = f"{directory}/log"
    with open(path, "w") as log:
        process = host.start([f"{cluster.BINDIR}/postgres", "-D", f"{directory}/data", "-c", "fsync=on", "-c", "log_timezone=UTC",
                              "-c", "log_line_prefix=%m ", "-c", f"unix_socket_directories={directory}"], user=cluster.OWNER, log=log)
    until = time.monotonic() + READY_LIMIT_S
    while time.monotonic() < until and process.poll() is None:
        with open(path) as log:
            text = log.read()
        ready = re.search(r"^(\S+ \S+) UTC LOG:  database system is ready to accept connections$", text, re.M)
        if ready:
            when = datetime.datetime.strptime(ready[1], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=datetime.timezone.utc)
            return process, when.timestamp(), text
        time.sleep(0.005)
    process.kill()
    raise Failure(f"Postgres does not start on {directory}; see {path}")


def stop_postgres(process):
    process.send_signal(3)  # SIGQUIT: nothing more is written
    process.wait()


def stock(directory):
    begin = time.time()
    process, ready, text = start_postgres(directory)
    stop_postgres(process)
    found = re.search(r"redo done at .*elapsed: ([0-9.]+) s", text)
    if not found:
        raise Failure("Postgres did not say how long recovery took")
    return float(found[1]), ready - begin, {}


def neonfs(program, directory, threads):
    begin = time.time()
    line = json.loads(host.run([program, "replay", f"{directory}/data", "--threads", threads, "--json"], timeout=READY_LIMIT_S))
    command = time.time() - begin
    process, ready, _ = start_postgres(directory)
    stop_postgres(process)
    return line["redo_seconds"], ready - begin, {"command_seconds": command, "records": line["records"]}


def run(results, program, crashed, options):
    directory = crashed + ".copy"
    names = list(SYSTEMS)
    try:
        for turn in range(options.rounds):
            for name in names[turn % len(names):] + names[:turn % len(names)]:
                fresh_copy(crashed, directory, options)
                threads = SYSTEMS[name]
                redo, ready, more = stock(directory) if threads is None else neonfs(program, directory, threads)
                results.sample("replay", REDO, name, turn + 1, redo, "s", "lower")
                results.sample("replay", READY, name, turn + 1, ready, "s", "lower")
                if more:
                    results.add("replay", system=name, round=turn + 1, **more)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    for name, target in TARGETS.items():
        ratio = results.ratio("replay", REDO, name, STOCK)
        results.target(f"redo part, {name}", f">= {target} x stock", f"{ratio:.2f} x", ratio >= target)
