"""Deleting branches, and the reasons not to."""
import os
import subprocess
import unittest

from workplace import FAILED, Workplace


class Delete(Workplace):
    def setUp(self):
        super().setUp()
        self.branch_done("create", "main")
        self.write("main/file", "data")
        for child in ("a", "b"):
            self.branch_done("create", child, "--from", "main")
        self.branch_done("create", "a-child", "--from", "a")

    def test_delete(self):
        self.branch_done("delete", "b")
        self.assertEqual(sorted(self.branches()), ["a", "a-child", "main"])
        self.assertEqual(sorted(os.listdir(self.mountpoint)), ["a", "a-child", "main"])
        self.assertEqual(self.read("main/file"), "data")

    def test_a_parent_with_children(self):
        self.refused(["delete", "main"], FAILED, "has 2 children (a, b)", "--recursive")
        self.refused(["delete", "a"], FAILED, "has 1 child (a-child)")

    def test_recursive(self):
        self.branch_done("create", "other")
        self.branch_done("delete", "main", "--recursive")
        self.assertEqual(sorted(self.branches()), ["other"])

    def test_detached_children_outlive_their_parent(self):
        with open(self.path("a", "file"), "a") as file:
            self.branch_done("detach", "a")
            file.write(", and more")
        self.assertEqual(self.branches()["a"]["parent"], None)
        self.refused(["detach", "a"], FAILED, '"a" has no parent')
        self.refused(["detach", "main"], FAILED, '"main" has no parent')
        self.refused(["delete", "main"], FAILED, "has 1 child (b); delete or detach it first")
        self.branch_done("detach", "b")
        self.branch_done("delete", "main")
        self.assertEqual(sorted(os.listdir(self.mountpoint)), ["a", "a-child", "b"])
        self.umount()
        self.mount()
        self.assertEqual(self.read("a/file"), "data, and more")
        self.assertEqual(self.read("b/file"), "data")
        self.branch_done("create", "main")
        self.assertEqual(os.listdir(self.path("main")), [])
        self.branch_done("delete", "a", "--recursive")
        self.branch_done("delete", "b")
        self.assertEqual(sorted(self.branches()), ["main"])

    def test_protected(self):
        self.branch_done("protect", "b")
        self.refused(["delete", "b"], FAILED, "is protected", "neonfs-branch unprotect b")
        self.branch_done("unprotect", "b")
        self.branch_done("delete", "b")

    def test_recursive_is_all_or_nothing(self):
        self.branch_done("protect", "a-child")
        self.refused(["delete", "main", "--recursive"], FAILED, '"a-child" is protected')
        self.branch_done("unprotect", "a-child")
        with open(self.path("b", "file")):
            self.refused(["delete", "main", "--recursive"], FAILED, '"b" is in use')
        self.branch_done("delete", "main", "--recursive")
        self.assertEqual(self.branches(), {})

    def test_open_file(self):
        with open(self.path("b", "file"), "a") as file:
            self.refused(["delete", "b"], FAILED, "is in use", "1 open file", "try again")
            file.write(", and more")
        self.assertEqual(self.read("b/file"), "data, and more")
        self.branch_done("delete", "b")

    def test_mounted_and_used_by_a_process(self):
        with subprocess.Popen(["sleep", "100"], stdout=open(self.path("b", "log"), "w"), cwd=self.path("b")) as process:
            try:
                self.refused(["delete", "b"], FAILED, "is in use")
            finally:
                process.kill()
        self.branch_done("delete", "b")

    def standing_in(self, *names):
        """A process with its working directory there, and no file open in it."""
        process = subprocess.Popen(["sleep", "100"], cwd=self.path(*names), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_a_working_directory(self):
        os.makedirs(self.path("b", "deep", "down"))
        self.branch_done("create", "b2")
        self.branch_done("snapshot", "b@then")
        self.standing_in("b2")
        for place in (("b",), ("b", "deep", "down"), ("b@then",)):
            process = self.standing_in(*place)
            self.refused(["delete", "b"], FAILED, '"b" is in use', f"sleep (process {process.pid})", "working directory", "cd /")
            self.refused(["delete", "main", "--recursive"], FAILED, '"b" is in use')
            self.refused(["reset", "b"], FAILED, '"b" is in use')
            process.kill()
            process.wait()
        # One that has no name any more is no reason.
        process = self.standing_in("b", "deep", "down")
        os.rmdir(self.path("b", "deep", "down"))
        self.branch_done("delete", "b")
        self.assertIsNone(process.poll())
        self.refused(["delete", "b2"], FAILED, '"b2" is in use')

    def test_a_process_that_has_just_ended(self):
        """Deleting right after a process ended works: the kernel tells of its files a moment later."""
        for _ in range(20):
            self.branch_done("create", "short", "--from", "main")
            subprocess.run(["sh", "-c", 'echo x > "$1"', "sh", self.path("short", "new")], check=True)
            self.branch_done("delete", "short")

    def test_deleted_is_gone_after_a_remount(self):
        self.branch_done("delete", "b")
        self.umount()
        self.mount()
        self.assertNotIn("b", self.branches())
        self.branch_done("create", "b")
        self.assertEqual(os.listdir(self.path("b")), [])

    def test_a_deleted_family_and_a_remount_at_once(self):
        """The space of parents and children is still being freed when the store closes."""
        for number in range(100):
            self.branch_done("create", f"c{number}", "--from", "main" if number % 2 else "a")
        self.branch_done("delete", "main", "--recursive")
        for _ in range(3):
            self.umount()
            self.mount()
            self.assertEqual(self.branches(), {})


if __name__ == "__main__":
    unittest.main()
