"""Every fault between client and server: what is tried again until it works, and what ends an op at once, by which name."""
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import proxy
from place import BUCKET, MIB, QUICK, SECRET, Driver, Server, fill_bytes, keys, require
from proxy import FaultProxy



PAGE = b"<html><body><h1>Something<br>is wrong</h1></body></html>"


class Faults(unittest.TestCase):
    number = 0

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)

    def setUp(self):
        type(self).number += 1
        self.proxy = FaultProxy(self.server.port)
        self.addCleanup(self.proxy.stop)
        # A busy machine may be slow itself; what gives up early is opened by the tests of that.
        self.driver = self.open("stall_ms=15000")

    def open(self, *options, env=None, endpoint=None, bucket=BUCKET):
        driver = Driver(f"s3://{bucket}/faults/{self.number}", *QUICK, *options,
                        env=env or keys(AWS_ENDPOINT_URL=endpoint or self.proxy.endpoint))
        self.addCleanup(self.shut, driver)
        self.assertEqual(driver.opened["opened"], 0, driver.opened)
        return driver

    @staticmethod
    def shut(driver):
        if driver.process.poll() is None:
            driver.close()

    def good(self, do, tries=None, **order):
        line = self.driver(do, **order)
        self.assertEqual((line["result"], line["error"]), (0, "ok"), line)
        if tries is not None:
            self.assertEqual(line["tries"], tries, line)
        return line

    def bad(self, error, do, tries=1, **order):
        line = self.driver(do, **order)
        self.assertEqual((line["error"], line["tries"]), (error, tries), line)
        self.assertNotIn(SECRET, line["message"])
        return line

    # ---- transient: tried again

    def test_transient_faults_are_tried_again(self):
        faults = {
            "429": proxy.answer(429), "500": proxy.answer(500, "InternalError"), "502": proxy.answer(502),
            "503": proxy.answer(503, "SlowDown"), "504": proxy.answer(504), "early 503": proxy.answer_early(503),
            "408": proxy.answer(408), "400 RequestTimeout": proxy.answer(400, "RequestTimeout"),
            "409 conflict": proxy.answer(409, "ConditionalRequestConflict"),
            "reset before": proxy.reset_before, "lost answer": proxy.lost_answer, "garbage": proxy.garbage,
            "page of 502": proxy.replaced(PAGE, status=502), "page of 500": proxy.replaced(PAGE, status=500),
        }
        for name, fault in faults.items():
            with self.subTest(name):
                self.proxy.clear()
                # A kept connection that breaks before an answer is tried again below us, once.
                tries = (2, 3) if name in ("reset before", "lost answer") else (3,)

                def tried(do, **order):
                    self.proxy.fault(fault, times=2)
                    line = self.good(do, key="t", **order)
                    self.assertIn(line["tries"], tries, line)
                    return line
                tried("put", size=5000, fill=1)
                self.assertTrue(tried("get", size=5000, fill=1, expect=True)["same"])
                # The answer to a HEAD has no words, only a status.
                if not name.startswith("4") or name in ("408", "429"):
                    tried("head")
                self.assertEqual(len(tried("list")["list"]["entries"]), 1)
                tried("delete")

    def test_503_after_100_continue(self):
        size = 3 * MIB
        self.proxy.fault(proxy.answer(503, "SlowDown"), method="PUT")
        self.good("put", tries=2, key="hundred", size=size, fill=2)
        self.assertTrue(self.good("get", key="hundred", size=size, fill=2, expect=True)["same"])
        self.proxy.fault(proxy.answer(503, "SlowDown"), method="PUT", times=1000)
        line = self.driver("put", key="hundred/2", size=size, deadline_ms=700)
        self.assertEqual((line["result"], line["error"]), (-110, "throttled"))
        self.bad("not-found", "head", key="hundred/2", tries=1)

    def test_reset_in_the_middle_of_a_body(self):
        self.proxy.fault(proxy.reset_in_body, method="PUT", times=2)
        self.good("put", tries=3, key="middle", size=2 * MIB, fill=3)
        self.assertTrue(self.good("get", key="middle", size=2 * MIB, fill=3, expect=True)["same"])

    def test_answers_that_are_cut(self):
        self.good("put", key="cut", size=200000, fill=4)
        for fault in (proxy.cut_answer, proxy.short_answer):
            self.proxy.fault(fault, times=2)
            self.assertTrue(self.good("get", tries=3, key="cut", size=200000, fill=4)["same"])
            self.proxy.fault(fault, times=2)
            self.good("list", tries=3, key="")
        self.proxy.fault(proxy.short_answer, times=1)
        self.assertTrue(self.good("get", tries=2, key="cut", size=200000, offset=0, fill=4, may_be_short=True)["same"])

    def test_wrong_bytes(self):
        self.good("put", key="wrong", size=100000, fill=5)
        self.proxy.fault(proxy.wrong_answer, times=2)
        self.assertTrue(self.good("get", tries=3, key="wrong", size=100000, fill=5, expect=True)["same"])
        self.proxy.fault(proxy.wrong_answer, times=3)
        line = self.bad("corrupt", "get", tries=3, key="wrong", size=100000, fill=5, expect=True)
        self.assertEqual(line["result"], -117)

    def test_a_put_whose_bytes_change_on_the_way(self):
        self.proxy.fault(proxy.wrong_request, method="PUT", times=2)
        self.good("put", tries=3, key="changed", size=10000, fill=6)
        self.assertTrue(self.good("get", key="changed", size=10000, fill=6, expect=True)["same"])
        self.proxy.fault(proxy.wrong_request, method="PUT", times=3)
        self.bad("corrupt", "put", tries=3, key="changed", size=10000, fill=7)

    def test_a_store_that_answers_with_a_checksum(self):
        """No MD5 is made for it, and its etag may be anything."""
        self.proxy.fault(proxy.with_checksum(md5=False), method="PUT", times=2)
        for fill in (1, 2):
            self.good("put", tries=1, key="checksum", size=10000, fill=fill)
        self.proxy.fault(proxy.with_checksum(wrong_bit=1), method="PUT", times=1)
        self.good("put", tries=2, key="checksum", size=10000, fill=3)
        self.assertTrue(self.good("get", key="checksum", size=10000, fill=3, expect=True)["same"])

    def test_a_store_that_refuses_the_checksum(self):
        """It is asked for once, and never again; the MD5 goes instead. A lease's put is no other."""
        def refuses(exchange):
            asks, md5 = (proxy.header(exchange.head, name) for name in ("x-amz-checksum-sha256", "content-md5"))
            (proxy.answer(status, code) if asks or not md5 else proxy.passed_on)(exchange)
        for status, code in ((400, "InvalidArgument"), (501, "NotImplemented")):
            self.driver = self.open("stall_ms=15000")
            self.proxy.fault(refuses, method="PUT", times=3)
            self.good("put", tries=2, key=f"refused{status}", size=10000, fill=1, if_none_match=True)
            self.good("put", tries=1, key=f"refused{status}", size=10000, fill=2)
            self.assertTrue(self.good("get", key=f"refused{status}", size=10000, fill=2, expect=True)["same"])
            self.driver = self.open("stall_ms=15000")
            self.proxy.fault(refuses, method="PUT", times=2)
            self.good("put", tries=2, key=f"refused{status}", size=10000, fill=3)
        self.proxy.clear()

    def test_a_store_that_answers_with_an_md5_only(self):
        """The first put is compared when it is there; those behind it go with their MD5."""
        def needs_md5(exchange):
            (proxy.passed_on if proxy.header(exchange.head, "content-md5") else proxy.answer(400, "Unexpected"))(exchange)
        self.good("put", tries=1, key="md5", size=10000, fill=1)
        self.proxy.fault(needs_md5, method="PUT", times=1)
        self.good("put", tries=1, key="md5", size=10000, fill=2)

    def test_part_whose_bytes_change_on_the_way(self):
        part = {"key": "parts", "part_size": 5 * MIB}
        upload = self.good("begin", **part)["upload"]
        self.proxy.fault(proxy.wrong_request, method="PUT", times=1)
        etag = self.good("part", tries=2, upload=upload, part=1, size=1000, fill=1, **part)["etag"]
        self.good("end", upload=upload, parts=[etag], **part)
        self.assertTrue(self.good("get", key="parts", size=1000, fill=1, expect=True)["same"])

    def test_documents_that_are_not(self):
        for body in (b"", b"<", b"<ListBucketResult>", b"<Other/>", b"<!DOCTYPE x><ListBucketResult/>", b"x" * 5 * MIB):
            self.proxy.fault(proxy.replaced(body), times=1)
            self.assertEqual(self.good("list", tries=2, key="")["list"]["entries"], [])
        self.proxy.fault(proxy.replaced(b"<ListBucketResult>"), times=100)
        self.bad("corrupt", "list", tries=3, key="")

    def test_put_without_an_etag(self):
        self.proxy.fault(proxy.replaced(b""), method="PUT", times=1)
        self.good("put", tries=2, key="etag", size=10)

    def test_slow_answer(self):
        self.driver = self.open("stall_ms=1000")
        self.good("put", key="slow", size=200000, fill=8)
        self.proxy.fault(proxy.slow_answer(400), times=1)
        line = self.good("get", tries=2, key="slow", size=200000, fill=8, expect=True)
        self.assertLess(line["ms"], 5000)
        # Slow, but not that slow.
        self.proxy.fault(proxy.slow_answer(100000), times=1)
        self.good("get", tries=1, key="slow", size=200000, fill=8, expect=True)

    def test_black_hole(self):
        self.driver = self.open("stall_ms=1000")
        self.proxy.fault(proxy.black_hole, times=1)
        line = self.good("put", tries=2, key="hole", size=100, fill=9)
        self.assertGreater(line["ms"], 900)
        self.assertLess(line["ms"], 4000)
        self.proxy.fault(proxy.black_hole, times=1)
        self.good("put", tries=2, key="hole", size=4 * MIB, fill=9)

    def test_nobody_listens(self):
        driver = self.open(endpoint=f"http://127.0.0.1:{proxy.free_port()}")
        line = driver("head", key="x", deadline_ms=600)
        self.assertEqual((line["result"], line["error"], line["maybe_done"]), (-110, "network", False), line)
        self.assertGreater(line["tries"], 2)

    def test_no_such_host(self):
        driver = self.open(endpoint="http://no-such-host.invalid")
        line = driver("head", key="x", deadline_ms=3000)
        self.assertEqual((line["result"], line["error"]), (-110, "network"), line)

    def test_the_store_comes_back(self):
        """Without a deadline an op waits as long as it takes; and says meanwhile what is wrong."""
        port = proxy.free_port()
        driver = self.open(endpoint=f"http://127.0.0.1:{port}")
        driver.send("put", key="back", size=1000, fill=1, name=1)
        self.assertEqual(driver.wait(1, ms=700), {})
        stats = driver("stats")
        self.assertEqual(stats["troubled"], 1)
        self.assertIn(str(port), stats["trouble"])
        listener = socket.create_server(("127.0.0.1", port))
        forwarder = FaultProxy(self.server.port)
        self.addCleanup(forwarder.stop)

        def relay():
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=forwarder.serve, args=(sock,), daemon=True).start()
        threading.Thread(target=relay, daemon=True).start()
        self.addCleanup(listener.close)
        # Signed for its own port, as every request of this client.
        self.assertEqual(driver.wait(1)[1]["error"], "ok")
        stats = driver("stats")
        self.assertEqual((stats["troubled"], stats["trouble"]), (0, ""))

    def test_pauses_grow(self):
        driver = self.open("retry_first_ms=100", "retry_max_ms=400")
        self.proxy.fault(proxy.answer(500), times=100)
        line = driver("head", key="x", deadline_ms=2000)
        self.assertEqual(line["result"], -110)
        self.assertLessEqual(line["ms"], 2100)
        # 50-100, 100-200, 200-400, 200-400 ...: at least 5 and at most 11 tries.
        self.assertIn(line["tries"], range(5, 12))

    def test_the_server_says_how_long(self):
        self.proxy.fault(proxy.answer(503, "SlowDown", headers="Retry-After: 1\r\n"), times=1)
        line = self.good("delete", tries=2, key="after")
        self.assertGreaterEqual(line["ms"], 1000)

    # ---- final: at once, by name

    def test_forbidden(self):
        for status, code in ((403, "AccessDenied"), (403, None), (401, None), (403, "InvalidAccessKeyId"), (400, "ExpiredToken")):
            self.proxy.fault(proxy.answer(status, code), times=1)
            line = self.bad("forbidden", "put", key="f", size=1)
            self.assertEqual(line["result"], -13)
            if code:
                self.assertIn(code, line["message"])

    def test_wrong_secret_and_wrong_key(self):
        for env in ({"AWS_SECRET_ACCESS_KEY": "wrong"}, {"AWS_ACCESS_KEY_ID": "AKIAWRONGWRONGWRONG0"}, {"AWS_SESSION_TOKEN": "wrong"}):
            driver = self.open(env=keys(AWS_ENDPOINT_URL=self.proxy.endpoint, **env))
            for do, order in (("put", {"size": 10}), ("get", {"size": 10}), ("head", {}), ("list", {}), ("delete", {})):
                line = driver(do, key="k", **order)
                # To a HEAD the 400 that a wrong token gets has no words.
                wanted = "refused" if do == "head" and "AWS_SESSION_TOKEN" in env else "forbidden"
                self.assertEqual((line["error"], line["tries"]), (wanted, 1), (env, line))

    def test_not_found(self):
        self.good("list", key="")
        self.bad("not-found", "get", key="none", size=1)
        self.proxy.fault(proxy.answer(404), times=1)
        self.bad("not-found", "head", key="none")

    def test_no_such_bucket(self):
        driver = self.open(bucket="no-such-bucket")
        for do, order in (("put", {"size": 10}), ("get", {"size": 10}), ("list", {}), ("head", {})):
            line = driver(do, key="k", **order)
            self.assertEqual((line["error"], line["result"]), ("no-bucket", -19), line)
            self.assertIn("no-such-bucket", line["message"])

    def test_head_of_nothing_is_not_no_bucket(self):
        line = self.driver("head", key="none")
        self.assertEqual((line["error"], line["tries"]), ("not-found", 2))
        self.bad("not-found", "head", key="none")

    def test_precondition(self):
        self.proxy.fault(proxy.answer(412, "PreconditionFailed"), times=1)
        line = self.bad("precondition", "put", key="p", size=1, if_none_match=True)
        self.assertEqual((line["result"], line["maybe_done"]), (-17, False))

    def test_clock_skew(self):
        self.proxy.fault(proxy.answer(403, "RequestTimeTooSkewed", headers="Date: Fri, 24 May 2030 00:00:00 GMT\r\n"), times=1)
        line = self.bad("clock-skew", "put", key="s", size=1)
        self.assertRegex(line["message"], r"the clock of this machine is \d+ s (behind|before) the store's")
        self.proxy.fault(proxy.answer(403, "RequestTimeTooSkewed"), times=1)
        self.bad("clock-skew", "get", key="s", size=1)

    def test_wrong_region(self):
        header = "x-amz-bucket-region: eu-north-7\r\n"
        for fault in (proxy.answer(301, "PermanentRedirect", headers=header), proxy.answer(400, "AuthorizationHeaderMalformed", headers=header),
                      proxy.answer(400, None, headers=header), proxy.answer(301, None, headers=header)):
            for do, order in (("put", {"size": 10}), ("head", {}), ("list", {})):
                self.proxy.fault(fault, times=1)
                line = self.bad("wrong-region", do, key="r", **order)
                self.assertIn("AWS_REGION=eu-north-7", line["message"])
        body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message><Region>eu-north-8</Region></Error>"
        self.proxy.fault(proxy.replaced(body, status=400), times=1)
        self.assertIn("AWS_REGION=eu-north-8", self.bad("wrong-region", "put", key="r", size=1)["message"])
        # What is refused for no reason that is known goes once more, without the header that some refuse.
        self.proxy.fault(proxy.answer(301, None), times=2)
        self.bad("refused", "put", tries=2, key="r", size=1)

    def test_other_refusals(self):
        self.proxy.fault(proxy.answer(501, "NotImplemented"), times=2)
        self.bad("unsupported", "put", tries=2, key="o", size=1, if_none_match=True)
        self.proxy.fault(proxy.answer(507), times=1)
        self.bad("full", "put", key="o", size=1)
        self.proxy.fault(proxy.answer(400, "EntityTooLarge", message="too <![CDATA[x]]>"), times=1)
        line = self.bad("refused", "put", key="o", size=1)
        self.assertIn("400", line["message"])
        self.proxy.fault(proxy.answer(418, "IAmATeapot", message="short and stout"), times=1)
        line = self.bad("refused", "put", key="o", size=1)
        self.assertIn("418 IAmATeapot: short and stout", line["message"])

    def test_a_server_that_knows_no_ranges(self):
        self.good("put", key="ranges", size=100000, fill=1)
        whole = proxy.replaced(fill_bytes(0, 100000, 1))
        self.proxy.fault(whole, times=1)
        self.bad("unsupported", "get", key="ranges", offset=10, size=10)
        self.proxy.fault(whole, times=1)
        self.bad("unsupported", "get", key="ranges", offset=0, size=10)
        self.proxy.fault(whole, times=1)
        self.assertTrue(self.good("get", key="ranges", size=100000, fill=1)["same"])

    # ---- doubt: the answer was lost

    def test_conditional_put_whose_answer_was_lost(self):
        self.proxy.fault(proxy.lost_answer, method="PUT", times=1)
        line = self.driver("put", key="lost", size=100, fill=1, if_none_match=True)
        self.assertEqual((line["error"], line["result"], line["maybe_done"]), ("doubt", -114, True), line)
        self.assertTrue(self.good("get", key="lost", size=100, fill=1)["same"])
        # Somebody else's bytes: no doubt.
        self.proxy.fault(proxy.reset_in_body, method="PUT", times=1)
        line = self.driver("put", key="lost", size=100, fill=2, if_none_match=True)
        self.assertEqual(line["error"], "precondition", line)

    def test_conditional_put_on_a_kept_connection(self):
        """libcurl tries again by itself what breaks on a kept connection; without a body nobody would hear of it."""
        for size in (0, 100):
            self.good("put", key="warm", size=1)
            self.proxy.fault(proxy.lost_answer, method="PUT", times=1)
            line = self.driver("put", key=f"kept/{size}", size=size, fill=1, if_none_match=True)
            self.assertEqual(line["error"], "doubt", line)

    def test_conditional_put_whose_answer_was_lost_and_that_is_gone(self):
        """After a 412 of doubtful origin nothing is there: it is put again."""
        self.proxy.fault(proxy.lost_answer, method="PUT", times=1)
        self.proxy.fault(proxy.answer(404), method="HEAD", times=1)
        line = self.driver("put", key="again", size=100, fill=1, if_none_match=True)
        # The third put meets the first one's object: a doubt, after five requests.
        self.assertEqual((line["error"], line["tries"]), ("doubt", 5), line)

    def test_compare_and_swap_whose_answer_was_lost(self):
        first = self.good("put", key="swap", size=100, fill=1)["etag"]
        self.proxy.fault(proxy.lost_answer, method="PUT", times=1)
        line = self.driver("put", key="swap", size=100, fill=2, if_match=first)
        self.assertEqual(line["error"], "doubt")
        self.assertTrue(self.good("get", key="swap", size=100, fill=2)["same"])

    def test_end_of_an_upload_whose_answer_was_lost(self):
        part = {"key": "ended", "part_size": 5 * MIB}
        upload = self.good("begin", **part)["upload"]
        etag = self.good("part", upload=upload, part=1, size=1000, fill=1, **part)["etag"]
        self.proxy.fault(proxy.lost_answer, method="POST", part="uploadId", times=1)
        self.good("end", upload=upload, parts=[etag], **part)
        self.assertTrue(self.good("get", key="ended", size=1000, fill=1, expect=True)["same"])

    def test_error_in_the_body_of_a_good_status(self):
        part = {"key": "body", "part_size": 5 * MIB}
        upload = self.good("begin", **part)["upload"]
        etag = self.good("part", upload=upload, part=1, size=1000, fill=1, **part)["etag"]
        self.proxy.fault(proxy.replaced(b"<Error><Code>InternalError</Code><Message>m</Message></Error>"), method="POST", times=4)
        self.good("end", tries=5, upload=upload, parts=[etag], **part)

    def test_end_that_makes_another_object(self):
        part = {"key": "odd", "part_size": 5 * MIB}
        upload = self.good("begin", **part)["upload"]
        etag = self.good("part", upload=upload, part=1, size=1000, fill=1, **part)["etag"]
        body = b"<CompleteMultipartUploadResult><ETag>\"0123456789abcdef0123456789abcdef-1\"</ETag></CompleteMultipartUploadResult>"
        self.proxy.fault(proxy.replaced(body), method="POST", times=3)
        self.bad("corrupt", "end", tries=3, upload=upload, parts=[etag], **part)

    def test_a_deadline_tells_that_it_may_be_done(self):
        self.proxy.fault(proxy.late(3), method="PUT", times=1)
        line = self.driver("put", key="late", size=100, deadline_ms=300)
        self.assertEqual((line["result"], line["maybe_done"]), (-110, True), line)
        self.assertLess(line["ms"], 800)

    def test_upload_drops_its_parts(self):
        self.proxy.fault(proxy.answer(403, "AccessDenied"), method="PUT", part="partNumber=2", times=1)
        line = self.driver("upload", key="dropped", size=12 * MIB, part_size=5 * MIB)
        self.assertEqual(line["error"], "forbidden", line)
        self.assertEqual(self.proxy.count(method="DELETE", part="uploadId"), 1)
        self.proxy.clear()
        self.proxy.fault(proxy.answer(500), method="PUT", part="partNumber=2", times=2)
        self.proxy.fault(proxy.lost_answer, method="PUT", part="partNumber=1", times=1)
        line = self.driver("upload", key="kept", size=12 * MIB, fill=3, part_size=5 * MIB)
        self.assertEqual(line["error"], "ok", line)
        self.assertTrue(self.good("get", key="kept", size=12 * MIB, fill=3, expect=True)["same"])

    # ---- cancelling, limits, threads

    def test_cancel_and_stop_do_not_wait_for_the_network(self):
        self.proxy.fault(proxy.black_hole, times=3)
        for name in (1, 2, 3):
            self.driver.send("put", key=f"c/{name}", size=1000, name=name)
        require(proxy.wait_seen(self.proxy, 3), "the requests do not arrive")
        started = time.monotonic()
        self.driver("cancel", name=2)
        line = self.driver.wait(1)[2]
        self.assertEqual((line["error"], line["result"], line["maybe_done"]), ("cancelled", -125, True))
        self.driver("stop")
        self.assertEqual({line["error"] for line in self.driver.wait(2).values()}, {"cancelled"})
        self.assertLess(time.monotonic() - started, 0.8)

    def test_requests_at_a_time(self):
        for wanted in (1, 3):
            self.proxy.clear()
            self.proxy.fault(proxy.late(0.1), times=12)
            driver = self.open(f"parallel={wanted}")
            for name in range(1, 13):
                driver.send("put", key=f"p/{name}", size=100, name=name)
            self.assertEqual({line["error"] for line in driver.wait(12).values()}, {"ok"})
            self.assertEqual(self.proxy.most, wanted)

    def test_connections_are_kept(self):
        before = threading.active_count()
        for _ in range(20):
            self.good("put", key="kept", size=10)
        self.assertLess(threading.active_count() - before, 5)

    def test_one_thread_that_sleeps(self):
        self.proxy.fault(proxy.black_hole, times=1)
        driver = self.open("stall_ms=60000")
        driver.send("put", key="sleep", size=10, name=1)
        require(proxy.wait_seen(self.proxy, 1), "the request does not arrive")
        pid = driver.process.pid
        self.assertEqual(len(os.listdir(f"/proc/{pid}/task")), 2)

        def switches():
            total = 0
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/status") as status:
                    total += sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)
            return total
        before = switches()
        time.sleep(1)
        self.assertLess(switches() - before, 10)
        driver("cancel", name=1)
        driver.wait(1)

    def test_secrets_stay_secret(self):
        """Not in the arguments, not in what is said, and not in a core dump."""
        self.proxy.fault(proxy.answer(403, "SignatureDoesNotMatch"), times=1)
        self.assertNotIn(SECRET, str(self.driver("put", key="x", size=10)))
        pid = self.driver.process.pid
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            self.assertNotIn(SECRET.encode(), file.read())
        found = []
        with open(f"/proc/{pid}/smaps") as smaps, open(f"/proc/{pid}/mem", "rb") as memory:
            region = None
            for line in smaps:
                words = line.split()
                if "-" in words[0] and not words[0].endswith(":"):
                    region = words
                elif words[0] == "VmFlags:" and "rd" in words and "dd" not in words and "io" not in words:
                    low, high = (int(text, 16) for text in region[0].split("-"))
                    # The environment is the caller's.
                    if region[-1] in ("[vvar]", "[vsyscall]", "[stack]"):
                        continue
                    memory.seek(low)
                    if SECRET.encode() in memory.read(high - low):
                        found.append(region)
        self.assertEqual(found, [])


class OldSignature(unittest.TestCase):
    """What libs3 gets wrong, or would wait for as long as it likes."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server("v2")
        cls.addClassCleanup(cls.server.stop)

    def setUp(self):
        self.proxy = FaultProxy(self.server.port)
        self.addCleanup(self.proxy.stop)
        self.driver = self.open("stall_ms=15000")

    def open(self, option):
        driver = Driver(f"s3v2://{BUCKET}/old", *QUICK, option, env=keys(AWS_ENDPOINT_URL=self.proxy.endpoint))
        self.addCleanup(Faults.shut, driver)
        return driver

    def good(self, do, **order):
        line = self.driver(do, **order)
        self.assertEqual((line["result"], line["error"]), (0, "ok"), line)
        return line

    def test_transient_faults_are_tried_again(self):
        for fault in (proxy.answer(500, "InternalError"), proxy.answer(503, "SlowDown"), proxy.answer(503), proxy.answer(429),
                      proxy.reset_before, proxy.lost_answer, proxy.garbage,
                      proxy.replaced(PAGE, status=502)):
            for do, order in (("put", {"size": 5000, "fill": 1}), ("get", {"size": 5000, "fill": 1, "expect": True}), ("list", {}), ("delete", {})):
                self.proxy.fault(fault, times=1)
                self.good(do, key="t", **order)

    def test_503_after_100_continue(self):
        size = 3 * MIB
        for fault in (proxy.answer(503, "SlowDown"), proxy.answer(503)):
            self.proxy.fault(fault, method="PUT", times=2)
            self.good("put", key="hundred", size=size, fill=2)
        self.assertTrue(self.good("get", key="hundred", size=size, fill=2, expect=True)["same"])
        self.proxy.fault(proxy.answer(503, "SlowDown"), method="PUT", times=1000)
        line = self.driver("put", key="hundred/2", size=size, deadline_ms=700)
        self.assertEqual(line["result"], -110, line)

    def test_a_put_whose_bytes_change_on_the_way(self):
        self.proxy.fault(proxy.wrong_request, method="PUT", times=1)
        self.good("put", key="changed", size=10000, fill=6)
        self.assertTrue(self.good("get", key="changed", size=10000, fill=6, expect=True)["same"])
        self.proxy.fault(proxy.wrong_request, method="PUT", times=3)
        self.assertEqual(self.driver("put", key="changed", size=10000, fill=7)["error"], "corrupt")

    def test_answers_that_are_cut(self):
        self.good("put", key="cut", size=200000, fill=4)
        for fault in (proxy.cut_answer, proxy.short_answer, proxy.wrong_answer):
            self.proxy.fault(fault, method="GET", times=1)
            self.assertTrue(self.good("get", key="cut", size=200000, fill=4, expect=True)["same"])

    def test_black_hole_and_deadline(self):
        self.driver = self.open("stall_ms=1000")
        self.proxy.fault(proxy.black_hole, times=1)
        self.assertLess(self.good("put", key="hole", size=100, fill=9)["ms"], 4000)
        self.proxy.fault(proxy.black_hole, times=1)
        line = self.driver("get", key="hole", size=100, deadline_ms=300)
        self.assertEqual((line["result"], line["error"]), (-110, "slow"), line)
        self.assertLess(line["ms"], 900)
        self.good("head", key="hole")


class Certificates(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)
        cls.top = tempfile.mkdtemp(prefix="neonfs-object-")
        cls.addClassCleanup(shutil.rmtree, cls.top)
        for name, names in (("right", "IP:127.0.0.1"), ("other", "DNS:elsewhere.example")):
            path = os.path.join(cls.top, name)
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                            "-subj", "/CN=tests", "-addext", f"subjectAltName={names}", "-keyout", path + ".key", "-out", path + ".crt"],
                           check=True, capture_output=True)
            with open(path, "w") as both:
                for part in (".key", ".crt"):
                    with open(path + part) as file:
                        both.write(file.read())

    def put(self, certificate, bundle):
        with FaultProxy(self.server.port, os.path.join(self.top, certificate)) as between:
            env = keys(AWS_ENDPOINT_URL=between.endpoint, AWS_CA_BUNDLE=bundle and os.path.join(self.top, bundle))
            with Driver(f"s3://{BUCKET}/tls", *QUICK, env=env) as driver:
                line = driver("put", key="x", size=3 * MIB, fill=1, deadline_ms=5000)
                if line["error"] == "ok":
                    self.assertTrue(driver("get", key="x", size=3 * MIB, fill=1, expect=True)["same"])
                return line

    def test_trusted(self):
        self.assertEqual(self.put("right", "right.crt")["error"], "ok")

    def test_not_trusted(self):
        for certificate, bundle in (("right", None), ("right", "other.crt"), ("other", "other.crt"), ("right", "no-such-file")):
            line = self.put(certificate, bundle)
            self.assertEqual((line["error"], line["tries"]), ("certificate", 1), (certificate, bundle, line))


if __name__ == "__main__":
    unittest.main()
