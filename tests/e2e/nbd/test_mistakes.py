"""What is refused: one line says why, and nothing changes."""
import errno
import os
import subprocess
import unittest

from volumes import MIB, NBD, PLUGIN, Client, Volumes
from workplace import FAILED, NEONFS, USAGE, run, wait_for


class Mistakes(Volumes):
    def refused_volume(self, words, code, *fragments):
        self.one_line(self.volume(*words), code, *fragments)

    def refused_server(self, name, fragment, *parameters):
        result = run("nbdkit", "-U", "-", PLUGIN, f"store={self.store}", f"file={name}", *parameters, "--run", "true")
        self.assertNotEqual(result.returncode, 0, f"{name} is served")
        self.assertIn(fragment, result.stderr)

    def test_names(self):
        self.refused_volume(["create", "disks", "--size", "1M"], USAGE, "no file in it")
        self.refused_volume(["create", "disks/a/b", "--size", "1M"], USAGE, "top directory")
        self.refused_volume(["create", "disks/a@b", "--size", "1M"], USAGE, "without an @")
        self.refused_volume(["create", "disk/a", "--size", "1M"], FAILED, 'branch "disk" does not exist')
        self.refused_volume(["create", "disks/a"], USAGE, "--size")
        for size in ("0", "-1", "x", "17T"):
            self.refused_volume(["create", "disks/a", f"--size={size}"], USAGE, "--size")
        self.refused_volume(["resize", "disks/a", "--size", "1M"], FAILED, "no such volume")
        self.refused_volume(["delete", "disks/a"], FAILED, "no such volume")
        self.refused_volume(["make", "disks/a"], USAGE, "create, resize, list or delete")
        self.assertEqual(os.listdir(self.path("disks")), [])

    def test_files_that_are_there_stay(self):
        self.write("disks/file", "text")
        self.refused_volume(["create", "disks/file", "--size", "1M"], FAILED, "already")
        self.refused_volume(["delete", "disks/file"], FAILED, "not made with")
        self.assertEqual(self.read("disks/file"), "text")
        self.volume_done("delete", "disks/file", "--force")
        self.assertEqual(os.listdir(self.path("disks")), [])

    def test_unknown_volumes(self):
        self.create("disks/v", MIB)
        os.mkdir(self.path("disks", "directory"))
        os.symlink("v", self.path("disks", "link"))
        self.refused_server("disks/w", 'no file "w"')
        self.refused_server("disk/v", 'did you mean "disks"?')
        self.refused_server("disks/v@monday", "has no snapshot")
        self.refused_server("disks/directory", "no regular file")
        self.refused_server("disks/link", "no regular file")
        self.refused_server("disks/../disks/v", "no path")
        self.refused_server("disks", "no file in it")
        self.refused_server("disks/v", "given twice", "file=disks/v")
        self.refused_server("disks/v", "no parameter", "fil=disks/v")
        result = run("nbdkit", "-U", "-", PLUGIN, "file=disks/v", "--run", "true")
        self.assertIn("store=DIRECTORY", result.stderr)
        self.umount()
        self.refused_server("disks/v", "no daemon serves")

    def test_a_volume_has_one_writer(self):
        self.create("disks/v", MIB)
        self.write("disks/w", "x" * 8192)
        Client(self.serve("disks/v")).write(0, b"mine")
        self.refused_server("disks/v", "busy")
        path = self.path("disks", "v")
        for attempt in (lambda: open(path, "r+"), lambda: open(path, "w"), lambda: os.open(path, os.O_RDONLY | os.O_TRUNC),
                        lambda: os.truncate(path, 0), lambda: os.unlink(path), lambda: os.rename(path, path + "2"),
                        lambda: os.rename(self.path("disks", "w"), path)):
            with self.assertRaises(OSError) as caught:
                attempt()
            self.assertEqual(caught.exception.errno, errno.EBUSY)
        self.assertEqual(os.path.getsize(path), MIB)
        self.refused_volume(["resize", "disks/v", "--size", "2M"], FAILED, "busy")
        self.refused_volume(["delete", "disks/v"], FAILED, "busy")
        self.one_line(self.branch("delete", "disks"), FAILED, "in use")
        self.one_line(run(NEONFS, "umount", self.mountpoint), FAILED, "disks/v is served")

    def test_read_only_servers_stand_beside_a_writer(self):
        self.create("disks/v", MIB)
        writer = Client(self.serve("disks/v"))
        path = os.path.join(self.top, "reader.sock")
        server = subprocess.Popen(["nbdkit", "-f", "-U", path, PLUGIN, f"store={self.store}", "file=disks/v", "readonly=true"])
        self.servers.append(server)
        self.assertTrue(wait_for(lambda: os.path.exists(path)))
        reader = Client(f"nbd+unix:///?socket={path}")
        writer.write(100, b"seen")
        self.assertEqual(reader.read(100, 4), b"seen")
        error, _ = reader.ask(reader.WRITE, 0, data=b"no")
        self.assertEqual(error, errno.EPERM)

    def test_programs_in_the_mount_come_first_where_they_are(self):
        self.create("disks/v", MIB)
        path = self.path("disks", "v")
        with open(path, "r+"):
            self.refused_server("disks/v", "busy")
            self.refused_server("disks/v", "busy", "readonly=true")
        with open(path):
            self.refused_server("disks/v", "busy")
        self.serve("disks/v")

    def test_a_point_is_not_written_to(self):
        self.create("disks/v", MIB)
        self.branch_done("snapshot", "disks@monday")
        client = Client(self.serve("disks/v@monday"))
        for command, data in ((client.WRITE, b"no"), (client.TRIM, b""), (client.ZEROES, b"")):
            error, _ = client.ask(command, 0, size=0 if data else 4096, data=data)
            self.assertEqual(error, errno.EPERM)
        self.assertEqual(client.read(0, MIB), bytes(MIB))
        self.assertEqual(client.ask(client.FLUSH)[0], 0)

    def test_shrinking(self):
        self.create("disks/v", 64 * MIB)
        client = Client(self.serve("disks/v"))
        client.write(10 * MIB - 1, b"x")
        client.close()
        self.stop()
        self.refused_volume(["resize", "disks/v", "--size", "9M"], FAILED, "data behind", "--force")
        self.refused_volume(["resize", "disks/v", "--size", str(10 * MIB - 1)], FAILED, "data behind")
        self.assertEqual(os.path.getsize(self.path("disks", "v")), 64 * MIB)
        self.volume_done("resize", "disks/v", "--size", "10M")
        self.volume_done("resize", "disks/v", "--size", "9M", "--force")
        self.volume_done("resize", "disks/v", "--size", "20M")
        client = Client(self.serve("disks/v"))
        self.assertEqual(client.size, 20 * MIB)
        self.assertEqual(client.read(8 * MIB, 12 * MIB), bytes(12 * MIB))  # and the data does not come back

    def test_a_store_that_is_full(self):
        self.umount()
        self.done(NEONFS, "set", self.store, "--size-limit", "256M")
        self.mount()
        self.create("disks/v", 1 << 30)
        client = Client(self.serve("disks/v"))
        client.write(0, b"first" * 1000)
        client.flush()
        errors = set()
        for number in range(300):
            errors.add(client.ask(client.WRITE, (1 + number) * MIB, data=os.urandom(MIB))[0])
            if errors - {0}:
                break
        self.assertEqual(errors - {0}, {errno.ENOSPC})
        self.assertEqual(client.read(0, 5000), b"first" * 1000)
        client.flush()  # what was answered is whole
        self.done(NEONFS, "set", self.store, "--size-limit", "none")
        client.write(0, b"again")  # and the same client goes on
        client.flush()
        self.assertEqual(client.read(0, 10), b"againfirst")
        client.close()
        self.stop()
        self.scrub()

    def test_command_line(self):
        self.create("disks/v", MIB)
        for words, code, fragment in (([], USAGE, "command"), (["disks/v", "--port", "0"], USAGE, "--port"),
                                      (["disks/v", "--port", "1", "--socket", "x"], USAGE, "exclude"),
                                      (["disks/v", "--listen", "::1"], USAGE, "--port"), (["disks/v", "--threads", "0"], USAGE, "--threads")):
            self.one_line(run(NBD, "--store", self.store, *words), code, fragment)
        result = run(NBD, "--store", self.store, "disks/none", "--socket", os.path.join(self.top, "s"))
        self.assertEqual(result.returncode, FAILED)
        self.assertIn('no file "none"', result.stderr)


if __name__ == "__main__":
    unittest.main()
