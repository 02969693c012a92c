"""neonfs-wal verify beside a running server: WAL with an image for every change is large, so it is removed behind the reader."""

import glob
import json
import os
import re
import signal
import subprocess
import threading

from harness.workplace import TestFailure, say

KEEP_SEGMENTS = 64   # behind the reader: Postgres itself still reads what prepared transactions wrote since the last checkpoint
HERE = os.path.dirname(os.path.abspath(__file__))


class Verification:
    """Follows PGDATA's WAL from its beginning. The server must keep all of its WAL (wal_keep_size)."""

    def __init__(self, place, datadir, *options):
        self.wal = os.path.join(datadir, 'pg_wal')
        self.log = place.log('verify.log')
        self.process = place.popen([place.program('neonfs-wal'), 'verify', datadir, '--follow', '--json', *options], 'verify.log',
                                   stdout=subprocess.PIPE, text=True)
        self.ended = threading.Event()
        self.remover = threading.Thread(target=self._remove_behind, daemon=True)
        self.remover.start()
        place.at_end(self.ended.set)

    def _segment_in_work(self):
        """The segment that the reader has open, by its name."""
        for link in glob.glob(f'/proc/{self.process.pid}/fd/*'):
            try:
                name = os.path.basename(os.readlink(link))
            except OSError:
                continue
            if re.fullmatch('[0-9A-F]{24}', name):
                return name
        return None

    def _remove_behind(self):
        while not self.ended.wait(0.5):
            reading = self._segment_in_work()
            names = sorted(name for name in os.listdir(self.wal) if re.fullmatch('[0-9A-F]{24}', name))
            if reading in names:
                for name in names[:max(0, names.index(reading) - KEEP_SEGMENTS)]:
                    os.unlink(os.path.join(self.wal, name))

    def finish(self, timeout_s=600):
        """The server has stopped: let it read to the end. Returns its report."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            output, _ = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as e:
            raise TestFailure(f'neonfs-wal verify does not come to an end within {timeout_s} s') from e
        self.ended.set()
        self.remover.join()
        with open(self.log, encoding='utf-8', errors='replace') as f:
            said = f.read().strip()
        try:
            report = json.loads(output)
        except ValueError as e:
            raise TestFailure(f'neonfs-wal verify ended with {self.process.returncode} and no report: {said}') from e
        return report, self.process.returncode, said


def judge(report, status, said):
    """Print the sums; raise when a block differs or anything was not replayed."""
    total = report['sum']
    say(f'Postgres {report["postgres"]}: {total["records"]} records, {total["redone"]} blocks redone, {total["compared"]} compared, '
        f'{total["mismatches"]} different, {total["early"]} cleared early, {total["unchecked"]} without page or image, '
        f'{report["evicted_pages"]} given up')
    for one in report['mismatches']:
        print(json.dumps(one))
    if status != 0 or total['mismatches']:
        raise TestFailure(said)
    if report['foreign_records']:
        raise TestFailure(f'{report["foreign_records"]} records were of no known type')


def read_reasons(major):
    """uncovered.txt: "MAJORS  RMGR TYPE  REASON" a line; which of its types this major may leave uncovered, with the reason."""
    reasons = {}
    with open(os.path.join(HERE, 'uncovered.txt'), encoding='utf-8') as f:
        for line in f:
            if line.strip() and not line.startswith('#'):
                majors, rmgr, name, reason = line.split(None, 3)
                low, _, high = majors.partition('-')
                if int(low) <= major <= int(high or low):
                    reasons[rmgr, name] = reason.strip()
    return reasons


def uncovered(report):
    """Types that this WAL does not prove: never there, or, where pages are redone, never redone and compared."""
    missing = {}
    for row in report['types']:
        if row['records'] == 0:
            missing[row['rmgr'], row['type']] = 'never written'
        elif row['has_redo'] and not (row['redone'] and row['compared']):
            missing[row['rmgr'], row['type']] = 'written, but never redone and compared'
    return missing


def judge_coverage(report):
    reasons = read_reasons(report['postgres'])
    missing = uncovered(report)
    for key in sorted(missing):
        say(f'uncovered: {" ".join(key)}: {missing[key]}; {reasons.get(key, "no reason is written in uncovered.txt")}')
    known = {(row['rmgr'], row['type']) for row in report['types']}
    for key in sorted(set(reasons) - known):
        raise TestFailure(f'uncovered.txt names {" ".join(key)}, which Postgres {report["postgres"]} does not have')
    without = sorted(set(missing) - set(reasons))
    if without:
        raise TestFailure(f'{len(without)} record types are not covered: {", ".join(" ".join(key) for key in without)}')
    say(f'{len(report["types"]) - len(missing)} of {len(report["types"])} record types covered')
