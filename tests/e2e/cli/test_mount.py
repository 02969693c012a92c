"""neonfs mount and umount."""
import json
import os
import signal
import subprocess
import unittest

from workplace import BRANCH, FAILED, NEONFS, OK, Workplace, is_mounted, process_lives, run, wait_for


class Mount(Workplace):
    mount_at_start = False

    def test_mount_and_umount(self):
        self.mount()
        self.assertTrue(is_mounted(self.mountpoint))
        pid = self.daemon_pid()
        self.branch_done("create", "main")
        self.write("main/file", "data")
        self.umount()
        self.assertFalse(is_mounted(self.mountpoint))
        self.assertFalse(process_lives(pid), "umount returned before the daemon had ended")
        self.assertNotIn("control.sock", os.listdir(self.store))
        self.assertNotIn("neonfs.mount", os.listdir(self.store))
        self.mount()
        self.assertEqual(self.read("main/file"), "data")

    def test_cache_modes(self):
        for cache in ("back", "through"):
            self.mount(f"--cache={cache}")
            self.assertEqual(self.status()["mount"]["cache"], cache)
            self.umount()

    def test_odd_paths(self):
        for name in ("with space", "with,comma", "with\\backslash", "ünïcode", "-dash"):
            os.mkdir(os.path.join(self.top, name))
            store, mountpoint = os.path.join(self.top, name, "store"), os.path.join(self.top, name, "mount")
            os.mkdir(mountpoint)
            self.done(NEONFS, "init", store)
            self.done(NEONFS, "mount", store, mountpoint)
            self.done(BRANCH, "create", "main", cwd=mountpoint)
            self.assertEqual(os.listdir(mountpoint), ["main"])
            self.done(NEONFS, "umount", mountpoint)

    def test_relative_paths_and_a_trailing_slash(self):
        self.done(NEONFS, "mount", "store", "mount/", cwd=self.top)
        self.assertEqual(self.status()["mount"]["mountpoint"], self.mountpoint)
        self.done(NEONFS, "umount", "./mount", cwd=self.top)

    def test_bad_store(self):
        self.one_line(run(NEONFS, "mount", self.top + "/none", self.mountpoint), FAILED, "does not exist", "neonfs init")
        self.one_line(run(NEONFS, "mount", "/dev/null", self.mountpoint), FAILED, "not a directory")
        os.mkdir(self.top + "/foreign")
        with open(self.top + "/foreign/file", "w") as file:
            file.write("x")
        self.one_line(run(NEONFS, "mount", self.top + "/foreign", self.mountpoint), FAILED)
        self.assertFalse(is_mounted(self.mountpoint))

    def test_bad_mountpoint(self):
        with open(self.top + "/file", "w") as file:
            file.write("x")
        os.mkdir(self.top + "/full")
        os.mkdir(self.top + "/full/sub")
        cases = [("none", "does not exist"), ("file", "not a directory"), ("full", "not empty"),
                 ("none/below", "cannot be reached"), ("file/below", "Not a directory")]
        for name, fragment in cases:
            self.one_line(run(NEONFS, "mount", self.store, os.path.join(self.top, name)), FAILED, fragment)
        self.one_line(run(NEONFS, "mount", self.store, "/proc"), FAILED, "busy", "is mounted there")
        self.one_line(run(NEONFS, "mount", self.store, self.store), FAILED, "must not lie in each other")
        self.assertFalse(self.status()["mounted"])

    def test_second_daemon(self):
        self.mount()
        pid = self.daemon_pid()
        os.mkdir(self.top + "/second")
        self.one_line(run(NEONFS, "mount", self.store, self.top + "/second"), FAILED, "mounted already", self.mountpoint)
        self.one_line(run(NEONFS, "mount", self.store, self.mountpoint), FAILED, "mounted already")
        self.assertFalse(is_mounted(self.top + "/second"))
        self.assertEqual(self.daemon_pid(), pid)

    def test_second_daemon_when_the_socket_is_lost(self):
        self.mount()
        os.unlink(self.store + "/control.sock")
        os.mkdir(self.top + "/second")
        self.one_line(run(NEONFS, "mount", self.store, self.top + "/second"), FAILED)
        self.assertFalse(is_mounted(self.top + "/second"))
        self.assertEqual(os.listdir(self.mountpoint), [])

    def test_second_store_at_the_same_place(self):
        self.mount()
        self.done(NEONFS, "init", self.top + "/other")
        self.one_line(run(NEONFS, "mount", self.top + "/other", self.mountpoint), FAILED, "busy", "is mounted there")

    def test_after_a_killed_daemon(self):
        self.mount()
        self.branch_done("create", "main")
        self.write("main/file", "kept")
        self.kill_daemon()
        self.assertTrue(is_mounted(self.mountpoint))
        with self.assertRaises(OSError):
            os.listdir(self.mountpoint)
        result = run(NEONFS, "mount", self.store, self.mountpoint)
        self.assertEqual(result.returncode, OK, result.stderr)
        self.assertIn("dead mount", result.stderr)
        self.assertEqual(self.read("main/file"), "kept")

    def test_after_a_killed_daemon_somewhere_else(self):
        self.mount()
        self.kill_daemon()
        os.mkdir(self.top + "/second")
        self.done(NEONFS, "mount", self.store, self.top + "/second")
        self.assertFalse(is_mounted(self.mountpoint), "the dead mount is still there")

    def test_umount_of_a_dead_mount(self):
        self.mount()
        self.kill_daemon()
        self.assertEqual(run(NEONFS, "umount", self.mountpoint).returncode, OK)
        self.assertFalse(is_mounted(self.mountpoint))


class Umount(Workplace):
    def test_busy(self):
        self.branch_done("create", "main")
        with open(self.path("main", "file"), "w"):
            self.one_line(run(NEONFS, "umount", self.mountpoint), FAILED, "in use", f"({os.getpid()})")
            self.assertTrue(is_mounted(self.mountpoint))
            self.write("main/other", "still works")
        self.umount()

    def test_busy_many_times(self):
        """A refused umount leaves nothing behind in the daemon."""
        self.branch_done("create", "main")
        with open(self.path("main", "file"), "w"):
            for _ in range(40):
                self.one_line(run(NEONFS, "umount", self.mountpoint), FAILED, "in use")
        self.umount()

    def test_not_a_mount(self):
        self.branch_done("create", "main")
        self.one_line(run(NEONFS, "umount", self.top), FAILED, "nothing is mounted")
        self.one_line(run(NEONFS, "umount", self.top + "/none"), FAILED, "cannot reach")
        self.one_line(run(NEONFS, "umount", "/proc"), FAILED, "no neonfs mount", "proc")
        self.one_line(run(NEONFS, "umount", self.path("main")), FAILED, "inside a neonfs mount", self.mountpoint)
        self.assertTrue(is_mounted(self.mountpoint))

    def test_umount_of_a_store_that_was_moved_away(self):
        pid = self.daemon_pid()
        os.rename(self.store, self.store + "-moved")
        result = run(NEONFS, "umount", self.mountpoint)
        self.assertEqual(result.returncode, OK, result.stderr)
        self.assertIn("could not be asked", result.stderr)
        self.assertFalse(is_mounted(self.mountpoint))
        self.assertTrue(wait_for(lambda: not process_lives(pid)))

    def test_plain_umount_ends_the_daemon_and_mount_waits_for_it(self):
        self.branch_done("create", "main")
        self.write("main/file", "x" * 1000000)
        pid = self.daemon_pid()
        self.done("umount", self.mountpoint)
        self.mount()
        self.assertFalse(process_lives(pid))
        self.assertEqual(len(self.read("main/file")), 1000000)

    def test_sigterm_unmounts(self):
        self.branch_done("create", "main")
        self.write("main/file", "x")
        pid = self.daemon_pid()
        os.kill(pid, signal.SIGTERM)
        self.assertTrue(wait_for(lambda: not process_lives(pid)))
        self.assertFalse(is_mounted(self.mountpoint))
        self.assertNotIn("last_mount", self.status())

    def test_sigterm_while_in_use(self):
        self.branch_done("create", "main")
        pid = self.daemon_pid()
        with open(self.path("main", "file"), "w") as file:
            os.kill(pid, signal.SIGTERM)
            self.assertTrue(wait_for(lambda: not is_mounted(self.mountpoint)))
            file.write("written after the signal")
            file.flush()
            os.fsync(file.fileno())
            self.assertTrue(process_lives(pid))
        self.assertTrue(wait_for(lambda: not process_lives(pid)))
        self.mount()
        self.assertEqual(self.read("main/file"), "written after the signal")


class Foreground(Workplace):
    mount_at_start = False

    def test_foreground(self):
        daemon = subprocess.Popen([NEONFS, "mount", "-f", self.store, self.mountpoint], stderr=subprocess.PIPE, text=True)
        try:
            self.assertTrue(wait_for(lambda: is_mounted(self.mountpoint) and os.path.exists(self.store + "/control.sock")))
            self.assertEqual(self.daemon_pid(), daemon.pid)
            daemon.send_signal(signal.SIGINT)
            self.assertIn("in service", daemon.communicate(timeout=60)[1])
            self.assertEqual(daemon.returncode, 0)
        finally:
            if daemon.poll() is None:
                daemon.kill()
                daemon.communicate()

    def test_foreground_failure(self):
        self.one_line(run(NEONFS, "mount", "-f", self.store, self.top + "/none"), FAILED, "does not exist")

    def test_nothing_keeps_the_callers_pipe_open(self):
        """A script that captures the output of mount gets its end at once."""
        result = run("/bin/sh", "-c", f'out=$("{NEONFS}" mount "{self.store}" "{self.mountpoint}" 2>&1); echo "got:$out"',
                     timeout=60)
        self.assertEqual(result.stdout, "got:\n")


class Permission(Workplace):
    def test_other_users_cannot_command(self):
        self.one_line(run(BRANCH, "--store", self.store, "list", user=65534), FAILED, "belongs to another user")
        self.one_line(run(NEONFS, "status", self.store, user=65534), FAILED, "belongs to another user")

    def test_the_socket_is_private(self):
        self.assertEqual(os.stat(self.store + "/control.sock").st_mode & 0o777, 0o600)
        self.assertEqual(os.stat(self.store + "/neonfs.log").st_mode & 0o777, 0o600)
        with open(self.store + "/neonfs.mount") as record:
            self.assertEqual(json.load(record)["mountpoint"], self.mountpoint)


if __name__ == "__main__":
    unittest.main()
