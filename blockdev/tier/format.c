/* Making a store with an object store behind it: what the object store can do, the store, its mark in the object store, its tier.json. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blockdev/bd_impl.h"
#include "blockdev/tier/attach.h"
#include "blockdev/tier/clear.h"
#include "blockdev/tier/cold.h"
#include "blockdev/tier/mark.h"

uint64_t bd_tier_least_limit(void)
{
	return bd_cold_least_limit();
}

uint64_t bd_tier_log_bytes(uint64_t local_limit_bytes)
{
	return bd_cold_log_bytes(local_limit_bytes);
}

/* Is the place free, and can a lease be built on it? */
static int check_place(struct ob_client *client, const struct bd_tier_config *config, char *message, size_t size)
{
	struct bd_mark mark;
	int error = bd_mark_get(client, &mark, message, size);
	if (error == 0) {
		snprintf(message, size, "there is a neonfs store at %s already (%016" PRIx64 "); to have it here: neonfs attach",
			 ob_client_place(client), mark.store_id);
		return -EADDRINUSE;
	}
	if (error != -ENOENT || config->no_lease)
		return error == -ENOENT ? 0 : error;
	uint32_t number;
	char key[64], seen[OB_MESSAGE_MAX] = "";
	struct ob_conditional can = {0};
	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return -EIO;
	snprintf(key, sizeof(key), "check-%08" PRIx32, number);
	error = ob_check_conditional(client, key, &can, seen, sizeof(seen));
	if (error != 0 && error != -ENOTSUP) {
		snprintf(message, size, "%s cannot be used: %s", ob_client_place(client), seen);
		return error;
	}
	if (error == -ENOTSUP || !can.if_none_match || !can.one_winner) {
		snprintf(message, size,
			 "%s has no conditional puts that hold (%s), and without them nothing there keeps two machines from writing to one store; where that "
			 "cannot happen: --unsafe-no-lease",
			 ob_client_place(client), seen);
		return -EOPNOTSUPP;
	}
	message[0] = '\0';
	return 0;
}

static int read_superblock(const char *path, struct bd_superblock *ret_superblock, char *message, size_t size)
{
	struct nf_io *io;
	int error = nf_io_uring_create(path, &io);
	if (error != 0)
		return error;
	error = bd_superblock_read(io, ret_superblock, message, size);
	nf_io_destroy(io);
	return error;
}

/* The store is there: tie it and the place together. tier.json first: a mark without a store would keep the place from being used. */
static int tie(const char *path, struct ob_client *client, const struct bd_tier_config *config, char *message, size_t size)
{
	struct bd_superblock superblock;
	int error = read_superblock(path, &superblock, message, size);
	if (error == 0)
		error = bd_tier_config_write(path, config);
	if (error != 0)
		return error;
	const struct bd_mark mark = {.store_id = superblock.store_id, .created_s = superblock.created_ns / 1000000000};
	error = bd_mark_put(client, &mark, !config->no_lease, message, size);
	if (error == -EEXIST) {
		snprintf(message, size, "another store has been made at %s in this moment", ob_client_place(client));
		error = -EADDRINUSE;
	}
	return error;
}

int bd_tier_format(const char *path, const struct bd_format_options *options, const struct bd_tier_config *config, char *message, size_t size)
{
	struct ob_client *client;
	struct stat status;
	message[0] = '\0';
	int error = ob_client_open(config->url, &(struct ob_options){0}, &client, message, size);
	if (error != 0)
		return error;
	bool is_new = stat(path, &status) != 0;
	error = check_place(client, config, message, size);
	if (error == 0)
		error = bd_store_format(path, options);
	/* Before this it was somebody else's, or nothing. */
	if (error == 0) {
		error = tie(path, client, config, message, size);
		if (error != 0 && bd_clear_directory(path, NULL) == 0 && is_new)
			(void)rmdir(path);
		if (error != 0 && message[0] == '\0')
			snprintf(message, size, "the store could not be made: %s", strerror(-error));
	}
	ob_client_close(client);
	return error;
}
