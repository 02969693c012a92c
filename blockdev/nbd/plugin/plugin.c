/* nbdkit plugin "neonfs": a file of a neonfs branch, or a point of one, as a network block device.
 *
 * nbdkit speaks NBD; this turns its calls into requests to the store's daemon (channel.h). One session with the daemon serves all clients, so what
 * one of them has written the others see, and a flush covers the writes of all. Before nbdkit goes into the background a probe tells whether the
 * volume can be served, so that mistakes are seen; the session begins afterwards, by the process that stays. */
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "blockdev/nbd/plugin/channel.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

/* Set by nbdkit's main thread before any client comes. */
static char *store_path, *socket_path, *volume_name;
static bool is_read_only;
static struct channel *channel;

static struct channel_options options(void)
{
	return (struct channel_options){.store = store_path, .socket = socket_path, .name = volume_name, .read_only = is_read_only};
}

/* ---------------------------------------------------------- configuration */

static int set_text(char **text, const char *key, const char *value)
{
	if (*text != NULL) {
		nbdkit_error("%s= is given twice", key);
		return -1;
	}
	*text = strdup(value);
	if (*text == NULL)
		nbdkit_error("no memory");
	return *text != NULL ? 0 : -1;
}

static int set_path(char **path, const char *key, const char *value)
{
	char *absolute = nbdkit_absolute_path(value);
	int rc = absolute != NULL ? set_text(path, key, absolute) : -1;
	free(absolute);
	return rc;
}

static int plugin_config(const char *key, const char *value)
{
	if (strcmp(key, "store") == 0)
		return set_path(&store_path, key, value);
	if (strcmp(key, "socket") == 0)
		return set_path(&socket_path, key, value);
	if (strcmp(key, "file") == 0)
		return set_text(&volume_name, key, value);
	if (strcmp(key, "readonly") == 0) {
		int flag = nbdkit_parse_bool(value);
		is_read_only = flag == 1;
		return flag < 0 ? -1 : 0;
	}
	nbdkit_error("there is no parameter %s=", key);
	return -1;
}

static int plugin_config_complete(void)
{
	if (volume_name == NULL || (store_path == NULL) == (socket_path == NULL)) {
		nbdkit_error("file=BRANCH/FILE[@POINT] is needed, and either store=DIRECTORY or socket=PATH");
		return -1;
	}
	return 0;
}

#define CONFIG_HELP                                                                                                              \
	"file=BRANCH/FILE[@POINT]  (required) what is served; a point is read-only\n"                                            \
	"store=DIRECTORY           the store, mounted by neonfs; or\n"                                                           \
	"socket=PATH               its volume.sock\n"                                                                            \
	"readonly=BOOL             serve a branch's file without writing, beside whoever writes it"

static int plugin_get_ready(void)
{
	const struct channel_options how = options();
	struct channel_facts facts;
	char message[CHANNEL_MESSAGE_MAX];
	int rc = channel_probe(&how, &facts, message);
	if (rc != 0)
		nbdkit_error("%s: %s", volume_name, message);
	return rc == 0 ? 0 : -1;
}

static int plugin_after_fork(void)
{
	const struct channel_options how = options();
	char message[CHANNEL_MESSAGE_MAX];
	int rc = channel_open(&how, &channel, message);
	if (rc != 0)
		nbdkit_error("%s: %s", volume_name, message);
	return rc == 0 ? 0 : -1;
}

static void plugin_unload(void)
{
	channel_close(channel);
	free(store_path);
	free(socket_path);
	free(volume_name);
}

/* --------------------------------------------------------- what it can do */

static void *plugin_open(int readonly)
{
	(void)readonly;
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t plugin_get_size(void *handle)
{
	(void)handle;
	return (int64_t)channel_facts(channel).size_bytes;
}

static int plugin_can_write(void *handle)
{
	(void)handle;
	return !channel_facts(channel).read_only;
}

static int plugin_yes(void *handle)
{
	(void)handle;
	return 1;
}

static int plugin_no(void *handle)
{
	(void)handle;
	return 0;
}

static int plugin_can_fua(void *handle)
{
	(void)handle;
	return NBDKIT_FUA_NATIVE;
}

static int plugin_can_cache(void *handle)
{
	(void)handle;
	return NBDKIT_CACHE_NATIVE;
}

static int plugin_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
	(void)handle;
	*minimum = 1;
	*preferred = NF_BLOCK_SIZE;
	*maximum = UINT32_MAX;
	return 0;
}

/* ----------------------------------------------------------------- service */

/* What NBD has no word for, such as a block with a wrong checksum, is EIO; nbdkit (protocol.c, nbd_errno) would make EINVAL of it. */
static int nbd_error(int error)
{
	switch (error) {
	case EPERM:
	case EROFS:
	case ENOMEM:
	case EINVAL:
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
	case ESHUTDOWN: return error;
	default: return EIO;
	}
}

static int answer(int rc, const char *what)
{
	if (rc == 0)
		return 0;
	const char *trouble = channel_trouble(channel);
	nbdkit_error("%s: cannot %s: %s%s%s", volume_name, what, strerror(-rc), trouble[0] != '\0' ? "; " : "", trouble);
	nbdkit_set_error(nbd_error(-rc));
	return -1;
}

static uint32_t fua(uint32_t flags)
{
	return flags & NBDKIT_FLAG_FUA ? NBD_FUA : 0;
}

static int plugin_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	(void)handle, (void)flags;
	return answer(channel_run(channel, NBD_READ, 0, buf, count, offset), "read");
}

static int plugin_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	(void)handle;
	return answer(channel_run(channel, NBD_WRITE, fua(flags), (void *)buf, count, offset), "write");
}

static int plugin_flush(void *handle, uint32_t flags)
{
	(void)handle, (void)flags;
	return answer(channel_flush(channel), "flush");
}

static int plugin_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	(void)handle;
	return answer(channel_run(channel, NBD_TRIM, fua(flags), NULL, count, offset), "trim");
}

/* A hole costs nothing, and a block that is written later needs new room either way: so zeros are holes, also where the client would
 * rather have them allocated. */
static int plugin_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	(void)handle;
	return answer(channel_run(channel, NBD_ZERO, fua(flags), NULL, count, offset), "write zeroes");
}

static int plugin_cache(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	(void)handle, (void)flags;
	return answer(channel_run(channel, NBD_CACHE, 0, NULL, count, offset), "cache");
}

static int add_extents(const struct nbd_extent *list, uint32_t count, uint64_t offset, bool only_one, struct nbdkit_extents *extents)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t type = list[i].is_hole ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0;
		if (nbdkit_add_extent(extents, offset, list[i].length, type) != 0)
			return -1;
		if (only_one)
			break;
		offset += list[i].length;
	}
	return 0;
}

static int plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags, struct nbdkit_extents *extents)
{
	(void)handle;
	struct nbd_extent *list = malloc(NBD_EXTENTS_MAX * sizeof(*list));
	uint32_t found = 0;
	int rc = list != NULL ? channel_extents(channel, count, offset, list, &found) : -ENOMEM;
	rc = rc == 0 ? add_extents(list, found, offset, (flags & NBDKIT_FLAG_REQ_ONE) != 0, extents) : answer(rc, "tell extents");
	free(list);
	return rc;
}

static struct nbdkit_plugin plugin = {
	.name = "neonfs",
	.version = NEONFS_VERSION,
	.longname = "neonfs volumes",
	.description = "Serves a file of a branch of a neonfs store, or of a point of it",
	.config = plugin_config,
	.config_complete = plugin_config_complete,
	.config_help = CONFIG_HELP,
	.magic_config_key = "file",
	.get_ready = plugin_get_ready,
	.after_fork = plugin_after_fork,
	.unload = plugin_unload,
	.open = plugin_open,
	.get_size = plugin_get_size,
	.block_size = plugin_block_size,
	.can_write = plugin_can_write,
	.can_flush = plugin_yes,
	.is_rotational = plugin_no,
	.can_trim = plugin_yes,
	.can_zero = plugin_yes,
	.can_fast_zero = plugin_yes,
	.can_fua = plugin_can_fua,
	.can_multi_conn = plugin_yes,
	.can_extents = plugin_yes,
	.can_cache = plugin_can_cache,
	.pread = plugin_pread,
	.pwrite = plugin_pwrite,
	.flush = plugin_flush,
	.trim = plugin_trim,
	.zero = plugin_zero,
	.extents = plugin_extents,
	.cache = plugin_cache,
	/* Errors are set by nbdkit_set_error. */
	.errno_is_preserved = 0,
};

NBDKIT_REGISTER_PLUGIN(plugin)
