"""bench/run tier: what the object store costs."""

import argparse
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "fs"))

import client  # noqa: E402
import cost  # noqa: E402
import host  # noqa: E402
import speed  # noqa: E402
import tight  # noqa: E402
import workplace  # noqa: E402
from host import Failure  # noqa: E402
from postgres import SETTINGS  # noqa: E402
from results import Results  # noqa: E402
from server import BIN, KEYS  # noqa: E402

PARTS = {
    "client": "the client alone: uploads of whole objects and ranged downloads, against curl --parallel on the same server",
    "speed": "upload, attach to the first query, a block at random, a file in order; against plain requests on the same server",
    "cost": "bytes stored and put for data and for WAL, requests an hour idle and busy, and the price of them",
    "tight": "TPC-B with a quarter of the data on this disk: waits, requests; against the same with all of it here",
}
MIB = 1 << 20
# pgbench's data is about 15 MiB for each of its scale; in tight a quarter of it may be here.
SMALL = dict(speed_scale=20, speed_mb=512, cost_scale=20, cost_seconds=60, tight_scale=140, limit_mb=512, seconds=60)
FULL = dict(speed_scale=600, speed_mb=2048, cost_scale=65, cost_seconds=300, tight_scale=280, limit_mb=1024, seconds=600)


def parse_options(arguments):
    parser = argparse.ArgumentParser(
        prog="bench/run tier", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure what an object store behind a store costs, against a server on loopback (bench/tier/object_server.c).",
        epilog="parts:\n" + "\n".join(f"  {name:8} {text}" for name, text in PARTS.items()))
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), help="parts, with commas between")
    parser.add_argument("--full", action="store_true", help="the sizes that the targets are about; options given beside it hold")
    parser.add_argument("--latency-ms", type=int, default=0, help="that the object store waits before each answer (0)")
    parser.add_argument("--rounds", type=int, default=5, help="of client (5)")
    parser.add_argument("--megabytes", type=int, default=1024, help="moved in each round of client (1024)")
    parser.add_argument("--parallel", type=int, default=8, help="requests of client and of curl at a time (8)")
    parser.add_argument("--speed-rounds", type=int, default=1, help="of speed (1)")
    parser.add_argument("--speed-scale", type=int, help=f"pgbench's scale in speed ({SMALL['speed_scale']})")
    parser.add_argument("--speed-mb", type=int, help=f"size of the file in speed ({SMALL['speed_mb']})")
    parser.add_argument("--pgbackrest", action="store_true", help="pgBackRest's restore beside attach; installed when it is missing")
    parser.add_argument("--cost-scale", type=int, help=f"pgbench's scale in cost ({SMALL['cost_scale']})")
    parser.add_argument("--cost-seconds", type=int, help=f"of rest and of TPC-B in cost ({SMALL['cost_seconds']})")
    parser.add_argument("--tight-rounds", type=int, default=1, help="of tight (1)")
    parser.add_argument("--no-peer", action="store_true", help="tight without the same where everything is here")
    parser.add_argument("--tight-scale", type=int, help=f"pgbench's scale in tight ({SMALL['tight_scale']})")
    parser.add_argument("--limit-mb", type=int, help=f"that may be on this disk in tight ({SMALL['limit_mb']})")
    parser.add_argument("--seconds", type=int, help=f"of pgbench in tight ({SMALL['seconds']})")
    parser.add_argument("--scratch", default=os.path.join(ROOT, "build"), help="an existing directory; one is made in it and removed at the end (build/)")
    parser.add_argument("--output", help="the file of JSON lines (bench/results/tier-TIME.jsonl)")
    parser.add_argument("--no-build", action="store_true", help="measure what is built")
    options = parser.parse_args(arguments)
    unknown = set(options.only) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    for name, value in (FULL if options.full else SMALL).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.limit = options.limit_mb * MIB
    return options


def measure(results, options):
    cleanup = host.Cleanup()
    try:
        scratch = workplace.make_scratch(options.scratch, cleanup)
        workplace.describe(results, options, SETTINGS)
        if "client" in options.only:
            client.run(results, options)
        if "speed" in options.only:
            speed.run(results, scratch, options)
        if "cost" in options.only:
            cost.run(results, scratch, options)
        if "tight" in options.only:
            tight.run(results, scratch, options)
    finally:
        cleanup.run()


def main(arguments):
    options = parse_options(arguments)
    path = options.output or os.path.join(ROOT, "bench/results", time.strftime("tier-%Y%m%d-%H%M%S.jsonl"))
    os.environ.update(KEYS)
    failed = False
    try:
        workplace.check_machine(["neonfs", "neonfs-branch"])
        for name in ("object_bench", "object_server"):
            if not os.path.exists(os.path.join(BIN, name)):
                raise Failure(f"{name} is missing; run tools/build")
        results = Results(path)
        measure(results, options)
    except Failure as failure:
        print(f"bench: {failure}", file=sys.stderr)
        failed = True
    except KeyboardInterrupt:
        failed = True
    if "results" in locals():
        for bench, reference in (("client", client.CURL), ("speed", speed.CURL), ("cost", cost.OURS), ("tight", tight.PEER)):
            print(results.comparison(reference=reference, only=bench))
        print(results.targets())
        print(f"results: {path}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
