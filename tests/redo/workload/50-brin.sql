-- BRIN: summaries that grow in place and that move, the range map extended over heap growth, desummarising.
CREATE TABLE br (id int, t timestamptz, v text, f float8) WITH (fillfactor = 15);
CREATE INDEX br_minmax ON br USING brin (id, t) WITH (pages_per_range = 1, autosummarize = on);
CREATE INDEX br_bloom ON br USING brin (v text_bloom_ops) WITH (pages_per_range = 2);
CREATE INDEX br_multi ON br USING brin (f float8_minmax_multi_ops) WITH (pages_per_range = 1);
CREATE INDEX br_text ON br USING brin (v) WITH (pages_per_range = 1);
INSERT INTO br SELECT i, '2026-01-01'::timestamptz + i * interval '1 minute', md5(i::text), random() FROM generate_series(1, 20000) i;
SELECT brin_summarize_new_values('br_minmax'), brin_summarize_new_values('br_bloom'), brin_summarize_new_values('br_multi'),
	brin_summarize_new_values('br_text');
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
