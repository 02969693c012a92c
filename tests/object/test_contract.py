"""What object.h promises, the same sequence on every kind of place."""
import os
import shutil
import tempfile
import unittest

from place import BUCKET, MIB, QUICK, Driver, Server, environment, fill_bytes, keys


class Contract:
    """The sequence. A place has open(), which gives a Driver."""

    conditional = True
    multi = True
    end_of_nothing = ("not-found",)

    def setUp(self):
        self.driver = self.open()
        self.assertEqual(self.driver.opened, {"opened": 0, "message": ""})

    def tearDown(self):
        self.driver.close()

    def good(self, do, **order):
        line = self.driver(do, **order)
        self.assertEqual((line["result"], line["error"], line["message"]), (0, "ok", ""), f"{do} {order}: {line}")
        return line

    def bad(self, error, do, **order):
        line = self.driver(do, **order)
        self.assertEqual(line["error"], error, f"{do} {order}: {line}")
        self.assertLess(line["result"], 0)
        self.assertTrue(line["message"])
        return line

    def keys_of(self, **order):
        """All keys, page by page."""
        found, after = [], None
        for _ in range(1000):
            line = self.good("list", **({"after": after} if after else {}), **order)["list"]
            found += [entry["key"] for entry in line["entries"]]
            if not line["more"]:
                return found
            after = line["next_after"]
        self.fail("a list without end")

    def test_put_and_get(self):
        for size in (0, 1, 4095, 70000, 3 * MIB + 17):
            etag = self.good("put", key=f"sizes/{size}", size=size, fill=size)["etag"]
            self.assertTrue(etag)
            head = self.good("head", key=f"sizes/{size}")
            self.assertEqual((head["object_size"], head["etag"]), (size, etag))
            self.assertGreater(head["modified"], 1600000000)
            if size:
                line = self.good("get", key=f"sizes/{size}", size=size, fill=size, expect=True, expect_etag=etag)
                self.assertTrue(line["same"])
                self.assertEqual((line["got"], line["object_size"], line["etag"]), (size, size, etag))

    def test_ranges(self):
        self.good("put", key="ranges", size=100000, fill=3)
        for offset, size in ((0, 1), (0, 100000), (1, 99999), (50000, 10), (99999, 1), (4090, 20)):
            line = self.good("get", key="ranges", offset=offset, size=size, fill=3, expect=True)
            self.assertTrue(line["same"])
            self.assertEqual((line["got"], line["object_size"]), (size, 100000))

    def test_a_range_beyond_the_end(self):
        self.good("put", key="end", size=1000, fill=4)
        self.bad("short", "get", key="end", offset=990, size=11)
        self.bad("short", "get", key="end", offset=1000, size=1)
        for offset, got in ((990, 10), (1000, 0), (5000, 0)):
            line = self.good("get", key="end", offset=offset, size=100, fill=4, may_be_short=True)
            self.assertEqual((line["got"], line["same"]), (got, True))

    def test_other_bytes_than_expected(self):
        self.good("put", key="other", size=5000, fill=5)
        line = self.bad("corrupt", "get", key="other", size=5000, fill=6, expect=True)
        self.assertEqual(line["tries"], 3)

    def test_replace(self):
        first = self.good("put", key="replace", size=100, fill=1)["etag"]
        second = self.good("put", key="replace", size=200, fill=2)["etag"]
        self.assertNotEqual(first, second)
        self.bad("precondition", "get", key="replace", size=100, expect_etag=first)
        self.assertTrue(self.good("get", key="replace", size=200, fill=2, expect_etag=second)["same"])

    def test_what_is_not_there(self):
        self.bad("not-found", "get", key="no/such", size=1)
        self.bad("not-found", "head", key="no/such")
        self.good("delete", key="no/such")

    def test_delete(self):
        self.good("put", key="gone/now/x", size=10, fill=1)
        self.good("delete", key="gone/now/x")
        self.bad("not-found", "head", key="gone/now/x")
        self.assertEqual(self.keys_of(key="gone"), [])
        self.good("put", key="gone/now/x", size=10, fill=1)

    def test_lists(self):
        names = ["l/a", "l/a-b", "l/a.c", "l/aa/x", "l/aa/y/z", "l/aa.d", "l/b/1", "l/b/2", "l/b/3", "l/B", "l/_", "la"]
        for name in names:
            self.good("put", key=name, size=len(name), fill=0)
        in_order = sorted(names)
        self.assertEqual(self.keys_of(key="l"), in_order)
        for limit in (1, 2, 3, 11, 12, 13):
            self.assertEqual(self.keys_of(key="l", limit=limit), in_order, limit)
        below = [name for name in in_order if name.startswith("l/")]
        self.assertEqual(self.keys_of(key="l/"), below)
        self.assertEqual(self.keys_of(key="l/a"), [name for name in in_order if name.startswith("l/a")])
        self.assertEqual(self.keys_of(key="l/aa/y"), ["l/aa/y/z"])
        self.assertEqual(self.keys_of(key="l/zz"), [])
        for after in (*in_order, "l", "l/", "l/aa/", "l/aa/zzz", "lz"):
            page = self.good("list", key="l", after=after)["list"]
            self.assertEqual([entry["key"] for entry in page["entries"]], [name for name in in_order if name > after], after)
        entry = self.good("list", key="l/b/2")["list"]["entries"][0]
        self.assertEqual((entry["key"], entry["size"]), ("l/b/2", 5))
        self.assertEqual(entry["etag"], self.good("head", key="l/b/2")["etag"])
        self.assertEqual(entry["modified"], self.good("head", key="l/b/2")["modified"])

    def test_keys(self):
        longest = "/".join(["d" * 31] * 15 + ["e" * 32])
        self.assertEqual(len(longest), 512)
        for key in ("a", "A.b_c-d/0", "...", ".a/..b", longest):
            self.good("put", key=f"{key}", size=3, fill=9)
            self.assertTrue(self.good("get", key=key, size=3, fill=9, expect=True)["same"])
            self.good("delete", key=key)
        for key in ("", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a b", "a+b", "ä", "a~", "a\tb", "x" * 513):
            self.bad("invalid", "put", key=key, size=1)
            self.bad("invalid", "get", key=key, size=1)
            self.bad("invalid", "delete", key=key)

    def test_wrong_orders(self):
        self.bad("invalid", "get", key="a", size=0)
        self.bad("invalid", "put", key="a", size=1, if_none_match=True, if_match="x")
        self.bad("invalid", "get", key="a", size=1, if_match="x")
        self.bad("invalid", "put", key="a", size=1, if_match='x"y')
        self.bad("invalid", "list", key="a", limit=1001)
        self.bad("invalid", "begin", key="a", part_size=MIB)
        self.bad("invalid", "part", key="a", part_size=5 * MIB, part=1, size=1)
        self.bad("invalid", "part", key="a", upload="u", part_size=5 * MIB, part=0, size=1)
        self.bad("invalid", "end", key="a", upload="u", part_size=5 * MIB)

    def test_conditions(self):
        if not self.conditional:
            self.bad("unsupported", "put", key="c/new", size=10, if_none_match=True)
            self.bad("unsupported", "put", key="c/new", size=10, if_match="x")
            self.bad("not-found", "head", key="c/new")
            return
        first = self.good("put", key="c/new", size=10, fill=1, if_none_match=True)["etag"]
        self.bad("precondition", "put", key="c/new", size=10, fill=2, if_none_match=True)
        self.assertTrue(self.good("get", key="c/new", size=10, fill=1)["same"])
        second = self.good("put", key="c/new", size=10, fill=2, if_match=first)["etag"]
        self.bad("precondition", "put", key="c/new", size=10, fill=3, if_match=first)
        self.assertTrue(self.good("get", key="c/new", size=10, fill=2, expect_etag=second)["same"])
        line = self.driver("put", key="c/none", size=10, if_match=second)
        self.assertIn(line["error"], ("precondition", "not-found"))
        self.bad("not-found", "head", key="c/none")

    def test_what_conditions_do_is_found_out(self):
        line = self.driver("conditional", key="scratch/x")
        self.assertEqual(line["result"], 0, line)
        self.assertEqual((line["if_none_match"], line["one_winner"], line["if_match"]), (self.conditional,) * 3, line)
        self.assertEqual(self.keys_of(key="scratch"), [])

    def test_one_winner(self):
        if not self.conditional:
            return
        rivals = [self.open() for _ in range(4)]
        try:
            for turn in range(10):
                for name, rival in enumerate(rivals):
                    rival.send("put", key=f"race/{turn}", size=100, fill=name, if_none_match=True, name=name + 1)
                errors = [next(iter(rival.wait(1).values()))["error"] for rival in rivals]
                self.assertEqual(sorted(errors), ["ok"] + ["precondition"] * 3)
                winner = errors.index("ok")
                self.assertTrue(self.good("get", key=f"race/{turn}", size=100, fill=winner)["same"])
        finally:
            for rival in rivals:
                rival.close()

    def test_parts(self):
        if not self.multi:
            self.bad("unsupported", "begin", key="m/x", part_size=5 * MIB)
            return
        part = {"key": "m/x", "part_size": 5 * MIB}
        upload = self.good("begin", **part)["upload"]
        second = self.good("part", upload=upload, part=2, size=100, fill=8, **part)["etag"]
        first = self.good("part", upload=upload, part=1, size=5 * MIB, fill=7, **part)["etag"]
        self.bad("not-found", "head", key="m/x")
        self.assertEqual(self.keys_of(key="m"), [])
        etag = self.good("end", upload=upload, parts=[first, second], **part)["etag"]
        self.assertEqual(self.good("head", key="m/x")["etag"], etag)
        self.assertTrue(self.good("get", key="m/x", size=5 * MIB, fill=7, expect=True)["same"])
        line = self.good("get", key="m/x", offset=5 * MIB, size=100)
        self.assertEqual(line["object_size"], 5 * MIB + 100)
        # Once more is refused, or changes nothing.
        line = self.driver("end", upload=upload, parts=[first, second], deadline_ms=1000, **part)
        self.assertIn(line["error"], ("not-found", "ok"), line)
        self.assertEqual(self.good("head", key="m/x")["etag"], etag)

    def test_parts_dropped(self):
        if not self.multi:
            return
        part = {"key": "m/dropped", "part_size": 5 * MIB}
        upload = self.good("begin", **part)["upload"]
        etag = self.good("part", upload=upload, part=1, size=100, **part)["etag"]
        self.good("abort", key="m/dropped", upload=upload)
        self.good("abort", key="m/dropped", upload=upload)
        line = self.driver("end", upload=upload, parts=[etag], deadline_ms=2000, **part)
        self.assertIn(line["error"], self.end_of_nothing, line)
        for other in (upload, "u-0123456789abcdef-500000-0123456789abcdef"):
            line = self.driver("part", upload=other, part=1, size=100, deadline_ms=1000, **part)
            self.assertIn(line["error"], self.end_of_nothing, line)
        self.bad("not-found", "head", key="m/dropped")

    def test_upload(self):
        sizes = (0, 100, 5 * MIB, 5 * MIB + 1, 17 * MIB + 5) if self.multi else (0, 100, 5 * MIB)
        for size in sizes:
            line = self.driver("upload", key="up/load", size=size, fill=size, part_size=5 * MIB)
            self.assertEqual((line["result"], line["error"]), (0, "ok"), line)
            head = self.good("head", key="up/load")
            self.assertEqual((head["object_size"], head["etag"]), (size, line["etag"]))
            if size:
                self.assertTrue(self.good("get", key="up/load", size=size, fill=size, expect=True)["same"])

    def test_an_upload_that_cannot_read(self):
        line = self.driver("upload", key="up/broken", size=17 * MIB, fail_at=11 * MIB, part_size=5 * MIB)
        self.assertEqual((line["result"], line["error"]), (-5, "local") if self.multi else (-95, "unsupported"), line)
        self.bad("not-found", "head", key="up/broken")

    def test_many_at_once(self):
        for name in range(1, 41):
            self.driver.send("put", key=f"many/{name}", size=20000 + name, fill=name, name=name)
        lines = self.driver.wait(40)
        self.assertEqual([line for line in lines.values() if line["error"] != "ok"], [])
        self.assertEqual(len(lines), 40)
        for name in range(1, 41):
            self.driver.send("get", key=f"many/{name}", size=20000 + name, fill=name, expect=True, name=name)
        lines = self.driver.wait(40)
        self.assertEqual([line for line in lines.values() if line["error"] != "ok" or not line["same"]], [])
        self.assertEqual(self.driver.wait(1, ms=1000), {}, "a wait for what is not under way")
        stats = self.driver("stats")
        self.assertEqual((stats["waiting"], stats["running"], stats["troubled"], stats["failed"]), (0, 0, 0, 0))
        self.assertEqual(stats["sent"], stats["received"])

    def test_stop(self):
        for name in range(1, 21):
            self.driver.send("put", key=f"stop/{name}", size=300000, fill=name, name=name)
        self.assertEqual(self.driver("stop"), {"ok": True})
        lines = self.driver.wait(20)
        self.assertEqual(len(lines), 20)
        self.assertLessEqual({line["error"] for line in lines.values()}, {"ok", "cancelled"})
        self.assertEqual(self.driver("head", key="x")["result"], -108)

    def test_rates(self):
        slow = self.open("send_rate=1000000", "receive_rate=2000000")
        try:
            line = slow("put", key="rate", size=1500000, fill=1)
            self.assertEqual(line["error"], "ok")
            self.assertGreater(line["ms"], 1200)
            self.assertLess(line["ms"], 4000)
            line = slow("get", key="rate", size=1500000, fill=1, expect=True)
            self.assertEqual(line["error"], "ok")
            self.assertGreater(line["ms"], 500)
            self.assertLess(line["ms"], 3000)
            slow.send("put", key="rate/2", size=10000000, name=1)
            slow.send("cancel", name=1)
            self.assertEqual(slow.line(), {"ok": True})
            line = slow.wait(1)[1]
            self.assertEqual(line["error"], "cancelled")
            self.assertLess(line["ms"], 1500)
            self.bad("not-found", "head", key="rate/2")
            line = slow("put", key="rate/3", size=10000000, deadline_ms=400)
            self.assertEqual(line["result"], -110)
            self.assertLess(line["ms"], 1500)
        finally:
            slow.close()


class Directory(Contract, unittest.TestCase):
    def open(self, *options):
        if not hasattr(self, "top"):
            self.top = tempfile.mkdtemp(prefix="neonfs-object-")
            self.addCleanup(shutil.rmtree, self.top)
        return Driver("file://" + self.top, *QUICK, *options)

    def leftovers(self):
        return os.listdir(os.path.join(self.top, "~tmp"))

    def test_nothing_is_left(self):
        self.good("put", key="a/b/c", size=10)
        self.bad("precondition", "put", key="a/b/c", size=10, if_none_match=True)
        self.good("delete", key="a/b/c")
        upload = self.good("begin", key="a", part_size=5 * MIB)["upload"]
        self.assertEqual(self.leftovers(), [upload])
        self.good("abort", key="a", upload=upload)
        self.assertEqual(self.leftovers(), [])
        self.assertEqual(sorted(os.listdir(self.top)), ["~lock", "~tmp"])

    def test_what_a_dead_process_left(self):
        old, young = (os.path.join(self.top, "~tmp", "p-" + name) for name in ("old", "young"))
        for path in (old, young):
            with open(path, "w") as file:
                file.write("x")
        os.utime(old, (1, 1))
        self.open().close()
        self.assertEqual(self.leftovers(), ["p-young"])

    def test_an_object_is_a_file(self):
        self.good("put", key="x/y", size=10000, fill=7)
        with open(os.path.join(self.top, "x", "y"), "rb") as file:
            self.assertEqual(file.read(), fill_bytes(0, 10000, 7))

    def test_a_key_below_another(self):
        self.good("put", key="k", size=1)
        self.bad("invalid", "put", key="k/below", size=1)
        self.good("put", key="dir/below", size=1)
        self.bad("invalid", "put", key="dir", size=1)
        self.bad("not-found", "get", key="dir", size=1)
        self.bad("not-found", "head", key="k/below")
        self.assertEqual(self.leftovers(), [])

    def test_names_that_are_no_keys(self):
        self.good("put", key="f/a", size=1)
        for name in ("b c", "ä", "~x"):
            with open(os.path.join(self.top, "f", name), "w"):
                pass
        os.symlink("/etc/passwd", os.path.join(self.top, "f", "link"))
        page = self.good("list", key="")["list"]
        self.assertEqual(([entry["key"] for entry in page["entries"]], page["foreign"]), (["f/a"], 4))
        self.bad("not-found", "get", key="f/link", size=1)

    def test_parts_that_were_not_put(self):
        part = {"key": "p", "part_size": 5 * MIB}
        upload = self.good("begin", **part)["upload"]
        first = self.good("part", upload=upload, part=1, size=100, **part)["etag"]
        self.bad("invalid", "end", upload=upload, parts=[first, first], **part)
        self.bad("invalid", "end", upload=upload, parts=["part-1-99"], **part)
        self.bad("invalid", "end", upload=upload, parts=["part-1-100x"], **part)
        self.bad("not-found", "end", upload=upload, parts=[first], key="q", part_size=5 * MIB)
        self.bad("not-found", "end", upload="../~lock", parts=[first], **part)
        self.good("abort", upload="../~lock", key="p")
        self.good("abort", upload="u-0000-" + "0" * 16, key="p")
        self.assertEqual(sorted(os.listdir(self.top)), ["~lock", "~tmp"])
        self.good("end", upload=upload, parts=[first], **part)

    def test_where_nothing_can_be_opened(self):
        for url, rc, word in (("file://relative", -22, "absolute"), ("file:///nonexistent/x", -2, "make it first"),
                              ("file:///dev/null", -20, "Not a directory"), ("ftp://x", -22, "begins with")):
            with Driver(url) as driver:
                self.assertEqual(driver.opened["opened"], rc, driver.opened)
                self.assertIn(word, driver.opened["message"])


class S3(Contract, unittest.TestCase):
    prefix = "tests/a"
    end_of_nothing = ("not-found", "server")  # moto fails at it; S3 says NoSuchUpload

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)
        cls.number = 0

    def open(self, *options):
        if not hasattr(self, "place"):
            type(self).number += 1
            self.place = f"s3://{BUCKET}/{self.prefix}{self.number}"
        return Driver(self.place, *QUICK, *options, env=keys(AWS_ENDPOINT_URL=self.server.endpoint))

    def test_the_etag_is_the_md5(self):
        import hashlib
        line = self.good("put", key="md5", size=12345, fill=1)
        self.assertEqual(line["etag"], hashlib.md5(fill_bytes(0, 12345, 1)).hexdigest())

    def test_a_prefix_of_its_own(self):
        self.good("put", key="mine", size=1)
        with Driver(f"s3://{BUCKET}", env=keys(AWS_ENDPOINT_URL=self.server.endpoint)) as all_of_it:
            found = [e["key"] for e in all_of_it("list", key=f"{self.prefix}{self.number}/")["list"]["entries"]]
        self.assertEqual(found, [f"{self.prefix}{self.number}/mine"])

    def test_settings_of_the_url(self):
        url = f"{self.place}?endpoint={self.server.endpoint}&region=us-east-1&style=path"
        with Driver(url, env=keys(AWS_ENDPOINT_URL="http://127.0.0.1:1", AWS_REGION="elsewhere")) as driver:
            self.assertEqual(driver("put", key="url", size=1)["error"], "ok")

    def test_a_profile(self):
        top = tempfile.mkdtemp(prefix="neonfs-object-")
        self.addCleanup(shutil.rmtree, top)
        paths = {name: os.path.join(top, name) for name in ("credentials", "config")}
        with open(paths["credentials"], "w") as file:
            file.write(f"[default]\naws_access_key_id = wrong\naws_secret_access_key = wrong\n\n"
                       f"[tests]\naws_access_key_id = {keys()['AWS_ACCESS_KEY_ID']}\n"
                       f"aws_secret_access_key={keys()['AWS_SECRET_ACCESS_KEY']}\n")
        with open(paths["config"], "w") as file:
            file.write(f"[profile tests]\nregion = us-east-1\nendpoint_url = {self.server.endpoint}\n")
        env = environment(AWS_SHARED_CREDENTIALS_FILE=paths["credentials"], AWS_CONFIG_FILE=paths["config"], AWS_PROFILE="tests")
        with Driver(self.place, env=env) as driver:
            self.assertEqual(driver("put", key="profile", size=1)["error"], "ok")
        with Driver(self.place + f"?endpoint={self.server.endpoint}", env={**env, "AWS_PROFILE": "default"}) as driver:
            self.assertEqual(driver("put", key="profile", size=1)["error"], "forbidden")


class S3OldSignature(Contract, unittest.TestCase):
    """Through libs3."""

    conditional = False
    multi = False

    @classmethod
    def setUpClass(cls):
        cls.server = Server("v2")
        cls.addClassCleanup(cls.server.stop)
        cls.number = 0

    def open(self, *options):
        if not hasattr(self, "place"):
            type(self).number += 1
            self.place = f"s3v2://{BUCKET}/old/{self.number}"
        return Driver(self.place, *QUICK, *options, env=keys(AWS_ENDPOINT_URL=self.server.endpoint))

    def test_what_it_cannot_do_is_refused(self):
        for more, word in (({"AWS_ENDPOINT_URL": "https://127.0.0.1:1"}, "certificates"), ({"AWS_SESSION_TOKEN": "x"}, "tokens"),
                           ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1/x"}, "path")):
            env = keys(**{"AWS_ENDPOINT_URL": self.server.endpoint, **more})
            with Driver(self.place, env=env) as driver:
                self.assertEqual(driver.opened["opened"], -22, driver.opened)
                self.assertIn(word, driver.opened["message"])
        with Driver(self.place, "unverified_tls=1", env=keys(AWS_ENDPOINT_URL="https://127.0.0.1:1")) as driver:
            self.assertEqual(driver.opened["opened"], 0)

    def test_wrong_secret(self):
        env = keys(AWS_ENDPOINT_URL=self.server.endpoint, AWS_SECRET_ACCESS_KEY="wrong")
        with Driver(self.place, env=env) as driver:
            for do, order in (("put", {"size": 10}), ("get", {"size": 10}), ("head", {}), ("list", {}), ("delete", {})):
                line = driver(do, key="k", **order)
                self.assertEqual((line["error"], line["tries"]), ("forbidden", 1), line)


if __name__ == "__main__":
    unittest.main()
