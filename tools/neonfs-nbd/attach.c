/* neonfs-nbd attach, detach: a kernel block device of a volume. See nbd.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/lib/store.h"
#include "tools/neonfs-nbd/nbd.h"

#define DEVICES_MAX 64u
#define OUTPUT_MAX 4096

/* The path of the volume in the mount: BRANCH/FILE, BRANCH@POINT/FILE. */
static int path_in_mount(const struct tl_call *call, char *ret_path)
{
	char store[PATH_MAX], mountpoint[PATH_MAX];
	const char *volume = call->args[0], *slash = strchr(volume, '/');
	if (slash == NULL)
		return tl_usage("a volume is named BRANCH/FILE or BRANCH/FILE@POINT");
	int code = tl_store_choose(tl_value(call, "store"), store);
	if (code == TL_OK)
		code = tl_store_mountpoint(store, mountpoint, NULL);
	if (code != TL_OK)
		return code;
	const char *at = memchr(volume, '@', (size_t)(slash - volume)) == NULL ? strrchr(slash, '@') : NULL;
	int used;
	if (at == NULL) {
		used = snprintf(ret_path, PATH_MAX, "%s/%s", mountpoint, volume);
	} else {
		used = snprintf(ret_path, PATH_MAX, "%s/%.*s%s", mountpoint, (int)(slash - volume), volume, at);
		for (char *c = ret_path + strlen(mountpoint) + 1; *c != '\0'; c++)
			if (*c == '/')
				*c = '-';
		if (used < PATH_MAX)
			used += snprintf(ret_path + used, PATH_MAX - (size_t)used, "%.*s", (int)(at - slash), slash);
	}
	return used < PATH_MAX ? TL_OK : tl_fail("the volume's path is too long");
}

static int need_root(void)
{
	return geteuid() == 0 ? TL_OK : tl_fail("block devices are made and taken away by root");
}

/* ------------------------------------------------------------------- loop */

static int attach_loop(const char *path, bool read_only)
{
	char device[OUTPUT_MAX];
	char *const words[] = {"losetup", "--find", "--show", "--direct-io=on", (char *)path, read_only ? "--read-only" : NULL, NULL};
	if (access(path, R_OK) != 0)
		return tl_fail("cannot reach %s: %s", path, strerror(errno));
	int status = nbd_run(words, device, sizeof(device));
	if (status != 0 || device[0] != '/')
		return tl_fail("losetup does not make a device of it");
	printf("%s\n", device);
	return TL_OK;
}

/* The loop devices over the file, one a line. */
static int loops_of(const char *path, char *ret_devices, size_t size)
{
	char *const words[] = {"losetup", "--associated", (char *)path, "--noheadings", "--output", "NAME", NULL};
	return nbd_run(words, ret_devices, size) == 0 ? TL_OK : tl_fail("losetup does not say which devices there are");
}

static int detach_loops(const char *path, unsigned *ret_count)
{
	char devices[OUTPUT_MAX], *rest = NULL;
	*ret_count = 0;
	int code = loops_of(path, devices, sizeof(devices));
	for (char *device = strtok_r(devices, "\n", &rest); device != NULL && code == TL_OK; device = strtok_r(NULL, "\n", &rest)) {
		char *const words[] = {"losetup", "--detach", device, NULL};
		if (nbd_run(words, NULL, 0) != 0)
			code = tl_fail("losetup does not take %s away", device);
		++*ret_count;
	}
	return code;
}

/* -------------------------------------------------------------------- nbd */

static bool has_nbd(void)
{
	return access("/dev/nbd0", F_OK) == 0;
}

static bool is_used(unsigned number)
{
	char path[64];
	snprintf(path, sizeof(path), "/sys/block/nbd%u/pid", number);
	return access(path, F_OK) == 0;
}

/* Beside the server's pid file: which device it is. */
static void record_path(const struct nbd_place *place, char *ret_path)
{
	snprintf(ret_path, PATH_MAX, "%.*s.device", (int)(strlen(place->pid_file) - 4), place->pid_file);
}

static int connect_device(const struct nbd_place *place, char *ret_device)
{
	char record[PATH_MAX];
	for (unsigned i = 0; i < DEVICES_MAX; i++) {
		snprintf(ret_device, 32, "/dev/nbd%u", i);
		if (access(ret_device, F_OK) != 0)
			break;
		if (is_used(i))
			continue;
		char *const words[] = {"nbd-client", "-unix", (char *)place->socket, ret_device, "-block-size", "4096", NULL};
		if (nbd_run(words, NULL, 0) != 0)
			return tl_fail("nbd-client does not connect %s", ret_device);
		record_path(place, record);
		FILE *file = fopen(record, "w");
		if (file == NULL || fprintf(file, "%s\n", ret_device) < 0 || fclose(file) != 0)
			tl_warn("cannot note the device in %s; detach it with \"nbd-client -d %s\"", record, ret_device);
		return TL_OK;
	}
	return tl_fail("every network block device is in use");
}

static int attach_nbd(const struct tl_call *call, bool read_only)
{
	static struct nbd_place place;
	char store[PATH_MAX], device[32];
	int code = tl_store_choose(tl_value(call, "store"), store);
	if (code == TL_OK)
		code = nbd_place_of(call->args[0], &place);
	if (code == TL_OK)
		code = nbd_serve(call, store, place.socket, place.pid_file, read_only);
	if (code != TL_OK)
		return code;
	code = connect_device(&place, device);
	if (code == TL_OK)
		printf("%s\n", device);
	else if (nbd_stop(place.pid_file) != TL_OK)
		tl_warn("its server goes on; end it with \"neonfs-nbd stop %s\"", call->args[0]);
	return code;
}

static int detach_nbd(const struct tl_call *call, bool *ret_found)
{
	static struct nbd_place place;
	char record[PATH_MAX], device[32] = "";
	*ret_found = false;
	int code = nbd_place_of(call->args[0], &place);
	if (code != TL_OK)
		return code;
	record_path(&place, record);
	FILE *file = fopen(record, "r");
	if (file == NULL)
		return TL_OK;
	*ret_found = fscanf(file, "%31s", device) == 1;
	fclose(file);
	char *const words[] = {"nbd-client", "-d", device, NULL};
	if (*ret_found && nbd_run(words, NULL, 0) != 0)
		return tl_fail("nbd-client does not take %s away", device);
	if (unlink(record) != 0)
		tl_warn("%s stays: %s", record, strerror(errno));
	return *ret_found ? nbd_stop(place.pid_file) : TL_OK;
}

/* ----------------------------------------------------------------- commands */

int run_attach(const struct tl_call *call)
{
	static char path[PATH_MAX];
	bool read_only = tl_flag(call, "read-only");
	int code = need_root();
	if (code == TL_OK && has_nbd() && !tl_flag(call, "loop"))
		return attach_nbd(call, read_only);
	if (code == TL_OK)
		code = path_in_mount(call, path);
	return code == TL_OK ? attach_loop(path, read_only || strchr(call->args[0], '@') != NULL) : code;
}

int run_detach(const struct tl_call *call)
{
	static char path[PATH_MAX];
	bool found = false;
	unsigned count = 0;
	int code = need_root();
	if (code == TL_OK && has_nbd())
		code = detach_nbd(call, &found);
	if (code == TL_OK && !found)
		code = path_in_mount(call, path);
	if (code == TL_OK && !found)
		code = detach_loops(path, &count);
	if (code == TL_OK && !found && count == 0)
		return tl_fail("there is no block device of it");
	return code;
}
