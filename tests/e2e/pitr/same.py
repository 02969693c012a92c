"""What two clusters of one moment have in common, and what any cluster must stand."""

import os
import re
import time

from harness.cluster import BIN, Cluster, as_postgres
from harness.workplace import TestFailure, run, say

SETTINGS = ['shared_buffers=32MB', 'max_prepared_transactions=200', 'track_commit_timestamp=on', 'autovacuum_naptime=2s',
            'max_wal_size=64MB', 'wal_keep_size=0', 'allow_in_place_tablespaces=on']


def check(condition, what):
    if not condition:
        raise TestFailure(what)


def dump(cluster):
    """Every database as text, and what is prepared."""
    text = run(f'{BIN}/pg_dumpall', '-h', cluster.sockets, '-p', '5432', '-U', 'postgres', '--no-sync', timeout_s=600, **as_postgres()).stdout
    lines = [line for line in text.splitlines() if not re.match(r'\\(un)?restrict ', line)]
    return lines + cluster.value('select gid, owner, database from pg_prepared_xacts order by 1').splitlines()


def check_visibility(cluster):
    # A database that is half dropped (datconnlimit -2) lets nobody in.
    names = cluster.value('select datname from pg_database where datallowconn and datconnlimit <> -2').split()
    for name in names:
        bad = cluster.psql('create extension if not exists pg_visibility; '
                           'select c.oid::regclass, pg_check_visible(c.oid), pg_check_frozen(c.oid) from pg_class c '
                           "where relkind in ('r', 'm', 't') and relpersistence <> 't' limit 5", database=name).stdout.strip()
        check(not bad, f'{cluster.name}: pg_visibility in {name}: {bad}')


def recovered(place, name):
    with open(place.log(f'{name}.log'), encoding='utf-8', errors='replace') as log:
        text = log.read()
    return 'redo starts' in text or 'was interrupted' in text or 'not properly shut down' in text


def wait_promoted(cluster):
    for _ in range(600):
        if cluster.value('select pg_is_in_recovery()') == 'f':
            return
        time.sleep(0.1)
    raise TestFailure(f'{cluster.name} is not promoted')


def compare(ours, stock, lsn):
    wait_promoted(stock)
    left, right = dump(ours), dump(stock)
    for a, b in zip(left, right):
        check(a == b, f'{lsn}: the dumps differ: ours {a[:200]!r}, stock {b[:200]!r}')
    check(len(left) == len(right), f'{lsn}: the dumps differ in length: {len(left)} and {len(right)} lines')
    say(f'{lsn}: {len(left)} lines of dumps are the same')


def give_up_prepared(cluster):
    """Prepared transactions hold locks that amcheck would wait for."""
    for line in cluster.value('select database, gid from pg_prepared_xacts').splitlines():
        database, gid = line.split('|')
        cluster.psql(f"rollback prepared '{gid}'", database=database)


def live_on(place, mount, ours, number):
    """The branch is a cluster like any other."""
    give_up_prepared(ours)
    ours.amcheck()
    check_visibility(ours)
    ours.run_pgbench('-n', '-c', '2', '-t', '100')
    ours.psql("create table after_the_point as select generate_series(1, 1000) i")
    ours.psql('vacuum (freeze, analyze)')
    ours.stop_and_verify_checksums()
    ours.start(*SETTINGS)
    mount.branch('create', f'child{number}', '--from', ours.name)
    child = Cluster(place, os.path.join(mount.mountpoint, f'child{number}'), f'child{number}')
    child.start(*SETTINGS)
    check(child.value('select count(*) from after_the_point') == '1000', f'{child.name} has not what {ours.name} had')
    child.amcheck()
    child.stop()
    ours.stop()
