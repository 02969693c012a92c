/* Optimal string alignment distance over short words. */
#include "tools/lib/suggest.h"

#include <ctype.h>
#include <string.h>

enum { COST_EDIT = 2, COST_CASE = 1 };

static size_t replace_cost(char a, char b)
{
	if (a == b)
		return 0;
	return tolower((unsigned char)a) == tolower((unsigned char)b) ? COST_CASE : COST_EDIT;
}

size_t tl_distance(const char *a, const char *b)
{
	size_t a_size = strlen(a), b_size = strlen(b);
	size_t rows[3][TL_SUGGEST_WORD_MAX + 1];
	size_t *before = rows[0], *last = rows[1], *now = rows[2];
	if (a_size > TL_SUGGEST_WORD_MAX || b_size > TL_SUGGEST_WORD_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= b_size; j++)
		last[j] = j * COST_EDIT;
	for (size_t i = 1; i <= a_size; i++) {
		now[0] = i * COST_EDIT;
		for (size_t j = 1; j <= b_size; j++) {
			size_t best = last[j - 1] + replace_cost(a[i - 1], b[j - 1]);
			best = NF_MIN(best, last[j] + COST_EDIT);
			best = NF_MIN(best, now[j - 1] + COST_EDIT);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = NF_MIN(best, before[j - 2] + COST_EDIT);
			now[j] = best;
		}
		size_t *free_row = before;
		before = last;
		last = now;
		now = free_row;
	}
	return last[b_size];
}

bool tl_distance_is_near(const char *word, size_t distance)
{
	/* One edit in a short word, one more for every four letters. */
	return distance <= COST_EDIT * (1 + strlen(word) / 4);
}

const char *tl_nearest(const char *word, const char *const *words, size_t count)
{
	const char *best = NULL;
	size_t best_distance = SIZE_MAX;
	for (size_t i = 0; i < count; i++) {
		size_t distance = tl_distance(word, words[i]);
		if (distance < best_distance) {
			best_distance = distance;
			best = words[i];
		}
	}
	if (best == NULL || best_distance == SIZE_MAX || !tl_distance_is_near(word, best_distance))
		return NULL;
	/* A word of one or two letters resembles everything. */
	return best_distance < COST_EDIT * strlen(word) ? best : NULL;
}
