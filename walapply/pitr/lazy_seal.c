/* A layer is sealed: which blocks the WAL touches, of which files of the prepared branch, and all of it kept durably. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "walapply/pitr/lazy_make.h"

#define SPC_DEFAULT 1663u
#define SPC_GLOBAL 1664u

/* Blocks of one relation's segment file, as they are named. */
struct touched {
	struct wa_block first; /* key */
	uint64_t *bits;
	uint32_t words, blocks;
	UT_hash_handle hh;
};

struct collecting {
	const struct wa_lazy_layer *layer;
	struct touched *all, *last;
};

/* The relation's segment file that the block is in. */
static int find_touched(struct collecting *collecting, const struct wa_block *block, struct touched **ret_touched)
{
	struct wa_block first = *block;
	first.blkno -= block->blkno % collecting->layer->segment_blocks;
	struct touched *touched = collecting->last;
	if (touched == NULL || memcmp(&touched->first, &first, sizeof(first)) != 0)
		HASH_FIND(hh, collecting->all, &first, sizeof(first), touched);
	if (touched == NULL) {
		touched = calloc(1, sizeof(*touched));
		if (touched == NULL)
			return -ENOMEM;
		touched->first = first;
		HASH_ADD(hh, collecting->all, first, sizeof(touched->first), touched);
	}
	collecting->last = touched;
	*ret_touched = touched;
	return 0;
}

static int grow(struct touched *touched, uint32_t block)
{
	uint32_t need = block / 64 + 1;
	if (need > touched->words) {
		uint32_t words = NF_MAX(need, touched->words * 2);
		uint64_t *bits = realloc(touched->bits, words * sizeof(*bits));
		if (bits == NULL)
			return -ENOMEM;
		memset(bits + touched->words, 0, (words - touched->words) * sizeof(*bits));
		touched->bits = bits;
		touched->words = words;
	}
	touched->blocks = NF_MAX(touched->blocks, block + 1);
	return 0;
}

static int collect(void *arg, const struct wa_block *block)
{
	struct collecting *collecting = arg;
	struct touched *touched;
	uint32_t inside = block->blkno % collecting->layer->segment_blocks;
	int error = find_touched(collecting, block, &touched);
	if (error == 0)
		error = grow(touched, inside);
	if (error == 0)
		touched->bits[inside / 64] |= UINT64_C(1) << inside % 64;
	return error;
}

/* A chunk of a summary. Files hold whole chunks, in any Postgres that is built as usual; else block by block. */
static int collect_chunk(void *arg, const struct wa_block *first, const uint64_t words[WA_SUMMARY_WORDS])
{
	struct collecting *collecting = arg;
	bool is_whole = collecting->layer->segment_blocks % WA_SUMMARY_CHUNK == 0;
	uint32_t inside = first->blkno % collecting->layer->segment_blocks;
	struct touched *touched;
	int error = find_touched(collecting, first, &touched);
	for (uint32_t i = 0; i < WA_SUMMARY_WORDS && error == 0; i++) {
		uint64_t word = words[i];
		if (word == 0)
			continue;
		if (is_whole) {
			error = grow(touched, inside + i * 64 + 63 - (uint32_t)__builtin_clzll(word));
			if (error == 0)
				touched->bits[inside / 64 + i] |= word;
			continue;
		}
		for (; word != 0 && error == 0; word &= word - 1) {
			struct wa_block block = *first;
			block.blkno += i * 64 + (uint32_t)__builtin_ctzll(word);
			error = collect(collecting, &block);
		}
	}
	return error;
}

/* Is a database copied? Then blocks of the source are blocks of the copy, too. */
static bool has_copies(const struct wa_lazy_layer *layer)
{
	bool any = false;
	for (uint32_t i = 0; i < layer->plan.segment_count && !any; i++) {
		const struct wa_index *index = &layer->indexes.views[i];
		if (layer->summaries[i].bytes != NULL) {
			any = layer->summaries[i].view.info.has_copies;
			continue;
		}
		for (size_t at = 0; at < wa_index_event_count(index) && !any; at++)
			any = wa_index_event_at(index, at).kind == WA_EVENT_DB_COPY;
	}
	return any;
}

/* From the indexes, as they are used later. */
static int collect_copies(struct collecting *collecting, struct wa_lazy_layer *layer, struct wa_error *why)
{
	struct lz_indexes indexes;
	int error = lz_indexes_open_tables(&indexes, &layer->plan, &layer->log, layer->index, true);
	if (error != 0)
		return error;
	struct wa_range range = lz_range(&layer->plan, &indexes, &layer->log);
	error = wa_range_blocks(&range, collect, collecting, why);
	lz_indexes_free(&indexes);
	return error;
}

/* All blocks that the WAL touches, and perhaps some more of the first and the last segment: nothing is to be done for those then. */
static int collect_all(struct collecting *collecting, struct wa_lazy_layer *layer, struct wa_error *why)
{
	struct wa_range range = lz_range(&layer->plan, &layer->indexes, &layer->log);
	int error = 0;
	if (has_copies(layer))
		return collect_copies(collecting, layer, why);
	range.index_count = 1;
	for (uint32_t i = 0; i < layer->plan.segment_count && error == 0; i++) {
		range.indexes = &layer->indexes.views[i];
		if (layer->summaries[i].bytes != NULL)
			error = wa_summary_blocks(&layer->summaries[i].view, collect_chunk, collecting, why);
		else
			error = wa_range_blocks(&range, collect, collecting, why);
	}
	return error;
}

/* Below the data directory: "base/5/16384_vm.2". */
static void file_path(const struct wa_lazy_layer *layer, const struct wa_block *first, char path[WA_LAZY_PATH_MAX])
{
	char space[64], number[16] = "";
	if (first->rel.spc == SPC_GLOBAL)
		snprintf(space, sizeof(space), "global");
	else if (first->rel.spc == SPC_DEFAULT)
		snprintf(space, sizeof(space), "base/%u", first->rel.db);
	else
		snprintf(space, sizeof(space), "pg_tblspc/%u/PG_%d_%u/%u", first->rel.spc, layer->plan.version.major,
			 layer->catalog, first->rel.db);
	if (first->blkno > 0)
		snprintf(number, sizeof(number), ".%u", first->blkno / layer->segment_blocks);
	snprintf(path, WA_LAZY_PATH_MAX, "%s/%u%s%s", space, first->rel.rel, first->fork == WA_FORK_VM ? "_vm" : "", number);
}

/* -ENOTDIR: a tablespace that is a link leads out of the branch. */
static int add_file(struct wa_lazy_layer *layer, struct bd_view head, const struct touched *touched, struct message message)
{
	char path[WA_LAZY_PATH_MAX];
	struct bd_inode *inode;
	struct bd_attr attr;
	file_path(layer, &touched->first, path);
	int error = wh_path(layer->lazy->store, head, path, &inode);
	if (error == -ENOENT)
		return 0; /* dropped on the way */
	if (error == -ENOTDIR)
		return wh_say(message.text, message.size, -ENOTSUP, "%s: the tablespace lies outside of the branch", path);
	if (error != 0)
		return wh_say(message.text, message.size, error, "%s: %s", path, strerror(-error));
	bd_inode_attr(inode, &attr);
	bd_inode_unref(inode, 1);
	uint32_t blocks = (uint32_t)NF_MIN((uint64_t)touched->blocks, attr.size_bytes / WA_PAGE_SIZE);
	if (blocks == 0)
		return 0;
	struct lz_file *file = lz_plan_add(&layer->plan, attr.file.v, touched->first, blocks);
	if (file == NULL)
		return wh_say(message.text, message.size, -ENOMEM, "no memory");
	memcpy(file->bits, touched->bits, lz_words(blocks) * sizeof(*file->bits));
	if (blocks % 64 != 0)
		file->bits[blocks / 64] &= (UINT64_C(1) << blocks % 64) - 1;
	for (uint32_t i = 0; i < lz_words(blocks); i++)
		layer->blocks += (uint64_t)__builtin_popcountll(file->bits[i]);
	return 0;
}

int wa_lazy_seal(struct wa_lazy_layer *layer, struct bd_branch_id branch, uint8_t *ret_facts, size_t *ret_size, char *ret_message,
		 size_t message_size)
{
	struct message message = {ret_message, message_size};
	struct collecting collecting = {.layer = layer};
	struct touched *touched, *next;
	struct wa_error why = {0};
	uint8_t *bytes;
	size_t size;
	int error = collect_all(&collecting, layer, &why);
	if (error != 0)
		wh_say(ret_message, message_size, error, "the index of the WAL cannot be read: %s",
		       why.text[0] != 0 ? why.text : strerror(-error));
	HASH_ITER(hh, collecting.all, touched, next)
	{
		if (error == 0)
			error = add_file(layer, wh_head(branch), touched, message);
		HASH_DEL(collecting.all, touched);
		free(touched->bits);
		free(touched);
	}
	if (error != 0)
		return error;
	/* From now on the branch's own view below the layer: it has inherited those segments, and lives as long as the branch. */
	layer->plan.base = (struct bd_view){.branch = {0}};
	error = lz_plan_encode(&layer->plan, &bytes, &size);
	if (error == 0) {
		error = size > LZ_PLAN_MAX ? -EFBIG : wh_write(layer->dir, "plan", 0400, bytes, size);
		free(bytes);
	}
	/* Links and new names in these directories, and their names. */
	if (error == 0)
		error = bd_fsync(layer->index, false);
	if (error == 0)
		error = bd_fsync(layer->all, false);
	if (error != 0)
		return wh_say(ret_message, message_size, error, "what the branch needs cannot be kept: %s", strerror(-error));
	*ret_size = lz_facts_make(layer->name, ret_facts);
	return 0;
}

bool wa_lazy_touches(const struct wa_lazy_layer *layer, struct bd_file_id file, char ret_path[WA_LAZY_PATH_MAX])
{
	const struct lz_file *touched = lz_plan_file(&layer->plan, file.v);
	if (touched != NULL)
		file_path(layer, &touched->first, ret_path);
	return touched != NULL;
}
