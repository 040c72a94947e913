/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests on attaching share. Each function fails the case itself. */
#ifndef TESTS_TOOLS_ATTACH_VM_H
#define TESTS_TOOLS_ATTACH_VM_H

#include "attach.h"
#include "migrate.h"

#define ATTACH_MS 30000

/* Options for a QEMU without the plugin. */
VmOptions attach_options(void);
/* attach_load, which must work. */
AttachReport attach_must(Vm *vm, const char *plugin);
/* query-localhost-migrate works and says that the plugin was attached; each command is there once.
 */
void attach_assert_there(Vm *vm);
/* Whether /proc/PID/maps has a plugin. */
gboolean attach_is_mapped(const Vm *vm);
/* A copy of the plugin with another build ID; the caller's. */
char *attach_other_build(LmTest *test, guint number);
/*
 * The path of a copy of the installed QEMU, in which @to is written over the first @from; the
 * caller's. @options says then what it needs to find its modules and firmware.
 */
char *attach_copy_of_qemu(LmTest *test, VmOptions *options, const char *from, const char *to);
/* A file with @bytes of @data, executable; the caller's. */
char *attach_write_file(LmTest *test, const char *name, const void *data, gsize bytes);
/* The same, where a QEMU in another root does not see it. */
char *attach_write_elsewhere(LmTest *test, const void *data, gsize bytes);

#endif
