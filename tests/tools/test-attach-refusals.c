// SPDX-License-Identifier: GPL-2.0-or-later
/* What is refused before anything is touched: one clear line each. */
#include "attach-vm.h"
#include "check.h"

#include <elf.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

/* attach_check's refusal, and that attach_load says the same. */
static void assert_refused(pid_t pid, const char *plugin, AttachErrorCode code, const char *text)
{
	g_autoptr(GError) error = NULL;
	g_auto(AttachFacts) facts = {0};

	if (!plugin)
		plugin = lm_test_env("LM_PLUGIN");
	attach_check(pid, plugin, 0, &facts, &error);
	must(error);
	assert_non_null(facts.refusal);
	lm_test_note("%s", facts.refusal->message);
	assert_int_equal(facts.refusal->code, code);
	assert_contains(facts.refusal->message, text);
	assert_null(strchr(facts.refusal->message, '\n'));
	assert_true(attach_load(pid, plugin, 0, 1000, NULL, &error) < 0);
	assert_int_equal(error->code, code);
}

static void kill_child(gpointer data)
{
	pid_t pid = GPOINTER_TO_INT(data);

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static pid_t run_program(LmTest *test, const char *path)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execlp(path, path, "1000", NULL);
		_exit(127);
	}
	lm_test_cleanup_later(test, kill_child, GINT_TO_POINTER(pid));
	g_usleep(200000);
	return pid;
}

static void test_no_process(LmTest *test, const void *arg)
{
	g_autoptr(GError) error = NULL;
	g_auto(AttachFacts) facts = {0};

	assert_true(attach_check(0x7ffffff0, "x", 0, &facts, &error) < 0);
	assert_true(g_error_matches(error, ATTACH_ERROR, ATTACH_ERROR_NO_PROCESS));
	assert_contains(error->message, "there is no process");
}

static void test_thread(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	Vm *vm = migrate_source(test, &options);
	g_autofree char *folder = g_strdup_printf("/proc/%d/task", (int)vm->pid);
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	g_autoptr(GError) error = NULL;
	g_auto(AttachFacts) facts = {0};
	const char *name;

	while ((name = g_dir_read_name(dir)) && atoi(name) == vm->pid)
		;
	if (!name)
		fail_msg("process %d has one thread only", (int)vm->pid);
	assert_true(attach_check(atoi(name), "x", 0, &facts, &error) < 0);
	assert_contains(error->message, "is a thread of process");
}

static void test_ended(LmTest *test, const void *arg)
{
	pid_t pid = run_program(test, "true");
	g_autoptr(GError) error = NULL;
	g_auto(AttachFacts) facts = {0};

	assert_true(attach_check(pid, "x", 0, &facts, &error) < 0);
	assert_contains(error->message, "has ended");
}

static void test_no_qemu(LmTest *test, const void *arg)
{
	assert_refused(run_program(test, "sleep"), NULL, ATTACH_ERROR_NOT_QEMU, "no QEMU");
}

/* A program of one instruction, which jumps to itself: with no dynamic linker. */
static char *tiny_64(LmTest *test)
{
	struct {
		Elf64_Ehdr header;
		Elf64_Phdr segment;
		guint8 code[8];
	} program = {.header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1},
				.e_type = ET_EXEC,
				.e_machine = EM_X86_64,
				.e_version = 1,
				.e_entry = 0x400000 + sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr),
				.e_phoff = sizeof(Elf64_Ehdr),
				.e_ehsize = sizeof(Elf64_Ehdr),
				.e_phentsize = sizeof(Elf64_Phdr),
				.e_phnum = 1},
		     .segment = {.p_type = PT_LOAD,
				 .p_flags = PF_R | PF_X,
				 .p_vaddr = 0x400000,
				 .p_filesz = sizeof(program),
				 .p_memsz = sizeof(program),
				 .p_align = 4096},
		     .code = {0xf3, 0x90, 0xeb, 0xfc}};

	return attach_write_file(test, "tiny", &program, sizeof(program));
}

static char *tiny_32(LmTest *test)
{
	struct {
		Elf32_Ehdr header;
		Elf32_Phdr segment;
		guint8 code[8];
	} program = {.header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, 1},
				.e_type = ET_EXEC,
				.e_machine = EM_386,
				.e_version = 1,
				.e_entry = 0x400000 + sizeof(Elf32_Ehdr) + sizeof(Elf32_Phdr),
				.e_phoff = sizeof(Elf32_Ehdr),
				.e_ehsize = sizeof(Elf32_Ehdr),
				.e_phentsize = sizeof(Elf32_Phdr),
				.e_phnum = 1},
		     .segment = {.p_type = PT_LOAD,
				 .p_flags = PF_R | PF_X,
				 .p_vaddr = 0x400000,
				 .p_filesz = sizeof(program),
				 .p_memsz = sizeof(program),
				 .p_align = 4096},
		     .code = {0xf3, 0x90, 0xeb, 0xfc}};

	return attach_write_file(test, "tiny", &program, sizeof(program));
}

static void test_static(LmTest *test, const void *arg)
{
	g_autofree char *path = tiny_64(test);

	assert_refused(run_program(test, path), NULL, ATTACH_ERROR_ARCHITECTURE, "static");
}

static void test_32_bit(LmTest *test, const void *arg)
{
	g_autofree char *path = tiny_32(test);
	pid_t pid = run_program(test, path);

	if (waitpid(pid, NULL, WNOHANG | WNOWAIT) == pid)
		skip(); /* a kernel without 32-bit programs */
	assert_refused(pid, NULL, ATTACH_ERROR_ARCHITECTURE, "32-bit");
}

/* A QEMU that says of itself that it is another version. */
static void test_untested_version(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	g_autofree char *copy = NULL;
	g_autoptr(GError) error = NULL;
	Vm *vm;

	copy = attach_copy_of_qemu(test, &options, "QEMU emulator version ",
				   "QEMU emulator version 5.");
	vm = migrate_source(test, &options);
	assert_refused(vm->pid, NULL, ATTACH_ERROR_VERSION, "not among the tested versions");
	assert_false(attach_is_mapped(vm));
	attach_load(vm->pid, lm_test_env("LM_PLUGIN"), ATTACH_ALLOW_UNTESTED, ATTACH_MS, NULL,
		    &error);
	must(error);
	attach_assert_there(vm);
	vm_assert_intact(vm);
}

static void test_stopped(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	Vm *vm = migrate_source(test, &options);

	vm_kill(vm, SIGSTOP);
	g_usleep(100000);
	assert_refused(vm->pid, NULL, ATTACH_ERROR_STATE, "stopped by a signal");
	vm_kill(vm, SIGCONT);
	vm_assert_intact(vm);
}

static void test_traced(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	g_autofree char *text = NULL;
	Vm *vm = migrate_source(test, &options);
	pid_t tracer = fork();

	if (!tracer) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, "a-debugger");
		ptrace(PTRACE_SEIZE, vm->pid, NULL, NULL);
		alarm(LM_WAIT_MS / 1000);
		for (;;)
			pause();
	}
	lm_test_cleanup_later(test, kill_child, GINT_TO_POINTER(tracer));
	g_usleep(200000);
	text = g_strdup_printf("by process %d (a-debugger)", (int)tracer);
	assert_refused(vm->pid, NULL, ATTACH_ERROR_TRACED, text);
	kill(tracer, SIGKILL); /* else it would have to wait for its tracee's end */
	vm_assert_intact(vm);
}

/* As another user; the answer comes back in the exit status. */
static gboolean has_executed(void *opaque)
{
	g_autofree char *name = attach_proc_comm(*(pid_t *)opaque);

	return !g_strcmp0(name, "sleep");
}

static int tries_as_user(pid_t target, const char *scope)
{
	g_autoptr(GError) error = NULL;
	int rc = attach_check_access(target, &error);

	if (!scope || *scope == '0')
		return rc == 0 ? 0 : 3;
	if (rc == 0)
		return 4;
	lm_test_note("%s", error->message);
	return strstr(error->message, "kernel.yama.ptrace_scope is ") ? 0 : 5;
}

/* Of the other process's user, which is enough, unless Yama is there and asks for more. */
static void test_yama(LmTest *test, const void *arg)
{
	g_autofree char *scope = NULL;
	int status = 0;
	pid_t target, tracer;

	if (geteuid())
		skip();
	g_file_get_contents("/proc/sys/kernel/yama/ptrace_scope", &scope, NULL, NULL);
	target = fork();
	if (!target) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (setgid(65534) || setuid(65534))
			_exit(2);
		execlp("sleep", "sleep", "60", NULL);
		_exit(2);
	}
	assert_true(lm_wait_until(has_executed, &target, LM_WAIT_MS));
	tracer = fork();
	if (!tracer)
		_exit(setgid(65534) || setuid(65534) ? 2 : tries_as_user(target, scope));
	waitpid(tracer, &status, 0);
	kill(target, SIGKILL);
	waitpid(target, NULL, 0);
	lm_test_note("kernel.yama.ptrace_scope: %s", scope ? g_strchomp(scope) : "no Yama");
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_no_right(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	Vm *vm = migrate_source(test, &options);
	int status;
	pid_t pid;

	if (geteuid())
		skip();
	pid = fork();
	if (!pid) {
		AttachFacts facts = {0};

		if (setgid(65534) || setuid(65534) ||
		    attach_check(vm->pid, "/", 0, &facts, NULL) < 0 || !facts.refusal)
			_exit(2);
		lm_test_note("%s", facts.refusal->message);
		_exit(facts.refusal->code == ATTACH_ERROR_NO_RIGHT &&
				      strstr(facts.refusal->message,
					     "belongs to user 0, this is 65534")
			      ? 0
			      : 3);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	vm_assert_intact(vm);
}

static void test_no_plugin(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	g_autofree char *text = attach_write_file(test, "text", "hello", 5);
	Vm *vm = migrate_source(test, &options);

	assert_refused(vm->pid, "/nowhere/plugin.so", ATTACH_ERROR_PLUGIN, "/nowhere/plugin.so");
	assert_refused(vm->pid, text, ATTACH_ERROR_PLUGIN, "no ELF file");
	assert_refused(vm->pid, lm_test_env("LM_PAYLOAD"), ATTACH_ERROR_PLUGIN, "32-bit");
	vm_assert_intact(vm);
}

/* A QEMU in a mount namespace of its own, in which @mount was done. */
static Vm *vm_with_mount(LmTest *test, const char *mount)
{
	g_autofree char *path = lm_test_path(test, "own-mounts");
	g_autofree char *text = g_strdup_printf("#!/bin/sh\nexec unshare --mount --propagation "
						"private -- sh -c '%s; exec \"$@\"' - "
						"qemu-system-x86_64 \"$@\"\n",
						mount);
	VmOptions options = attach_options();
	Vm *vm;

	assert_true(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, 0755, NULL));
	options.binary = path;
	vm = migrate_source(test, &options);
	return vm;
}

/* It has no way to the plugin's file, nor to a copy; the next one has another file there. */
static void test_no_proc(LmTest *test, const void *arg)
{
	g_autofree char *build = attach_other_build(test, 1);
	g_autofree char *mount =
		g_strdup_printf("mount --bind /dev/null %s; mount -t tmpfs none /proc", build);
	Vm *vm;

	if (geteuid())
		skip();
	vm = vm_with_mount(test, mount);
	assert_refused(vm->pid, build, ATTACH_ERROR_PLUGIN, "has no /proc");
	assert_false(attach_is_mapped(vm));
	vm_assert_intact(vm);
}

static void test_another_file_there(LmTest *test, const void *arg)
{
	g_autofree char *build = attach_other_build(test, 1);
	g_autofree char *mount = g_strdup_printf("mount --bind /dev/null %s", build);
	AttachReport report;
	Vm *vm;

	if (geteuid())
		skip();
	vm = vm_with_mount(test, mount);
	report = attach_must(vm, build);
	assert_false(report.by_path);
	attach_assert_there(vm);
	vm_assert_intact(vm);
}

/* No kernel of these tests has AppArmor or SELinux: the text alone. */
static void test_confined(LmTest *test, const void *arg)
{
	g_autofree char *apparmor =
		attach_confinement_advice("libvirt-1234 (enforce)", FALSE, "/a/plugin.so");
	g_autofree char *selinux =
		attach_confinement_advice("system_u:system_r:svirt_t:s0:c1,c2", TRUE, "/a/x.so");

	assert_contains(apparmor, "profile libvirt-1234, which");
	assert_contains(apparmor, "\"/a/plugin.so mr,\"");
	assert_contains(selinux, "system_u:system_r:svirt_t:s0:c1,c2");
	assert_contains(selinux, "/a/x.so");
}

static void test_facts(LmTest *test, const void *arg)
{
	static const char *const sandbox[] = {"-sandbox", "on", NULL};
	VmOptions options = attach_options();
	g_auto(AttachFacts) facts = {0};
	g_autoptr(GError) error = NULL;
	Vm *vm;

	options.extra = sandbox;
	vm = migrate_source(test, &options);
	attach_check(vm->pid, lm_test_env("LM_PLUGIN"), 0, &facts, &error);
	must(error);
	must(facts.refusal);
	assert_contains(facts.executable, "qemu-system-x86_64");
	assert_true(facts.tested && facts.by_path && facts.seccomp);
	assert_true(!facts.deleted && !facts.same_build && !facts.loaded);
	assert_non_null(facts.version);
	assert_false(attach_is_mapped(vm));
}

static const LmCase cases[] = {
	LM_CASE(test_no_process),
	LM_CASE(test_thread),
	LM_CASE(test_ended),
	LM_CASE(test_no_qemu),
	LM_CASE(test_static),
	LM_CASE(test_32_bit),
	LM_CASE(test_stopped),
	LM_CASE(test_untested_version),
	LM_CASE(test_traced),
	LM_CASE(test_no_right),
	LM_CASE(test_yama),
	LM_CASE(test_no_plugin),
	LM_CASE(test_facts),
	LM_CASE(test_no_proc),
	LM_CASE(test_another_file_there),
	LM_CASE(test_confined),
};

int main(int argc, char **argv)
{
	return LM_TEST_MAIN(argc, argv, cases);
}
