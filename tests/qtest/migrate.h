/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What most tests do with a local migration. Each function fails the case itself. */
#ifndef LM_QTEST_MIGRATE_H
#define LM_QTEST_MIGRATE_H

#include "vm.h"

/* query-localhost-migrate, checked against the schema; the caller's. */
JsonNode *migrate_query(Vm *vm);
/* Waits until status is completed, failed or cancelled; the caller's. */
JsonNode *migrate_wait(Vm *vm, guint timeout_ms);
/* Waits until a stage is under way or over. */
void migrate_wait_stage(Vm *vm, const char *stage, guint timeout_ms);

/* Starts a VM and waits until its guest is at work. */
Vm *migrate_source(LmTest *test, const VmOptions *options);
/* Starts a VM with @options and -incoming defer that appends to @source's serial log. */
Vm *migrate_destination(LmTest *test, const VmOptions *options, const Vm *source);
/* unix:PATH in the case's folder, one per destination; the caller's. */
char *migrate_uri(const Vm *destination);
char *migrate_socket_path(const Vm *destination);
/* localhost-migrate-incoming with migrate_uri. */
void migrate_listen(Vm *destination);

/*
 * A source and a destination, each with a fault (see migration/local/fault.h; NULL: none) and
 * otherwise @options, and the destination listens.
 */
void migrate_pair(LmTest *test, const VmOptions *options, const char *source_fault,
		  const char *destination_fault, Vm **source, Vm **destination);
/* localhost-migrate to @uri; @more is "" or ", 'channels': 2". */
void migrate_begin(Vm *source, const char *uri, const char *more);
/* Listens, migrates and waits; the source's status then, whatever it is. */
JsonNode *migrate_run(Vm *source, Vm *destination, const char *more);
/* The same, and it must have worked: see migrate_assert_completed. */
JsonNode *migrate_ok(Vm *source, Vm *destination, const char *more);
/* The guest runs intact in @destination; @source is postmigrate and says so. */
void migrate_assert_completed(Vm *source, Vm *destination, JsonNode *info);
/* The guest runs intact in @source, which says that it is the owner. */
void migrate_assert_kept(Vm *source, JsonNode *info);
/*
 * The source says that the guest is lost, and never runs it: only if pages had left, and only if
 * the destination is dead.
 */
void migrate_assert_lost(Vm *source, Vm *destination, JsonNode *info);
/* One or the other, whatever @info says. */
void migrate_assert_kept_or_lost(Vm *source, Vm *destination, JsonNode *info);
/* Whether @fault's point comes before @stage. */
gboolean migrate_fault_is_before(const char *fault, const char *stage);
/* cont is refused, in QMP and HMP, and the guest stays stopped. */
void migrate_assert_never_again(Vm *source);
/*
 * localhost-migrate to @uri must be refused, at once or as a failure before the VM stops. The
 * guest runs on, intact, and never stopped. Returns the error's text; the caller's.
 */
char *migrate_refused(Vm *source, const char *uri, const char *more);

#endif
