"""bench/run pitr: what points in time cost, against what stock Postgres and pgBackRest need for the same."""

import argparse
import os
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "fs"), os.path.join(os.path.dirname(HERE), "wal")]

import world as world_module  # noqa: E402  (sets the path of the others)
import draining  # noqa: E402
import host  # noqa: E402
import keeping  # noqa: E402
import opening  # noqa: E402
import reading  # noqa: E402
import recovering  # noqa: E402
import systems  # noqa: E402
import workplace  # noqa: E402
from host import Failure  # noqa: E402
from results import Results  # noqa: E402

MODULES = {"open": opening, "first-read": reading, "drain": draining, "recover": recovering, "history": keeping}
PARTS = {
    "open": "a branch at a point, to its first query, at several distances from the checkpoint; against Postgres's own recovery",
    "first-read": "reading a block that has to be made, against reading it again",
    "drain": "the background's making of all blocks, against stock replay of the same WAL",
    "recover": "a killed server, to its first query; against crash recovery",
    "history": "transactions a second with history on against off; size of the indexes",
}


def parts(text):
    names = text.split(",")
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"there is no part {name}")
    return names


def numbers(text):
    values = [float(item) for item in text.split(",")]
    if any(value <= 0 for value in values):
        raise argparse.ArgumentTypeError("distances are positive")
    return values


def parse_options(arguments):
    parser = argparse.ArgumentParser(
        prog="bench/run pitr", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure points in time: opening branches at them, first reads, the drain, recovery, the cost of history.",
        epilog="parts:\n" + "\n".join(f"  {name:11} {text}" for name, text in PARTS.items()) +
               "\n\nThe sizes that the targets are about: --scale 340 --wal-gb 4 (a 5 GB cluster; about an hour, 60 GB of disk).\n"
               "Run it as root. Keep the machine quiet.")
    parser.add_argument("--only", type=parts, default=list(PARTS), metavar="PART[,PART]", help="only these parts")
    parser.add_argument("--scale", type=int, default=30, help="pgbench's scale (30)")
    parser.add_argument("--wal-gb", type=float, default=1.0, help="GB of WAL behind the checkpoint (1)")
    parser.add_argument("--distances", type=numbers, default=[0.1, 1.0], metavar="GB[,GB]",
                        help="points that are opened beside the end of the WAL (0.1,1)")
    parser.add_argument("--rounds", type=int, default=3, help="of all parts but history (3)")
    parser.add_argument("--pairs", type=int, default=5, help="of history on and off (5)")
    parser.add_argument("--seconds", type=int, default=20, help="of each pgbench in history (20)")
    parser.add_argument("--cache", choices=("back", "through"), default="back", help="of the mount (back)")
    parser.add_argument("--no-history", action="store_true", help="the branch keeps no history; for recover, which is all that works then")
    parser.add_argument("--pgbackrest", action="store_true", help="pgBackRest too, in open; installed when it is missing")
    parser.add_argument("--scratch", default=os.path.join(systems.ROOT, "build"),
                        help="an existing directory on ext4; a directory is made in it and removed at the end (build/)")
    parser.add_argument("--output", help="the file of JSON lines (bench/results/pitr-TIME.jsonl)")
    parser.add_argument("--no-build", action="store_true", help="measure what is built")
    options = parser.parse_args(arguments)
    if options.no_history and options.only != ["recover"]:
        parser.error("--no-history is for --only recover")
    return options


def measure(results, options):
    cleanup, failures = host.Cleanup(), []
    try:
        scratch = workplace.make_scratch(options.scratch, cleanup)
        workplace.describe(results, options, world_module.SETTINGS)
        world = world_module.World(scratch, cleanup, options)
        host.say(f"a cluster of scale {options.scale}, then {options.wal_gb:g} GB of WAL")
        world.make()
        world.write_wal()
        for name, module in MODULES.items():
            if name not in options.only:
                continue
            host.say(f"{name}: {PARTS[name]}")
            try:
                module.run(results, world, options)
            except (Failure, OSError) as failure:
                host.say(f"{name} failed: {failure}")
                failures.append(f"{name}: {failure}")
    finally:
        cleanup.run()
    return failures


def main(arguments):
    options = parse_options(arguments)
    # An end from outside takes the same way out as an interrupt: through every finally.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    path = options.output or os.path.join(systems.ROOT, "bench/results", time.strftime("pitr-%Y%m%d-%H%M%S.jsonl"))
    try:
        workplace.check_machine(["neonfs", "neonfs-branch", "neonfs-wal"])
        results = Results(path)
        failures = measure(results, options)
    except Failure as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; everything it had set up has been taken down", file=sys.stderr)
        return 1
    for bench, reference in (("open", opening.STOCK), ("first-read", reading.AGAIN), ("drain", draining.STOCK),
                             ("recover", recovering.STOCK), ("history", keeping.OFF)):
        print(results.comparison(reference, bench))
    print(results.targets())
    print(f"results: {path}")
    for failure in failures:
        print(f"bench: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
