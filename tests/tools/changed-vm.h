/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMs that are not any more what their command line says: changed by QMP while they run, upgraded,
 * and asked whether all is as it was. Each function fails the case itself.
 */
#ifndef LM_CHANGED_VM_H
#define LM_CHANGED_VM_H

#include "tool.h"

/* With places for everything that is plugged: rp0, rp1, scsi.0, vs.0, xhci.0, memory and CPUs. */
Vm *changed_vm(LmTest *test, const char *const *more);
/* The same of this program. */
Vm *changed_vm_of(LmTest *test, const char *binary, const char *const *more);
/* Plugs a NIC, memory, a CPU, a port and more. */
void changed_plug(LmTest *test, Vm *vm);

/* A new image of 8 MiB, over a raw one (NULL: none); the caller's path. */
char *changed_image(LmTest *test, const char *name, const char *format, const char *backing);
/* A QMP command; @format makes its arguments. */
void change(Vm *vm, const char *name, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* What the human monitor says; the caller's. */
char *changed_human(Vm *vm, const char *line);
/* A device "write"s 64 KiB of bytes @number, or "read"s them and finds them. */
void changed_pattern(Vm *vm, const char *device, const char *what, int number, int at_kib);

/* Upgrades it, and the new process answers as the old one did. @run's is the last. */
void changed_upgrade(LmTest *test, Vm *vm, Run *run);
/* The second one begins with the command line that the first one made. */
void changed_upgrade_twice(LmTest *test, Vm *vm, Run *run);
/* By this text, and nothing was touched. */
void changed_assert_refused(LmTest *test, Vm *vm, const char *binary, const char *text);

#endif
