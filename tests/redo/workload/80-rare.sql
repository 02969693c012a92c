-- Records that ordinary work seldom writes: locks along update chains, truncations (also of the transaction logs), many multixacts, settings, backups,
-- tablespaces with a place of their own, rewrites under logical decoding, transactions of a replication origin.
-- A statement that a version does not know fails, and the next one goes on.
CREATE TABLE rare (id int PRIMARY KEY, v int);
INSERT INTO rare SELECT i, 0 FROM generate_series(1, 2500) i;
BEGIN; UPDATE rare SET v = 1 WHERE id <= 3; PREPARE TRANSACTION 'holds';
SELECT count(*) FROM (SELECT * FROM rare WHERE id <= 3 FOR KEY SHARE) s;
COMMIT PREPARED 'holds';
BEGIN; UPDATE rare SET v = 2 WHERE id <= 3; PREPARE TRANSACTION 'holds';
SELECT count(*) FROM (SELECT * FROM rare WHERE id <= 3 FOR KEY SHARE) s;
ROLLBACK PREPARED 'holds';
-- A multixact for each row: a page of offsets and several of members.
BEGIN;
SELECT count(*) FROM (SELECT * FROM rare FOR KEY SHARE) s;
DO $$ BEGIN FOR i IN 1..2500 LOOP BEGIN UPDATE rare SET v = v + 1 WHERE id = i; EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$;
COMMIT;
CREATE TABLE tr_a (id serial PRIMARY KEY);
CREATE TABLE tr_b (id serial, a int REFERENCES tr_a);
INSERT INTO tr_a DEFAULT VALUES;
INSERT INTO tr_b (a) VALUES (1);
TRUNCATE tr_a RESTART IDENTITY CASCADE;
TRUNCATE tr_a, tr_b;
TRUNCATE tr_b RESTART IDENTITY;
SET synchronous_commit = remote_apply;
INSERT INTO tr_a DEFAULT VALUES;
RESET synchronous_commit;
CREATE FUNCTION counted() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
SET track_functions = 'all';
SELECT counted();
CREATE TABLE to_drop (id int PRIMARY KEY, v text);
BEGIN; DROP TABLE to_drop; DROP FUNCTION counted(); CREATE TABLE to_keep (id int); SAVEPOINT a; INSERT INTO to_keep VALUES (1); PREPARE TRANSACTION 'drops';
COMMIT PREPARED 'drops';
SELECT pg_replication_origin_create('far');
SELECT pg_replication_origin_session_setup('far');
BEGIN; SELECT pg_replication_origin_xact_setup('1/2345678', '2020-02-29 12:00:00+00'); INSERT INTO tr_a DEFAULT VALUES; ROLLBACK;
BEGIN; SELECT pg_replication_origin_xact_setup('1/2345679', '1999-12-31 23:59:58.5+00'); INSERT INTO tr_a DEFAULT VALUES; PREPARE TRANSACTION 'from far';
COMMIT PREPARED 'from far';
BEGIN; SELECT pg_replication_origin_xact_setup('1/2345680', '2021-02-28 12:00:00+00'); INSERT INTO tr_a DEFAULT VALUES; PREPARE TRANSACTION 'from far';
ROLLBACK PREPARED 'from far';
SELECT pg_replication_origin_session_reset();
SELECT pg_logical_emit_message(true, '', ''), pg_logical_emit_message(false, 'größer', repeat('0123456789', 30000));
-- A root page that is a leaf.
CREATE TABLE small_spgist (p point);
INSERT INTO small_spgist SELECT point(i, i) FROM generate_series(1, 40) i;
CREATE INDEX ON small_spgist USING spgist (p);
DELETE FROM small_spgist WHERE p[0] > 20;
VACUUM small_spgist;
-- A catalogue table of the user's is rewritten while a slot wants its history.
SELECT pg_create_logical_replication_slot('history', 'test_decoding');
CREATE TABLE catalogue (id int PRIMARY KEY, v text) WITH (user_catalog_table = true);
INSERT INTO catalogue SELECT i, 'x' FROM generate_series(1, 100) i;
UPDATE catalogue SET v = 'y' WHERE id % 2 = 0;
VACUUM FULL catalogue;
SELECT pg_drop_replication_slot('history');
ALTER SYSTEM SET full_page_writes = off;
SELECT pg_reload_conf();
SELECT pg_sleep(0.3);
CHECKPOINT;
UPDATE rare SET v = 0 WHERE id < 100;
ALTER SYSTEM RESET full_page_writes;
SELECT pg_reload_conf();
SELECT pg_sleep(0.3);
CHECKPOINT;
SELECT pg_start_backup('a backup', true, false);
SELECT pg_stop_backup(false, false);
SELECT pg_backup_start('a backup', true);
SELECT pg_backup_stop(false);
SELECT current_setting('data_directory') || '/../a place' AS place \gset
SELECT format('COPY (SELECT 1) TO PROGRAM $$mkdir -p "%s"$$', :'place') \gexec
CREATE TABLESPACE with_place LOCATION :'place';
CREATE TABLE placed (id int PRIMARY KEY, v text) TABLESPACE with_place;
INSERT INTO placed SELECT i, md5(i::text) FROM generate_series(1, 500) i;
CREATE UNLOGGED TABLE placed_unlogged (id int) TABLESPACE with_place;
DELETE FROM placed WHERE id > 100;
VACUUM placed;
BEGIN; TRUNCATE placed; ROLLBACK;
DROP TABLE placed, placed_unlogged;
CREATE DATABASE placed_db TABLESPACE with_place;
DROP DATABASE placed_db;
DROP TABLESPACE with_place;
-- Transactions enough to fill files of commit times; then everything is frozen, and the logs of transactions are cut.
CREATE TABLE many (id int);
DO $$ BEGIN FOR i IN 1..28000 LOOP BEGIN INSERT INTO many VALUES (i); EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$;
UPDATE pg_database SET datallowconn = true WHERE datname = 'template0';
SET vacuum_freeze_min_age = 0;
SET vacuum_multixact_freeze_min_age = 0;
VACUUM (FREEZE);
\c template0
VACUUM (FREEZE);
\c template1
VACUUM (FREEZE);
\c postgres
UPDATE pg_database SET datallowconn = false WHERE datname = 'template0';
VACUUM (FREEZE);
CHECKPOINT;
