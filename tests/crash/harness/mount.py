"""What a data directory stands on: a neonfs mount, or, to test the tests, a plain directory.

Both have the same methods; the plain one has neither snapshots nor branches and nothing to kill."""

import json
import os

from .cluster import as_postgres, initdb
from .workplace import TestFailure, kill_tree, mounted, run, wait_until


class PlainDirectory:
    has_branches = False

    def __init__(self, place, store, cache):
        del cache
        self.place = place
        self.store = store
        self.mountpoint = store

    def init(self):
        os.makedirs(self.store, exist_ok=True)
        os.chmod(self.store, 0o755)

    def mount(self):
        pass

    def kill(self):
        pass

    def unmount(self):
        pass

    def init_branch(self, name, *initdb_options):
        path = os.path.join(self.store, name)
        os.mkdir(path, 0o700)
        options = as_postgres()
        os.chown(path, options['user'], options['group'])
        initdb(path, *initdb_options)

    def scrub(self):
        pass

    def settings(self):
        return []


class NeonfsMount:
    has_branches = True

    def __init__(self, place, store, cache):
        self.place = place
        self.store = store
        self.cache = cache
        self.mountpoint = place.dir('mnt')
        self.process = None
        place.mount_at_end(self.mountpoint)

    def init(self):
        run(self.place.program('neonfs'), 'init', self.store)

    def mount(self, timeout_s=120, options=()):
        """Also over what a killed daemon left: neonfs has to clean that up itself."""
        self.process = self.place.popen([self.place.program('neonfs'), 'mount', self.store, self.mountpoint, '-f',
                                         f'--cache={self.cache}', *options], 'neonfs.log')

        def ready():
            if self.process.poll() is not None:
                raise TestFailure(f'neonfs mount ended with {self.process.returncode}')
            status = run(self.place.program('neonfs'), 'status', self.store, '--json', check=False)
            return status.returncode == 0 and mounted(self.mountpoint) and self._answers()
        wait_until(ready, timeout_s, 'neonfs mount', pause_s=0.05)

    def _answers(self):
        try:
            os.listdir(self.mountpoint)
            return True
        except OSError:
            return False

    def kill(self):
        """SIGKILL, in the middle of whatever it does."""
        kill_tree(self.process)

    def unmount(self, timeout_s=120):
        """In order; the daemon has to end by itself with status 0."""
        run(self.place.program('neonfs'), 'umount', self.mountpoint)
        wait_until(lambda: self.process.poll() is not None, timeout_s, 'the daemon to end after umount')
        if self.process.returncode != 0:
            raise TestFailure(f'the daemon ended with {self.process.returncode} after umount')

    def status(self):
        return json.loads(run(self.place.program('neonfs'), 'status', self.store, '--json').stdout)

    def branch(self, *arguments, **options):
        return run(self.place.program('neonfs-branch'), '--store', self.store, *arguments, **options)

    def init_branch(self, name, *initdb_options):
        self.branch('init', name, '--', '--no-locale', '-E', 'UTF8', '-A', 'trust', *initdb_options, timeout_s=600)

    def scrub(self):
        result = run(self.place.program('neonfs'), 'scrub', self.store, check=False, timeout_s=600)
        if result.returncode != 0:
            raise TestFailure(f'neonfs scrub: exit status {result.returncode}: {result.stdout[-3000:]}{result.stderr[-3000:]}')

    def collect(self):
        run(self.place.program('neonfs'), 'gc', self.store, timeout_s=600)


    def settings(self):
        return []
