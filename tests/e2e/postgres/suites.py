"""Postgres's own test suites: where they come from, and running one against a server."""

import glob
import os
import re
import shutil
import subprocess
import time

from harness.cluster import BIN, PORT, as_postgres
from harness.workplace import Skip, TestFailure, run, say

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, '..', '..', '..')
HOME = os.path.dirname(BIN)
MAJOR = int(os.path.basename(HOME))
BESIDE = os.path.join(HOME, '..', '..', '..', '..', 'source')


def suite_program(path):
    """The package of 13 has no isolation tester; that of another major serves it as well."""
    own = os.path.join(HOME, 'lib', 'pgxs', 'src', 'test', path)
    return own if os.path.exists(own) else os.path.join('/usr/lib/postgresql/15/lib/pgxs/src/test', path)


PROGRAMS = {'regress': suite_program('regress/pg_regress'), 'isolation': suite_program('isolation/pg_isolation_regress')}
SCHEDULES = {'regress': 'parallel_schedule', 'isolation': 'isolation_schedule'}


def require_suite(suite):
    if not os.access(PROGRAMS[suite], os.X_OK):
        raise Skip(f'{PROGRAMS[suite]} is not there: install postgresql-client-15 and postgresql-server-dev-15')


def unpacked_source(argument):
    """The source tree; fetched once. For another major than this machine's it lies beside the programs, where the archive had it."""
    if argument:
        return argument
    if os.path.exists(os.path.join(BESIDE, 'src', 'test', 'regress')):
        return BESIDE
    result = run(os.path.join(HERE, 'fetch-source'), os.path.join(ROOT, 'build', 'postgres-source'), check=False, timeout_s=600)
    if result.returncode != 0:
        raise Skip(result.stderr.strip().splitlines()[-1])
    return result.stdout.strip().splitlines()[-1]


def prepare(place, source):
    """Copy the suites to where user postgres may read them, and build the C functions that they call."""
    suites = place.dir('suites')
    for name in PROGRAMS:
        shutil.copytree(os.path.join(source, 'src', 'test', name), os.path.join(suites, name))
    libraries = place.dir('libraries')
    include = os.path.join(HOME, '..', '..', '..', 'include', 'postgresql', str(MAJOR), 'server')
    if not os.path.exists(os.path.join(include, 'postgres.h')):
        raise Skip(f'the headers of the server are not there: install postgresql-server-dev-{MAJOR}')
    # The package of headers may be of an older minor than the source beside, which then has functions that those do not declare; what
    # another major's suite forgets to include comes first.
    newer = ['-I', os.path.join(source, 'src', 'include')] if source == BESIDE else []
    run('cc', '-shared', '-fPIC', '-O1', '-w', *newer, '-I', include, '-include', 'postgres.h', '-include', 'utils/array.h',
        '-o', os.path.join(libraries, 'regress.so'), os.path.join(suites, 'regress', 'regress.c'))
    for library in glob.glob(os.path.join(HOME, 'lib', '*.so')):
        if os.path.basename(library) != 'regress.so':  # 18 has it among its own
            os.symlink(library, os.path.join(libraries, os.path.basename(library)))
    run('chmod', '-R', 'a+rX', suites, libraries)
    return suites, libraries


def usable_schedule(path):
    """pg_regress of 16 and later knows no lines "ignore: TEST", which older suites have."""
    with open(path, encoding='utf-8') as f:
        lines = [line for line in f if not line.startswith('ignore:')]
    with open(path, 'w', encoding='utf-8') as f:
        f.writelines(lines)
    return path


def results(output):
    """(test, state) for each one that was run, in either form of pg_regress's output; a state begins with ok, or the test failed."""
    found = re.findall(r'^(?:test|    )\s*(\S+)\s+\.\.\.\s+(ok|FAILED.*|failed.*)', output, re.MULTILINE)
    return found or [(name, state) for state, name in re.findall(r'^(ok|not ok) \d+\s+[-+] (\S+)', output, re.MULTILINE)]


def run_suite(place, cluster, suite, suites, libraries, tests):
    """Returns the names of the tests that failed, with the directory of their results."""
    output = place.dir(f'{cluster.name}.{suite}.output', 0o777)
    for name in ('sql', 'expected', 'testtablespace'):  # pg_regress of 13 and 14 expects them there
        place.dir(os.path.join(f'{cluster.name}.{suite}.output', name), 0o777)
    command = [PROGRAMS[suite], f'--inputdir={os.path.join(suites, suite)}', f'--outputdir={output}', f'--bindir={BIN}',
               f'--dlpath={libraries}', f'--host={cluster.sockets}', f'--port={PORT}', '--user=postgres',
               '--max-concurrent-tests=20']
    command += tests or [f'--schedule={usable_schedule(os.path.join(suites, suite, SCHEDULES[suite]))}']
    began = time.monotonic()
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace',
                            check=False, **as_postgres())
    lines = results(result.stdout)
    failed = [name for name, state in lines if not state.startswith('ok')]
    say(f'{cluster.name}: {suite}: {len(lines)} tests, {len(failed)} failed, {time.monotonic() - began:.0f} s')
    if result.returncode not in (0, 1) or not lines or (result.returncode == 1 and not failed):
        raise TestFailure(f'{suite} did not run to its end: {result.stdout[-3000:]}')
    if cluster.process.poll() is not None:
        raise TestFailure(f'the server went away during {suite}: {cluster.last_log_line()}')
    return failed, output
