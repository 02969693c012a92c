#!/usr/bin/env python3
"""Names: links, rename, unlink, directories, listing."""
import errno
import os
import stat
import threading

import mounted
from mounted import MountedTest, read_file, renameat2, write_file


class Links(MountedTest):
    def test_hard_links_share_an_inode(self):
        a = self.make("a", b"one")
        os.link(a, self.at("b"))
        self.assertEqual(os.stat(a).st_ino, os.stat(self.at("b")).st_ino)
        self.assertEqual(os.stat(a).st_nlink, 2)
        write_file(self.at("b"), b"two")
        self.assertEqual(read_file(a), b"two")
        os.unlink(a)
        self.assertEqual(os.stat(self.at("b")).st_nlink, 1)
        self.assertEqual(read_file(self.at("b")), b"two")

    def test_hard_link_errors(self):
        a = self.make("a")
        self.make("b")
        self.assertErrno(errno.EEXIST, os.link, a, self.at("b"))
        os.mkdir(self.at("d"))
        self.assertErrno(errno.EPERM, os.link, self.at("d"), self.at("e"))
        self.assertErrno(errno.EXDEV, os.link, a, os.path.join(self.other, "a"))

    def test_symbolic_links(self):
        for target in ("a", "../x/y", "/nowhere", "t" * 4095, "name with space and \xfc"):
            os.symlink(target, self.at("s"))
            self.assertEqual(os.readlink(self.at("s")), target)
            self.assertEqual(os.lstat(self.at("s")).st_size, len(os.fsencode(target)))
            self.assertTrue(stat.S_ISLNK(os.lstat(self.at("s")).st_mode))
            os.unlink(self.at("s"))
        self.assertErrno(errno.ENAMETOOLONG, os.symlink, "t" * 4096, self.at("s"))

    def test_symbolic_link_is_followed(self):
        os.mkdir(self.at("d"))
        write_file(self.at("d", "f"), b"x")
        os.symlink("d", self.at("s"))
        self.assertEqual(read_file(self.at("s", "f")), b"x")
        os.symlink("loop", self.at("loop"))
        self.assertErrno(errno.ELOOP, os.stat, self.at("loop"))
        os.symlink("gone", self.at("dangling"))
        self.assertErrno(errno.ENOENT, os.stat, self.at("dangling"))

    def test_special_files(self):
        os.mkfifo(self.at("fifo"), 0o600)
        self.assertTrue(stat.S_ISFIFO(os.stat(self.at("fifo")).st_mode))
        os.mknod(self.at("null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
        self.assertEqual(os.stat(self.at("null")).st_rdev, os.makedev(1, 3))
        with open(self.at("null"), "wb") as null:
            null.write(b"swallowed")
        self.assertEqual(os.stat(self.at("null")).st_size, 0)

    def test_unnamed_file_can_be_linked(self):
        try:
            fd = os.open(self.dir, os.O_TMPFILE | os.O_RDWR, 0o600)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                self.skipTest("libfuse older than 3.17 has no O_TMPFILE")
            raise
        os.write(fd, b"late")
        self.assertEqual(os.fstat(fd).st_nlink, 0)
        self.assertEqual(os.listdir(self.dir), [])
        mounted.linkat_follow(f"/proc/self/fd/{fd}", self.at("named"))
        os.close(fd)
        self.assertEqual(read_file(self.at("named")), b"late")
        self.assertEqual(os.stat(self.at("named")).st_nlink, 1)


class Rename(MountedTest):
    def test_replaces_atomically(self):
        self.make("new", b"new")
        self.make("old", b"old")
        keep = os.open(self.at("old"), os.O_RDONLY)
        os.rename(self.at("new"), self.at("old"))
        self.assertEqual(read_file(self.at("old")), b"new")
        self.assertEqual(os.read(keep, 10), b"old")
        self.assertEqual(os.fstat(keep).st_nlink, 0)
        os.close(keep)
        self.assertEqual(os.listdir(self.dir), ["old"])

    def test_a_reader_never_misses_the_name(self):
        self.make("f", b"0")
        end, seen = threading.Event(), []

        def look():
            while not end.is_set():
                try:
                    seen.append(len(read_file(self.at("f"))))
                except OSError as error:
                    seen.append(error)
                    return

        reader = threading.Thread(target=look)
        reader.start()
        for i in range(300):
            write_file(self.at("t"), b"%d" % i)
            os.rename(self.at("t"), self.at("f"))
        end.set()
        reader.join()
        self.assertTrue(seen)
        self.assertEqual([s for s in seen if not isinstance(s, int) or s == 0], [])

    def test_to_itself_and_to_its_hard_link(self):
        self.make("a", b"x")
        os.rename(self.at("a"), self.at("a"))
        os.link(self.at("a"), self.at("b"))
        os.rename(self.at("a"), self.at("b"))
        self.assertEqual(sorted(os.listdir(self.dir)), ["a", "b"])

    def test_noreplace(self):
        self.make("a", b"a")
        self.make("b", b"b")
        self.assertErrno(errno.EEXIST, renameat2, self.at("a"), self.at("b"), mounted.RENAME_NOREPLACE)
        renameat2(self.at("a"), self.at("c"), mounted.RENAME_NOREPLACE)
        self.assertEqual(read_file(self.at("c")), b"a")
        self.assertEqual(read_file(self.at("b")), b"b")

    def test_exchange(self):
        self.make("a", b"a")
        os.mkdir(self.at("d"))
        write_file(self.at("d", "f"), b"f")
        renameat2(self.at("a"), self.at("d"), mounted.RENAME_EXCHANGE)
        self.assertEqual(read_file(self.at("d")), b"a")
        self.assertEqual(read_file(self.at("a", "f")), b"f")
        self.assertErrno(errno.ENOENT, renameat2, self.at("a"), self.at("no"), mounted.RENAME_EXCHANGE)

    def test_exchange_between_directories_moves_parents(self):
        for d in ("x", "y"):
            os.makedirs(self.at(d, "sub"))
        os.mkdir(self.at("x", "sub", "inner"))
        write_file(self.at("y", "f"), b"")
        renameat2(self.at("x", "sub"), self.at("y", "f"), mounted.RENAME_EXCHANGE)
        self.assertEqual(os.stat(self.at("y", "f", "..")).st_ino, os.stat(self.at("y")).st_ino)
        self.assertEqual(os.stat(self.at("x")).st_nlink, 2)
        self.assertEqual(os.stat(self.at("y")).st_nlink, 4)
        self.assertEqual(os.listdir(self.at("y", "f")), ["inner"])

    def test_refused(self):
        os.makedirs(self.at("d", "e"))
        os.mkdir(self.at("full"))
        write_file(self.at("full", "f"), b"")
        self.make("file")
        self.assertErrno(errno.EINVAL, os.rename, self.at("d"), self.at("d", "e", "d"))
        self.assertErrno(errno.ENOTEMPTY, os.rename, self.at("d"), self.at("full"))
        self.assertErrno(errno.EISDIR, os.rename, self.at("file"), self.at("d"))
        self.assertErrno(errno.ENOTDIR, os.rename, self.at("d"), self.at("file"))
        self.assertErrno(errno.ENOENT, os.rename, self.at("gone"), self.at("file"))
        self.assertErrno(errno.EXDEV, os.rename, self.at("file"), os.path.join(self.other, "file"))
        self.assertErrno(errno.EINVAL, renameat2, self.at("file"), self.at("w"), mounted.RENAME_WHITEOUT)

    def test_directory_over_empty_directory(self):
        os.mkdir(self.at("a"))
        write_file(self.at("a", "f"), b"f")
        os.mkdir(self.at("b"))
        os.rename(self.at("a"), self.at("b"))
        self.assertEqual(os.listdir(self.at("b")), ["f"])
        self.assertEqual(os.listdir(self.dir), ["b"])

    def test_directory_moves_with_its_parent_link(self):
        os.makedirs(self.at("a", "b"))
        os.mkdir(self.at("c"))
        os.rename(self.at("a", "b"), self.at("c", "b"))
        self.assertEqual(os.stat(self.at("c", "b", "..")).st_ino, os.stat(self.at("c")).st_ino)
        self.assertEqual(os.stat(self.at("a")).st_nlink, 2)
        self.assertEqual(os.stat(self.at("c")).st_nlink, 3)


class Unlink(MountedTest):
    def test_open_file_lives_on(self):
        path = self.make("f", b"before")
        fd = os.open(path, os.O_RDWR)
        os.unlink(path)
        self.assertErrno(errno.ENOENT, os.stat, path)
        self.assertEqual(os.fstat(fd).st_nlink, 0)
        self.assertEqual(os.pread(fd, 100, 0), b"before")
        os.pwrite(fd, b"after!", 6)
        os.fsync(fd)
        os.ftruncate(fd, 9)
        self.assertEqual(os.pread(fd, 100, 0), b"beforeaft")
        write_file(path, b"another")
        self.assertEqual(os.pread(fd, 100, 0), b"beforeaft")
        os.close(fd)
        self.assertEqual(read_file(path), b"another")

    def test_removed_directory_can_be_a_working_directory(self):
        os.mkdir(self.at("d"))
        fd = os.open(self.at("d"), os.O_RDONLY | os.O_DIRECTORY)
        os.rmdir(self.at("d"))
        self.assertErrno(errno.ENOENT, os.open, "f", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
        os.close(fd)

    def test_errors(self):
        os.mkdir(self.at("d"))
        self.make("f")
        self.assertErrno(errno.EISDIR, os.unlink, self.at("d"))
        self.assertErrno(errno.ENOTDIR, os.rmdir, self.at("f"))
        write_file(self.at("d", "f"), b"")
        self.assertErrno(errno.ENOTEMPTY, os.rmdir, self.at("d"))
        self.assertErrno(errno.ENOENT, os.unlink, self.at("gone"))
        self.assertErrno(errno.ENOTDIR, os.stat, self.at("f", "x"))


class Names(MountedTest):
    def test_any_255_bytes(self):
        names = [b"n" * 255, "\u00fc".encode() * 127, b"\xff\xfe\x01 bytes\n", b".hidden", b"a@b", b"-rf", b"..."]
        for name in names:
            write_file(os.path.join(os.fsencode(self.dir), name), name)
        self.assertEqual(sorted(os.listdir(os.fsencode(self.dir))), sorted(names))
        for name in names:
            self.assertEqual(read_file(os.path.join(os.fsencode(self.dir), name)), name)

    def test_too_long(self):
        for call in (os.mkdir, lambda p: write_file(p, b""), lambda p: os.symlink("x", p), os.stat):
            self.assertErrno(errno.ENAMETOOLONG, call, self.at("n" * 256))
        self.make("f")
        self.assertErrno(errno.ENAMETOOLONG, os.rename, self.at("f"), self.at("n" * 256))
        self.assertErrno(errno.ENAMETOOLONG, os.link, self.at("f"), self.at("n" * 256))

    def test_case_matters(self):
        self.make("a", b"1")
        self.make("A", b"2")
        self.assertEqual(read_file(self.at("a")), b"1")

    def test_exclusive_create(self):
        fd = os.open(self.at("f"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.close(fd)
        self.assertErrno(errno.EEXIST, os.open, self.at("f"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        self.assertErrno(errno.EEXIST, os.mkdir, self.at("f"))

    def test_exclusive_create_has_one_winner(self):
        wins = []

        def race(i):
            try:
                os.close(os.open(self.at(f"lock{i}"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                wins.append(i)
            except FileExistsError:
                pass

        for i in range(50):
            threads = [threading.Thread(target=race, args=(i,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(sorted(wins), list(range(50)))

    def test_name_that_was_missing_appears(self):
        for _ in range(3):
            self.assertFalse(os.path.exists(self.at("f")))
        self.make("f", b"x")
        self.assertEqual(read_file(self.at("f")), b"x")
        os.unlink(self.at("f"))
        self.assertFalse(os.path.exists(self.at("f")))

    def test_deep_directories(self):
        path = self.dir
        for i in range(60):
            path = os.path.join(path, f"level{i}")
        os.makedirs(path)
        write_file(os.path.join(path, "f"), b"deep")
        self.assertEqual(read_file(os.path.join(path, "f")), b"deep")


class Listing(MountedTest):
    def test_stable_while_names_are_unlinked(self):
        names = [f"file{i:05}" for i in range(3000)]
        for name in names:
            os.close(os.open(self.at(name), os.O_CREAT | os.O_WRONLY))
        seen = []
        with os.scandir(self.dir) as entries:
            for entry in entries:
                seen.append(entry.name)
                os.unlink(entry.path)
        self.assertEqual(sorted(seen), names)
        self.assertEqual(os.listdir(self.dir), [])

    def test_stable_while_names_are_made_and_removed(self):
        keep = {f"keep{i:04}" for i in range(1500)}
        for name in keep:
            os.close(os.open(self.at(name), os.O_CREAT | os.O_WRONLY))
        end = threading.Event()

        def churn():
            i = 0
            while not end.is_set():
                os.close(os.open(self.at(f"churn{i}"), os.O_CREAT | os.O_WRONLY))
                if i >= 20:
                    os.unlink(self.at(f"churn{i - 20}"))
                i += 1

        other = threading.Thread(target=churn)
        other.start()
        try:
            for _ in range(10):
                seen = os.listdir(self.dir)
                self.assertEqual(len(seen), len(set(seen)))
                self.assertEqual({n for n in seen if n.startswith("keep")}, keep)
        finally:
            end.set()
            other.join()

    def test_rewind_shows_what_is_new(self):
        self.make("a")
        fd = os.open(self.dir, os.O_RDONLY | os.O_DIRECTORY)
        self.assertEqual(os.listdir(fd), ["a"])
        self.make("b")
        self.assertEqual(sorted(os.listdir(fd)), ["a", "b"])  # listdir(fd) rewinds
        os.close(fd)

    def test_types_and_numbers(self):
        self.make("f")
        os.mkdir(self.at("d"))
        os.symlink("f", self.at("s"))
        os.mkfifo(self.at("p"))
        with os.scandir(self.dir) as entries:
            kinds = {e.name: (e.is_file(follow_symlinks=False), e.is_dir(follow_symlinks=False), e.is_symlink())
                     for e in entries}
        self.assertEqual(kinds, {"f": (True, False, False), "d": (False, True, False), "s": (False, False, True),
                                 "p": (False, False, False)})
        with os.scandir(self.dir) as entries:
            for entry in entries:
                self.assertEqual(entry.inode(), os.lstat(entry.path).st_ino)

    def test_link_count_of_directories(self):
        self.assertEqual(os.stat(self.dir).st_nlink, 2)
        for i in range(5):
            os.mkdir(self.at(f"d{i}"))
        self.assertEqual(os.stat(self.dir).st_nlink, 7)
        os.rmdir(self.at("d0"))
        self.make("f")
        self.assertEqual(os.stat(self.dir).st_nlink, 6)

    def test_attributes_by_listing(self):
        for i in range(200):
            self.make(f"f{i}", b"x" * i)
        with os.scandir(self.dir) as entries:
            sizes = {e.name: e.stat().st_size for e in entries}
        self.assertEqual(sizes, {f"f{i}": i for i in range(200)})


if __name__ == "__main__":
    mounted.main()
