/* Names of relation files, and the directories that they are in. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "walapply/pitr/compare_impl.h"

#define DIGITS_MAX 10u /* of a 32-bit number */

/* A decimal number at *text, which is moved behind it. */
static bool take_number(const char **text, uint32_t *ret_number)
{
	size_t digits = strspn(*text, "0123456789");
	if (digits == 0 || digits > DIGITS_MAX)
		return false;
	uint64_t number = strtoull(*text, NULL, 10);
	if (number > UINT32_MAX)
		return false;
	*ret_number = (uint32_t)number;
	*text += digits;
	return true;
}

static bool take(const char **text, const char *word)
{
	size_t size = strlen(word);
	if (strncmp(*text, word, size) != 0)
		return false;
	*text += size;
	return true;
}

static const char *const suffixes[WA_FORKS] = {
	[WA_FORK_MAIN] = "", [WA_FORK_FSM] = "_fsm", [WA_FORK_VM] = "_vm", [WA_FORK_INIT] = "_init"};

bool cmp_name_parse(const struct compare *compare, const char *name, uint32_t spc, uint32_t db, struct wa_block *ret_first)
{
	struct wa_block first = {.rel = {.spc = spc, .db = db}};
	uint32_t segment = 0;
	if (!take_number(&name, &first.rel.rel))
		return false;
	for (uint32_t fork = WA_FORK_FSM; fork < WA_FORKS && first.fork == WA_FORK_MAIN; fork++)
		if (take(&name, suffixes[fork]))
			first.fork = fork;
	if (*name == '.' && (name++, !take_number(&name, &segment)))
		return false;
	if (*name != '\0' || (uint64_t)segment * compare->segment_blocks > UINT32_MAX)
		return false;
	first.blkno = segment * compare->segment_blocks;
	*ret_first = first;
	return true;
}

bool cmp_path_parse(const struct compare *compare, const char *path, struct wa_block *ret_first)
{
	uint32_t spc = CMP_SPC_DEFAULT, db = 0;
	if (take(&path, "global/")) {
		spc = CMP_SPC_GLOBAL;
	} else if (take(&path, "base/")) {
		if (!take_number(&path, &db) || !take(&path, "/"))
			return false;
	} else if (!take(&path, "pg_tblspc/") || !take_number(&path, &spc) || !take(&path, "/") ||
		   !take(&path, compare->space_directory) || !take(&path, "/") || !take_number(&path, &db) || !take(&path, "/")) {
		return false;
	}
	return cmp_name_parse(compare, path, spc, db, ret_first);
}

void cmp_directory(const struct compare *compare, uint32_t spc, uint32_t db, char path[WA_COMPARE_PATH])
{
	if (spc == CMP_SPC_GLOBAL)
		snprintf(path, WA_COMPARE_PATH, "global");
	else if (spc == CMP_SPC_DEFAULT)
		snprintf(path, WA_COMPARE_PATH, "base/%" PRIu32, db);
	else
		snprintf(path, WA_COMPARE_PATH, "pg_tblspc/%" PRIu32 "/%s/%" PRIu32, spc, compare->space_directory, db);
}

void cmp_path(const struct compare *compare, const struct wa_block *first, char path[WA_COMPARE_PATH])
{
	char number[16] = "";
	cmp_directory(compare, first->rel.spc, first->rel.db, path);
	if (first->blkno > 0)
		snprintf(number, sizeof(number), ".%" PRIu32, first->blkno / compare->segment_blocks);
	size_t size = strlen(path);
	snprintf(path + size, WA_COMPARE_PATH - size, "/%" PRIu32 "%s%s", first->rel.rel, suffixes[first->fork], number);
}

/* The names in a directory of the view; NULL when it is not there. */
static int list(struct compare *compare, struct bd_view view, const char *path, struct bd_listing **ret_listing)
{
	struct bd_inode *dir;
	*ret_listing = NULL;
	int error = wh_path(compare->store, view, path, &dir);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	error = bd_readdir(dir, ret_listing);
	bd_inode_unref(dir, 1);
	return error;
}

int cmp_files(struct compare *compare, struct bd_view view, uint32_t spc, uint32_t db, cmp_file_fn each, void *arg)
{
	struct bd_listing *listing;
	char path[WA_COMPARE_PATH];
	cmp_directory(compare, spc, db, path);
	int error = list(compare, view, path, &listing);
	if (error != 0 || listing == NULL)
		return error;
	for (size_t i = 0; i < listing->count && error == 0; i++) {
		struct wa_block first;
		if (cmp_name_parse(compare, listing->entries[i].name, spc, db, &first))
			error = each(compare, &first, arg);
	}
	bd_listing_free(listing);
	return error;
}

static int databases_in(struct compare *compare, struct bd_view view, const char *path, uint32_t spc, cmp_database_fn each,
			void *arg)
{
	struct bd_listing *listing;
	int error = list(compare, view, path, &listing);
	if (error != 0 || listing == NULL)
		return error;
	for (size_t i = 0; i < listing->count && error == 0; i++) {
		const char *name = listing->entries[i].name;
		uint32_t db;
		if (listing->entries[i].type == S_IFDIR && take_number(&name, &db) && *name == '\0')
			error = each(compare, spc, db, arg);
	}
	bd_listing_free(listing);
	return error;
}

int cmp_databases(struct compare *compare, struct bd_view view, cmp_database_fn each, void *arg)
{
	struct bd_listing *listing;
	char path[WA_COMPARE_PATH];
	int error = databases_in(compare, view, "base", CMP_SPC_DEFAULT, each, arg);
	if (error == 0)
		error = list(compare, view, "pg_tblspc", &listing);
	if (error != 0 || listing == NULL)
		return error;
	for (size_t i = 0; i < listing->count && error == 0; i++) {
		const char *name = listing->entries[i].name;
		uint32_t spc;
		if (!take_number(&name, &spc) || *name != '\0')
			continue;
		snprintf(path, sizeof(path), "pg_tblspc/%" PRIu32 "/%s", spc, compare->space_directory);
		error = listing->entries[i].type == S_IFLNK ? -ENOTSUP : databases_in(compare, view, path, spc, each, arg);
	}
	bd_listing_free(listing);
	return error;
}
