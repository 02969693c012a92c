/* See control_lazy.h. */
#include "tools/neonfs/control_lazy.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/nf_log.h"
#include "tools/neonfs/control_prepare.h"
#include "walapply/pitr/wa_history.h"

int ctl_lazy_begin(struct ctl_call *call, const struct wa_lazy_base *base, struct nf_lsn to, json_t *facts,
		   struct wa_lazy_layer **ret_layer)
{
	char message[WA_HISTORY_MESSAGE_MAX] = "";
	int64_t began_ns = ctl_now_ns();
	*ret_layer = NULL;
	int rc = wa_lazy_begin(call->lazy, base, to, ret_layer, message, sizeof(message));
	ctl_note_time(facts, "gather", &began_ns);
	if (rc == -ENOTSUP) {
		json_object_set_new(facts, "eager", tl_json_text(message));
		return 0;
	}
	return rc == 0 ? 0 : ctl_error(call, "failed", "%s", message);
}

void ctl_lazy_summaries(const struct wa_lazy_layer *layer, int *ret_fd)
{
	int fd = memfd_create("summaries", MFD_CLOEXEC), rc = fd < 0 ? -errno : wa_lazy_pack_summaries(layer, fd);
	if (rc != 0) {
		nf_info("summaries cannot be handed to the preparer, which reads them itself: %s", strerror(-rc));
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	*ret_fd = fd;
}

/* The new timeline is there now: its history is to be archived. */
static void announce_history(const struct ctl_call *call, const char *branch)
{
	char from[PATH_MAX], to[PATH_MAX], below[64], number[9] = "";
	ctl_path(call, branch, "pg_wal/xlogtemp.history_ready", from);
	int fd = open(from, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd >= 0 ? read(fd, number, sizeof(number) - 1) : -1;
	if (fd >= 0)
		close(fd);
	snprintf(below, sizeof(below), "pg_wal/archive_status/%s.history.ready", number);
	ctl_path(call, branch, below, to);
	if (got != (ssize_t)sizeof(number) - 1 || strspn(number, "0123456789ABCDEF") != (size_t)got || rename(from, to) != 0)
		nf_warn("branch %s: the history of its new timeline is not marked as to be archived", branch);
}

/* By the mount, so that the kernel learns of it. */
static int put_control(const struct ctl_call *call, struct bd_branch_id branch)
{
	char from[PATH_MAX], to[PATH_MAX];
	struct bd_branch_info now;
	int rc = bd_branch_get(call->store, branch, &now);
	if (rc != 0)
		return rc;
	ctl_path(call, now.name, "pg_wal/xlogtemp.pg_control", from);
	ctl_path(call, now.name, "global/pg_control", to);
	if (rename(from, to) != 0)
		return -errno;
	announce_history(call, now.name);
	return 0;
}

static bool is_touched(const void *layer, struct bd_file_id file, char ret_path[FS_CHANGED_PATH_MAX])
{
	static_assert(WA_LAZY_PATH_MAX <= FS_CHANGED_PATH_MAX, "a path fits");
	return wa_lazy_touches(layer, file, ret_path);
}

int ctl_lazy_lay(struct ctl_call *call, struct wa_lazy_layer *layer, const struct bd_branch_info *branch, json_t *facts,
		 bool *ret_is_laid)
{
	char message[WA_HISTORY_MESSAGE_MAX] = "";
	uint8_t bytes[WA_LAZY_FACTS_MAX];
	size_t size;
	struct bd_epoch epoch;
	int64_t began_ns = ctl_now_ns();
	int rc = wa_lazy_seal(layer, branch->id, bytes, &size, message, sizeof(message));
	if (rc == -ENOTSUP) {
		json_object_set_new(facts, "eager", tl_json_text(message));
		return 1;
	}
	if (rc != 0)
		return ctl_error(call, "failed", "%s", message);
	ctl_note_time(facts, "seal", &began_ns);
	*ret_is_laid = true;
	rc = bd_layer_create(call->store, branch->id, bytes, size, &epoch);
	if (rc == 0)
		rc = fs_branch_refresh(call->fs, branch->id, is_touched, layer);
	ctl_note_time(facts, "refresh", &began_ns);
	if (rc == 0)
		rc = put_control(call, branch->id);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot lay the redo layer of the branch");
	ctl_note_time(facts, "layer", &began_ns);
	json_object_set_new(facts, "lazy_blocks", json_integer((json_int_t)wa_lazy_blocks(layer)));
	return 0;
}
