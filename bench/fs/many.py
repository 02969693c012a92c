"""Many branches in one store: time to list them, time to mount, and the daemon's memory a branch."""

import os
import time

import host
from host import Failure
from systems import Neonfs

FILES = 20  # in the parent, so that a branch is a tree and not nothing


def timed(action):
    began = time.monotonic()
    answer = action()
    return time.monotonic() - began, answer


def run(results, scratch, cleanup, options):
    count = options.many
    system = Neonfs("neonfs-back", scratch, cleanup, "back")
    system.setup()
    directory = system.directory("main")
    for i in range(FILES):
        with open(os.path.join(directory, f"file{i}"), "wb") as f:
            f.write(os.urandom(65536))
    system.cold()
    system.branch("list")
    before = host.process_memory(system.pid)

    host.say(f"making {count} branches")
    seconds, _ = timed(lambda: [system.create_branch(f"b{i:05}", "main") for i in range(count)])
    results.sample("many", f"make {count} branches, one command each", system.name, 1, seconds, "s", "lower")
    after_create = host.process_memory(system.pid)

    lists = []
    for round_number in range(1, options.rounds + 1):
        seconds, text = timed(lambda: system.branch("list"))
        lists.append(seconds)
        results.sample("many", f"neonfs-branch list of {count}", system.name, round_number, seconds * 1000, "ms", "lower")
    if len(text.splitlines()) < count:
        raise Failure(f"neonfs-branch list shows {len(text.splitlines())} lines for {count} branches")
    seconds, names = timed(lambda: os.listdir(system.root))
    results.sample("many", f"readdir of the mount with {count}", system.name, 1, seconds * 1000, "ms", "lower")
    if len(names) != count + 1:
        raise Failure(f"the mount's root lists {len(names)} entries for {count + 1} branches")
    after_list = host.process_memory(system.pid)

    for i in range(count):
        os.stat(os.path.join(system.root, f"b{i:05}", "file0"))
    after_touch = host.process_memory(system.pid)

    mounts = []
    for round_number in range(1, options.rounds + 1):
        system.unmount()
        host.drop_caches()
        seconds = system.mount()
        mounts.append(seconds)
        results.sample("many", f"mount with {count}", system.name, round_number, seconds * 1000, "ms", "lower")
    system.branch("list")
    after_mount = host.process_memory(system.pid)

    for what, value in (("made", after_create), ("made and listed", after_list), ("a file in each looked up", after_touch),
                        ("after a new mount and list", after_mount)):
        results.sample("many", f"daemon memory a branch, {what}", system.name, 1, max(0, value - before) / count / 1024, "KiB",
                       "lower")
    each = max(after_create, after_list, after_mount) - before
    results.target(f"list of {count} branches", "< 100 ms", f"{max(lists) * 1000:.0f} ms at most", max(lists) < 0.1)
    results.target(f"mount with {count} branches", "< 1 s", f"{max(mounts):.2f} s at most", max(mounts) < 1)
    results.target(f"daemon memory a branch, {count} branches", "< 16 KiB", f"{max(0, each) / count / 1024:.1f} KiB",
                   each < 16384 * count)
    system.teardown()
