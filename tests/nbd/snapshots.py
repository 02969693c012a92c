"""Snapshots of a volume that is being written: each block shows what was answered before, or what was on its way, and never changes."""

import hashlib
import os

from record import block_bytes, blocks_of, tell
from volume import BRANCH, TestFailure


class VolumeSnapshots:
    def __init__(self, mount, volume, record, keep=4):
        self.mount = mount
        self.volume = volume
        self.record = record
        self.keep = keep
        self.number = 0
        self.taken = {}     # label -> digest

    def _read(self, label):
        with open(os.path.join(self.mount.mountpoint, f'{BRANCH}@{label}', self.volume), 'rb') as f:
            found = dict(blocks_of(lambda offset, size: os.pread(f.fileno(), size, offset), len(self.record.histories)))
        return found, hashlib.sha256(b''.join(found.values())).hexdigest()

    def take(self):
        """While the writers work. What a block showed before and after is its record: no state in between is missing from it."""
        self.number += 1
        label = f's{self.number}'
        before = self.record.states_now()
        must = self.record.must_show()
        self.mount.branch('snapshot', f'{BRANCH}@{label}', timeout_s=60)
        after = self.record.states_now()
        found, digest = self._read(label)
        for block, data in found.items():
            numbered = dict(enumerate(before[block][1], before[block][0]))
            numbered.update(enumerate(after[block][1], after[block][0]))
            # What became durable in between is in no list any more when several writes were; a stamp is never older than what must be there.
            allowed = [block_bytes(block, state) for number, state in numbered.items() if number >= must[block]]
            if data not in allowed and after[block][0] <= before[block][0] + len(before[block][1]):
                raise TestFailure(f'snapshot {label}: block {block} shows {tell(data)}, none of {len(allowed)} states that it may')
        self.taken[label] = digest
        while len(self.taken) > self.keep:
            old = next(iter(self.taken))
            del self.taken[old]
            self.mount.branch('delete', f'{BRANCH}@{old}')

    def verify(self):
        for label, digest in self.taken.items():
            if self._read(label)[1] != digest:
                raise TestFailure(f'snapshot {label} has changed')


