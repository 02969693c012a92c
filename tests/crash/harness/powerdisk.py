"""A powerfs mount: a disk whose power can be cut. See powerfs/README.md."""

import json
import os
import signal
import subprocess

from .workplace import TestFailure, detach, die_with_parent, kill_tree, wait_until, mounted


class PowerDisk:
    def __init__(self, place, name='disk', fsync_names=False):
        self.place = place
        self.mountpoint = place.dir(name)
        self.backing = place.dir(f'{name}.backing', 0o700)
        self.log = place.log(f'{name}.log')
        self.fsync_names = fsync_names
        self.faults = os.path.join(place.path, f'{name}.faults')
        self.process = None
        self.seed = 1
        place.mount_at_end(self.mountpoint)

    def mount(self, seed=1, ignore_fsync=False):
        """`seed` decides what a cut of this mount will lose."""
        self.seed = seed
        command = [self.place.program('powerfs'), '--seed', str(seed), '--faults', self.faults]
        command += ['--fsync-names'] * self.fsync_names + ['--ignore-fsync'] * ignore_fsync
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen([*command, self.backing, self.mountpoint], stdout=subprocess.PIPE, stderr=log,
                                            preexec_fn=die_with_parent)
        self.place.at_end(kill_tree, self.process)
        if self.process.stdout.readline() != b'ready\n':
            raise TestFailure('powerfs does not start')
        wait_until(lambda: mounted(self.mountpoint), 10, 'the powerfs mount')

    def _end(self, how):
        os.kill(self.process.pid, how)
        out, _ = self.process.communicate(timeout=120)
        if self.process.returncode != 0:
            raise TestFailure(f'powerfs ended with {self.process.returncode}')
        detach(self.mountpoint)
        return out

    def cut(self):
        """Cut the power. Returns the report of what was lost."""
        return json.loads(self._end(signal.SIGUSR1))

    def fail(self, *lines):
        """Requests fail from now on as the lines say (see powerfs/README.md); none: the disk is sound again."""
        with open(self.faults, 'w', encoding='ascii') as f:
            f.write(''.join(line + '\n' for line in lines))
        os.kill(self.process.pid, signal.SIGUSR2)

    def unmount(self):
        self._end(signal.SIGTERM)

    def sync_dir(self, name):
        fd = os.open(os.path.join(self.mountpoint, name), os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(fd)
        os.close(fd)
