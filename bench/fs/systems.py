"""The file systems under test. All live on one disk: a directory of the scratch directory's own ext4, loop images
for xfs and btrfs, and neonfs stores in the same directory.

A system offers directories for fio, data directories for Postgres, a cold start and a copy of a data directory by the
best means it has."""

import json
import os
import shutil
import time

import host
from host import Failure

OWNER = "postgres"
PG_BIN = "/usr/lib/postgresql/15/bin"
INITDB_ARGUMENTS = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"]
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class System:
    """Base: directories below self.root, as on any ordinary file system."""

    def __init__(self, name, scratch, cleanup):
        self.name = name
        self.scratch = scratch
        self.cleanup = cleanup
        self.root = os.path.join(scratch, name)

    def setup(self):
        os.mkdir(self.root)
        self._root_step = self.cleanup.add(f"remove {self.root}", lambda: host.remove_tree(self.root))

    def cold(self):
        """Nothing of this system is cached after this, as far as the machine can do it."""
        host.drop_caches()

    def directory(self, name):
        path = os.path.join(self.root, name)
        os.mkdir(path)
        return path

    def remove(self, name):
        shutil.rmtree(os.path.join(self.root, name))

    def make_cluster(self, name):
        """initdb; the data directory's path."""
        path = self.directory(name)
        shutil.chown(path, OWNER, OWNER)
        os.chmod(path, 0o700)
        host.run([f"{PG_BIN}/initdb", "-D", path, *INITDB_ARGUMENTS], user=OWNER)
        return path

    def copy_cluster(self, name, copy):
        """Copy a data directory so that the copy is on disk; seconds."""
        began = time.monotonic()
        host.run(["cp", "-a", *self.copy_options, os.path.join(self.root, name), os.path.join(self.root, copy)])
        host.run(["sync", "-f", self.root])
        return time.monotonic() - began

    copy_options = []

    def describe(self):
        """What else the results should tell of this system."""
        return []

    def store_bytes(self, name):
        """What a data directory takes on disk."""
        return host.disk_bytes(os.path.join(self.root, name))


class Ext4(System):
    def setup(self):
        kind = host.filesystem_of(self.scratch)
        if kind != "ext2/ext3":
            raise Failure(f"{self.scratch} is on {kind}, and the comparison needs ext4; give a directory with --scratch")
        super().setup()


class LoopSystem(System):
    """A file system in a loop image. The image's blocks are all written beforehand and stay allocated (no discard), and
    the loop device uses direct I/O: nothing is cached twice and ext4 below allocates nothing while we measure."""

    mkfs = []
    mount_options = ""

    def __init__(self, name, scratch, cleanup, image_gb):
        super().__init__(name, scratch, cleanup)
        self.image_gb = image_gb

    def setup(self):
        super().setup()
        image = self.root + ".img"
        self.cleanup.add(f"remove {image}", lambda: os.unlink(image))
        host.run(["dd", "if=/dev/zero", f"of={image}", "bs=1M", f"count={self.image_gb * 1024}", "oflag=direct"])
        self.device = host.run(["losetup", "--find", "--show", "--direct-io=on", image]).strip()
        self.cleanup.add(f"detach {self.device}", lambda: host.run(["losetup", "-d", self.device]))
        host.run([*self.mkfs, self.device])
        self._mount()
        self.cleanup.add(f"unmount {self.root}", self._unmount)

    def _mount(self):
        options = ["-o", self.mount_options] if self.mount_options else []
        host.run(["mount", "-t", self.name, *options, self.device, self.root])

    def _unmount(self):
        host.retry(lambda: host.run(["umount", self.root]), 20, f"unmount {self.root}")

    def cold(self):
        self._unmount()
        host.drop_caches()
        self._mount()


class Xfs(LoopSystem):
    mkfs = ["mkfs.xfs", "-q", "-f", "-K"]
    copy_options = ["--reflink=always"]


class Btrfs(LoopSystem):
    mkfs = ["mkfs.btrfs", "-q", "-f", "-K"]
    mount_options = "nodiscard"

    def directory(self, name):
        path = os.path.join(self.root, name)
        host.run(["btrfs", "subvolume", "create", path])
        return path

    def remove(self, name):
        host.run(["btrfs", "subvolume", "delete", "--commit-after", os.path.join(self.root, name)])

    def copy_cluster(self, name, copy):
        began = time.monotonic()
        host.run(["btrfs", "subvolume", "snapshot", os.path.join(self.root, name), os.path.join(self.root, copy)])
        return time.monotonic() - began


class Neonfs(System):
    """A store and its mount. Data directories and fio directories are branches."""

    def __init__(self, name, scratch, cleanup, cache, mount_options=()):
        super().__init__(name, scratch, cleanup)
        self.cache = cache
        self.mount_options = list(mount_options)
        self.store = self.root + ".store"
        self.program = os.path.join(ROOT, "build/release/bin/neonfs")
        self.branch_program = os.path.join(ROOT, "build/release/bin/neonfs-branch")
        self.pid = None

    def setup(self):
        super().setup()
        host.run([self.program, "init", self.store])
        self._store_step = self.cleanup.add(f"remove {self.store}", lambda: host.remove_tree(self.store))
        self.mount()
        self._mount_step = self.cleanup.add(f"unmount {self.root}", self.unmount)

    def teardown(self):
        """Unmount and remove the store before the end of the run."""
        self.unmount()
        self.cleanup.done(self._mount_step)
        host.remove_tree(self.store)
        self.cleanup.done(self._store_step)
        os.rmdir(self.root)
        self.cleanup.done(self._root_step)

    def mount(self):
        """Seconds until the mount answers."""
        began = time.monotonic()
        host.run([self.program, "mount", self.store, self.root, f"--cache={self.cache}", *self.mount_options])
        os.stat(self.root)
        seconds = time.monotonic() - began
        self.pid = self._status()["mount"]["pid"]
        return seconds

    def unmount(self):
        if self.root not in host.mounts_below(self.root):
            return
        try:
            host.retry(lambda: host.run([self.program, "umount", self.root]), 60, f"unmount {self.root}")
        except Failure:
            host.run(["umount", "-l", self.root])  # nothing stays behind, and the failure is told all the same
            raise
        until = time.monotonic() + 120
        while os.path.exists(f"/proc/{self.pid}"):
            if time.monotonic() > until:
                raise Failure(f"daemon {self.pid} of {self.store} still runs 120 s after its mount was ended")
            time.sleep(0.05)

    def cold(self):
        self.unmount()
        host.drop_caches()
        self.mount()

    def branch(self, *arguments):
        return host.run([self.branch_program, "--store", self.store, *arguments])

    def _status(self):
        return json.loads(host.run([self.program, "status", self.store, "--json"]))

    def describe(self):
        mount = self._status()["mount"]
        return [f"(mount: {name} {mount[name]})" for name in ("cache", "transport", "libfuse")]

    def facts(self):
        """The store's own counters (struct bd_status)."""
        return self._status()["facts"]

    def settle(self):
        """Collect garbage and wait until the daemon has nothing left to do in the background."""
        host.run(["sync", "-f", self.root])
        host.run([self.program, "gc", self.store])
        keys = ("extent_bytes", "live_bytes", "index_bytes", "log_bytes", "checkpoints", "collected_extents")
        before, still_since = None, time.monotonic()
        until = time.monotonic() + 60
        while time.monotonic() < min(until, still_since + 6):
            facts = [self.facts()[key] for key in keys]
            if facts != before:
                before, still_since = facts, time.monotonic()
            time.sleep(0.5)

    def create_branch(self, name, parent):
        """(seconds with the command's start, microseconds in the daemon)"""
        began = time.monotonic()
        answer = self.branch("create", name, "--from", parent, "--json")
        seconds = time.monotonic() - began
        try:
            return seconds, float(json.loads(answer)["daemon_us"])
        except (KeyError, ValueError) as error:
            raise Failure(f"neonfs-branch create --json says no daemon_us: {error!r} in {answer!r}")

    def directory(self, name):
        self.branch("create", name)
        return os.path.join(self.root, name)

    def remove(self, name):
        # The kernel tells of the last close of a file a moment after the process that had it open has ended.
        host.retry(lambda: self.branch("delete", name), 10, f"delete branch {name}")

    def make_cluster(self, name):
        self.branch("init", name, "--pg-bindir", PG_BIN, "--", *INITDB_ARGUMENTS)
        return os.path.join(self.root, name)

    def copy_cluster(self, name, copy):
        return self.create_branch(copy, name)[0]

    def store_bytes(self, name):
        return host.disk_bytes(self.store)


NAMES = ["neonfs-back", "neonfs-through", "ext4", "xfs", "btrfs"]


def make(name, scratch, cleanup, image_gb):
    if name == "ext4":
        return Ext4(name, scratch, cleanup)
    if name == "xfs":
        return Xfs(name, scratch, cleanup, image_gb)
    if name == "btrfs":
        return Btrfs(name, scratch, cleanup, image_gb)
    return Neonfs(name, scratch, cleanup, name.removeprefix("neonfs-"))
