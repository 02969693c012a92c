/* A store made from an object store: the order of things, and what is taken back when one fails.
 *
 *   directory, its lock ─▶ lease ─▶ newest manifest ─▶ index ─▶ parts ─▶ pieces into ring and extents ─▶ what the log decides of extents
 *                                      │                                   ▲                                        │
 *                                      └── ring of zeros, on a thread ─────┘              tier.json, superblock ◀───┘
 *
 * Invariants:
 *   1. The lease is taken before the newest manifest is looked for: whoever had it acknowledges nothing any more that could be missed.
 *   2. The superblock is last: a directory without one is no store, whatever is in it.
 *   3. What is removed after a failure is what was made here: the directory was empty, and the lock in it is ours.
 * When an object that is referred to is missing and there is a newer manifest meanwhile, its owner has gone on and deleted it: then all begins again. */
#include "blockdev/tier/attach_impl.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blockdev/log/log_impl.h"
#include "blockdev/tier/clear.h"
#include "blockdev/tier/lease.h"
#include "blockdev/tier/mark.h"
#include "common/nf_log.h"

#define LOCK_FILE "lock"
#define ATTEMPTS_MAX 3

/* ---- the newest manifest */

struct newest {
	uint32_t generation, number;
	uint64_t size;
};

static int look_at_key(void *arg, const struct ob_entry *entry)
{
	struct newest *newest = arg;
	uint32_t generation, number;
	if (!bd_manifest_key_parse(entry->key, &generation, &number))
		return 0;
	if (generation > newest->generation || (generation == newest->generation && number >= newest->number))
		*newest = (struct newest){generation, number, entry->size};
	return 0;
}

static int find_newest(struct ob_client *client, struct newest *ret_newest, char *message, size_t size)
{
	struct newest newest = {0};
	int error = bd_list(client, "manifest/", look_at_key, &newest, message, size);
	if (error == 0 && newest.generation == 0) {
		snprintf(message, size, "the store at %s has no manifest: nothing of it was uploaded yet", ob_client_place(client));
		error = -ENOENT;
	}
	if (error == 0)
		*ret_newest = newest;
	return error;
}

static int get_manifest(struct ob_client *client, const struct newest *newest, struct bd_manifest *ret_manifest, char *message, size_t size)
{
	char key[BD_MANIFEST_KEY_SIZE];
	bd_manifest_key(newest->generation, newest->number, key);
	struct ob_op op = {.kind = OB_GET, .key = key, .buf = malloc(newest->size + 1), .size = newest->size, .deadline_ms = BD_FETCH_REQUEST_MS};
	if (op.buf == NULL)
		return -ENOMEM;
	int error = ob_run(client, &op);
	struct bd_manifest manifest = {0};
	if (error != 0)
		snprintf(message, size, "object %s cannot be read: %s", key, op.message);
	else if ((error = bd_manifest_decode(op.buf, newest->size, &manifest)) != 0)
		snprintf(message, size, "object %s %s", key, error == -EPROTONOSUPPORT ? "is of a newer neonfs; use that" : "is damaged");
	free(op.buf);
	if (error == 0 && (manifest.generation != newest->generation || manifest.number != newest->number)) {
		snprintf(message, size, "object %s is not what its name says", key);
		bd_manifest_free(&manifest);
		error = -EUCLEAN;
	}
	if (error == 0)
		*ret_manifest = manifest;
	return error;
}

int bd_attach_newest(struct ob_client *client, struct bd_manifest *ret_manifest, char *message, size_t size)
{
	struct newest newest = {0}, last;
	int error = 0;
	/* It may go between the list and the get only when there is a newer one. */
	do {
		last = newest;
		error = find_newest(client, &newest, message, size);
		if (error == 0)
			error = get_manifest(client, &newest, ret_manifest, message, size);
	} while (error == -ENOENT && newest.generation != 0 &&
		 (newest.generation != last.generation || newest.number != last.number));
	return error;
}

/* ---- the ring */

struct zeroing {
	pthread_t thread;
	bool runs;
	struct nf_io *io;
	uint64_t bytes;
	int error;
};

static void *zero_ring(void *arg)
{
	struct zeroing *zeroing = arg;
	zeroing->error = bd_log_format(zeroing->io, zeroing->bytes);
	return NULL;
}

static int begin_zeroing(struct attach *attach, struct zeroing *zeroing)
{
	*zeroing = (struct zeroing){.io = attach->io, .bytes = attach->manifest.log_bytes};
	int error = pthread_create(&zeroing->thread, NULL, zero_ring, zeroing);
	zeroing->runs = error == 0;
	return -error;
}

static int end_zeroing(struct zeroing *zeroing)
{
	if (zeroing->runs)
		pthread_join(zeroing->thread, NULL);
	zeroing->runs = false;
	return zeroing->error;
}

int attach_log_make_room(struct attach *attach, uint64_t bytes)
{
	uint64_t ring = attach->manifest.log_bytes;
	/* A quarter is for the work that makes room in the ring: a store never fills more of its own. */
	if (bytes <= ring / 4 * 3)
		return 0;
	/* A multiple: pad records end where the shorter ring did, so none reaches beyond the end of the longer one. */
	attach->manifest.log_bytes = nf_round_up(bytes + bytes / 3, ring);
	int error = nf_io_unlink(attach->io, BD_LOG_FILE);
	return error != 0 ? error : bd_log_format(attach->io, attach->manifest.log_bytes);
}

/* ---- one attempt */

static int check_manifest(struct attach *attach, const struct bd_mark *mark)
{
	const struct bd_manifest *manifest = &attach->manifest;
	if (manifest->store_id != mark->store_id)
		return attach_fail(attach, -EUCLEAN, "manifest %08x-%08x is of another store than the object %s says", manifest->generation,
				   manifest->number, BD_MARK_KEY);
	if (manifest->format_version > BD_FORMAT_VERSION || manifest->format_version < BD_FORMAT_FIRST)
		return attach_fail(attach, -EPROTONOSUPPORT, "the store has format %u, this neonfs knows up to %u; use a newer neonfs",
				   manifest->format_version, BD_FORMAT_VERSION);
	return 0;
}

static int make_parts(struct attach *attach)
{
	struct zeroing zeroing;
	int error = nf_io_mkdir(attach->io, "extents");
	if (error == 0)
		error = begin_zeroing(attach, &zeroing);
	if (error != 0)
		return error;
	error = attach_index(attach);
	if (error == 0)
		error = attach_parts(attach);
	int zero_error = end_zeroing(&zeroing);
	if (error == 0 && zero_error != 0)
		error = attach_fail(attach, zero_error, "%s/" BD_LOG_FILE " cannot be made: %s", attach->path, strerror(-zero_error));
	if (error == 0)
		error = attach_log(attach);
	return error == 0 ? attach_settle_extents(attach) : error;
}

static void tell_result(struct attach *attach)
{
	const struct bd_manifest *manifest = &attach->manifest;
	struct bd_attach_result *result = &attach->result;
	result->store_id = manifest->store_id;
	result->generation = manifest->generation;
	result->manifest = manifest->number;
	result->log_end = attach->log_end;
	for (uint32_t i = 0; i < manifest->file_count; i++)
		result->bytes_total += manifest->files[i].size;
	for (uint32_t i = 0; i < manifest->part_count; i++)
		result->bytes_total += manifest->parts[i].size;
	for (uint32_t i = 0; i < manifest->piece_count; i++)
		result->bytes_total += manifest->pieces[i].size;
	for (uint32_t i = 0; i < manifest->branch_count; i++)
		result->branches += manifest->branches[i].name[0] != '.';
}

static int finish(struct attach *attach)
{
	const struct bd_manifest *manifest = &attach->manifest;
	const struct bd_superblock superblock = {
		/* With extents elsewhere: programs that know no tier must refuse it from the start. */
		.version = NF_MAX(manifest->format_version, BD_FORMAT_TIER),
		.store_id = manifest->store_id,
		.size_limit_bytes = manifest->size_limit_bytes,
		.log_bytes = manifest->log_bytes,
		.created_ns = manifest->store_created_ns,
	};
	int error = bd_tier_config_write(attach->path, attach->config);
	if (error == 0)
		error = nf_io_sync_dir(attach->io, ".");
	return error == 0 ? bd_superblock_make(attach->io, &superblock) : error;
}

static void attempt_free(struct attach *attach)
{
	attach_close_file(attach);
	bd_rows_free(attach->before);
	bd_rows_free(attach->after);
	attach->before = attach->after = NULL;
	free(attach->extents);
	attach->extents = NULL;
	attach->extent_count = attach->extent_capacity = 0;
	bd_manifest_free(&attach->manifest);
}

static int attempt(struct attach *attach)
{
	struct bd_mark mark;
	attach->is_missing = false;
	attach->result = (struct bd_attach_result){.objects_read = 2};
	int error = bd_mark_get(attach->client, &mark, attach->message, attach->message_size);
	if (error == 0)
		error = bd_attach_newest(attach->client, &attach->manifest, attach->message, attach->message_size);
	if (error == 0)
		error = check_manifest(attach, &mark);
	if (error == 0)
		error = bd_rows_new(&attach->before);
	if (error == 0)
		error = bd_rows_new(&attach->after);
	if (error == 0)
		error = make_parts(attach);
	if (error == 0)
		tell_result(attach);
	return error == 0 ? finish(attach) : error;
}

/* ---- the directory */

static int refuse_name(void *arg, const char *name)
{
	(void)arg;
	return strcmp(name, "lost+found") == 0 ? 0 : -ENOTEMPTY;
}

struct place {
	const char *path;
	bool made; /* the directory, by us */
	int lock_fd;
	struct nf_io *io;
};

static int open_place(struct place *place, char *message, size_t size)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof(path), "%s/" LOCK_FILE, place->path) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	place->made = mkdir(place->path, 0700) == 0;
	if (!place->made && errno != EEXIST)
		return -errno;
	int error = nf_io_uring_create(place->path, &place->io);
	if (error == 0)
		error = nf_io_list(place->io, ".", refuse_name, NULL);
	if (error == 0 && chmod(place->path, 0700) != 0)
		error = -errno;
	if (error != 0)
		return error;
	/* Whoever makes it has the directory; it stays the store's lock. */
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno == EEXIST ? -ENOTEMPTY : -errno;
	place->lock_fd = fd;
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		snprintf(message, size, "the directory is in use by another neonfs process");
		return -EBUSY;
	}
	return 0;
}

static void close_place(struct place *place, bool failed)
{
	nf_io_destroy(place->io);
	int error = failed && place->lock_fd >= 0 ? bd_clear_directory(place->path, NULL) : 0;
	if (error == 0 && failed && place->made && rmdir(place->path) != 0)
		error = -errno;
	if (error != 0)
		nf_warn("%s: what was begun there cannot be removed: %s", place->path, strerror(-error));
	if (place->lock_fd >= 0)
		close(place->lock_fd);
}

/* ---- all of it */

static int attempts(struct attach *attach)
{
	struct newest last = {0};
	for (unsigned tries = 1;; tries++) {
		int error = attempt(attach);
		struct newest tried = {.generation = attach->manifest.generation, .number = attach->manifest.number}, newest;
		bool missing = attach->is_missing;
		char ignored[OB_MESSAGE_MAX];
		attempt_free(attach);
		if (error == 0 || !missing || tries == ATTEMPTS_MAX || (tried.generation == last.generation && tried.number == last.number))
			return error;
		if (find_newest(attach->client, &newest, ignored, sizeof(ignored)) != 0 ||
		    (newest.generation == tried.generation && newest.number == tried.number))
			return error;
		last = tried;
		static const char *const kept[] = {LOCK_FILE, BD_LEASE_RECORD_FILE, NULL};
		int clear_error = bd_clear_directory(attach->path, kept);
		if (clear_error != 0)
			return attach_fail(attach, clear_error, "%s cannot be cleared: %s", attach->path, strerror(-clear_error));
	}
}

static int take_lease(struct attach *attach, struct ob_client *client, struct bd_lease **ret_lease)
{
	const struct bd_tier_config *config = attach->config;
	struct bd_mark mark;
	/* First: so that a URL with nothing behind it stays without a lease. */
	int error = bd_mark_get(attach->client, &mark, attach->message, attach->message_size);
	if (error != 0 || config->read_only)
		return error;
	const struct bd_lease_options options = {
		.ttl_ms = config->lease_s * 1000,
		.store_path = attach->path,
		.adopt = true,
		.take_over = attach->options->take_over,
		.unsafe = config->no_lease,
		.say = attach->options->say,
		.arg = attach->options->arg,
	};
	return bd_lease_take(client, &options, ret_lease, attach->message, attach->message_size);
}

static int attach_into(struct place *place, const struct bd_tier_config *config, const struct bd_attach_options *options,
		       struct bd_attach_result *ret_result, char *message, size_t size)
{
	const struct ob_options client_options = {
		.parallel = config->parallel, .send_rate = config->send_rate, .receive_rate = config->receive_rate};
	struct attach attach = {.path = place->path,
				.config = config,
				.options = options,
				.io = place->io,
				.message = message,
				.message_size = size};
	struct ob_client *lease_client = NULL;
	struct bd_lease *lease = NULL;
	int error = ob_client_open(config->url, &client_options, &attach.client, message, size);
	if (error == 0)
		error = ob_client_open(config->url, &(struct ob_options){0}, &lease_client, message, size);
	attach.aligned = nf_io_buffer(ATTACH_ALIGNED_BYTES);
	if (error == 0 && attach.aligned == NULL)
		error = -ENOMEM;
	if (error == 0)
		error = take_lease(&attach, lease_client, &lease);
	if (error == 0)
		error = attempts(&attach);
	bd_lease_close(lease, true);
	if (error == 0)
		*ret_result = attach.result;
	free(attach.aligned);
	ob_client_close(lease_client);
	ob_client_close(attach.client);
	return error;
}

int bd_attach(const char *path, const struct bd_tier_config *config, const struct bd_attach_options *options,
	      struct bd_attach_result *ret_result, char *message, size_t size)
{
	struct place place = {.path = path, .lock_fd = -1};
	struct bd_tier_config filled = *config;
	bd_tier_config_fill(&filled);
	message[0] = '\0';
	int error = open_place(&place, message, size);
	if (error == 0)
		error = attach_into(&place, &filled, options, ret_result, message, size);
	close_place(&place, error != 0);
	if (error != 0 && message[0] == '\0')
		snprintf(message, size, "%s", error == -ENOTEMPTY ? "the directory is not empty" : strerror(-error));
	return error;
}
