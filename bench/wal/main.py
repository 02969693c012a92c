"""bench/run wal: the cost of decoding, indexing and replaying WAL."""

import argparse
import glob
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "fs"))

import host  # noqa: E402
from host import Failure  # noqa: E402
from results import Results  # noqa: E402

import cluster  # noqa: E402
import instructions  # noqa: E402
import replay  # noqa: E402

PARTS = {
    "decode": "decoding, and decoding with an index of each segment: MB/s on one core",
    "page": "bringing one page from an image over 2 and over 230 records, all in memory",
    "instructions": "instructions for each record type, counted by callgrind",
    "replay": "a crashed directory brought up by neonfs-wal replay, with one thread and with two, and by stock Postgres",
}
TARGETS = {("images", "decode and index"): 1000, ("pgbench", "decode and index"): 400}
PROGRAM = os.path.join(ROOT, "build/release/bin/wal_bench")


def parse_options(arguments):
    parser = argparse.ArgumentParser(
        prog="bench/run wal", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure what WAL costs. Makes clusters of stock Postgres in a scratch directory first; takes some minutes.",
        epilog="parts:\n" + "\n".join(f"  {name:13} {text}" for name, text in PARTS.items()))
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), help="parts, with commas between")
    parser.add_argument("--transactions", type=int, default=150000, help="of the TPC-B-like runs that write WAL (150000)")
    parser.add_argument("--scale", type=int, default=20, help="pgbench's scale (20)")
    parser.add_argument("--rounds", type=int, default=5, help="of replaying (5)")
    parser.add_argument("--cold", action="store_true", help="drop the kernel's caches before each replay; else all files are read before")
    parser.add_argument("--wal", metavar="DIR", help="use the WAL that an earlier run left here, and leave it; made when it is not there")
    parser.add_argument("--prefix", default="", metavar="COMMAND", help="put before each measured command, such as a lock or taskset")
    parser.add_argument("--output", help="the file of JSON lines (bench/results/wal-TIME.jsonl)")
    parser.add_argument("--no-build", action="store_true", help="measure what is built")
    options = parser.parse_args(arguments)
    unknown = set(options.only) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    return options


def measured(options, *arguments):
    """Run wal_bench; its lines of JSON."""
    output = host.run([*options.prefix.split(), PROGRAM, *arguments])
    return [json.loads(line) for line in output.splitlines()]


def decode(results, wals, options):
    for name, files in wals.items():
        if name not in ("images", "pgbench", "hot"):
            continue
        for mode, metric in (("decode", "decode"), ("index", "decode and index")):
            line = measured(options, mode, *files)[0]
            results.sample(name, metric, "neonfs", 1, line["median_mb_s"], "MB/s")
            results.sample(name, metric + ", a record", "neonfs", 1, line["ns_a_record"], "ns", "lower")
            target = TARGETS.get((name, metric))
            if target:
                results.target(f"{metric}, WAL {name}", f">= {target} MB/s", f"{line['median_mb_s']:.0f}", line["median_mb_s"] >= target)
        results.sample(name, "size of the index", "neonfs", 1, 100 * line["index_bytes"] / line["bytes"], "% of WAL", "lower")
        results.sample(name, "index bytes a record", "neonfs", 1, line["index_bytes"] / line["records"], "bytes", "lower")


def page(results, wals, options):
    for count, target, files in ((2, 10, wals["images"]), (230, 80, wals["hot"])):
        line = measured(options, "page", count, *files)[0]
        results.sample("page", f"{count} records, mean", "neonfs", 1, line["mean_us"], "us", "lower")
        results.sample("page", f"{count} records, median", "neonfs", 1, line["median_us"], "us", "lower")
        results.sample("page", f"{count} records, p99", "neonfs", 1, line["p99_us"], "us", "lower")
        results.target(f"a page over {count} records, mean", f"<= {target} us", f"{line['mean_us']:.1f}", line["mean_us"] <= target)


def make_wals(directory, options):
    """Segments by kind; made in `directory` unless they are there."""
    kinds = {"images": cluster.make_images, "pgbench": cluster.make_pgbench, "hot": cluster.make_hot, "mixed": cluster.make_mixed,
             "crashed": cluster.make_crashed}
    needs = {"decode": ("images", "pgbench", "hot"), "page": ("images", "hot"), "instructions": ("mixed",), "replay": ("crashed",)}
    wanted = {name for part in options.only for name in needs[part]}
    for name, make in kinds.items():
        if name not in wanted:
            continue
        path = os.path.join(directory, name)
        if not os.path.isdir(path):
            host.say(f"making WAL: {name}")
            make(path, options)
    return {name: sorted(glob.glob(os.path.join(directory, name, "0*"))) for name in kinds if name in wanted}


def run(options, results):
    scratch = options.wal or tempfile.mkdtemp(prefix="neonfs-bench-wal-")
    os.makedirs(scratch, exist_ok=True)
    os.chmod(scratch, 0o755)
    try:
        wals = make_wals(scratch, options)
        if "decode" in options.only:
            host.say("decode and index")
            decode(results, wals, options)
        if "page" in options.only:
            host.say("pages")
            page(results, wals, options)
        if "instructions" in options.only:
            host.say("instructions")
            instructions.run(results, PROGRAM, wals["mixed"], scratch)
        if "replay" in options.only:
            host.say("replay beside stock Postgres")
            replay.run(results, os.path.join(os.path.dirname(PROGRAM), "neonfs-wal"), os.path.join(scratch, "crashed"), options)
    finally:
        if not options.wal:
            shutil.rmtree(scratch)


def main(arguments):
    options = parse_options(arguments)
    path = options.output or os.path.join(ROOT, "bench/results", time.strftime("wal-%Y%m%d-%H%M%S.jsonl"))
    try:
        if not os.path.exists(PROGRAM):
            raise Failure(f"{PROGRAM} is missing; run tools/build")
        results = Results(path)
        results.add("run", kernel=platform.release(), cpus=os.cpu_count(), cpu=cpu(),
                    postgres=host.run([f"{cluster.BINDIR}/postgres", "--version"]).strip(),
                    options={name: value for name, value in vars(options).items() if name in ("only", "transactions", "scale", "rounds", "cold")})
        run(options, results)
    except Failure as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    print(results.comparison(reference=replay.STOCK))
    print(results.targets())
    print(f"results: {path}")
    return 0


def cpu():
    with open("/proc/cpuinfo") as f:
        return re.search(r"model name\s*: (.*)", f.read()).group(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
