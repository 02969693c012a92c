"""neonfs object-store check, as a person or a script meets it."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

import proxy
from place import BUCKET, NEONFS, SECRET, Driver, Server, environment, keys
from proxy import FaultProxy

OK, FAILED, USAGE = 0, 1, 2


def check(*words, env=None):
    return subprocess.run([NEONFS, "object-store", *words], env=env or environment(), stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=120)


class Case(unittest.TestCase):
    def one_line(self, result, code, *fragments):
        self.assertEqual((result.returncode, result.stdout), (code, ""), result)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        self.assertTrue(result.stderr.startswith("neonfs: object-store"), result.stderr)
        self.assertNotIn(SECRET, result.stderr)
        for fragment in fragments:
            self.assertIn(fragment, result.stderr)

    def facts(self, result):
        self.assertEqual((result.returncode, result.stderr), (OK, ""), result)
        facts = json.loads(result.stdout)
        self.assertNotIn(SECRET, result.stdout)
        for name in ("put_ms", "get_ms", "upload_mb_s", "download_mb_s"):
            self.assertGreater(facts[name], 0)
        return facts


class Words(Case):
    def test_help(self):
        text = check("--help").stdout
        for word in ("Example", "s3://", "s3v2://", "file://", "AWS_ACCESS_KEY_ID", "AWS_CA_BUNDLE", "--json"):
            self.assertIn(word, text)

    def test_wrong_words(self):
        for words, fragment in (([], "check is missing"), (["check"], "URL is missing"), (["chek", "file:///tmp"], "there is: check"),
                                (["check", "ftp://x"], "begins with"), (["check", "s3://k:s@bucket"], "do not belong into the URL"),
                                (["check", "file:///tmp", "--size", "1"], "--size"), (["check", "file:///tmp", "--parallel", "0"], "--parallel"),
                                (["check", "file:///tmp", "--deadline", "soon"], "--deadline")):
            self.one_line(check(*words), USAGE, fragment)

    def test_places_that_cannot_be_opened(self):
        self.one_line(check("check", "file:///nonexistent"), FAILED, "make it first")
        self.one_line(check("check", "s3://bucket"), FAILED, "AWS_ACCESS_KEY_ID")


class Directory(Case):
    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="neonfs-object-")
        self.addCleanup(shutil.rmtree, self.top)
        self.url = "file://" + self.top

    def test_facts(self):
        facts = self.facts(check("check", self.url, "--size", "20M", "--json"))
        self.assertEqual((facts["place"], facts["large_bytes"]), (self.url, 20 << 20))
        self.assertTrue(facts["conditional_put"] and facts["one_winner"] and facts["if_match"] and facts["lease"])
        self.assertEqual(sorted(os.listdir(self.top)), ["~lock", "~tmp"], "something was left behind")

    def test_text(self):
        result = check("check", self.url, "--size", "1M")
        self.assertEqual(result.returncode, OK)
        self.assertIn("works, one winner", result.stdout)


class S3(Case):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)

    def setUp(self):
        self.proxy = FaultProxy(self.server.port)
        self.addCleanup(self.proxy.stop)
        self.env = keys(AWS_ENDPOINT_URL=self.proxy.endpoint)
        self.url = f"s3://{BUCKET}/check"

    def left(self):
        with Driver(self.url, env=keys(AWS_ENDPOINT_URL=self.server.endpoint)) as driver:
            return driver("list", key="")["list"]["entries"]

    def test_facts(self):
        facts = self.facts(check("check", self.url, "--size", "20M", "--json", env=self.env))
        self.assertTrue(facts["conditional_put"] and facts["one_winner"] and facts["if_match"], facts)
        self.assertEqual(self.left(), [])

    def test_a_store_that_ignores_conditions(self):
        def ignore(exchange):
            # The signature covers the header, so it is this proxy that has to say yes.
            exchange.take_body()
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"x\"\r\n\r\n", b"")
        self.proxy.fault(ignore, method="PUT", part="conditional", times=1000)
        facts = self.facts(check("check", self.url, "--size", "1M", "--json", env=self.env))
        self.assertFalse(facts["conditional_put"] or facts["one_winner"] or facts["lease"])
        self.assertIn("ignored", facts["conditional_text"])
        self.proxy.fault(proxy.answer(501, "NotImplemented"), method="PUT", part="conditional", times=1000)
        text = check("check", self.url, "--size", "1M", env=self.env).stdout
        self.assertIn("does NOT work", text)
        self.assertIn("from one machine only", text)

    def test_what_is_wrong_is_said(self):
        self.one_line(check("check", "s3://no-such-bucket", env=self.env), FAILED, "no-bucket", "make the bucket first")
        self.one_line(check("check", self.url, env={**self.env, "AWS_SECRET_ACCESS_KEY": "wrong"}), FAILED, "forbidden", "check the keys")
        self.proxy.fault(proxy.answer(403, "RequestTimeTooSkewed"), times=1)
        self.one_line(check("check", self.url, env=self.env), FAILED, "clock-skew")
        nobody = {**self.env, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.free_port()}"}
        self.one_line(check("check", self.url, "--deadline", "1s", env=nobody), FAILED, "network", "AWS_ENDPOINT_URL")

    def test_damage_is_found_and_cleaned_up_behind(self):
        self.proxy.fault(proxy.wrong_answer, method="GET", part="/large", times=1000)
        self.one_line(check("check", self.url, "--size", "1M", env=self.env), FAILED, "download", "corrupt")
        self.assertEqual(self.left(), [])


if __name__ == "__main__":
    unittest.main()
