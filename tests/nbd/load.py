"""What works on the volumes beside the writers of record.py: fio, and a program on a file system whose fsyncs are remembered."""

import os
import random
import subprocess
import threading

from record import BLOCK
from volume import FileSystem, TestFailure
from harness.workplace import kill_tree, run

RECORD_BYTES = 512
CHUNK = 4096


class Fio:
    """fio on its own part of a volume: it writes, reads back and checks, many requests at a time.

    The part is filled once; after that each block has fio's header with the place and a checksum, whatever crashed, since a block is old or new."""

    def __init__(self, place, server, first_block, blocks):
        self.place = place
        self.server = server
        self.range = [f'--offset={first_block * BLOCK}', f'--size={blocks * BLOCK}']
        self.process = None

    def _command(self, name, *options):
        # No state file: what is proved must not hang on how far this fio came.
        return ['fio', f'--name={name}', '--ioengine=nbd', f'--uri={self.server.uri}', '--bs=8k', '--verify=crc32c', '--verify_fatal=1',
                '--verify_state_save=0', '--output-format=terse', *self.range, *options]

    def fill(self):
        run(*self._command('fill', '--rw=write', '--iodepth=16', '--do_verify=0', '--end_fsync=1'), cwd=self.place.path)

    def start(self, seed):
        self.process = self.place.popen(self._command('work', '--rw=randwrite', '--iodepth=16', '--verify_backlog=64', '--fsync=32',
                                                      '--loops=100000', f'--randseed={seed}'), 'fio.log', cwd=self.place.path)

    def stop(self):
        """With manners: an nbdkit 1.32 whose client dies while answers are on their way may die of an assertion of its own."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            kill_tree(self.process)
        with open(self.place.log('fio.log'), encoding='utf-8', errors='replace') as f:
            for line in f:
                if 'verify:' in line or 'bad magic' in line or 'crc32c:' in line:
                    raise TestFailure(f'fio read what it had not written: {line.strip()}')

    def verify(self):
        result = run(*self._command('check', '--rw=read', '--iodepth=16'), check=False, cwd=self.place.path)
        if result.returncode != 0:
            raise TestFailure(f'fio: not every block is one that it wrote: {result.stdout[-500:]}{result.stderr[-1500:]}')


def contents_of(number):
    rng = random.Random(number)
    return rng.randbytes(rng.randint(1, 60000))


def log_record(number):
    return f'{number:012d} '.encode() * ((RECORD_BYTES - 1) // 13) + b'.' * (RECORD_BYTES - 1 - (RECORD_BYTES - 1) // 13 * 13) + b'\n'


def written_or_zero(data, expected, at):
    chunk = data[at:at + CHUNK]
    return chunk == expected[at:at + len(chunk)] or not chunk.strip(b'\0')


class Files:
    """Two programs on a file system: one appends to a log and syncs it, one makes files that appear by rename and removes old ones.

    What fsync has answered is there after a crash, and nothing is there that was never written."""

    KEPT = 40

    def __init__(self, folder):
        self.folder = folder
        self.ending = threading.Event()
        self.may_fail = threading.Event()   # the crash, or what is told of it, has begun
        self.threads = []
        self.wrong = []
        self.log_sent = self.log_synced = 0
        self.made = self.next_file = 0      # files up to `made` are there for good; the next number
        self.removed = 0                    # files up to this may be gone

    def start(self):
        self.ending.clear()
        self.may_fail.clear()
        self.threads = [threading.Thread(target=self._until_crash, args=(work,), daemon=True) for work in (self._append, self._make_files)]
        for thread in self.threads:
            thread.start()

    def _until_crash(self, work):
        try:
            work()
        except OSError as e:
            if not self.may_fail.wait(10):
                self.wrong.append(f'before the crash: {e}')

    def _append(self):
        fd = os.open(os.path.join(self.folder, 'log'), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            while not self.ending.is_set():
                for _ in range(self.log_sent % 5 + 1):
                    self.log_sent += 1
                    os.pwrite(fd, log_record(self.log_sent), (self.log_sent - 1) * RECORD_BYTES)
                os.fdatasync(fd)
                self.log_synced = self.log_sent
        finally:
            os.close(fd)

    def _make_files(self):
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            while not self.ending.is_set():
                self.next_file += 1
                self._make_file(self.next_file, folder)
                self.made = self.next_file
                if self.next_file - self.KEPT > self.removed:
                    self.removed = self.next_file - self.KEPT
                    os.unlink(os.path.join(self.folder, f'f{self.removed}'))
        finally:
            os.close(folder)

    def _make_file(self, number, folder):
        path = os.path.join(self.folder, f'f{number}')
        with open(path + '.new', 'wb', buffering=0) as f:
            f.write(contents_of(number))
            os.fsync(f.fileno())
        os.rename(path + '.new', path)
        os.fsync(folder)

    def stop(self):
        self.may_fail.set()
        self.ending.set()
        for thread in self.threads:
            thread.join(60)
            if thread.is_alive():
                raise TestFailure('a program hangs on a file system whose device is gone')
        if self.wrong:
            raise TestFailure(self.wrong[0])

    def verify(self):
        """After the crash, mounted again; from here on what is there counts. Returns (records, files)."""
        self._verify_log()
        there = {name for name in os.listdir(self.folder) if name[0] == 'f'}
        missing = {f'f{number}' for number in range(self.removed + 1, self.made + 1)} - there
        if missing:
            raise TestFailure(f'files whose directory was synced are gone: {sorted(missing)[:5]}')
        for name in there:
            self._verify_file(name)
        self.next_file = self.made      # the one that the crash met is made again
        return self.log_synced, len(there)

    def _verify_log(self):
        try:
            with open(os.path.join(self.folder, 'log'), 'rb') as f:
                found = f.read()
        except FileNotFoundError:
            found = b''
        records = len(found) // RECORD_BYTES
        whole = [log_record(number) for number in range(1, records + 1)]
        # Behind what was synced there may be less, or room whose bytes never came; but no other bytes.
        for number, record in enumerate(whole, 1):
            data = found[(number - 1) * RECORD_BYTES:number * RECORD_BYTES]
            if data != record and (number <= self.log_synced or data.strip(b'\0') != b''):
                raise TestFailure(f'record {number} of the log is {data[:40]!r}; {self.log_synced} were synced')
        if records < self.log_synced or records > self.log_sent:
            raise TestFailure(f'the log has {records} records; {self.log_synced} were synced, {self.log_sent} written')
        self.log_sent = self.log_synced

    def _verify_file(self, name):
        number = int(name[1:].removesuffix('.new'))
        with open(os.path.join(self.folder, name), 'rb') as f:
            data = f.read()
        expected = contents_of(number)
        if name.endswith('.new'):
            # Not synced: any part of it.
            right = len(data) <= len(expected) and all(written_or_zero(data, expected, at) for at in range(0, len(data), CHUNK))
        else:
            right = data == expected
        if not right or number > self.next_file:
            raise TestFailure(f'file {name} has other bytes than were written')


class Disk:
    """A volume whose file in the mount is a loop device with ext4, and the programs on it."""

    def __init__(self, place, mount, volume, size):
        self.mount = mount
        self.volume = volume
        mount.create_volume(volume, size)
        self.system = FileSystem(place, 'ext4', f'{volume}.ext4')
        self.system.attach(mount.path(volume))
        self.system.make()
        self.system.mount()
        self.files = Files(self.system.mountpoint)

    def start(self):
        self.files.start()

    def stop(self):
        self.files.stop()

    def crashed(self):
        """The mount is gone."""
        self.files.stop()
        self.system.abandon()

    def prove(self):
        """The mount is there again. Returns what was found, for people."""
        self.system.attach(self.mount.path(self.volume))
        self.system.mount()
        records, files = self.files.verify()
        self.system.unmount()
        self.system.check()
        self.system.mount()
        return f'ext4 has {records} records and {files} files'

    def finish(self):
        self.system.unmount()
        self.system.detach()
