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
PGXS = os.path.join(os.path.dirname(BIN), 'lib', 'pgxs', 'src', 'test')
PROGRAMS = {'regress': f'{PGXS}/regress/pg_regress', 'isolation': f'{PGXS}/isolation/pg_isolation_regress'}
SCHEDULES = {'regress': 'parallel_schedule', 'isolation': 'isolation_schedule'}


def require_suite(suite):
    if not os.access(PROGRAMS[suite], os.X_OK):
        raise Skip(f'{PROGRAMS[suite]} is not there: install postgresql-client-15 and postgresql-server-dev-15')


def unpacked_source(argument):
    """The source tree; fetched once."""
    if argument:
        return argument
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
    include, own = run(f'{BIN}/pg_config', '--includedir-server', '--pkglibdir').stdout.split()
    if not os.path.exists(os.path.join(include, 'postgres.h')):
        raise Skip('the headers of the server are not there: install postgresql-server-dev-15')
    run('cc', '-shared', '-fPIC', '-O1', '-w', '-I', include, '-o', os.path.join(libraries, 'regress.so'),
        os.path.join(suites, 'regress', 'regress.c'))
    for library in glob.glob(os.path.join(own, '*.so')):
        os.symlink(library, os.path.join(libraries, os.path.basename(library)))
    run('chmod', '-R', 'a+rX', suites, libraries)
    return suites, libraries


def run_suite(place, cluster, suite, suites, libraries, tests):
    """Returns the names of the tests that failed, with the directory of their results."""
    output = place.dir(f'{cluster.name}.{suite}.output', 0o777)
    command = [PROGRAMS[suite], f'--inputdir={os.path.join(suites, suite)}', f'--outputdir={output}', f'--bindir={BIN}',
               f'--dlpath={libraries}', f'--host={cluster.sockets}', f'--port={PORT}', '--user=postgres',
               '--max-concurrent-tests=20']
    command += tests or [f'--schedule={os.path.join(suites, suite, SCHEDULES[suite])}']
    began = time.monotonic()
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace',
                            check=False, **as_postgres())
    lines = re.findall(r'^(?:test|    )\s*(\S+)\s+\.\.\.\s+(ok|FAILED.*|failed.*)', result.stdout, re.MULTILINE)
    failed = [name for name, state in lines if not state.startswith('ok')]
    say(f'{cluster.name}: {suite}: {len(lines)} tests, {len(failed)} failed, {time.monotonic() - began:.0f} s')
    if result.returncode not in (0, 1) or not lines or (result.returncode == 1 and not failed):
        raise TestFailure(f'{suite} did not run to its end: {result.stdout[-3000:]}')
    if cluster.process.poll() is not None:
        raise TestFailure(f'the server went away during {suite}: {cluster.last_log_line()}')
    return failed, output
