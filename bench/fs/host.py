"""The machine: running commands, dropping caches, reading /proc, and undoing everything at the end."""

import os
import shutil
import signal
import subprocess
import sys
import time


class Failure(Exception):
    """Something outside went wrong; the text says what, in one line."""


def say(text):
    print(time.strftime("%H:%M:%S ") + text, file=sys.stderr, flush=True)


def run(argv, user=None, timeout=None, check=True):
    """Run a command, as `user` when given (and we are root); its output as text. Failure when it fails."""
    who = {}
    if user and os.geteuid() == 0:
        who = {"user": user, "group": user, "extra_groups": []}
    environment = dict(os.environ, LC_ALL="C", PGCONNECT_TIMEOUT="30")
    if user:
        environment["HOME"] = "/"
    try:
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=timeout,
                              stdin=subprocess.DEVNULL, cwd="/", env=environment, **who)
    except FileNotFoundError:
        raise Failure(f"{argv[0]} is not installed; run tools/install-deps")
    except subprocess.TimeoutExpired:
        raise Failure(f"{' '.join(map(str, argv))}: no answer after {timeout} s")
    if check and done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise Failure(f"{' '.join(map(str, argv))}: exit status {done.returncode}: {' / '.join(lines)}")
    return done.stdout


def start(argv, user=None, log=None):
    """Start a command in the background; the caller waits for it."""
    who = {}
    if user and os.geteuid() == 0:
        who = {"user": user, "group": user, "extra_groups": []}
    return subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log or subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, cwd="/",
                            env=dict(os.environ, LC_ALL="C", HOME="/"), **who)


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3\n")


def disk_bytes(path):
    """What `path` takes on disk (du): allocated blocks, hard links once."""
    return int(run(["du", "-s", "-B1", path]).split()[0])


def apparent_bytes(path):
    return int(run(["du", "-s", "-B1", "--apparent-size", path]).split()[0])


def process_memory(pid):
    """What a process has resident now, in bytes."""
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise Failure(f"process {pid} has ended")


def filesystem_of(path):
    return run(["stat", "-f", "-c", "%T", path]).strip()


def retry(action, seconds, what):
    """Call `action` until it does not raise Failure, for `seconds` at most."""
    until = time.monotonic() + seconds
    while True:
        try:
            return action()
        except Failure as failure:
            if time.monotonic() >= until:
                raise Failure(f"{what}: {failure}")
            time.sleep(0.2)


class Cleanup:
    """Undo steps, run last first; one that fails is reported and does not keep the others from running."""

    def __init__(self):
        self._steps = []

    def add(self, what, action):
        self._steps.append((what, action))
        return (what, action)

    def done(self, step):
        """The step has been taken by hand."""
        if step in self._steps:
            self._steps.remove(step)

    def run(self):
        """Not to be interrupted: a second Ctrl-C would leave mounts and devices behind."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
        while self._steps:
            what, action = self._steps.pop()
            try:
                action()
            except Exception as error:  # whatever it is, the remaining steps matter more
                say(f"cleaning up: {what}: {error}")
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)


def mounts_below(path):
    with open("/proc/self/mountinfo") as f:
        points = [line.split()[4].replace("\\040", " ") for line in f]
    return sorted({point for point in points if point == path or point.startswith(path + "/")})


def remove_tree(path):
    mounted = mounts_below(path)
    if mounted:
        raise Failure(f"{', '.join(mounted)} is still mounted; {path} is left alone")
    shutil.rmtree(path)
