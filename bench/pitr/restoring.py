"""pgBackRest beside neonfs: one full backup at the checkpoint, the WAL archived as it comes, restored to an LSN on ext4."""

import os
import shutil

import host
import systems
from host import Failure

PROGRAM = "/usr/bin/pgbackrest"


class Repository:
    def __init__(self, scratch, cleanup):
        self.path, self.scratch = os.path.join(scratch, "pgbackrest"), scratch
        if not os.path.exists(PROGRAM):
            host.say("installing pgbackrest")
            host.run(["apt-get", "install", "-y", "-q", "--no-install-recommends", "pgbackrest"], timeout=600)
        if not os.path.exists(PROGRAM):
            raise Failure("pgbackrest cannot be installed; leave --pgbackrest out")
        for name in ("repo", "log", "lock", "spool"):
            os.makedirs(os.path.join(self.path, name))
        # In a file: a command refuses options that are another's, but passes over such settings.
        self.config = os.path.join(self.path, "pgbackrest.conf")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write("[global]\n" + "".join(f"{name}={value}\n" for name, value in {
                "repo1-path": f"{self.path}/repo", "log-path": f"{self.path}/log", "lock-path": f"{self.path}/lock",
                "spool-path": f"{self.path}/spool", "compress-type": "lz4", "process-max": 2, "log-level-console": "warn"}.items()))
        host.run(["chown", "-R", f"{systems.OWNER}:", self.path])

    def _command(self, data, *words):
        return [PROGRAM, f"--config={self.config}", "--stanza=main", f"--pg1-path={data}", *words]

    def settings(self, root):
        command = " ".join(self._command(os.path.join(root, "main"), "archive-push", "%p"))
        return {"archive_mode": "on", "archive_command": command}

    def back_up(self, server):
        connection = [f"--pg1-port={server.port}", f"--pg1-socket-path={server.sockets}"]
        host.run(self._command(server.data, *connection, "stanza-create"), user=systems.OWNER, timeout=600)
        host.run(self._command(server.data, *connection, "--type=full", "--start-fast", "backup"), user=systems.OWNER, timeout=3600)

    def restore(self, path, lsn):
        """Into an empty directory; Postgres recovers when it is started."""
        shutil.rmtree(path, ignore_errors=True)
        os.mkdir(path, 0o700)
        shutil.chown(path, systems.OWNER, systems.OWNER)
        host.run(self._command(path, "--type=lsn", f"--target={lsn}", "--target-action=promote", "restore"), user=systems.OWNER, timeout=3600)
