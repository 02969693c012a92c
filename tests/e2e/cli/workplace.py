"""A store and a mount in a directory of their own."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

BIN = os.environ.get("NEONFS_BIN", "")
NEONFS = os.path.join(BIN, "neonfs")
BRANCH = os.path.join(BIN, "neonfs-branch")
OK, FAILED, USAGE = 0, 1, 2


def run(*words, env=None, cwd=None, user=None, timeout=120):
    """Run a command with no terminal; returns the completed process with text output."""
    environment = {k: v for k, v in os.environ.items() if k != "NEONFS_STORE"}
    environment.update(env or {})
    extra = {"user": user, "group": user, "extra_groups": []} if user is not None else {}
    return subprocess.run(words, env=environment, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, errors="surrogateescape", timeout=timeout, **extra)


def is_mounted(path):
    with open("/proc/self/mountinfo") as table:
        return any(line.split(" ")[4] == path for line in table)


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def process_lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Workplace(unittest.TestCase):
    """setUp makes self.store and self.mountpoint; self.mount() mounts. Every test starts with its own."""

    mount_at_start = True

    def setUp(self):
        self.top = os.path.realpath(tempfile.mkdtemp(prefix="neonfs-cli-"))
        os.chmod(self.top, 0o755)
        self.store = os.path.join(self.top, "store")
        self.mountpoint = os.path.join(self.top, "mount")
        os.mkdir(self.mountpoint)
        self.addCleanup(self.clean_up)
        self.done(NEONFS, "init", self.store)
        if self.mount_at_start:
            self.mount()

    def clean_up(self):
        for path in self.mounts_below(self.top):
            if run(NEONFS, "umount", path).returncode != 0:
                run("umount", "-l", path)
        shutil.rmtree(self.top, ignore_errors=True)

    @staticmethod
    def mounts_below(top):
        with open("/proc/self/mountinfo") as table:
            points = [line.split(" ")[4] for line in table]
        return [point for point in reversed(points) if point.startswith(top + "/")]

    # ---- running commands

    def mount(self, *options):
        self.done(NEONFS, "mount", self.store, self.mountpoint, *options)

    def umount(self):
        self.done(NEONFS, "umount", self.mountpoint)

    def branch(self, *words, **how):
        return run(BRANCH, "--store", self.store, *words, **how)

    def done(self, *words, **how):
        """Run what must work; returns its output."""
        result = run(*words, **how)
        self.assertEqual(result.returncode, OK, f"{words} failed: {result.stderr}")
        return result.stdout

    def branch_done(self, *words, **how):
        return self.done(BRANCH, "--store", self.store, *words, **how)

    def branches(self):
        return {b["name"]: b for b in json.loads(self.branch_done("list", "--json"))}

    def status(self):
        return json.loads(self.done(NEONFS, "status", self.store, "--json"))

    def daemon_pid(self):
        return self.status()["mount"]["pid"]

    def kill_daemon(self):
        pid = self.daemon_pid()
        os.kill(pid, signal.SIGKILL)
        self.assertTrue(wait_for(lambda: not process_lives(pid)), "the killed daemon does not end")

    # ---- what a wrong input must do

    def one_line(self, result, code, *fragments):
        """The exit code, and one line on stderr that has all fragments."""
        self.assertEqual(result.returncode, code, f"{result.args}: {result.stderr}")
        lines = result.stderr.splitlines()
        self.assertEqual(len(lines), 1, f"{result.args} should say one line: {result.stderr!r}")
        self.assertEqual(result.stdout, "", f"{result.args} prints in spite of the error")
        program = os.path.basename(result.args[0])
        self.assertTrue(lines[0].startswith(program + ": "), lines[0])
        for fragment in fragments:
            self.assertIn(fragment, lines[0])

    def facts(self):
        """All that a refused command must leave as it is."""
        kept = ("name", "id", "parent", "parent_epoch", "epoch", "created_ns", "children", "snapshots", "protected")
        return {name: {key: branch[key] for key in kept} for name, branch in self.branches().items()}

    def refused(self, words, code, *fragments, **how):
        """neonfs-branch WORDS is refused and changes nothing."""
        before = self.facts()
        self.one_line(self.branch(*words, **how), code, *fragments)
        self.assertEqual(self.facts(), before, f"{words} was refused and changed something")

    # ---- files

    def path(self, *names):
        return os.path.join(self.mountpoint, *names)

    def write(self, name, data, mode="w"):
        with open(self.path(name), mode) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def read(self, name):
        with open(self.path(name)) as file:
            return file.read()
