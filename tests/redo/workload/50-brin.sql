-- BRIN: summaries that grow in place and that move, the range map extended over heap growth, desummarising. Bloom and minmax_multi: 14 and later.
CREATE TABLE br (id int, t timestamptz, v text, f float8) WITH (fillfactor = 15);
CREATE INDEX br_minmax ON br USING brin (id, t) WITH (pages_per_range = 1, autosummarize = on);
CREATE INDEX br_bloom ON br USING brin (v text_bloom_ops) WITH (pages_per_range = 2);
CREATE INDEX br_multi ON br USING brin (f float8_minmax_multi_ops) WITH (pages_per_range = 1);
CREATE INDEX br_text ON br USING brin (v) WITH (pages_per_range = 1);
INSERT INTO br SELECT i, '2026-01-01'::timestamptz + i * interval '1 minute', md5(i::text), random() FROM generate_series(1, 20000) i;
SELECT brin_summarize_new_values(indexrelid) FROM pg_index WHERE indrelid = 'br'::regclass;
UPDATE br SET id = id + 1000000, v = repeat(v, 1 + id % 40) WHERE id % 5 = 0;
INSERT INTO br SELECT i, now(), repeat(md5(i::text), 1 + i % 30), random() * 1e9 FROM generate_series(1, 3000) i;
DELETE FROM br WHERE id % 2 = 0;
VACUUM br;
SELECT brin_desummarize_range('br_minmax', g) FROM generate_series(0, 200, 2) g;
SELECT brin_desummarize_range('br_text', g) FROM generate_series(0, 200, 3) g;
INSERT INTO br SELECT i, now(), 'v' || i, i FROM generate_series(1, 5000) i;
SELECT brin_summarize_range('br_minmax', 4);
VACUUM br;
REINDEX INDEX br_multi;
-- More than one page of the range map: over 1360 ranges of one page.
CREATE TABLE br_long (id int, pad text);
ALTER TABLE br_long ALTER pad SET STORAGE plain;
CREATE INDEX br_long_id ON br_long USING brin (id) WITH (pages_per_range = 1);
INSERT INTO br_long SELECT i, repeat('p', 2500) FROM generate_series(1, 9000) i;
SELECT brin_summarize_new_values('br_long_id');
-- Ranges, addresses and boxes by inclusion; several columns in one summary, which outgrows its page; nulls.
CREATE TABLE br_more (id int, r int4range, n inet, b box, u uuid, num numeric, t text) WITH (fillfactor = 20);
CREATE INDEX br_more_inclusion ON br_more USING brin (r, n inet_inclusion_ops, b) WITH (pages_per_range = 1);
CREATE INDEX br_more_minmax ON br_more USING brin (u, num, t) WITH (pages_per_range = 1);
CREATE INDEX br_more_multi ON br_more USING brin (u uuid_minmax_multi_ops, num numeric_minmax_multi_ops, id int4_minmax_multi_ops)
	WITH (pages_per_range = 2);
CREATE INDEX br_more_bloom ON br_more USING brin (u uuid_bloom_ops, num numeric_bloom_ops) WITH (pages_per_range = 4);
INSERT INTO br_more SELECT i, int4range(i, i + i % 9), ('10.0.' || i % 200 || '.' || i % 250)::inet, box(point(i, i), point(i + 1, i + 2)),
	md5(i::text)::uuid, i::numeric / 7, repeat('t', i % 50) FROM generate_series(1, 6000) i;
SELECT brin_summarize_new_values(indexrelid) FROM pg_index WHERE indrelid = 'br_more'::regclass;
INSERT INTO br_more (id, t) SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 1500) i;
UPDATE br_more SET r = '[1,1000000)', n = '2001:db8::1', num = 1e100 / id, t = repeat(md5(id::text), 10) WHERE id % 7 = 0;
UPDATE br_more SET b = box(point(-id, id), point(0, 1e6)), u = NULL, t = repeat(md5(id::text), 30) WHERE id % 11 = 0;
VACUUM br_more;
SELECT brin_desummarize_range(indexrelid, g) FROM pg_index, generate_series(0, 300, 3) g WHERE indrelid = 'br_more'::regclass;
INSERT INTO br_more SELECT i, 'empty', '::1', NULL, NULL, -i, 'last' FROM generate_series(1, 3000) i;
VACUUM br_more;
DELETE FROM br_more WHERE id > 100;
VACUUM br_more;
