/* JSON of the lease: see the header. Numbers that need 64 bits are hexadecimal text. */
#include "blockdev/tier/lease_doc.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blockdev/tier/lease.h"

#define KEY_START "lease/"
#define BOOT_FILE "/proc/sys/kernel/random/boot_id"
#define VERSION 1

void lease_key(uint32_t generation, char key[LEASE_KEY_SIZE])
{
	snprintf(key, LEASE_KEY_SIZE, KEY_START "%08" PRIx32, generation);
}

bool lease_key_parse(const char *key, uint32_t *ret_generation)
{
	size_t start = strlen(KEY_START);
	if (strncmp(key, KEY_START, start) != 0 || strlen(key) != start + 8 || strspn(key + start, "0123456789abcdef") != 8)
		return false;
	*ret_generation = (uint32_t)strtoul(key + start, NULL, 16);
	return true;
}

static const char *const state_names[] = {
	[LEASE_TAKING] = "taking", [LEASE_HELD] = "held", [LEASE_IDLE] = "idle", [LEASE_RELEASED] = "released"};

const char *lease_state_name(enum lease_state state)
{
	return state_names[state];
}

static bool parse_state(const char *text, enum lease_state *ret_state)
{
	for (enum lease_state state = LEASE_TAKING; state <= LEASE_RELEASED; state++) {
		if (strcmp(text, state_names[state]) == 0) {
			*ret_state = state;
			return true;
		}
	}
	return false;
}

/* 16 hexadecimal digits. */
static bool parse_u64(const char *text, uint64_t *ret_value)
{
	if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
		return false;
	*ret_value = strtoull(text, NULL, 16);
	return true;
}

static json_t *u64_json(uint64_t value)
{
	char text[17];
	snprintf(text, sizeof(text), "%016" PRIx64, value);
	return json_string(text);
}

/* Foreign text that is shown to people. */
static void make_printable(char *text)
{
	for (; *text != '\0'; text++)
		if (!isprint((unsigned char)*text))
			*text = '?';
}

void lease_paper_sign(char holder[LEASE_HOLDER_MAX])
{
	char host[HOST_NAME_MAX + 1] = "";
	if (gethostname(host, sizeof(host) - 1) != 0 || host[0] == '\0')
		snprintf(host, sizeof(host), "a host without a name");
	snprintf(holder, LEASE_HOLDER_MAX, "%s, process %d", host, (int)getpid());
	make_printable(holder);
}

/* ------------------------------------------------------------- lease/G */

char *lease_paper_encode(const struct lease_paper *paper, size_t *ret_size)
{
	const struct lease_doc *doc = &paper->doc;
	json_t *object = json_pack("{s:i, s:I, s:o, s:s, s:s, s:I, s:I, s:I}", "version", VERSION, "generation",
				   (json_int_t)doc->generation, "random", u64_json(doc->holder), "holder", paper->holder, "state",
				   lease_state_name(doc->state), "ttl_ms", (json_int_t)doc->ttl_ms, "renewed",
				   (json_int_t)doc->counter, "time", (json_int_t)paper->time_s);
	char *text = object != NULL ? json_dumps(object, JSON_INDENT(1)) : NULL;
	json_decref(object);
	if (text != NULL)
		*ret_size = strlen(text);
	return text;
}

int lease_paper_decode(const void *bytes, size_t size, struct lease_paper *ret_paper)
{
	struct lease_paper paper = {0};
	int version;
	json_int_t generation, ttl_ms, counter, time_s;
	const char *random, *holder, *state;
	if (size > LEASE_TEXT_MAX)
		return -EUCLEAN;
	json_t *object = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, NULL);
	bool good = object != NULL &&
		    json_unpack(object, "{s:i, s:I, s:s, s:s, s:s, s:I, s:I, s:I !}", "version", &version, "generation", &generation,
				"random", &random, "holder", &holder, "state", &state, "ttl_ms", &ttl_ms, "renewed", &counter, "time",
				&time_s) == 0 &&
		    version == VERSION && generation > 0 && generation <= UINT32_MAX && ttl_ms > 0 && ttl_ms <= UINT32_MAX &&
		    counter >= 0 && parse_u64(random, &paper.doc.holder) && parse_state(state, &paper.doc.state);
	if (good) {
		paper.doc.generation = (uint32_t)generation;
		paper.doc.ttl_ms = (uint32_t)ttl_ms;
		paper.doc.counter = (uint64_t)counter;
		paper.time_s = time_s;
		snprintf(paper.holder, sizeof(paper.holder), "%s", holder);
		make_printable(paper.holder);
		*ret_paper = paper;
	}
	json_decref(object);
	return good ? 0 : -EUCLEAN;
}

/* ------------------------------------------------------------- the record */

int lease_record_here(const char *store_path, struct lease_record_entry *ret_entry)
{
	struct lease_record_entry entry = {0};
	struct stat status;
	if (stat(store_path, &status) != 0)
		return -errno;
	FILE *file = fopen(BOOT_FILE, "re");
	if (file == NULL)
		return -errno;
	bool good = fgets(entry.boot, sizeof(entry.boot), file) != NULL;
	fclose(file);
	if (!good)
		return -EIO;
	entry.boot[strcspn(entry.boot, "\n")] = '\0';
	entry.device = status.st_dev;
	entry.inode = status.st_ino;
	*ret_entry = entry;
	return 0;
}

bool lease_record_has_ended(const struct lease_record_entry *entry, const struct lease_record_entry *here)
{
	return entry->boot[0] != '\0' && strcmp(entry->boot, here->boot) == 0 && entry->device == here->device &&
	       entry->inode == here->inode;
}

static json_t *entry_json(const struct lease_record_entry *entry)
{
	return json_pack("{s:o, s:s, s:o, s:o}", "random", u64_json(entry->holder), "boot", entry->boot, "device",
			 u64_json(entry->device), "inode", u64_json(entry->inode));
}

static bool parse_entry(json_t *object, struct lease_record_entry *ret_entry)
{
	const char *random, *boot, *device, *inode;
	if (json_unpack(object, "{s:s, s:s, s:s, s:s !}", "random", &random, "boot", &boot, "device", &device, "inode", &inode) != 0 ||
	    strlen(boot) >= sizeof(ret_entry->boot) || !parse_u64(random, &ret_entry->holder) || !parse_u64(device, &ret_entry->device) ||
	    !parse_u64(inode, &ret_entry->inode))
		return false;
	strcpy(ret_entry->boot, boot);
	return true;
}

static bool parse_record(json_t *object, struct lease_record *ret_record)
{
	int version;
	json_int_t generation;
	json_t *entries;
	if (json_unpack(object, "{s:i, s:I, s:o !}", "version", &version, "generation", &generation, "leases", &entries) != 0 ||
	    version != VERSION || generation < 0 || generation > UINT32_MAX || !json_is_array(entries) ||
	    json_array_size(entries) > LEASE_RECORD_MAX)
		return false;
	ret_record->generation = (uint32_t)generation;
	ret_record->count = (unsigned)json_array_size(entries);
	for (unsigned i = 0; i < ret_record->count; i++)
		if (!parse_entry(json_array_get(entries, i), &ret_record->entries[i]))
			return false;
	return true;
}

int lease_record_read(const char *store_path, struct lease_record *ret_record)
{
	char path[4096], text[LEASE_TEXT_MAX + 1];
	struct lease_record record = {0};
	snprintf(path, sizeof(path), "%s/" BD_LEASE_RECORD_FILE, store_path);
	FILE *file = fopen(path, "re");
	if (file == NULL) {
		if (errno != ENOENT)
			return -errno;
		*ret_record = record;
		return 0;
	}
	size_t size = fread(text, 1, sizeof(text), file);
	bool good = ferror(file) == 0;
	fclose(file);
	if (!good)
		return -EIO;
	json_t *object = size <= LEASE_TEXT_MAX ? json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL) : NULL;
	good = object != NULL && parse_record(object, &record);
	json_decref(object);
	if (good)
		*ret_record = record;
	return good ? 0 : -EUCLEAN;
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	size_t size = strlen(text), done = 0;
	int error = 0;
	while (error == 0 && done < size) {
		ssize_t count = write(fd, text + done, size - done);
		if (count > 0)
			done += (size_t)count;
		else if (count == 0 || errno != EINTR)
			error = count == 0 ? -EIO : -errno;
	}
	if (error == 0 && fsync(fd) != 0)
		error = -errno;
	if (close(fd) != 0 && error == 0)
		error = -errno;
	return error;
}

static int sync_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int error = fsync(fd) == 0 ? 0 : -errno;
	close(fd);
	return error;
}

int lease_record_write(const char *store_path, const struct lease_record *record)
{
	char path[4096], fresh[4096];
	json_t *entries = json_array();
	int error = entries != NULL ? 0 : -ENOMEM;
	for (unsigned i = 0; error == 0 && i < record->count; i++)
		error = json_array_append_new(entries, entry_json(&record->entries[i])) == 0 ? 0 : -ENOMEM;
	json_t *object = json_pack("{s:i, s:I, s:O}", "version", VERSION, "generation", (json_int_t)record->generation, "leases", entries);
	char *text = error == 0 && object != NULL ? json_dumps(object, JSON_INDENT(1)) : NULL;
	json_decref(object);
	json_decref(entries);
	if (text == NULL)
		return -ENOMEM;
	snprintf(path, sizeof(path), "%s/" BD_LEASE_RECORD_FILE, store_path);
	snprintf(fresh, sizeof(fresh), "%s/" BD_LEASE_RECORD_FILE ".new", store_path);
	error = write_file(fresh, text);
	free(text);
	if (error == 0 && rename(fresh, path) != 0)
		error = -errno;
	return error != 0 ? error : sync_dir(store_path);
}
