/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All VMs of a host, some of which are domains of a real libvirt. */
#include "libvirt-domain.h"
#include "own-host.h"

#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>

static const char *const names[] = {"lm-all-one", "lm-all-two"};

typedef struct Domains {
	Domain *domain[G_N_ELEMENTS(names)];
	pid_t old[G_N_ELEMENTS(names)];
} Domains;

static Domains start_domains(LmTest *test)
{
	Domains domains;

	for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
		domains.domain[i] = domain_start(test, names[i], NULL);
		domains.old[i] = domain_pid(domains.domain[i]);
	}
	own_host_install(test);
	return domains;
}

static void assert_upgraded(const Domains *domains, const Run *run)
{
	for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
		JsonNode *vm = own_host_vm(run, names[i]);

		assert_string_equal(qmp_str(vm, "kind"), "domain");
		assert_string_equal(qmp_str(vm, "outcome"), "upgraded");
		assert_true(domain_has_ended(domains->old[i]));
		domain_assert_runs_in(domains->domain[i], (pid_t)qmp_int(vm, "new-pid"));
		domain_assert_clean(domains->domain[i]);
	}
}

static void test_domains_and_a_process(LmTest *test, const void *arg)
{
	static const char *const extra[] = {"-name", "by-itself", NULL};
	VmOptions options = {.append = "rate=8", .memory_mib = 64, .plugin = "", .extra = extra};
	Vm *vm = tool_vm(test, &options);
	g_auto(Run) dry = {0}, run = {0}, again = {0};
	const char *plugin;
	Domains domains;

	/* libvirt waits for orphans of its own, which somebody else reaps here (libvirt-host.c). */
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	domains = start_domains(test);
	plugin = domains.domain[0]->plugin;
	tool_run(test, &dry, NULL, "--all", "--dry-run", "--plugin", plugin, NULL);
	assert_int_equal(dry.status, 0);
	assert_string_equal(qmp_str(own_host_vm(&dry, names[1]), "outcome"), "possible");
	domain_assert_runs_in(domains.domain[1], domains.old[1]);

	tool_run(test, &run, NULL, "--all", "--parallel", "2", "--plugin", plugin, NULL);
	assert_int_equal(run.status, 0);
	assert_string_equal(qmp_str(own_host_vm(&run, "by-itself"), "outcome"), "upgraded");
	assert_true(vm_wait_exit(vm, LM_WAIT_MS));
	tool_assert_runs_in(vm, (pid_t)qmp_int(own_host_vm(&run, "by-itself"), "new-pid"));
	assert_upgraded(&domains, &run);

	tool_run(test, &again, NULL, "--all", "--plugin", plugin, NULL);
	assert_int_equal(again.status, 0);
	assert_string_equal(qmp_str(own_host_vm(&again, names[0]), "outcome"), "current");
}

#if LM_FAULT_INJECTION
/* The process that upgrades them is killed: another one settles what that left. */
static void test_worker_killed(LmTest *test, const void *arg)
{
	Domains domains = start_domains(test);
	const char *plugin = domains.domain[0]->plugin;
	g_auto(Run) run = {0}, again = {0};

	tool_run(test, &run, arg, "--all", "--plugin", plugin, NULL);
	assert_in_range(run.status, 0, 3);
	assert_true(libvirt_daemon_pid() > 0);
	for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
		JsonNode *vm = own_host_vm(&run, names[i]);
		gboolean moved = !g_strcmp0(qmp_str(vm, "outcome"), "upgraded");

		if (!moved)
			assert_string_equal(qmp_str(vm, "outcome"), "rolled-back");
		domain_assert_runs_in(domains.domain[i],
				      moved ? (pid_t)qmp_int(vm, "new-pid") : domains.old[i]);
	}
	tool_run(test, &again, NULL, "--all", "--plugin", plugin, NULL);
	assert_int_equal(again.status, 0);
	for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
		assert_true(domain_has_ended(domains.old[i]));
		domain_assert_clean(domains.domain[i]);
	}
}

/* The tool alone is killed: its worker brings the daemon back, and the next run waits for that. */
static void test_coordinator_killed(LmTest *test, const void *arg)
{
	Domains domains = start_domains(test);
	const char *plugin = domains.domain[0]->plugin;
	g_auto(Run) run = {0}, again = {0};

	tool_run(test, &run, "host-begun:kill", "--all", "--plugin", plugin, NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	tool_run(test, &again, NULL, "--all", "--plugin", plugin, NULL);
	assert_int_equal(again.status, 0);
	assert_true(libvirt_daemon_pid() > 0);
	for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
		assert_string_equal(qmp_str(own_host_vm(&again, names[i]), "outcome"), "current");
		assert_true(domain_has_ended(domains.old[i]));
		domain_assert_clean(domains.domain[i]);
	}
}

/*
 * The daemon does not come back, and all domains are upgraded: none of them waits any more, and the
 * next run begins it all the same.
 */
static void test_daemon_away(LmTest *test, const void *arg)
{
	Domains domains = start_domains(test);
	const char *plugin = domains.domain[0]->plugin;
	g_auto(Run) run = {0}, status = {0}, dry = {0}, spoilt = {0}, again = {0};

	/* The one that serves has read it already. */
	libvirt_daemon_spoil(TRUE);
	tool_run(test, &run, NULL, "--all", "--plugin", plugin, NULL);
	assert_int_equal(run.status, 5);
	assert_int_equal(libvirt_daemon_pid(), 0);
	tool_run(test, &status, NULL, "status", NULL);
	assert_int_equal(status.status, 0);
	assert_contains(status.out, "libvirtd is away");
	tool_run(test, &dry, NULL, "--all", "--dry-run", "--plugin", plugin, NULL);
	assert_contains(dry.out, "libvirtd is away");
	assert_int_equal(libvirt_daemon_pid(), 0);
	tool_run(test, &spoilt, NULL, "--all", "--plugin", plugin, NULL);
	assert_int_equal(spoilt.status, 5);
	assert_contains(spoilt.out, "libvirtd did not come back");
	libvirt_daemon_spoil(FALSE);
	tool_run(test, &again, NULL, "--all", "--plugin", plugin, NULL);
	assert_int_equal(again.status, 0);
	assert_true(libvirt_daemon_pid() > 0);
	for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
		assert_true(domain_has_ended(domains.old[i]));
		domain_assert_runs_in(domains.domain[i], domain_pid(domains.domain[i]));
		domain_assert_clean(domains.domain[i]);
	}
}
#endif

static const LmCase cases[] = {
	LM_CASE(test_domains_and_a_process),
#if LM_FAULT_INJECTION
	LM_CASE_ARG(test_worker_killed, "greet:kill"),
	LM_CASE_ARG(test_worker_killed, "handover:kill"),
	LM_CASE(test_coordinator_killed),
	LM_CASE(test_daemon_away),
#endif
};

static int run_here(int argc, char **argv)
{
	/* What is installed is to be seen by domains, which have mount namespaces of their own. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL) < 0 ||
	    !own_host_hide("/run", "mode=0755") ||
	    (g_file_test("/etc/libvirt/qemu", G_FILE_TEST_IS_DIR) &&
	     !own_host_hide("/etc/libvirt/qemu", "mode=0700")))
		return lm_test_skip("no folders of its own");
	return LIBVIRT_TEST_MAIN(argc, argv, cases);
}

int main(int argc, char **argv)
{
	return own_host_main(argc, argv, run_here);
}
