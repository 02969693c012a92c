"""nbdkit or the daemon is killed."""
import errno
import os
import random
import signal
import struct
import threading
import time
import unittest

from volumes import MIB, Client, Volumes
from workplace import NEONFS, process_lives, run, wait_for

ESHUTDOWN = errno.ESHUTDOWN
BLOCK = 8192


class Writer(threading.Thread):
    """Writes numbered blocks at random places, flushes now and then, and knows what must be there."""

    def __init__(self, uri, blocks, seed):
        super().__init__()
        self.client, self.blocks, self.rnd = Client(uri), blocks, random.Random(seed)
        self.flushed, self.since = {}, {}  # block -> number; -> numbers that may be there too
        self.number = 0

    def content(self, number):
        return number.to_bytes(8, "little") * (BLOCK // 8)

    def step(self):
        kind = self.rnd.randrange(12)
        if kind == 0:
            self.client.flush()
            for block, numbers in self.since.items():
                self.flushed[block] = numbers[-1]
            self.since = {}
            return
        block = self.rnd.randrange(self.blocks)
        self.number += 1
        self.since.setdefault(block, []).append(self.number)
        self.client.write(block * BLOCK, self.content(self.number), self.client.FUA if kind == 1 else 0)
        if kind == 1:
            self.flushed[block] = self.number
            del self.since[block]

    def run(self):
        try:
            while True:
                self.step()
        except (OSError, EOFError):
            pass

    def check(self, test, read):
        for block in range(self.blocks):
            found = read(block * BLOCK, BLOCK)
            number = int.from_bytes(found[:8], "little")
            test.assertEqual(found, self.content(number), f"block {block} is torn")
            test.assertIn(number, [self.flushed.get(block, 0)] + self.since.get(block, []), f"block {block}")


class LargeWriter(threading.Thread):
    """Writes a range of its own again and again, in one request each, by turns durable or not."""
    size = 2 * MIB

    def __init__(self, uri, start_at, seed):
        super().__init__()
        self.client, self.start_at, self.seed = Client(uri), start_at, seed
        self.number = self.told = self.durable = 0

    def content(self, number):
        blocks = range(self.start_at // BLOCK, (self.start_at + self.size) // BLOCK)
        return b"".join(struct.pack("<QQQQ", self.seed, number, block, ~block & (2**64 - 1)) * (BLOCK // 32) for block in blocks)

    def run(self):
        try:
            while True:
                self.number += 1
                durable = self.number % 2 == 1
                self.client.write(self.start_at, self.content(self.number), self.client.FUA if durable else 0)
                self.told = self.number
                if durable:
                    self.durable = self.number
        except (OSError, EOFError):
            pass

    def check(self, test, data):
        for at in range(0, self.size, BLOCK):
            block = data[at:at + BLOCK]
            seed, number, place, _ = struct.unpack_from("<QQQQ", block)
            if number == 0:
                test.assertEqual((block, self.durable), (bytes(BLOCK), 0), f"nothing at {self.start_at + at}")
                continue
            expected = struct.pack("<QQQQ", self.seed, number, (self.start_at + at) // BLOCK, ~((self.start_at + at) // BLOCK) & (2**64 - 1))
            test.assertEqual(block, expected * (BLOCK // 32), f"foreign bytes at {self.start_at + at}")
            test.assertLessEqual(self.durable, number, f"an older block at {self.start_at + at} than was told durable")
            test.assertLessEqual(number, self.number)


class Gone(Volumes):
    rounds = int(os.environ.get("NBD_ROUNDS", "5"))

    def mount_again(self):
        run(NEONFS, "umount", self.mountpoint)
        self.mount()

    def round(self, number, kill):
        self.create(f"disks/v{number}", 2 * MIB)
        writer = Writer(self.serve(f"disks/v{number}"), 256, number)
        writer.start()
        time.sleep(random.Random(number).uniform(0.05, 0.8))
        kill()
        writer.join(60)
        self.assertFalse(writer.is_alive(), "a client waits for ever")
        return writer

    def test_nbdkit_is_killed(self):
        for number in range(self.rounds):
            writer = self.round(number, lambda: self.servers[-1].kill())
            self.servers[-1].wait()
            self.assertTrue(wait_for(lambda: not self.served()))
            # What the dead one had handed over is there; and the volume is free.
            client = Client(self.serve(f"disks/v{number}"))
            writer.check(self, client.read)
            client.close()
            self.stop()
        self.scrub()

    def test_the_daemon_is_killed(self):
        for number in range(self.rounds):
            writer = self.round(number, self.kill_daemon)
            self.mount_again()
            client = Client(self.serve(f"disks/v{number}"))
            writer.check(self, client.read)
            client.close()
            self.stop()
        self.scrub()

    def error_of(self, client, command, *words, **how):
        return client.ask(command, *words, **how)[0]

    def test_who_lost_nothing_goes_on(self):
        self.create("disks/v", MIB)
        client = Client(self.serve("disks/v"))
        client.write(0, b"kept")
        client.flush()
        self.kill_daemon()
        self.assertEqual(self.error_of(client, client.READ, 0, 4), ESHUTDOWN)
        self.assertEqual(self.error_of(client, client.WRITE, 0, data=b"lost"), ESHUTDOWN)
        self.mount_again()
        self.assertTrue(wait_for(lambda: self.error_of(client, client.READ, 0, 4096) == 0), "it does not come back")
        self.assertEqual(client.read(0, 4), b"kept")
        client.write(0, b"more")
        client.flush()
        client.close()
        self.stop()

    def test_who_was_told_too_much_does_not(self):
        self.create("disks/v", MIB)
        client = Client(self.serve("disks/v"))
        client.write(0, b"told")  # and no flush
        self.kill_daemon()
        self.mount_again()
        for _ in range(3):
            self.assertNotEqual(self.error_of(client, client.FLUSH), 0)
            time.sleep(0.6)
        self.assertEqual(self.error_of(client, client.READ, 0, 4), errno.EIO)
        self.assertIn("before writes were flushed", self.log_of(0))
        client.close()
        self.servers[-1].terminate()
        self.servers[-1].wait()
        client = Client(self.serve("disks/v"))  # a new server takes what there is
        self.assertIn(client.read(0, 4), (b"told", bytes(4)))

    def test_a_volume_that_others_wrote_meanwhile(self):
        self.create("disks/v", MIB)
        client = Client(self.serve("disks/v"))
        client.write(0, b"mine")
        client.flush()
        self.kill_daemon()
        self.mount_again()
        with open(self.path("disks", "v"), "r+b") as file:
            file.write(b"other")
        for _ in range(4):
            self.assertNotEqual(self.error_of(client, client.WRITE, 0, data=b"mine"), 0)
            time.sleep(0.4)
        self.assertIn("written by somebody else", self.log_of(0))
        self.assertEqual(self.read("disks/v")[:5], "other")

    def test_the_daemon_ends_under_load(self):
        """Each block says where it belongs: what a request under way carried is nowhere else, and what was told durable is there."""
        for number in range(self.rounds):
            self.create(f"disks/o{number}", 64 * MIB)
            uri = self.serve(f"disks/o{number}")
            writers = [LargeWriter(uri, place * 4 * MIB, number * 100 + place) for place in range(16)]
            for writer in writers:
                writer.start()
            time.sleep(random.Random(number).uniform(0.3, 1.0))
            pid = self.daemon_pid()
            os.kill(pid, signal.SIGTERM)
            for writer in writers:
                writer.join(60)
                self.assertFalse(writer.is_alive(), "a client waits for ever")
            self.assertTrue(wait_for(lambda: not process_lives(pid)), "the daemon does not end")
            self.mount()
            with open(self.path("disks", f"o{number}"), "rb") as file:
                for writer in writers:
                    file.seek(writer.start_at)
                    writer.check(self, file.read(writer.size))
        self.scrub()

    def test_a_daemon_that_ends_as_it_should(self):
        self.create("disks/v", MIB)
        client = Client(self.serve("disks/v"))
        client.write(0, b"told")
        pid = self.daemon_pid()
        os.kill(pid, signal.SIGTERM)
        self.assertTrue(wait_for(lambda: not process_lives(pid)))
        self.assertNotEqual(self.error_of(client, client.FLUSH), 0)
        self.mount()
        self.assertEqual(self.read("disks/v")[:4], "told")  # it was written all the same


if __name__ == "__main__":
    unittest.main()
