"""Making, showing, renaming and protecting branches."""
import json
import os
import threading
import unittest

from workplace import BRANCH, FAILED, Workplace, run


class Branches(Workplace):
    def setUp(self):
        super().setUp()
        self.branch_done("create", "main")
        self.write("main/file", "of main")

    def test_a_branch_starts_as_its_parent_and_goes_its_way(self):
        self.branch_done("create", "dev", "--from", "main")
        self.assertEqual(self.read("dev/file"), "of main")
        self.write("dev/file", "of dev")
        self.write("main/file", "of main, later")
        self.assertEqual(self.read("dev/file"), "of dev")
        self.assertEqual(self.read("main/file"), "of main, later")

    def test_an_empty_branch_is_empty(self):
        self.assertEqual(self.branch_done("create", "empty"), "")
        self.assertEqual(os.listdir(self.path("empty")), [])
        self.assertEqual(os.stat(self.path("empty")).st_mode & 0o777, 0o700)

    def test_a_branch_shows_at_once(self):
        """Also where the kernel remembers that the name was not there."""
        for name in ("one", "two"):
            self.assertFalse(os.path.exists(self.path(name)))
            self.branch_done("create", name, "--from", "main")
            self.assertTrue(os.path.exists(self.path(name, "file")))
            self.branch_done("delete", name)
            self.assertFalse(os.path.exists(self.path(name)))
            self.assertNotIn(name, os.listdir(self.mountpoint))

    def test_json_of_create_has_the_cost(self):
        made = json.loads(self.branch_done("create", "dev", "--from", "main", "--json"))
        self.assertEqual((made["name"], made["parent"], made["path"]), ("dev", "main", self.path("dev")))
        self.assertGreater(made["daemon_us"], 0)
        self.assertGreaterEqual(made["pause_us"], 0)
        self.assertLess(made["daemon_us"], 5_000_000)

    def test_list_show_and_tree(self):
        self.branch_done("create", "dev", "--from", "main")
        self.branch_done("create", "deep", "--from", "dev")
        self.branch_done("create", "alone")
        self.branch_done("protect", "dev")
        listing = self.branch_done("list").splitlines()
        self.assertEqual([line.split()[0] for line in listing], ["NAME", "alone", "deep", "dev", "main"])
        self.assertIn("protected", listing[3])
        self.assertEqual(self.branch_done("tree").splitlines(),
                         ["alone", "main", "└─ dev  protected", "   └─ deep"])
        shown = json.loads(self.branch_done("show", "dev", "--json"))
        self.assertEqual((shown["parent"], shown["child_list"], shown["protected"]), ("main", ["deep"], True))
        self.assertIn(self.path("dev"), self.branch_done("show", "dev"))

    def test_rename(self):
        self.branch_done("create", "child", "--from", "main")
        self.branch_done("rename", "main", "trunk")
        self.assertEqual(self.read("trunk/file"), "of main")
        self.assertFalse(os.path.exists(self.path("main")))
        self.assertEqual(self.branches()["child"]["parent"], "trunk")
        self.branch_done("create", "main")
        self.assertEqual(os.listdir(self.path("main")), [])

    def test_rename_of_a_branch_in_use(self):
        """A server would go on under a path that is gone, or that another branch has taken."""
        self.branch_done("create", "dev", "--from", "main")
        with open(self.path("dev", "file"), "a") as file:
            self.refused(["rename", "dev", "other"], FAILED, '"dev" is in use', "1 open file", "try again")
            file.write(", and more")
        self.branch_done("rename", "dev", "other")
        self.assertEqual(self.read("other/file"), "of main, and more")

    def test_rename_right_after_a_process_has_ended(self):
        names = ("one", "two")
        self.branch_done("create", names[0], "--from", "main")
        for number in range(20):
            old, new = names[number % 2], names[(number + 1) % 2]
            self.done("sh", "-c", 'echo x > "$1"', "sh", self.path(old, "new"))
            self.branch_done("rename", old, new)

    def test_names_survive_a_remount(self):
        self.branch_done("create", "dev", "--from", "main")
        self.branch_done("rename", "dev", "other")
        self.branch_done("protect", "other")
        self.branch_done("snapshot", "other@s")
        before = self.facts()
        self.umount()
        self.mount()
        self.assertEqual(self.facts(), before)

    def test_names_survive_a_kill(self):
        self.branch_done("create", "dev", "--from", "main")
        self.branch_done("protect", "dev")
        self.branch_done("snapshot", "dev@s")
        before = self.facts()
        self.kill_daemon()
        self.assertEqual(run("umount", "-l", self.mountpoint).returncode, 0)
        self.mount()
        self.assertEqual(self.facts(), before)

    def test_pid_files_of_a_running_parent_are_not_copied(self):
        self.write("main/PG_VERSION", "15\n")
        for name in ("postmaster.pid", "postmaster.opts"):
            self.write("main/" + name, "parent")
        self.branch_done("snapshot", "main@s")
        self.branch_done("create", "live", "--from", "main")
        self.branch_done("create", "old", "--from", "main@s")
        for name in ("live", "old"):
            self.assertEqual(sorted(os.listdir(self.path(name))), ["PG_VERSION", "file"])
        self.assertEqual(self.read("main/postmaster.pid"), "parent")
        self.assertEqual(self.read("main@s/postmaster.pid"), "parent")

    def test_other_trees_are_copied_whole(self):
        self.write("main/postmaster.pid", "not a cluster")
        self.branch_done("create", "copy", "--from", "main")
        self.assertEqual(self.read("copy/postmaster.pid"), "not a cluster")

    def test_many_at_once(self):
        """Eight clients make branches side by side: all are there, and each exactly once."""
        results = []

        def make(worker):
            for number in range(10):
                results.append(run(BRANCH, "--store", self.store, "create", f"w{worker}-{number}", "--from", "main"))

        workers = [threading.Thread(target=make, args=(worker,)) for worker in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.assertEqual([r.stderr for r in results if r.returncode != 0], [])
        self.assertEqual(len(self.branches()), 81)
        self.assertEqual(self.branches()["main"]["children"], 80)

    def test_one_name_is_given_once(self):
        results = []
        workers = [threading.Thread(target=lambda: results.append(self.branch("create", "same", "--from", "main")))
                   for _ in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.assertEqual(sorted(r.returncode for r in results), [0] + [FAILED] * 7)
        for result in results:
            if result.returncode:
                self.one_line(result, FAILED, "exists already")


if __name__ == "__main__":
    unittest.main()
