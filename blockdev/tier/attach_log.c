/* The log of a store that is attached: which pieces there are, into the ring, and read.
 *
 * The chain: pieces that the manifest lists, and those of its generation that were put later, as far as each begins no later than the ones before it end. A state ends
 * where a piece with a read time does; what lies behind the last one of these is left out. The chain has to reach from `retain` to `replay`, which the index counts on; behind
 * that every end is a good one, and a gap is one.
 *
 * The ring is read once here as an open would do it: so what an open would refuse is refused now, by name, and what the log says of extents is known. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/log/log_impl.h"
#include "blockdev/tier/attach_impl.h"
#include "blockdev/tier/piece.h"

#define PIECES_MAX 1000000u /* 16 GiB of pages, if each were one */

struct chain {
	struct attach *attach;
	struct bd_manifest_piece *pieces; /* sorted by where they begin */
	size_t count, capacity;
	uint64_t begin, end; /* of what is written into the ring */
	size_t next;	     /* to be asked for */
};

/* ---- which pieces */

static int add_piece(struct chain *chain, const struct bd_manifest_piece *piece)
{
	if (piece->to <= chain->begin)
		return 0;
	if (chain->count == PIECES_MAX)
		return -E2BIG;
	if (chain->count == chain->capacity) {
		size_t capacity = chain->capacity * 2 + 64;
		struct bd_manifest_piece *pieces = realloc(chain->pieces, capacity * sizeof(*pieces));
		if (pieces == NULL)
			return -ENOMEM;
		chain->pieces = pieces;
		chain->capacity = capacity;
	}
	chain->pieces[chain->count++] = *piece;
	return 0;
}

static bool same_piece(const struct bd_manifest_piece *a, const struct bd_manifest_piece *b)
{
	return a->generation == b->generation && a->from == b->from && a->to == b->to;
}

/* One that was put since the manifest. */
static int add_listed(void *arg, const struct ob_entry *entry)
{
	struct chain *chain = arg;
	const struct bd_manifest *manifest = &chain->attach->manifest;
	struct bd_manifest_piece piece = {.size = entry->size};
	if (!bd_piece_key_parse(entry->key, &piece.generation, &piece.from, &piece.to) || piece.generation != manifest->generation)
		return 0;
	for (uint32_t i = 0; i < manifest->piece_count; i++) {
		if (same_piece(&piece, &manifest->pieces[i]))
			return 0;
	}
	return add_piece(chain, &piece);
}

static int compare_pieces(const void *left, const void *right)
{
	const struct bd_manifest_piece *a = left, *b = right;
	if (a->from != b->from)
		return a->from < b->from ? -1 : 1;
	return a->to < b->to ? -1 : a->to > b->to;
}

static int find_pieces(struct chain *chain)
{
	struct attach *attach = chain->attach;
	char prefix[32];
	int error = 0;
	for (uint32_t i = 0; i < attach->manifest.piece_count && error == 0; i++)
		error = add_piece(chain, &attach->manifest.pieces[i]);
	snprintf(prefix, sizeof(prefix), "log/%08" PRIx32 "-", attach->manifest.generation);
	if (error == 0)
		error = bd_list(attach->client, prefix, add_listed, chain, attach->message, attach->message_size);
	if (error != 0)
		return error;
	if (chain->count > 0)
		qsort(chain->pieces, chain->count, sizeof(*chain->pieces), compare_pieces);
	/* Up to the first gap. */
	uint64_t end = chain->begin;
	size_t count = 0;
	for (; count < chain->count && chain->pieces[count].from <= end; count++)
		end = NF_MAX(end, chain->pieces[count].to);
	chain->count = count;
	return 0;
}

static int read_head(struct attach *attach, const struct bd_manifest_piece *at, struct bd_piece *ret_piece)
{
	uint8_t head[BD_PIECE_HEAD_SIZE];
	char key[BD_PIECE_KEY_SIZE];
	bd_piece_key(at->generation, at->from, at->to, key);
	struct ob_op op = {.kind = OB_GET, .key = key, .buf = head, .size = sizeof(head), .deadline_ms = BD_FETCH_REQUEST_MS};
	int error = ob_run(attach->client, &op);
	attach->result.objects_read++;
	attach->result.bytes_read += op.got;
	if (error != 0) {
		attach->is_missing = op.error == OB_NOT_FOUND;
		error = op.error == OB_NOT_FOUND || op.error == OB_SHORT ? -EUCLEAN : error;
		return attach_fail(attach, error, "object %s: %s", key, op.message);
	}
	error = bd_piece_read_head(head, sizeof(head), ret_piece);
	return error == 0 ? 0 : attach_fail(attach, error, "object %s is damaged: its head makes no sense", key);
}

/* Where the last state ends. Nearly always the last piece says it. */
static int find_end(struct chain *chain)
{
	struct attach *attach = chain->attach;
	chain->end = chain->begin;
	attach->result.safe_ns = attach->manifest.safe_ns;
	for (size_t i = chain->count; i > 0; i--) {
		struct bd_piece head;
		if (chain->pieces[i - 1].to <= chain->end)
			continue;
		int error = read_head(attach, &chain->pieces[i - 1], &head);
		if (error != 0)
			return error;
		if (head.read_ns == 0)
			continue;
		chain->end = chain->pieces[i - 1].to;
		attach->result.safe_ns = NF_MAX(attach->result.safe_ns, head.read_ns);
	}
	if (chain->end < attach->manifest.replay)
		return attach_fail(attach, -EUCLEAN,
				   "the log from position %016" PRIx64 " to %016" PRIx64 ", which manifest %08x-%08x counts on, is missing in the object store",
				   chain->end, attach->manifest.replay, attach->manifest.generation, attach->manifest.number);
	return 0;
}

/* ---- into the ring */

static int write_ring(struct chain *chain, struct nf_file *file, uint64_t lsn, const uint8_t *bytes, uint64_t size)
{
	struct attach *attach = chain->attach;
	while (size > 0) {
		uint64_t at = lsn % attach->manifest.log_bytes;
		uint64_t n = NF_MIN(NF_MIN(size, ATTACH_ALIGNED_BYTES), attach->manifest.log_bytes - at);
		memcpy(attach->aligned, bytes, n);
		int error = nf_io_run_one(attach->io, NF_IO_WRITE, file, at, attach->aligned, n);
		if (error != 0)
			return attach_fail(attach, error, "%s/" BD_LOG_FILE " cannot be written: %s", attach->path, strerror(-error));
		lsn += n;
		bytes += n;
		size -= n;
	}
	return 0;
}

struct filling {
	struct chain *chain;
	struct nf_file *file;
};

static int next_piece(void *arg, struct bd_want *ret_want)
{
	struct chain *chain = ((struct filling *)arg)->chain;
	/* What begins behind the end is of a state that is not whole. */
	if (chain->next == chain->count || chain->pieces[chain->next].from >= chain->end)
		return 1;
	const struct bd_manifest_piece *piece = &chain->pieces[chain->next];
	*ret_want = (struct bd_want){.size = piece->size, .object_size = piece->size, .tag = chain->next++};
	bd_piece_key(piece->generation, piece->from, piece->to, ret_want->key);
	return 0;
}

static int apply_piece(struct filling *filling, const struct bd_piece *piece)
{
	struct chain *chain = filling->chain;
	uint64_t from = NF_MAX(piece->from, chain->begin), to = NF_MIN(piece->to, chain->end);
	int error = write_ring(chain, filling->file, from, piece->records + (from - piece->from), to - from);
	const uint8_t *blocks = piece->blocks;
	for (uint32_t i = 0; i < piece->run_count && error == 0; i++) {
		const struct bd_piece_run *run = &piece->runs[i];
		error = attach_blocks(chain->attach, run->extent, run->slot, run->count, blocks);
		blocks += (size_t)run->count * NF_BLOCK_SIZE;
	}
	return error;
}

static int got_piece(void *arg, const struct bd_want *want, const uint8_t *bytes)
{
	struct filling *filling = arg;
	struct attach *attach = filling->chain->attach;
	const struct bd_manifest_piece *expected = &filling->chain->pieces[want->tag];
	struct bd_piece piece;
	int error = bd_piece_decode(bytes, want->size, &piece);
	if (error == -ENOMEM)
		return error;
	if (error != 0)
		return attach_fail(attach, error, "object %s is damaged, or of a newer neonfs", want->key);
	if (piece.store_id != attach->manifest.store_id || piece.from != expected->from || piece.to != expected->to)
		error = attach_fail(attach, -EUCLEAN, "object %s is not what its name says", want->key);
	else
		error = apply_piece(filling, &piece);
	bd_piece_free(&piece);
	return error;
}

static int fill_ring(struct chain *chain)
{
	struct attach *attach = chain->attach;
	struct filling filling = {.chain = chain};
	int error = nf_io_open(attach->io, BD_LOG_FILE, 0, &filling.file);
	if (error != 0)
		return error;
	error = attach_fetch(attach, "log", next_piece, got_piece, &filling);
	if (error == 0)
		error = nf_io_run_one(attach->io, NF_IO_FSYNC, filling.file, 0, NULL, 0);
	nf_io_close(filling.file);
	attach_close_file(attach);
	return error;
}

/* ---- what it says of extents */

static int note_extent(struct attach *attach, struct nf_reader key, bool put)
{
	nf_read_u8(&key);
	uint32_t id = nf_read_u32_be(&key);
	struct attach_extent *extent = key.failed ? NULL : attach_extent(attach, id);
	if (extent == NULL)
		return key.failed ? -EUCLEAN : -ENOMEM;
	extent->has_record = put;
	return 0;
}

static int read_item(void *arg, uint64_t lsn, bool replay, uint8_t type, struct nf_reader body)
{
	struct attach *attach = arg;
	const void *key = body.data, *value = NULL;
	size_t key_size = body.size, size = 0;
	(void)lsn;
	if (!replay || (type != BD_ITEM_PUT && type != BD_ITEM_DELETE))
		return 0;
	int error = type == BD_ITEM_PUT ? bd_item_put_parse(body, &key, &key_size, &value, &size) : 0;
	if (error != 0 || key_size == 0)
		return error;
	switch (*(const uint8_t *)key) {
	case 'E':
		return note_extent(attach, nf_reader_init(key, key_size), value != NULL);
	case 'T':
		return bd_rows_replay(attach->after, key, key_size, value, size);
	default:
		return 0;
	}
}

static int read_ring(struct chain *chain)
{
	struct attach *attach = chain->attach;
	const struct bd_manifest *manifest = &attach->manifest;
	const struct bd_log_position position = {manifest->replay, manifest->retain, manifest->log_generation};
	struct bd_log *log;
	int error = bd_log_open(attach->io, manifest->store_id, &position, &log);
	if (error != 0)
		return error;
	error = bd_log_recover(log, read_item, attach);
	uint64_t tail = bd_log_tail(log);
	bd_log_close(log);
	if (error == -EUCLEAN || (error == 0 && tail != chain->end))
		error = attach_fail(attach, -EUCLEAN, "the log of manifest %08x-%08x ends at position %016" PRIx64 ", its pieces at %016" PRIx64,
				    manifest->generation, manifest->number, tail, chain->end);
	attach->log_end = tail;
	return error;
}

int attach_log(struct attach *attach)
{
	struct chain chain = {.attach = attach, .begin = attach->manifest.retain};
	int error = find_pieces(&chain);
	if (error == 0)
		error = find_end(&chain);
	if (error == 0)
		error = attach_log_make_room(attach, chain.end - chain.begin);
	if (error == 0)
		error = fill_ring(&chain);
	if (error == 0)
		error = read_ring(&chain);
	free(chain.pieces);
	return error;
}
