"""A Postgres server on some data directory: unix socket only, run as user postgres, log outside the data directory."""

import glob
import os
import pwd
import re
import subprocess
import time

from .workplace import Skip, TestFailure, kill_tree, run, wait_until

BIN = os.environ.get('NEONFS_PG_BINDIR', '/usr/lib/postgresql/15/bin')
USER = 'postgres'
PORT = '5432'   # names the socket file only
CONNECTIONS = 50   # WAL tells of it


def require_postgres():
    if os.geteuid() != 0:
        raise Skip('needs root: it mounts file systems and runs Postgres as user postgres')
    if not os.access(f'{BIN}/postgres', os.X_OK):
        raise Skip(f'{BIN}/postgres is not there: install postgresql-15')
    try:
        pwd.getpwnam(USER)
    except KeyError as e:
        raise Skip('there is no user postgres: install postgresql-15') from e


def as_postgres():
    """Options of subprocess that make the child user postgres."""
    entry = pwd.getpwnam(USER)
    return {'user': entry.pw_uid, 'group': entry.pw_gid, 'extra_groups': [entry.pw_gid], 'cwd': '/',
            'env': {'PATH': f'{BIN}:/usr/bin:/bin', 'HOME': '/', 'LC_ALL': 'C', 'PGTZ': 'UTC'}}


def initdb(datadir, *options):
    run(f'{BIN}/initdb', '-D', datadir, '-U', 'postgres', '-A', 'trust', '--no-locale', '-E', 'UTF8', *options,
        timeout_s=600, **as_postgres())


def free_shared_memory_of(pid):
    """A postmaster killed hard leaves a small System V segment, which only its own data directory would reuse."""
    with open('/proc/sysvipc/shm', encoding='ascii') as f:
        next(f)
        for line in f:
            fields = line.split()
            if int(fields[4]) == pid and int(fields[6]) == 0:
                subprocess.run(['ipcrm', '-m', fields[1]], check=False)


class Cluster:
    def __init__(self, place, datadir, name):
        self.place = place
        self.datadir = datadir
        self.name = name
        self.sockets = place.dir(f'{name}.socket')
        entry = pwd.getpwnam(USER)
        os.chown(self.sockets, entry.pw_uid, entry.pw_gid)
        self.process = None

    def start(self, *settings, timeout_s=120):
        """Start and wait until it takes connections (after its own recovery)."""
        command = [f'{BIN}/postgres', '-D', self.datadir, '-p', PORT, '-c', 'listen_addresses=',
                   '-c', f'unix_socket_directories={self.sockets}', '-c', 'logging_collector=off',
                   '-c', 'log_checkpoints=off', '-c', f'max_connections={CONNECTIONS}', '-c', 'restart_after_crash=off']
        for setting in settings:
            command += ['-c', setting]
        for path in glob.glob(f'{self.sockets}/.s.PGSQL.*'):
            os.unlink(path)
        # A power loss between its creation and its fsync leaves it empty, on any file system; then Postgres wants it removed.
        lock = os.path.join(self.datadir, 'postmaster.pid')
        if os.path.exists(lock) and os.path.getsize(lock) == 0:
            os.unlink(lock)
        self.process = self.place.popen(command, f'{self.name}.log', **as_postgres())
        began = time.monotonic()

        def ready():
            if self.process.poll() is not None:
                raise TestFailure(f'{self.name}: Postgres does not start: exit status {self.process.returncode}: '
                                  f'{self.last_log_line()}')
            return self.psql('select 1', check=False).returncode == 0
        wait_until(ready, timeout_s, f'{self.name}: Postgres to take connections', pause_s=0.1)
        return time.monotonic() - began

    def last_log_line(self):
        with open(self.place.log(f'{self.name}.log'), encoding='utf-8', errors='replace') as f:
            lines = [line for line in f if 'FATAL' in line or 'PANIC' in line] or ['(no log)']
        return lines[-1].strip()

    def psql_command(self, *options, database='postgres'):
        return [f'{BIN}/psql', '-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-h', self.sockets, '-p', PORT, '-U',
                'postgres', '-d', database, *options]

    def psql(self, sql, check=True, timeout_s=300, database='postgres'):
        return run(*self.psql_command('-c', sql, database=database), check=check, timeout_s=timeout_s, **as_postgres())

    def value(self, sql, **options):
        return self.psql(sql, **options).stdout.strip()

    def pgbench(self, *options):
        """Start pgbench beside the test; it ends when the server does."""
        return self.place.popen([f'{BIN}/pgbench', '-h', self.sockets, '-p', PORT, '-U', 'postgres', *options, 'postgres'],
                                f'{self.name}.pgbench.log', **as_postgres())

    def run_pgbench(self, *options, timeout_s=600):
        return run(f'{BIN}/pgbench', '-h', self.sockets, '-p', PORT, '-U', 'postgres', *options, 'postgres',
                   timeout_s=timeout_s, **as_postgres())

    def amcheck(self):
        """Every heap and index of every database, indexes against their heaps."""
        result = run(f'{BIN}/pg_amcheck', '-h', self.sockets, '-p', PORT, '-U', 'postgres', '--all', '--install-missing',
                     '--heapallindexed', '--parent-check', '--jobs=2', check=False, timeout_s=600, **as_postgres())
        if result.returncode != 0 or result.stdout.strip():
            raise TestFailure(f'{self.name}: pg_amcheck: {result.stdout[-3000:]}{result.stderr[-3000:]}')

    def kill(self):
        if self.process:
            kill_tree(self.process)
            free_shared_memory_of(self.process.pid)

    def stop(self, timeout_s=120):
        """An orderly fast shutdown."""
        os.kill(self.process.pid, 2)
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired as e:
            raise TestFailure(f'{self.name}: Postgres does not stop within {timeout_s} s') from e
        if status != 0:
            raise TestFailure(f'{self.name}: Postgres ended with {status}: {self.last_log_line()}')

    def cut_torn_maps(self):
        """A map of free space or visibility may end within a page after a power loss, on any file system: Postgres passes over what is no whole page, and
        pg_checksums gives up there."""
        for path in glob.glob(f'{self.datadir}/base/*/*_vm') + glob.glob(f'{self.datadir}/base/*/*_fsm'):
            size = os.path.getsize(path)
            if size % 8192 != 0:
                os.truncate(path, size - size % 8192)

    def stop_and_verify_checksums(self):
        """Stop in order; then every page of every relation has its checksum.

        A file of a table whose creation a crash undid may stay behind with anything in it: Postgres never reads it."""
        files = set(self.value('select pg_relation_filepath(oid) from pg_class where pg_relation_filenode(oid) is not null')
                    .splitlines())
        own = f'base/{self.value("select oid from pg_database where datname = current_database()")}/'
        self.stop()
        self.cut_torn_maps()
        result = run(f'{BIN}/pg_checksums', '--check', '-D', self.datadir, check=False, timeout_s=600, **as_postgres())
        bad = re.findall(r'verification failed in file "([^"]+)", block (\d+)', result.stderr)
        for path, block in bad:
            relative = re.sub(r'(_fsm|_vm|_init)?(\.\d+)?$', '', os.path.relpath(path, self.datadir))
            if relative in files or not relative.startswith(own):
                raise TestFailure(f'{self.name}: bad page checksum in {path}, block {block}')
        if result.returncode != 0 and not bad:
            raise TestFailure(f'{self.name}: pg_checksums: {result.stderr[-2000:]}')
