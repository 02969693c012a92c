"""The devices under test: each a server on a unix socket, with a volume that may have a chain of snapshots below it.

    file            nbdkit's file plugin on a raw file on ext4: the reference
    neonfs          a file of a branch
    qcow2           qemu-nbd on a qcow2 image on ext4
    neonfs-chain    the same after LEVELS times a branch of the branch, each written to
    qcow2-chain     the same after LEVELS times an overlay of the overlay, each written to
"""

import os
import subprocess
import time

import host
import systems
from host import Failure

LEVELS = 8
PLUGIN = os.path.join(systems.ROOT, "build/release/bin/nbdkit-neonfs-plugin.so")


class Device:
    """A volume and, while it is started, its server."""

    def __init__(self, name, scratch, cleanup, size):
        self.name, self.scratch, self.size = name, scratch, size
        self.socket = os.path.join(scratch, "sockets", name)
        self.log = os.path.join(scratch, "logs", f"nbd-{name}.log")
        self.server = None
        cleanup.add(f"stop the server of {name}", self.stop)

    @property
    def uri(self):
        return f"nbd+unix:///?socket={self.socket}"

    def start(self):
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        host.retry(self._answers, 30, f"the server of {self.name}")

    def _answers(self):
        if self.server is None:
            with open(self.log, "w", encoding="utf-8") as log:
                self.server = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if self.server.poll() is not None:
            status, self.server = self.server.returncode, None
            with open(self.log, encoding="utf-8") as log:
                raise Failure(f"it ended with status {status}: {log.read().strip()[-200:]}")
        host.run(["nbdinfo", "--size", self.uri])

    def stop(self):
        if self.server is None:
            return
        self.server.terminate()
        try:
            self.server.wait(60)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
        self.server = None

    def cold(self):
        """Nothing is cached afterwards, by the server or below it."""
        self.stop()
        host.drop_caches()
        self.start()


class FileDevice(Device):
    def make(self):
        self.path = os.path.join(self.scratch, "volume.raw")
        with open(self.path, "wb") as file:
            file.truncate(self.size)

    def command(self):
        return ["nbdkit", "-f", "-U", self.socket, "file", self.path]


class NeonfsDevice(Device):
    def __init__(self, name, scratch, cleanup, size, neonfs):
        super().__init__(name, scratch, cleanup, size)
        self.neonfs, self.branch = neonfs, "level0"

    def make(self):
        directory = self.neonfs.directory(self.branch)
        with open(os.path.join(directory, "volume"), "wb") as file:
            file.truncate(self.size)

    def command(self):
        return ["nbdkit", "-f", "-U", self.socket, PLUGIN, f"store={self.neonfs.store}", f"file={self.branch}/volume"]

    def deepen(self, level):
        """Go on in a child of what there is. (seconds, of which in the daemon)"""
        self.stop()
        seconds, daemon_us = self.neonfs.create_branch(f"level{level}", self.branch)
        self.branch = f"level{level}"
        return seconds, daemon_us / 1e6

    def cold(self):
        self.stop()
        self.neonfs.cold()
        self.start()


class QcowDevice(Device):
    def make(self):
        self.path = os.path.join(self.scratch, "level0.qcow2")
        host.run(["qemu-img", "create", "-q", "-f", "qcow2", self.path, str(self.size)])

    def command(self):
        return ["qemu-nbd", "-f", "qcow2", "-k", self.socket, "-t", "-e", "16", "-x", "", "--cache=writeback", self.path]

    def deepen(self, level):
        self.stop()
        path = os.path.join(self.scratch, f"level{level}.qcow2")
        began = time.monotonic()
        host.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", self.path, "-F", "qcow2", path])
        seconds = time.monotonic() - began
        self.path = path
        return seconds, seconds
