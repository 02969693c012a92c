"""Peers of volume.sock that do what they should not. The daemon goes on, and the next one is served."""
import mmap
import os
import random
import socket
import struct
import time
import unittest

from volumes import MIB, Client, Volumes
from workplace import run, wait_for

HELLO, VERSION = 0x6F6C6C656864626E, 1
SLOTS, AREA, SLOTS_AT, AREAS_AT = 64, (256 << 10) + 16384, 4096, 8192
READ, WRITE, FLUSH = 1, 2, 3


class Peer:
    """The plugin's side of the socket, without its manners."""

    def __init__(self, store):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(os.path.join(store, "volume.sock"))
        self.socket.settimeout(30)
        self.memory = None

    def hello(self, name, flags=0):
        """The status of the answer; with 0 the memory is there."""
        name = name.encode()
        self.socket.send(struct.pack("<QIIH", HELLO, VERSION, flags, len(name)) + name)
        packet, fds, _, _ = socket.recv_fds(self.socket, 4096, 1)
        if fds:
            self.fd = fds[0]
            self.memory = mmap.mmap(self.fd, 0)
        return struct.unpack_from("<i", packet, 16)[0]

    def put(self, slot, op, offset, size, data=b"", flags=0):
        at = SLOTS_AT + 64 * slot
        self.memory[AREAS_AT + AREA * slot:AREAS_AT + AREA * slot + len(data)] = data
        self.memory[at:at + 16] = struct.pack("<QQ", op | flags << 8 | size << 32, offset)
        self.memory[at + 24:at + 28] = struct.pack("<I", 1)

    def submit(self, mask):
        self.memory[0:8] = struct.pack("<Q", mask)

    def result(self, slot, seconds=20):
        """Without the bell: a worker looks once a second."""
        at = SLOTS_AT + 64 * slot
        end = time.monotonic() + seconds
        while struct.unpack_from("<I", self.memory, at + 24)[0] != 3:
            if time.monotonic() > end:
                raise TimeoutError("no answer")
            time.sleep(0.01)
        return struct.unpack_from("<i", self.memory, at + 16)[0]

    def close(self):
        self.socket.close()


class Peers(Volumes):
    def setUp(self):
        super().setUp()
        self.create("disks/v", MIB)
        self.pid = self.daemon_pid()

    def still_serves(self):
        self.assertTrue(wait_for(lambda: not self.served()), "a session stays")
        client = Client(self.serve("disks/v"))
        client.write(4096, b"still")
        client.flush()
        self.assertEqual(client.read(4096, 5), b"still")
        self.assertEqual(self.daemon_pid(), self.pid)
        client.close()
        self.stop()
        self.scrub()

    def test_garbage_instead_of_a_hello(self):
        rnd = random.Random(5)
        for size in (0, 1, 7, 12, 17, 18, 100, 2047, 2048, 8000):
            peer = Peer(self.store)
            peer.socket.send(rnd.randbytes(size))
            try:
                self.assertLess(struct.unpack_from("<i", peer.socket.recv(4096) or b"\xff" * 20, 16)[0], 0)
            except ConnectionError:
                pass
            peer.close()
        for name in ("", "x", "disks/v\0", "disks/" + "a" * 900, "\xff/v", "disks/../disks/v", "disks/v@"):
            peer = Peer(self.store)
            self.assertLess(peer.hello(name), 0, name)
            peer.close()
        silent = [Peer(self.store) for _ in range(5)]  # connected, and nothing said
        self.still_serves()
        for peer in silent:
            peer.close()

    def test_more_peers_than_are_served(self):
        peers = [Peer(self.store) for _ in range(70)]
        time.sleep(0.3)
        refused = 0
        for peer in peers:
            peer.socket.settimeout(0.01)
            try:
                refused += struct.unpack_from("<i", peer.socket.recv(4096), 16)[0] < 0
            except OSError:
                pass
        self.assertGreaterEqual(refused, 6)
        for peer in peers:
            peer.close()
        self.still_serves()

    def test_memory_keeps_its_size(self):
        peer = Peer(self.store)
        self.assertEqual(peer.hello("disks/v"), 0)
        for size in (0, 4096, 1 << 30):
            with self.assertRaises(OSError):
                os.ftruncate(peer.fd, size)
        peer.close()
        self.still_serves()

    def test_requests_that_lead_outside(self):
        peer = Peer(self.store)
        self.assertEqual(peer.hello("disks/v"), 0)
        bad = [(READ, MIB, 1), (READ, 0, (256 << 10) + 1), (READ, 2**64 - 4096, 8192), (READ, 0, 0), (WRITE, MIB - 1, 2), (0, 0, 1), (8, 0, 1),
               (255, 0, 1), (FLUSH, 1, 0)]
        for slot, (op, offset, size) in enumerate(bad):
            peer.put(slot, op, offset, size)
        peer.submit((1 << len(bad)) - 1)
        for slot in range(len(bad)):
            self.assertEqual(peer.result(slot), -22, bad[slot])
        peer.put(0, WRITE, 8192, 5, b"whole")
        peer.submit(1)
        self.assertEqual(peer.result(0), 0)
        peer.close()
        self.assertTrue(wait_for(lambda: not self.served()))
        with open(self.path("disks", "v"), "rb") as file:
            data = file.read()
        self.assertEqual(data[8192:8197], b"whole")
        self.assertEqual(data.count(0), MIB - 5)
        self.still_serves()

    def test_memory_full_of_garbage(self):
        """Anything in the shared memory, again and again, read-only, so that what the volume has is known afterwards."""
        client = Client(self.serve("disks/v"))
        client.write(0, b"known" * 1000)
        client.close()
        self.stop()
        peer, rnd = Peer(self.store), random.Random(6)
        self.assertEqual(peer.hello("disks/v", flags=1), 0)
        for _ in range(300):
            peer.memory[0:8192] = rnd.randbytes(8192)
            time.sleep(0.002)
        self.assertEqual(self.daemon_pid(), self.pid)
        peer.close()
        with open(self.path("disks", "v"), "rb") as file:
            self.assertEqual(file.read(), (b"known" * 1000).ljust(MIB, b"\0"))
        self.still_serves()

    def test_gone_in_the_middle_of_requests(self):
        for number in range(20):
            peer = Peer(self.store)
            self.assertEqual(peer.hello("disks/v"), 0)
            for slot in range(SLOTS):
                peer.put(slot, WRITE if slot % 2 else READ, slot * 8192, 8192, bytes([slot]) * 8192)
            peer.submit(2**64 - 1)
            if number % 2:
                time.sleep(0.01)
            peer.close()
            self.assertTrue(wait_for(lambda: not self.served()), "the session stays")
        with open(self.path("disks", "v"), "rb") as file:
            data = file.read()
        for slot in range(SLOTS):  # each whole or not at all
            self.assertIn(data[slot * 8192:(slot + 1) * 8192], (bytes(8192), bytes([slot]) * 8192))
        self.still_serves()

    def test_clients_of_nbdkit_that_go(self):
        uri = self.serve("disks/v")
        for number in range(30):
            client = Client(uri)
            client.send(client.WRITE, 0, data=bytes([number]) * (512 << 10))
            client.send(client.READ, 0, MIB)
            if number % 3 == 0:
                client.socket.sendall(os.urandom(100))
            client.close()
        client = Client(uri)
        client.write(600 << 10, b"after")  # where none of them wrote: what they had sent may still be on its way
        self.assertEqual(client.read(600 << 10, 5), b"after")
        client.close()
        self.stop()
        self.still_serves()

    def test_other_users_are_not_served(self):
        os.chmod(self.top, 0o755)
        os.chmod(self.store, 0o755)
        os.chmod(os.path.join(self.store, "volume.sock"), 0o777)
        program = ("import socket,struct,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\ns.connect(sys.argv[1])\n"
                   "print(struct.unpack_from('<i',s.recv(4096),16)[0])")
        result = run("/usr/bin/python3", "-c", program, os.path.join(self.store, "volume.sock"), user="postgres")
        self.assertEqual(result.stdout.strip(), "-13", result.stderr)


if __name__ == "__main__":
    unittest.main()
