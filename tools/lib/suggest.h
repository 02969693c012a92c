/* "Did you mean ...?": the nearest known word to a mistyped one. Pure. */
#ifndef TL_SUGGEST_H
#define TL_SUGGEST_H

#include "common/nf_base.h"

#define TL_SUGGEST_WORD_MAX 64 /* longer words get no suggestion */

/* Edits (insert, delete, replace, swap neighbours; case counts half) that turn `a` into `b`, doubled.
 * SIZE_MAX when a word is longer than TL_SUGGEST_WORD_MAX. */
size_t tl_distance(const char *a, const char *b);

/* True when a word at `distance` from `word` is near enough to be what was meant. */
bool tl_distance_is_near(const char *word, size_t distance);

/* The nearest of `words` that is near enough to `word` to be what was meant, or NULL. */
const char *tl_nearest(const char *word, const char *const *words, size_t count);

#endif
