"""What the tests of volumes share: a store with a branch of volumes, nbdkit with our plugin, loop devices, file systems on them."""

import os
import signal
import socket
import subprocess
import sys
import time

try:
    import nbd
except ImportError:
    nbd = None      # then `require` says so

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'crash'))
from harness.mount import NeonfsMount  # noqa: E402
from harness.workplace import Skip, TestFailure, kill_tree, mounted, run, wait_until  # noqa: E402

BRANCH = 'disks'


def require(*programs):
    if os.geteuid() != 0:
        raise Skip('needs root: it mounts file systems')
    for program in programs:
        if subprocess.run(['sh', '-c', f'command -v {program}'], stdout=subprocess.DEVNULL, check=False).returncode != 0:
            raise Skip(f'{program} is not there: run tools/install-deps')
    if nbd is None:
        raise Skip('the Python module nbd is not there: run tools/install-deps')


class Disks(NeonfsMount):
    """A store whose branch `disks` holds the volumes."""

    def create_branch(self):
        self.branch('create', BRANCH)

    def path(self, volume, branch=BRANCH):
        return os.path.join(self.mountpoint, branch, volume)

    def create_volume(self, name, size):
        with open(self.path(name), 'xb') as f:
            f.truncate(size)
            os.fsync(f.fileno())
        folder = os.open(os.path.dirname(self.path(name)), os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def unmount(path):
    """Somebody may look at it for a moment."""
    wait_until(lambda: run('umount', path, check=False).returncode == 0 or not mounted(path), 60, f'umount of {path}')


def listens(path):
    """The name is there a moment before connections are taken."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
        except OSError:
            return False
    return True


class Nbdkit:
    """nbdkit serving one volume on a Unix socket."""

    def __init__(self, place, mount, volume, branch=BRANCH):
        self.place = place
        self.store = mount.store
        branch, _, point = branch.partition('@')
        self.name = f'{branch}/{volume}' + (f'@{point}' if point else '')
        self.log = f'nbdkit-{branch}-{volume}{point}.log'
        self.socket = os.path.join(place.path, f'{branch}-{volume}{point}.sock')
        self.uri = f'nbd+unix:///?socket={self.socket}'
        self.process = None
        self.reader = None

    def _start_once(self):
        """False: it ended, having said why."""
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        self.process = self.place.popen(['nbdkit', '-f', '-t', '16', '-U', self.socket, self.place.program('nbdkit-neonfs-plugin.so'),
                                         f'store={self.store}', f'file={self.name}'], self.log)
        wait_until(lambda: self.process.poll() is not None or listens(self.socket), 60, f'nbdkit to serve {self.name}')
        return self.process.poll() is None

    def start(self):
        """The daemon may need a moment to see that a killed one is gone, and the kernel one to tell that a program closed the file."""
        deadline = time.monotonic() + 20
        while not self._start_once():
            if time.monotonic() > deadline:
                raise TestFailure(f'nbdkit ended with {self.process.returncode} before it served {self.name}')
            time.sleep(0.1)

    def connect(self):
        client = nbd.NBD()
        client.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        client.connect_unix(self.socket)
        return client

    def read(self, offset, size):
        """For proofs: with one connection, until it or nbdkit ends."""
        if self.reader is None:
            self.reader = self.connect()
        return self.reader.pread(size, offset)

    def fell_over_a_client(self):
        """A fault of nbdkit 1.32: it asserts in raw_send_socket when a client went while it was answered."""
        if self.process.poll() is None:
            return False
        with open(self.place.log(self.log), encoding='utf-8', errors='replace') as f:
            if self.process.returncode == -signal.SIGABRT and 'raw_send_socket: Assertion' in f.read():
                return True
        raise TestFailure(f'nbdkit ended with {self.process.returncode}')

    def kill(self):
        kill_tree(self.process)
        self.reader = None

    def stop(self):
        """In order; nbdkit waits until its clients are gone."""
        self.reader = None
        self.process.terminate()
        if self.process.wait(60) != 0:
            raise TestFailure(f'nbdkit ended with {self.process.returncode}')


class NbdFile:
    """nbdfuse: an NBD server as a file, for a loop device; a flush of the device is one of the server."""

    def __init__(self, place, name, uri):
        self.place = place
        self.uri = uri
        self.folder = place.dir(f'{name}.nbdfuse')
        self.path = os.path.join(self.folder, 'volume')
        self.log = f'{name}.nbdfuse.log'
        self.process = None

    def start(self):
        self.process = self.place.popen(['nbdfuse', self.path, self.uri], self.log)
        self.place.mount_at_end(self.folder)

        def ready():
            if self.process.poll() is not None:
                raise TestFailure(f'nbdfuse ended with {self.process.returncode}')
            return mounted(self.folder) and os.path.exists(self.path)
        wait_until(ready, 60, 'the mount of nbdfuse')

    def stop(self):
        unmount(self.folder)
        self.process.wait(60)


class Overlay:
    """A qcow2 image over an NBD server that it only reads, served by qemu-nbd."""

    def __init__(self, place, name, base_uri):
        self.place = place
        self.base_uri = base_uri
        self.image = os.path.join(place.path, f'{name}.qcow2')
        self.socket = os.path.join(place.path, f'{name}.qemu.sock')
        self.uri = f'nbd+unix:///?socket={self.socket}'
        self.log = f'{name}.qemu-nbd.log'
        self.process = None

    def start(self):
        run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', self.base_uri, '-F', 'raw', self.image)
        self.process = self.place.popen(['qemu-nbd', '--persistent', '--shared=4', '-f', 'qcow2', '-k', self.socket, self.image], self.log)
        wait_until(lambda: self.process.poll() is not None or listens(self.socket), 60, 'qemu-nbd')
        if self.process.poll() is not None:
            raise TestFailure(f'qemu-nbd ended with {self.process.returncode}')

    def stop(self):
        self.process.terminate()
        if self.process.wait(60) != 0:
            raise TestFailure(f'qemu-nbd ended with {self.process.returncode}')


class FileSystem:
    """A file system on a loop device over a file."""

    MKFS = {'ext4': ['mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0'], 'xfs': ['mkfs.xfs', '-q', '-f']}
    CHECK = {'ext4': ['e2fsck', '-f', '-n'], 'xfs': ['xfs_repair', '-n']}

    def __init__(self, place, kind, name):
        self.place = place
        self.kind = kind
        self.mountpoint = place.dir(name)
        self.device = self.file = None
        place.at_end(self.detach)
        place.mount_at_end(self.mountpoint)

    def attach(self, path, direct=False):
        self.file = path
        self.device = run('losetup', '--find', '--show', f'--direct-io={"on" if direct else "off"}', path).stdout.strip()

    def make(self):
        run(*self.MKFS[self.kind], self.device, timeout_s=300)

    def mount(self):
        # A branch's file system has the identity of its parent's, and both are mounted.
        options = ['-o', 'nouuid'] if self.kind == 'xfs' else []
        run('mount', '-t', self.kind, *options, self.device, self.mountpoint)

    def unmount(self):
        unmount(self.mountpoint)

    def detach(self):
        """Once: after that the device is anybody's. It goes with the last who has it open, which may be a program that looks at all devices."""
        device, self.device = self.device, None
        if device is not None:
            run('losetup', '-d', device, check=False)
            wait_until(lambda: self.file not in run('losetup', '-n', '-O', 'BACK-FILE', device, check=False).stdout, 30, f'{device} to go')

    def abandon(self):
        """What is below is gone: nothing that is written now arrives."""
        unmount(self.mountpoint)
        self.detach()

    def check(self):
        """Unmounted, after its journal was replayed by a mount: nothing is wrong."""
        result = run(*self.CHECK[self.kind], self.device, check=False, timeout_s=300)
        if result.returncode != 0:
            raise TestFailure(f'{self.CHECK[self.kind][0]}: exit status {result.returncode}: {result.stdout[-3000:]}{result.stderr[-1000:]}')


__all__ = ['BRANCH', 'Disks', 'FileSystem', 'NbdFile', 'Nbdkit', 'Overlay', 'TestFailure', 'nbd', 'require']
