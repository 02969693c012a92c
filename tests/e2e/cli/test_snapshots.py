"""Snapshots."""
import os
import unittest

from workplace import FAILED, USAGE, Workplace


class Snapshots(Workplace):
    def setUp(self):
        super().setUp()
        self.branch_done("create", "main")
        self.write("main/file", "first")
        self.branch_done("snapshot", "main@one")
        self.write("main/file", "second")

    def test_a_snapshot_does_not_change(self):
        self.assertEqual(self.read("main@one/file"), "first")
        self.assertEqual(self.read("main/file"), "second")

    def test_a_snapshot_cannot_be_written(self):
        for attempt in (lambda: self.write("main@one/file", "x"), lambda: self.write("main@one/new", "x"),
                        lambda: os.unlink(self.path("main@one", "file")), lambda: os.mkdir(self.path("main@one", "d"))):
            with self.assertRaises(OSError):
                attempt()
        self.assertEqual(self.read("main@one/file"), "first")

    def test_a_snapshot_is_not_listed(self):
        self.assertEqual(os.listdir(self.mountpoint), ["main"])
        self.assertEqual(os.listdir(self.path("main")), ["file"])

    def test_a_branch_of_a_snapshot(self):
        self.branch_done("create", "back", "--from", "main@one")
        self.assertEqual(self.read("back/file"), "first")
        self.write("back/file", "changed")
        self.assertEqual(self.read("main@one/file"), "first")

    def test_without_a_label_the_time_is_the_label(self):
        names = [self.branch_done("snapshot", "main").strip() for _ in range(3)]
        self.assertEqual(len(set(names)), 3)
        for name in names:
            self.assertRegex(name, r"^main@\d{8}-\d{6}(-\d+)?$")
            self.assertEqual(self.read(name + "/file"), "second")

    def test_delete(self):
        self.branch_done("create", "back", "--from", "main@one")
        self.branch_done("delete", "main@one")
        self.assertFalse(os.path.exists(self.path("main@one")))
        self.assertEqual(self.branches()["main"]["snapshots"], 0)
        self.assertEqual(self.read("back/file"), "first")
        self.refused(["delete", "main@one"], FAILED, "has no snapshot")
        self.branch_done("snapshot", "main@one")
        self.assertEqual(self.read("main@one/file"), "second")

    def test_recursive_makes_no_sense_for_a_snapshot(self):
        self.refused(["delete", "main@one", "--recursive"], USAGE, "--recursive")

    def test_snapshots_survive_a_remount(self):
        self.umount()
        self.mount()
        self.assertEqual(self.read("main@one/file"), "first")


if __name__ == "__main__":
    unittest.main()
