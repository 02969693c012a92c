/* STORE/tier.json: config.h has what is in it.
 *
 * A number with a default may be missing, or 0, for that default; so a file of an older version and one that people wrote by hand do. What is not
 * known is refused: a word spelled wrong would else be a limit that does not hold. */
#include "blockdev/tier/config.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NEW BD_TIER_CONFIG_FILE ".new"
#define FILE_MAX_BYTES 65536
#define YEAR_S (366u * 86400u)

/* member, kind, least, most, default */
#define CONFIG_NUMBERS(X)                                                                                                        \
	X(local_limit_bytes, uint64_t, 0, INT64_MAX, 0)                                                                          \
	X(delay_ms, uint32_t, 1, 3600000, 1000)                                                                                  \
	X(lease_s, uint32_t, 1, 3600, 20)                                                                                        \
	X(grace_s, uint32_t, 1, 10 * YEAR_S, 86400)                                                                              \
	X(close_wait_s, uint32_t, 1, 86400, 60)                                                                                  \
	X(send_rate, uint64_t, 0, INT64_MAX, 0)                                                                                  \
	X(receive_rate, uint64_t, 0, INT64_MAX, 0)                                                                               \
	X(parallel, unsigned, 1, OB_PARALLEL_MAX, 8)
#define CONFIG_FLAGS(X)                                                                                                          \
	X(no_lease)                                                                                                              \
	X(read_only)

static int refuse(char *message, size_t size, const char *format, const char *name)
{
	char reason[256];
	snprintf(reason, sizeof(reason), format, name);
	snprintf(message, size, "%s: %s", BD_TIER_CONFIG_FILE, reason);
	return -EUCLEAN;
}

static int parse_url(const json_t *value, struct bd_tier_config *config, char *message, size_t size)
{
	const char *url = json_string_value(value);
	if (url == NULL || url[0] == '\0' || strlen(url) >= sizeof(config->url))
		return refuse(message, size, "\"%s\" is no URL", "url");
	for (const char *at = url; *at != '\0'; at++) {
		if (iscntrl((unsigned char)*at))
			return refuse(message, size, "\"%s\" is no URL", "url");
	}
	memcpy(config->url, url, strlen(url) + 1);
	return 0;
}

static int parse_number(const char *name, const json_t *value, uint64_t least, uint64_t most, uint64_t *ret_number,
			char *message, size_t size)
{
	json_int_t number = json_integer_value(value);
	if (!json_is_integer(value) || number < 0 || (number != 0 && (uint64_t)number < least) || (uint64_t)number > most) {
		char reason[128];
		snprintf(reason, sizeof(reason), "\"%%s\" has to be a number from %" PRIu64 " to %" PRIu64, least, most);
		return refuse(message, size, reason, name);
	}
	*ret_number = (uint64_t)number;
	return 0;
}

static int parse_member(const char *name, const json_t *value, struct bd_tier_config *config, char *message, size_t size)
{
	uint64_t number;
	int error;
	if (strcmp(name, "url") == 0)
		return parse_url(value, config, message, size);
#define PARSE_NUMBER(member, type, least, most, usual)                                                                           \
	if (strcmp(name, #member) == 0) {                                                                                        \
		error = parse_number(name, value, least, most, &number, message, size);                                          \
		if (error == 0)                                                                                                  \
			config->member = number != 0 ? (type)number : (usual);                                                   \
		return error;                                                                                                    \
	}
	CONFIG_NUMBERS(PARSE_NUMBER)
#undef PARSE_NUMBER
#define PARSE_FLAG(member)                                                                                                       \
	if (strcmp(name, #member) == 0) {                                                                                        \
		config->member = json_is_true(value);                                                                            \
		return json_is_boolean(value) ? 0 : refuse(message, size, "\"%s\" has to be true or false", name);               \
	}
	CONFIG_FLAGS(PARSE_FLAG)
#undef PARSE_FLAG
	return refuse(message, size, "\"%s\" is not known to this neonfs; take it out, or use a newer neonfs", name);
}

void bd_tier_config_fill(struct bd_tier_config *config)
{
#define FILL_NUMBER(member, type, least, most, usual) config->member = config->member != 0 ? config->member : (usual);
	CONFIG_NUMBERS(FILL_NUMBER)
#undef FILL_NUMBER
}

static int parse(json_t *root, struct bd_tier_config *ret_config, char *message, size_t size)
{
	struct bd_tier_config config = {0};
	bd_tier_config_fill(&config);
	if (!json_is_object(root))
		return refuse(message, size, "it is no %s", "JSON object");
	void *at = json_object_iter(root);
	int error = 0;
	for (; at != NULL && error == 0; at = json_object_iter_next(root, at))
		error = parse_member(json_object_iter_key(at), json_object_iter_value(at), &config, message, size);
	if (error == 0 && config.url[0] == '\0')
		error = refuse(message, size, "\"%s\" is missing", "url");
	if (error == 0)
		*ret_config = config;
	return error;
}

/* The whole file, malloc'd. */
static int read_file(const char *path, char **ret_text, size_t *ret_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	char *text = malloc(FILE_MAX_BYTES);
	size_t used = 0;
	int error = text != NULL ? 0 : -ENOMEM;
	while (error == 0) {
		ssize_t got = read(fd, text + used, FILE_MAX_BYTES - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			error = -errno;
		else if (got > 0 && (used += (size_t)got) == FILE_MAX_BYTES)
			error = -EUCLEAN;
		else if (got == 0)
			break;
	}
	close(fd);
	if (error != 0) {
		free(text);
		return error;
	}
	*ret_text = text;
	*ret_size = used;
	return 0;
}

int bd_tier_config_read(const char *store_path, struct bd_tier_config *ret_config, char *message, size_t size)
{
	char path[PATH_MAX], *text = NULL;
	size_t text_size = 0;
	if (snprintf(path, sizeof(path), "%s/%s", store_path, BD_TIER_CONFIG_FILE) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	int error = read_file(path, &text, &text_size);
	if (error == -ENOENT)
		return error;
	if (error != 0) {
		snprintf(message, size, "%s cannot be read: %s", BD_TIER_CONFIG_FILE, strerror(-error));
		return error;
	}
	json_error_t where;
	json_t *root = json_loadb(text, text_size, JSON_REJECT_DUPLICATES, &where);
	free(text);
	if (root == NULL) {
		snprintf(message, size, "%s: line %d: %s", BD_TIER_CONFIG_FILE, where.line, where.text);
		return -EUCLEAN;
	}
	error = parse(root, ret_config, message, size);
	json_decref(root);
	return error;
}

static json_t *make_json(const struct bd_tier_config *config)
{
	json_t *root = json_object();
	int failed = root == NULL || json_object_set_new(root, "url", json_string(config->url));
#define SET_NUMBER(member, type, least, most, usual)                                                                             \
	failed = failed || json_object_set_new(root, #member,                                                                    \
					       json_integer((json_int_t)(config->member != 0 ? config->member : (usual))));
	CONFIG_NUMBERS(SET_NUMBER)
#undef SET_NUMBER
#define SET_FLAG(member) failed = failed || json_object_set_new(root, #member, json_boolean(config->member));
	CONFIG_FLAGS(SET_FLAG)
#undef SET_FLAG
	if (failed) {
		json_decref(root);
		return NULL;
	}
	return root;
}

static int write_all(int fd, const char *text, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t put = write(fd, text + done, size - done);
		if (put < 0 && errno != EINTR)
			return -errno;
		done += put > 0 ? (size_t)put : 0;
	}
	return fsync(fd) == 0 ? 0 : -errno;
}

static int write_file(int directory, const char *text)
{
	if (unlinkat(directory, FILE_NEW, 0) != 0 && errno != ENOENT)
		return -errno;
	int fd = openat(directory, FILE_NEW, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	int error = write_all(fd, text, strlen(text));
	close(fd);
	if (error == 0 && renameat(directory, FILE_NEW, directory, BD_TIER_CONFIG_FILE) != 0)
		error = -errno;
	if (error != 0)
		unlinkat(directory, FILE_NEW, 0);
	else if (fsync(directory) != 0)
		error = -errno;
	return error;
}

int bd_tier_config_write(const char *store_path, const struct bd_tier_config *config)
{
	json_t *root = make_json(config);
	/* What could not be read again is not written: the same rules, in one place. */
	struct bd_tier_config again;
	char reason[512], *text = NULL;
	int error = root == NULL ? -ENOMEM : parse(root, &again, reason, sizeof(reason)) != 0 ? -EINVAL : 0;
	if (error == 0) {
		text = json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
		error = text != NULL ? 0 : -ENOMEM;
	}
	json_decref(root);
	int directory = error == 0 ? open(store_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (error == 0)
		error = directory >= 0 ? write_file(directory, text) : -errno;
	if (directory >= 0)
		close(directory);
	free(text);
	return error;
}
