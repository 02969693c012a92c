"""bench/run tier: what the object store costs."""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "fs"))

import host  # noqa: E402
from host import Failure  # noqa: E402
from results import Results  # noqa: E402

PARTS = {"client": "uploads of whole objects and ranged downloads, several at a time, against curl --parallel on the same server"}
OURS, CURL = "neonfs", "curl --parallel"
BIN = os.path.join(ROOT, "build/release/bin")
KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1"}


def parse_options(arguments):
    parser = argparse.ArgumentParser(
        prog="bench/run tier", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure the object-store client. Takes a minute; everything is on loopback and in memory.",
        epilog="parts:\n" + "\n".join(f"  {name:13} {text}" for name, text in PARTS.items()))
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), help="parts, with commas between")
    parser.add_argument("--rounds", type=int, default=5, help="of each (5)")
    parser.add_argument("--megabytes", type=int, default=1024, help="moved in each round (1024)")
    parser.add_argument("--parallel", type=int, default=8, help="requests at a time (8)")
    parser.add_argument("--output", help="the file of JSON lines (bench/results/tier-TIME.jsonl)")
    parser.add_argument("--no-build", action="store_true", help="measure what is built")
    options = parser.parse_args(arguments)
    unknown = set(options.only) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    return options


class Server:
    """object_server: objects in memory, no hashing, no signatures."""

    def __enter__(self):
        self.process = subprocess.Popen([os.path.join(BIN, "object_server")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.endpoint = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=30)


def run(argv, **how):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, **how)
    if done.returncode != 0:
        raise Failure(f"{argv[0]}: exit status {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def ours(server, word, count, size, options):
    line = run([os.path.join(BIN, "object_bench"), word, f"s3://the-bucket?endpoint={server.endpoint}", str(count), str(size),
                str(options.parallel)], env={**os.environ, **KEYS})
    facts = json.loads(line)
    return facts["mb_s"], facts["cpu_s_a_gb"]


def curl(scratch, sections, moved, options):
    """MB/s and processor seconds a GB of one curl with these requests."""
    path = os.path.join(scratch, "requests")
    with open(path, "w") as file:
        file.write("\nnext\n".join("silent\nfail\n" + section for section in sections) + "\n")
    before, started = os.times(), time.monotonic()
    run(["curl", "--no-progress-meter", "--parallel", "--parallel-immediate", "--parallel-max", str(options.parallel), "--config", path])
    seconds, after = time.monotonic() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return moved / 1e6 / seconds, cpu / (moved / 1e9)


def client(results, options):
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
    run(["curl", "--silent", "--fail", "-T", path, "-o", "/dev/null", server.endpoint + "/the-bucket/bench-0"])
    os.unlink(path)
    server.large = True


def main(arguments):
    options = parse_options(arguments)
    path = options.output or os.path.join(ROOT, "bench/results", time.strftime("tier-%Y%m%d-%H%M%S.jsonl"))
    try:
        for name in ("object_bench", "object_server"):
            if not os.path.exists(os.path.join(BIN, name)):
                raise Failure(f"{name} is missing; run tools/build")
        results = Results(path)
        results.add("run", kernel=platform.release(), cpus=os.cpu_count(), curl=run(["curl", "--version"]).split("\n")[0],
                    options={name: getattr(options, name) for name in ("only", "rounds", "megabytes", "parallel")})
        if "client" in options.only:
            client(results, options)
    except Failure as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    print(results.comparison(reference=CURL))
    print(f"results: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
