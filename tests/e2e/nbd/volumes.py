"""A mounted store with a branch for volumes, and servers of them."""
import json
import os
import random
import signal
import socket
import struct
import subprocess

from workplace import BIN, NEONFS, OK, Workplace, process_lives, run, wait_for

NBD = os.path.join(BIN, "neonfs-nbd")
PLUGIN = os.path.join(BIN, "nbdkit-neonfs-plugin.so")
MIB = 1 << 20


class Volumes(Workplace):
    def setUp(self):
        super().setUp()
        self.servers = []
        self.branch_done("create", "disks")

    def clean_up(self):
        for server in getattr(self, "servers", []):
            if server.poll() is None:
                server.kill()
                server.wait()
        for line in run("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE").stdout.splitlines():
            if self.top in line:
                run("umount", "-l", line.split()[0])
                run("losetup", "-d", line.split()[0])
        super().clean_up()

    def volume(self, *words, **how):
        return run(NEONFS, "volume", *words, "--store", self.store, **how)

    def volume_done(self, *words):
        return self.done(NEONFS, "volume", *words, "--store", self.store)

    def create(self, name, size):
        self.volume_done("create", name, "--size", str(size))

    def serve(self, name, *options):
        """Start a server in the foreground; returns its URI."""
        path = os.path.join(self.top, f"nbd{len(self.servers)}.sock")
        log = open(os.path.join(self.top, f"nbd{len(self.servers)}.log"), "w")
        server = subprocess.Popen(["nbdkit", "-f", "-U", path, *options, PLUGIN, f"store={self.store}", f"file={name}"],
                                  stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        self.servers.append(server)
        self.assertTrue(wait_for(lambda: os.path.exists(path) or server.poll() is not None), "the server does not start")
        self.assertIsNone(server.poll(), self.log_of(len(self.servers) - 1))
        return f"nbd+unix:///?socket={path}"

    def stop(self, server=None):
        server = server or self.servers[-1]
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(30), 0)
        self.assertTrue(wait_for(lambda: not self.served()), "the session does not end")

    def log_of(self, number):
        with open(os.path.join(self.top, f"nbd{number}.log")) as log:
            return log.read()

    def served(self):
        return [s for v in json.loads(self.volume_done("list", "--json")) for s in v["served"]]

    def pattern(self, name, size, seed):
        """A file of `size` bytes that looks random, the same for the same seed."""
        path = os.path.join(self.top, name)
        with open(path, "wb") as file:
            file.write(random.Random(seed).randbytes(size))
        return path

    def scrub(self):
        self.done(NEONFS, "scrub", self.store)


class Client:
    """The NBD protocol, as much of it as the tests need that no client of others offers: single requests with flags, and answers' errors."""
    READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES = 0, 1, 2, 3, 4, 5, 6
    FUA, NO_HOLE, FAST_ZERO = 1, 2, 16

    def __init__(self, uri):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(uri.split("socket=")[1])
        assert self.get(16) == b"NBDMAGICIHAVEOPT"
        self.get(2)
        self.socket.sendall(struct.pack(">I", 3))  # fixed newstyle, no zeroes
        self.socket.sendall(b"IHAVEOPT" + struct.pack(">III", 7, 6, 0) + struct.pack(">H", 0))  # GO, export "", no information asked for
        self.size = None
        while True:
            magic, option, kind, length = struct.unpack(">QIII", self.get(20))
            data = self.get(length)
            if kind == 3 and data[:2] == b"\0\0":
                self.size, self.flags = struct.unpack(">QH", data[2:12])
            elif kind == 1:
                break
            elif kind & 0x80000000:
                raise OSError(f"the server refuses: {kind:#x}")
        self.handle = 0

    def get(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError("the server has gone")
            data += piece
        return data

    def send(self, command, offset=0, size=0, data=b"", flags=0):
        self.handle += 1
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, flags, command, self.handle, offset, size or len(data)) + data)
        return self.handle

    def answer(self, size=0):
        """(error, data)"""
        magic, error, _ = struct.unpack(">IIQ", self.get(16))
        assert magic == 0x67446698
        return error, self.get(size) if size and error == 0 else b""

    def ask(self, command, offset=0, size=0, data=b"", flags=0):
        self.send(command, offset, size, data, flags)
        return self.answer(size if command == self.READ else 0)

    def read(self, offset, size):
        error, data = self.ask(self.READ, offset, size)
        if error:
            raise OSError(error, os.strerror(error))
        return data

    def change(self, command, offset=0, size=0, data=b"", flags=0):
        error, _ = self.ask(command, offset, size, data, flags)
        if error:
            raise OSError(error, os.strerror(error))

    def write(self, offset, data, flags=0):
        self.change(self.WRITE, offset, data=data, flags=flags)

    def flush(self):
        self.change(self.FLUSH)

    def close(self):
        self.socket.close()
