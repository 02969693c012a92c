#!/usr/bin/env python3
"""What things cost in requests to the daemon. A request more than needed is a failure here."""
import json
import mmap
import os
import subprocess

import mounted
from mounted import BLOCK, CACHE, MountedTest, pattern, write_file


class Requests(MountedTest):
    def setUp(self):
        self.own_store()
        super().setUp()
        self.newer_libfuse = tuple(map(int, self.status()["libfuse"].split(".")[:2])) >= (3, 17)

    def status(self):
        return json.loads(self.mount.run("neonfs", "status", self.mount.store, "--json"))["mount"]

    def cost(self, call):
        """Requests by operation while `call` runs, those of looking aside: FORGET and RELEASE come when they like."""
        before = self.status()["requests"]
        call()
        after = self.status()["requests"]
        counts = {op: n["count"] - before.get(op, {"count": 0})["count"] for op, n in after.items()}
        return {op: n for op, n in counts.items() if n > 0 and op not in ("forget", "release", "releasedir")}

    def test_known_names_and_attributes_are_free(self):
        path = self.make("f", b"x")
        os.stat(path)
        os.path.exists(self.at("missing"))

        def work():
            for _ in range(200):
                os.stat(path)
                os.path.exists(self.at("missing"))
        cost = self.cost(work)
        # The branch's own name is asked for again each second.
        self.assertLessEqual(cost.pop("lookup", 0), 3)
        self.assertEqual(cost, {})

    def test_cached_contents_survive_close_and_open(self):
        path = self.make("f", pattern(64 * BLOCK))
        mounted.read_file(path)

        def work():
            for _ in range(20):
                fd = os.open(path, os.O_RDONLY)
                os.pread(fd, 64 * BLOCK, 0)
                os.close(fd)
        cost = self.cost(work)
        self.assertEqual(cost.get("read", 0), 0)
        self.assertEqual(cost["open"], 20)
        self.assertLessEqual(sum(cost.values()), 26)

    def test_a_synchronous_block_is_one_request(self):
        fd = os.open(self.at("wal"), os.O_RDWR | os.O_CREAT | os.O_DSYNC)
        os.pwrite(fd, b"x" * BLOCK, 0)

        def work():
            for i in range(100):
                os.pwrite(fd, b"x" * BLOCK, i * BLOCK)
        cost = self.cost(work)
        self.assertEqual(cost.pop("write"), 100)
        if self.newer_libfuse:  # an older one's kernel asks for security.capability each time
            self.assertEqual(cost, {})
        self.assertNotIn("fsync", cost)
        os.close(fd)

    def test_a_block_written_through_is_one_request(self):
        if CACHE != "through":
            self.skipTest("for --cache=through")
        fd = os.open(self.at("f"), os.O_RDWR | os.O_CREAT)
        os.pwrite(fd, b"x" * BLOCK, 0)

        def work():
            for i in range(100):
                os.pwrite(fd, b"x" * BLOCK, i * BLOCK)
        cost = self.cost(work)
        self.assertEqual(cost.pop("write"), 100)
        if self.newer_libfuse:
            self.assertEqual(cost, {})
        os.close(fd)

    def test_gathered_writes_leave_in_large_requests(self):
        if CACHE != "back":
            self.skipTest("for --cache=back")
        fd = os.open(self.at("f"), os.O_RDWR | os.O_CREAT)

        def work():
            for i in range(1024):
                os.pwrite(fd, b"x" * BLOCK, i * BLOCK)
                os.lseek(fd, 0, os.SEEK_END)
            os.fsync(fd)
        cost = self.cost(work)
        self.assertLessEqual(cost["write"], 16)
        self.assertLessEqual(cost.pop("write") + cost.pop("fsync") + cost.pop("setattr", 0), 18)
        if self.newer_libfuse:
            self.assertLessEqual(sum(cost.values()), 2, cost)
        os.close(fd)

    def test_sequential_reads_are_read_ahead(self):
        write_file(self.at("f"), pattern(32 << 20))
        fd = os.open(self.at("f"), os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if CACHE == "back":
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

        def work():
            for offset in range(0, 32 << 20, BLOCK):
                os.pread(fd, BLOCK, offset)
        cost = self.cost(work)
        self.assertGreater(cost["read"], 8)  # else nothing was read ahead: it was cached
        self.assertLess(cost["read"], 150)
        os.close(fd)

    def test_direct_reads_are_not_split(self):
        write_file(self.at("f"), pattern(1 << 20))
        fd = os.open(self.at("f"), os.O_RDONLY | os.O_DIRECT)
        buffer = mmap.mmap(-1, 1 << 20)
        self.assertEqual(self.cost(lambda: os.preadv(fd, [buffer], 0)).get("read"), 1)
        self.assertEqual(buffer[:], pattern(1 << 20))
        os.close(fd)

    def test_listing_brings_attributes(self):
        for i in range(100):
            self.make(f"f{i}")
        self.mount.remount()
        cost = self.cost(lambda: subprocess.run(["ls", "-l", self.dir], stdout=subprocess.DEVNULL, check=True))
        self.assertLess(cost.get("lookup", 0) + cost.get("getattr", 0), 30)

    def test_kernel_limits_of_the_mount(self):
        device = os.stat(self.mount.path).st_dev
        bdi = f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}"

        def value(name):
            with open(os.path.join(bdi, name)) as file:
                return int(file.read())
        self.assertEqual(value("read_ahead_kb"), 1024)
        if CACHE == "back":
            self.assertEqual((value("max_ratio"), value("strict_limit")), (100, 0))


if __name__ == "__main__":
    mounted.main()
