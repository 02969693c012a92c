"""neonfs-branch init: a branch with a Postgres cluster."""
import glob
import os
import pwd
import unittest

from workplace import FAILED, USAGE, Workplace

BINDIRS = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[-2]))
INITDB_WORDS = ["--", "--auth=trust", "--no-sync", "--no-locale"]


def script(path, text):
    with open(path, "w") as file:
        file.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


class WithPostgres(Workplace):
    def setUp(self):
        if not BINDIRS:
            self.skipTest("no PostgreSQL in /usr/lib/postgresql")
        super().setUp()

    def conf(self, name="main"):
        values = {}
        with open(self.path(name, "postgresql.conf")) as file:
            for line in file:
                line = line.split("#")[0].strip()
                if "=" in line:
                    key, value = line.split("=", 1)
                    values[key.strip()] = value.strip()
        return values

    def test_a_cluster_that_starts_and_its_branch(self):
        self.branch_done("init", "main", *INITDB_WORDS)
        owner = pwd.getpwnam("postgres")
        self.assertEqual(os.stat(self.path("main")).st_uid, owner.pw_uid)
        self.assertEqual(os.stat(self.path("main", "postgresql.conf")).st_uid, owner.pw_uid)
        settings = self.conf()
        self.assertEqual(settings["full_page_writes"], "on")
        for name, value in (("wal_recycle", "off"), ("wal_init_zero", "off"), ("wal_level", "replica")):
            self.assertEqual(settings[name], value)
        self.pg_ctl("main", "start")
        try:
            self.sql("main", "create table t as select generate_series(1, 1000) as i")
            self.branch_done("create", "dev", "--from", "main")
            self.assertFalse(os.path.exists(self.path("dev", "postmaster.pid")))
            self.pg_ctl("dev", "start")
            try:
                self.sql("dev", "delete from t where i > 10")
                self.assertEqual(self.sql("dev", "select count(*) from t"), "10")
                self.assertEqual(self.sql("main", "select count(*) from t"), "1000")
                self.refused(["delete", "dev"], FAILED, "is in use", "pg_ctl stop")
            finally:
                self.pg_ctl("dev", "stop")
            self.branch_done("delete", "dev")
        finally:
            self.pg_ctl("main", "stop")

    def pg_ctl(self, name, action):
        """The server has no port, only a socket in a directory named after the branch."""
        sockets = os.path.join(self.top, "sockets-" + name)
        os.makedirs(sockets, exist_ok=True)
        os.chmod(sockets, 0o777)
        words = [BINDIRS[-1] + "/pg_ctl", "-D", self.path(name), "-w", "-l", sockets + "/log"]
        if action == "start":
            words += ["-o", f"-c listen_addresses='' -c unix_socket_directories='{sockets}'"]
        else:
            words += ["-m", "fast"]
        self.done(*words, action, user=pwd.getpwnam("postgres").pw_uid, cwd="/")

    def sql(self, name, text):
        return self.done(BINDIRS[-1] + "/psql", "-XAtq", "-h", os.path.join(self.top, "sockets-" + name), "-d", "postgres",
                         "-v", "ON_ERROR_STOP=1", "-c", text, user=pwd.getpwnam("postgres").pw_uid, cwd="/").strip()

    def test_full_page_writes_follow_the_cache_mode(self):
        self.umount()
        self.mount("--cache=through")
        self.branch_done("init", "main", "--pg-bindir", BINDIRS[-1], *INITDB_WORDS)
        self.assertEqual(self.conf()["full_page_writes"], "off")

    def test_words_of_initdb_arrive_and_its_failure_undoes_the_branch(self):
        result = self.branch("init", "main", "--", "--encoding=NOSUCH")
        self.assertEqual(result.returncode, FAILED)
        self.assertIn("NOSUCH", result.stderr)
        self.assertEqual(result.stderr.splitlines()[-1], "neonfs-branch: init main: initdb failed; it said why above")
        self.assertEqual(self.branches(), {})


class WithoutPostgres(Workplace):
    """With programs called initdb that do what a test wants."""

    def setUp(self):
        super().setUp()
        self.bindir = self.top + "/bin"
        os.mkdir(self.bindir)

    def init(self, *words):
        return self.branch("init", "main", "--pg-bindir", self.bindir, "--owner", "nobody", *words)

    def test_refusals(self):
        self.refused(["init", "main", "--pg-bindir", self.top + "/none"], FAILED, "no initdb in")
        self.refused(["init", "main", "--owner", "nosuchuser"], FAILED, 'no user "nosuchuser"')
        self.refused(["init", "main", "--owner", "root"], FAILED, "does not run as root")
        for words in (["-D", "/x"], ["-X/x"], ["--waldir=/x"], ["--waldir", "/x"], ["--pgdata=/x"], ["-kX", "/x"], ["--wald=/x"]):
            self.refused(["init", "main", "--", *words], USAGE, "must lie in the branch")

    def test_a_name_that_cannot_be_or_is_taken(self):
        script(self.bindir + "/initdb", "touch $2/postgresql.conf")
        self.branch_done("create", "taken")
        words = ["--pg-bindir", self.bindir, "--owner", "nobody"]
        self.refused(["init", "taken", *words], FAILED, "exists already")
        self.refused(["init", "a/b", *words], USAGE, "no valid branch name")
        self.assertEqual(os.listdir(self.path("taken")), [])

    def test_initdb_that_fails(self):
        script(self.bindir + "/initdb", 'touch "$2/half"; echo "it went wrong" >&2; exit 1')
        result = self.init()
        self.assertEqual(result.returncode, FAILED)
        self.assertIn("it went wrong", result.stderr)
        self.assertEqual(self.branches(), {})
        self.assertEqual(os.listdir(self.mountpoint), [])

    def test_initdb_that_makes_no_configuration(self):
        script(self.bindir + "/initdb", "exit 0")
        self.assertIn("postgresql.conf", self.init().stderr)
        self.assertEqual(self.branches(), {})

    def test_initdb_gets_its_words_and_runs_as_the_owner(self):
        script(self.bindir + "/initdb", 'touch "$2/postgresql.conf"; echo "$@" > "$2/words"; id -un > "$2/user"; pwd > "$2/cwd"')
        self.assertEqual(self.init("--", "--one", "two words").returncode, 0)
        self.assertEqual(self.read("main/words").strip(), f"-D {self.path('main')} --one two words")
        self.assertEqual(self.read("main/user").strip(), "nobody")
        self.assertEqual(self.read("main/cwd").strip(), "/")

    def test_configuration_through_a_link_is_refused(self):
        """Root must not be led by the cluster's owner to another file."""
        victim = self.top + "/victim"
        with open(victim, "w") as file:
            file.write("untouched")
        script(self.bindir + "/initdb", f'ln -s {victim} "$2/postgresql.conf"')
        self.assertEqual(self.init().returncode, FAILED)
        with open(victim) as file:
            self.assertEqual(file.read(), "untouched")

    def test_not_mounted(self):
        script(self.bindir + "/initdb", "exit 0")
        self.umount()
        self.one_line(self.init(), FAILED, "is not mounted")


if __name__ == "__main__":
    unittest.main()
