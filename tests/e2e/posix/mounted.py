"""A neonfs mount for tests: a store of its own, or one that is mounted already.

Environment:
  NEONFS_BIN     directory of the programs neonfs and neonfs-branch
  NEONFS_CACHE   back (default) or through
  NEONFS_TEST_DIR  where stores and mount points are made (default /var/tmp: a disk, not memory)
  NEONFS_MOUNTED use this mount, which has the branches main and other, instead of making one;
                 tests that mount again are skipped
"""
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

CACHE = os.environ.get("NEONFS_CACHE", "back")
NOBODY = 65534
BLOCK = 8192
START_TIMEOUT_S = 30
SIZE_LIMIT = 4 << 30

libc = ctypes.CDLL(None, use_errno=True)

RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_COLLAPSE, FALLOC_ZERO, FALLOC_INSERT = 1, 2, 8, 16, 32


def check(result, path=None):
    """The result of a libc call, or OSError."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result


def renameat2(old, new, flags):
    check(libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags), old)


def linkat_follow(old, new):
    at_fdcwd, at_symlink_follow = -100, 0x400
    check(libc.linkat(at_fdcwd, os.fsencode(old), at_fdcwd, os.fsencode(new), at_symlink_follow), old)


def fallocate(fd, mode, offset, size):
    check(libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(size)))


def write_file(path, data, flags=0):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flags, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
    finally:
        os.close(fd)


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


def pattern(size, seed=1):
    """Bytes that differ from block to block and from seed to seed."""
    unit = b"".join((seed * 1000003 + i).to_bytes(8, "little") for i in range((min(size, 1 << 20) + 7) // 8))
    return (unit * (size // max(len(unit), 1) + 1))[:size]


class Mount:
    """A store and its mount. Nothing of it is left after close()."""

    def __init__(self):
        self.borrowed = os.environ.get("NEONFS_MOUNTED")
        if self.borrowed:
            self.path = self.borrowed
            return
        self.bin = os.environ["NEONFS_BIN"]
        self.dir = tempfile.mkdtemp(prefix="neonfs-posix-", dir=os.environ.get("NEONFS_TEST_DIR", "/var/tmp"))
        self.store = os.path.join(self.dir, "store")
        self.path = os.path.join(self.dir, "mnt")
        os.chmod(self.dir, 0o755)
        os.mkdir(self.path)
        self.daemon = None
        try:
            # With a limit, free space is the store's own matter and not that of the disk's other users.
            self.run("neonfs", "init", self.store, "--size-limit", str(SIZE_LIMIT))
            self.start()
            self.branch("create", "main")
            self.branch("create", "other")
        except BaseException:
            self.close()
            raise

    def run(self, program, *args):
        done = subprocess.run([os.path.join(self.bin, program), *args], capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise RuntimeError(f"{program} {' '.join(args)}: exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def branch(self, *args):
        return self.run("neonfs-branch", "--store", self.store, *args)

    def start(self):
        log = open(os.path.join(self.dir, "log"), "ab")
        self.daemon = subprocess.Popen(
            [os.path.join(self.bin, "neonfs"), "mount", self.store, self.path, "-f", f"--cache={CACHE}"],
            stdout=log, stderr=log, start_new_session=True)
        log.close()
        end = time.monotonic() + START_TIMEOUT_S
        while not os.path.ismount(self.path):
            if self.daemon.poll() is not None or time.monotonic() > end:
                raise RuntimeError("neonfs mount did not come up:\n" + self.log())
            time.sleep(0.02)

    def stop(self):
        self.run("neonfs", "umount", self.path)
        if self.daemon.wait(timeout=60) != 0:
            raise RuntimeError(f"the daemon ended with {self.daemon.returncode}:\n" + self.log())
        self.daemon = None

    def remount(self):
        self.stop()
        self.start()

    def log(self):
        with open(os.path.join(self.dir, "log"), errors="replace") as file:
            return file.read()[-4000:]

    def close(self):
        if self.borrowed:
            return
        try:
            if self.daemon is not None and self.daemon.poll() is None:
                self.stop()
        finally:
            if self.daemon is not None and self.daemon.poll() is None:
                self.daemon.send_signal(signal.SIGKILL)
                self.daemon.wait()
                libc.umount2(os.fsencode(self.path), 2)
            shutil.rmtree(self.dir)


class MountedTest(unittest.TestCase):
    """Each test has an empty directory `self.dir` on branch main, and `self.other` on branch other, for all users."""

    mount = None

    @classmethod
    def setUpClass(cls):
        cls.mount = Mount()
        os.umask(0o022)
        for name in ("main", "other"):
            os.chmod(os.path.join(cls.mount.path, name), 0o755)

    @classmethod
    def tearDownClass(cls):
        cls.mount.close()

    def setUp(self):
        self.main = os.path.join(self.mount.path, "main")
        self.dir = os.path.join(self.main, self.id().split(".")[-1])
        self.other = os.path.join(self.mount.path, "other", self.id().split(".")[-1])
        for path in (self.dir, self.other):
            os.mkdir(path)

    def tearDown(self):
        self.close_leftovers()
        for path in (self.dir, self.other):
            shutil.rmtree(path)

    def close_leftovers(self):
        """A test that failed left its files open, and the mount in use."""
        for fd in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{fd}").startswith(self.mount.path):
                    os.close(int(fd))
            except OSError:  # the listing's own descriptor
                pass

    def at(self, *names):
        return os.path.join(self.dir, *names)

    def make(self, name, data=b"", mode=0o644):
        write_file(self.at(name), data)
        os.chmod(self.at(name), mode)
        return self.at(name)

    def assertErrno(self, number, call, *args, **kwargs):
        with self.assertRaises(OSError) as caught:
            call(*args, **kwargs)
        self.assertEqual(os.strerror(caught.exception.errno), os.strerror(number))

    def own_store(self):
        if self.mount.borrowed:
            self.skipTest("needs a store of its own")

    def as_user(self, call, uid=NOBODY, gid=NOBODY, groups=()):
        """Run `call` in a child as that user; its exception comes back as the test's failure."""
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(read_end)
                os.setgroups(list(groups))
                os.setresgid(gid, gid, gid)
                os.setresuid(uid, uid, uid)
                call()
                status = 0
            except BaseException:  # the parent reports it
                os.write(write_end, traceback.format_exc().encode()[-60000:])
            finally:
                os._exit(status)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            text = pipe.read().decode()
        _, status = os.waitpid(child, 0)
        self.assertEqual(status, 0, "as user %d:\n%s" % (uid, text))


def main():
    """Run the calling module's tests; exit 77 where a mount cannot be made."""
    if not os.environ.get("NEONFS_MOUNTED"):
        if os.geteuid() != 0:
            print("SKIP: needs root to mount with every permission in play")
            sys.exit(77)
        if not os.path.exists("/dev/fuse"):
            print("SKIP: no /dev/fuse here")
            sys.exit(77)
        if "NEONFS_BIN" not in os.environ:
            sys.exit("set NEONFS_BIN to the directory of neonfs and neonfs-branch")
    unittest.main(verbosity=2)
