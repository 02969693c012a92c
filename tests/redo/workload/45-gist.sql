-- More of GiST: builds of every kind, wide tuples that split a page into several, deep trees, pages deleted and used again, tuples killed by scans.
CREATE TABLE gist_build (id int, p point, c circle, doc tsvector, r tsrange);
INSERT INTO gist_build SELECT i, point(i * 7919 % 10007, i * 104729 % 10009), circle(point(i % 300, i % 700), i % 11),
	to_tsvector('simple', 'w' || i % 50 || ' v' || i % 700 || ' u' || i), tsrange(to_timestamp(i * 60)::timestamp, to_timestamp(i * 60 + i % 900)::timestamp)
	FROM generate_series(1, 8000) i;
CREATE INDEX gist_sorted ON gist_build USING gist (p); -- sorted from 14 on
CREATE INDEX gist_buffered ON gist_build USING gist (p) WITH (buffering = on, fillfactor = 50);
CREATE INDEX gist_plain ON gist_build USING gist (c) WITH (buffering = off);
CREATE INDEX gist_auto ON gist_build USING gist (r, p);
CREATE INDEX gist_doc ON gist_build USING gist (doc);
INSERT INTO gist_build SELECT id, point(id, -id), c, doc, r FROM gist_build WHERE id % 4 = 0;
UPDATE gist_build SET r = tsrange(lower(r), NULL), doc = doc || 'more' WHERE id % 6 = 0;
DELETE FROM gist_build WHERE id % 5 <> 0;
VACUUM gist_build;
REINDEX INDEX gist_plain;
-- Empty leaves are deleted, and taken again after a while.
CREATE TABLE gist_gone (id int, p point, e int4range, EXCLUDE USING gist (e WITH &&));
CREATE INDEX gist_gone_p ON gist_gone USING gist (p) WITH (buffering = off, fillfactor = 90);
INSERT INTO gist_gone SELECT i, point(i, i), int4range(2 * i, 2 * i + 1) FROM generate_series(1, 6000) i;
DELETE FROM gist_gone WHERE id BETWEEN 500 AND 5000;
VACUUM gist_gone;
SELECT txid_current(); SELECT txid_current(); SELECT txid_current();
VACUUM gist_gone;
INSERT INTO gist_gone SELECT i, point(i, -i), int4range(2 * i, 2 * i + 1) FROM generate_series(500, 5000) i;
DELETE FROM gist_gone;
VACUUM gist_gone;
INSERT INTO gist_gone SELECT i, point(-i, i), int4range(i, i + 1) FROM generate_series(1, 3000) i;
-- Killed tuples: a scan marks them, the next insert into the full page removes them.
CREATE TABLE gist_killed (id int, p point);
CREATE INDEX gist_killed_p ON gist_killed USING gist (p) WITH (buffering = off);
INSERT INTO gist_killed SELECT i, point(i % 70, i % 90) FROM generate_series(1, 9000) i;
DELETE FROM gist_killed WHERE id % 3 <> 0;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT count(*) FROM gist_killed WHERE p <@ box(point(-1, -1), point(100, 100));
SELECT count(*) FROM gist_killed WHERE p <@ box(point(-1, -1), point(100, 100));
RESET enable_seqscan;
RESET enable_bitmapscan;
INSERT INTO gist_killed SELECT i, point(i % 70, i % 90) FROM generate_series(1, 6000) i;
-- Wide tuples: few a page, trees of many levels, splits into more than two pages.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE EXTENSION IF NOT EXISTS cube;
CREATE TABLE gist_wide (id int, t text, c cube, doc tsvector);
CREATE INDEX gist_wide_doc ON gist_wide USING gist (doc tsvector_ops (siglen = 2000));
CREATE INDEX gist_wide_t ON gist_wide USING gist (t gist_trgm_ops (siglen = 1500));
CREATE INDEX gist_wide_c ON gist_wide USING gist (c);
CREATE INDEX gist_wide_id ON gist_wide USING gist (id, t);
INSERT INTO gist_wide SELECT i, repeat(md5(i::text), i % 6 + 1), cube(array(SELECT (i * j % 1009)::float8 FROM generate_series(1, 40 + i % 40) j)),
	to_tsvector('simple', (SELECT string_agg('w' || i * j % 5003, ' ') FROM generate_series(1, 60) j)) FROM generate_series(1, 2000) i;
INSERT INTO gist_wide (id, doc) SELECT i, to_tsvector('simple', (SELECT string_agg('x' || i * j % 5003, ' ') FROM generate_series(1, 1 + i % 200) j))
	FROM generate_series(1, 800) i;
DELETE FROM gist_wide WHERE id % 3 = 0;
VACUUM gist_wide;
INSERT INTO gist_wide SELECT i, md5(i::text), NULL, NULL FROM generate_series(1, 1500) i;
DELETE FROM gist_wide WHERE id > 300;
VACUUM gist_wide;
-- The first of many children: the root splits while small.
CREATE TABLE gist_root (b box);
CREATE INDEX gist_root_b ON gist_root USING gist (b);
INSERT INTO gist_root SELECT box(point(i, i), point(i + 1, i + 1)) FROM generate_series(1, 150) i;
DELETE FROM gist_root;
VACUUM gist_root;
INSERT INTO gist_root SELECT box(point(i, 0), point(0, i)) FROM generate_series(1, 400) i;
