"""cmake --install: programs and man pages, where they belong; and what the man pages say is what the programs know."""
import os
import re
import shutil
import tempfile
import unittest

from workplace import BIN, OK, run

BUILD = os.path.dirname(BIN)
PROGRAMS = ("neonfs", "neonfs-branch", "neonfs-wal", "neonfs-nbd")
PLUGIN = "nbdkit-neonfs-plugin.so"


class Install(unittest.TestCase):
    def setUp(self):
        self.prefix = tempfile.mkdtemp(prefix="neonfs-install-")
        self.addCleanup(shutil.rmtree, self.prefix)
        result = run("cmake", "--install", BUILD, "--prefix", self.prefix)
        self.assertEqual(result.returncode, OK, result.stderr)

    def page(self, program):
        with open(os.path.join(self.prefix, "share", "man", "man1", program + ".1"), encoding="utf-8") as file:
            return file.read()

    def test_programs_run_from_where_they_are_installed(self):
        for program in PROGRAMS:
            result = run(os.path.join(self.prefix, "bin", program), "--version")
            self.assertEqual(result.returncode, OK, result.stderr)
            self.assertEqual(result.stdout, run(os.path.join(BIN, program), "--version").stdout)

    def test_nothing_else_is_installed(self):
        found = {os.path.relpath(os.path.join(path, name), self.prefix) for path, _, names in os.walk(self.prefix) for name in names}
        plugin = next((name for name in found if name.startswith("lib") and name.endswith("/nbdkit/plugins/" + PLUGIN)), None)
        self.assertIsNotNone(plugin, found)
        self.assertEqual(found - {plugin}, {f"bin/{p}" for p in PROGRAMS} | {f"share/man/man1/{p}.1" for p in PROGRAMS})

    def test_man_pages_have_every_command_and_its_options(self):
        for program in PROGRAMS:
            page = self.page(program).replace("\\-", "-")
            overview = run(os.path.join(BIN, program), "--help").stdout
            commands = re.findall(r"(?m)^  ([a-z][a-z-]+) {2,}\S", overview)
            self.assertGreater(len(commands), 3, overview)
            for command in commands:
                self.assertRegex(page, rf"(?m)^\.Cm {command}\b|\.It Cm {command}\b|, {command}\b", f"{program}.1 does not know {command}")
                options = re.findall(r"(?m)^ +(?:-\w, )?--([a-z-]+)", run(os.path.join(BIN, program), command, "--help").stdout)
                for option in set(options) - {"help", "version", "store"}:
                    self.assertIn(f"Fl -{option}", page, f"{program}.1 does not know --{option} of {command}")


if __name__ == "__main__":
    unittest.main()
