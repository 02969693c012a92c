"""A store that is full: writes fail, everything there stays readable, and room made is room to use."""
import errno
import hashlib
import os
import unittest

from workplace import FAILED, NEONFS, OK, Workplace

LIMIT = "256M"


class FullDisk(Workplace):
    mount_at_start = False

    def setUp(self):
        super().setUp()
        self.store = self.top + "/small"
        self.done(NEONFS, "init", self.store, "--size-limit", LIMIT)
        self.mount()
        self.branch_done("create", "main")
        self.write("main/kept", "kept " * 1000)

    def fill(self, name):
        """Write until the disk is full; returns the digest of what was written and synced."""
        digest = hashlib.sha256()
        with open(self.path(name), "wb", buffering=0) as file:
            for _ in range(4096):
                piece = os.urandom(1 << 20)
                try:
                    if file.write(piece) != len(piece):
                        return None
                    os.fsync(file.fileno())
                except OSError as error:
                    self.assertEqual(error.errno, errno.ENOSPC, error)
                    return digest.hexdigest()
                digest.update(piece)
        self.fail("the size limit does not stop writes")

    def test_full(self):
        self.fill("main/fill")
        self.assertEqual(self.read("main/kept"), "kept " * 1000)
        self.assertIn("main", self.branches())
        # What needs no room, or next to none, works or says what to do; it never half works.
        before = self.facts()
        result = self.branch("create", "child", "--from", "main")
        if result.returncode != OK:
            self.one_line(result, FAILED, "full", "delete")
            self.assertEqual(self.facts(), before)
        else:
            self.branch_done("delete", "child")
        os.unlink(self.path("main", "fill"))
        self.done(NEONFS, "gc", self.store)
        self.write("main/again", "x" * (8 << 20))
        self.assertEqual(self.read("main/again"), "x" * (8 << 20))
        self.branch_done("create", "child", "--from", "main")
        self.assertEqual(self.read("child/kept"), "kept " * 1000)

    def test_full_and_remounted(self):
        self.fill("main/fill")
        self.umount()
        self.mount()
        self.assertEqual(self.read("main/kept"), "kept " * 1000)
        os.unlink(self.path("main", "fill"))
        self.done(NEONFS, "gc", self.store)
        self.write("main/again", "y" * (8 << 20))
        self.done(NEONFS, "scrub", self.store)


if __name__ == "__main__":
    unittest.main()
