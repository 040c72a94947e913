/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Everything that is taken from QEMU, in one place. The names and signatures are those of QEMU
 * 7.2, 10.0 and 11.1 (include/ and migration/ of its source); each is found with dlsym when the
 * plugin is loaded (symbols.c), so that one shared object serves all of them, and a missing one
 * is an error text instead of a crash.
 *
 * QEMU's types stay opaque; exceptions are the HMP row (hmp.c), QAPI's plain structs and the
 * enum lookup table.
 */
#ifndef LM_QEMU_H
#define LM_QEMU_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* What QEMU looks for in the plugin. */
#define LM_EXPORT __attribute__((visibility("default")))

typedef struct BlockDriverState BlockDriverState;
typedef struct Error Error;
typedef struct AioContext AioContext;
typedef struct Monitor Monitor;
typedef struct Object Object;
typedef struct QDict QDict;
typedef struct QDictEntry QDictEntry;
typedef struct QEMUFile QEMUFile;
typedef struct QIOChannel QIOChannel;
typedef struct QList QList;
typedef struct QNum QNum;
typedef struct QBool QBool;
typedef struct QString QString;
typedef struct QObject QObject;
typedef struct QmpCommandList QmpCommandList;
typedef struct RAMBlock RAMBlock;

/* include/qapi/util.h */
typedef struct QEnumLookup {
	const char *const *array;
	const void *special_features;
	int size;
} QEnumLookup;

/* qapi/misc or qapi/control: query-version */
typedef struct VersionTriple {
	int64_t major, minor, micro;
} VersionTriple;
typedef struct VersionInfo {
	VersionTriple *qemu;
	char *package;
} VersionInfo;

typedef void QmpHandler(QDict *arguments, QObject **ret, Error **errp);
typedef int RAMBlockIterator(RAMBlock *block, void *opaque);
typedef int ObjectVisitor(Object *child, void *opaque);

/*
 * FUNCTION(return type, name, arguments) is required, OPTIONAL may be missing (NULL then),
 * VARIABLE(type, name) is a required variable, reached through a pointer.
 */
#define LM_QEMU_SYMBOLS(FUNCTION, OPTIONAL, VARIABLE)                                              \
	/* RAM blocks: include/exec/cpu-common.h, ram_addr.h */                                    \
	FUNCTION(int, qemu_ram_foreach_block, (RAMBlockIterator *, void *))                        \
	FUNCTION(const char *, qemu_ram_get_idstr, (RAMBlock *))                                   \
	FUNCTION(void *, qemu_ram_get_host_addr, (RAMBlock *))                                     \
	FUNCTION(uint64_t, qemu_ram_get_used_length, (RAMBlock *))                                 \
	FUNCTION(uint64_t, qemu_ram_get_max_length, (RAMBlock *))                                  \
	FUNCTION(size_t, qemu_ram_pagesize, (RAMBlock *))                                          \
	FUNCTION(bool, qemu_ram_is_shared, (RAMBlock *))                                           \
	FUNCTION(bool, qemu_ram_is_noreserve, (RAMBlock *))                                        \
	FUNCTION(bool, qemu_ram_is_migratable, (RAMBlock *))                                       \
	FUNCTION(int, qemu_ram_get_fd, (RAMBlock *))                                               \
	FUNCTION(int, qemu_ram_resize, (RAMBlock *, uint64_t, Error **))                           \
	OPTIONAL(uint64_t, qemu_ram_get_fd_offset, (RAMBlock *)) /* 8.1 on */                      \
	/* run state: include/sysemu/runstate.h, migration/global_state.h */                       \
	FUNCTION(int, vm_stop_force_state, (int))                                                  \
	FUNCTION(void, vm_start, (void))                                                           \
	FUNCTION(void, runstate_set, (int))                                                        \
	FUNCTION(bool, runstate_check, (int))                                                      \
	FUNCTION(void, global_state_store, (void))                                                 \
	FUNCTION(bool, global_state_received, (void))                                              \
	FUNCTION(int, global_state_get_runstate, (void))                                           \
	VARIABLE(int, autostart)                                                                   \
	/* device state: migration/savevm.h, qemu-file.h, include/io/channel-file.h */             \
	FUNCTION(int, qemu_save_device_state, (QEMUFile *, Error **)) /* Error ** in 11.1 */       \
	FUNCTION(int, qemu_load_device_state, (QEMUFile *, Error **)) /* Error ** from 10.2 on */  \
	FUNCTION(QEMUFile *, qemu_file_new_output, (QIOChannel *))                                 \
	FUNCTION(QEMUFile *, qemu_file_new_input, (QIOChannel *))                                  \
	FUNCTION(int, qemu_fclose, (QEMUFile *))                                                   \
	FUNCTION(int, qemu_file_get_error, (QEMUFile *))                                           \
	FUNCTION(QIOChannel *, qio_channel_file_new_fd, (int))                                     \
	FUNCTION(bool, migration_is_blocked, (Error **))                                           \
	/* Error * first, Error ** from 8.2 on (stock-migration.c): include/migration/blocker.h */ \
	FUNCTION(int, migrate_add_blocker_internal, (void *, Error **))                            \
	FUNCTION(void, migrate_del_blocker, (void *))                                              \
	/* disks: include/block/block-global-state.h */                                            \
	FUNCTION(int, bdrv_flush_all, (void))                                                      \
	FUNCTION(int, bdrv_inactivate_all, (void))                                                 \
	FUNCTION(void, bdrv_activate_all, (Error **))                                              \
	OPTIONAL(BlockDriverState *, bdrv_find_node, (const char *))                               \
	OPTIONAL(int, bdrv_reopen, (BlockDriverState *, QDict *, bool, Error **))                  \
	OPTIONAL(AioContext *, bdrv_get_aio_context, (BlockDriverState *))                         \
	OPTIONAL(void, aio_context_acquire, (AioContext *)) /* up to 8.2 */                        \
	OPTIONAL(void, aio_context_release, (AioContext *))                                        \
	/* the object model: include/qom/object.h, hw/qdev-core.h */                               \
	FUNCTION(Object *, qdev_get_machine, (void))                                               \
	FUNCTION(char *, qdev_get_dev_path, (Object *))                                            \
	FUNCTION(int, object_child_foreach_recursive, (Object *, ObjectVisitor *, void *))         \
	FUNCTION(Object *, object_dynamic_cast, (Object *, const char *))                          \
	FUNCTION(const char *, object_get_typename, (const Object *))                              \
	FUNCTION(char *, object_get_canonical_path, (const Object *))                              \
	FUNCTION(void, object_unref, (void *))                                                     \
	OPTIONAL(void *, object_ref, (void *))                                                     \
	/* virtio devices, which are Objects: include/hw/virtio/virtio.h */                        \
	OPTIONAL(int, virtio_get_num_queues, (Object *))                                           \
	OPTIONAL(int, virtio_queue_get_num, (Object *, int))                                       \
	OPTIONAL(int, virtio_queue_get_max_num, (Object *, int))                                   \
	/* PCI devices and where they are: include/hw/pci/pci.h, pci_bridge.h, pci_host.h,         \
	 * include/exec/memory.h; a PCIDevice is an Object */                                      \
	OPTIONAL(uint32_t, pci_default_read_config, (Object *, uint32_t, int))                     \
	OPTIONAL(void, pci_default_write_config, (Object *, uint32_t, uint32_t, int))              \
	OPTIONAL(void, pci_bridge_write_config, (Object *, uint32_t, uint32_t, int))               \
	OPTIONAL(void, pci_host_config_write_common,                                               \
		 (Object *, uint32_t, uint32_t, uint32_t, uint32_t))                               \
	OPTIONAL(void, memory_region_transaction_begin, (void))                                    \
	OPTIONAL(void, memory_region_transaction_commit, (void))                                   \
	/* QMP: include/qapi/qmp-registry.h, qobject headers, include/qapi/error.h */              \
	VARIABLE(QmpCommandList, qmp_commands)                                                     \
	FUNCTION(void, qmp_register_command,                                                       \
		 (QmpCommandList *, const char *, QmpHandler *, int, uint64_t))                    \
	FUNCTION(void, qmp_disable_command, (QmpCommandList *, const char *, const char *))        \
	FUNCTION(QDict *, qmp_dispatch, (const QmpCommandList *, QObject *, bool, Monitor *))      \
	FUNCTION(VersionInfo *, qmp_query_version, (Error **))                                     \
	FUNCTION(void, qapi_free_VersionInfo, (VersionInfo *))                                     \
	FUNCTION(int, qapi_enum_parse, (const QEnumLookup *, const char *, int, Error **))         \
	VARIABLE(const QEnumLookup, RunState_lookup)                                               \
	VARIABLE(const QEnumLookup, MigrationStatus_lookup)                                        \
	FUNCTION(void, qapi_event_send_migration, (int))                                           \
	FUNCTION(QObject *, qobject_from_json, (const char *, Error **))                           \
	FUNCTION(QDict *, qdict_new, (void))                                                       \
	FUNCTION(void, qdict_put_obj, (QDict *, const char *, QObject *))                          \
	FUNCTION(void, qdict_put_int, (QDict *, const char *, int64_t))                            \
	FUNCTION(void, qdict_put_str, (QDict *, const char *, const char *))                       \
	FUNCTION(void, qdict_del, (QDict *, const char *))                                         \
	FUNCTION(size_t, qdict_size, (const QDict *))                                              \
	FUNCTION(int, qdict_haskey, (const QDict *, const char *))                                 \
	FUNCTION(const char *, qdict_get_try_str, (const QDict *, const char *))                   \
	FUNCTION(int64_t, qdict_get_try_int, (const QDict *, const char *, int64_t))               \
	FUNCTION(bool, qdict_get_try_bool, (const QDict *, const char *, bool))                    \
	FUNCTION(QDict *, qdict_get_qdict, (const QDict *, const char *))                          \
	FUNCTION(QList *, qdict_get_qlist, (const QDict *, const char *))                          \
	FUNCTION(const QDictEntry *, qdict_first, (const QDict *))                                 \
	FUNCTION(const QDictEntry *, qdict_next, (const QDict *, const QDictEntry *))              \
	FUNCTION(const char *, qdict_entry_key, (const QDictEntry *))                              \
	FUNCTION(QList *, qlist_new, (void))                                                       \
	FUNCTION(void, qlist_append_obj, (QList *, QObject *))                                     \
	FUNCTION(QObject *, qlist_pop, (QList *))                                                  \
	FUNCTION(QBool *, qbool_from_bool, (bool))                                                 \
	FUNCTION(QNum *, qnum_from_double, (double))                                               \
	FUNCTION(void, error_setg_internal,                                                        \
		 (Error **, const char *, int, const char *, const char *, ...))                   \
	FUNCTION(const char *, error_get_pretty, (const Error *))                                  \
	FUNCTION(void, error_free, (Error *))                                                      \
	FUNCTION(void, error_report, (const char *, ...))                                          \
	FUNCTION(void, info_report, (const char *, ...))                                           \
	FUNCTION(void, warn_report, (const char *, ...))                                           \
	/* the main loop: include/block/aio.h, qemu/main-loop.h */                                 \
	OPTIONAL(bool, aio_poll, (AioContext *, bool))                                             \
	OPTIONAL(AioContext *, iohandler_get_aio_context, (void))                                  \
	/* HMP: include/monitor/monitor.h */                                                       \
	FUNCTION(int, monitor_printf, (Monitor *, const char *, ...))                              \
	FUNCTION(Monitor *, monitor_cur, (void))                                                   \
	FUNCTION(int, monitor_get_fd, (Monitor *, const char *, Error **))                         \
	FUNCTION(int, monitor_suspend, (Monitor *))                                                \
	FUNCTION(void, monitor_resume, (Monitor *))

#define LM_QEMU_MEMBER_FUNCTION(type, name, arguments) type(*name) arguments;
#define LM_QEMU_MEMBER_VARIABLE(type, name)	       type *name;

typedef struct LmQemu {
	LM_QEMU_SYMBOLS(LM_QEMU_MEMBER_FUNCTION, LM_QEMU_MEMBER_FUNCTION, LM_QEMU_MEMBER_VARIABLE)
	int version_major, version_minor, version_micro;
	char *version; /* "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)" */
} LmQemu;

/* QEMU as the plugin sees it; valid after lm_symbols_resolve. */
extern LmQemu qemu;

#define lm_error_setg(errp, ...)                                                                   \
	qemu.error_setg_internal((errp), __FILE__, __LINE__, __func__, __VA_ARGS__)

/*
 * Fills qemu. NULL if all is well, otherwise one line that says what is missing or untested; the
 * caller frees it. @allow_untested: a QEMU version that is not in the table is no error.
 */
char *lm_symbols_resolve(bool allow_untested);

#endif
