"""Rounds of work, crash, recovery and proof. What crashes how is the caller's: kill (a process) or power (a disk).

A round: Postgres works on branch main under pgbench, ledger clients, checkpoints, vacuums and tables that come and go, while
snapshots are taken; at a random moment the crash; now and then a second one while things come up again. Then:
every acknowledged ledger row is there, pgbench's sums agree, amcheck passes, scrub is clean, every older snapshot shows
what it showed, and a branch made from one of them starts and has all that was acknowledged before it was taken."""

import os
import random
import threading
import time

from .cluster import Cluster
from .ledger import Ledger
from .snapshots import Snapshots
from .workplace import TestFailure, say, step

# Small buffers and short checkpoints: many pages are written, many WAL segments come and go.
SETTINGS = ['shared_buffers=16MB', 'max_wal_size=64MB', 'min_wal_size=32MB', 'checkpoint_timeout=30s',
            'checkpoint_completion_target=0.5', 'autovacuum_naptime=1s', 'bgwriter_delay=20ms', 'wal_writer_delay=20ms']
SUMS = '''select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers),
	(select sum(bbalance) from pgbench_branches), (select coalesce(sum(delta), 0) from pgbench_history)'''
CHURN = ['checkpoint', 'vacuum pgbench_tellers', 'vacuum (analyze) pgbench_history', 'checkpoint',
         'drop table if exists churn; create table churn as select g, md5(g::text) m from generate_series(1, 20000) g; create index on churn (m)',
         'truncate churn', 'insert into churn select g, md5(g::text) from generate_series(1, 5000) g',
         'reindex table ledger_head', 'vacuum full pgbench_branches', 'cluster churn using churn_m_idx']


class Rounds:
    def __init__(self, place, mount, rng, args):
        self.place = place
        self.mount = mount
        self.rng = rng
        self.scale = args.scale
        self.seconds = args.seconds
        self.crashed = threading.Event()
        self.failures = []
        self.main = Cluster(place, os.path.join(mount.mountpoint, 'main'), 'main')
        self.ledger = Ledger(place, args.clients)
        self.snapshots = Snapshots(mount, 'main')
        self.crashes = 0
        self.patience_s = 2     # how long before the crash work may begin to fail

    def set_up(self):
        self.mount.init_branch('main', '--data-checksums')
        self.main.start(*SETTINGS, *self.mount.settings())
        self.main.run_pgbench('-i', '-s', str(self.scale), '-q')
        self.ledger.create(self.main)
        self.main.psql('create extension if not exists amcheck')
        self.main.psql('drop table if exists churn; create table churn (g int, m text); create index on churn (m)')

    # ---- work

    def _until_crash(self, work):
        """A failure counts only when it is not the crash's: wait a little to see whether that comes."""
        try:
            while not self.crashed.is_set():
                work()
        except Exception as e:  # pylint: disable=broad-except
            if not self.crashed.wait(self.patience_s):
                self.failures.append(f'{type(e).__name__}: {e}')

    def _churn(self):
        self.crashed.wait(self.rng.uniform(0, 0.8))
        if not self.crashed.is_set():
            self.main.psql(self.rng.choice(CHURN))

    def _snapshot(self):
        self.crashed.wait(self.rng.uniform(0.2, 2.5))
        if not self.crashed.is_set():
            self.snapshots.take(self.ledger)

    def work_and_crash(self, crash):
        """Work for a random time, then crash() and clear away the server."""
        self.crashed.clear()
        self.failures = []
        self.ledger.start(self.main)
        pgbench = self.main.pgbench('-n', '-c', '4', '-j', '2', '-T', '3600')
        threads = [threading.Thread(target=self._until_crash, args=(self._churn,), daemon=True)]
        if self.mount.has_branches:
            threads.append(threading.Thread(target=self._until_crash, args=(self._snapshot,), daemon=True))
        for thread in threads:
            thread.start()
        time.sleep(self.rng.uniform(0.3, self.seconds))
        if pgbench.poll() is not None or self.main.process.poll() is not None:
            self.failures.append('Postgres or pgbench ended before the crash')
        crash()
        self.crashed.set()
        # Postgres sees the errors of a dead file system for a moment, or none at all.
        time.sleep(self.rng.choice([0, 0, 0.2, 1.0]))
        self.main.kill()
        pgbench.wait(30)
        self.ledger.join()
        for thread in threads:
            thread.join(90)
            if thread.is_alive():
                raise TestFailure('a client of the dead mount hangs')
        if self.failures:
            raise TestFailure('before the crash: ' + '; '.join(self.failures))
        self.crashes += 1

    # ---- proof

    def recover(self):
        if self.rng.random() < 0.5:
            with step('scrub before Postgres starts'):
                self.mount.scrub()      # what the store's own recovery left
        took = self.main.start(*SETTINGS, *self.mount.settings())
        there = self.ledger.verify(self.main, self.ledger.now())
        self.ledger.resume(there)
        sums = self.main.value(SUMS)
        if len(set(sums.split('|'))) != 1:
            raise TestFailure(f'pgbench\'s sums differ: {sums}')
        with step('amcheck'):
            self.main.amcheck()
        return took, sum(there)

    def prove_history(self):
        with step('reading the snapshots'):
            self.snapshots.verify()
        with step('scrub'):
            self.mount.scrub()
        if self.snapshots.taken:
            with step('a branch from a snapshot'):
                self._prove_branch(self.rng.choice(list(self.snapshots.taken)))
        with step('deleting snapshots'):
            self.snapshots.trim(self.rng)
        if self.rng.random() < 0.3:
            with step('collecting garbage'):
                self.mount.collect()
            self.snapshots.verify()

    def _prove_branch(self, label):
        """A branch from a snapshot starts, and has what was acknowledged before the snapshot; it is written and deleted."""
        name = f'try{self.crashes}'
        self.mount.branch('create', name, '--from', f'main@{label}')
        branch = Cluster(self.place, os.path.join(self.mount.mountpoint, name), name)
        branch.start(*SETTINGS, *self.mount.settings())
        self.ledger.verify(branch, self.snapshots.taken[label][1], exact=False)
        sums = branch.value(SUMS)
        if len(set(sums.split('|'))) != 1:
            raise TestFailure(f'{name} from main@{label}: pgbench\'s sums differ: {sums}')
        branch.amcheck()
        branch.run_pgbench('-n', '-c', '2', '-t', '50')
        branch.stop_and_verify_checksums()
        self.mount.branch('delete', name)

    def finish(self):
        """The orderly end: everything stops by itself, every page checks, and it all comes up once more."""
        with step('the orderly end'):
            self.main.stop_and_verify_checksums()
            self.mount.unmount()
        self.mount.mount()
        self.recover()
        if self.mount.has_branches:
            self.prove_history()
        self.main.stop()
        self.mount.unmount()


def add_arguments(parser):
    parser.add_argument('--rounds', type=int, default=6)
    parser.add_argument('--cache', choices=['back', 'through'], default='back', help='mode of the mount')
    parser.add_argument('--seed', type=int, default=None, help='default: a random one, printed')
    parser.add_argument('--seconds', type=float, default=6.0, help='the longest a round works before its crash')
    parser.add_argument('--scale', type=int, default=3, help='of pgbench')
    parser.add_argument('--clients', type=int, default=3, help='of the ledger')
    parser.add_argument('--under', choices=['neonfs', 'plain'], default='neonfs',
                        help='plain: no neonfs at all, to test the test')
    parser.add_argument('--keep', action='store_true', help='keep the temporary directory of a failure')


def random_source(args):
    seed = args.seed if args.seed is not None else random.SystemRandom().getrandbits(32)
    say(f'seed {seed}, cache mode {args.cache}, {args.rounds} rounds')
    return random.Random(seed)
