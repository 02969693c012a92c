"""What all parts are measured on: a store with one cluster, its history, and so much WAL behind its last checkpoint.

    load ── CHECKPOINT ──▶ copy of the data directory on ext4 (the base of stock recovery)
                     └──▶ TPC-B, with points noted on the way ──▶ end"""

import json
import os
import re
import shutil
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "fs"))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "wal"))

import cluster as wal_cluster  # noqa: E402
import host  # noqa: E402
import restoring  # noqa: E402
import systems  # noqa: E402
from host import Failure  # noqa: E402

SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "200GB", "checkpoint_timeout": "1d", "autovacuum": "off", "wal_buffers": "64MB",
            "listen_addresses": ""}
QUERY = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711"
FIRST_QUERY_LIMIT_S = 1800
HOT_ROWS = 2000


def position(lsn):
    high, low = lsn.split("/")
    return int(high, 16) << 32 | int(low, 16)


class Server:
    """Postgres on a data directory that is there already."""

    _next_port = 6400

    def __init__(self, data, scratch, cleanup, settings=()):
        self.data, self.scratch, self.cleanup = data, scratch, cleanup
        self.port, Server._next_port = Server._next_port, Server._next_port + 1
        self.sockets = os.path.join(scratch, "sockets")
        self.log = os.path.join(scratch, "logs", f"{os.path.basename(data)}-{self.port}.log")
        self.settings = {**SETTINGS, **dict(settings)}
        self._process = self._step = None

    def start(self, query=QUERY):
        """Start it, and wait until it answers a query; seconds."""
        began = time.monotonic()
        words = [word for name, value in self.settings.items() for word in ("-c", f"{name}={value}")]
        with open(self.log, "a") as log:
            self._process = host.start([f"{systems.PG_BIN}/postgres", "-D", self.data, "-p", str(self.port), "-k", self.sockets, *words],
                                       user=systems.OWNER, log=log)
        self._step = self.cleanup.add(f"end Postgres in {self.data}", self.kill)
        while True:
            try:
                self.sql(query)
                return time.monotonic() - began
            except Failure:
                if self._process.poll() is not None or time.monotonic() - began > FIRST_QUERY_LIMIT_S:
                    raise Failure(f"Postgres does not come up on {self.data}: {self.log_text()[-300:]}")
                time.sleep(0.01)

    def sql(self, *texts):
        words = [word for text in texts for word in ("-c", text)]
        return host.run([f"{systems.PG_BIN}/psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", self.sockets, "-p", self.port, "-U",
                         "postgres", "-d", "postgres", *words], user=systems.OWNER, timeout=1800).strip()

    def pgbench(self, *words):
        return host.run([f"{systems.PG_BIN}/pgbench", "-h", self.sockets, "-p", self.port, "-U", "postgres", *words, "postgres"],
                        user=systems.OWNER, timeout=3600)

    def log_text(self):
        with open(self.log, errors="replace") as log:
            return log.read()

    def position(self):
        return self.sql("SELECT pg_current_wal_flush_lsn()")

    def is_stopped(self):
        return self._process is None

    def kill(self):
        """As if the machine had killed it: all of its processes at once."""
        if self._process is not None and self._process.poll() is None:
            children = host.run(["ps", "-o", "pid=", "--ppid", self._process.pid], check=False).split()
            self._process.kill()
            for child in children:
                try:
                    os.kill(int(child), 9)
                except ProcessLookupError:
                    pass
            self._process.wait(timeout=60)
            for child in children:
                while os.path.exists(f"/proc/{child}"):
                    time.sleep(0.005)
        self._done()

    def _done(self):
        if self._step is not None:
            self.cleanup.done(self._step)
        self._process = self._step = None


class World:
    def __init__(self, scratch, cleanup, options):
        self.scratch, self.cleanup, self.options = scratch, cleanup, options
        self.neonfs = systems.Neonfs(f"neonfs-{options.cache}", scratch, cleanup, options.cache)
        self.base = os.path.join(scratch, "base")  # the data directory as of the checkpoint, on ext4
        self.wal = os.path.join(scratch, "wal")  # all WAL behind it
        self.points = {}  # GB behind the checkpoint: LSN
        self.repository = restoring.Repository(scratch, cleanup) if options.pgbackrest else None

    def make(self):
        self.neonfs.setup()
        self.neonfs.make_cluster("main")
        self.main = Server(os.path.join(self.neonfs.root, "main"), self.scratch, self.cleanup,
                           self.repository.settings(self.neonfs.root) if self.repository is not None else ())
        self.main.start("SELECT 1")
        self.main.pgbench("-i", "-q", "-s", str(self.options.scale))
        self.main.sql(f"CREATE TABLE hot (id int PRIMARY KEY, value int) WITH (fillfactor = 50); INSERT INTO hot SELECT i, 0 FROM "
                      f"generate_series(1, {HOT_ROWS}) i")
        self.main.sql(wal_cluster.TPCB)
        self.main.sql("VACUUM FREEZE")
        self.main.sql("CHECKPOINT")
        if not self.options.no_history:
            self.neonfs.branch("retain", "main", "7d")
        self.files = {name: self.main.sql(f"SELECT pg_relation_filepath('{name}')") for name in
                      ("pgbench_accounts", "pgbench_tellers", "pgbench_branches", "hot")}

    def write_wal(self):
        """The base for others, then WAL until there is enough of it."""
        if self.repository is not None:
            self.repository.back_up(self.main)
        self.main.sql("CHECKPOINT")
        self.begin = self.main.position()
        self.neonfs.branch("create", "base", "--from", "main")
        host.run(["cp", "-a", os.path.join(self.neonfs.root, "base"), self.base])
        self.neonfs.remove("base")
        wanted = sorted({*[d for d in self.options.distances if d < self.options.wal_gb], self.options.wal_gb})
        began, transactions = time.monotonic(), 0
        for distance in wanted:
            while self.bytes_since() < distance * 1e9:
                left = distance * 1e9 - self.bytes_since()
                rounds = max(500, min(20000, int(left / 6000)))
                self.main.sql("SET synchronous_commit = off", f"CALL tpcb({rounds})")
                self.main.sql(f"UPDATE hot SET value = value + 1 WHERE id % 10 = {transactions // 500 % 10}")
                transactions += rounds
            self.points[distance] = self.main.position()
            host.say(f"{distance} GB of WAL behind the checkpoint: {self.points[distance]}")
        host.say(f"{transactions} transactions in {time.monotonic() - began:.0f} s")
        self.main.sql("SELECT pg_switch_wal()")
        time.sleep(2)  # the last segment gets its index
        self.last = wanted[-1]
        os.makedirs(self.wal)
        own = os.path.join(self.main.data, "pg_wal")
        first = wal_name(position(self.begin))
        for name in sorted(os.listdir(own)):
            if re.fullmatch("[0-9A-F]{24}", name) and name >= first:
                shutil.copy(os.path.join(own, name), self.wal)
        host.run(["chown", "-R", f"{systems.OWNER}:", self.wal])

    def bytes_since(self):
        return position(self.main.position()) - position(self.begin)

    def bytes_to(self, distance):
        return position(self.points[distance]) - position(self.begin)

    def create(self, name, distance, recovery="instant"):
        """A branch at a point; what the command says, and its seconds."""
        began = time.monotonic()
        answer = self.neonfs.branch("create", name, "--from", f"main@{self.points[distance]}", f"--recovery={recovery}", "--round", "--json")
        return json.loads(answer), time.monotonic() - began

    def remount(self, *options):
        """With these mount options; Postgres on main is stopped by a crash, so that its checkpoint does not move."""
        self.main.kill()
        self.neonfs.unmount()
        self.neonfs.mount_options = list(options)
        self.neonfs.mount()

    def data(self, name):
        return os.path.join(self.neonfs.root, name)

    def server(self, name, settings=()):
        return Server(self.data(name), self.scratch, self.cleanup, settings)

    def remove(self, name):
        self.neonfs.remove(name)

    def stock_copy(self, name):
        """The base on ext4, ready to recover. Not timed: a base backup has to be restored from somewhere, and that is pgBackRest's part."""
        path = os.path.join(self.scratch, name)
        shutil.rmtree(path, ignore_errors=True)
        host.run(["cp", "-a", self.base, path])
        os.sync()
        return path

    def recover_settings(self, distance):
        """Of stock recovery to a point. Nothing is answered before it is reached."""
        return {"restore_command": f"cp {self.wal}/%f %p", "recovery_target_lsn": self.points[distance], "recovery_target_action": "promote",
                "hot_standby": "off"}

    def branch_id(self):
        return json.loads(self.neonfs.branch("show", "main", "--json"))["id"]

    def daemon_log(self):
        with open(os.path.join(self.neonfs.store, "neonfs.log"), errors="replace") as log:
            return log.read()


def wal_name(lsn, segment=16 << 20):
    return f"{1:08X}{lsn >> 32:08X}{(lsn & 0xFFFFFFFF) // segment:08X}"
