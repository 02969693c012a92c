-- GIN: entry tree, posting trees with compressed leaves, the pending list, vacuum of lists, leaves and whole pages.
CREATE TABLE gi (id int, tags int[], doc tsvector, js jsonb);
CREATE INDEX gi_tags ON gi USING gin (tags) WITH (fastupdate = off);
CREATE INDEX gi_doc ON gi USING gin (doc) WITH (fastupdate = on, gin_pending_list_limit = 64);
CREATE INDEX gi_js ON gi USING gin (js jsonb_path_ops);
INSERT INTO gi SELECT i, ARRAY[i % 5, i % 50, i % 500, i], to_tsvector('simple', 'w' || i % 20 || ' v' || i % 300 || ' u' || i),
	jsonb_build_object('a', i % 10, 'b', md5(i::text)) FROM generate_series(1, 12000) i;
UPDATE gi SET tags = tags || 1000000 + id WHERE id % 7 = 0;
DELETE FROM gi WHERE id % 3 = 0;
VACUUM gi;
INSERT INTO gi SELECT i, ARRAY[1, 2, 3], to_tsvector('simple', 'w1 w2 w3'), '{"a": 1}' FROM generate_series(1, 12000) i;
DELETE FROM gi WHERE tags @> ARRAY[1, 2, 3];
VACUUM gi;
VACUUM gi;
INSERT INTO gi SELECT i, ARRAY[i % 2], NULL, NULL FROM generate_series(1, 30000) i;
SELECT gin_clean_pending_list('gi_doc');
DELETE FROM gi WHERE id BETWEEN 2000 AND 28000;
VACUUM gi;
VACUUM gi;
INSERT INTO gi SELECT (random() * 30000)::int, ARRAY[i % 2, i % 3 + 10], to_tsvector('simple', repeat('long' || i || ' ', 50)), NULL
	FROM generate_series(1, 6000) i;
VACUUM gi;
DROP INDEX gi_tags;
CREATE INDEX gi_tags2 ON gi USING gin (tags);
INSERT INTO gi SELECT i, ARRAY[i, i + 1, i + 2], NULL, NULL FROM generate_series(1, 2000) i;
-- Long keys, a handful a page: an entry tree of several levels, whose inner pages split too.
CREATE TABLE gin_long (id int, keys text[]);
CREATE INDEX gin_long_keys ON gin_long USING gin (keys) WITH (fastupdate = off);
INSERT INTO gin_long SELECT i, ARRAY[(SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 55) j)]
	FROM generate_series(1, 600) i;
INSERT INTO gin_long SELECT i, ARRAY[(SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 20 + i % 30) j), 'short' || i % 7]
	FROM generate_series(1, 900) i;
DELETE FROM gin_long WHERE id % 4 = 0;
VACUUM gin_long;
-- One key in every row: a posting tree that grows in order, at random places and by many TIDs at once, and loses whole pages.
CREATE TABLE gin_one (id int, keys int[], pad text) WITH (fillfactor = 50);
CREATE INDEX gin_one_keys ON gin_one USING gin (keys) WITH (fastupdate = off);
CREATE INDEX gin_one_lists ON gin_one USING gin (keys) WITH (fastupdate = on, gin_pending_list_limit = 2048);
INSERT INTO gin_one SELECT i, ARRAY[1, i % 3 + 10], repeat('x', i % 40) FROM generate_series(1, 30000) i;
DELETE FROM gin_one WHERE id % 2 = 0 OR id BETWEEN 10000 AND 12000;
VACUUM gin_one;
INSERT INTO gin_one SELECT i, ARRAY[1, i % 3 + 10], NULL FROM generate_series(1, 15000) i; -- into the gaps
UPDATE gin_one SET keys = keys || 10 WHERE id % 5 = 0;
SELECT gin_clean_pending_list('gin_one_lists');
DELETE FROM gin_one WHERE id > 5000;
VACUUM gin_one;
INSERT INTO gin_one SELECT i, ARRAY[1, 2], NULL FROM generate_series(1, 15000) i;
DELETE FROM gin_one;
VACUUM gin_one;
INSERT INTO gin_one SELECT i, ARRAY[1, i], NULL FROM generate_series(1, 3000) i;
VACUUM gin_one;
-- Pages that were deleted are taken again; an index built in several rounds for want of memory; two columns; nulls and empty arrays.
SET maintenance_work_mem = '1MB';
CREATE INDEX gin_rounds ON gi USING gin (tags, doc);
RESET maintenance_work_mem;
INSERT INTO gi SELECT i, CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN '{}' WHEN 2 THEN '{NULL}' ELSE ARRAY[i % 9] END, NULL, '{}'
	FROM generate_series(1, 2000) i;
VACUUM gi;
-- Operator classes of extensions, where they are installed.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS btree_gin;
CREATE TABLE gin_ext (id int, t text);
CREATE INDEX gin_ext_t ON gin_ext USING gin (t gin_trgm_ops) WITH (fastupdate = off);
CREATE INDEX gin_ext_id ON gin_ext USING gin (id, t);
INSERT INTO gin_ext SELECT i, 'row ' || i % 100 || md5(i::text) FROM generate_series(1, 3000) i;
DELETE FROM gin_ext WHERE id % 3 = 0;
VACUUM gin_ext;
REINDEX TABLE gin_ext;
