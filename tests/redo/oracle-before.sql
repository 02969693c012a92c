-- What is there already when the base backup is taken: prepared transactions, unlogged and dropped things, multixacts.
CREATE TABLE ob (id int PRIMARY KEY, v text) WITH (fillfactor = 70);
INSERT INTO ob SELECT i, md5(i::text) FROM generate_series(1, 20000) i;
CREATE INDEX ob_v ON ob (v);
CREATE TABLE ob_dropped AS SELECT * FROM ob;
CREATE TABLE ob_cut AS SELECT * FROM ob;
CREATE UNLOGGED TABLE ob_unlogged (id int PRIMARY KEY, v text);
INSERT INTO ob_unlogged SELECT i, 'u' FROM generate_series(1, 3000) i;
CREATE TABLESPACE ob_space LOCATION '';
CREATE TABLE ob_in_space (id int PRIMARY KEY, v text) TABLESPACE ob_space;
INSERT INTO ob_in_space SELECT i, md5(i::text) FROM generate_series(1, 5000) i;
CREATE DATABASE ob_database;
SELECT pg_replication_origin_create('before');
SELECT pg_replication_origin_advance('before', '0/1234');
VACUUM (FREEZE, ANALYZE);
BEGIN; SELECT id FROM ob WHERE id < 50 FOR SHARE; SAVEPOINT s; UPDATE ob SET v = 'm' WHERE id < 20; PREPARE TRANSACTION 'before_kept';
BEGIN; DELETE FROM ob WHERE id BETWEEN 100 AND 200; CREATE TABLE ob_2pc (x int); PREPARE TRANSACTION 'before_undone';
BEGIN; DROP TABLE ob_dropped; PREPARE TRANSACTION 'before_drop';
