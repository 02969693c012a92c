-- GiST: inserts in order and at random, splits, vacuum, page deletion, buffered build.
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
