-- SP-GiST: inserts, splits of leaves and of inner tuples, vacuum with dead, redirect and placeholder tuples, nulls, all operator classes.
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
-- While the root is a leaf: its tuples are deleted outright, among nulls and others.
CREATE TABLE sp_small (p point, t text);
CREATE INDEX sp_small_p ON sp_small USING spgist (p);
CREATE INDEX sp_small_t ON sp_small USING spgist (t);
DO $$ BEGIN FOR i IN 1..12 LOOP
	INSERT INTO sp_small SELECT CASE WHEN g % 4 > 0 THEN point(g, i) END, CASE WHEN g % 5 > 0 THEN 't' || g END FROM generate_series(1, 30) g;
	COMMIT; END LOOP; END $$;
DELETE FROM sp_small WHERE p[0]::int % 3 = 0 OR t LIKE '%7';
VACUUM sp_small;
INSERT INTO sp_small SELECT point(g, -g), NULL FROM generate_series(1, 20) g;
DELETE FROM sp_small;
VACUUM sp_small;
-- Columns that are only included (14 and later), with nulls among them; boxes and polygons.
CREATE TABLE sp_more (id int, b box, g polygon, t text, n inet);
CREATE INDEX sp_more_b ON sp_more USING spgist (b) INCLUDE (id, t);
CREATE INDEX sp_more_g ON sp_more USING spgist (g);
CREATE INDEX sp_more_n ON sp_more USING spgist (n) WITH (fillfactor = 30);
CREATE INDEX sp_more_t ON sp_more USING spgist (t) INCLUDE (n);
INSERT INTO sp_more SELECT i, box(point(i % 300, i % 70), point(i % 300 + 3, i % 90 + 100)),
	polygon(box(point(i % 40, i), point(i % 40 + 2, i + 5))), CASE WHEN i % 3 = 0 THEN md5(i::text) END,
	CASE WHEN i % 4 > 0 THEN ('2001:db8:' || to_hex(i % 900) || '::' || to_hex(i))::inet END FROM generate_series(1, 5000) i;
DO $$ BEGIN FOR i IN 1..15 LOOP
	DELETE FROM sp_more WHERE id % 15 = i % 15;
	INSERT INTO sp_more SELECT g, box(point(g, i), point(g + i, i)), NULL, 'again ' || g || repeat('-', i), '10.1.1.1' FROM generate_series(1, 300) g;
	COMMIT; END LOOP; END $$;
VACUUM sp_more;
-- Leaves are emptied and refilled again and again: dead heads of chains are replaced, redirects of old transactions become placeholders.
CREATE TABLE sp_churn (id int, p point, t text);
CREATE INDEX sp_churn_quad ON sp_churn USING spgist (p);
CREATE INDEX sp_churn_kd ON sp_churn USING spgist (p kd_point_ops);
CREATE INDEX sp_churn_t ON sp_churn USING spgist (t);
INSERT INTO sp_churn SELECT i, point((i * 7919) % 1000, (i * 104729) % 1000), md5((i % 500)::text) || i FROM generate_series(1, 6000) i;
DELETE FROM sp_churn WHERE id % 10 > 1;
VACUUM sp_churn;
INSERT INTO sp_churn SELECT i, point((i * 7919) % 1000, (i * 104729) % 997), md5((i % 500)::text) || -i FROM generate_series(1, 5000) i;
DELETE FROM sp_churn WHERE p <@ box(point(0, 0), point(500, 1000)) OR t < '8';
VACUUM sp_churn;
INSERT INTO sp_churn SELECT i, point(i % 333, i % 777), md5((i % 700)::text) FROM generate_series(1, 6000) i;
DELETE FROM sp_churn WHERE id % 2 = 0;
VACUUM sp_churn;
VACUUM sp_churn;
INSERT INTO sp_churn SELECT i, point(500 + i % 3, 500 + i % 5), 'x' FROM generate_series(1, 3000) i;
