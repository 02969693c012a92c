"""A store that is full: writes fail, everything there stays readable, and room made is room to use."""
import errno
import hashlib
import os
import unittest

from workplace import FAILED, NEONFS, OK, Workplace, run

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

    def set_limit(self, limit):
        self.assertEqual(self.done(NEONFS, "set", self.store, "--size-limit", limit), "")
        return self.status()["facts"]["size_limit_bytes"]

    def test_status_says_what_to_do_and_the_limit_can_be_raised(self):
        self.assertNotIn("full", self.status()["facts"])
        self.assertNotIn("FULL", self.done(NEONFS, "status", self.store))
        self.fill("main/fill")
        self.assertEqual(self.status()["facts"]["full"], "size limit")
        text = self.done(NEONFS, "status", self.store)
        for fragment in ("FULL: the size limit is reached", f"neonfs gc {self.store}", f"neonfs set {self.store} --size-limit"):
            self.assertIn(fragment, text)
        self.assertEqual(self.set_limit("320M"), 320 << 20)
        self.assertNotIn("full", self.status()["facts"])
        self.write("main/more", "z" * (32 << 20))
        self.one_line(run(NEONFS, "set", self.store, "--size-limit", "256M"), FAILED, "the store takes", "neonfs gc")
        self.assertEqual(self.status()["facts"]["size_limit_bytes"], 320 << 20)
        self.umount()
        # The same without a daemon.
        self.one_line(run(NEONFS, "set", self.store, "--size-limit", "256M"), FAILED, "the store takes", "neonfs gc")
        self.assertEqual(self.set_limit("1G"), 1 << 30)
        self.mount()
        self.assertEqual(self.status()["facts"]["size_limit_bytes"], 1 << 30)
        self.assertEqual(self.read("main/more"), "z" * (32 << 20))
        for name in ("fill", "more"):
            os.unlink(self.path("main", name))
        self.done(NEONFS, "gc", self.store)
        self.assertEqual(self.set_limit("256M"), 256 << 20)
        self.assertEqual(self.set_limit("none"), 0)
        self.done(NEONFS, "scrub", self.store)


if __name__ == "__main__":
    unittest.main()
