#include "tools/neonfs-wal/replay_slru.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/neonfs-wal/replay_files.h"

#define SLOTS 512u /* a page has one place, by its number: ids rise, so neighbours do not push each other out */
#define NAME_MAX_SLRU 64
#define GROUP_SIZE 20u
#define MEMBERS_PER_GROUP 4u

struct slot {
	bool held, changed;
	enum wa_slru slru;
	int64_t page;
	uint8_t bytes[WA_PAGE_SIZE];
};

struct rp_slru {
	int root;
	int major;
	/* The file used last stays open: its pages come together. */
	int fd; /* -1 = none */
	enum wa_slru open_slru;
	int64_t open_file;
	/* The offset of the next multixact was written to the first entry of a page that may be zeroed only afterwards, by the WAL of minor
	 * versions before the autumn of 2025 (RecordNewMultiXact, multixact.c): it is put back then. */
	int64_t early_page;
	uint32_t early_entry, early_offset;
	struct slot slots[SLOTS];
};

struct rp_slru *rp_slru_new(int root, int major)
{
	struct rp_slru *slru = calloc(1, sizeof(*slru));
	if (slru == NULL)
		return NULL;
	slru->root = root;
	slru->fd = -1;
	slru->major = major;
	slru->early_page = -1;
	return slru;
}

/* 0, or what became of what was written. */
static int close_file(struct rp_slru *slru)
{
	int fd = slru->fd;
	slru->fd = -1;
	return fd >= 0 ? rp_close_written(fd, 0) : 0;
}

void rp_slru_free(struct rp_slru *slru)
{
	if (slru != NULL)
		(void)!close_file(slru);
	free(slru);
}

/* 17 and later count the pages of pg_xact and its likes in 64 bits, but names stay short there: segments are below 2^32 / 32 pages. */
static void file_name(enum wa_slru kind, int64_t file, char name[NAME_MAX_SLRU])
{
	snprintf(name, NAME_MAX_SLRU, "%s/%04llX", wa_slru_directory(kind), (unsigned long long)file);
}

/* A descriptor of the page's file that stays the cache's own; -ENOENT unless it is to be created. */
static int open_file(struct rp_slru *slru, enum wa_slru kind, int64_t page, bool create)
{
	char name[NAME_MAX_SLRU];
	int64_t file = page / WA_SLRU_PAGES_PER_FILE;
	if (slru->fd >= 0 && slru->open_slru == kind && slru->open_file == file)
		return slru->fd;
	int status = close_file(slru);
	if (status < 0)
		return status;
	file_name(kind, file, name);
	slru->fd = openat(slru->root, name, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0600);
	slru->open_slru = kind;
	slru->open_file = file;
	return slru->fd < 0 ? -errno : slru->fd;
}

static off_t place(int64_t page)
{
	return (off_t)(page % WA_SLRU_PAGES_PER_FILE) * WA_PAGE_SIZE;
}

static int write_slot(struct rp_slru *slru, struct slot *slot)
{
	if (!slot->held || !slot->changed)
		return 0;
	int fd = open_file(slru, slot->slru, slot->page, true);
	if (fd < 0)
		return fd;
	ssize_t wrote = pwrite(fd, slot->bytes, WA_PAGE_SIZE, place(slot->page));
	int status = wrote < 0 ? -errno : wrote < (ssize_t)WA_PAGE_SIZE ? -EIO : 0;
	slot->changed = status < 0;
	return status;
}

/* The page, zeros where there is none. *ret_there: it is in the file. */
static int read_page(struct rp_slru *slru, enum wa_slru kind, int64_t page, uint8_t *bytes, bool *ret_there)
{
	memset(bytes, 0, WA_PAGE_SIZE);
	*ret_there = false;
	int fd = open_file(slru, kind, page, false);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	ssize_t got = pread(fd, bytes, WA_PAGE_SIZE, place(page));
	int status = got < 0 ? -errno : 0;
	*ret_there = got == (ssize_t)WA_PAGE_SIZE;
	return status;
}

static int hold(struct rp_slru *slru, enum wa_slru kind, int64_t page, struct slot **ret_slot, bool *ret_there)
{
	struct slot *slot = &slru->slots[((uint64_t)page * WA_SLRUS + kind) % SLOTS];
	*ret_slot = slot;
	*ret_there = true;
	if (slot->held && slot->slru == kind && slot->page == page)
		return 0;
	int status = write_slot(slru, slot);
	if (status < 0)
		return status;
	slot->held = false;
	status = read_page(slru, kind, page, slot->bytes, ret_there);
	if (status < 0)
		return status;
	slot->slru = kind;
	slot->page = page;
	slot->held = true;
	slot->changed = false;
	return 0;
}

/* wa_slru_pages.get: the page will be changed. */
static int get(void *arg, enum wa_slru kind, int64_t page, bool zero, uint8_t **ret_page)
{
	struct rp_slru *slru = arg;
	struct slot *slot;
	bool there;
	int status = hold(slru, kind, page, &slot, &there);
	if (status < 0)
		return status;
	slot->changed = true;
	if (zero)
		memset(slot->bytes, 0, WA_PAGE_SIZE);
	if (zero && kind == WA_SLRU_OFFSETS && page == slru->early_page) {
		memcpy(slot->bytes + 4 * (size_t)slru->early_entry, &slru->early_offset, sizeof(slru->early_offset));
		slru->early_page = -1;
	}
	*ret_page = slot->bytes;
	return 0;
}

/* ----------------------------------------------------------- truncation */

/* Remove the files for which op, or no op at all, says so. */
static int remove_files(struct rp_slru *slru, enum wa_slru kind, const struct wa_state_op *op)
{
	int closed = close_file(slru);
	if (closed < 0)
		return closed;
	int fd = openat(slru->root, wa_slru_directory(kind), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (dir == NULL) {
		int status = -errno;
		if (fd >= 0)
			close(fd);
		return status == -ENOENT ? 0 : status;
	}
	int status = 0;
	for (struct dirent *entry; status == 0 && (entry = readdir(dir)) != NULL;) {
		char *end;
		long long file = strtoll(entry->d_name, &end, 16);
		if (*end != 0 || end - entry->d_name < 4 || (op != NULL && !wa_slru_file_goes(op, file)))
			continue;
		if (unlinkat(dirfd(dir), entry->d_name, 0) < 0 && errno != ENOENT)
			status = -errno;
	}
	closedir(dir);
	return status;
}

static void forget_slots(struct rp_slru *slru, enum wa_slru kind, const struct wa_state_op *op)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *slot = &slru->slots[i];
		if (slot->held && slot->slru == kind &&
		    (op == NULL || wa_slru_file_goes(op, slot->page / WA_SLRU_PAGES_PER_FILE)))
			slot->held = false;
	}
}

static int truncate_slru(struct rp_slru *slru, enum wa_slru kind, const struct wa_state_op *op)
{
	forget_slots(slru, kind, op);
	return remove_files(slru, kind, op);
}

int rp_slru_clear(struct rp_slru *slru, enum wa_slru kind)
{
	return truncate_slru(slru, kind, NULL);
}

/* ------------------------------------------------------------- operations */

static void note_early_offset(struct rp_slru *slru, const struct wa_state_op *op)
{
	uint32_t next = NF_MAX(op->multi.mid + 1, 1u), offset = NF_MAX(op->multi.offset + op->multi.count, 1u);
	if (next / WA_OFFSETS_PER_PAGE == op->multi.mid / WA_OFFSETS_PER_PAGE)
		return;
	slru->early_page = next / WA_OFFSETS_PER_PAGE;
	slru->early_entry = next % WA_OFFSETS_PER_PAGE;
	slru->early_offset = htole32(offset);
}

int rp_slru_apply(struct rp_slru *slru, const struct wa_state_op *op)
{
	const struct wa_slru_pages pages = {.get = get, .arg = slru};
	if (op->kind == WA_OP_SLRU_TRUNCATE)
		return truncate_slru(slru, op->slru.slru, op);
	if (op->kind == WA_OP_MULTI)
		note_early_offset(slru, op);
	return wa_slru_apply(op, &pages);
}

int rp_slru_ended(struct rp_slru *slru, enum wa_xact_status status, uint32_t first, uint32_t count)
{
	const struct wa_slru_pages pages = {.get = get, .arg = slru};
	return wa_slru_ended(status, first, count, &pages);
}

int rp_slru_have(struct rp_slru *slru, enum wa_slru kind, int64_t page)
{
	struct slot *slot;
	bool there;
	int status = hold(slru, kind, page, &slot, &there);
	if (status == 0 && !there)
		slot->changed = true;
	return status;
}

/* ----------------------------------------------------------------- trim */

static void zero_from(uint8_t *page, size_t from)
{
	memset(page + from, 0, WA_PAGE_SIZE - from);
}

/* The page exists where ids lie on it already; else it begins when the first one is given out. */
static int trim_xact(struct rp_slru *slru, uint32_t next_xid)
{
	uint8_t *page;
	uint32_t entry = next_xid % WA_XACTS_PER_PAGE;
	if (entry == 0)
		return 0;
	int status = get(slru, WA_SLRU_XACT, next_xid / WA_XACTS_PER_PAGE, false, &page);
	if (status < 0)
		return status;
	page[entry / 4] &= (uint8_t)((1u << entry % 4 * 2) - 1);
	zero_from(page, entry / 4 + 1);
	return 0;
}

static int trim_offsets(struct rp_slru *slru, uint32_t next_multi, uint32_t next_offset)
{
	uint8_t *page;
	uint32_t entry = next_multi % WA_OFFSETS_PER_PAGE, raw = htole32(next_offset);
	int status = get(slru, WA_SLRU_OFFSETS, next_multi / WA_OFFSETS_PER_PAGE, entry == 0, &page);
	if (status < 0)
		return status;
	memcpy(page + 4 * (size_t)entry, &raw, sizeof(raw));
	zero_from(page, 4 * ((size_t)entry + 1));
	return 0;
}

/* Postgres leaves the page alone where the next member goes into its first group. */
static int trim_members(struct rp_slru *slru, uint32_t next_offset)
{
	uint8_t *page;
	uint32_t at = next_offset % WA_MEMBERS_PER_PAGE, slot = at % MEMBERS_PER_GROUP;
	if (at < MEMBERS_PER_GROUP)
		return 0;
	int status = get(slru, WA_SLRU_MEMBERS, next_offset / WA_MEMBERS_PER_PAGE, false, &page);
	if (status == 0)
		zero_from(page, at / MEMBERS_PER_GROUP * GROUP_SIZE + 4 + 4 * slot);
	return status;
}

int rp_slru_trim(struct rp_slru *slru, const struct wa_counters *counters)
{
	int status = trim_xact(slru, (uint32_t)counters->next_xid);
	if (status == 0)
		status = trim_offsets(slru, counters->next_multi, counters->next_multi_offset);
	if (status == 0)
		status = trim_members(slru, counters->next_multi_offset);
	return status;
}

int rp_slru_flush(struct rp_slru *slru)
{
	int status = 0;
	for (unsigned kind = 0; kind < WA_SLRUS; kind++)
		for (unsigned i = 0; i < SLOTS && status == 0; i++)
			if (slru->slots[i].slru == (enum wa_slru)kind)
				status = write_slot(slru, &slru->slots[i]);
	int closed = close_file(slru);
	return status < 0 ? status : closed;
}
