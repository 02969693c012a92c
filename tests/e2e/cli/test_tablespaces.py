"""Branches of data directories with tablespaces outside: a copy would have the same files."""
import json
import os
import unittest

from workplace import FAILED, USAGE, Workplace


class Tablespaces(Workplace):
    def setUp(self):
        super().setUp()
        self.outside = os.path.join(self.top, "space")
        os.mkdir(self.outside)
        self.branch_done("create", "main")
        os.makedirs(self.path("main", "pg_tblspc"))
        self.write("main/PG_VERSION", "15\n")
        self.branch_done("create", "dev", "--from", "main")
        self.branch_done("snapshot", "main@before")

    def link(self, target):
        os.symlink(target, self.path("main", "pg_tblspc", "16385"))

    def test_create_is_refused(self):
        self.link(self.outside)
        self.branch_done("snapshot", "main@after")
        said = ("tablespace 16385 ", f'"{self.outside}"', "pg_default", "allow_in_place_tablespaces", "--share-tablespaces")
        self.refused(["create", "x", "--from", "main"], FAILED, *said)
        self.refused(["create", "x", "--from", "main@after"], FAILED, *said)
        self.assertFalse(os.path.exists(self.path("x")))
        self.branch_done("create", "x", "--from", "main@before")
        os.unlink(self.path("main", "pg_tblspc", "16385"))
        self.branch_done("create", "y", "--from", "main")
        self.refused(["create", "z", "--from", "main@after"], FAILED, *said)

    def test_share_tablespaces(self):
        self.link(self.outside)
        self.branch_done("snapshot", "main@after")
        for name, parent in (("x", "main"), ("y", "main@after")):
            made = json.loads(self.branch_done("create", name, "--from", parent, "--share-tablespaces", "--json"))
            self.assertEqual(made["name"], name)
            self.assertEqual(os.readlink(self.path(name, "pg_tblspc", "16385")), self.outside)
        self.branch_done("create", "z", "--from", "main@before", "--share-tablespaces")
        self.refused(["create", "new", "--share-tablespaces"], USAGE, "want --from")
        self.refused(["create", "new", "--from", "main", "--share-tablespaces", "--recovery=instant"], USAGE, "--share-tablespaces is for")

    def test_reset_is_refused(self):
        self.write("dev/own", "of dev")
        self.link(self.outside)
        self.refused(["reset", "dev"], FAILED, "tablespace 16385 ", f'"{self.outside}"')
        self.assertEqual(self.read("dev/own"), "of dev")
        os.unlink(self.path("main", "pg_tblspc", "16385"))
        self.branch_done("reset", "dev")
        self.assertFalse(os.path.exists(self.path("dev", "own")))

    def test_restore_is_refused(self):
        self.link(self.outside)
        self.branch_done("snapshot", "main@after")
        self.refused(["restore", "main", "--to", "after"], FAILED, "tablespace 16385 ", f'"{self.outside}"')
        os.unlink(self.path("main", "pg_tblspc", "16385"))
        self.refused(["restore", "main", "--to", "after"], FAILED, "tablespace 16385 ")
        self.branch_done("restore", "main", "--to", "before")

    def test_inside_is_no_matter(self):
        """In-place tablespaces, and links that stay in the branch."""
        os.makedirs(self.path("main", "pg_tblspc", "16386"))
        os.makedirs(self.path("main", "spaces", "one"))
        for target in ("../spaces/one", ".././spaces//one/", "16386"):
            self.link(target)
            self.branch_done("create", "x", "--from", "main")
            self.branch_done("delete", "x")
            os.unlink(self.path("main", "pg_tblspc", "16385"))

    def test_links_that_may_lead_out(self):
        os.makedirs(self.path("main", "spaces"))
        os.symlink(self.outside, self.path("main", "spaces", "one"))
        for target in ("../../dev", "../spaces/../../../space", "../spaces/one", "../nothing", self.path("main", "spaces"), "x" * 300):
            self.link(target)
            self.refused(["create", "x", "--from", "main"], FAILED, "tablespace 16385 ", target[:200])
            os.unlink(self.path("main", "pg_tblspc", "16385"))

    def test_other_trees_are_copied_whole(self):
        self.link(self.outside)
        os.unlink(self.path("main", "PG_VERSION"))
        self.branch_done("create", "x", "--from", "main")
        self.assertEqual(os.readlink(self.path("x", "pg_tblspc", "16385")), self.outside)


if __name__ == "__main__":
    unittest.main()
