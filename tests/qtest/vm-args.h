/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef LM_QTEST_VM_ARGS_H
#define LM_QTEST_VM_ARGS_H

#include "vm.h"

/* Fills vm->argv; its paths must be set. Copies what a root must see into the case's folder. */
void vm_args_build(Vm *vm, const VmOptions *options);

#endif
