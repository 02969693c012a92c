"""A server's mixed life for a while, and the points in it that can be asked for."""

import random
import re

from harness.cluster import BIN, as_postgres
from harness.workplace import TestFailure, run

BEFORE = '''
create table b (id int primary key, v text) with (fillfactor = 70);
insert into b select i, md5(i::text) from generate_series(1, 10000) i;
create index b_v on b (v);
create unlogged table u (id int primary key, v text);
insert into u select i, 'u' from generate_series(1, 1000) i;
create sequence s cache 7;
create database dropped_later;
begin; select id from b where id < 50 for share; savepoint s; update b set v = 'm' where id < 20; prepare transaction 'early';
'''

# One statement or one transaction a line; most may run again and again.
LINES = '''
create table h{n} (id int, v text); create index on h{n} using hash (id); insert into h{n} select i, md5(i::text) from generate_series(1, 1500) i; delete from h{n} where id % 3 = 0; vacuum h{n}
create table g{n} (id int, a int[], t tsvector, p point, r int4range); create index on g{n} using gin (a); create index on g{n} using gin (t); create index on g{n} using gist (p); create index on g{n} using spgist (p); create index on g{n} using gist (r); create index on g{n} using brin (id); insert into g{n} select i, array[i % 7, i % 31, i], to_tsvector('simple', 'w' || i % 50 || ' x' || i), point(random() * 100, i % 90), int4range(i, i + 5) from generate_series(1, 800) i; update g{n} set a = a || 5, p = point(id, id) where id % 4 = 0; delete from g{n} where id % 5 = 0; vacuum g{n}
do $$ begin for i in 1..120 loop begin update b set v = v || 'x' where id = i; if i % 3 = 0 then raise exception 'undo'; end if; exception when raise_exception then null; end; end loop; end $$
begin; select id from b where id between 100 and 300 for share; savepoint s; update b set v = 'n' where id between 100 and 150; release s; commit
begin; select id from b where id between 100 and 300 for key share; savepoint s; delete from b where id = 200 + {n} % 90; commit
begin; update b set v = '2pc{n}' where id between 500 and 520; create table made{n} (x int); insert into made{n} select generate_series(1, 500); prepare transaction 'p{n}'
begin; insert into b values (1000000 + {n}, 'q'); prepare transaction 'left{n}'
select nextval('s') from generate_series(1, 40); select setval('s', 1000 + {n}); alter sequence s increment by 3
create table t{n} as select i as id, md5(i::text) as v from generate_series(1, 4000) i; create index on t{n} (v); delete from t{n} where id > 500; vacuum t{n}; truncate t{n}; insert into t{n} select i, 'again' from generate_series(1, 100) i
create table d{n} as select generate_series(1, 2000) x; drop table d{n}
begin; create table r{n} as select generate_series(1, 2000) x; rollback
create unlogged table u{n} (id int primary key, v text); insert into u{n} select i, 'u' from generate_series(1, 300) i
select lo_from_bytea(0, decode(repeat('ab', 20000), 'hex')); select lo_put(loid, 10, 'hello') from (select min(oid) as loid from pg_largeobject_metadata) x where loid is not null
set allow_in_place_tablespaces = on; create tablespace sp{n} location ''; create table in_sp{n} (id int primary key, v text) tablespace sp{n}; insert into in_sp{n} select i, md5(i::text) from generate_series(1, 600) i; alter table in_sp{n} set tablespace pg_default; alter table in_sp{n} set tablespace sp{n}; create index on in_sp{n} (v) tablespace sp{n}
set allow_in_place_tablespaces = on; create tablespace gone{n} location ''; create table in_gone{n} tablespace gone{n} as select generate_series(1, 500) x; drop table in_gone{n}; drop tablespace gone{n}
create database copied strategy file_copy
drop database if exists copied
select pg_create_restore_point('rp{n}'); select pg_logical_emit_message(false, 'neonfs', 'between')
alter table b add column c{n} int default {n}; alter table b drop column c{n}
insert into b select i, repeat(md5(i::text), 100) from generate_series(2000000 + {n} * 100, 2000000 + {n} * 100 + 60) i; vacuum (freeze) b
create materialized view v{n} as select id % 10 as k, count(*) as n from b group by 1; refresh materialized view v{n}
reindex table b; cluster b using b_pkey
checkpoint
select pg_switch_wal()
'''.strip().splitlines()

DATABASES = ['create database by_log strategy wal_log', 'create database by_copy strategy file_copy', 'drop database dropped_later',
             'commit prepared \'early\'']


class Mixed:
    """Runs lines in random order, with pgbench beside them. `cluster` has been started."""

    def __init__(self, cluster, seed, first=0):
        """`first`: names of what is made have numbers behind it."""
        self.cluster = cluster
        self.random = random.Random(seed)
        self.number = first

    def prepare(self, with_pgbench=True):
        # One transaction at a time: psql -c sends a string as one.
        self.script(BEFORE.strip().splitlines())
        if with_pgbench:
            self.cluster.run_pgbench('-i', '-s', '1', '-q')

    def script(self, lines, database='postgres'):
        """Each statement by itself; which of them failed is told."""
        # A prepared transaction holds its locks as long as it likes.
        text = "set lock_timeout = '2s';\n" + ';\n'.join(lines) + ';\n'
        result = run(*self.cluster.psql_command('-v', 'ON_ERROR_STOP=0', '-f', '-', database=database), input=text, check=False,
                     **as_postgres())
        return [line for line in result.stderr.splitlines() if 'ERROR' in line]

    def round(self, count, lines=LINES):
        """`count` random lines; every third prepared transaction stays for later rounds."""
        errors = []
        for _ in range(count):
            self.number += 1
            n = self.number
            errors += self.script([self.random.choice(lines).replace('{n}', str(n))])
            if n % 3 == 0:
                self.script([f"commit prepared 'p{n - 2}'", f"rollback prepared 'left{n - 5}'"])
        return errors

    def databases(self):
        for line in DATABASES:
            self.cluster.psql(line)
        for name in ('by_log', 'by_copy'):
            errors = self.script(['create table t as select i as id, md5(i::text) as v from generate_series(1, 3000) i',
                                  'create index on t using brin (id)', 'update t set v = v || 1 where id % 3 = 0', 'vacuum full pg_class'], name)
            if errors:
                raise TestFailure(f'database {name}: {errors[0]}')


class Beside:
    """pgbench as long as the block lasts."""

    def __init__(self, cluster):
        self.process = cluster.pgbench('-n', '-c', '2', '-T', '3600')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)


def waldump(path, start, end):
    """Positions of records in [start, end) of a directory that holds their segments."""
    result = run(f'{BIN}/pg_waldump', '-p', path, '-s', start, '-e', end, check=False)
    return re.findall(r' lsn: ([0-9A-F/]+), prev', result.stdout)
