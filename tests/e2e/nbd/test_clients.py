"""Clients of other projects, and every kind of request."""
import json
import os
import random
import unittest

from volumes import MIB, NBD, Client, Volumes
from workplace import run

BLOCK = 8192


class Clients(Volumes):
    def test_nbdinfo_finds_all_that_is_promised(self):
        self.create("disks/v", 100 * MIB + 512)
        uri = self.serve("disks/v")
        export = json.loads(self.done("nbdinfo", "--json", uri))["exports"][0]
        self.assertEqual(export["export-size"], 100 * MIB + 512)
        for key in ("can_cache", "can_fast_zero", "can_flush", "can_fua", "can_multi_conn", "can_trim", "can_zero"):
            self.assertTrue(export[key], key)
        self.assertFalse(export["is_read_only"])
        self.assertEqual(export["block_size_preferred"], BLOCK)

    def test_nbdcopy_there_and_back(self):
        image = self.pattern("image", 40 * MIB, 1)
        back = os.path.join(self.top, "back")
        self.create("disks/v", 40 * MIB)
        uri = self.serve("disks/v")
        self.done("nbdcopy", "--flush", "--connections=4", image, uri)
        self.done("nbdcopy", uri, back)
        self.done("cmp", image, back)
        self.done("cmp", image, self.path("disks", "v"))
        self.stop()
        self.done("cmp", image, self.path("disks", "v"))
        self.scrub()

    def test_qemu_img_converts_and_checks(self):
        image, qcow, back = self.pattern("image", 20 * MIB + 512, 2), os.path.join(self.top, "q"), os.path.join(self.top, "back")
        self.create("disks/raw", 20 * MIB + 512)
        uri = self.serve("disks/raw")
        self.done("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, uri)
        self.done("qemu-img", "compare", "-f", "raw", "-F", "raw", image, uri)
        self.create("disks/qcow2", 64 * MIB)
        inner = self.serve("disks/qcow2")
        self.done("qemu-img", "create", "-f", "qcow2", inner, "32M")
        self.done("qemu-img", "convert", "-n", "-f", "raw", "-O", "qcow2", image, inner)
        self.done("qemu-img", "check", "-f", "qcow2", inner)
        self.done("qemu-img", "convert", "-f", "qcow2", "-O", "raw", inner, back)
        self.done("cmp", "-n", str(20 * MIB + 512), image, back)
        self.done("qemu-img", "create", "-f", "qcow2", "-b", uri, "-F", "raw", qcow)  # an overlay over a volume
        self.done("qemu-img", "check", qcow)
        self.done("qemu-img", "compare", "-f", "qcow2", "-F", "raw", qcow, image)

    def fio(self, uri, *options):
        self.done("fio", "--name=x", "--ioengine=nbd", f"--uri={uri}", "--size=48M", "--verify=crc32c", "--verify_fatal=1", "--verify_dump=0",
                  "--do_verify=1", "--minimal", cwd=self.top, *options)

    def test_fio_verifies_what_it_wrote(self):
        self.create("disks/v", 48 * MIB)
        uri = self.serve("disks/v")
        self.fio(uri, "--rw=randwrite", "--bs=8k", "--iodepth=16")
        self.fio(uri, "--rw=randwrite", "--bsrange=512-64k", "--blockalign=512", "--iodepth=16", "--fsync=50")
        self.fio(uri, "--rw=randtrimwrite", "--bs=16k", "--iodepth=1")
        self.fio(uri, "--rw=write", "--bs=1M", "--iodepth=4")
        self.stop()
        self.scrub()

    def test_map_follows_trim_and_zeroes(self):
        self.create("disks/v", 64 * MIB)
        uri = self.serve("disks/v")
        self.done("nbdcopy", "--no-extents", self.pattern("image", 16 * MIB, 3), uri)
        client = Client(uri)
        client.change(client.TRIM, MIB, MIB)
        client.change(client.ZEROES, 4 * MIB, 2 * MIB, flags=client.FAST_ZERO)
        extents = [(e["offset"], e["length"], e["type"]) for e in json.loads(self.done("nbdinfo", "--map", "--json", uri))]
        self.assertEqual(extents, [(0, MIB, 0), (MIB, MIB, 3), (2 * MIB, 2 * MIB, 0), (4 * MIB, 2 * MIB, 3), (6 * MIB, 10 * MIB, 0),
                                   (16 * MIB, 48 * MIB, 3)])
        self.assertEqual(client.read(4 * MIB, 2 * MIB), bytes(2 * MIB))

    def test_every_request_against_a_model(self):
        """Sizes and offsets that fit nothing, on a volume whose end fits nothing, beside a copy in memory."""
        size = 3 * MIB + 777
        self.create("disks/v", size)
        client = Client(self.serve("disks/v"))
        self.assertEqual(client.size, size)
        model, rnd = bytearray(size), random.Random(4)
        for step in range(600):
            offset = rnd.randrange(size)
            length = min(size - offset, rnd.choice((1, 511, 512, 4096, BLOCK, BLOCK + 1, 65536, 300000, 700000)))
            kind, fua = rnd.randrange(10), rnd.choice((0, client.FUA))
            if kind < 4:
                data = rnd.randbytes(length)
                client.write(offset, data, fua)
                model[offset:offset + length] = data
            elif kind < 5:
                client.change(client.ZEROES, offset, length, flags=fua | rnd.choice((0, client.NO_HOLE)))
                model[offset:offset + length] = bytes(length)
            elif kind < 6:  # what a trim leaves is old or zero, block by block, and its edges are old
                client.change(client.TRIM, offset, length, flags=fua)
                now = client.read(offset, length)
                for i in range(length):
                    self.assertTrue(now[i] in (model[offset + i], 0), f"step {step}: byte {offset + i} after a trim")
                model[offset:offset + length] = now
            elif kind < 7:
                client.flush()
            elif kind < 8:
                client.change(client.CACHE, offset, length)
            else:
                self.assertEqual(client.read(offset, length), model[offset:offset + length], f"step {step}: {offset}+{length}")
        self.assertEqual(client.read(0, size), model)
        client.close()
        self.stop()
        with open(self.path("disks", "v"), "rb") as file:
            self.assertEqual(file.read(), model)
        self.scrub()

    def test_snapshots_and_branches_while_it_is_written(self):
        self.create("disks/v", 8 * MIB)
        client = Client(self.serve("disks/v"))
        for number in range(4):
            client.write(number * MIB, bytes([number + 1]) * MIB)
            self.branch_done("snapshot", f"disks@s{number}")
        self.branch_done("create", "copy", "--from", "disks")
        client.write(0, b"x" * 100)
        for number in range(4):
            point = Client(self.serve(f"disks/v@s{number}"))
            for n in range(4):
                self.assertEqual(point.read(n * MIB, MIB), bytes([n + 1 if n <= number else 0]) * MIB)
            point.close()
            self.stop_one()
        copy = Client(self.serve("copy/v"))
        self.assertEqual(copy.read(0, 100), bytes([1]) * 100)
        copy.write(0, b"y" * 100)
        self.assertEqual(client.read(0, 100), b"x" * 100)
        self.assertEqual(copy.read(0, 100), b"y" * 100)

    def stop_one(self):
        self.servers[-1].terminate()
        self.assertEqual(self.servers[-1].wait(30), 0)

    def test_connections_see_each_other(self):
        self.create("disks/v", MIB)
        uri = self.serve("disks/v")
        one, two = Client(uri), Client(uri)
        one.write(5000, b"one")
        self.assertEqual(two.read(5000, 3), b"one")
        two.flush()
        with open(self.path("disks", "v"), "rb") as file:
            self.assertEqual(file.read()[5000:5003], b"one")
            one.write(5000, b"two")  # and a reader in the mount, of one open file
            file.seek(5000)
            self.assertEqual(os.pread(file.fileno(), 3, 5000), b"two")

    def test_neonfs_nbd_in_the_background(self):
        self.create("disks/v", MIB)
        path = os.path.join(self.top, "own.sock")
        uri = self.done(NBD, "--store", self.store, "disks/v", "--socket", path).strip()
        try:
            self.assertEqual(uri, f"nbd+unix:///?socket={path}")
            Client(uri).write(0, b"there")
        finally:
            self.done(NBD, "--store", self.store, "--stop", "disks/v")
        self.assertEqual(self.read("disks/v")[:5], "there")
        result = run(NBD, "--store", self.store, "--stop", "disks/v")
        self.one_line(result, 1, "no server of it")


if __name__ == "__main__":
    unittest.main()
