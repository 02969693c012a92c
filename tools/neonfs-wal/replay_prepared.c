/* Prepared transactions and replication origins: kept in memory while the log is read, as files at the end.
 *
 *   pg_twophase/%08X (16 and before) or %08X%08X with the epoch (17 and later): main data of the PREPARE record, CRC-32C u32
 *   pg_logical/replorigin_checkpoint: magic u32 0x1257DADE; then id u16, 6 pad, remote LSN u64 each; CRC-32C u32 over all before
 *
 * Sources: twophase.c (RecreateTwoPhaseFile, PrepareRedoAdd), origin.c (CheckPointReplicationOrigin, StartupReplicationOrigin). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "common/nf_crc32c.h"
#include "common/nf_cursor.h"
#include "tools/neonfs-wal/replay_files.h"
#include "tools/neonfs-wal/replay_impl.h"

#define STATE_MAX (1u << 30) /* of one prepared transaction */
#define ORIGIN_MAGIC 0x1257DADEu
#define ORIGIN_SIZE 16u
#define ORIGINS_FILE "pg_logical/replorigin_checkpoint"

struct rp_prepared {
	uint32_t xid;
	uint64_t full_xid;
	uint8_t *data; /* with the CRC; NULL: the file that is there already */
	size_t size;
	UT_hash_handle hh;
};

struct rp_origin {
	uint32_t id;
	uint64_t remote;
	UT_hash_handle hh;
};

/* -------------------------------------------------- prepared transactions */

static void file_name(const struct replay *replay, const struct rp_prepared *prepared, char name[64])
{
	if (replay->version.major >= 17)
		snprintf(name, 64, "pg_twophase/%016llX", (unsigned long long)prepared->full_xid);
	else
		snprintf(name, 64, "pg_twophase/%08X", prepared->xid);
}

static int load_prepared(void *arg, const char *name)
{
	struct replay *replay = arg;
	char *end;
	unsigned long long full = strtoull(name, &end, 16);
	if (*end != 0 || strlen(name) != (replay->version.major >= 17 ? 16 : 8))
		return 0;
	struct rp_prepared *prepared = calloc(1, sizeof(*prepared));
	if (prepared == NULL)
		return -ENOMEM;
	prepared->xid = (uint32_t)full;
	prepared->full_xid = full;
	HASH_ADD(hh, replay->prepared, xid, sizeof(prepared->xid), prepared);
	return 0;
}

int rp_prepared_load(struct replay *replay)
{
	int status = rp_directory_list(replay->root, "pg_twophase", load_prepared, replay);
	return status < 0 ? rp_fail(replay, status, "pg_twophase: %s", strerror(-status)) : 0;
}

static void free_one(struct replay *replay, struct rp_prepared *prepared)
{
	HASH_DEL(replay->prepared, prepared);
	free(prepared->data);
	free(prepared);
}

static int add_prepared(struct replay *replay, const struct wa_state_op *op)
{
	struct rp_prepared *prepared;
	HASH_FIND(hh, replay->prepared, &op->prepare.xid, sizeof(op->prepare.xid), prepared);
	if (prepared != NULL)
		free_one(replay, prepared);
	prepared = calloc(1, sizeof(*prepared));
	uint8_t *data = malloc((size_t)op->prepare.size + 4);
	if (prepared == NULL || data == NULL) {
		free(prepared);
		free(data);
		return rp_fail(replay, -ENOMEM, "memory is short for a prepared transaction");
	}
	memcpy(data, op->prepare.data, op->prepare.size);
	uint32_t crc = htole32(nf_crc32c(data, op->prepare.size));
	memcpy(data + op->prepare.size, &crc, sizeof(crc));
	prepared->xid = op->prepare.xid;
	prepared->full_xid = wa_counters_full_xid(&replay->counters, op->prepare.xid);
	prepared->data = data;
	prepared->size = (size_t)op->prepare.size + 4;
	HASH_ADD(hh, replay->prepared, xid, sizeof(prepared->xid), prepared);
	return 0;
}

int rp_prepared_op(struct replay *replay, const struct wa_state_op *op)
{
	if (op->kind == WA_OP_PREPARE)
		return add_prepared(replay, op);
	struct rp_prepared *prepared;
	char name[64];
	HASH_FIND(hh, replay->prepared, &op->prepare.xid, sizeof(op->prepare.xid), prepared);
	if (prepared == NULL)
		return 0;
	file_name(replay, prepared, name);
	int status = rp_remove_tree(replay->root, name);
	free_one(replay, prepared);
	return status < 0 ? rp_fail(replay, status, "%s: %s", name, strerror(-status)) : 0;
}

int rp_prepared_store(struct replay *replay)
{
	for (struct rp_prepared *at = replay->prepared; at != NULL; at = at->hh.next) {
		char name[64];
		if (at->data == NULL)
			continue;
		file_name(replay, at, name);
		int status = rp_file_replace(replay->root, name, at->data, at->size, replay->options.syncs);
		if (status < 0)
			return rp_fail(replay, status, "%s: %s", name, strerror(-status));
	}
	return 0;
}

void rp_prepared_free(struct replay *replay)
{
	struct rp_origin *origin, *next;
	while (replay->prepared != NULL)
		free_one(replay, replay->prepared);
	HASH_ITER(hh, replay->origins, origin, next)
	{
		HASH_DEL(replay->origins, origin);
		free(origin);
	}
}

/* ----------------------------------------------------- replication origins */

static struct rp_origin *origin_of(struct replay *replay, uint32_t id)
{
	struct rp_origin *origin;
	HASH_FIND(hh, replay->origins, &id, sizeof(id), origin);
	if (origin != NULL)
		return origin;
	origin = calloc(1, sizeof(*origin));
	if (origin == NULL)
		return NULL;
	origin->id = id;
	HASH_ADD(hh, replay->origins, id, sizeof(origin->id), origin);
	return origin;
}

int rp_origin_op(struct replay *replay, const struct wa_state_op *op)
{
	struct rp_origin *origin = origin_of(replay, op->origin.id);
	if (origin == NULL)
		return rp_fail(replay, -ENOMEM, "memory is short for a replication origin");
	if (op->kind == WA_OP_ORIGIN_DROP) {
		HASH_DEL(replay->origins, origin);
		free(origin);
	} else if (op->origin.backward || origin->remote < op->origin.remote.v) {
		origin->remote = op->origin.remote.v;
	}
	return 0;
}

static int parse_origins(struct replay *replay, const uint8_t *bytes, size_t size)
{
	struct nf_reader reader = nf_reader_init(bytes, size);
	if (nf_read_u32(&reader) != ORIGIN_MAGIC || size < 8)
		return rp_fail(replay, -EBADMSG, ORIGINS_FILE " is damaged: no magic number");
	struct nf_reader crc = nf_reader_init(bytes + size - 4, 4);
	if (nf_read_u32(&crc) != nf_crc32c(bytes, size - 4))
		return rp_fail(replay, -EBADMSG, ORIGINS_FILE " is damaged: its checksum does not fit");
	while (nf_reader_left(&reader) >= ORIGIN_SIZE + 4) {
		uint32_t id = nf_read_u16(&reader);
		nf_read_bytes(&reader, 6);
		struct rp_origin *origin = origin_of(replay, id);
		if (origin == NULL)
			return rp_fail(replay, -ENOMEM, "memory is short for a replication origin");
		origin->remote = nf_read_u64(&reader);
	}
	return 0;
}

int rp_origins_load(struct replay *replay)
{
	uint8_t *bytes;
	size_t size;
	int status = rp_file_read(replay->root, ORIGINS_FILE, 2u << 20, &bytes, &size);
	if (status < 0)
		return status == -ENOENT ? 0 : rp_fail(replay, status, ORIGINS_FILE ": %s", strerror(-status));
	status = parse_origins(replay, bytes, size);
	free(bytes);
	return status;
}

int rp_origins_store(struct replay *replay)
{
	size_t size = 4 + ORIGIN_SIZE * (size_t)HASH_COUNT(replay->origins) + 4;
	uint8_t *bytes = calloc(1, size);
	if (bytes == NULL)
		return rp_fail(replay, -ENOMEM, "memory is short for replication origins");
	struct nf_writer writer = nf_writer_init(bytes, size);
	nf_write_u32(&writer, ORIGIN_MAGIC);
	for (const struct rp_origin *at = replay->origins; at != NULL; at = at->hh.next) {
		static const uint8_t padding[6];
		nf_write_u16(&writer, (uint16_t)at->id);
		nf_write_bytes(&writer, padding, sizeof(padding));
		nf_write_u64(&writer, at->remote);
	}
	nf_write_u32(&writer, nf_crc32c(bytes, size - 4));
	int status = rp_file_replace(replay->root, ORIGINS_FILE, bytes, size, replay->options.syncs);
	free(bytes);
	return status < 0 ? rp_fail(replay, status, ORIGINS_FILE ": %s", strerror(-status)) : 0;
}
