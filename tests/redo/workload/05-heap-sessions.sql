-- Heap records that need two sessions, or rows that go their own ways: locks on later versions, insertions that are tried and taken back, rows
-- that move between partitions, replica identities, truncation with a visibility map.
CREATE EXTENSION dblink;
SELECT dblink_connect('other', format('host=%s port=%s dbname=%s user=%s', current_setting('unix_socket_directories'), current_setting('port'),
	current_database(), current_user));

-- The other one has updated rows and not ended: locking them here locks the later versions too. Some updates leave the page.
CREATE TABLE versions (id int PRIMARY KEY, v text);
INSERT INTO versions SELECT i, repeat('v', 100 * (i % 10)) FROM generate_series(1, 300) i;
VACUUM (FREEZE) versions;
BEGIN;
SELECT dblink_exec('other', 'BEGIN');
SELECT dblink_exec('other', 'UPDATE versions SET v = v || ''first'' WHERE id % 2 = 0');
SELECT dblink_exec('other', 'UPDATE versions SET v = v || ''second'' WHERE id % 4 = 0');
SELECT id FROM versions WHERE id < 200 FOR KEY SHARE;
SAVEPOINT s;
SELECT id FROM versions WHERE id < 100 FOR KEY SHARE;
ROLLBACK TO s;
SELECT dblink_exec('other', 'COMMIT');
COMMIT;
BEGIN;
SELECT dblink_exec('other', 'BEGIN');
SELECT dblink_exec('other', 'UPDATE versions SET v = ''away'' WHERE id > 250');
SELECT id FROM versions WHERE id > 240 FOR KEY SHARE;
SELECT dblink_exec('other', 'ROLLBACK');
SELECT id FROM versions WHERE id > 240 FOR UPDATE;
COMMIT;
VACUUM (FREEZE) versions;

-- An index expression that stops its session between the insertion of the row and that into the index, when a row of the same key comes in.
CREATE TABLE tried (k int, v text);
CREATE FUNCTION pausing(k int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE call int := coalesce(nullif(current_setting('neonfs.call', true), ''), '-9')::int;
BEGIN
	IF call >= 0 THEN
		PERFORM set_config('neonfs.call', (call + 1)::text, false);
		PERFORM pg_advisory_lock(4200 + call);
		PERFORM pg_advisory_unlock(4200 + call);
	END IF;
	RETURN k;
END $$;
CREATE UNIQUE INDEX tried_k ON tried (pausing(k));
CREATE PROCEDURE take_back(key int, value text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dblink_exec('other', 'SET neonfs.call = ''0''');
	PERFORM pg_advisory_lock(4201); -- the second evaluation: the row is there by then
	PERFORM dblink_send_query('other', format('INSERT INTO tried VALUES (%s, %L) ON CONFLICT DO NOTHING', key, value));
	FOR i IN 1..1000 LOOP
		EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4201 AND NOT granted);
		PERFORM pg_sleep(0.01);
	END LOOP;
	INSERT INTO tried VALUES (key, 'the first');
	COMMIT;
	PERFORM pg_advisory_unlock(4201);
	PERFORM * FROM dblink_get_result('other') AS t(status text);
	PERFORM * FROM dblink_get_result('other') AS t(status text);
END $$;
CALL take_back(1, 'short');
CREATE FUNCTION noise(n int) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(md5((i * 7)::text), '') FROM generate_series(1, n) i $$;
CALL take_back(2, noise(500)); -- out of line: its pieces are taken back too
CALL take_back(3, 'short again');
SELECT dblink_disconnect('other');

-- Rows that move to another partition; whole old rows in the log.
CREATE TABLE parted (id int, part int, v text) PARTITION BY LIST (part);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);
ALTER TABLE parted_1 REPLICA IDENTITY FULL;
INSERT INTO parted SELECT i, 1 + i % 2, repeat('p', i % 50) FROM generate_series(1, 2000) i;
VACUUM (FREEZE) parted_1, parted_2;
UPDATE parted SET part = 3 - part WHERE id % 7 = 0;
UPDATE parted SET v = v || 'q', id = id + 10000 WHERE id % 5 = 0;
DELETE FROM parted WHERE id % 11 = 0;
ALTER TABLE parted_1 REPLICA IDENTITY NOTHING;
UPDATE parted SET v = 'r' || v WHERE id % 3 = 0;

-- Frozen pages are changed in every way, then the end of the table goes and comes again.
CREATE TABLE frozen_pages (id int, v text) WITH (fillfactor = 90, autovacuum_enabled = off);
INSERT INTO frozen_pages SELECT i, repeat('f', 200) FROM generate_series(1, 12000) i;
VACUUM (FREEZE) frozen_pages;
SELECT id FROM frozen_pages WHERE id % 1000 = 3 FOR SHARE;
UPDATE frozen_pages SET v = repeat('g', 200) WHERE id % 1000 = 4;
UPDATE frozen_pages SET v = repeat('h', 2000) WHERE id % 1000 = 5;
DELETE FROM frozen_pages WHERE id % 1000 = 6;
VACUUM frozen_pages;
DELETE FROM frozen_pages WHERE id > 5000;
VACUUM (TRUNCATE) frozen_pages;
INSERT INTO frozen_pages SELECT i, repeat('i', 300) FROM generate_series(1, 6000) i;
VACUUM frozen_pages;
INSERT INTO frozen_pages SELECT i, 'into gaps' FROM generate_series(1, 500) i;
VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) frozen_pages;
