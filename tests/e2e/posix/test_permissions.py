#!/usr/bin/env python3
"""Owners, modes and extended attributes; the kernel checks, the store keeps."""
import errno
import os
import stat
import struct

import mounted
from mounted import NOBODY, MountedTest, read_file, write_file

CAPABILITY = "security.capability"
# VFS_CAP_REVISION_2, cap_net_raw permitted
NET_RAW = struct.pack("<5I", 0x02000000, 1 << 13, 0, 0, 0)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


class Permissions(MountedTest):
    def test_kernel_checks_for_others(self):
        secret = self.make("secret", b"x", 0o600)
        os.mkdir(self.at("closed"), 0o700)
        write_file(self.at("closed", "f"), b"x")

        def try_all():
            self.assertErrno(errno.EACCES, read_file, secret)
            self.assertErrno(errno.EACCES, write_file, secret, b"")
            self.assertErrno(errno.EACCES, os.stat, self.at("closed", "f"))
            self.assertErrno(errno.EACCES, os.listdir, self.at("closed"))
            self.assertErrno(errno.EACCES, write_file, self.at("new"), b"")
            self.assertErrno(errno.EACCES, os.unlink, secret)
            self.assertErrno(errno.EPERM, os.chmod, secret, 0o666)
            self.assertErrno(errno.EPERM, os.chown, secret, NOBODY, NOBODY)
            self.assertErrno(errno.EPERM, os.utime, secret, ns=(1, 1))
            self.assertFalse(os.access(secret, os.R_OK))
            self.assertErrno(errno.EACCES, os.mkdir, os.path.join(self.mount.path, "new"))

        self.as_user(try_all)
        self.assertEqual(mode(secret), 0o600)

    def test_branch_root_closed_to_others(self):
        os.chmod(self.main, 0o700)
        try:
            self.as_user(lambda: self.assertErrno(errno.EACCES, os.listdir, self.main))
        finally:
            os.chmod(self.main, 0o755)

    def test_groups(self):
        path = self.make("f", b"x", 0o640)
        os.chown(path, 0, 4242)
        self.as_user(lambda: self.assertErrno(errno.EACCES, read_file, path))
        self.as_user(lambda: self.assertEqual(read_file(path), b"x"), gid=4242)
        self.as_user(lambda: self.assertEqual(read_file(path), b"x"), groups=(4242,))

    def test_new_files_belong_to_their_maker(self):
        os.chmod(self.dir, 0o777)

        def work():
            os.umask(0o027)
            write_file(self.at("f"), b"")
            os.mkdir(self.at("d"))
            os.symlink("f", self.at("s"))

        self.as_user(work, uid=1001, gid=1002)
        for name in ("f", "d", "s"):
            st = os.lstat(self.at(name))
            self.assertEqual((st.st_uid, st.st_gid), (1001, 1002))
        self.assertEqual(mode(self.at("f")), 0o640)
        self.assertEqual(mode(self.at("d")), 0o750)

    def test_create_without_permission_bits(self):
        os.chmod(self.dir, 0o777)

        def work():
            fd = os.open(self.at("f"), os.O_CREAT | os.O_RDWR, 0)
            os.write(fd, b"mine")
            os.close(fd)
            self.assertErrno(errno.EACCES, read_file, self.at("f"))

        self.as_user(work)
        self.assertEqual(mode(self.at("f")), 0)

    def test_sticky_directory(self):
        os.chmod(self.dir, 0o1777)
        path = self.make("roots", b"", 0o666)

        def try_all():
            write_file(self.at("mine"), b"")
            self.assertErrno(errno.EPERM, os.unlink, path)
            self.assertErrno(errno.EPERM, os.rename, path, self.at("stolen"))
            self.assertErrno(errno.EPERM, os.rename, self.at("mine"), path)
            os.unlink(self.at("mine"))

        self.as_user(try_all)
        self.assertEqual(os.listdir(self.dir), ["roots"])

    def test_setgid_directory(self):
        os.chown(self.dir, 0, 4242)
        os.chmod(self.dir, 0o2777)

        def work():
            write_file(self.at("f"), b"")
            os.makedirs(self.at("d", "e"))
            os.symlink("f", self.at("s"))

        self.as_user(work)
        for name in ("f", "d", "d/e", "s"):
            self.assertEqual(os.lstat(self.at(name)).st_gid, 4242, name)
        self.assertTrue(mode(self.at("d")) & stat.S_ISGID)
        self.assertTrue(mode(self.at("d", "e")) & stat.S_ISGID)
        self.assertFalse(mode(self.at("f")) & stat.S_ISGID)

    def test_setgid_file_of_a_foreign_group_loses_the_bit(self):
        path = self.make("f")
        os.chown(path, NOBODY, 4242)
        self.as_user(lambda: os.chmod(path, 0o2755))
        self.assertEqual(mode(path), 0o755)

    def test_owner_may_change_mode_and_group(self):
        path = self.make("f")
        os.chown(path, NOBODY, NOBODY)

        def work():
            os.chmod(path, 0o4711)
            self.assertEqual(mode(path), 0o4711)
            self.assertErrno(errno.EPERM, os.chown, path, 0, -1)
            self.assertErrno(errno.EPERM, os.chown, path, -1, 4242)

        self.as_user(work)


class SetIdBits(MountedTest):
    def suid(self, bits=0o6777):
        path = self.make("f", b"program")
        os.chmod(path, bits)
        self.assertEqual(mode(path), bits)
        return path

    def test_cleared_by_others_writes(self):
        path = self.suid()

        def work():
            with open(path, "r+b") as file:
                file.write(b"P")

        self.as_user(work)
        self.assertEqual(mode(path), 0o777)
        self.assertEqual(read_file(path), b"Program")

    def test_cleared_when_seen_by_the_open_descriptor(self):
        path = self.suid()

        def work():
            fd = os.open(path, os.O_RDWR)
            os.write(fd, b"P")
            self.assertEqual(stat.S_IMODE(os.fstat(fd).st_mode), 0o777)
            os.close(fd)

        self.as_user(work)

    def test_cleared_by_direct_and_synchronous_writes(self):
        for flags in (os.O_DSYNC, os.O_SYNC):
            path = self.suid()

            def work(name=path, more=flags):
                fd = os.open(name, os.O_WRONLY | more)
                os.write(fd, b"P")
                os.close(fd)

            self.as_user(work)
            self.assertEqual(mode(path), 0o777)

    def test_cleared_by_truncation(self):
        path = self.suid()
        self.as_user(lambda: os.truncate(path, 3))
        self.assertEqual(mode(path), 0o777)
        os.chmod(path, 0o6777)
        self.as_user(lambda: write_file(path, b""))
        self.assertEqual(mode(path), 0o777)

    def test_cleared_by_open_with_truncation_alone(self):
        path = self.suid()
        self.as_user(lambda: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)))
        self.assertEqual(mode(path), 0o777)

    def test_cleared_by_allocation_and_clone(self):
        path = self.suid()

        def allocate():
            fd = os.open(path, os.O_RDWR)
            os.posix_fallocate(fd, 0, 100_000)
            os.close(fd)

        self.as_user(allocate)
        self.assertEqual(mode(path), 0o777)
        os.chmod(path, 0o6777)
        source = self.make("source", b"x" * 20000)

        def clone():
            from_fd, to_fd = os.open(source, os.O_RDONLY), os.open(path, os.O_RDWR)
            os.copy_file_range(from_fd, to_fd, 20000)

        self.as_user(clone)
        self.assertEqual(mode(path), 0o777)

    def test_cleared_by_chown(self):
        path = self.suid()
        os.chown(path, NOBODY, -1)
        self.assertEqual(mode(path), 0o777)
        os.chmod(path, 0o6777)
        os.chown(path, -1, 4242)
        self.assertEqual(mode(path), 0o777)

    def test_setgid_without_execution_stays(self):
        path = self.suid(0o2766)

        def work():
            with open(path, "r+b") as file:
                file.write(b"P")

        os.chown(path, NOBODY, NOBODY)
        os.chmod(path, 0o2766)
        self.as_user(work)
        self.assertEqual(mode(path), 0o2766)

    def test_kept_by_roots_write(self):
        path = self.suid()
        with open(path, "r+b") as file:
            file.write(b"P")
        self.assertEqual(mode(path), 0o6777)

    def test_honoured_by_exec(self):
        import shutil
        import subprocess
        shutil.copy("/usr/bin/id", self.at("id"))
        os.chown(self.at("id"), 1234, 0)
        os.chmod(self.at("id"), 0o4755)
        self.assertEqual(subprocess.check_output([self.at("id"), "-u"]).strip(), b"1234")

    def test_capabilities_go_with_a_write(self):
        path = self.make("f", b"x", 0o777)
        os.setxattr(path, CAPABILITY, NET_RAW)

        def work():
            with open(path, "r+b") as file:
                file.write(b"P")

        self.as_user(work)
        self.assertNotIn(CAPABILITY, os.listxattr(path))
        os.setxattr(path, CAPABILITY, NET_RAW)
        self.as_user(work)
        self.assertNotIn(CAPABILITY, os.listxattr(path))
        os.setxattr(path, CAPABILITY, NET_RAW)
        os.chown(path, NOBODY, -1)
        self.assertNotIn(CAPABILITY, os.listxattr(path))


class ExtendedAttributes(MountedTest):
    def test_life(self):
        path = self.make("f")
        self.assertErrno(errno.ENODATA, os.getxattr, path, "user.a")
        os.setxattr(path, "user.a", b"1")
        os.setxattr(path, "user.b", b"")
        self.assertEqual(os.getxattr(path, "user.a"), b"1")
        self.assertEqual(os.getxattr(path, "user.b"), b"")
        self.assertEqual(sorted(os.listxattr(path)), ["user.a", "user.b"])
        os.setxattr(path, "user.a", b"longer value")
        self.assertEqual(os.getxattr(path, "user.a"), b"longer value")
        os.removexattr(path, "user.a")
        self.assertEqual(os.listxattr(path), ["user.b"])
        self.assertErrno(errno.ENODATA, os.removexattr, path, "user.a")

    def test_flags(self):
        path = self.make("f")
        self.assertErrno(errno.ENODATA, os.setxattr, path, "user.a", b"", os.XATTR_REPLACE)
        os.setxattr(path, "user.a", b"1", os.XATTR_CREATE)
        self.assertErrno(errno.EEXIST, os.setxattr, path, "user.a", b"2", os.XATTR_CREATE)
        os.setxattr(path, "user.a", b"3", os.XATTR_REPLACE)
        self.assertEqual(os.getxattr(path, "user.a"), b"3")

    def test_sizes(self):
        path = self.make("f")
        for size in (1, 4096, 65536):
            os.setxattr(path, "user.big", mounted.pattern(size))
            self.assertEqual(os.getxattr(path, "user.big"), mounted.pattern(size))
        self.assertErrno(errno.E2BIG, os.setxattr, path, "user.big", bytes(65537))
        os.setxattr(path, "user." + "n" * 250, b"x")
        self.assertEqual(os.getxattr(path, "user." + "n" * 250), b"x")
        buffer = mounted.ctypes.create_string_buffer(10)
        mounted.ctypes.set_errno(0)
        self.assertEqual(mounted.libc.getxattr(os.fsencode(path), b"user.big", buffer, 10), -1)
        self.assertEqual(mounted.ctypes.get_errno(), errno.ERANGE)

    def test_on_directories_and_for_whom(self):
        os.setxattr(self.dir, "user.d", b"1")
        self.assertEqual(os.getxattr(self.dir, "user.d"), b"1")
        os.symlink("x", self.at("s"))
        self.assertErrno(errno.EPERM, os.setxattr, self.at("s"), "user.s", b"", follow_symlinks=False)
        os.setxattr(self.at("s"), "trusted.s", b"1", follow_symlinks=False)
        path = self.make("f")
        os.setxattr(path, "trusted.t", b"1")
        self.as_user(lambda: self.assertErrno(errno.EACCES, os.setxattr, path, "user.a", b""))
        self.as_user(lambda: self.assertErrno(errno.ENODATA, os.getxattr, path, "trusted.t"))

    def test_access_control_lists_are_refused(self):
        acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, 7, 0xffffffff) for t in (1, 4, 0x20))
        self.assertErrno(errno.EOPNOTSUPP, os.setxattr, self.make("f"), "system.posix_acl_access", acl)


if __name__ == "__main__":
    mounted.main()
