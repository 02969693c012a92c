"""bench/run fs: options, the order of work, and cleaning up whatever happens."""

import argparse
import os
import signal
import sys
import time

import chain
import fio
import host
import ladder
import many
import pgbench
import space
import systems
import workplace
from host import Failure
from postgres import SETTINGS
from results import Results

PARTS = {
    "fio": "8 KiB random and 1 MiB sequential, read and write, direct and buffered, 1 and 16 deep",
    "pgbench": "load, TPC-B-like, simple-update, select-only, sequential scans, and copying the data directory",
    "branch": "branch creation under pgbench load, by size of the cluster; bytes a branch",
    "memory": "the daemon's memory with the largest cluster of --branch-sizes, and with a limit",
    "chain": "random reads at the end of a long chain of branches",
    "many": "thousands of branches in one store",
    "space": "disk space after a long run of updates",
}


def size(text):
    """A size in bytes of a number with MB or GB behind it."""
    for suffix, factor in (("GB", 10**9), ("MB", 10**6)):
        if text.upper().endswith(suffix):
            return int(float(text[:-2]) * factor)
    raise argparse.ArgumentTypeError(f"{text!r} is not a size like 50MB or 5GB")


def list_of(kind, known=None):
    def parse(text):
        items = [kind(item) for item in text.split(",") if item]
        for item in items:
            if known and item not in known:
                raise argparse.ArgumentTypeError(f"{item!r} is none of {', '.join(known)}")
        return items
    return parse


def parse_options(arguments):
    parts = "\n".join(f"  {name:9} {text}" for name, text in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="bench/run fs", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure neonfs against ext4, xfs and btrfs on one disk, as root. Comparisons (fio, pgbench) go round by "
                    "round through all systems, so that a slow hour of the machine hits all of them; tables show medians.",
        epilog=f"parts:\n{parts}\n\nA whole run takes some hours; --quick takes some minutes and proves nothing but that it works. "
               "Keep the machine quiet.")
    parser.add_argument("--only", type=list_of(str, PARTS), default=list(PARTS), metavar="PART[,PART]", help="only these parts")
    parser.add_argument("--systems", type=list_of(str, systems.NAMES), default=systems.NAMES, metavar="NAME[,NAME]",
                        help="for fio and pgbench; of " + ", ".join(systems.NAMES))
    parser.add_argument("--rounds", type=int, help="rounds of every comparison (3)")
    parser.add_argument("--scale", type=int, help="pgbench's scale (50)")
    parser.add_argument("--seconds", type=int, help="of every pgbench run (30)")
    parser.add_argument("--fio-seconds", type=int, help="of every random fio job (5)")
    parser.add_argument("--fio-size-mb", type=int, help="the file's size (2048)")
    parser.add_argument("--branches", type=int, help="branches made under load, and again at rest (200)")
    parser.add_argument("--branch-sizes", type=list_of(size), metavar="SIZE[,SIZE]", help="of the clusters (50MB,5GB,20GB)")
    parser.add_argument("--chain", type=int, help="length of the chain (128)")
    parser.add_argument("--many", type=int, help="number of branches (2000)")
    parser.add_argument("--space-seconds", type=int, help="of the run of updates (1800)")
    parser.add_argument("--space-together", action="store_true",
                        help="ext4 and neonfs at the same time, each with half of the machine: half the time (one after the other)")
    parser.add_argument("--memory-limit-mb", type=int, default=192, help="the limit tried in the memory part (192)")
    parser.add_argument("--image-gb", type=int, help="size of the xfs and btrfs images (12)")
    parser.add_argument("--quick", action="store_true", help="a small run of everything; options given beside it hold")
    parser.add_argument("--scratch", default=os.path.join(systems.ROOT, "build"),
                        help="an existing directory on ext4; a directory is made in it and removed at the end (build/)")
    parser.add_argument("--output", help="the file of JSON lines (bench/results/fs-TIME.jsonl)")
    parser.add_argument("--no-build", action="store_true", help="measure what is built (the default builds the release preset)")
    parser.add_argument("--table", nargs="+", metavar="FILE", help="print the tables of these results and measure nothing")
    options = parser.parse_args(arguments)
    full = dict(rounds=3, scale=50, seconds=30, fio_seconds=5, fio_size_mb=2048, branches=200,
                branch_sizes=[size("50MB"), size("5GB"), size("20GB")], chain=128, many=2000, space_seconds=1800, image_gb=12)
    quick = dict(rounds=1, scale=5, seconds=5, fio_seconds=1, fio_size_mb=128, branches=15,
                 branch_sizes=[size("50MB"), size("200MB")], chain=16, many=100, space_seconds=20, image_gb=4)
    for name, value in (quick if options.quick else full).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def check_machine(options):
    on_neonfs = any(name.startswith("neonfs") for name in options.systems) or set(options.only) - {"fio", "pgbench"}
    workplace.check_machine(["neonfs", "neonfs-branch"] if on_neonfs else [])


def compare(results, scratch, options):
    """fio and pgbench: all systems set up, then round by round through all of them, each round from another one on."""
    cleanup = host.Cleanup()
    try:
        made = []
        for name in options.systems:
            host.say(f"setting up {name}")
            made.append(systems.make(name, scratch, cleanup, options.image_gb))
            made[-1].setup()
        for round_number in range(1, options.rounds + 1):
            turn = round_number % len(made)
            for system in made[turn:] + made[:turn]:
                for part, module_run in (("fio", lambda s: fio.run_round(results, s, round_number, options)),
                                         ("pgbench", lambda s: pgbench.run_round(results, s, round_number, options, cleanup))):
                    if part in options.only:
                        host.say(f"round {round_number} of {options.rounds}: {part} on {system.name}")
                        module_run(system)
    finally:
        cleanup.run()
    for name in options.systems:
        if name.startswith("neonfs"):
            fio.targets(results, name)
            pgbench.targets(results, name)


def guarded(part, failures, action):
    """Run one part with a cleanup of its own; a part that fails is reported at the end and the others still run."""
    cleanup = host.Cleanup()
    try:
        action(cleanup)
    except (Failure, OSError) as failure:
        host.say(f"{part} failed: {failure}")
        failures.append(f"{part}: {failure}")
    finally:
        cleanup.run()


def measure(results, options):
    failures = []
    outer = host.Cleanup()
    try:
        scratch = workplace.make_scratch(options.scratch, outer)
        workplace.describe(results, options, SETTINGS)
        only = options.only
        if "fio" in only or "pgbench" in only:
            guarded("fio and pgbench", failures, lambda _: compare(results, scratch, options))
        for part, module in (("chain", chain), ("many", many), ("space", space)):
            if part in only:
                host.say(f"{part}: {PARTS[part]}")
                guarded(part, failures, lambda cleanup: module.run(results, scratch, cleanup, options))
        if "branch" in only or "memory" in only:
            guarded("branch and memory", failures,
                    lambda cleanup: ladder.run(results, scratch, cleanup, options, "branch" in only, "memory" in only))
    finally:
        outer.run()
    return failures


def show(results):
    for text in (results.comparison(), results.settings(), results.targets()):
        if text:
            print(text)


def main(arguments):
    options = parse_options(arguments)
    if options.table:
        for path in options.table:
            show(Results.read(path))
        return 0
    # An end from outside takes the same way out as an interrupt: through every finally.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        check_machine(options)
        path = options.output or os.path.join(systems.ROOT, "bench/results", time.strftime("fs-%Y%m%d-%H%M%S.jsonl"))
        try:
            results = Results(path)
        except OSError as error:
            raise Failure(f"cannot make {path}: {error.strerror}; give another name with --output")
        failures = measure(results, options)
    except Failure as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; everything it had set up has been taken down", file=sys.stderr)
        return 1
    show(results)
    print(f"results: {path}")
    for failure in failures:
        print(f"bench: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
