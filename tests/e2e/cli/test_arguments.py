"""Options, words and help, before any store is looked at."""
import subprocess
import unittest

from workplace import BRANCH, FAILED, NEONFS, OK, USAGE, Workplace, run

COMMANDS = {
    NEONFS: ["init", "mount", "umount", "status", "set", "scrub", "gc", "object-store", "attach", "flush"],
    BRANCH: ["init", "create", "list", "tree", "show", "log", "snapshot", "delete", "rename", "protect", "unprotect",
             "diff", "detach", "restore", "reset", "recover", "point", "retain"],
}
LATER = {
    BRANCH: [["expire", "a", "2d"], ["create", "a", "--ttl", "2d"]],
}


class Arguments(Workplace):
    mount_at_start = False

    def test_help_teaches_every_command(self):
        for program, commands in COMMANDS.items():
            overview = self.done(program, "--help")
            for command in commands:
                self.assertIn(f"  {command} ", overview)
                text = self.done(program, command, "--help")
                self.assertIn(f"{command}", text.splitlines()[0])
                self.assertIn("Example", text, f"{program} {command} shows no example")

    def test_version(self):
        for program in COMMANDS:
            self.assertRegex(self.done(program, "--version"), r"^neonfs(-branch)? \d+\.\d+\.\d+\n$")

    def test_later_work_is_refused_and_not_in_help(self):
        for program, calls in LATER.items():
            for words in calls:
                self.one_line(run(program, *words), USAGE, "not known in this version")
                self.assertNotIn(f"  {words[0]} ", self.done(program, "--help")
                                 if words[0] not in COMMANDS[program] else "")
        self.assertNotIn("--ttl", self.done(BRANCH, "create", "--help"))

    def test_unknown_command(self):
        self.one_line(run(BRANCH, "craete"), USAGE, 'did you mean "create"?')
        self.one_line(run(NEONFS, "mout", "a", "b"), USAGE, 'did you mean "mount"?')
        self.one_line(run(NEONFS, "frobnicate"), USAGE, "--help")
        self.one_line(run(NEONFS), USAGE, "a command is missing")

    def test_unknown_option(self):
        self.one_line(run(BRANCH, "create", "x", "--form", "y"), USAGE, 'did you mean "--from"?')
        self.one_line(run(NEONFS, "mount", "a", "b", "-z"), USAGE, '"-z"')
        self.one_line(run(BRANCH, "list", "--json=1"), USAGE, "takes no value")
        self.one_line(run(BRANCH, "create", "x", "--from"), USAGE, "needs a value")

    def test_count_of_words(self):
        self.one_line(run(BRANCH, "create"), USAGE, "NAME is missing")
        self.one_line(run(BRANCH, "create", "a", "b"), USAGE, "one word too many")
        self.one_line(run(BRANCH, "rename", "a"), USAGE, "NEW is missing")
        self.one_line(run(NEONFS, "mount", "a"), USAGE, "MOUNTPOINT is missing")
        self.one_line(run(BRANCH, "list", "x"), USAGE, "one word too many")

    def test_values(self):
        for words in (["--cache=sideways"], ["--transport", "pigeon"], ["--threads", "0"], ["--threads", "many"],
                      ["--drain-memory", "lots"], ["--drain-memory", "64K"], ["--drain-rate", "fast"], ["--memory-limit", "lots"], ["--memory-limit", "1M"], ["--memory-limit", "99999999999999999999"]):
            self.one_line(run(NEONFS, "mount", self.store, self.mountpoint, *words), USAGE, words[0].split("=")[0])
        for limit in ("", "-1", "10X", "1M", "1e9", "1.5"):
            self.one_line(run(NEONFS, "init", self.top + "/new", "--size-limit", limit), USAGE, "--size-limit")
            self.one_line(run(NEONFS, "set", self.store, "--size-limit", limit), USAGE, "--size-limit")
        self.one_line(run(NEONFS, "set", self.store), USAGE, "--size-limit BYTES")
        self.one_line(run(NEONFS, "set", self.top + "/none", "--size-limit", "1G"), FAILED, "no store")

    def test_which_store(self):
        self.one_line(run(BRANCH, "list"), USAGE, "--store", "NEONFS_STORE")
        self.one_line(run(BRANCH, "--store", self.top + "/none", "list"), FAILED, "there is no store", "neonfs init")
        self.one_line(run(BRANCH, "--store", "", "list"), FAILED, "there is no store")
        self.one_line(run(BRANCH, "--store", self.store, "list"), FAILED, "is not mounted", "neonfs mount")
        self.one_line(run(BRANCH, "list", env={"NEONFS_STORE": self.store}), FAILED, "is not mounted")

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "w") as full:
            result = subprocess.run([NEONFS, "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(result.returncode, FAILED)
        self.assertIn("cannot write the output", result.stderr)


class StoreOfDirectory(Workplace):
    def test_store_is_found_from_the_directory(self):
        self.branch_done("create", "main")
        self.assertIn("main", self.done(BRANCH, "list", cwd=self.path("main")))
        self.assertIn("main", self.done(BRANCH, "list", cwd=self.mountpoint))

    def test_store_from_the_environment_and_the_option_wins(self):
        self.done(BRANCH, "create", "main", env={"NEONFS_STORE": self.store})
        self.assertIn("main", self.done(BRANCH, "list", "--store", self.store, env={"NEONFS_STORE": "/nonexistent"}))
        self.assertEqual(run(BRANCH, "list", env={"NEONFS_STORE": self.store}).returncode, OK)


if __name__ == "__main__":
    unittest.main()
