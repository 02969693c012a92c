"""A store with an object store behind it: init, status, flush, attach, scrub, as people meet them. What is there is what was there: tests/tier."""
import json
import os
import shutil
import unittest

from workplace import FAILED, NEONFS, USAGE, Workplace, run


class Tier(Workplace):
    mount_at_start = False

    def setUp(self):
        super().setUp()
        self.objects = os.path.join(self.top, "objects")
        os.mkdir(self.objects)
        self.url = "file://" + self.objects
        self.plain = self.store
        self.store = os.path.join(self.top, "tiered")

    def init(self, *options):
        self.done(NEONFS, "init", self.store, "--object-store", self.url, "--lease", "1s", *options)

    def listing(self):
        return sorted(os.path.relpath(os.path.join(where, name), self.objects)
                      for where, _, names in os.walk(self.objects) for name in names if name != "~lock")

    def some_data(self):
        """A mounted store with two branches; returns what they hold."""
        self.mount()
        self.branch_done("create", "main")
        self.write("main/file", "one")
        self.write("main/large", "x" * 5000000)
        self.branch_done("create", "dev", "--from", "main")
        self.write("dev/file", "two")
        self.branch_done("snapshot", "main@here")
        self.write("main/file", "three")

    def expect_data(self):
        self.assertEqual(self.read("main/file"), "three")
        self.assertEqual(self.read("main/large"), "x" * 5000000)
        self.assertEqual(self.read("dev/file"), "two")
        self.assertEqual(self.read("main@here/file"), "one")

    def config(self, store=None):
        with open(os.path.join(store or self.store, "tier.json")) as file:
            return json.load(file)

    # ---- init

    def test_init_marks_the_place_and_keeps_what_was_asked_for(self):
        self.init("--local-limit", "2G", "--grace", "3d", "--send-rate", "10M", "--parallel", "3")
        self.assertEqual(self.listing(), ["store"])
        config = self.config()
        self.assertEqual(config["url"], self.url)
        self.assertEqual(config["local_limit_bytes"], 2 << 30)
        self.assertEqual((config["grace_s"], config["lease_s"], config["send_rate"], config["parallel"]), (259200, 1, 10 << 20, 3))
        self.assertEqual(os.stat(self.store + "/tier.json").st_mode & 0o777, 0o600)

    def test_init_refuses_a_place_that_is_taken(self):
        self.init()
        again = self.top + "/again"
        self.one_line(run(NEONFS, "init", again, "--object-store", self.url), FAILED, "a neonfs store", "attach")
        self.assertFalse(os.path.exists(again))
        self.assertEqual(self.listing(), ["store"])

    def test_init_refuses_nonsense_and_makes_nothing(self):
        for options, code, fragment in (
                (["--object-store", "file:///nonexistent/place"], FAILED, "/nonexistent/place"),
                (["--object-store", "http://example.org/"], FAILED, "URL begins with s3://"),
                (["--object-store", self.url, "--local-limit", "1M"], USAGE, "--local-limit is too small"),
                (["--object-store", self.url, "--lease", "0s"], USAGE, "--lease"),
                (["--object-store", self.url, "--parallel", "1000"], USAGE, "--parallel"),
                (["--local-limit", "5G"], USAGE, "--object-store"),
                (["--unsafe-no-lease"], USAGE, "--object-store")):
            self.one_line(run(NEONFS, "init", self.store, *options), code, fragment)
            self.assertFalse(os.path.exists(self.store), options)
        self.assertEqual(self.listing(), [])

    def test_init_leaves_the_place_alone_when_the_directory_is_no_good(self):
        os.mkdir(self.store)
        with open(self.store + "/precious", "w") as file:
            file.write("mine")
        self.one_line(run(NEONFS, "init", self.store, "--object-store", self.url), FAILED, "not empty")
        self.assertEqual(os.listdir(self.store), ["precious"])
        self.assertEqual(self.listing(), [])

    # ---- flush, status

    def test_what_was_flushed_is_safe(self):
        self.init()
        self.some_data()
        self.done(NEONFS, "flush", self.store, "--wait", "100s")
        tier = self.status()["tier"]
        self.assertEqual(tier["url"], self.url)
        self.assertEqual((tier["unsafe_bytes"], tier["waiting_extents"]), (0, 0))
        self.assertGreater(tier["safe_ns"], 1700000000 * 10**9)
        self.assertEqual(tier["lease"]["state"], "held")
        text = self.done(NEONFS, "status", self.store)
        for word in ("object store", "safe there", "here", "lease"):
            self.assertIn(word, text)
        self.umount()
        tier = self.status()["tier"]
        self.assertEqual(tier["url"], self.url)
        self.done(NEONFS, "flush", self.store)

    def test_a_store_without_one_has_nothing_to_flush(self):
        self.one_line(run(NEONFS, "flush", self.plain), FAILED, "no object store")
        self.one_line(run(NEONFS, "scrub", self.plain, "--object-store"), FAILED, "no object store")
        self.one_line(run(NEONFS, "scrub", self.plain, "--deep"), USAGE, "--object-store")
        self.store = self.plain
        self.mount()
        self.one_line(run(NEONFS, "flush", self.plain), FAILED, "no object store")
        self.assertNotIn("tier", self.status())

    def test_flush_gives_up_when_nothing_can_be_put(self):
        self.init()
        self.some_data()
        self.done(NEONFS, "flush", self.store)
        log, away = self.objects + "/log", self.top + "/away"
        os.rename(log, away)
        with open(log, "w"):
            pass
        try:
            self.write("main/more", "y" * 100000)
            self.one_line(run(NEONFS, "flush", self.store, "--wait", "2s"), FAILED, "not everything is in the object store")
            self.assertIn("upload error", self.done(NEONFS, "status", self.store))
            self.assertGreater(self.status()["tier"]["unsafe_bytes"], 0)
        finally:
            os.unlink(log)
            os.rename(away, log)
        self.done(NEONFS, "flush", self.store, "--wait", "100s")

    # ---- attach

    def test_attached_elsewhere_it_is_the_same(self):
        self.init()
        self.some_data()
        self.umount()
        first, self.store = self.store, self.top + "/elsewhere"
        told = json.loads(self.done(NEONFS, "attach", self.url, self.store, "--lease", "1s", "--json"))
        self.assertEqual((told["branches"], told["read_only"]), (2, False))
        self.assertEqual(self.config()["url"], self.url)
        self.mount()
        self.expect_data()
        self.write("dev/file", "four")
        self.umount()
        self.done(NEONFS, "scrub", self.store)
        # The first directory is not the newest any more.
        result = run(NEONFS, "mount", first, self.mountpoint)
        self.one_line(result, FAILED, "attach")
        shutil.rmtree(first)
        self.store = self.top + "/third"
        self.done(NEONFS, "attach", self.url, self.store, "--prefetch")
        self.mount()
        self.assertEqual(self.read("dev/file"), "four")

    def test_read_only_beside_its_owner(self):
        self.init()
        self.some_data()
        self.done(NEONFS, "flush", self.store)
        before = self.listing()
        look, mount = self.top + "/look", self.top + "/look-mount"
        os.mkdir(mount)
        self.done(NEONFS, "attach", self.url, look, "--read-only")
        self.assertEqual([key for key in self.listing() if key.startswith("lease/")], [key for key in before if key.startswith("lease/")])
        self.done(NEONFS, "mount", look, mount)
        with open(mount + "/main/file") as file:
            self.assertEqual(file.read(), "three")
        with self.assertRaises(OSError):
            open(mount + "/main/file", "w")
        self.one_line(run(NEONFS, "flush", look), FAILED, "read-only")
        self.write("main/file", "on")
        with open(mount + "/main/file") as file:
            self.assertEqual(file.read(), "three")
        self.done(NEONFS, "umount", mount)

    def test_only_one_at_a_time(self):
        self.init()
        self.some_data()
        other = self.top + "/other"
        self.one_line(run(NEONFS, "attach", self.url, other), FAILED, "in use", "--take-over")
        self.assertFalse(os.path.exists(other))
        self.done(NEONFS, "flush", self.store)
        self.done(NEONFS, "attach", self.url, other, "--take-over", "--lease", "1s")
        with self.assertRaises(OSError):
            self.write("main/file", "too late")
        self.assertIn("READ-ONLY", self.done(NEONFS, "status", self.store))

    def test_attach_refuses_nonsense_and_makes_nothing(self):
        path = self.top + "/new"
        self.one_line(run(NEONFS, "attach", self.url, path), FAILED, "no neonfs store")
        self.one_line(run(NEONFS, "attach", "file:///nonexistent/place", path), FAILED, "/nonexistent/place")
        self.one_line(run(NEONFS, "attach", "nonsense", path), FAILED, "URL begins with s3://")
        self.one_line(run(NEONFS, "attach", self.url, path, "--read-only", "--take-over"), USAGE, "--read-only")
        self.init()
        self.one_line(run(NEONFS, "attach", self.url, path), FAILED, "nothing of it was uploaded")
        self.assertFalse(os.path.exists(path))
        self.one_line(run(NEONFS, "attach", self.url, self.plain), FAILED, "a neonfs store in it already")
        with open(self.top + "/full-of-it", "w"):
            pass
        self.one_line(run(NEONFS, "attach", self.url, self.top), FAILED, "not empty")

    # ---- scrub

    def check(self, *options):
        result = run(NEONFS, "scrub", self.store, "--object-store", *options)
        return result.returncode, result.stdout + result.stderr

    def test_scrub_finds_what_is_missing_or_damaged(self):
        self.init()
        self.some_data()
        self.done(NEONFS, "flush", self.store)
        facts = json.loads(self.done(NEONFS, "scrub", self.store, "--object-store", "--deep", "--json"))
        self.assertEqual((facts["missing"], facts["damaged"]), (0, 0))
        self.assertGreater(facts["objects"], 3)
        self.umount()
        victims = [key for key in self.listing() if key.split("/")[0] in ("part", "index", "manifest")]
        self.assertGreater(len(victims), 2)
        for key in victims:
            path = os.path.join(self.objects, key)
            with open(path, "rb") as file:
                whole = file.read()
            if not key.startswith("manifest/"):  # an older one may go
                os.unlink(path)
                code, text = self.check()
                self.assertEqual(code, FAILED, key)
                self.assertIn(key + ": missing", text)
            with open(path, "wb") as file:
                file.write(whole[:-1])
            code, text = self.check()
            self.assertEqual(code, FAILED, key)
            self.assertIn(key + ": damaged", text)
            with open(path, "wb") as file:
                file.write(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:] if len(whole) > 100 else bytes([whole[0] ^ 1]) + whole[1:])
            code, text = self.check("--deep")
            self.assertEqual(code, FAILED, key)
            self.assertIn(key + ": damaged", text)
            with open(path, "wb") as file:
                file.write(whole)
        code, text = self.check("--deep")
        self.assertEqual(code, 0, text)


if __name__ == "__main__":
    unittest.main()
