/* Descriptions of XLOG's records.
 *
 *   CheckPoint            redo 0, TLI 8, previous TLI 12, full-page writes 16, wal_level 20 (17+), next xid 24 (8 bytes), next oid 32, next
 *                         multixact 36, its offset 40, oldest xid 44 and its database 48, oldest multixact 52 and its database 56, time
 *                         64, oldest and newest commit timestamp's xid 72 and 76, oldest active xid 80
 *   xl_parameter_change   seven numbers from 0, two booleans at 24
 *   xl_end_of_recovery    time 0, TLI 8, previous TLI 12, wal_level 16 (17+)
 *   xl_restore_point      time 0, name of 64 bytes at 8
 *   xl_overwrite_contrecord   LSN 0, time 8
 *
 * Source: src/backend/access/rmgrdesc/xlogdesc.c, src/include/access/xlog_internal.h and src/include/catalog/pg_control.h. */
#include "describe_impl.h"

#define CHECKPOINT_HEAD "redo {0:lsn}; tli {8:u32}; prev tli {12:u32}; fpw {16:bool}; "
#define CHECKPOINT_TAIL                                                                                                          \
	"xid {24:fxid}; oid {32:u32}; multi {36:u32}; offset {40:u32}; oldest xid {44:u32} in DB {48:u32}; "                     \
	"oldest multi {52:u32} in DB {56:u32}; oldest/newest commit timestamp xid: {72:u32}/{76:u32}; oldest running xid "       \
	"{80:u32}; "
#define CHECKPOINT_LEVEL "wal_level {20:level}; "

#define RESTORE_POINT_NAME 8
#define RESTORE_POINT_NAME_MAX 64 /* MAXFNAMELEN */

static void restore_point(struct wa_describe *d)
{
	struct nf_reader name = wa_describe_main(d, RESTORE_POINT_NAME);
	wa_describe_string(d, &name, RESTORE_POINT_NAME_MAX);
	wa_describe_check(d, &name);
}

static const struct wa_describe_row xlog_rows[] = {
	{0x00, 13, 16, CHECKPOINT_HEAD CHECKPOINT_TAIL "shutdown", NULL}, /* CHECKPOINT_SHUTDOWN */
	{0x00, 17, 18, CHECKPOINT_HEAD CHECKPOINT_LEVEL CHECKPOINT_TAIL "shutdown", NULL},
	{0x10, 13, 16, CHECKPOINT_HEAD CHECKPOINT_TAIL "online", NULL}, /* CHECKPOINT_ONLINE */
	{0x10, 17, 18, CHECKPOINT_HEAD CHECKPOINT_LEVEL CHECKPOINT_TAIL "online", NULL},
	{0x30, 13, 18, "{0:u32}", NULL}, /* NEXTOID */
	{0x50, 13, 18, "{0:lsn}", NULL}, /* BACKUP_END */
	{0x60, 13, 18, /* PARAMETER_CHANGE */
	 "max_connections={0:i32} max_worker_processes={4:i32} max_wal_senders={8:i32} max_prepared_xacts={12:i32} "
	 "max_locks_per_xact={16:i32} wal_level={20:level} wal_log_hints={24:on} track_commit_timestamp={25:on}",
	 NULL},
	{0x70, 13, 18, NULL, restore_point}, /* RESTORE_POINT */
	{0x80, 13, 18, "{0:bool}", NULL}, /* FPW_CHANGE */
	{0x90, 13, 16, "tli {8:u32}; prev tli {12:u32}; time {0:time}", NULL}, /* END_OF_RECOVERY */
	{0x90, 17, 18, "tli {8:u32}; prev tli {12:u32}; time {0:time}; wal_level {16:level}", NULL},
	{0xD0, 13, 18, "lsn {0:lsn}; time {8:time}", NULL}, /* OVERWRITE_CONTRECORD */
	{0xE0, 17, 18, "wal_level {0:level}", NULL}, /* CHECKPOINT_REDO */
};
WA_DESCRIBE_ROWS(xlog);
