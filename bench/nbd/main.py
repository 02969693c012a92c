"""bench/run nbd: volumes as block devices, beside nbdkit's file plugin and qemu-nbd. See devices.py for what is served."""

import argparse
import json
import os
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "fs"))

import host  # noqa: E402
import systems  # noqa: E402
import workplace  # noqa: E402
from devices import LEVELS, PLUGIN, FileDevice, NeonfsDevice, QcowDevice  # noqa: E402
from host import Failure  # noqa: E402
from results import Results  # noqa: E402

FILE, NEONFS, QCOW = "file", "neonfs", "qcow2"
CHAINS = {NEONFS: "neonfs-chain", QCOW: "qcow2-chain"}
DEPTHS = (1, 16, 64)
WHOLE = ["write 1M", "read 1M"]
RANDOM = [f"{rw} 8k {depth} deep" for rw in ("randread", "randwrite") for depth in DEPTHS]
TARGET_FILE, TARGET_CLONE_MS = 0.9, 10
PARTS = {"io": "fio's nbd engine: 1 MiB sequential, 8 KiB random at depths 1, 16 and 64",
         "clone": "a branch and a snapshot of a branch with a large volume"}


def parse_options(arguments):
    parser = argparse.ArgumentParser(
        prog="bench/run nbd", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure volumes as block devices against nbdkit's file plugin on ext4 and qemu-nbd on qcow2.",
        epilog="parts:\n" + "\n".join(f"  {name:6} {text}" for name, text in PARTS.items())
        + f"\n\n\"-chain\" is after {LEVELS} snapshots, each written to. Run it as root. Keep the machine quiet.")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), help="parts, with commas between")
    parser.add_argument("--size-mb", type=int, default=1024, help="of the volume (1024)")
    parser.add_argument("--seconds", type=int, default=5, help="of each random job (5)")
    parser.add_argument("--rounds", type=int, default=3, help="of every job (3)")
    parser.add_argument("--large-gb", type=int, default=100, help="size of the volume that is cloned, sparse (100)")
    parser.add_argument("--large-data-mb", type=int, default=2048, help="data in it (2048)")
    parser.add_argument("--warm", action="store_true", help="read everything once before random reads, instead of dropping all caches")
    parser.add_argument("--scratch", default=os.path.join(systems.ROOT, "build"),
                        help="an existing directory on ext4; a directory is made in it and removed at the end (build/)")
    parser.add_argument("--output", help="the file of JSON lines (bench/results/nbd-TIME.jsonl)")
    parser.add_argument("--no-build", action="store_true", help="measure what is built")
    options = parser.parse_args(arguments)
    unknown = set(options.only) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    return options


def fio(device, rw, block, depth, size, seconds=None, amount=None):
    """(bytes a second, operations a second) of one job."""
    argv = ["fio", "--name=job", "--ioengine=nbd", f"--uri={device.uri}", f"--rw={rw}", f"--bs={block}", f"--iodepth={depth}", f"--size={size}",
            "--output-format=json", "--randrepeat=1", "--refill_buffers"]
    if seconds:
        argv += ["--time_based", f"--runtime={seconds}"]
    if amount:
        argv += [f"--io_size={amount}"]
    if "write" in rw:
        argv += ["--end_fsync=1"]
    output = host.run(argv, timeout=1200)
    try:
        side = json.loads(output[output.index("{"):])["jobs"][0]["write" if "write" in rw else "read"]
        return side["bw_bytes"], side["iops"]
    except (ValueError, KeyError, IndexError) as error:
        raise Failure(f"fio's output is not what was expected: {error!r}: {output[:200]}")


def job(device, metric, options):
    """The value, and its unit."""
    size = options.size_mb << 20
    if metric in WHOLE:
        return fio(device, metric.split()[0], "1M", 16, size)[0] / 1e6, "MB/s"
    rw, block, depth = metric.split()[:3]
    if options.warm and rw == "randread":
        fio(device, "read", "1M", 16, size)
    return fio(device, rw, block, int(depth), size, options.seconds)[1], "IOPS"


def measure_on(results, devices, number, options, metrics):
    """Each job on one device after the other, begun at another one in each round; cold, or warm where that is wanted."""
    for metric in metrics:
        for i in range(len(devices)):
            name, device = devices[(i + number) % len(devices)]
            if not (options.warm and metric.startswith("rand")):
                device.cold()
            value, unit = job(device, metric, options)
            results.sample("nbd", metric, name, number, value, unit)
        host.say(f"round {number}, {metric}: " + ", ".join(f"{name} {results.values('nbd', metric, name)[-1]:.0f}" for name, _ in devices))


def io(results, scratch, neonfs, cleanup, options):
    size = options.size_mb << 20
    flat = [(FILE, FileDevice(FILE, scratch, cleanup, size)), (NEONFS, NeonfsDevice(NEONFS, scratch, cleanup, size, neonfs)),
            (QCOW, QcowDevice(QCOW, scratch, cleanup, size))]
    for _, device in flat:
        device.make()
        device.start()
        fio(device, "write", "1M", 16, size)
    for number in range(1, options.rounds + 1):
        measure_on(results, flat, number, options, WHOLE + RANDOM)
    deep = [(CHAINS[name], device) for name, device in flat if name in CHAINS]
    host.say(f"{LEVELS} snapshots below, a part of the volume written after each")
    for level in range(1, LEVELS + 1):
        for _, device in deep:
            device.deepen(level)
            device.start()
            fio(device, "randwrite", "8k", 16, size, amount=size // 16)
    for number in range(1, options.rounds + 1):
        measure_on(results, [flat[0], *deep], number + options.rounds, options, ["read 1M"] + RANDOM)
    for _, device in flat:
        device.stop()
    for metric in WHOLE + RANDOM:
        ratio = results.ratio("nbd", metric, NEONFS, FILE)
        results.target(f"{metric}, against the file plugin", f">= {TARGET_FILE}", f"{ratio:.2f}", ratio >= TARGET_FILE)
    for metric in ["read 1M"] + RANDOM:
        ratio = results.ratio("nbd", metric, CHAINS[NEONFS], CHAINS[QCOW])
        results.target(f"{metric}, {LEVELS} snapshots deep, against qcow2", "> 1", f"{ratio:.2f}", ratio > 1)


def clone(results, scratch, neonfs, cleanup, options):
    device = NeonfsDevice("large", scratch, cleanup, options.large_gb << 30, neonfs)
    device.branch = "large"
    device.make()
    device.start()
    step = (options.large_gb << 30) // options.large_data_mb >> 20 << 20
    # A MiB here and there, all over the volume.
    host.run(["fio", "--name=fill", "--ioengine=nbd", f"--uri={device.uri}", f"--rw=write:{step - (1 << 20)}", "--bs=1M", "--iodepth=8",
              f"--size={options.large_gb << 30}", f"--io_size={options.large_data_mb << 20}", "--end_fsync=1"], timeout=1200)
    for number in range(1, 10 + 1):
        seconds, daemon_us = neonfs.create_branch(f"clone{number}", "large")
        results.sample("clone", f"a branch with a volume of {options.large_gb} GB", NEONFS, number, daemon_us / 1000, "ms", "lower")
        results.sample("clone", "the same with the command's start", NEONFS, number, 1000 * seconds, "ms", "lower")
    device.stop()
    median = results.median("clone", f"a branch with a volume of {options.large_gb} GB", NEONFS)
    results.target(f"a branch with a volume of {options.large_gb} GB, served meanwhile", f"<= {TARGET_CLONE_MS} ms", f"{median:.1f} ms", median <= TARGET_CLONE_MS)


def measure(results, options):
    cleanup = host.Cleanup()
    try:
        scratch = workplace.make_scratch(options.scratch, cleanup)
        if host.filesystem_of(scratch) != "ext2/ext3":
            raise Failure(f"{scratch} is not on ext4, and the comparison needs it; give a directory with --scratch")
        workplace.describe(results, options, [])
        neonfs = systems.Neonfs("neonfs-back", scratch, cleanup, "back")
        neonfs.setup()
        if "io" in options.only:
            io(results, scratch, neonfs, cleanup, options)
        if "clone" in options.only:
            clone(results, scratch, neonfs, cleanup, options)
    finally:
        cleanup.run()


def main(arguments):
    options = parse_options(arguments)
    # An end from outside takes the same way out as an interrupt: through every finally.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    path = options.output or os.path.join(systems.ROOT, "bench/results", time.strftime("nbd-%Y%m%d-%H%M%S.jsonl"))
    try:
        workplace.check_machine(["neonfs", "neonfs-branch", os.path.basename(PLUGIN)])
        results = Results(path)
        measure(results, options)
    except Failure as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; everything it had set up has been taken down", file=sys.stderr)
        return 1
    print(results.comparison(FILE))
    print(results.targets())
    print(f"results: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
