"""WAL of stock Postgres, made to measure: each kind in a cluster of its own, of which only the segments are kept."""

import glob
import os
import re
import shutil

import host
from host import Failure

BINDIR = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: float(path.split("/")[4]))[-1]
OWNER = "postgres"
SETTINGS = ["listen_addresses = ''", "fsync = off", "synchronous_commit = off", "max_wal_size = 20GB", "checkpoint_timeout = 1h", "wal_keep_size = 20000",
            "shared_buffers = 1GB", "autovacuum = off", "wal_recycle = off", "max_connections = 60"]


# A transaction of pgbench's TPC-B, many to a call: the same records at ten times the speed of separate statements.
TPCB = """
CREATE PROCEDURE tpcb(rounds int) LANGUAGE plpgsql AS $$
DECLARE
    scale int := (SELECT count(*) FROM pgbench_branches);
    account int; teller int; branch int; delta int;
BEGIN
    FOR i IN 1 .. rounds LOOP
        account := 1 + random() * (100000 * scale - 1);
        teller := 1 + random() * (10 * scale - 1);
        branch := 1 + random() * (scale - 1);
        delta := -5000 + random() * 10000;
        UPDATE pgbench_accounts SET abalance = abalance + delta WHERE aid = account;
        UPDATE pgbench_tellers SET tbalance = tbalance + delta WHERE tid = teller;
        UPDATE pgbench_branches SET bbalance = bbalance + delta WHERE bid = branch;
        INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (teller, branch, account, delta, CURRENT_TIMESTAMP);
        COMMIT;
    END LOOP;
END $$"""


class Server:
    """A cluster in `directory`; it is running until stop or crash."""

    def __init__(self, directory, settings=()):
        self.directory, self.data = directory, os.path.join(directory, "data")
        os.makedirs(directory)
        shutil.chown(directory, OWNER, OWNER)
        host.run([f"{BINDIR}/initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "--no-sync"], user=OWNER)
        with open(f"{self.data}/postgresql.conf", "a") as f:
            f.write("\n".join([*SETTINGS, f"unix_socket_directories = '{directory}'", *settings]) + "\n")
        self.control("start")

    def control(self, *words):
        host.run([f"{BINDIR}/pg_ctl", "-D", self.data, "-w", "-t", "600", "-l", f"{self.directory}/log", *words], user=OWNER, timeout=700)

    def sql(self, text):
        return host.run([f"{BINDIR}/psql", "-h", self.directory, "-U", "postgres", "-XAtq", "-c", text], user=OWNER).strip()

    def pgbench(self, *words):
        host.run([f"{BINDIR}/pgbench", "-h", self.directory, "-U", "postgres", *words, "postgres"], user=OWNER, timeout=900)

    def tpcb(self, scale, transactions):
        """pgbench's tables, then that many transactions, without an image."""
        self.pgbench("-i", "-q", "-s", str(scale))
        self.sql(TPCB)
        self.sql("CHECKPOINT")
        begin = self.position(), self.segment()
        self.sql(f"CALL tpcb({transactions})")
        return begin

    def position(self):
        high, low = self.sql("SELECT pg_current_wal_insert_lsn()").split("/")
        return int(high, 16) << 32 | int(low, 16)

    def segment(self):
        return self.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")


def keep_segments(server, first, path):
    """Only complete segments from `first` on."""
    last = server.segment()
    server.control("-m", "fast", "stop")
    names = sorted(name for name in os.listdir(f"{server.data}/pg_wal") if re.fullmatch("[0-9A-F]{24}", name) and first < name < last)
    if not names:
        raise Failure("the run wrote not even one segment of WAL; give it more --transactions")
    os.makedirs(path)
    for name in names[:16]:
        shutil.copy(f"{server.data}/pg_wal/{name}", path)
    shutil.rmtree(server.directory)


def make_images(path, options):
    """Nearly every record has an image: a checkpoint twice a second, one update a page."""
    server = Server(path + ".cluster")
    server.pgbench("-i", "-q", "-s", str(options.scale))
    server.sql("CHECKPOINT")
    first = server.segment()
    for turn in range(6):
        server.sql(f"UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid % 60 = {turn}")
        server.sql("CHECKPOINT")
    keep_segments(server, first, path)


def make_pgbench(path, options):
    server = Server(path + ".cluster", ["full_page_writes = off"])
    _, first = server.tpcb(options.scale, options.transactions)
    keep_segments(server, first, path)


def make_hot(path, options):
    """Few pages that are changed again and again after an image."""
    server = Server(path + ".cluster")
    server.pgbench("-i", "-q", "-s", "1")
    server.sql("CREATE TABLE hot (id int PRIMARY KEY, value int) WITH (fillfactor = 50); "
               "INSERT INTO hot SELECT i, 0 FROM generate_series(1, 2000) i; CHECKPOINT")
    for turn in range(400):
        server.sql("UPDATE hot SET value = value + 1 WHERE id % 10 = " + str(turn % 10))
    server.sql("SELECT pg_switch_wal()")
    server.sql("CREATE TABLE more AS SELECT 1 AS one")
    keep_segments(server, "0" * 24, path)


def make_mixed(path, options):
    """The workloads of tests/redo: every record type."""
    work = path + ".cluster"
    host.run([os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/redo/make-wal"), work, "--load", "5",
              "--bindir", BINDIR], timeout=900)
    os.makedirs(path)
    for name in sorted(os.listdir(f"{work}/data/pg_wal")):
        if re.fullmatch("[0-9A-F]{24}", name):
            shutil.copy(f"{work}/data/pg_wal/{name}", path)
    shutil.rmtree(work)


def make_crashed(path, options):
    """A data directory whose server died long after its last checkpoint: all of pgbench's WAL is still to be replayed, without an image."""
    server = Server(path + ".cluster", ["full_page_writes = off"])
    server.tpcb(options.scale, options.transactions)
    server.control("-m", "immediate", "stop")
    os.rename(server.directory, path)
