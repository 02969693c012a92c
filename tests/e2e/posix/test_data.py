#!/usr/bin/env python3
"""File contents: read and write in every way, caches that agree, times, sizes."""
import errno
import mmap
import os
import random
import threading
import time

import mounted
from mounted import BLOCK, MountedTest, pattern, read_file, write_file

TIB = 1 << 40


def aligned(size, data=b""):
    """Memory as O_DIRECT wants it."""
    buffer = mmap.mmap(-1, size)
    buffer[:len(data)] = data
    return buffer


class Contents(MountedTest):
    def random_operations(self, flags, align):
        """Writes, truncations and reads against a bytearray."""
        seed = random.randrange(1 << 32)
        rng = random.Random(seed)
        model = bytearray()
        fd = os.open(self.at("f"), os.O_RDWR | os.O_CREAT | flags, 0o644)
        buffer = aligned(256 * 1024)
        try:
            for step in range(300):
                offset = rng.randrange(0, 600_000) // align * align
                size = max(rng.randrange(1, 200_000) // align * align, align)
                kind = rng.choice(("write", "write", "read", "read", "truncate", "sync"))
                if kind == "write":
                    data = rng.randbytes(size)
                    buffer[:size] = data
                    self.assertEqual(os.pwritev(fd, [memoryview(buffer)[:size]], offset), size)
                    if len(model) < offset:
                        model.extend(bytes(offset - len(model)))
                    model[offset:offset + size] = data
                elif kind == "read":
                    got = os.preadv(fd, [memoryview(buffer)[:size]], offset)
                    self.assertEqual(bytes(buffer[:got]), bytes(model[offset:offset + size]), f"seed {seed} step {step}")
                elif kind == "truncate":
                    os.ftruncate(fd, offset)
                    model = model[:offset] + bytes(max(offset - len(model), 0))
                else:
                    os.fdatasync(fd)
                self.assertEqual(os.fstat(fd).st_size, len(model), f"seed {seed} step {step}")
        finally:
            os.close(fd)
        self.assertEqual(read_file(self.at("f")), bytes(model), f"seed {seed}")
        return model

    def test_buffered(self):
        self.random_operations(0, 1)

    def test_direct(self):
        self.random_operations(os.O_DIRECT, 4096)

    def test_direct_by_blocks(self):
        self.random_operations(os.O_DIRECT, BLOCK)

    def test_data_sync(self):
        self.random_operations(os.O_DSYNC, 1)

    def test_full_sync_direct(self):
        self.random_operations(os.O_SYNC | os.O_DIRECT, 4096)

    def test_survives_a_new_mount(self):
        self.own_store()
        model = self.random_operations(0, 1)
        self.mount.remount()
        self.assertEqual(read_file(self.at("f")), bytes(model))

    def test_large_vectors(self):
        parts = [pattern(BLOCK, i) for i in range(128)]
        fd = os.open(self.at("f"), os.O_RDWR | os.O_CREAT)
        self.assertEqual(os.pwritev(fd, parts, 0), 128 * BLOCK)
        buffers = [bytearray(BLOCK) for _ in range(128)]
        self.assertEqual(os.preadv(fd, buffers, 0), 128 * BLOCK)
        self.assertEqual([bytes(b) for b in buffers], parts)
        self.assertEqual(os.pread(fd, 100, 128 * BLOCK), b"")
        os.close(fd)

    def test_truncation_leaves_zeros(self):
        path = self.make("f", b"x" * (3 * BLOCK))
        os.truncate(path, BLOCK + 100)
        os.truncate(path, 3 * BLOCK)
        self.assertEqual(read_file(path), b"x" * (BLOCK + 100) + bytes(2 * BLOCK - 100))
        with open(path, "wb"):
            pass
        self.assertEqual(os.stat(path).st_size, 0)
        os.truncate(path, 10)
        self.assertEqual(read_file(path), bytes(10))

    def test_truncation_of_an_open_file(self):
        fd = os.open(self.at("f"), os.O_RDWR | os.O_CREAT)
        os.write(fd, b"y" * 10000)
        os.ftruncate(fd, 5000)
        self.assertEqual(os.fstat(fd).st_size, 5000)
        os.pwrite(fd, b"z", 9000)
        self.assertEqual(os.pread(fd, 20000, 0), b"y" * 5000 + bytes(4000) + b"z")
        os.close(fd)

    def test_append(self):
        first = os.open(self.at("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        second = os.open(self.at("log"), os.O_WRONLY | os.O_APPEND)
        for i in range(200):
            os.write(first, b"a" * 37)
            os.write(second, b"b" * 41)
        os.close(first)
        os.close(second)
        self.assertEqual(read_file(self.at("log")), (b"a" * 37 + b"b" * 41) * 200)

    def test_append_by_threads_loses_nothing(self):
        for flags in (0, os.O_DSYNC):
            path = self.at(f"log{flags}")
            write_file(path, b"")

            def work(letter, name=path, more=flags):
                fd = os.open(name, os.O_WRONLY | os.O_APPEND | more)
                for _ in range(100):
                    os.write(fd, letter * 100)
                os.close(fd)

            threads = [threading.Thread(target=work, args=(bytes([65 + i]),)) for i in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            data = read_file(path)
            self.assertEqual(len(data), 40000)
            for i in range(0, 40000, 100):
                self.assertEqual(data[i:i + 100], data[i:i + 1] * 100)

    def test_parallel_writers_of_different_blocks(self):
        for flags in (0, os.O_DIRECT):
            path = self.at(f"f{flags}")
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            os.truncate(path, 256 * BLOCK)

            def work(part, name=path, more=flags):
                fd = os.open(name, os.O_WRONLY | more)
                for block in range(part, 256, 4):
                    os.pwritev(fd, [aligned(BLOCK, pattern(BLOCK, block))], block * BLOCK)
                os.close(fd)

            threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(read_file(path), b"".join(pattern(BLOCK, block) for block in range(256)))

    def test_files_to_16_tib(self):
        fd = os.open(self.at("f"), os.O_RDWR | os.O_CREAT)
        os.pwrite(fd, b"end", 16 * TIB - 3)
        os.fsync(fd)
        self.assertEqual(os.fstat(fd).st_size, 16 * TIB)
        self.assertEqual(os.pread(fd, 10, 16 * TIB - 3), b"end")
        self.assertEqual(os.pread(fd, 10, 8 * TIB), bytes(10))
        self.assertLess(os.fstat(fd).st_blocks, 1000)
        self.assertErrno(errno.EFBIG, os.ftruncate, fd, 16 * TIB + 1)
        os.ftruncate(fd, 0)
        os.close(fd)

    def test_reads_and_writes_need_the_right_open(self):
        path = self.make("f", b"x")
        fd = os.open(path, os.O_RDONLY)
        self.assertErrno(errno.EBADF, os.write, fd, b"y")
        os.close(fd)
        fd = os.open(path, os.O_WRONLY)
        self.assertErrno(errno.EBADF, os.read, fd, 1)
        os.close(fd)

    def test_sync_calls(self):
        fd = os.open(self.at("f"), os.O_RDWR | os.O_CREAT)
        os.write(fd, b"x" * 100_000)
        os.fsync(fd)
        os.fdatasync(fd)
        mounted.check(mounted.libc.sync_file_range(fd, mounted.ctypes.c_long(0), mounted.ctypes.c_long(0), 7))
        mounted.check(mounted.libc.syncfs(fd))
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        self.assertEqual(os.pread(fd, 100_000, 0), b"x" * 100_000)
        os.close(fd)
        directory = os.open(self.dir, os.O_RDONLY)
        os.fsync(directory)
        os.fdatasync(directory)
        os.close(directory)
        top = os.open(self.mount.path, os.O_RDONLY)
        os.fsync(top)
        os.close(top)

    def test_unknown_ioctl(self):
        import fcntl
        fd = os.open(self.make("f"), os.O_RDWR)
        self.assertErrno(errno.ENOTTY, fcntl.ioctl, fd, 0x5413, bytes(8))
        os.close(fd)

    def test_locks(self):
        import fcntl
        path = self.make("f")
        first, second = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
        fcntl.flock(first, fcntl.LOCK_EX)
        self.assertErrno(errno.EAGAIN, fcntl.flock, second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(first, fcntl.LOCK_UN)
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(first, fcntl.LOCK_EX)

        def try_lock():
            fd = os.open(path, os.O_RDWR)
            self.assertErrno(errno.EAGAIN, fcntl.lockf, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

        os.chmod(path, 0o666)
        self.as_user(try_lock)
        os.close(first)
        os.close(second)


class Coherence(MountedTest):
    def test_direct_and_buffered_see_each_other(self):
        path = self.make("f", pattern(16 * BLOCK))
        cached = os.open(path, os.O_RDWR)
        direct = os.open(path, os.O_RDWR | os.O_DIRECT)
        for i in range(16):
            os.pread(cached, BLOCK, i * BLOCK)
            os.pwritev(direct, [aligned(BLOCK, bytes([i]) * BLOCK)], i * BLOCK)
            self.assertEqual(os.pread(cached, BLOCK, i * BLOCK), bytes([i]) * BLOCK)
            os.pwrite(cached, b"cached", i * BLOCK + 5)
            buffer = aligned(BLOCK)
            os.preadv(direct, [buffer], i * BLOCK)
            self.assertEqual(buffer[:12], bytes([i]) * 5 + b"cached" + bytes([i]))
        os.close(cached)
        os.close(direct)

    def test_log_writer_and_its_readers(self):
        """As a WAL file is used: O_DSYNC writers, readers that come before and after."""
        path = self.make("wal", bytes(64 * BLOCK))
        early = os.open(path, os.O_RDONLY)
        os.pread(early, 64 * BLOCK, 0)
        writer = os.open(path, os.O_RDWR | os.O_DSYNC)
        late = os.open(path, os.O_RDONLY)
        for i in range(64):
            os.pwrite(writer, bytes([i + 1]) * BLOCK, i * BLOCK)
            for reader in (early, late, writer):
                self.assertEqual(os.pread(reader, BLOCK, i * BLOCK), bytes([i + 1]) * BLOCK)
        for fd in (early, writer, late):
            os.close(fd)

    def test_log_writer_first(self):
        writer = os.open(self.at("wal"), os.O_RDWR | os.O_CREAT | os.O_DSYNC)
        os.pwrite(writer, b"a" * BLOCK, 0)
        reader = os.open(self.at("wal"), os.O_RDONLY)
        self.assertEqual(os.pread(reader, BLOCK, 0), b"a" * BLOCK)
        os.pwrite(writer, b"b" * BLOCK, 0)
        self.assertEqual(os.pread(reader, BLOCK, 0), b"b" * BLOCK)
        os.close(writer)
        os.close(reader)
        self.assertEqual(read_file(self.at("wal")), b"b" * BLOCK)

    def test_shared_mapping(self):
        path = self.make("f", bytes(4 * BLOCK))
        fd = os.open(path, os.O_RDWR)
        mapping = mmap.mmap(fd, 4 * BLOCK)
        mapping[100:104] = b"mmap"
        self.assertEqual(os.pread(fd, 4, 100), b"mmap")
        os.pwrite(fd, b"file", 200)
        self.assertEqual(mapping[200:204], b"file")
        mapping[3 * BLOCK:3 * BLOCK + 3] = b"end"
        mapping.flush()
        os.close(fd)
        mapping[0:5] = b"later"
        mapping.close()
        data = read_file(path)
        self.assertEqual((data[:5], data[100:104], data[200:204], data[3 * BLOCK:3 * BLOCK + 3]),
                         (b"later", b"mmap", b"file", b"end"))
        direct = os.open(path, os.O_RDONLY | os.O_DIRECT)
        buffer = aligned(BLOCK)
        os.preadv(direct, [buffer], 0)
        self.assertEqual(buffer[:5], b"later")
        os.close(direct)

    def test_shared_mapping_between_processes(self):
        path = self.make("f", bytes(BLOCK))
        fd = os.open(path, os.O_RDWR)
        mapping = mmap.mmap(fd, BLOCK)
        child = os.fork()
        if child == 0:
            other = mmap.mmap(os.open(path, os.O_RDWR), BLOCK)
            other[0:5] = b"child"
            os._exit(0)
        os.waitpid(child, 0)
        self.assertEqual(mapping[0:5], b"child")
        mapping.close()
        os.close(fd)

    def test_private_mapping(self):
        path = self.make("f", b"shared" + bytes(BLOCK))
        fd = os.open(path, os.O_RDONLY)
        mapping = mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
        mapping[0:6] = b"secret"
        self.assertEqual(os.pread(fd, 6, 0), b"shared")
        mapping.close()
        os.close(fd)

    def test_mapping_runs_programs(self):
        import shutil
        import subprocess
        shutil.copy("/bin/true", self.at("true"))
        self.assertEqual(subprocess.run([self.at("true")]).returncode, 0)

    def test_sizes_agree(self):
        """lseek(SEEK_END), fstat and stat after each growth, by another descriptor."""
        writer = os.open(self.at("f"), os.O_WRONLY | os.O_CREAT)
        reader = os.open(self.at("f"), os.O_RDONLY)
        for i in range(1, 200):
            os.write(writer, b"x" * BLOCK)
            self.assertEqual(os.lseek(reader, 0, os.SEEK_END), i * BLOCK)
            self.assertEqual(os.fstat(reader).st_size, i * BLOCK)
            self.assertEqual(os.stat(self.at("f")).st_size, i * BLOCK)
        os.close(writer)
        os.close(reader)


class Times(MountedTest):
    def test_nanoseconds(self):
        path = self.make("f")
        for stamp in (1, 999_999_999, 1_700_000_000_123_456_789, 4_102_444_800_000_000_001, -1_500_000_000):
            os.utime(path, ns=(stamp, stamp + 7))
            self.assertEqual(os.stat(path).st_atime_ns, stamp)
            self.assertEqual(os.stat(path).st_mtime_ns, stamp + 7)
        os.symlink("f", self.at("s"))
        os.utime(self.at("s"), ns=(5, 6), follow_symlinks=False)
        self.assertEqual(os.lstat(self.at("s")).st_mtime_ns, 6)

    def test_now(self):
        path = self.make("f")
        os.utime(path, ns=(1, 1))
        before = time.time_ns()
        os.utime(path)
        for stamp in (os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns):
            self.assertLess(abs(stamp - before), 5_000_000_000)

    def changes(self, path, call):
        """Which of mtime and ctime move when `call` runs."""
        old = os.lstat(path)
        time.sleep(0.02)
        call()
        new = os.lstat(path)
        return new.st_mtime_ns > old.st_mtime_ns, new.st_ctime_ns > old.st_ctime_ns

    def test_what_moves_when(self):
        path = self.make("f", b"xx")
        self.assertEqual(self.changes(path, lambda: os.chmod(path, 0o600)), (False, True))
        self.assertEqual(self.changes(path, lambda: os.link(path, self.at("h"))), (False, True))
        self.assertEqual(self.changes(path, lambda: os.unlink(self.at("h"))), (False, True))
        self.assertEqual(self.changes(path, lambda: os.truncate(path, 1)), (True, True))
        self.assertEqual(self.changes(path, lambda: os.setxattr(path, "user.a", b"")), (False, True))
        self.assertEqual(self.changes(path, lambda: read_file(path)), (False, False))

        def append():
            with open(path, "ab") as file:
                file.write(b"more")
        self.assertEqual(self.changes(path, append), (True, True))
        self.assertEqual(self.changes(self.dir, lambda: self.make("g")), (True, True))
        self.assertEqual(self.changes(self.dir, lambda: os.rename(self.at("g"), self.at("i"))), (True, True))
        self.assertEqual(self.changes(self.dir, lambda: os.unlink(self.at("i"))), (True, True))
        self.assertEqual(self.changes(self.dir, lambda: os.stat(path)), (False, False))

    def test_mtime_of_written_file_stays_after_close(self):
        path = self.at("f")
        write_file(path, b"x" * 10000)
        stamp = os.stat(path).st_mtime_ns
        time.sleep(0.05)
        os.sync()
        read_file(path)
        self.assertEqual(os.stat(path).st_mtime_ns, stamp)
        os.utime(path, ns=(10, 20))
        os.sync()
        self.assertEqual(os.stat(path).st_mtime_ns, 20)


if __name__ == "__main__":
    mounted.main()
