"""Snapshots taken while all goes on, with the checksum of everything they show. History never changes: it must stay."""

import hashlib
import os
import stat

from .workplace import TestFailure


def tree_digest(root):
    """What a tree shows: names, types, modes, owners, sizes, contents. Returns {path: digest}."""
    found = {}
    for folder, folders, files in os.walk(root, onerror=_raise):
        folders.sort()
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            st = os.lstat(path)
            digest = hashlib.sha256(f'{st.st_mode:o} {st.st_uid} {st.st_gid} '.encode())
            if stat.S_ISREG(st.st_mode):
                digest.update(str(st.st_size).encode())
                with open(path, 'rb') as f:
                    read = 0
                    while block := f.read(1 << 20):
                        digest.update(block)
                        read += len(block)
                if read != st.st_size:
                    raise TestFailure(f'{path}: size {st.st_size}, but {read} bytes can be read')
            elif stat.S_ISLNK(st.st_mode):
                digest.update(os.fsencode(os.readlink(path)))
            found[os.path.relpath(path, root)] = digest.hexdigest()
    return found


def _raise(error):
    raise error


class Snapshots:
    """The snapshots of one branch that a test has taken and kept."""

    def __init__(self, mount, branch, keep=6):
        self.mount = mount
        self.branch = branch
        self.keep = keep
        self.number = 0
        self.taken = {}     # label -> (tree digest, ledger as acknowledged before)

    def path(self, label):
        return os.path.join(self.mount.mountpoint, f'{self.branch}@{label}')

    def take(self, ledger):
        """Take one. The daemon may die meanwhile: then nothing is promised."""
        self.number += 1
        label = f's{self.number}'
        acknowledged = ledger.now()
        self.mount.branch('snapshot', f'{self.branch}@{label}', timeout_s=60)
        self.taken[label] = (None, acknowledged)
        self.taken[label] = (tree_digest(self.path(label)), acknowledged)
        return label

    def verify(self):
        """Every snapshot shows what it showed before. One acknowledged but never read yet is read for the first time."""
        for label, (digest, acknowledged) in list(self.taken.items()):
            now = tree_digest(self.path(label))
            if digest is not None and now != digest:
                changed = sorted(path for path in digest.keys() | now.keys() if digest.get(path) != now.get(path))
                raise TestFailure(f'snapshot {label} has changed: {len(changed)} paths, such as {changed[:5]}')
            if 'PG_VERSION' not in now:
                raise TestFailure(f'snapshot {label} is not a data directory')
            self.taken[label] = (now, acknowledged)

    def trim(self, rng):
        """Delete some at random until few are left, as a user would."""
        while len(self.taken) > self.keep:
            label = rng.choice(list(self.taken))
            del self.taken[label]
            self.mount.branch('delete', f'{self.branch}@{label}')
