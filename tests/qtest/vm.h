/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VM under test: one QEMU process, its monitor and its serial log. */
#ifndef LM_QTEST_VM_H
#define LM_QTEST_VM_H

#include "harness.h"
#include "qmp-client.h"
#include "serial.h"

#include <sys/types.h>

/* Zero is a sensible value of each. Strings are copied by vm_start. */
typedef struct VmOptions {
	const char *root;    /* a debootstrap root to run in, through LM_IN_ROOT; NULL: here */
	const char *binary;  /* NULL: LM_QEMU, else qemu-system-x86_64 */
	const char *machine; /* NULL: pc-q35-7.2 */
	const char *cpu;     /* NULL: qemu64 */
	const char *accel;   /* NULL: tcg */
	guint memory_mib;    /* 0: 256 */
	guint smp;	     /* 0: 1 */
	const char *backend; /* "memory-backend-memfd,share=on"; NULL: private memory, no object */
	const char *kernel;  /* NULL: LM_PAYLOAD, unless bios is given; "": none */
	const char *initrd;
	const char *append;
	const char *bios;
	const char *plugin;	 /* NULL: LM_PLUGIN; "": none */
	const char *plugin_args; /* "fault=flip:kill" */
	gboolean incoming;	 /* -incoming defer */
	gboolean serial_socket; /* the serial port on vm->serial_socket, logged to the serial log */
	const char *serial_path;  /* another VM's serial log, to append to; NULL: a new one */
	const char *cgroup_procs; /* cgroup_procs_path(); NULL: none */
	const char *const *extra; /* more arguments, NULL at the end; may be NULL */
} VmOptions;

struct Vm {
	LmTest *test;
	GPtrArray *argv;
	pid_t pid;
	int pidfd;
	gboolean reaped;
	int wait_status; /* as of waitpid, once reaped */
	QmpClient *qmp;
	char *qmp_path, *stderr_path, *serial_path, *serial_socket;
};

/* Starts QEMU and connects to its monitor. The case fails if that does; the VM is the case's. */
Vm *vm_start(LmTest *test, const VmOptions *options);
/* Starts QEMU only, for one that is expected to refuse. vm->qmp is NULL. */
Vm *vm_spawn(LmTest *test, const VmOptions *options);
/* Kills, reaps and frees; for the harness. */
void vm_free(Vm *vm);

/* A command that must succeed; the case fails with QEMU's error. The caller's. */
#define vm_command(vm, ...) vm_command_at(__FILE__, __LINE__, vm, __VA_ARGS__)
JsonNode *vm_command_at(const char *file, int line, Vm *vm, const char *name, const char *arguments,
			...) G_GNUC_PRINTF(5, 6);
/* The same without a use for the reply. */
#define vm_do(vm, ...) json_node_unref(vm_command(vm, __VA_ARGS__))

void vm_kill(Vm *vm, int signal);
/* FALSE if the process still is after @timeout_ms. */
gboolean vm_wait_exit(Vm *vm, guint timeout_ms);
gboolean vm_alive(Vm *vm);
/* Its exit status, or 128 + signal; the process must have ended. */
int vm_exit_status(const Vm *vm);
/* What it wrote to stderr; the caller's. */
char *vm_stderr(const Vm *vm);

/* "running", "paused" ...; the caller's. The case fails if QEMU doesn't answer. */
char *vm_status(Vm *vm);
gboolean vm_has_status(Vm *vm, const char *status);
gboolean vm_wait_status(Vm *vm, const char *status, guint timeout_ms);
/* Waits for the payload's "payload ready" and its first beats. */
void vm_assert_ready(Vm *vm);
/* QEMU says running, and five further beats come without an error. */
void vm_assert_intact(Vm *vm);
/* No STOP event since the start. */
void vm_assert_never_stopped(Vm *vm);

#endif
