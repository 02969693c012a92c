"""The client alone: uploads of whole objects and ranged downloads, several at a time, against curl --parallel on the same server."""

import json
import os
import shutil
import subprocess
import tempfile
import time

from host import Failure
from server import BIN, Server

OURS, CURL = "neonfs", "curl --parallel"


def run_command(argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise Failure(f"{argv[0]}: exit status {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def ours(server, word, count, size, options):
    facts = json.loads(run_command([os.path.join(BIN, "object_bench"), word, server.url(), str(count), str(size), str(options.parallel)]))
    return facts["mb_s"], facts["cpu_s_a_gb"]


def curl(scratch, sections, moved, options):
    """MB/s and processor seconds a GB of one curl with these requests."""
    path = os.path.join(scratch, "requests")
    with open(path, "w") as file:
        file.write("\nnext\n".join("silent\nfail\n" + section for section in sections) + "\n")
    before, started = os.times(), time.monotonic()
    run_command(["curl", "--no-progress-meter", "--parallel", "--parallel-immediate", "--parallel-max", str(options.parallel), "--config", path])
    seconds, after = time.monotonic() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return moved / 1e6 / seconds, cpu / (moved / 1e9)


def run(results, options):
    put_size, get_size = 16 << 20, 4 << 20
    puts = max(options.parallel, (options.megabytes << 20) // put_size)
    gets = max(options.parallel, (options.megabytes << 20) // get_size)
    scratch = tempfile.mkdtemp(prefix="neonfs-bench-tier-", dir="/dev/shm")
    try:
        source = os.path.join(scratch, "object")
        with open(source, "wb") as file:
            file.write(b"\x01" * put_size)
        for number in range(1, options.rounds + 1):
            with Server() as server:
                url = server.endpoint + "/the-bucket/"
                uploads = [f'url = "{url}curl-{i}"\nupload-file = "{source}"\noutput = "/dev/null"' for i in range(puts)]
                ranges = [f'url = "{url}bench-0"\nrange = "{i * get_size}-{(i + 1) * get_size - 1}"\noutput = "/dev/null"' for i in range(gets)]
                tasks = {
                    ("upload, 16 MiB objects", OURS): lambda: ours(server, "put", puts, put_size, options),
                    ("upload, 16 MiB objects", CURL): lambda: curl(scratch, uploads, puts * put_size, options),
                    ("download, 4 MiB ranges", OURS): lambda: ours(server, "get", gets, get_size, options),
                    ("download, 4 MiB ranges", CURL): lambda: curl(scratch, ranges, gets * get_size, options),
                }
                order = list(tasks)
                if number % 2 == 0:
                    order = [order[1], order[0], order[3], order[2]]
                for metric, system in order:
                    if metric.startswith("download") and not getattr(server, "large", False):
                        make_large(server, scratch, gets * get_size)
                    speed, cpu = tasks[metric, system]()
                    results.sample("client", metric, system, number, speed, "MB/s")
                    results.sample("client", metric + ", processor", system, number, cpu, "s a GB", "lower")
    finally:
        shutil.rmtree(scratch)


def make_large(server, scratch, size):
    path = os.path.join(scratch, "large")
    with open(path, "wb") as file:
        for _ in range(size >> 20):
            file.write(b"\x02" * (1 << 20))
    run_command(["curl", "--silent", "--fail", "-T", path, "-o", "/dev/null", server.endpoint + "/the-bucket/bench-0"])
    os.unlink(path)
    server.large = True
