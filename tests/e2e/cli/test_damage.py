"""Stores that are foreign, newer or damaged: named as such, never touched, and as good as before once mended."""
import ctypes
import os
import shutil
import unittest

from workplace import FAILED, NEONFS, OK, Workplace, is_mounted, run

SUPERBLOCK_SUMMED = 48  # bytes that the checksum behind them covers


def xxh3(data):
    library = ctypes.CDLL("libxxhash.so.0")
    library.XXH3_64bits.restype = ctypes.c_uint64
    library.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return library.XXH3_64bits(bytes(data), len(data)).to_bytes(8, "little")


class Superblock(Workplace):
    def setUp(self):
        super().setUp()
        self.branch_done("create", "main")
        self.write("main/file", "data")
        self.umount()
        self.superblock = self.store + "/superblock"
        with open(self.superblock, "rb") as file:
            self.good = file.read()

    def damage(self, data):
        with open(self.superblock, "wb") as file:
            file.write(data)

    def every_command_refuses(self, *fragments):
        before = {name: os.path.getsize(os.path.join(self.store, name)) for name in os.listdir(self.store)}
        for words in (["mount", self.store, self.mountpoint], ["status", self.store], ["scrub", self.store],
                      ["gc", self.store], ["set", self.store, "--size-limit", "1G"]):
            self.one_line(run(NEONFS, *words), FAILED, *fragments)
        self.assertFalse(is_mounted(self.mountpoint))
        after = {name: os.path.getsize(os.path.join(self.store, name)) for name in os.listdir(self.store)}
        before.pop("neonfs.log"), after.pop("neonfs.log")
        self.assertEqual(after, before)

    def works_again(self):
        self.damage(self.good)
        self.mount()
        self.assertEqual(self.read("main/file"), "data")

    def test_missing(self):
        os.unlink(self.superblock)
        self.every_command_refuses("not a neonfs store", "neonfs init")
        self.works_again()

    def test_foreign(self):
        self.damage(b"SQLite f" + self.good[8:])
        self.every_command_refuses("not a neonfs store")
        self.works_again()

    def test_newer(self):
        newer = bytearray(self.good)
        newer[8:12] = (99).to_bytes(4, "little")
        newer[SUPERBLOCK_SUMMED:SUPERBLOCK_SUMMED + 8] = xxh3(newer[:SUPERBLOCK_SUMMED])
        self.damage(newer)
        self.every_command_refuses("format 99", "newer neonfs")
        self.works_again()

    def test_damaged(self):
        damaged = bytearray(self.good)
        damaged[24] ^= 1
        self.damage(damaged)
        self.every_command_refuses("damaged")
        self.works_again()

    def test_cut(self):
        for size in (0, 20):
            self.damage(self.good[:size])
            self.every_command_refuses("damaged")
        self.works_again()

    def test_foreign_directory_stays_as_it_is(self):
        foreign = self.top + "/foreign"
        os.mkdir(foreign)
        with open(foreign + "/file", "w") as file:
            file.write("x")
        for words in (["mount", foreign, self.mountpoint], ["status", foreign], ["scrub", foreign], ["gc", foreign],
                      ["scrub", foreign, "--rebuild"]):
            self.one_line(run(NEONFS, *words), FAILED, "not a neonfs store")
        self.assertEqual(os.listdir(foreign), ["file"])


class Index(Workplace):
    def setUp(self):
        super().setUp()
        self.branch_done("create", "main")
        for number in range(10):
            self.write(f"main/file{number}", f"content {number} " * 5000)
        self.branch_done("snapshot", "main@then")
        self.branch_done("create", "dev", "--from", "main")
        self.write("main/file0", "changed")
        self.umount()

    def everything_is_there(self):
        self.assertEqual(sorted(self.branches()), ["dev", "main"])
        self.assertEqual(self.read("main/file0"), "changed")
        for branch in ("main@then", "dev"):
            self.assertEqual(self.read(branch + "/file0"), "content 0 " * 5000)
        for number in range(1, 10):
            self.assertEqual(self.read(f"main/file{number}"), f"content {number} " * 5000)

    def test_lost_index(self):
        shutil.rmtree(self.store + "/index")
        self.one_line(run(NEONFS, "mount", self.store, self.mountpoint), FAILED, "neonfs scrub --rebuild")
        result = run(NEONFS, "scrub", self.store, "--rebuild")
        self.assertEqual(result.returncode, OK, result.stderr)
        self.mount()
        self.everything_is_there()

    def test_damaged_index(self):
        for name in os.listdir(self.store + "/index"):
            if name.endswith(".sst") or name.startswith(("MANIFEST", "CURRENT")):
                with open(os.path.join(self.store, "index", name), "r+b") as file:
                    size = os.path.getsize(file.name)
                    file.seek(size // 2)
                    file.write(b"\xa5" * min(64, size - size // 2))
        self.assertEqual(run(NEONFS, "mount", self.store, self.mountpoint).returncode, FAILED)
        result = run(NEONFS, "scrub", self.store, "--rebuild")
        self.assertEqual(result.returncode, OK, result.stderr)
        self.mount()
        self.everything_is_there()

    def test_rebuild_of_a_sound_store_changes_nothing_one_can_see(self):
        self.done(NEONFS, "scrub", self.store, "--rebuild")
        self.mount()
        self.everything_is_there()


if __name__ == "__main__":
    unittest.main()
