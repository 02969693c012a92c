"""Relation files of a data directory, byte for byte."""

import hashlib
import os
import re

from harness.workplace import TestFailure

RELATION = re.compile(r'\d+(_(vm|fsm|init))?(\.\d+)?')


def digests(root):
    """A digest of each relation file, all of it read."""
    found = {}
    for space in ('base', 'global', 'pg_tblspc'):
        for parent, _, names in os.walk(os.path.join(root, space)):
            for file in names:
                if RELATION.fullmatch(file):
                    path = os.path.join(parent, file)
                    with open(path, 'rb') as content:
                        found[os.path.relpath(path, root)] = hashlib.sha256(content.read()).hexdigest()
    return found


def same(left, right, what):
    if left.keys() != right.keys():
        raise TestFailure(f'{what}: other files: {sorted(left.keys() ^ right.keys())[:10]}')
    differ = [path for path in left if left[path] != right[path]]
    if differ:
        raise TestFailure(f'{what}: {len(differ)} of {len(left)} files differ: {differ[:10]}')
