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
