-- What the other workloads do not leave behind: everything of this stays to the end, or goes step by step.
COMMIT PREPARED 'before_kept';
ROLLBACK PREPARED 'before_undone';
COMMIT PREPARED 'before_drop';
DELETE FROM ob_cut WHERE id > 300;
VACUUM ob_cut;
TRUNCATE ob_cut;
INSERT INTO ob_cut SELECT * FROM ob LIMIT 2000;
DELETE FROM ob_cut;
VACUUM ob_cut;
DELETE FROM ob WHERE id > 12000;
VACUUM ob;
INSERT INTO ob SELECT i, md5(i::text) FROM generate_series(30001, 36000) i;
CREATE UNLOGGED TABLE oa_unlogged (id int PRIMARY KEY, v text);
CREATE INDEX ON oa_unlogged USING gin (to_tsvector('simple', v));
CREATE INDEX ON oa_unlogged USING gist (point(id, id));
INSERT INTO oa_unlogged SELECT i, 'u' FROM generate_series(1, 300) i;
CREATE UNLOGGED SEQUENCE oa_sequence;
CREATE TABLESPACE oa_space LOCATION '';
CREATE TABLE oa_in_space (id int PRIMARY KEY, v text) TABLESPACE oa_space;
INSERT INTO oa_in_space SELECT i, md5(i::text) FROM generate_series(1, 5000) i;
UPDATE oa_in_space SET v = 'x' WHERE id % 3 = 0;
-- Before 15 there is one way to copy a database, and no word for it.
SELECT current_setting('server_version_num')::int >= 150000 AS strategies \gset
\if :strategies
CREATE DATABASE oa_log STRATEGY wal_log;
CREATE DATABASE oa_copy STRATEGY file_copy;
\else
CREATE DATABASE oa_log;
CREATE DATABASE oa_copy;
\endif
CREATE DATABASE oa_in_space TABLESPACE oa_space;
\c oa_copy
CREATE TABLE t AS SELECT i AS id, md5(i::text) AS v FROM generate_series(1, 5000) i;
CREATE INDEX ON t USING brin (id);
VACUUM FULL pg_class;
UPDATE t SET v = v || 'x' WHERE id % 3 = 0;
\c oa_in_space
CREATE TABLE t AS SELECT i AS id, md5(i::text) AS v FROM generate_series(1, 5000) i;
\c postgres
DROP DATABASE ob_database;
ALTER TABLE ob_in_space SET TABLESPACE oa_space;
DROP TABLESPACE ob_space;
-- Multixacts by the thousand: pages of offsets and members begin.
CREATE TABLE oa_multi (id int PRIMARY KEY, v int);
INSERT INTO oa_multi SELECT i, 0 FROM generate_series(1, 6000) i;
BEGIN; SELECT count(*) FROM (SELECT id FROM oa_multi FOR SHARE) x; SAVEPOINT s; UPDATE oa_multi SET v = v + 1; RELEASE s; COMMIT;
BEGIN; SELECT count(*) FROM (SELECT id FROM oa_multi FOR KEY SHARE) x; SAVEPOINT s; UPDATE oa_multi SET v = v + 1; COMMIT;
-- Transactions by the thousand: pages of pg_xact and pg_commit_ts begin.
DO $$ BEGIN FOR i IN 1..40000 LOOP BEGIN UPDATE oa_multi SET v = v + 1 WHERE id = i % 6000; IF i % 7 = 0 THEN RAISE EXCEPTION 'undo'; END IF;
	EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$;
SELECT pg_replication_origin_create('after');
SELECT pg_replication_origin_session_setup('after');
BEGIN; SELECT pg_replication_origin_xact_setup('0/AABB', '2026-01-01 00:00:00+00'); INSERT INTO ob VALUES (200001, 'o'); COMMIT;
BEGIN; SELECT pg_replication_origin_xact_setup('0/AACC', '2026-01-01 00:00:00+00'); INSERT INTO ob VALUES (200002, 'o'); PREPARE TRANSACTION 'with_origin';
SELECT pg_replication_origin_session_reset();
VACUUM (FREEZE) oa_multi;
CHECKPOINT;
BEGIN; UPDATE ob SET v = 'p' WHERE id BETWEEN 300 AND 400; SAVEPOINT s; DELETE FROM ob WHERE id = 401; RELEASE s; PREPARE TRANSACTION 'left_1';
BEGIN; SELECT id FROM ob WHERE id BETWEEN 500 AND 520 FOR SHARE; PREPARE TRANSACTION 'left_2';
BEGIN; SELECT id FROM ob WHERE id BETWEEN 510 AND 530 FOR SHARE; COMMIT;
