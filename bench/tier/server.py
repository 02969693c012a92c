"""The object store of the benchmarks (object_server), with counts of what it was asked."""

import json
import os
import subprocess

BIN = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "build/release/bin")
KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1"}
BUCKET = "the-bucket"


class Counts(dict):
    """{"PUT extent": (requests, bytes), ..., "stored extent": (objects, bytes)}"""

    def since(self, before):
        """What came since; what is stored stays as it is."""
        return Counts({name: value if name.startswith("stored") else tuple(now - then for now, then in zip(value, before.get(name, (0, 0))))
                       for name, value in self.items()})

    def requests(self, *methods):
        return sum(value[0] for name, value in self.items() if name.split(" ")[0] in methods)

    def bytes(self, *methods):
        return sum(value[1] for name, value in self.items() if name.split(" ")[0] in methods)


class Server:
    """Objects in memory, or in nameless files in `directory`; each answer waits `latency_ms`. No hashing, no signatures."""

    def __init__(self, directory="", latency_ms=0):
        self.process = subprocess.Popen([os.path.join(BIN, "object_server"), directory, str(latency_ms)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.endpoint = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def url(self, prefix=""):
        return f"s3://{BUCKET}{'/' if prefix else ''}{prefix}?endpoint={self.endpoint}"

    def counts(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return Counts({name: tuple(value) for name, value in json.loads(self.process.stdout.readline()).items()})

    def stop(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(timeout=30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
