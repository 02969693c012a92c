"""fio: 8 KiB random and 1 MiB sequential, read and write, direct and buffered, 1 and 16 deep.

Sequential jobs go once over the whole file (writes into a new file, with the final fsync inside the time); random jobs
run for a fixed time on that file. Every job starts cold. Buffered random reads warm the page cache as they go, on every
system alike."""

import json
import os

import host
from host import Failure


def job(path, rw, block, direct, depth, size_bytes, seconds=None):
    """Run one fio job; (bytes a second, operations a second)."""
    argv = ["fio", "--name=job", f"--filename={path}", f"--rw={rw}", f"--bs={block}", f"--direct={direct}",
            f"--size={size_bytes}", "--ioengine=io_uring", f"--iodepth={depth}", "--output-format=json",
            "--randrepeat=1", "--allow_mounted_write=0", "--fallocate=none"]
    if seconds:
        argv += ["--time_based", f"--runtime={seconds}"]
    if "write" in rw:
        argv += ["--end_fsync=1"]
    output = host.run(argv)
    try:
        # A warning may stand before the JSON.
        side = json.loads(output[output.index("{"):])["jobs"][0]["write" if "write" in rw else "read"]
        return side["bw_bytes"], side["iops"]
    except (ValueError, KeyError, IndexError) as error:
        raise Failure(f"fio's output is not what was expected: {error!r}: {output[:200]}")


def run_round(results, system, round_number, options):
    directory = system.directory(f"fio{round_number}")
    path = os.path.join(directory, "file")
    size = options.fio_size_mb << 20

    def record(name, value, unit):
        results.sample("fio", name, system.name, round_number, value, unit)

    modes = [(direct, depth) for direct in (1, 0) for depth in (1, 16)]
    label = {1: "direct", 0: "buffered"}
    for direct, depth in modes:
        if os.path.exists(path):
            os.unlink(path)
        system.cold()
        speed, _ = job(path, "write", "1M", direct, depth, size)
        record(f"write 1M {label[direct]} {depth} deep", speed / 1e6, "MB/s")
    for direct, depth in modes:
        system.cold()
        speed, _ = job(path, "read", "1M", direct, depth, size)
        record(f"read 1M {label[direct]} {depth} deep", speed / 1e6, "MB/s")
    for rw in ("randread", "randwrite"):
        for direct, depth in modes:
            system.cold()
            _, operations = job(path, rw, "8k", direct, depth, size, options.fio_seconds)
            record(f"{rw} 8k {label[direct]} {depth} deep", operations, "IOPS")
    system.remove(f"fio{round_number}")


def targets(results, system):
    wanted = [("8 KiB random read, direct, 16 deep", ["randread 8k direct 16 deep"], 0.7),
              ("1 MiB sequential read", [f"read 1M {mode} 16 deep" for mode in ("direct", "buffered")], 0.8),
              ("1 MiB sequential write", [f"write 1M {mode} 16 deep" for mode in ("direct", "buffered")], 0.7)]
    for what, metrics, least in wanted:
        for metric in metrics:
            ratio = results.ratio("fio", metric, system)
            if ratio is not None:
                results.target(f"{what} against ext4: {metric} ({system})", f">= {least}", f"{ratio:.2f}", ratio >= least)
