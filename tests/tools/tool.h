/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tool, run on VMs of the harness. Each function fails the case itself. */
#ifndef LM_TOOL_H
#define LM_TOOL_H

#include "vm.h"

typedef struct Run {
	int status;	  /* its exit status, or 128 + signal */
	JsonNode *report; /* with --json; NULL: it said none */
	char *out, *err;
	pid_t new_pid; /* of the report; killed at the end of the case */
	GPid pid;      /* of a run that tool_start began */
	int out_fd, err_fd;
} Run;

void run_clear(Run *run);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Run, run_clear)

/* What the tool starts is killed at the end of the case; tool_vm does it. */
void tool_adopt(LmTest *test);
/* A VM whose monitor nobody holds: the tool is its client. Waits until its guest is at work. */
Vm *tool_vm(LmTest *test, const VmOptions *options);
/* The same, without waiting. */
Vm *tool_spawn(LmTest *test, const VmOptions *options);

/* Runs it with --json and these arguments, up to NULL; @fault is NULL or POINT:ACTION. */
void tool_run(LmTest *test, Run *run, const char *fault, ...) G_GNUC_NULL_TERMINATED;
/* The same with those of @first, up to NULL, before those of @more. */
void tool_run_list(LmTest *test, Run *run, const char *fault, const char *const *first,
		   va_list more);
/* The same as @argv says, a program first, in @envp (NULL: this one's). */
void tool_run_argv(LmTest *test, Run *run, const char *const *argv, char **envp);
/* tool_run in two parts. What it says between them must fit into a pipe. */
void tool_start(LmTest *test, Run *run, const char *fault, ...) G_GNUC_NULL_TERMINATED;
void tool_finish(Run *run);
/* Until the run's fault, POINT:stop, has stopped it, which SIGCONT ends. */
void tool_wait_stopped(const Run *run);
/* LM_QEMU, as a path. */
const char *tool_qemu(void);
/*
 * A QEMU of this version (versions.h) that runs here, though it is installed in a root only; the
 * caller's path, NULL if there is none.
 * It is a copy in the case's folder that finds its libraries in that root.
 */
char *tool_qemu_version(LmTest *test, const char *version);

/* An executable script in the case's folder; the caller's path. */
char *tool_script(LmTest *test, const char *name, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* Runs this, which must succeed. */
void tool_run_script(LmTest *test, const char *text);

/* The guest of @vm runs in process @pid, intact, and its monitor's name leads there. */
void tool_assert_runs_in(Vm *vm, pid_t pid);
/* @vm has ended, and the guest runs in the run's new process. */
void tool_assert_upgraded(Vm *vm, const Run *run);
/* The guest runs in @vm, no other process has it, and nothing is left in its folder. */
void tool_assert_untouched(Vm *vm);
/* A command to whatever is behind the VM's monitor. */
JsonNode *tool_command(Vm *vm, const char *name, const char *arguments);
/* How many processes have @word in their command lines. */
guint tool_count_processes(const char *word);
/* Of TCP on this host; somebody listens there. */
int tool_free_port(void);
void tool_assert_answers(int port);
/* A file of /proc/PID; the caller's. */
char *tool_proc(pid_t pid, const char *name);

#endif
