"""neonfs init and status."""
import os
import unittest

from workplace import FAILED, NEONFS, Workplace, run


class Init(Workplace):
    mount_at_start = False

    def test_a_store_is_private(self):
        self.assertEqual(os.stat(self.store).st_mode & 0o777, 0o700)

    def test_into_an_empty_directory(self):
        path = self.top + "/empty"
        os.mkdir(path)
        self.done(NEONFS, "init", path)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o700)
        self.done(NEONFS, "status", path)

    def test_refuses_a_store(self):
        before = sorted(os.listdir(self.store))
        self.one_line(run(NEONFS, "init", self.store), FAILED, "a neonfs store in it already")
        self.assertEqual(sorted(os.listdir(self.store)), before)

    def test_refuses_a_directory_with_something_in_it(self):
        path = self.top + "/full"
        os.mkdir(path)
        with open(path + "/precious", "w") as file:
            file.write("mine")
        self.one_line(run(NEONFS, "init", path), FAILED, "not empty")
        self.assertEqual(os.listdir(path), ["precious"])

    def test_refuses_a_file_and_a_missing_place(self):
        with open(self.top + "/file", "w") as file:
            file.write("x")
        self.one_line(run(NEONFS, "init", self.top + "/file"), FAILED, "not a directory")
        self.one_line(run(NEONFS, "init", self.top + "/none/below"), FAILED, "does not exist")
        self.assertFalse(os.path.exists(self.top + "/none"))

    def test_refuses_without_permission(self):
        os.chmod(self.top, 0o755)
        self.one_line(run(NEONFS, "init", self.top + "/other", user=65534), FAILED, "no permission")
        self.assertFalse(os.path.exists(self.top + "/other"))

    def test_size_limit_is_kept(self):
        self.done(NEONFS, "init", self.top + "/limited", "--size-limit", "1.5G")
        self.store = self.top + "/limited"
        self.assertEqual(self.status()["facts"]["size_limit_bytes"], 3 << 29)


class Status(Workplace):
    def test_mounted(self):
        self.branch_done("create", "main")
        status = self.status()
        self.assertTrue(status["mounted"])
        self.assertEqual(status["mount"]["mountpoint"], self.mountpoint)
        self.assertEqual(status["mount"]["cache"], "back")
        self.assertEqual(status["facts"]["branches"], 1)
        text = self.done(NEONFS, "status", self.store)
        self.assertIn(self.mountpoint, text)
        self.assertIn(str(status["mount"]["pid"]), text)
        for label in ("data", "of it live", "log", "index", "free", "memory", "memory limit"):
            self.assertRegex(text, rf"(?m)^{label} +\d+ bytes$", "a size without its unit")

    def test_not_mounted(self):
        self.branch_done("create", "main")
        self.branch_done("snapshot", "main@one")
        self.umount()
        status = self.status()
        self.assertFalse(status["mounted"])
        self.assertEqual((status["facts"]["branches"], status["facts"]["snapshots"]), (1, 1))
        self.assertNotIn("last_mount", status)

    def test_killed_daemon(self):
        pid = self.daemon_pid()
        self.kill_daemon()
        status = self.status()
        self.assertFalse(status["mounted"])
        self.assertEqual(status["last_mount"]["pid"], pid)
        self.assertIn("died", self.done(NEONFS, "status", self.store))

    def test_missing(self):
        self.one_line(run(NEONFS, "status", self.top + "/none"), FAILED, "no store")


class Maintenance(Workplace):
    def test_scrub_and_gc_mounted_and_not(self):
        self.branch_done("create", "main")
        for number in range(20):
            self.write(f"main/file{number}", "x" * 100000)
        self.branch_done("create", "child", "--from", "main")
        for mounted in (True, False):
            scrub = self.done(NEONFS, "scrub", self.store)
            self.assertRegex(scrub, r"^verified [1-9]\d* blocks")
            self.assertIn("freed", self.done(NEONFS, "gc", self.store))
            self.done(NEONFS, "scrub", self.store, "--json")
            if mounted:
                self.one_line(run(NEONFS, "scrub", self.store, "--rebuild"), FAILED, "umount")
                self.umount()
        self.done(NEONFS, "scrub", self.store, "--rebuild")
        self.mount()
        self.assertEqual(sorted(self.branches()), ["child", "main"])
        for number in range(20):
            self.assertEqual(self.read(f"child/file{number}"), "x" * 100000)

    def test_gc_frees_a_deleted_branch(self):
        self.branch_done("create", "main")
        self.write("main/big", os.urandom(8 << 20), mode="wb")
        live = self.status()["facts"]["live_bytes"]
        self.branch_done("delete", "main")
        self.done(NEONFS, "gc", self.store)
        self.assertLess(self.status()["facts"]["live_bytes"], live - (7 << 20))


if __name__ == "__main__":
    unittest.main()
