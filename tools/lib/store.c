/* Which store the user means. See store.h. */
#include "tools/lib/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/lib/cli.h"
#include "tools/lib/mounts.h"

/* The store of the mount that the current directory is in. */
static int store_of_directory(char *ret_store)
{
	static struct tl_mount mount;
	char directory[PATH_MAX];
	if (getcwd(directory, sizeof(directory)) != NULL && tl_mount_of(directory, &mount) == 0 && tl_mount_is_neonfs(&mount)) {
		snprintf(ret_store, PATH_MAX, "%s", mount.source);
		return TL_OK;
	}
	return tl_usage("which store? Name it with --store STORE or in NEONFS_STORE, or run this inside its mount");
}

int tl_store_choose(const char *given, char *ret_store)
{
	const char *store = given;
	if (store == NULL)
		store = getenv("NEONFS_STORE");
	if (store == NULL || (store[0] == '\0' && given == NULL))
		return store_of_directory(ret_store);
	if (strlen(store) >= PATH_MAX)
		return tl_fail("the store's path is too long");
	strcpy(ret_store, store);
	return TL_OK;
}

int tl_store_mountpoint(const char *store, char *ret_mountpoint, struct tl_client **ret_client)
{
	struct tl_client *client;
	struct tl_answer answer;
	char message[TL_MESSAGE_MAX];
	if (tl_client_open(store, &client, message) != 0)
		return tl_fail("%s", message);
	int rc = tl_client_call(client, "store.status", NULL, NULL, &answer);
	if (rc != 0 || !answer.ok) {
		tl_client_close(client);
		return tl_fail("%s", answer.message);
	}
	const char *mountpoint = json_string_value(json_object_get(json_object_get(answer.result, "mount"), "mountpoint"));
	int code = mountpoint != NULL && strlen(mountpoint) < PATH_MAX ? TL_OK : tl_fail("the daemon does not say where the store is mounted");
	if (code == TL_OK)
		strcpy(ret_mountpoint, mountpoint);
	tl_answer_free(&answer);
	if (code == TL_OK && ret_client != NULL)
		*ret_client = client;
	else
		tl_client_close(client);
	return code;
}
