/* Every resource manager and every record type of Postgres 13 to 18: one table for all majors.
 *
 *   WA_RMGRS(R)      R(id, SYMBOL, "Name", op_mask, describe, mask)
 *                    Name as pg_waldump prints it; op_mask: the bits of xl_info that tell the type;
 *                    describe: describe/ function of all its records; mask: redo/ function for its pages.
 *   WA_RECORDS(T)    T(rmgr SYMBOL, op, "NAME", first major, last major, class, redo)
 *                    NAME as the manager's identify function gives it (INIT variants get "+INIT"); class: what redo changes (enum
 *                    wa_redo_class, or-ed); redo: redo/ function for each block that the record names, wa_redo_none where only images
 *                    or nothing touches pages.
 *
 * The table in redo/ and that in describe/ are made from these lists, and so is the coverage report of `neonfs-wal verify`.
 * Sources: src/include/access/rmgrlist.h, *xlog.h, and src/backend/access/rmgrdesc of each major. */
#ifndef WA_RECORDS_H
#define WA_RECORDS_H

#include "wa_record.h"

#define WA_MAJOR_MIN 13
#define WA_MAJOR_MAX 18
#define WA_RMGR_CUSTOM_MIN 128 /* 15+: ids of extensions; never guessed */

enum wa_redo_class {
	WA_NONE = 0,
	WA_PAGE = 1,	/* blocks that it names */
	WA_VM = 2,	/* may clear bits of visibility-map pages that it does not name */
	WA_STATE = 4,	/* something outside pages (walapply/state) */
	WA_IMAGES = 8,	/* names blocks, but only images change them */
	WA_AFTER_IMAGE = 16, /* redo has something to do on top of an image, which was taken before the last change */
};

#define WA_RMGRS(R)                                                                                                                \
	R(0, XLOG, "XLOG", 0xF0, xlog, none)                                                                                       \
	R(1, XACT, "Transaction", 0x70, xact, none)                                                                                \
	R(2, SMGR, "Storage", 0xF0, smgr, none)                                                                                    \
	R(3, CLOG, "CLOG", 0xF0, clog, none)                                                                                       \
	R(4, DBASE, "Database", 0xF0, dbase, none)                                                                                 \
	R(5, TBLSPC, "Tablespace", 0xF0, tblspc, none)                                                                             \
	R(6, MULTIXACT, "MultiXact", 0xF0, multixact, none)                                                                        \
	R(7, RELMAP, "RelMap", 0xF0, relmap, none)                                                                                 \
	R(8, STANDBY, "Standby", 0xF0, standby, none)                                                                              \
	R(9, HEAP2, "Heap2", 0x70, heap2, heap)                                                                                    \
	R(10, HEAP, "Heap", 0x70, heap, heap)                                                                                      \
	R(11, BTREE, "Btree", 0xF0, btree, btree)                                                                                  \
	R(12, HASH, "Hash", 0xF0, hash, hash)                                                                                      \
	R(13, GIN, "Gin", 0xF0, gin, gin)                                                                                          \
	R(14, GIST, "Gist", 0xF0, gist, gist)                                                                                      \
	R(15, SEQ, "Sequence", 0xF0, seq, seq)                                                                                     \
	R(16, SPGIST, "SPGist", 0xF0, spgist, spgist)                                                                              \
	R(17, BRIN, "BRIN", 0x70, brin, brin)                                                                                      \
	R(18, COMMIT_TS, "CommitTs", 0xF0, commit_ts, none)                                                                        \
	R(19, REPLORIGIN, "ReplicationOrigin", 0xF0, replorigin, none)                                                             \
	R(20, GENERIC, "Generic", 0x00, generic, generic)                                                                          \
	R(21, LOGICALMSG, "LogicalMessage", 0xF0, logicalmsg, none)

#define WA_RECORDS(T)                                                                                                              \
	T(XLOG, 0x00, "CHECKPOINT_SHUTDOWN", 13, 18, WA_STATE, none)                                                               \
	T(XLOG, 0x10, "CHECKPOINT_ONLINE", 13, 18, WA_STATE, none)                                                                 \
	T(XLOG, 0x20, "NOOP", 13, 18, WA_NONE, none)                                                                               \
	T(XLOG, 0x30, "NEXTOID", 13, 18, WA_STATE, none)                                                                           \
	T(XLOG, 0x40, "SWITCH", 13, 18, WA_NONE, none)                                                                             \
	T(XLOG, 0x50, "BACKUP_END", 13, 18, WA_STATE, none)                                                                        \
	T(XLOG, 0x60, "PARAMETER_CHANGE", 13, 18, WA_STATE, none)                                                                  \
	T(XLOG, 0x70, "RESTORE_POINT", 13, 18, WA_NONE, none)                                                                      \
	T(XLOG, 0x80, "FPW_CHANGE", 13, 18, WA_STATE, none)                                                                        \
	T(XLOG, 0x90, "END_OF_RECOVERY", 13, 18, WA_STATE, none)                                                                   \
	T(XLOG, 0xA0, "FPI_FOR_HINT", 13, 18, WA_IMAGES, none)                                                                     \
	T(XLOG, 0xB0, "FPI", 13, 18, WA_IMAGES, none)                                                                              \
	T(XLOG, 0xD0, "OVERWRITE_CONTRECORD", 13, 18, WA_NONE, none)                                                               \
	T(XLOG, 0xE0, "CHECKPOINT_REDO", 17, 18, WA_NONE, none)                                                                    \
	T(XACT, 0x00, "COMMIT", 13, 18, WA_STATE, none)                                                                            \
	T(XACT, 0x10, "PREPARE", 13, 18, WA_STATE, none)                                                                           \
	T(XACT, 0x20, "ABORT", 13, 18, WA_STATE, none)                                                                             \
	T(XACT, 0x30, "COMMIT_PREPARED", 13, 18, WA_STATE, none)                                                                   \
	T(XACT, 0x40, "ABORT_PREPARED", 13, 18, WA_STATE, none)                                                                    \
	T(XACT, 0x50, "ASSIGNMENT", 13, 18, WA_STATE, none)                                                                        \
	T(XACT, 0x60, "INVALIDATION", 14, 18, WA_NONE, none)                                                                       \
	T(SMGR, 0x10, "CREATE", 13, 18, WA_STATE, none)                                                                            \
	T(SMGR, 0x20, "TRUNCATE", 13, 18, WA_STATE | WA_VM, none)                                                                  \
	T(CLOG, 0x00, "ZEROPAGE", 13, 18, WA_STATE, none)                                                                          \
	T(CLOG, 0x10, "TRUNCATE", 13, 18, WA_STATE, none)                                                                          \
	T(DBASE, 0x00, "CREATE", 13, 14, WA_STATE, none)                                                                           \
	T(DBASE, 0x10, "DROP", 13, 14, WA_STATE, none)                                                                             \
	T(DBASE, 0x00, "CREATE_FILE_COPY", 15, 18, WA_STATE, none)                                                                 \
	T(DBASE, 0x10, "CREATE_WAL_LOG", 15, 18, WA_STATE, none)                                                                   \
	T(DBASE, 0x20, "DROP", 15, 18, WA_STATE, none)                                                                             \
	T(TBLSPC, 0x00, "CREATE", 13, 18, WA_STATE, none)                                                                          \
	T(TBLSPC, 0x10, "DROP", 13, 18, WA_STATE, none)                                                                            \
	T(MULTIXACT, 0x00, "ZERO_OFF_PAGE", 13, 18, WA_STATE, none)                                                                \
	T(MULTIXACT, 0x10, "ZERO_MEM_PAGE", 13, 18, WA_STATE, none)                                                                \
	T(MULTIXACT, 0x20, "CREATE_ID", 13, 18, WA_STATE, none)                                                                    \
	T(MULTIXACT, 0x30, "TRUNCATE_ID", 13, 18, WA_STATE, none)                                                                  \
	T(RELMAP, 0x00, "UPDATE", 13, 18, WA_STATE, none)                                                                          \
	T(STANDBY, 0x00, "LOCK", 13, 18, WA_NONE, none)                                                                            \
	T(STANDBY, 0x10, "RUNNING_XACTS", 13, 18, WA_STATE, none)                                                                  \
	T(STANDBY, 0x20, "INVALIDATIONS", 13, 18, WA_NONE, none)                                                                   \
	T(HEAP2, 0x00, "REWRITE", 13, 18, WA_STATE, none)                                                                          \
	T(HEAP2, 0x10, "CLEAN", 13, 13, WA_PAGE, heap2_prune_old)                                                                  \
	T(HEAP2, 0x20, "FREEZE_PAGE", 13, 13, WA_PAGE, heap2_freeze)                                                               \
	T(HEAP2, 0x30, "CLEANUP_INFO", 13, 13, WA_NONE, none)                                                                      \
	T(HEAP2, 0x10, "PRUNE", 14, 16, WA_PAGE, heap2_prune_old)                                                                  \
	T(HEAP2, 0x20, "VACUUM", 14, 16, WA_PAGE, heap2_vacuum)                                                                    \
	T(HEAP2, 0x30, "FREEZE_PAGE", 14, 16, WA_PAGE, heap2_freeze)                                                               \
	T(HEAP2, 0x10, "PRUNE_ON_ACCESS", 17, 18, WA_PAGE, heap2_prune)                                                            \
	T(HEAP2, 0x20, "PRUNE_VACUUM_SCAN", 17, 18, WA_PAGE, heap2_prune)                                                          \
	T(HEAP2, 0x30, "PRUNE_VACUUM_CLEANUP", 17, 18, WA_PAGE, heap2_prune)                                                       \
	T(HEAP2, 0x40, "VISIBLE", 13, 18, WA_PAGE, heap2_visible)                                                                  \
	T(HEAP2, 0x50, "MULTI_INSERT", 13, 18, WA_PAGE | WA_VM, heap2_multi_insert)                                                \
	T(HEAP2, 0x60, "LOCK_UPDATED", 13, 18, WA_PAGE | WA_VM, heap2_lock_updated)                                                \
	T(HEAP2, 0x70, "NEW_CID", 13, 18, WA_NONE, none)                                                                           \
	T(HEAP, 0x00, "INSERT", 13, 18, WA_PAGE | WA_VM, heap_insert)                                                              \
	T(HEAP, 0x10, "DELETE", 13, 18, WA_PAGE | WA_VM, heap_delete)                                                              \
	T(HEAP, 0x20, "UPDATE", 13, 18, WA_PAGE | WA_VM, heap_update)                                                              \
	T(HEAP, 0x30, "TRUNCATE", 13, 18, WA_NONE, none)                                                                           \
	T(HEAP, 0x40, "HOT_UPDATE", 13, 18, WA_PAGE | WA_VM, heap_update)                                                          \
	T(HEAP, 0x50, "HEAP_CONFIRM", 13, 18, WA_PAGE, heap_confirm)                                                               \
	T(HEAP, 0x60, "LOCK", 13, 18, WA_PAGE | WA_VM, heap_lock)                                                                  \
	T(HEAP, 0x70, "INPLACE", 13, 18, WA_PAGE, heap_inplace)                                                                    \
	T(BTREE, 0x00, "INSERT_LEAF", 13, 18, WA_PAGE, btree_insert)                                                               \
	T(BTREE, 0x10, "INSERT_UPPER", 13, 18, WA_PAGE, btree_insert)                                                              \
	T(BTREE, 0x20, "INSERT_META", 13, 18, WA_PAGE, btree_insert)                                                               \
	T(BTREE, 0x30, "SPLIT_L", 13, 18, WA_PAGE, btree_split)                                                                    \
	T(BTREE, 0x40, "SPLIT_R", 13, 18, WA_PAGE, btree_split)                                                                    \
	T(BTREE, 0x50, "INSERT_POST", 13, 18, WA_PAGE, btree_insert)                                                               \
	T(BTREE, 0x60, "DEDUP", 13, 18, WA_PAGE, btree_dedup)                                                                      \
	T(BTREE, 0x70, "DELETE", 13, 18, WA_PAGE, btree_delete)                                                                    \
	T(BTREE, 0x80, "UNLINK_PAGE", 13, 18, WA_PAGE, btree_unlink)                                                               \
	T(BTREE, 0x90, "UNLINK_PAGE_META", 13, 18, WA_PAGE, btree_unlink)                                                          \
	T(BTREE, 0xA0, "NEWROOT", 13, 18, WA_PAGE, btree_newroot)                                                                  \
	T(BTREE, 0xB0, "MARK_PAGE_HALFDEAD", 13, 18, WA_PAGE, btree_halfdead)                                                      \
	T(BTREE, 0xC0, "VACUUM", 13, 18, WA_PAGE, btree_vacuum)                                                                    \
	T(BTREE, 0xD0, "REUSE_PAGE", 13, 18, WA_NONE, none)                                                                        \
	T(BTREE, 0xE0, "META_CLEANUP", 13, 18, WA_PAGE, btree_meta)                                                                \
	T(HASH, 0x00, "INIT_META_PAGE", 13, 18, WA_PAGE, hash_init_meta)                                                           \
	T(HASH, 0x10, "INIT_BITMAP_PAGE", 13, 18, WA_PAGE, hash_init_bitmap)                                                       \
	T(HASH, 0x20, "INSERT", 13, 18, WA_PAGE, hash_insert)                                                                      \
	T(HASH, 0x30, "ADD_OVFL_PAGE", 13, 18, WA_PAGE, hash_add_overflow)                                                         \
	T(HASH, 0x40, "SPLIT_ALLOCATE_PAGE", 13, 18, WA_PAGE, hash_split_allocate)                                                 \
	T(HASH, 0x50, "SPLIT_PAGE", 13, 18, WA_IMAGES, none)                                                                       \
	T(HASH, 0x60, "SPLIT_COMPLETE", 13, 18, WA_PAGE, hash_split_complete)                                                      \
	T(HASH, 0x70, "MOVE_PAGE_CONTENTS", 13, 18, WA_PAGE, hash_move_contents)                                                   \
	T(HASH, 0x80, "SQUEEZE_PAGE", 13, 18, WA_PAGE, hash_squeeze)                                                               \
	T(HASH, 0x90, "DELETE", 13, 18, WA_PAGE, hash_delete)                                                                      \
	T(HASH, 0xA0, "SPLIT_CLEANUP", 13, 18, WA_PAGE, hash_split_cleanup)                                                        \
	T(HASH, 0xB0, "UPDATE_META_PAGE", 13, 18, WA_PAGE, hash_update_meta)                                                       \
	T(HASH, 0xC0, "VACUUM_ONE_PAGE", 13, 18, WA_PAGE, hash_vacuum_one)                                                         \
	T(GIN, 0x10, "CREATE_PTREE", 13, 18, WA_PAGE, gin_create_tree)                                                             \
	T(GIN, 0x20, "INSERT", 13, 18, WA_PAGE, gin_insert)                                                                        \
	T(GIN, 0x30, "SPLIT", 13, 18, WA_PAGE, gin_split)                                                                          \
	T(GIN, 0x40, "VACUUM_PAGE", 13, 18, WA_IMAGES, none)                                                                       \
	T(GIN, 0x50, "DELETE_PAGE", 13, 18, WA_PAGE, gin_delete_page)                                                              \
	T(GIN, 0x60, "UPDATE_META_PAGE", 13, 18, WA_PAGE, gin_update_meta)                                                         \
	T(GIN, 0x70, "INSERT_LISTPAGE", 13, 18, WA_PAGE, gin_insert_list)                                                          \
	T(GIN, 0x80, "DELETE_LISTPAGE", 13, 18, WA_PAGE, gin_delete_list)                                                          \
	T(GIN, 0x90, "VACUUM_DATA_LEAF_PAGE", 13, 18, WA_PAGE, gin_vacuum_leaf)                                                    \
	T(GIST, 0x00, "PAGE_UPDATE", 13, 18, WA_PAGE | WA_AFTER_IMAGE, gist_update)                                                \
	T(GIST, 0x10, "DELETE", 13, 18, WA_PAGE, gist_delete)                                                                      \
	T(GIST, 0x20, "PAGE_REUSE", 13, 18, WA_NONE, none)                                                                         \
	T(GIST, 0x30, "PAGE_SPLIT", 13, 18, WA_PAGE | WA_AFTER_IMAGE, gist_split)                                                  \
	T(GIST, 0x60, "PAGE_DELETE", 13, 18, WA_PAGE, gist_page_delete)                                                            \
	T(GIST, 0x70, "ASSIGN_LSN", 13, 18, WA_NONE, none)                                                                         \
	T(SEQ, 0x00, "LOG", 13, 18, WA_PAGE, seq_log)                                                                              \
	T(SPGIST, 0x10, "ADD_LEAF", 13, 18, WA_PAGE, spgist_add_leaf)                                                              \
	T(SPGIST, 0x20, "MOVE_LEAFS", 13, 18, WA_PAGE, spgist_move_leafs)                                                          \
	T(SPGIST, 0x30, "ADD_NODE", 13, 18, WA_PAGE, spgist_add_node)                                                              \
	T(SPGIST, 0x40, "SPLIT_TUPLE", 13, 18, WA_PAGE, spgist_split_tuple)                                                        \
	T(SPGIST, 0x50, "PICKSPLIT", 13, 18, WA_PAGE, spgist_picksplit)                                                            \
	T(SPGIST, 0x60, "VACUUM_LEAF", 13, 18, WA_PAGE, spgist_vacuum_leaf)                                                        \
	T(SPGIST, 0x70, "VACUUM_ROOT", 13, 18, WA_PAGE, spgist_vacuum_root)                                                        \
	T(SPGIST, 0x80, "VACUUM_REDIRECT", 13, 18, WA_PAGE, spgist_vacuum_redirect)                                                \
	T(BRIN, 0x00, "CREATE_INDEX", 13, 18, WA_PAGE, brin_create)                                                                \
	T(BRIN, 0x10, "INSERT", 13, 18, WA_PAGE, brin_insert)                                                                      \
	T(BRIN, 0x20, "UPDATE", 13, 18, WA_PAGE, brin_update)                                                                      \
	T(BRIN, 0x30, "SAMEPAGE_UPDATE", 13, 18, WA_PAGE, brin_same_page)                                                          \
	T(BRIN, 0x40, "REVMAP_EXTEND", 13, 18, WA_PAGE, brin_revmap_extend)                                                        \
	T(BRIN, 0x50, "DESUMMARIZE", 13, 18, WA_PAGE, brin_desummarize)                                                            \
	T(COMMIT_TS, 0x00, "ZEROPAGE", 13, 18, WA_STATE, none)                                                                     \
	T(COMMIT_TS, 0x10, "TRUNCATE", 13, 18, WA_STATE, none)                                                                     \
	T(COMMIT_TS, 0x20, "SETTS", 13, 13, WA_STATE, none)                                                                        \
	T(REPLORIGIN, 0x00, "SET", 13, 18, WA_STATE, none)                                                                         \
	T(REPLORIGIN, 0x10, "DROP", 13, 18, WA_STATE, none)                                                                        \
	T(GENERIC, 0x00, "Generic", 13, 18, WA_PAGE, generic)                                                                      \
	T(LOGICALMSG, 0x00, "MESSAGE", 13, 18, WA_NONE, none)

/* Symbols for the ids: WA_RMGR_HEAP and so on. */
#define WA_RMGR_ENUM(id, symbol, name, op_mask, describe, mask) WA_RMGR_##symbol = id,
enum wa_rmgr { WA_RMGRS(WA_RMGR_ENUM) WA_RMGR_BUILTIN };
#undef WA_RMGR_ENUM

/* What the table says of one record type. */
struct wa_record_type {
	const char *rmgr; /* "Heap" */
	const char *name; /* "INSERT" */
	uint8_t rmid, op;
	uint8_t redo_class; /* enum wa_redo_class */
	int first_major, last_major;
};

/* The type of a record: NULL for a custom resource manager or a type that this major does not have.
 * wa_record_types lists all, in the order of the table; *ret_count of them. A type's place in that list is its number in reports. */
const struct wa_record_type *wa_record_type(int major, uint8_t rmid, uint8_t info);
const struct wa_record_type *wa_record_types(size_t *ret_count);

/* "Heap", or "custom135" in a static buffer for a custom id's name; never NULL. */
const char *wa_rmgr_name(uint8_t rmid);

#endif
