"""Postgres's own recovery to an LSN, on plain directories: what branches at points are held against.

Copies of snapshots of a running cluster, which are what a power cut would have left, and of all its WAL. For each LSN a copy of a snapshot is recovered by
stock Postgres (its own WAL first, then the archive's, up to recovery_target_lsn) and stopped, without anybody having connected: a session may prune
pages of the catalogue. The snapshot is the one that the branch was made of: what a server does without logging it (a sequence's next values, room
at the end of a file, hints of an SP-GiST index) depends on it, and then both have the same of it."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time

from harness.cluster import BIN, CONNECTIONS, as_postgres, free_shared_memory_of
from harness.workplace import TestFailure, die_with_parent, run

PAGE = 8192
SEGMENT = 16 << 20
SEGMENT_NAME = re.compile('[0-9A-F]{24}')


def position(lsn):
    high, low = lsn.split('/')
    return int(high, 16) << 32 | int(low, 16)


def text_of(number):
    return f'{number >> 32:X}/{number & 0xFFFFFFFF:X}'


def header_at(number):
    """Bytes of the page's header where `number` is the start of a page; else 0."""
    if number % PAGE != 0:
        return 0
    return 40 if number % SEGMENT == 0 else 24


def run_without_sessions(datadir, log, settings, timeout_s=300):
    """Start Postgres, wait until it would take connections, and stop it in order."""
    command = [f'{BIN}/postgres', '-D', datadir, '-c', 'listen_addresses=', '-c', 'unix_socket_directories=.', '-c', 'logging_collector=off',
               '-c', 'hot_standby=off', '-c', 'autovacuum=off', '-c', 'max_logical_replication_workers=0', '-c', f'max_connections={CONNECTIONS}']
    for setting in settings:
        command += ['-c', setting]
    lock = os.path.join(datadir, 'postmaster.pid')
    with open(log, 'ab') as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, preexec_fn=die_with_parent, **as_postgres())
    try:
        deadline = time.monotonic() + timeout_s
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                raise TestFailure(f'{datadir}: Postgres does not come up ({process.returncode}): {last_lines(log)}')
            try:
                with open(lock, encoding='ascii') as file:
                    lines = file.read().splitlines()
            except OSError:
                lines = []
            if len(lines) > 7 and lines[7].strip() == 'ready':
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        if process.wait(timeout_s) != 0:
            raise TestFailure(f'{datadir}: Postgres ended with {process.returncode}: {last_lines(log)}')
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
            free_shared_memory_of(process.pid)


def last_lines(log):
    with open(log, encoding='utf-8', errors='replace') as file:
        return ''.join(file.readlines()[-8:])


def told_running(next_xid, directory):
    """Does a list of running transactions in the WAL there name it as the next?"""
    for name in sorted(os.listdir(directory)):
        if SEGMENT_NAME.fullmatch(name):
            result = run(f'{BIN}/pg_waldump', '-r', 'Standby', os.path.join(directory, name), check=False)
            if re.search(rf'RUNNING_XACTS nextXid {next_xid} ', result.stdout):
                return True
    return False


def is_excused(line, wal):
    """Timelines have numbers of their own in a store. full_page_writes is what a server was configured with when it wrote the checkpoint, and logs anew when
    it starts. Of transactions that have written nothing yet Postgres only hears when it is a hot standby; a branch gives their numbers to nobody else."""
    if line.startswith(('pg_control: copy.timeline', 'pg_control: copy.full_page_writes')):
        return True
    counters = re.fullmatch(r'pg_control: copy.next_xid (\d+), Postgres (\d+)', line)
    return counters is not None and int(counters[1]) > int(counters[2]) and told_running(int(counters[1]) & 0xFFFFFFFF, wal)


def differences(place, ours, theirs, listed=(), major=15, wal=None):
    """What tests/redo/same_cluster finds between two stopped data directories: every file, pages masked, counters of pg_control.
    `listed`: its LIST. `wal`: a directory with the WAL that was replayed; theirs, if none is given. Returns lines, none when all is the same, and the line
    that says how much was compared."""
    result = run(place.program('same_cluster'), major, ours, theirs, *listed, check=False, timeout_s=600)
    lines = result.stdout.splitlines()
    if not lines or not lines[-1].endswith(' differences'):
        raise TestFailure(f'same_cluster {ours} {theirs}: exit status {result.returncode}: {result.stdout[-2000:]}{result.stderr[-2000:]}')
    return [line for line in lines[:-1] if not is_excused(line, wal or os.path.join(theirs, 'pg_wal'))], lines[-1]


class Oracle:
    """Of branch main of a mount. Settings are those that its WAL depends on: the same for every recovery."""

    def __init__(self, mount, settings):
        self.mount = mount
        self.place = mount.place
        self.settings = settings
        self.path = self._own('oracle')
        self.wal = self._own('oracle/archive')
        self.lock = threading.Lock()
        self.bases = {}   # by label

    def _own(self, name):
        path = self.place.dir(name)
        shutil.chown(path, 'postgres', 'postgres')
        return path

    def _take(self, directory, to):
        """Copy every segment of a directory that is not in `to` yet."""
        for name in os.listdir(directory) if os.path.isdir(directory) else []:
            path = os.path.join(to, name)
            if SEGMENT_NAME.fullmatch(name) and not os.path.exists(path):
                shutil.copyfile(os.path.join(directory, name), path)
                shutil.chown(path, 'postgres', 'postgres')
                os.chmod(path, 0o600)

    def take_wal(self, *directories):
        """The archive; the first directory that has a segment counts."""
        for directory in directories:
            self._take(directory, self.wal)

    def _base(self, label):
        """A copy of the snapshot, with links to its segments, which recovery only reads."""
        with self.lock:
            if label not in self.bases:
                base = os.path.join(self.path, f'base-{label}')
                run('cp', '-a', os.path.join(self.mount.mountpoint, f'main@{label}'), base)
                os.chmod(base, 0o700)
                segments, own = os.path.join(base, 'pg_wal'), self._own(f'oracle/wal-{label}')
                self._take(segments, own)
                for name in os.listdir(own):
                    os.unlink(os.path.join(segments, name))
                    os.symlink(os.path.join(own, name), os.path.join(segments, name))
                for name in ('postmaster.pid', 'postmaster.opts'):
                    if os.path.exists(os.path.join(base, name)):
                        os.unlink(os.path.join(base, name))
                self.bases[label] = base
        return self.bases[label]

    def changed(self, label, datadir):
        """Files of a recovered directory that are not as in its base, as their times tell: nothing is written twice within what they resolve."""
        base = self._base(label)
        for path, _, names in os.walk(datadir):
            for name in names:
                full = os.path.join(path, name)
                relative = os.path.relpath(full, datadir)
                before = os.path.join(base, relative)
                if os.path.islink(full) or not os.path.exists(before) or os.stat(full).st_mtime_ns != os.stat(before).st_mtime_ns:
                    yield relative

    def recover(self, label, lsn, name):
        """A directory as Postgres leaves it, stopped, that has recovered every record that begins before `lsn`. The caller's to remove."""
        datadir = os.path.join(self.path, name)
        run('cp', '-a', '--reflink=auto', self._base(label), datadir)
        options = as_postgres()
        with open(os.path.join(datadir, 'recovery.signal'), 'w', encoding='ascii') as file:
            os.fchown(file.fileno(), options['user'], options['group'])
        recovery = [f'restore_command=test -e {self.wal}/%f && ln -sf {self.wal}/%f %p', f'recovery_target_lsn={lsn}', 'recovery_target_inclusive=off',
                    'recovery_target_timeline=current', 'recovery_target_action=promote', 'fsync=off', 'wal_recycle=off',
                    'wal_init_zero=off']
        run_without_sessions(datadir, self.place.log(f'{name}.log'), [*self.settings, *recovery])
        return datadir
