-- Definitions: relation map, rewrites, tablespaces, databases by both strategies, generic WAL through bloom, the catalogue itself.
\set ON_ERROR_STOP on
VACUUM FULL pg_class;
VACUUM FULL pg_attribute;
REINDEX TABLE pg_index;
CREATE TABLE rw (id int, v text);
INSERT INTO rw SELECT i, md5(i::text) FROM generate_series(1, 3000) i;
ALTER TABLE rw ADD COLUMN w int DEFAULT (random() * 10)::int;
ALTER TABLE rw ALTER COLUMN id TYPE bigint;
CREATE INDEX rw_id ON rw (id);
CLUSTER rw USING rw_id;
VACUUM FULL rw;
CREATE UNLOGGED TABLE un (id int PRIMARY KEY, v text);
INSERT INTO un SELECT i, 'u' FROM generate_series(1, 500) i;
ALTER TABLE un SET LOGGED;
ALTER TABLE un SET UNLOGGED;
CREATE EXTENSION IF NOT EXISTS bloom;
CREATE TABLE bl (a int, b int);
CREATE INDEX bl_ab ON bl USING bloom (a, b);
INSERT INTO bl SELECT i, i % 100 FROM generate_series(1, 15000) i;
DELETE FROM bl WHERE a % 2 = 0;
VACUUM bl;
INSERT INTO bl SELECT i, i % 100 FROM generate_series(1, 5000) i;
CREATE MATERIALIZED VIEW mv AS SELECT a, count(*) FROM bl GROUP BY a;
REFRESH MATERIALIZED VIEW mv;
CREATE TABLE part (id int, v text) PARTITION BY RANGE (id);
SELECT format('CREATE TABLE part_%s PARTITION OF part FOR VALUES FROM (%s) TO (%s)', i, i * 100, (i + 1) * 100) FROM generate_series(0, 9) i \gexec
INSERT INTO part SELECT i, 'p' FROM generate_series(0, 999) i;
DROP TABLE part;
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE ts LOCATION '';
RESET allow_in_place_tablespaces;
CREATE TABLE in_ts (id int PRIMARY KEY, v text) TABLESPACE ts;
INSERT INTO in_ts SELECT i, md5(i::text) FROM generate_series(1, 2000) i;
ALTER TABLE in_ts SET TABLESPACE pg_default;
DROP TABLE in_ts;
DROP TABLESPACE ts;
-- Before 15 there is one way to copy a database, and no word for it.
SELECT current_setting('server_version_num')::int >= 150000 AS strategies \gset
\if :strategies
CREATE DATABASE db_log TEMPLATE template0 STRATEGY wal_log;
CREATE DATABASE db_copy TEMPLATE template0 STRATEGY file_copy;
\else
CREATE DATABASE db_log TEMPLATE template0;
CREATE DATABASE db_copy TEMPLATE template0;
\endif
\c db_copy
CREATE TABLE t AS SELECT i AS id, md5(i::text) AS v FROM generate_series(1, 2000) i;
CREATE INDEX ON t (v);
UPDATE t SET v = v || 'x' WHERE id % 3 = 0;
\c db_log
CREATE TABLE t AS SELECT i AS id, md5(i::text) AS v FROM generate_series(1, 2000) i;
\c postgres
DROP DATABASE db_copy;
DROP DATABASE db_log;
CHECKPOINT;
