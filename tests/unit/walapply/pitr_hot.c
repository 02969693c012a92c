/* Images of hot pages: made of full segments, put together, let go; and what layers make with them. */
#include "pitr_server.h"

#include <stdlib.h>
#include <unistd.h>

#include "walapply/pitr/lazy_make.h"
#include "walapply/pitr/wa_lazy.h"

#define LATER 7u /* made in one segment, hot in the next */
#define AT_ONCE 8u /* hot where it is made */
#define FEW 9u

static void put_image(struct server *server, uint32_t blkno)
{
	uint8_t page[WA_PAGE_SIZE];
	const struct wa_locator rel = REL_A;
	struct rec rec;
	memset(page, (int)('A' + blkno), sizeof(page));
	memset(page, 0, 24);
	page[12] = 0xE8, page[13] = 3, page[14] = 0xD0, page[15] = 7, page[16] = 0, page[17] = 32, page[18] = 4, page[19] = 32;
	const struct rec_image image = {.bits = 2, .bytes = page, .size = WA_PAGE_SIZE};
	rec_start(&rec, WA_RMGR_XLOG, 0xB0, 0);
	rec_block_image(&rec, 0, &rel, 0, blkno, &image, NULL, 0);
	uint64_t start = wal_put(&server->wal, &rec);
	server_note(server, start, 0);
}

static void put_changes(struct server *server, uint32_t blkno, unsigned count)
{
	const struct wa_locator rel = REL_A;
	for (unsigned i = 0; i < count; i++) {
		uint16_t at = htole16((uint16_t)(3000 + server->records % 5000));
		uint8_t delta[5] = {0, 0, 1, 0, (uint8_t)server->records};
		struct rec rec;
		memcpy(delta, &at, 2);
		rec_start(&rec, WA_RMGR_GENERIC, 0, 0);
		rec_block(&rec, 0, &rel, 0, blkno, delta, sizeof(delta));
		uint64_t start = wal_put(&server->wal, &rec);
		server_note(server, start, 0);
	}
}

static void put_cut(struct server *server)
{
	const uint32_t words[] = {htole32(LATER), htole32(1663), htole32(5), htole32(16384), htole32(7)};
	const struct wa_locator rel = REL_A;
	struct rec rec;
	assert_true(rel.spc == 1663 && rel.db == 5 && rel.rel == 16384);
	rec_start(&rec, WA_RMGR_SMGR, 0x20, 0);
	rec_main(&rec, words, sizeof(words));
	uint64_t start = wal_put(&server->wal, &rec);
	server_note(server, start, 0);
}

/* Up to the next segment, which is begun. */
static void end_segment(struct server *server)
{
	const uint64_t end = server->wal.at / SEGMENT * SEGMENT + SEGMENT;
	while (server->wal.at < end + 4096)
		server_put(server, 20000);
	server_put_commit(server, server->records * SECOND);
	server_flush(server);
	server_catch_up(server);
}

/* The history's own thread does the same. */
static void make_all(struct server *server)
{
	while (wh_images_next(wh_find(server->history, server_main(server))) == 1)
		;
}

static unsigned images_of(struct server *server, const char *name, uint32_t blkno)
{
	struct bd_inode *file = server_history_path(server, WH_IMAGES, name);
	struct wa_images images;
	struct wa_error error;
	uint8_t *bytes;
	size_t size;
	unsigned count = 0;
	if (file == NULL)
		return 0;
	assert_ok(wh_read(file, SEGMENT, &bytes, &size));
	assert_ok(wa_images_open(bytes, size, size, &images, &error));
	for (uint32_t i = 0; i < images.count; i++)
		count += wa_images_at(&images, i).image.block.blkno == blkno;
	free(bytes);
	bd_inode_unref(file, 1);
	return count;
}

static unsigned images_in(struct server *server, uint64_t first, uint32_t segments, uint32_t blkno)
{
	char name[WH_RUN_NAME + 1];
	wh_run_name(name, server->wal.timeline, (struct wa_run){first, segments}, SEGMENT);
	return images_of(server, name, blkno);
}

/* From the segment that is under way on: three segments with records of hot pages. Returns its number. */
static uint64_t heat(struct server *server)
{
	uint64_t first = server->wal.at / SEGMENT;
	put_image(server, LATER);
	put_image(server, FEW);
	put_changes(server, LATER, 5);
	end_segment(server);
	put_changes(server, LATER, 600);
	put_changes(server, FEW, 15);
	put_image(server, AT_ONCE);
	put_changes(server, AT_ONCE, 300);
	end_segment(server);
	put_changes(server, AT_ONCE, 900);
	put_changes(server, LATER, 500);
	end_segment(server);
	return first;
}

static void hot_pages_get_images(void **state)
{
	struct server *server = *state;
	unsigned files;
	server_retain(server, 86400, 0);
	end_segment(server);
	uint64_t first = heat(server);
	make_all(server);
	assert_int_equal(images_in(server, first, 1, LATER), 0);
	assert_int_equal(images_in(server, first + 1, 1, LATER), 1);
	assert_int_equal(images_in(server, first + 1, 1, AT_ONCE), 0);
	assert_int_equal(images_in(server, first + 2, 1, AT_ONCE), 2);
	assert_int_equal(images_in(server, first + 2, 1, LATER), 1);
	assert_int_equal(images_in(server, first + 1, 1, FEW) + images_in(server, first + 2, 1, FEW), 0);
	/* A relation that is cut: the row ends, for all of its blocks. */
	put_changes(server, AT_ONCE, 100);
	put_cut(server);
	end_segment(server);
	put_changes(server, AT_ONCE, 900);
	end_segment(server);
	make_all(server);
	assert_int_equal(images_in(server, first + 3, 1, AT_ONCE), 0);
	assert_int_equal(images_in(server, first + 4, 1, AT_ONCE), 0);
	/* Eight segments from a multiple of eight on get one file. */
	while (server->wal.at / SEGMENT <= 8)
		end_segment(server);
	uint64_t again = heat(server);
	assert_true(again / 8 == (again + 2) / 8);
	while (server->wal.at / SEGMENT <= 17)
		end_segment(server);
	make_all(server);
	assert_int_equal(images_in(server, 8, 8, AT_ONCE), 2);
	assert_int_equal(images_in(server, 8, 8, LATER), 2);
	assert_int_equal(images_in(server, again + 1, 1, LATER), 0);
	/* They count as indexes do. */
	uint64_t all = server_bytes_in(server, "index", &files) + server_bytes_in(server, "summary", &files);
	all += server_bytes_in(server, WH_IMAGES, &files);
	assert_int_equal(files, 2);
	while (wh_merge_next(wh_find(server->history, server_main(server))) == 1)
		;
	all += server_bytes_in(server, "merged", &files);
	assert_int_equal(server_catch_up(server).index_bytes, all);
	/* And go with the segments. */
	server_retain(server, 0, 3 * SEGMENT);
	for (unsigned i = 0; i < 4; i++) {
		end_segment(server);
		server_checkpoint(server);
	}
	for (unsigned i = 0; i < 6; i++)
		end_segment(server);
	assert_int_equal(server_bytes_in(server, WH_IMAGES, &files), 0);
}

struct scene {
	struct wa_lazy *lazy;
	struct wa_lazy_layer *layer;
	struct wa_range range;
	struct lz_indexes indexes;
};

static void scene_begin(struct scene *scene, struct server *server, uint64_t first)
{
	struct wa_base base;
	const struct nf_lsn to = {server->ends[server->records - 3]};
	server_expect(wa_history_base(server->history, server_main(server), (struct nf_lsn){first}, &base, server->message, 512),
		      server);
	const struct wa_lazy_base from = {.view = base.view,
					  .source = server_main(server),
					  .redo = base.redo,
					  .written = base.written,
					  .timeline = base.timeline};
	assert_ok(wa_lazy_open(server->api->store, &scene->lazy));
	server_expect(wa_lazy_begin(scene->lazy, &from, to, &scene->layer, server->message, 512), server);
	struct wa_lazy_layer *layer = scene->layer;
	assert_ok(lz_indexes_open_tables(&scene->indexes, &layer->plan, &layer->log, layer->index, true));
	scene->range = lz_range(&layer->plan, &scene->indexes, &layer->log);
}

static void scene_end(struct scene *scene)
{
	lz_indexes_free(&scene->indexes);
	wa_lazy_end(scene->layer, false);
	wa_lazy_stop(scene->lazy);
	wa_lazy_close(scene->lazy);
}

/* The block with and without images, at the end of the range and at points before it. Returns the records gone through at the end. */
static unsigned expect_same(struct scene *scene, struct lz_images *images, struct server *server, uint32_t blkno)
{
	const struct wa_block block = {.rel = REL_A, .blkno = blkno};
	const uint64_t end = scene->layer->plan.to.v;
	struct wa_range range = scene->range;
	unsigned records = 0;
	for (unsigned i = 3; i < server->records && server->ends[i] <= end; i += server->ends[i] + 97 * 20000 < end ? 97 : 1) {
		uint8_t plain[WA_PAGE_SIZE] = {0}, page[WA_PAGE_SIZE] = {0};
		struct wa_error error;
		if (server->ends[i] <= range.from.v)
			continue;
		range.to.v = server->ends[i];
		range.image = NULL;
		int status = wa_materialise(&range, &block, plain, NULL, &error);
		range.image = lz_images_find;
		range.image_arg = images;
		assert_int_equal(wa_materialise(&range, &block, page, &records, &error), status);
		if (status >= 0)
			assert_memory_equal(page, plain, WA_PAGE_SIZE);
	}
	return records;
}

/* A change of bytes in a file that the layer has, which is history's too. */
static void damage(struct scene *scene, const char *name, size_t from, size_t to)
{
	uint8_t byte = 0xA5;
	struct bd_inode *dir = api_lookup(scene->layer->dir, WH_IMAGES), *file = api_lookup(dir, name);
	for (size_t at = from; at < to && at < api_attr(file).size_bytes; at++)
		assert_ok(bd_write(file, at, &byte, 1, 0));
	bd_inode_unref(file, 1);
	bd_inode_unref(dir, 1);
}

static void layers_use_images(void **state)
{
	struct server *server = *state;
	struct scene scene;
	struct lz_images images;
	char name[WH_RUN_NAME + 1];
	server_retain(server, 86400, 0);
	const uint64_t earliest = server_catch_up(server).earliest.v;
	while (server->wal.at / SEGMENT <= 8) /* nothing is put together behind the next ones */
		end_segment(server);
	uint64_t first = heat(server);
	put_changes(server, LATER, 70);
	put_changes(server, AT_ONCE, 40);
	end_segment(server);
	make_all(server);
	assert_int_equal(images_in(server, first + 1, 1, LATER), 1);
	scene_begin(&scene, server, earliest);
	lz_images_open(&images, &scene.layer->plan, scene.layer->dir);
	/* 1 + 5 + 600 + 500 + 70 records, the second image behind 1024; 1 + 300 + 900 + 40, behind 1024 */
	assert_int_equal(expect_same(&scene, &images, server, LATER), 1176 - 1024);
	assert_int_equal(expect_same(&scene, &images, server, AT_ONCE), 1241 - 1024);
	assert_int_equal(expect_same(&scene, &images, server, FEW), 16);
	assert_true(images.used > 0 && images.count == 2);
	lz_images_close(&images);
	/* The newest file is damaged where its images are: all records then. */
	wh_run_name(name, server->wal.timeline, (struct wa_run){first + 2, 1}, SEGMENT);
	damage(&scene, name, WA_IMAGES_HEADER + 56 * 3, SEGMENT);
	lz_images_open(&images, &scene.layer->plan, scene.layer->dir);
	assert_int_equal(expect_same(&scene, &images, server, LATER), 1176);
	assert_int_equal(images.count, 2);
	lz_images_close(&images);
	/* In its table: it is not used, the older one is. */
	damage(&scene, name, WA_IMAGES_HEADER + 20, WA_IMAGES_HEADER + 21);
	lz_images_open(&images, &scene.layer->plan, scene.layer->dir);
	assert_int_equal(expect_same(&scene, &images, server, LATER), 1176 - 512);
	assert_int_equal(images.count, 1);
	lz_images_close(&images);
	/* Cut in its table. */
	struct bd_inode *dir = api_lookup(scene.layer->dir, WH_IMAGES), *file = api_lookup(dir, name);
	api_set_size(file, WA_IMAGES_HEADER + 60);
	bd_inode_unref(file, 1);
	bd_inode_unref(dir, 1);
	lz_images_open(&images, &scene.layer->plan, scene.layer->dir);
	assert_int_equal(expect_same(&scene, &images, server, LATER), 1176 - 512);
	assert_int_equal(images.count, 1);
	lz_images_close(&images);
	/* Of pages that look otherwise. */
	scene.layer->plan.version.log_hints = !scene.layer->plan.version.log_hints;
	lz_images_open(&images, &scene.layer->plan, scene.layer->dir);
	assert_int_equal(expect_same(&scene, &images, server, LATER), 1176);
	assert_int_equal(images.count, 0);
	lz_images_close(&images);
	scene_end(&scene);
}

/* A history that begins again has nothing of the last one; one whose daemon ended goes on with what comes. */
static void chains_break(void **state)
{
	struct server *server = *state;
	unsigned files;
	server_retain(server, 86400, 0);
	while (server->wal.at / SEGMENT <= 8)
		end_segment(server);
	uint64_t first = heat(server);
	make_all(server);
	server_close_history(server);
	api_reopen(server->api);
	server_open_history(server);
	put_changes(server, AT_ONCE, 900); /* their beginning is not known any more */
	put_image(server, LATER);
	put_changes(server, LATER, 600);
	end_segment(server);
	make_all(server);
	assert_int_equal(images_in(server, first + 3, 1, AT_ONCE), 0);
	assert_int_equal(images_in(server, first + 3, 1, LATER), 1);
	/* Again, from the very segment that comes next. */
	assert_true(server_bytes_in(server, WH_IMAGES, &files) > 0);
	server_retain(server, 0, 0);
	server_checkpoint(server);
	server_retain(server, 86400, 0);
	server_catch_up(server);
	assert_int_equal(server_bytes_in(server, WH_IMAGES, &files), 0);
	put_changes(server, LATER, 900);
	end_segment(server);
	make_all(server);
	assert_int_equal(server_bytes_in(server, WH_IMAGES, &files), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		server_test(hot_pages_get_images),
		server_test(layers_use_images),
		server_test(chains_break),
	};

	return cmocka_run_group_tests_name("pitr_hot", tests, NULL, NULL);
}
