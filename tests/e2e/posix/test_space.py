#!/usr/bin/env python3
"""Holes, allocation, and copies that share."""
import errno
import os

import mounted
from mounted import BLOCK, MountedTest, fallocate, pattern, read_file

MIB = 1 << 20


class Holes(MountedTest):
    def sparse(self):
        """1 MiB hole, 64 KiB data, hole up to 4 MiB, 8 KiB data."""
        fd = os.open(self.at("f"), os.O_RDWR | os.O_CREAT)
        os.pwrite(fd, b"a" * 65536, MIB)
        os.pwrite(fd, b"b" * BLOCK, 4 * MIB)
        return fd

    def check_map(self, fd):
        self.assertEqual(os.lseek(fd, 0, os.SEEK_DATA), MIB)
        self.assertEqual(os.lseek(fd, MIB + 10, os.SEEK_DATA), MIB + 10)
        self.assertEqual(os.lseek(fd, MIB, os.SEEK_HOLE), MIB + 65536)
        self.assertEqual(os.lseek(fd, 2 * MIB, os.SEEK_HOLE), 2 * MIB)
        self.assertEqual(os.lseek(fd, 2 * MIB, os.SEEK_DATA), 4 * MIB)
        self.assertEqual(os.lseek(fd, 4 * MIB, os.SEEK_HOLE), 4 * MIB + BLOCK)
        self.assertErrno(errno.ENXIO, os.lseek, fd, 4 * MIB + BLOCK, os.SEEK_DATA)
        self.assertErrno(errno.ENXIO, os.lseek, fd, 4 * MIB + BLOCK, os.SEEK_HOLE)

    def test_seek_in_what_was_just_written(self):
        fd = self.sparse()
        self.check_map(fd)
        os.pwrite(fd, b"c" * BLOCK, 3 * MIB)
        self.assertEqual(os.lseek(fd, 2 * MIB, os.SEEK_DATA), 3 * MIB)
        os.close(fd)

    def test_seek_after_sync_and_reopen(self):
        fd = self.sparse()
        os.fsync(fd)
        self.check_map(fd)
        os.close(fd)
        fd = os.open(self.at("f"), os.O_RDONLY)
        self.check_map(fd)
        os.close(fd)

    def test_hole_at_the_end(self):
        fd = os.open(self.at("f"), os.O_RDWR | os.O_CREAT)
        os.ftruncate(fd, MIB)
        self.assertErrno(errno.ENXIO, os.lseek, fd, 0, os.SEEK_DATA)
        self.assertEqual(os.lseek(fd, 100, os.SEEK_HOLE), 100)
        os.pwrite(fd, b"x", 0)
        self.assertErrno(errno.ENXIO, os.lseek, fd, BLOCK, os.SEEK_DATA)
        os.close(fd)

    def test_holes_cost_nothing(self):
        fd = self.sparse()
        os.fsync(fd)
        os.close(fd)
        allocated = os.stat(self.at("f")).st_blocks * 512
        self.assertGreaterEqual(allocated, 65536 + BLOCK)
        self.assertLess(allocated, 4 * (65536 + BLOCK))
        data = read_file(self.at("f"))
        self.assertEqual(data, bytes(MIB) + b"a" * 65536 + bytes(3 * MIB - 65536) + b"b" * BLOCK)


class Allocation(MountedTest):
    def setUp(self):
        super().setUp()
        self.fd = os.open(self.at("f"), os.O_RDWR | os.O_CREAT)

    def tearDown(self):
        os.close(self.fd)
        super().tearDown()

    def content(self):
        return os.pread(self.fd, 64 * MIB, 0)

    def test_extends(self):
        os.write(self.fd, b"x" * 100)
        os.posix_fallocate(self.fd, 0, 10 * BLOCK + 5)
        self.assertEqual(os.fstat(self.fd).st_size, 10 * BLOCK + 5)
        self.assertEqual(self.content(), b"x" * 100 + bytes(10 * BLOCK + 5 - 100))
        os.posix_fallocate(self.fd, 0, 10)
        self.assertEqual(os.fstat(self.fd).st_size, 10 * BLOCK + 5)

    def test_keep_size(self):
        os.write(self.fd, b"x" * 100)
        fallocate(self.fd, mounted.FALLOC_KEEP_SIZE, 0, MIB)
        self.assertEqual(os.fstat(self.fd).st_size, 100)
        self.assertEqual(self.content(), b"x" * 100)

    def test_punch_hole(self):
        data = pattern(20 * BLOCK)
        os.write(self.fd, data)
        for start, size in ((2 * BLOCK, 3 * BLOCK), (10 * BLOCK + 100, 200), (12 * BLOCK - 50, 2 * BLOCK),
                            (19 * BLOCK, 5 * BLOCK)):
            fallocate(self.fd, mounted.FALLOC_PUNCH_HOLE | mounted.FALLOC_KEEP_SIZE, start, size)
            end = min(start + size, 20 * BLOCK)
            data = data[:start] + bytes(end - start) + data[end:]
            self.assertEqual(self.content(), data)
        os.fsync(self.fd)
        self.assertEqual(self.content(), data)
        self.assertEqual(os.lseek(self.fd, BLOCK, os.SEEK_HOLE), 2 * BLOCK)
        self.assertEqual(os.lseek(self.fd, 2 * BLOCK, os.SEEK_DATA), 5 * BLOCK)
        self.assertErrno(errno.EOPNOTSUPP, fallocate, self.fd, mounted.FALLOC_PUNCH_HOLE, 0, BLOCK)

    def test_punch_hole_gives_space_back(self):
        os.write(self.fd, pattern(8 * MIB))
        os.fsync(self.fd)
        before = os.fstat(self.fd).st_blocks
        fallocate(self.fd, mounted.FALLOC_PUNCH_HOLE | mounted.FALLOC_KEEP_SIZE, 0, 7 * MIB)
        os.fsync(self.fd)
        self.assertLess(os.stat(self.at("f")).st_blocks, before // 2)

    def test_zero_range(self):
        data = pattern(8 * BLOCK)
        os.write(self.fd, data)
        fallocate(self.fd, mounted.FALLOC_ZERO, BLOCK + 5, 3 * BLOCK)
        data = data[:BLOCK + 5] + bytes(3 * BLOCK) + data[4 * BLOCK + 5:]
        self.assertEqual(self.content(), data)
        fallocate(self.fd, mounted.FALLOC_ZERO | mounted.FALLOC_KEEP_SIZE, 7 * BLOCK, 4 * BLOCK)
        data = data[:7 * BLOCK] + bytes(BLOCK)
        self.assertEqual(self.content(), data)
        fallocate(self.fd, mounted.FALLOC_ZERO, 7 * BLOCK, 4 * BLOCK)
        self.assertEqual(self.content(), data + bytes(3 * BLOCK))

    def test_collapse_and_insert_are_refused(self):
        os.write(self.fd, pattern(8 * BLOCK))
        self.assertErrno(errno.EOPNOTSUPP, fallocate, self.fd, mounted.FALLOC_COLLAPSE, 0, BLOCK)
        self.assertErrno(errno.EOPNOTSUPP, fallocate, self.fd, mounted.FALLOC_INSERT, 0, BLOCK)
        self.assertEqual(self.content(), pattern(8 * BLOCK))

    def test_more_than_the_disk(self):
        st = os.statvfs(self.dir)
        if st.f_bavail * st.f_frsize >= 16 << 40:
            self.skipTest("the disk holds the largest file")
        self.own_store()
        self.assertErrno(errno.ENOSPC, os.posix_fallocate, self.fd, 0, st.f_bavail * st.f_frsize + (1 << 30))
        os.write(self.fd, b"still works")
        self.assertEqual(self.content()[:11], b"still works")

    def test_bad_ranges(self):
        self.assertErrno(errno.EINVAL, os.posix_fallocate, self.fd, 0, 0)
        self.assertErrno(errno.EINVAL, os.posix_fallocate, self.fd, -1, 10)
        self.assertErrno(errno.EFBIG, fallocate, self.fd, 0, 16 << 40, BLOCK)


class Clones(MountedTest):
    def copy(self, source, target, size, source_offset=0, target_offset=0):
        from_fd = os.open(source, os.O_RDONLY)
        to_fd = os.open(target, os.O_RDWR | os.O_CREAT)
        copied = 0
        while copied < size:
            step = os.copy_file_range(from_fd, to_fd, size - copied, source_offset + copied, target_offset + copied)
            if step == 0:
                break
            copied += step
        os.close(from_fd)
        os.close(to_fd)
        return copied

    def test_whole_file(self):
        data = pattern(3 * MIB + 123)
        self.make("a", data)
        self.assertEqual(self.copy(self.at("a"), self.at("b"), 4 * MIB), len(data))
        self.assertEqual(read_file(self.at("b")), data)

    def test_copies_part_ways(self):
        data = bytearray(pattern(64 * BLOCK))
        self.make("a", data)
        self.copy(self.at("a"), self.at("b"), len(data))
        with open(self.at("a"), "r+b") as file:
            file.seek(10 * BLOCK)
            file.write(b"A" * BLOCK)
        with open(self.at("b"), "r+b") as file:
            file.seek(20 * BLOCK + 7)
            file.write(b"B" * 100)
        b = bytearray(data)
        b[20 * BLOCK + 7:20 * BLOCK + 107] = b"B" * 100
        data[10 * BLOCK:11 * BLOCK] = b"A" * BLOCK
        self.assertEqual(read_file(self.at("a")), bytes(data))
        self.assertEqual(read_file(self.at("b")), bytes(b))

    def test_any_alignment(self):
        data = pattern(40 * BLOCK)
        self.make("a", data)
        for source_offset, target_offset, size in ((0, 5, 3 * BLOCK), (5, 0, 3 * BLOCK), (100, 100, 5 * BLOCK),
                                                   (BLOCK, 3 * BLOCK, 4 * BLOCK), (BLOCK - 1, 7, 2), (17, 9, 1)):
            before = pattern(20 * BLOCK, 2)
            self.make("b", before)
            read_file(self.at("b"))
            self.copy(self.at("a"), self.at("b"), size, source_offset, target_offset)
            want = before[:target_offset] + data[source_offset:source_offset + size] + before[target_offset + size:]
            self.assertEqual(read_file(self.at("b")), want, (source_offset, target_offset, size))

    def test_inside_one_file(self):
        data = pattern(8 * BLOCK)
        self.make("a", data)
        self.copy(self.at("a"), self.at("a"), 2 * BLOCK, 0, 4 * BLOCK)
        self.assertEqual(read_file(self.at("a")), data[:4 * BLOCK] + data[:2 * BLOCK] + data[6 * BLOCK:])
        fd = os.open(self.at("a"), os.O_RDWR)
        self.assertErrno(errno.EINVAL, os.copy_file_range, fd, fd, 2 * BLOCK, 0, BLOCK)
        os.close(fd)

    def test_across_branches(self):
        data = pattern(2 * MIB)
        self.make("a", data)
        target = os.path.join(self.other, "b")
        self.assertEqual(self.copy(self.at("a"), target, len(data)), len(data))
        os.unlink(self.at("a"))
        self.assertEqual(read_file(target), data)

    def test_what_was_just_written_is_copied(self):
        source = os.open(self.at("a"), os.O_RDWR | os.O_CREAT)
        os.write(source, b"fresh" * 10000)
        target = os.open(self.at("b"), os.O_RDWR | os.O_CREAT)
        os.write(target, b"stale" * 10000)
        os.copy_file_range(source, target, 50000, 0, 0)
        self.assertEqual(os.pread(target, 60000, 0), b"fresh" * 10000)
        os.close(source)
        os.close(target)

    def test_holes_stay_holes(self):
        fd = os.open(self.at("a"), os.O_RDWR | os.O_CREAT)
        os.pwrite(fd, b"x" * BLOCK, 16 * MIB)
        os.close(fd)
        self.copy(self.at("a"), self.at("b"), 32 * MIB)
        self.assertEqual(os.stat(self.at("b")).st_size, 16 * MIB + BLOCK)
        self.assertLess(os.stat(self.at("b")).st_blocks * 512, MIB)
        self.assertEqual(read_file(self.at("b")), bytes(16 * MIB) + b"x" * BLOCK)

    def test_clones_cost_little(self):
        self.own_store()
        self.make("a", pattern(64 * MIB))
        os.sync()
        before = os.statvfs(self.dir)
        for i in range(8):
            self.copy(self.at("a"), self.at(f"b{i}"), 64 * MIB)
        os.sync()
        after = os.statvfs(self.dir)
        self.assertLess((before.f_bfree - after.f_bfree) * before.f_frsize, 64 * MIB)


if __name__ == "__main__":
    mounted.main()
