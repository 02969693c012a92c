#!/usr/bin/env python3
"""The mount's root: branches, snapshot views, and what is refused there."""
import errno
import os
import stat
import time

import mounted
from mounted import MountedTest, read_file, write_file


class Root(MountedTest):
    def top(self, *names):
        return os.path.join(self.mount.path, *names)

    def test_lists_branches_only(self):
        self.assertTrue({"main", "other"} <= set(os.listdir(self.mount.path)))
        for name in os.listdir(self.mount.path):
            self.assertNotIn("@", name)
            self.assertTrue(stat.S_ISDIR(os.stat(self.top(name)).st_mode))

    def test_is_not_writable(self):
        self.assertErrno(errno.EPERM, os.mkdir, self.top("new"))
        self.assertErrno(errno.EPERM, write_file, self.top("file"), b"")
        self.assertErrno(errno.EPERM, os.symlink, "x", self.top("s"))
        self.assertErrno(errno.EPERM, os.rmdir, self.top("other"))
        self.assertErrno(errno.EPERM, os.rename, self.top("other"), self.top("another"))
        self.assertErrno(errno.EXDEV, os.rename, self.at(), self.top("another"))
        self.assertErrno(errno.EPERM, os.chmod, self.mount.path, 0o777)
        self.assertErrno(errno.EPERM, os.setxattr, self.mount.path, "user.x", b"")
        self.assertEqual(os.listxattr(self.mount.path), [])

    def test_foreign_names_are_not_there(self):
        for name in ("nope", "main@", "@", "@x", "main@nope", "main@a@b", "nope@snap", "-x", ".hidden", "n" * 255):
            self.assertErrno(errno.ENOENT, os.stat, self.top(name))
        self.assertErrno(errno.ENAMETOOLONG, os.stat, self.top("n" * 256))

    def test_numbers_differ_between_branches(self):
        numbers = [os.stat(self.top(name)).st_ino for name in ("main", "other", ".")]
        self.assertEqual(len(set(numbers)), 3)
        self.make("f")
        write_file(os.path.join(self.other, "f"), b"")
        self.assertNotEqual(os.stat(self.at("f")).st_ino, os.stat(os.path.join(self.other, "f")).st_ino)

    def test_parent_of_a_branch_is_the_root(self):
        self.assertEqual(os.stat(self.top("main", "..")).st_ino, os.stat(self.mount.path).st_ino)
        with os.scandir(self.mount.path) as entries:
            for entry in entries:
                self.assertEqual(entry.inode(), os.stat(entry.path).st_ino)

    def test_statfs(self):
        st = os.statvfs(self.mount.path)
        self.assertEqual(st.f_namemax, 255)
        self.assertGreater(st.f_blocks, st.f_bfree)
        self.assertGreater(st.f_bavail, 0)
        self.assertGreater(st.f_ffree, 0)

    def test_free_space_falls_with_data(self):
        before = os.statvfs(self.dir)
        write_file(self.at("f"), mounted.pattern(64 << 20))
        os.sync()
        after = os.statvfs(self.dir)
        if self.mount.borrowed and before.f_bfree == after.f_bfree:
            self.skipTest("the borrowed mount does not count")
        self.assertLessEqual(after.f_bfree * after.f_frsize, before.f_bfree * before.f_frsize - (32 << 20))


class Branches(MountedTest):
    def setUp(self):
        self.own_store()
        super().setUp()
        self.branch = self.mount.branch

    def top(self, *names):
        return os.path.join(self.mount.path, *names)

    def test_new_branch_is_seen_at_once(self):
        self.assertErrno(errno.ENOENT, os.stat, self.top("dev"))
        self.make("f", b"parent")
        fd = os.open(self.at("f"), os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        self.branch("create", "dev", "--from", "main")
        self.assertIn("dev", os.listdir(self.mount.path))
        child = self.at("f").replace(self.main, self.top("dev"))
        self.assertEqual(read_file(child), b"parent")
        self.assertNotEqual(os.stat(child).st_ino, os.stat(self.at("f")).st_ino)
        write_file(child, b"child")
        self.assertEqual(read_file(self.at("f")), b"parent")
        write_file(self.at("f"), b"again")
        self.assertEqual(read_file(child), b"child")
        self.branch("delete", "dev")
        self.assertErrno(errno.ENOENT, os.stat, self.top("dev"))
        self.assertNotIn("dev", os.listdir(self.mount.path))

    def test_renamed_branch(self):
        self.branch("create", "old")
        write_file(self.top("old", "f"), b"x")
        self.branch("rename", "old", "new")
        self.assertErrno(errno.ENOENT, os.stat, self.top("old"))
        self.assertEqual(read_file(self.top("new", "f")), b"x")
        self.branch("delete", "new")

    def test_deleted_name_used_again_is_another_branch(self):
        for text in (b"first", b"second"):
            self.branch("create", "again")
            self.assertEqual(os.listdir(self.top("again")), [])
            write_file(self.top("again", "f"), text)
            self.assertEqual(read_file(self.top("again", "f")), text)
            self.branch("delete", "again")

    def test_branch_in_use_is_not_deleted(self):
        self.branch("create", "busy")
        write_file(self.top("busy", "f"), b"x")
        fd = os.open(self.top("busy", "f"), os.O_RDONLY)
        with self.assertRaisesRegex(RuntimeError, "use"):
            self.branch("delete", "busy")
        self.assertEqual(os.read(fd, 10), b"x")
        os.close(fd)
        self.delete_soon("busy")

    def delete_soon(self, name):
        """close() does not wait for RELEASE, so the branch may be in use for a moment more."""
        for _ in range(100):
            try:
                self.branch("delete", name)
                return
            except RuntimeError:
                time.sleep(0.02)
        self.branch("delete", name)

    def test_snapshot_view_is_read_only_and_not_listed(self):
        self.make("f", b"then")
        self.branch("snapshot", "main@shot")
        write_file(self.at("f"), b"now")
        self.make("g")
        view = self.dir.replace(self.main, self.top("main@shot"))
        self.assertEqual(read_file(os.path.join(view, "f")), b"then")
        self.assertEqual(os.listdir(view), ["f"])
        self.assertNotIn("main@shot", os.listdir(self.mount.path))
        self.assertNotEqual(os.stat(os.path.join(view, "f")).st_ino, os.stat(self.at("f")).st_ino)
        f = os.path.join(view, "f")
        for call in (lambda: write_file(f, b""), lambda: os.open(f, os.O_RDWR), lambda: os.unlink(f),
                     lambda: os.mkdir(os.path.join(view, "d")), lambda: os.chmod(f, 0o600),
                     lambda: os.truncate(f, 0), lambda: os.rename(f, f + "x"), lambda: os.utime(f),
                     lambda: os.link(f, f + "x"), lambda: os.setxattr(f, "user.x", b"")):
            self.assertErrno(errno.EROFS, call)
        self.assertEqual(read_file(f), b"then")

    def test_everything_is_there_after_a_new_mount(self):
        self.make("f", mounted.pattern(100_000), mode=0o640)
        os.symlink("f", self.at("s"))
        os.link(self.at("f"), self.at("h"))
        os.setxattr(self.at("f"), "user.key", b"value")
        os.chown(self.at("f"), 1234, 4321)
        os.utime(self.at("f"), ns=(1_000_000_001, 2_000_000_003))
        os.mkdir(self.at("d"), 0o2770)
        before = {n: os.lstat(self.at(n)) for n in ("f", "s", "h", "d")}
        self.mount.remount()
        for name, old in before.items():
            new = os.lstat(self.at(name))
            for field in ("st_ino", "st_mode", "st_uid", "st_gid", "st_nlink", "st_size", "st_mtime_ns",
                          "st_ctime_ns", "st_atime_ns"):
                self.assertEqual(getattr(new, field), getattr(old, field), (name, field))
        self.assertEqual(read_file(self.at("f")), mounted.pattern(100_000))
        self.assertEqual(os.readlink(self.at("s")), "f")
        self.assertEqual(os.getxattr(self.at("f"), "user.key"), b"value")

    def test_unlinked_open_files_leave_nothing_behind(self):
        path = self.make("f", mounted.pattern(1 << 20))
        fd = os.open(path, os.O_RDWR)
        os.unlink(path)
        os.close(fd)
        self.mount.remount()
        self.assertEqual(os.listdir(self.dir), [])


if __name__ == "__main__":
    mounted.main()
