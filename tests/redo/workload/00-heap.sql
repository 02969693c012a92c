-- Heap: inserts by every way, HOT chains, row locks, pruning, freezing, truncation, TOAST, speculative insertion, in-place updates.
CREATE TABLE h (id int PRIMARY KEY, a int, b text, c text) WITH (fillfactor = 70);
INSERT INTO h SELECT i, i % 97, repeat(md5(i::text), 3), NULL FROM generate_series(1, 20000) i;
UPDATE h SET a = a + 1 WHERE id % 3 = 0;
UPDATE h SET b = b || 'x' WHERE id % 5 = 0;
UPDATE h SET b = repeat(md5(id::text), 60) WHERE id % 701 = 0;
UPDATE h SET c = (SELECT string_agg(md5((id * k)::text), '') FROM generate_series(1, 300) k) WHERE id % 1009 = 0;
DELETE FROM h WHERE id % 7 = 0;
SELECT count(*) FROM h WHERE a = 3;
VACUUM h;
INSERT INTO h SELECT i, i, 'again', NULL FROM generate_series(1, 20000) i ON CONFLICT (id) DO UPDATE SET a = excluded.a;
INSERT INTO h VALUES (1, 1, 'conflict', NULL) ON CONFLICT DO NOTHING;
BEGIN;
SELECT id FROM h WHERE id < 500 FOR UPDATE;
SELECT id FROM h WHERE id < 700 FOR SHARE;
SELECT id FROM h WHERE id < 900 FOR KEY SHARE;
UPDATE h SET a = -1 WHERE id < 300;
COMMIT;
BEGIN;
SELECT id FROM h WHERE id BETWEEN 1000 AND 1500 FOR NO KEY UPDATE;
ROLLBACK;
VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) h;
UPDATE h SET a = a + 1 WHERE id % 11 = 0;
DELETE FROM h WHERE id > 15000;
BEGIN;
SELECT id FROM h WHERE id % 50 = 0 FOR UPDATE;
COMMIT;
VACUUM (TRUNCATE) h;
CREATE TABLE copied (LIKE h INCLUDING ALL);
\copy (SELECT * FROM h) TO '/tmp/neonfs-redo-copy.txt'
\copy copied FROM '/tmp/neonfs-redo-copy.txt'
\! rm -f /tmp/neonfs-redo-copy.txt
BEGIN;
TRUNCATE copied;
\o /dev/null
COPY h TO STDOUT;
\o
ROLLBACK;
INSERT INTO copied SELECT * FROM h ON CONFLICT DO NOTHING;
TRUNCATE copied RESTART IDENTITY;
CREATE TABLE frozen AS SELECT i AS id, repeat('f', i % 300) AS f FROM generate_series(1, 5000) i;
BEGIN;
CREATE TABLE copied_frozen (id int, f text);
\copy (SELECT * FROM frozen) TO '/tmp/neonfs-redo-frozen.txt'
\copy copied_frozen FROM '/tmp/neonfs-redo-frozen.txt' WITH (FREEZE)
\! rm -f /tmp/neonfs-redo-frozen.txt
COMMIT;
VACUUM copied_frozen;
UPDATE copied_frozen SET f = 'thawed' WHERE id % 13 = 0;
DELETE FROM copied_frozen WHERE id % 17 = 0;
SELECT id FROM copied_frozen WHERE id % 19 = 0 FOR UPDATE;
VACUUM copied_frozen;
ANALYZE;
CREATE TABLE no_index (id int, f text);
INSERT INTO no_index SELECT i, 'row ' || i FROM generate_series(1, 8000) i;
DELETE FROM no_index WHERE id % 2 = 0;
VACUUM no_index;
DELETE FROM no_index WHERE id > 4000;
VACUUM no_index;
-- Updates that move away and back, in one transaction and many.
DO $$ BEGIN FOR i IN 1..400 LOOP UPDATE h SET a = i WHERE id IN (1, 2, 3); END LOOP; END $$;
DO $$ BEGIN FOR i IN 1..200 LOOP UPDATE h SET a = i WHERE id IN (4, 5); COMMIT; END LOOP; END $$;
-- Large objects.
SELECT lo_from_bytea(0, decode(repeat('0123456789abcdef', 4000), 'hex')) FROM generate_series(1, 5);
SELECT lo_unlink(oid) FROM (SELECT oid FROM pg_largeobject_metadata LIMIT 2) l;
