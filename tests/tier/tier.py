"""What the tests of the tier share: where the objects are, a mount of a store with a tier, and what is safe when.

Everything of Postgres, mounts and temporary places is the crash tests' harness; the S3 server and its faults are the object tests'."""

import json
import os
import shutil
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'crash'))
sys.path.insert(0, os.path.join(HERE, '..', 'object'))
from harness.cluster import Cluster  # noqa: E402
from harness.mount import NeonfsMount  # noqa: E402
from harness.rounds import SETTINGS, SUMS  # noqa: E402
from harness.snapshots import Snapshots  # noqa: E402
from harness.workplace import Skip, TestFailure, detach, run, wait_until  # noqa: E402
from place import BUCKET, KEY, SECRET, Missing, Server  # noqa: E402
from proxy import FaultProxy  # noqa: E402

LEASE_S = 2


class Objects:
    """A directory, or a bucket of an S3 server behind a proxy that makes faults."""

    def __init__(self, work, kind):
        for name in [name for name in os.environ if name.startswith('AWS_') or name.lower().endswith('_proxy')]:
            del os.environ[name]
        self.kind, self.proxy = kind, None
        if kind == 'file':
            self.url = 'file://' + work.dir('objects')
            return
        try:
            server = Server()
        except Missing as e:
            raise Skip(str(e)) from e
        work.at_end(server.stop)
        self.proxy = FaultProxy(server.port)
        work.at_end(self.proxy.stop)
        os.environ.update(AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET, AWS_REGION='us-east-1',
                          AWS_ENDPOINT_URL=self.proxy.endpoint)
        self.url = f's3://{BUCKET}/store'


class TierMount(NeonfsMount):
    """A machine, so to say: a store's directory and its mount."""

    def __init__(self, place, objects, name, cache='back'):
        super().__init__(place, os.path.join(place.path, name), cache)
        self.objects = objects
        self.name = name
        self.mountpoint = place.dir(f'{name}.mnt')
        place.mount_at_end(self.mountpoint)

    def neonfs(self, *arguments, **options):
        return run(self.place.program('neonfs'), *arguments, **options)

    def init(self, *options):
        self.neonfs('init', self.store, '--object-store', self.objects.url, '--lease', f'{LEASE_S}s', *options)
        self.configure(delay_ms=200)

    def attach(self, *options, check=True, timeout_s=120):
        """As a command on a machine that has nothing but the URL."""
        result = self.neonfs('attach', self.objects.url, self.store, '--lease', f'{LEASE_S}s', *options, check=check, timeout_s=timeout_s)
        if result.returncode == 0:
            self.configure(delay_ms=200)
        return result

    def configure(self, **members):
        path = os.path.join(self.store, 'tier.json')
        with open(path, encoding='utf-8') as f:
            config = json.load(f)
        config.update(members)
        with open(path, 'w', encoding='utf-8') as f:
            json.dump(config, f)

    def flush(self, timeout_s=120):
        self.neonfs('flush', self.store, timeout_s=timeout_s)

    def tier(self):
        return self.status()['tier']

    def safe_ns(self):
        return self.tier()['safe_ns'] or 0

    def trouble(self):
        """What the status says is wrong with the object store; empty: nothing."""
        tier = self.tier()
        return tier.get('upload_error') or tier.get('trouble') or ''

    def failure(self):
        """Why the store is read-only; None: it is not."""
        return self.status()['facts'].get('error')

    def lose(self):
        """The machine burns down."""
        self.kill()
        detach(self.mountpoint)
        shutil.rmtree(self.store)

    def check_objects(self):
        result = self.neonfs('scrub', self.store, '--object-store', '--deep', check=False, timeout_s=600)
        if result.returncode != 0:
            raise TestFailure(f'neonfs scrub --object-store: {result.returncode}: {result.stdout[-3000:]}{result.stderr[-3000:]}')


class Watch:
    """What was acknowledged, and when."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.samples = [(0, [0] * ledger.clients)]
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.ending.wait(0.01):
            acknowledged = self.ledger.now()
            # The clock after the facts: they were so before this moment.
            self.samples.append((time.time_ns(), acknowledged))

    def before(self, moment_ns):
        return [rows for when, rows in self.samples if when <= moment_ns][-1]

    def forget(self, there):
        """From now on this is what counts."""
        self.samples = [(0, list(there))]

    def stop(self):
        self.ending.set()
        self.thread.join()


class TimedSnapshots(Snapshots):
    """And when each was there."""

    def __init__(self, mount, branch, keep=6):
        super().__init__(mount, branch, keep)
        self.times = {}

    def take(self, ledger):
        label = super().take(ledger)
        self.times[label] = time.time_ns()
        return label

    def lost(self, safe_ns):
        """After a loss: drop those that were not safe and are not there. One that was safe has to be."""
        dropped = 0
        for label in list(self.taken):
            if os.path.isdir(self.path(label)):
                continue
            if self.times.get(label, safe_ns + 1) <= safe_ns:
                raise TestFailure(f'snapshot {label} was safe, and is not there')
            del self.taken[label]
            dropped += 1
        return dropped


def check_sums(cluster):
    sums = cluster.value(SUMS)
    if len(set(sums.split('|'))) != 1:
        raise TestFailure(f'{cluster.name}: pgbench\'s sums differ: {sums}')


def server_on(place, mount, name='main', branch='main'):
    return Cluster(place, os.path.join(mount.mountpoint, branch), name)


def set_up(mount, cluster, ledger, scale):
    mount.init_branch('main', '--data-checksums')
    cluster.start(*SETTINGS)
    cluster.run_pgbench('-i', '-s', str(scale), '-q')
    ledger.create(cluster)
    cluster.psql('create extension if not exists amcheck')


def wait_for_rows(ledger, more, timeout_s, what):
    """Until each client has so many more acknowledged."""
    before = ledger.now()
    wait_until(lambda: all(now >= was + more for now, was in zip(ledger.now(), before)), timeout_s, what)
