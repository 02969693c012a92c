"""A client under test, and the places it works on: a directory, or a bucket of a server that a test starts."""
import json
import os
import select
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BIN = os.environ.get("NEONFS_BIN", "")
DRIVER = os.path.join(BIN, "object_driver")
NEONFS = os.path.join(BIN, "neonfs")
KEY, SECRET = "AKIAEXAMPLEEXAMPLE00", "secret/of/the+tests/0123456789abcdefghij"
BUCKET = "the-bucket"
MIB = 1 << 20
QUICK = ["retry_first_ms=20", "retry_max_ms=200"]


class Missing(Exception):
    """What a test needs cannot be had here."""


def fill_bytes(offset, size, fill):
    """The bytes that object_driver puts (driver.c: fill_bytes)."""
    pages = []
    at = offset
    while at < offset + size:
        base = ((at >> 12) * 31 + fill) & 255
        page = bytes((base + k * 7) & 255 for k in range(4096))
        first = at & 4095
        pages.append(page[first:first + offset + size - at])
        at = (at | 4095) + 1
    return b"".join(pages)


def environment(**more):
    """Ours without any setting that a client would look at, but `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_") and not name.lower().endswith("_proxy")}
    kept["HOME"] = "/nonexistent"
    kept.update({name: value for name, value in more.items() if value is not None})
    return kept


def keys(**more):
    return environment(**{"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1", **more})


class Driver:
    """object_driver on one URL. Every call returns its line as a dictionary."""

    def __init__(self, url, *options, env=None):
        self.process = subprocess.Popen([DRIVER, url, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env=env if env is not None else environment())
        self.buffer = b""
        self.opened = self.line()

    def line(self, seconds=30):
        until = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            if not select.select([self.process.stdout], [], [], max(0, until - time.monotonic()))[0]:
                self.process.kill()
                raise AssertionError("object_driver says nothing")
            more = os.read(self.process.stdout.fileno(), 1 << 16)
            if not more:
                raise AssertionError(f"object_driver ended with {self.process.wait()}")
            self.buffer += more
        text, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(text)

    def send(self, do, **order):
        self.process.stdin.write(json.dumps({"do": do, **order}).encode() + b"\n")
        self.process.stdin.flush()

    def __call__(self, do, **order):
        self.send(do, **order)
        return self.line()

    def wait(self, count, ms=60000):
        """The lines of ops that were submitted with a name, by name."""
        self.send("wait", count=count, ms=ms)
        lines = {}
        while True:
            line = self.line()
            if "waited" in line:
                return lines
            lines[line["name"]] = line

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(timeout=60)
        self.process.stdout.close()
        if code != 0:
            raise AssertionError(f"object_driver ended with {code}")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.close()
        else:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()


class Server:
    """An S3 server on loopback with one bucket, in memory, that verifies signatures (server)."""

    def __init__(self, *options):
        done = subprocess.run([os.path.join(HERE, "moto")], capture_output=True, text=True)
        if done.returncode != 0:
            raise Missing(done.stderr.strip() or "the S3 server of the tests cannot be had")
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            ["/usr/bin/python3", "-B", os.path.join(HERE, "server"), KEY, SECRET, BUCKET, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.log, text=True, env=environment(PYTHONPATH=done.stdout.strip()))
        if not select.select([self.process.stdout], [], [], 60)[0]:
            self.stop()
            raise AssertionError("the S3 server does not start")
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            text = self.log.read()[-2000:]
            self.stop()
            raise AssertionError(f"the S3 server ended: {text}")
        self.port = int(line)
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()


def require(condition, what):
    """Like an assertion, for set-up."""
    if not condition:
        raise AssertionError(what)


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


if __name__ == "__main__":
    sys.exit("a module of the tests; run them with ctest -L object")
