"""log and diff."""
import json
import os
import unittest

from workplace import Workplace


class Log(Workplace):
    def test_log_follows_the_parents(self):
        self.branch_done("create", "main")
        self.branch_done("snapshot", "main@before")
        self.branch_done("create", "dev", "--from", "main")
        self.branch_done("snapshot", "main@after")
        self.branch_done("snapshot", "dev@mine")
        self.branch_done("create", "grandchild", "--from", "dev")
        self.branch_done("create", "sibling", "--from", "main")
        events = [(e["kind"], e["branch"], e["name"]) for e in json.loads(self.branch_done("log", "dev", "--json"))]
        self.assertEqual(events, [("branch", "dev", "grandchild"), ("snapshot", "dev", "mine"),
                                  ("created", "dev", "main"), ("snapshot", "main", "before"), ("created", "main", None)])
        lines = self.branch_done("log", "dev").splitlines()
        self.assertEqual(len(lines), 5)
        self.assertTrue(lines[1].endswith("snapshot  dev@mine"), lines[1])


class Diff(Workplace):
    def setUp(self):
        super().setUp()
        self.branch_done("create", "main")
        os.mkdir(self.path("main", "dir"))
        for name in ("same", "changed", "dir/removed", "mode"):
            self.write("main/" + name, name * 10000)
        self.branch_done("create", "dev", "--from", "main")

    def changes(self, a, b):
        result = json.loads(self.branch_done("diff", a, b, "--json"))
        return {c["path"].lstrip("/"): c["kind"] for c in result["changes"]}, result

    def test_no_difference(self):
        self.assertEqual(self.changes("main", "dev")[0], {})
        self.assertEqual(self.branch_done("diff", "main", "main"), "")

    def test_kinds(self):
        with open(self.path("dev", "changed"), "r+") as file:
            file.write("other")
            file.flush()
            os.fsync(file.fileno())
        os.unlink(self.path("dev", "dir", "removed"))
        os.chmod(self.path("dev", "mode"), 0o600)
        self.write("dev/dir/added", "x")
        found, result = self.changes("main", "dev")
        files = {path: kind for path, kind in found.items() if path not in ("", ".", "dir")}
        self.assertEqual(files, {"changed": "changed", "dir/removed": "removed", "mode": "meta", "dir/added": "added"})
        blocks = {c["path"].lstrip("/"): c["blocks"] for c in result["changes"]}
        self.assertEqual(blocks["changed"], 1)
        self.assertEqual((result["added"], result["removed"], result["changed"]), (1, 1, 1))

    def test_the_other_way_round(self):
        self.write("dev/added", "x")
        self.assertEqual(self.changes("dev", "main")[0].get("added"), "removed")

    def test_against_a_snapshot(self):
        self.branch_done("snapshot", "main@then")
        self.write("main/new", "x")
        self.assertEqual(self.changes("main@then", "main")[0].get("new"), "added")

    def test_names_that_are_no_text(self):
        for name in (b"new\nline", b"\xff\xfe"):
            with open(os.path.join(os.fsencode(self.path("dev")), name), "w"):
                pass
        text = self.branch_done("diff", "main", "dev")
        self.assertIn("new\\x0aline", text)
        self.assertIn("\\xff\\xfe", text)
        self.assertEqual(len([line for line in text.splitlines() if line.startswith("added")]), 2)


if __name__ == "__main__":
    unittest.main()
