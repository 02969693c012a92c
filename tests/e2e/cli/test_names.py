"""Names that cannot be one, that are unknown, and that are taken."""
import unittest

from workplace import FAILED, USAGE, Workplace

BAD = ["a/b", "a@b", "..", ".", ".hidden", "-dash", "a b", "tab\tname", "new\nline", "ünïcode", "a\\b", "semi;colon",
       "../escape", "/absolute", "*", "\x7f"]
TOO_LONG = ["x" * 64, "x" * 300]


class Names(Workplace):
    def setUp(self):
        super().setUp()
        self.branch_done("create", "main")
        self.branch_done("snapshot", "main@monday")

    def words(self, name):
        """Every command that takes a branch name, with `name` in its place."""
        return [["create", name], ["create", "new", "--from", name], ["show", name], ["log", name], ["snapshot", name],
                ["delete", name], ["rename", name, "other"], ["rename", "main", name], ["protect", name],
                ["unprotect", name], ["diff", name, "main"], ["diff", "main", name]]

    def test_impossible_names(self):
        for name in BAD:
            for words in self.words(name):
                if name == "a@b" and words[0] in ("snapshot", "diff", "delete") or "--from" in words and "@" in name:
                    continue  # there it is BRANCH@LABEL
                if name.startswith("-") and "--from" not in words:
                    words.insert(1, "--")
                self.refused(words, USAGE, "name")

    def test_empty_name(self):
        for words in self.words(""):
            self.refused(words, USAGE, "name is empty")

    def test_too_long_names(self):
        for name in TOO_LONG:
            for words in self.words(name):
                self.refused(words, USAGE, "too long", str(len(name)))

    def test_bytes_that_are_no_text(self):
        for words in self.words("a\udcffb"):
            self.refused(words, USAGE, "name", "\\xff")

    def test_impossible_labels(self):
        for label in ("a/b", "..", "", "x" * 64, "x" * 300, "a@b", "sp ace"):
            self.refused(["snapshot", "main@" + label], USAGE)
            # A restore point may be called so, and a/b is an LSN.
            self.refused(["create", "new", "--from", "main@" + label], FAILED if label else USAGE)
            self.refused(["delete", "main@" + label], USAGE)
        self.refused(["snapshot", "@label"], USAGE, "name is empty")
        self.refused(["create", "new", "--from", "x" * 300 + "@label"], USAGE, "too long")

    def test_longest_names_work(self):
        self.branch_done("create", "y" * 63, "--from", "main")
        self.branch_done("snapshot", "y" * 63 + "@" + "z" * 63)
        self.branch_done("create", "from-longest", "--from", "y" * 63 + "@" + "z" * 63)
        self.assertEqual(self.branches()["from-longest"]["parent"], "y" * 63)

    def test_unknown_branch(self):
        for words in self.words("mian"):
            if words not in (["create", "mian"], ["rename", "main", "mian"]):
                self.refused(words, FAILED, '"mian" does not exist', 'did you mean "main"?')
        self.refused(["create", "dev", "--from", "mian"], FAILED,
                     'create dev: parent "mian" does not exist (did you mean "main"?)')
        self.refused(["show", "zzzzzzzz"], FAILED, "neonfs-branch list")

    def test_unknown_snapshot(self):
        self.refused(["create", "dev", "--from", "main@mondya"], FAILED, 'has no snapshot and no restore point "mondya"',
                     'did you mean "monday"?')
        self.refused(["delete", "main@tuesday"], FAILED, 'has no snapshot "tuesday"')
        self.refused(["diff", "main@tuesday", "main"], FAILED, 'has no snapshot "tuesday"')
        self.refused(["snapshot", "mian@x"], FAILED, 'did you mean "main"?')

    def test_taken_names(self):
        self.branch_done("create", "dev", "--from", "main")
        self.refused(["create", "main"], FAILED, '"main" exists already')
        self.refused(["create", "main", "--from", "dev"], FAILED, '"main" exists already')
        self.refused(["rename", "dev", "main"], FAILED, '"main" exists already')
        self.refused(["snapshot", "main@monday"], FAILED, 'has a snapshot "monday" already')

    def test_points_without_history(self):
        for point in ("16/B374D848", "16-B374D848", "2026-11-24T01:34:00Z"):
            self.refused(["create", "x", "--from", "main@" + point], FAILED, "keeps no history", "neonfs-branch retain main")
            if "-B" not in point:
                self.refused(["snapshot", "main@" + point], USAGE, "label is wanted")


if __name__ == "__main__":
    unittest.main()
