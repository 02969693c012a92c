"""The control socket against peers that misbehave: an error line, never a dead daemon."""
import json
import random
import socket
import subprocess
import time
import unittest

from workplace import NEONFS, Workplace, run, wait_for

GOOD = b'{"v":1,"op":"branch.create","args":{"name":"new","from":"main"}}\n'


class Control(Workplace):
    def setUp(self):
        super().setUp()
        self.branch_done("create", "main")
        self.pid = self.daemon_pid()

    def connect(self):
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(self.store + "/control.sock")  # with no timeout yet: it waits while the backlog is full
        peer.settimeout(20)
        self.addCleanup(peer.close)
        return peer

    def ask(self, raw):
        peer = self.connect()
        answer = b""
        try:
            peer.sendall(raw)
            while not answer.endswith(b"\n"):
                piece = peer.recv(65536)
                if not piece:
                    break
                answer += piece
        except (BrokenPipeError, ConnectionResetError):
            pass  # what was too long to be read to its end
        peer.close()
        return json.loads(answer) if answer else None

    def still_serves(self):
        self.assertEqual(self.daemon_pid(), self.pid)
        self.assertIn("main", self.branches())

    def test_malformed_requests(self):
        cases = [b"\n", b"{}\n", b"[]\n", b"null\n", b"\xff\xfe\n", b'"text"\n', b"{" * 5000 + b"\n", b"[" * 60000 + b"\n",
                 b'{"v":1}\n', b'{"v":1,"op":"branch.list"}\n', b'{"v":1,"op":"branch.list","args":[]}\n',
                 b'{"v":1,"op":7,"args":{}}\n', b'{"v":1,"op":"nothing.known","args":{}}\n',
                 b'{"v":2,"op":"branch.list","args":{}}\n', b'{"v":1,"v":1,"op":"branch.list","args":{}}\n',
                 b'{"v":1,"op":"branch.create","args":{}}\n', b'{"v":1,"op":"branch.create","args":{"name":5}}\n',
                 b'{"v":1,"op":"branch.create","args":{"name":"x"}}\n',
                 b'{"v":1,"op":"branch.create","args":{"name":"x\\u0000y","uid":0,"gid":0}}\n',
                 b'{"v":1,"op":"branch.create","args":{"name":"../x","uid":0,"gid":0}}\n',
                 b'{"v":1,"op":"branch.diff","args":{"a":"main"}}\n', b'{"v":1,"op":"snapshot.delete","args":{"point":"main"}}\n']
        for case in cases:
            answer = self.ask(case)
            self.assertIsNotNone(answer, case[:60])
            self.assertFalse(answer["ok"], case[:60])
            self.assertTrue(answer["error"]["message"], case[:60])
        self.assertEqual(sorted(self.branches()), ["main"])
        self.still_serves()

    def test_a_request_without_end(self):
        answer = self.ask(b"x" * 200000)
        self.assertTrue(answer is None or "too long" in answer["error"]["message"])
        self.still_serves()

    def test_random_damage(self):
        source = random.Random(20261124)
        for _ in range(1500):
            raw = bytearray(GOOD)
            for _ in range(source.randint(1, 5)):
                raw[source.randrange(len(raw))] = source.randrange(256)
            peer = self.connect()
            peer.sendall(bytes(raw))
            if source.random() < 0.5:
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(65536):
                    pass
            peer.close()
        self.still_serves()

    def test_two_requests_on_one_connection(self):
        peer = self.connect()
        reader = peer.makefile("rb")
        for _ in range(3):
            peer.sendall(b'{"v":1,"op":"branch.list","args":{}}\n')
            self.assertTrue(json.loads(reader.readline())["ok"])

    def test_a_request_in_pieces(self):
        peer = self.connect()
        for byte in b'{"v":1,"op":"branch.list","args":{}}\n':
            peer.sendall(bytes([byte]))
        self.assertTrue(json.loads(peer.makefile("rb").readline())["ok"])

    def test_too_many_connections(self):
        peers = [self.connect() for _ in range(40)]
        answers = [json.loads(peer.makefile("rb").readline()) for peer in peers[20:]]
        for answer in answers:
            self.assertEqual(answer["error"]["code"], "busy")
        for peer in peers:
            peer.close()
        self.assertTrue(wait_for(lambda: self.branch("list").returncode == 0))
        self.still_serves()

    def test_umount_does_not_wait_for_idle_peers(self):
        for _ in range(5):
            self.connect()
        began = time.monotonic()
        self.umount()
        self.assertLess(time.monotonic() - began, 15)

    def test_only_one_long_work_at_a_time_and_none_is_left(self):
        """Clients of gc and scrub that are killed leave no lock behind."""
        for _ in range(10):
            works = [subprocess.Popen([NEONFS, work, self.store], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                     for work in ("scrub", "gc")]
            for work in works:
                work.kill()
                work.wait()
        self.assertTrue(wait_for(lambda: run(NEONFS, "gc", self.store).returncode == 0))
        self.still_serves()

    def test_umount_during_work(self):
        self.write("main/data", "x" * 20_000_000)
        with subprocess.Popen([NEONFS, "scrub", self.store], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as scrub:
            self.umount()
            scrub.communicate()
        self.mount()
        self.assertEqual(len(self.read("main/data")), 20_000_000)


if __name__ == "__main__":
    unittest.main()
