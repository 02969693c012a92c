"""One temporary directory and everything a test starts or mounts, all gone at its end, however it ends."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
MNT_DETACH = 2


class TestFailure(Exception):
    """Something the test checks does not hold."""


class Skip(Exception):
    """The test cannot run here; the message says why."""


def say(text):
    print(f'{time.strftime("%H:%M:%S")} {text}', flush=True)


@contextlib.contextmanager
def step(what):
    """Name a step that takes long: nothing here should."""
    began = time.monotonic()
    try:
        yield
    finally:
        if time.monotonic() - began > 10:
            say(f'slow: {what} took {time.monotonic() - began:.1f} s')


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def mounted(path):
    path = os.path.realpath(path)
    with open('/proc/self/mountinfo', encoding='utf-8', errors='surrogateescape') as f:
        return any(line.split()[4].replace('\\040', ' ') == path for line in f)


def detach(path):
    """Unmount lazily whatever stands there, as often as something does."""
    for _ in range(8):
        if not mounted(path):
            return
        LIBC.umount2(os.fsencode(path), MNT_DETACH)


def descendants(pid):
    """The pids of all live descendants of a process, children before grandchildren."""
    children = {}
    for name in os.listdir('/proc'):
        if not name.isdigit():
            continue
        try:
            with open(f'/proc/{name}/stat', encoding='utf-8', errors='replace') as f:
                fields = f.read().rsplit(')', 1)[1].split()
        except (OSError, IndexError):
            continue
        children.setdefault(int(fields[1]), []).append(int(name))
    found, queue = [], [pid]
    while queue:
        for child in children.get(queue.pop(0), []):
            found.append(child)
            queue.append(child)
    return found


def kill_tree(process, how=signal.SIGKILL):
    """Kill a child and all below it; reap the child."""
    pids = descendants(process.pid) if process.poll() is None else []
    for pid in [process.pid] * (process.poll() is None) + pids:
        try:
            os.kill(pid, how)
        except ProcessLookupError:
            pass
    try:
        process.wait(30)
    except subprocess.TimeoutExpired as e:
        raise TestFailure(f'process {process.pid} ({process.args[0]}) does not die from SIGKILL within 30 s') from e
    for pid in pids:
        wait_until(lambda p=pid: not alive(p), 30, f'the end of process {pid}')


def alive(pid):
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8', errors='replace') as f:
            return f.read().rsplit(')', 1)[1].split()[0] not in 'ZX'
    except OSError:
        return False


def wait_until(condition, timeout_s, what, pause_s=0.02):
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TestFailure(f'waited {timeout_s} s for {what}')
        time.sleep(pause_s)


def run(*command, check=True, timeout_s=300, **options):
    """Run to the end; stdout and stderr are kept apart as text. A failure shows both."""
    result = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            errors='replace', timeout=timeout_s, **options)
    if check and result.returncode != 0:
        raise TestFailure(f'{" ".join(map(str, command))}: exit status {result.returncode}\n'
                          f'{result.stdout[-4000:]}{result.stderr[-4000:]}')
    return result


class Workplace:
    """Context manager. `path` is the temporary directory; `logs` collects logs, whose ends are shown on failure."""

    def __init__(self, name, keep=False):
        self.name = name
        self.keep = keep
        base = os.environ.get('NEONFS_TEST_DIR') or tempfile.gettempdir()
        self.path = tempfile.mkdtemp(prefix=f'neonfs-{name}.', dir=base)
        os.chmod(self.path, 0o755)
        self.logs = os.path.join(self.path, 'logs')
        os.mkdir(self.logs)
        self.undo = []
        self.bin_dir = os.environ.get('NEONFS_BIN_DIR')

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, self._interrupted)
        return self

    @staticmethod
    def _interrupted(number, _frame):
        raise TestFailure(f'interrupted by signal {number}')

    def dir(self, name, mode=0o755):
        path = os.path.join(self.path, name)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        return path

    def log(self, name):
        return os.path.join(self.logs, name)

    def program(self, name):
        """A program of the build."""
        if not self.bin_dir:
            raise Skip('NEONFS_BIN_DIR is not set: it names the bin directory of a build')
        path = os.path.join(self.bin_dir, name)
        if not os.access(path, os.X_OK):
            raise Skip(f'{path} is not there: build it first')
        return path

    def at_end(self, function, *args):
        """Run at the end, last registered first."""
        self.undo.append((function, args))

    def popen(self, command, log, **options):
        """Start a child that is killed at the end, or when this process dies."""
        with open(self.log(log), 'ab') as out:
            options.setdefault('stdout', out)
            process = subprocess.Popen([str(c) for c in command], stderr=out, preexec_fn=die_with_parent, **options)
        self.at_end(kill_tree, process)
        return process

    def mount_at_end(self, path):
        self.at_end(detach, path)

    def show_logs(self):
        for name in sorted(os.listdir(self.logs)):
            with open(os.path.join(self.logs, name), encoding='utf-8', errors='replace') as f:
                lines = f.readlines()
            if lines:
                print(f'--- {name}, the last of {len(lines)} lines')
                print(''.join(lines[-40:]), end='')

    def __exit__(self, kind, error, trace):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if kind not in (None, Skip):
            self.at_end(self.show_logs)
        while self.undo:
            function, args = self.undo.pop()
            try:
                function(*args)
            except BrokenPipeError:
                pass
            except Exception as e:  # pylint: disable=broad-except
                print(f'cleaning up: {e}', file=sys.stderr)
        if self.keep and kind:
            say(f'kept: {self.path}')
        else:
            shutil.rmtree(self.path, ignore_errors=True)
        return False


def main_wrapper(main):
    """Run a test's main: exit status 0, 1 with one line why, or 77 when it cannot run here."""
    try:
        main()
    except Skip as e:
        print(f'skipped: {e}')
        sys.exit(77)
    except TestFailure as e:
        print(f'FAILED: {e}')
        sys.exit(1)
