"""Where and on what a suite measures: what the machine must have, a scratch directory, and a line about both in the results."""

import os
import platform
import shutil
import tempfile

import host
import systems
from host import Failure


def check_machine(programs):
    """Root, Postgres, FUSE and these programs of ours."""
    if os.geteuid() != 0:
        raise Failure("run it as root: it makes loop devices, mounts file systems and drops the kernel's caches")
    needed = [f"{systems.PG_BIN}/initdb", "/dev/fuse"]
    needed += [os.path.join(systems.ROOT, "build/release/bin", name) for name in programs]
    for path in needed:
        if not os.path.exists(path):
            raise Failure(f"{path} is missing; run tools/install-deps and tools/build")


def describe(results, options, settings):
    with open("/proc/meminfo") as f:
        memory_mb = int(f.readline().split()[1]) // 1024
    wanted = {name: value for name, value in vars(options).items() if name not in ("scratch", "output", "table", "no_build")}
    try:
        commit = host.run(["git", "-C", systems.ROOT, "describe", "--always", "--dirty"]).strip()
    except Failure:
        commit = "unknown"
    results.add("run", kernel=platform.release(), cpus=os.cpu_count(), memory_mb=memory_mb, commit=commit,
                postgres=host.run([f"{systems.PG_BIN}/postgres", "--version"]).strip(), options=wanted, settings=settings)


def make_scratch(parent, cleanup):
    """A directory that the owner of clusters can enter, with places for sockets and logs; removed in the end."""
    parent = os.path.realpath(parent)
    if not os.path.isdir(parent):
        raise Failure(f"--scratch {parent}: there is no such directory")
    scratch = tempfile.mkdtemp(prefix="neonfs-bench-", dir=parent)
    cleanup.add(f"remove {scratch}", lambda: host.remove_tree(scratch))
    os.chmod(scratch, 0o755)
    for name in ("sockets", "logs"):
        path = os.path.join(scratch, name)
        os.mkdir(path)
        shutil.chown(path, systems.OWNER, systems.OWNER)
    try:
        host.run(["test", "-x", scratch], user=systems.OWNER)
    except Failure:
        raise Failure(f"user {systems.OWNER} cannot enter {scratch}; give another directory with --scratch")
    return scratch
