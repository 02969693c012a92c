"""A kernel block device of a volume, and file systems on it."""
import os
import subprocess
import threading
import unittest

from volumes import NBD, Volumes
from workplace import run, wait_for


class Device(Volumes):
    def attach(self, name):
        device = self.done(NBD, "--store", self.store, "--attach", name).strip()
        self.assertTrue(os.path.exists(device), device)
        return device

    def detach(self, name):
        self.done(NBD, "--store", self.store, "--detach", name)
        self.assertTrue(wait_for(lambda: run("losetup", "-j", self.path(*name.split("/"))).stdout == ""))

    def mount_device(self, device, name, kind):
        place = os.path.join(self.top, name)
        os.makedirs(place, exist_ok=True)
        self.done("mount", "-t", kind, *(["-o", "nouuid"] if kind == "xfs" else []), device, place)
        self.addCleanup(run, "umount", place)
        return place

    def branched_while_written(self, kind, make, check):
        self.create("disks/v", 512 << 20)
        device = self.attach("disks/v")
        self.done(*make, device)
        place = self.mount_device(device, "fs", kind)
        stop, written = threading.Event(), []

        def write():
            while not stop.is_set():
                number = len(written)
                with open(os.path.join(place, f"f{number}"), "w") as file:
                    file.write(f"{number}\n" * 500)
                    file.flush()
                    os.fsync(file.fileno())
                written.append(number)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            branches = []
            for number in range(3):
                self.assertTrue(wait_for(lambda: len(written) > 20 * (number + 1)))
                acknowledged = len(written)
                self.branch_done("create", f"copy{number}", "--from", "disks")
                branches.append((f"copy{number}", acknowledged))
        finally:
            stop.set()
            writer.join()
        for branch, acknowledged in branches:
            copy = self.attach(f"{branch}/v")
            there = self.mount_device(copy, branch, kind)  # replays the journal
            for number in range(acknowledged):
                with open(os.path.join(there, f"f{number}")) as file:
                    self.assertEqual(file.read(), f"{number}\n" * 500)
            self.done("umount", there)
            self.done(*check, copy)
            self.detach(f"{branch}/v")
        self.done("umount", place)
        self.done(*check, device)
        self.detach("disks/v")
        self.scrub()

    def test_ext4_is_branched_while_written(self):
        self.branched_while_written("ext4", ["mkfs.ext4", "-q"], ["e2fsck", "-fn"])

    def test_xfs_is_branched_while_written(self):
        self.branched_while_written("xfs", ["mkfs.xfs", "-q"], ["xfs_repair", "-n"])

    def test_a_device_of_a_point(self):
        self.create("disks/v", 64 << 20)
        device = self.attach("disks/v")
        self.done("mkfs.ext4", "-q", device)
        self.done("blockdev", "--flushbufs", device)
        self.branch_done("snapshot", "disks@made")
        self.done("dd", "if=/dev/zero", f"of={device}", "bs=1M", "count=1", "oflag=direct", "conv=fsync")
        point = self.done(NBD, "--store", self.store, "--attach", "disks/v@made").strip()
        self.done("e2fsck", "-fn", point)
        self.assertNotEqual(run("dd", "if=/dev/zero", f"of={point}", "bs=4k", "count=1", "oflag=direct").returncode, 0)
        self.done(NBD, "--store", self.store, "--detach", "disks/v@made")
        self.assertNotEqual(run("e2fsck", "-fn", device).returncode, 0)
        self.detach("disks/v")


if __name__ == "__main__":
    unittest.main()
