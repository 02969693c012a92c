/* A window's way through the WAL: once, forward, piece by piece, for all shares together.
 *
 *	piece n     applied, by each share
 *	piece n + 1 read, in parts                 all at the same time; what a share wants of n + 2 it
 *	piece n + 2 its pages looked for           looks for when it has applied n
 *
 * Of a piece only pages are read that some share has records on: long runs by themselves, the others many at once. */
#include <string.h>

#include "walapply/pitr/lazy_window.h"

#define LONG_RUN 16u /* pages of WAL: a run like this is read by itself, shorter ones many at once */
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

/* Part `i` of the piece that is read. */
static int read_piece_part(struct lz_window *window, size_t i)
{
	const struct wa_batch_piece *piece = &window->pieces[1];
	const unsigned turn = (window->turn + 1) % 2;
	const size_t first = i * PART_PAGES;
	struct part part = {.window = window,
			    .at = {piece->begin.v + first * WA_PAGE_SIZE},
			    .wanted = window->wanted + i * PART_WORDS,
			    .bytes = window->log[turn] + first * WA_PAGE_SIZE,
			    .there = window->there[turn] + i * PART_WORDS,
			    .scattered = window->scattered[i]};
	part.count = first < piece->pages ? NF_MIN(piece->pages - first, (size_t)PART_PAGES) : 0;
	return read_part(&part);
}

/* wa_batch_read_fn: a page that lies behind its piece, or that nobody had thought of. Several shares may ask for it. */
static int read_single(void *arg, struct nf_lsn at, size_t count, const uint64_t *wanted, uint8_t *bytes, uint64_t *there)
{
	const struct lz_share *share = arg;
	struct lz_drain *drain = share->window->drain;
	assert(count == 1 && *wanted == 1);
	int error = lz_log_page(&drain->log, at, bytes);
	*there = error == 0;
	atomic_fetch_add(&drain->draining->wal_bytes, WA_PAGE_SIZE);
	return error == 0 ? lz_pace(drain->draining, WA_PAGE_SIZE) : error;
}

/* What the share wants of piece `i` of window->pieces. */
static int want(struct lz_share *share, unsigned i)
{
	struct lz_window *window = share->window;
	uint64_t *wanted = share->wanted[(window->turn + i) % 2];
	memset(wanted, 0, sizeof(share->wanted[0]));
	return window->has_piece[i] ? NF_MIN(wa_batch_want(share->batch, &window->pieces[i], wanted, &share->why), 0) : 0;
}

/* Before the first piece. */
static int begin(void *arg, size_t i)
{
	struct lz_window *window = arg;
	struct lz_share *share = &window->shares[i];
	wa_batch_begin(share->batch, read_single, share, &share->why);
	return want(share, 1);
}

/* One step: the piece behind is read, this one applied, the one behind both looked for. */
static int step(void *arg, size_t i)
{
	struct lz_window *window = arg;
	if (i < LZ_READS)
		return read_piece_part(window, i);
	struct lz_share *share = &window->shares[i - LZ_READS];
	int error = !window->has_piece[0] ? 0
					  : wa_batch_apply(share->batch, &window->pieces[0], window->log[window->turn],
							   window->there[window->turn], &share->why);
	return error == 0 ? want(share, 2) : error;
}

/* The pieces move up. */
static void move_on(struct lz_window *window)
{
	window->turn = (window->turn + 1) % 2;
	for (unsigned i = 0; i < 2; i++) {
		window->pieces[i] = window->pieces[i + 1];
		window->has_piece[i] = window->has_piece[i + 1];
	}
	window->has_piece[2] = window->has_piece[1] && wa_batch_next_piece(&window->drain->range, true, &window->pieces[2]);
}

/* What all shares want of the piece that is to be read. */
static void gather_wanted(struct lz_window *window)
{
	const unsigned turn = (window->turn + 1) % 2;
	memset(window->there[turn], 0, sizeof(window->there[turn]));
	memset(window->wanted, 0, sizeof(window->wanted));
	for (size_t i = 0; i < window->share_count; i++)
		for (size_t k = 0; k < WA_BATCH_WORDS; k++)
			window->wanted[k] |= window->shares[i].wanted[turn][k];
}

int lz_window_log(struct lz_window *window)
{
	const struct wa_range *range = &window->drain->range;
	window->turn = 0;
	window->has_piece[0] = false;
	window->has_piece[1] = wa_batch_next_piece(range, false, &window->pieces[1]);
	window->pieces[2] = window->pieces[1];
	window->has_piece[2] = window->has_piece[1] && wa_batch_next_piece(range, true, &window->pieces[2]);
	int error = lz_crew_run(window->crew, window->share_count, begin, window);
	while (error == 0 && (window->has_piece[0] || window->has_piece[1])) {
		gather_wanted(window);
		error = lz_crew_run(window->crew, LZ_READS + window->share_count, step, window);
		move_on(window);
	}
	return error;
}
