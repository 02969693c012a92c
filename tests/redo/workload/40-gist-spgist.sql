-- GiST and SP-GiST: inserts in order and at random, splits, vacuum, page deletion, buffered build.
CREATE TABLE gs (id int, p point, b box, r int4range, n inet);
CREATE INDEX gs_p ON gs USING gist (p) WITH (buffering = off);
CREATE INDEX gs_b ON gs USING gist (b);
CREATE INDEX gs_r ON gs USING gist (r);
CREATE INDEX gs_n ON gs USING gist (n inet_ops);
INSERT INTO gs SELECT i, point(i % 100, i / 100), box(point(i % 100, i), point(i % 100 + 5, i + 5)), int4range(i, i + i % 50 + 1),
	('10.' || i % 200 || '.' || i % 150 || '.' || i % 250)::inet FROM generate_series(1, 10000) i;
INSERT INTO gs SELECT i, point(random() * 1000, random() * 1000), box(point(random(), random()), point(random(), random())),
	int4range((random() * 1000)::int, 2000), '192.168.0.1' FROM generate_series(1, 6000) i;
UPDATE gs SET p = point(id, id) WHERE id % 9 = 0;
DELETE FROM gs WHERE id % 3 = 0;
VACUUM gs;
DELETE FROM gs WHERE id < 9000;
VACUUM gs;
VACUUM gs;
INSERT INTO gs SELECT i, point(i, i), box(point(i, i), point(i + 1, i + 1)), int4range(i, i + 1), '10.0.0.1' FROM generate_series(1, 5000) i;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
DELETE FROM gs WHERE p <@ box(point(0, 0), point(3000, 3000));
SELECT count(*) FROM gs WHERE p <@ box(point(0, 0), point(3000, 3000));
SELECT count(*) FROM gs WHERE p <@ box(point(0, 0), point(3000, 3000));
INSERT INTO gs SELECT i, point(i, i), NULL, NULL, NULL FROM generate_series(1, 3000) i;
RESET ALL;
CREATE INDEX gs_buffered ON gs USING gist (r) WITH (buffering = on);
CREATE TABLE sp (id int, p point, t text, r int4range, n inet);
CREATE INDEX sp_quad ON sp USING spgist (p);
CREATE INDEX sp_kd ON sp USING spgist (p kd_point_ops);
CREATE INDEX sp_t ON sp USING spgist (t);
CREATE INDEX sp_r ON sp USING spgist (r);
CREATE INDEX sp_n ON sp USING spgist (n);
INSERT INTO sp SELECT i, point(i % 100, i / 100), 'prefix/' || md5(i::text), int4range(i, i + i % 70 + 1),
	('10.' || i % 200 || '.' || i % 150 || '.' || i % 250)::inet FROM generate_series(1, 10000) i;
INSERT INTO sp SELECT i, point(random() * 1000, random() * 1000), repeat('abc', i % 200) || i, int4range(1, i + 2), NULL
	FROM generate_series(1, 4000) i;
INSERT INTO sp SELECT i, point(1, 1), 'same', 'empty', '1.2.3.4' FROM generate_series(1, 2000) i;
INSERT INTO sp SELECT i, NULL, NULL, NULL, NULL FROM generate_series(1, 2000) i;
DELETE FROM sp WHERE id % 3 = 0;
VACUUM sp;
DELETE FROM sp WHERE t = 'same' OR t IS NULL;
VACUUM sp;
UPDATE sp SET t = 'moved/' || t, p = point(id, -id) WHERE id % 4 = 0;
DELETE FROM sp;
VACUUM sp;
VACUUM sp;
INSERT INTO sp SELECT i, point(i, i), chr(60 + i % 60) || i, NULL, NULL FROM generate_series(1, 6000) i;
VACUUM sp;
-- A text radix tree that must split a prefix, and widen a node.
CREATE TABLE radix (t text COLLATE "C");
CREATE INDEX radix_t ON radix USING spgist (t);
INSERT INTO radix SELECT 'commonprefix' || i FROM generate_series(1, 2000) i;
INSERT INTO radix SELECT 'common' || i FROM generate_series(1, 200) i;
INSERT INTO radix SELECT 'com' || chr(33 + i % 90) || chr(33 + i / 90) || i FROM generate_series(1, 4000) i;
INSERT INTO radix SELECT chr(c) || repeat('z', n) FROM generate_series(33, 126) c, generate_series(1, 40) n;
DELETE FROM radix WHERE length(t) % 2 = 0;
VACUUM radix;
INSERT INTO radix SELECT chr(c) || repeat('y', n) FROM generate_series(33, 126) c, generate_series(1, 40) n;
VACUUM radix;
