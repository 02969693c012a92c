/* A window's way through the WAL: once, forward, piece by piece, for all chunks together.
 *
 *	piece n     applied, by each chunk, which before that may store pages whose blocks are made
 *	piece n + 1 read, in parts                 all at the same time; what a chunk wants of n + 2 it
 *	piece n + 2 its pages looked for           looks for when it has applied n
 *
 * Of a piece only pages are read that some chunk has records on: long runs by themselves, the others many at once. */
#include <string.h>

#include "walapply/pitr/lazy_window.h"

#define LONG_RUN 16u /* pages of WAL: a run like this is read by itself, shorter ones many at once */
#define WAITING_MAX 32768u /* pages that are made and not stored, while there is room */
#define WAL_GAP 2u /* pages read for nothing between two of a run */
#define PART_WORDS (WA_BATCH_WORDS / LZ_READS)
#define PART_PAGES (PART_WORDS * 64)

/* Part of a piece, on its way from the disk. */
struct part {
	struct lz_window *window;
	struct nf_lsn at;
	size_t count; /* of pages */
	const uint64_t *wanted;
	uint8_t *bytes;
	uint64_t *there;
	uint8_t *scattered;
	uint32_t pages[BD_SCATTERED_MAX]; /* wanted, and not in a long run */
	unsigned scattered_count;
};

static bool is_set(const uint64_t *bits, size_t i)
{
	return bits[i / 64] >> i % 64 & 1;
}

static void set(uint64_t *bits, size_t i)
{
	bits[i / 64] |= UINT64_C(1) << i % 64;
}

static int read_scattered(struct part *part)
{
	struct nf_lsn at[BD_SCATTERED_MAX];
	for (unsigned i = 0; i < part->scattered_count; i++)
		at[i].v = part->at.v + (uint64_t)part->pages[i] * WA_PAGE_SIZE;
	int error = part->scattered_count > 0
			    ? lz_log_scattered(&part->window->drain->log, at, part->scattered_count, part->scattered)
			    : 0;
	for (unsigned i = 0; i < part->scattered_count && error == 0; i++) {
		uint32_t page = part->pages[i];
		memcpy(part->bytes + (size_t)page * WA_PAGE_SIZE, part->scattered + (size_t)i * WA_PAGE_SIZE, WA_PAGE_SIZE);
		set(part->there, page);
	}
	part->scattered_count = 0;
	return error;
}

/* The run that begins at the wanted page `first`: its end. */
static size_t run_of_pages(const uint64_t *wanted, size_t first, size_t count)
{
	size_t end = first + 1;
	for (size_t i = end; i < count && i <= end + WAL_GAP; i++)
		if (is_set(wanted, i))
			end = i + 1;
	return end;
}

static int read_run(struct part *part, size_t first, size_t end)
{
	struct nf_lsn at = {part->at.v + first * WA_PAGE_SIZE};
	int error = lz_log_read(&part->window->drain->log, at, end - first, part->bytes + first * WA_PAGE_SIZE);
	for (size_t i = first; i < end && error == 0; i++)
		set(part->there, i);
	return error;
}

static int add_scattered(struct part *part, size_t first, size_t end, size_t *pages)
{
	int error = 0;
	for (size_t i = first; i < end && error == 0; i++) {
		if (!is_set(part->wanted, i))
			continue;
		++*pages;
		part->pages[part->scattered_count++] = (uint32_t)i;
		if (part->scattered_count == BD_SCATTERED_MAX)
			error = read_scattered(part);
	}
	return error;
}

static int read_part(struct part *part)
{
	struct lz_draining *draining = part->window->drain->draining;
	size_t pages = 0;
	int error = 0;
	for (size_t first = 0, end; first < part->count && error == 0; first = end) {
		end = first + 1;
		if (!is_set(part->wanted, first))
			continue;
		end = run_of_pages(part->wanted, first, part->count);
		if (end - first < LONG_RUN) {
			error = add_scattered(part, first, end, &pages);
			continue;
		}
		pages += end - first;
		error = read_run(part, first, end);
	}
	if (error == 0)
		error = read_scattered(part);
	atomic_fetch_add(&draining->wal_bytes, pages * WA_PAGE_SIZE);
	return error == 0 ? lz_pace(draining, pages * WA_PAGE_SIZE) : error;
}

/* Part `i` of the piece that is read: the one behind. */
static int read_piece_part(struct lz_window *window, size_t i)
{
	const uint32_t n = window->applied + 1;
	const size_t first = i * PART_PAGES;
	if (n >= window->drain->piece_count)
		return 0;
	const struct wa_batch_piece *piece = &window->drain->pieces[n];
	struct part part = {.window = window,
			    .at = {piece->begin.v + first * WA_PAGE_SIZE},
			    .wanted = window->wanted + i * PART_WORDS,
			    .bytes = window->log[n % 2] + first * WA_PAGE_SIZE,
			    .there = window->there[n % 2] + i * PART_WORDS,
			    .scattered = window->scattered[i]};
	part.count = first < piece->pages ? NF_MIN(piece->pages - first, (size_t)PART_PAGES) : 0;
	return read_part(&part);
}

/* wa_batch_read_fn: a page that lies behind its piece, or that nobody had thought of. Several chunks may ask for it. */
static int read_single(void *arg, struct nf_lsn at, size_t count, const uint64_t *wanted, uint8_t *bytes, uint64_t *there)
{
	const struct lz_chunk *chunk = arg;
	struct lz_drain *drain = chunk->window->drain;
	assert(count == 1 && *wanted == 1);
	int error = lz_log_page(&drain->log, at, bytes);
	*there = error == 0;
	atomic_fetch_add(&drain->draining->wal_bytes, WA_PAGE_SIZE);
	return error == 0 ? lz_pace(drain->draining, WA_PAGE_SIZE) : error;
}

/* What the chunk wants of piece `n`. */
static int want(struct lz_chunk *chunk, uint32_t n)
{
	const struct lz_drain *drain = chunk->window->drain;
	uint64_t *wanted = chunk->wanted[n % 2];
	memset(wanted, 0, sizeof(chunk->wanted[0]));
	return n < drain->piece_count ? NF_MIN(wa_batch_want(chunk->batch, &drain->pieces[n], wanted, &chunk->why), 0) : 0;
}

/* Before the first piece. */
static int begin(void *arg, size_t i)
{
	struct lz_window *window = arg;
	struct lz_chunk *chunk = window->chunks[i];
	lz_chunk_take_pages(chunk, UINT32_MAX);
	int error = lz_chunk_bases(chunk);
	if (error != 0)
		return error;
	wa_batch_begin(chunk->batch, read_single, chunk, &chunk->why);
	for (uint32_t n = 0; n < WA_BATCH_AHEAD && error == 0; n++)
		error = want(chunk, n);
	return error;
}

/* One step: the piece behind is read, this one applied, the one behind both looked for. */
static int step(void *arg, size_t i)
{
	struct lz_window *window = arg;
	const uint32_t n = window->applied;
	if (i < LZ_READS)
		return read_piece_part(window, i);
	struct lz_chunk *chunk = window->chunks[i - LZ_READS];
	if (n == UINT32_MAX)
		return 0;
	int error = lz_chunk_store(chunk);
	if (error != 0)
		return error;
	lz_chunk_take_pages(chunk, n);
	error = wa_batch_apply(chunk->batch, &window->drain->pieces[n], window->log[n % 2], window->there[n % 2], &chunk->why);
	return error == 0 ? want(chunk, n + WA_BATCH_AHEAD) : error;
}

/* What all chunks want of piece `n`, which is to be read. */
static void gather_wanted(struct lz_window *window, uint32_t n)
{
	memset(window->there[n % 2], 0, sizeof(window->there[0]));
	memset(window->wanted, 0, sizeof(window->wanted));
	for (uint32_t i = 0; i < window->chunk_count; i++)
		for (size_t k = 0; k < WA_BATCH_WORDS; k++)
			window->wanted[k] |= window->chunks[i]->wanted[n % 2][k];
}

static int store_chunk(void *arg, size_t i)
{
	struct lz_window *window = arg;
	return lz_chunk_store(window->chunks[i]);
}

/* What is made goes: at once, where the pages that come with piece `n` need the room; along with the step, where there is much of it. It is always all of it, so
 * that neighbours are stored together. */
static int make_room(struct lz_window *window, uint32_t n)
{
	const uint32_t used = window->drain->room - window->pool.unused_count;
	uint32_t coming = 0;
	for (uint32_t i = 0; i < window->chunk_count; i++)
		coming += window->chunks[i]->late[n];
	window->stored = n;
	int error = 0;
	if (coming > window->pool.unused_count)
		error = lz_crew_run(window->crew, window->chunk_count, store_chunk, window);
	else if (used + coming < window->live[n] + WAITING_MAX)
		window->stored = 0;
	return error;
}

int lz_window_make(struct lz_window *window)
{
	const uint32_t count = window->drain->piece_count;
	int error = lz_crew_run(window->crew, window->chunk_count, begin, window);
	for (uint32_t n = UINT32_MAX; error == 0 && n + 1 <= count; n++) {
		window->applied = n;
		gather_wanted(window, n + 1);
		error = n != UINT32_MAX ? make_room(window, n) : 0;
		if (error == 0)
			error = lz_crew_run(window->crew, LZ_READS + window->chunk_count, step, window);
	}
	window->stored = UINT32_MAX;
	return error == 0 ? lz_crew_run(window->crew, window->chunk_count, store_chunk, window) : error;
}
