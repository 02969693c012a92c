-- Last things before the crash: some written out, some only in the log.
CREATE TABLE oc (id int PRIMARY KEY, v text);
INSERT INTO oc SELECT i, md5(i::text) FROM generate_series(1, 20000) i;
CHECKPOINT;
UPDATE oc SET v = v || 'x' WHERE id % 5 = 0;
DELETE FROM oc WHERE id > 15000;
VACUUM oc;
UPDATE oc SET v = v || 'y' WHERE id % 7 = 0;
DROP TABLE oa_in_space;
INSERT INTO oa_unlogged SELECT i, 'v' FROM generate_series(1000, 3000) i;
BEGIN; INSERT INTO oc SELECT i, 'z' FROM generate_series(30001, 31000) i; PREPARE TRANSACTION 'left_3';
SELECT pg_current_wal_insert_lsn();
