"""A Postgres server on a data directory of one of the systems, and pgbench against it."""

import glob
import os
import re
import tempfile
import time

import host
from host import Failure
from systems import OWNER, PG_BIN

# The same on every system, given on the command line. What neonfs-branch init sets in a branch (and ext4, xfs and
# btrfs leave at Postgres's default) stays as it is, and is recorded with the results.
SETTINGS = {
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "5min",
    "wal_buffers": "64MB",  # neonfs-branch init sets it; it helps every file system, so all have it
    "listen_addresses": "",
}


class Cluster:
    _next_port = 6100

    def __init__(self, system, name, cleanup):
        self.system = system
        self.name = name
        self.cleanup = cleanup
        self.sockets = os.path.join(system.scratch, "sockets")
        self.port = Cluster._next_port
        Cluster._next_port += 1
        self.log = os.path.join(system.scratch, "logs", f"{system.name}-{name}.log")
        self.data = system.make_cluster(name)
        self.more_settings = {}
        self._stop_step = None

    def start(self):
        settings = {**SETTINGS, **self.more_settings}
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        # Known before it is true, so that a start that fails half-way is stopped too.
        self._stop_step = self.cleanup.add(f"stop Postgres in {self.data}", self._stop)
        try:
            host.run([f"{PG_BIN}/pg_ctl", "-s", "-w", "-t", "300", "-D", self.data, "-l", self.log,
                      "-o", f"-p {self.port} -k '{self.sockets}' {options}", "start"], user=OWNER)
        except Failure as failure:
            raise Failure(f"{failure}; the server's log ends: {self._log_tail()}")

    def _log_tail(self):
        try:
            with open(self.log) as f:
                return " / ".join(f.read().strip().splitlines()[-3:])
        except OSError:
            return "(no log)"

    def _stop(self):
        if os.path.exists(os.path.join(self.data, "postmaster.pid")):
            host.run([f"{PG_BIN}/pg_ctl", "-s", "-w", "-t", "300", "-D", self.data, "-m", "fast", "stop"], user=OWNER)

    def stop(self):
        self._stop()
        self.cleanup.done(self._stop_step)

    def cold_restart(self):
        self.stop()
        self.system.cold()
        self.start()

    def sql(self, text):
        return host.run([f"{PG_BIN}/psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", self.sockets,
                         "-p", self.port, "-U", "postgres", "-d", "postgres", "-c", text], user=OWNER).strip()

    def timed_sql(self, text):
        """Seconds the server and one round trip take, without psql's start."""
        with tempfile.NamedTemporaryFile("w", suffix=".sql", dir=os.path.join(self.system.scratch, "logs")) as script:
            script.write(f"\\timing on\n{text};\n")
            script.flush()
            os.chmod(script.name, 0o644)
            output = host.run([f"{PG_BIN}/psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", self.sockets,
                               "-p", self.port, "-U", "postgres", "-d", "postgres", "-f", script.name], user=OWNER)
        return float(re.findall(r"^Time: ([0-9.]+) ms", output, re.MULTILINE)[-1]) / 1000

    def settings(self):
        """What differs from Postgres's defaults, without what only names this run's places."""
        rows = self.sql("SELECT name || '=' || current_setting(name) FROM pg_settings WHERE source NOT IN "
                        "('default', 'override', 'client', 'environment variable') AND name NOT IN ('port', "
                        "'unix_socket_directories', 'log_timezone', 'TimeZone', 'default_text_search_config') "
                        "AND name NOT LIKE 'lc_%' ORDER BY name")
        return rows.splitlines()

    def _pgbench(self, *arguments):
        return [f"{PG_BIN}/pgbench", "-h", self.sockets, "-p", str(self.port), "-U", "postgres", *arguments, "postgres"]

    def load(self, scale):
        """pgbench -i; seconds."""
        began = time.monotonic()
        host.run(self._pgbench("-i", "-q", "-s", str(scale)), user=OWNER)
        return time.monotonic() - began

    def pgbench_start(self, script, seconds, clients=8, log=None):
        """Start pgbench in the background; pass what it returns to pgbench_finish. `log`: the prefix of files that get a line for each
        transaction; commit_times reads them."""
        logging = ["-l", "--log-prefix", log] if log else []
        process = host.start(self._pgbench("-b", script, "-c", str(clients), "-j", "2", "-T", str(seconds), *logging), user=OWNER)
        step = self.cleanup.add("end pgbench", process.kill)
        return process, step

    def pgbench_finish(self, started):
        """Transactions a second."""
        process, step = started
        output, _ = process.communicate()
        self.cleanup.done(step)
        found = re.search(r"^tps = ([0-9.]+) \(without", output, re.MULTILINE)
        if process.returncode != 0 or not found:
            raise Failure(f"pgbench on {self.system.name}: exit status {process.returncode}: {output.strip()[-300:]}; "
                          f"the server's log ends: {self._log_tail()}")
        failed = re.search(r"^number of failed transactions: ([0-9]+)", output, re.MULTILINE)
        if failed and failed.group(1) != "0":
            raise Failure(f"pgbench on {self.system.name}: {failed.group(1)} transactions failed")
        return float(found.group(1))

    @staticmethod
    def commit_times(log):
        """When the transactions of a pgbench with this log prefix ended, in order (time.time()). Removes the files."""
        times = []
        for path in glob.glob(f"{log}.*"):
            with open(path) as f:
                for line in f:
                    fields = line.split()
                    times.append(int(fields[4]) + int(fields[5]) / 1e6)
            os.unlink(path)
        return sorted(times)

    def pgbench(self, script, seconds, clients=8):
        return self.pgbench_finish(self.pgbench_start(script, seconds, clients))

    def remove(self):
        self.stop()
        self.system.remove(self.name)
