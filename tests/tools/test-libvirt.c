/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Domains of a real libvirt are upgraded, and its view of them is right afterwards. */
#include "qemu-live-upgrade-libvirt.h"
#include "libvirt-domain.h"
#include "libvirt/lu-libvirt.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <libvirt/libvirt.h>

static gint64 away_ms(const Run *run)
{
	return (gint64)json_object_get_double_member(json_node_get_object(run->report),
						     "libvirt-away-ms");
}

static void assert_upgrades(const Domain *domain)
{
	g_auto(Run) run = {0};
	pid_t old = domain_pid(domain);

	domain_upgrade(domain, &run, NULL, NULL);
	domain_assert_upgraded(domain, &run, old);
	lm_test_note("libvirt was away for %" G_GINT64_FORMAT " ms", away_ms(&run));
	assert_in_range(away_ms(&run), 1, 30000);
}

/* As an administrator would find it: nothing in the XML says that an upgrade is to come. */
static char *full_devices(LmTest *test)
{
	g_autofree char *disk = lm_test_path(test, "disk.qcow2");
	const char *const argv[] = {"qemu-img", "create", "-q", "-f", "qcow2", disk, "64M", NULL};
	g_autoptr(GError) error = NULL;

	g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
		     &error);
	must(error);
	return g_strdup_printf(
		"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
		"<source file='%s'/><target dev='vda' bus='virtio'/></disk>\n"
		"<serial type='pty'><target port='1'/></serial>\n"
		"<interface type='ethernet'><target dev='lmtap%d'/><model type='virtio'/>"
		"</interface>\n"
		"<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/>"
		"</channel>\n"
		"<controller type='usb' model='qemu-xhci'/>\n"
		"<graphics type='vnc' port='-1' autoport='yes'/>\n"
		"<memballoon model='virtio'/>\n",
		disk, (int)getpid() % 10000);
}

/* What does not change is what an administrator sees of it. */
static char *dump_without_terminals(const Domain *domain)
{
	g_autofree char *xml = virsh(domain->test, "dumpxml", domain->name, NULL);
	g_autoptr(GRegex) regex = g_regex_new("/dev/pts/[0-9]+", 0, 0, NULL);

	return g_regex_replace_literal(regex, xml, -1, 0, "/dev/pts/N", 0, NULL);
}

static void assert_terminal(const Domain *domain)
{
	g_autofree char *xml = virsh(domain->test, "dumpxml", domain->name, NULL);
	g_autofree char *path = text_between(xml, "<serial type='pty'>\n      <source path='", "'");
	g_autofree char *said = virsh(domain->test, "qemu-monitor-command", domain->name,
				      "{\"execute\": \"query-chardev\"}", NULL);
	g_autofree char *wanted = g_strdup_printf("\"filename\":\"pty:%s\"", path);

	assert_non_null(path);
	assert_contains(said, wanted);
}

static void test_all_of_a_domain(LmTest *test, const void *arg)
{
	g_autofree char *devices = full_devices(test);
	Domain *domain = domain_start(test, "lm-full", devices);
	g_autofree char *id = virsh(test, "domid", "lm-full", NULL);
	g_autofree char *before = NULL;

	/* It puts controllers into another order when it begins. */
	libvirt_daemon_end();
	libvirt_daemon_begin();
	before = dump_without_terminals(domain);
	for (int i = 0; i < 2; i++) {
		g_autofree char *after = NULL, *id_after = NULL, *display = NULL;

		assert_upgrades(domain);
		after = dump_without_terminals(domain);
		assert_string_equal(after, before);
		assert_terminal(domain);
		id_after = virsh(test, "domid", "lm-full", NULL);
		assert_string_equal(id_after, id);
		display = virsh(test, "vncdisplay", "lm-full", NULL);
		assert_contains(display, "127.0.0.1:");
		/* It is a restart like any other that comes after. */
		libvirt_daemon_end();
		libvirt_daemon_begin();
		domain_assert_runs_in(domain, domain_pid(domain));
	}
}

static void assert_state(LmTest *test, const char *name, const char *state)
{
	g_autofree char *is = virsh(test, "domstate", name, NULL);

	assert_string_equal(is, state);
}

/* Everything that one does with a domain. */
static void test_use_afterwards(LmTest *test, const void *arg)
{
	g_autofree char *devices = full_devices(test), *image = lm_test_path(test, "usb.img");
	Domain *domain = domain_start(test, "lm-use", devices);
	g_autofree char *list = NULL, *disks = NULL, *info = NULL;

	assert_upgrades(domain);
	list = virsh(test, "list", "--name", NULL);
	assert_contains(list, "lm-use");
	virsh_do(test, "suspend", "lm-use", NULL);
	assert_state(test, "lm-use", "paused");
	virsh_do(test, "resume", "lm-use", NULL);
	assert_state(test, "lm-use", "running");
	info = virsh(test, "vcpuinfo", "lm-use", NULL);
	assert_contains(info, "running");
	virsh_do(test, "snapshot-create-as", "lm-use", "internal", NULL);
	assert_true(g_file_set_contents(image, "", 0, NULL) && !truncate(image, 1 << 20));
	virsh_do(test, "attach-disk", "lm-use", image, "sda", "--targetbus", "usb", NULL);
	virsh_do(test, "detach-disk", "lm-use", "sda", NULL);
	virsh_do(test, "snapshot-create-as", "lm-use", "outer", "--disk-only", "--no-metadata",
		 NULL);
	disks = virsh(test, "domblklist", "lm-use", NULL);
	assert_contains(disks, "disk.outer");
	virsh_do(test, "managedsave", "lm-use", NULL);
	assert_state(test, "lm-use", "shut off");
	virsh_do(test, "start", "lm-use", NULL);
	domain_assert_runs_in(domain, domain_pid(domain));
	assert_upgrades(domain);
	virsh_do(test, "destroy", "lm-use", NULL);
	assert_state(test, "lm-use", "shut off");
	virsh_do(test, "start", "lm-use", NULL);
}

/* What was plugged and snapshotted since the start is not on the command line. */
static void test_changed_since_start(LmTest *test, const void *arg)
{
	g_autofree char *devices = full_devices(test), *image = lm_test_path(test, "second.img");
	Domain *domain = domain_start(test, "lm-since", devices);
	g_autofree char *before = NULL, *after = NULL;

	assert_upgrades(domain);
	assert_true(g_file_set_contents(image, "", 0, NULL) && !truncate(image, 1 << 20));
	virsh_do(test, "attach-disk", "lm-since", image, "vdb", NULL);
	virsh_do(test, "snapshot-create-as", "lm-since", "outer", "--disk-only", "--no-metadata",
		 NULL);
	before = virsh(test, "domblklist", "lm-since", NULL);
	assert_contains(before, "disk.outer");
	assert_contains(before, "second.outer");
	assert_upgrades(domain);
	after = virsh(test, "domblklist", "lm-since", NULL);
	assert_string_equal(after, before);
	virsh_do(test, "snapshot-create-as", "lm-since", "again", "--disk-only", "--no-metadata",
		 NULL);
	assert_upgrades(domain);
}

static void test_paused(LmTest *test, const void *arg)
{
	Domain *domain = domain_start(test, "lm-paused", NULL);
	g_auto(Run) run = {0};
	pid_t old = domain_pid(domain);
	g_autofree char *state = NULL;

	virsh_do(test, "suspend", "lm-paused", NULL);
	domain_upgrade(domain, &run, NULL, NULL);
	assert_int_equal(run.status, 0);
	assert_true(domain_has_ended(old));
	state = virsh(test, "domstate", "lm-paused", "--reason", NULL);
	assert_string_equal(state, "paused (user)");
	virsh_do(test, "resume", "lm-paused", NULL);
	domain_assert_runs_in(domain, run.new_pid);
	domain_assert_clean(domain);
}

static const char *const three[] = {"lm-one", "lm-two", "lm-three"};

static void test_several(LmTest *test, const void *arg)
{
	Domain *domains[G_N_ELEMENTS(three)];
	pid_t old[G_N_ELEMENTS(three)];
	g_auto(Run) run = {0};
	JsonArray *list;

	for (guint i = 0; i < G_N_ELEMENTS(three); i++) {
		domains[i] = domain_start(test, three[i], NULL);
		old[i] = domain_pid(domains[i]);
	}
	/* The one that is refused in between is none of the others' business. */
	virsh_do(test, "destroy", three[1], NULL);
	domain_upgrade(domains[0], &run, NULL, "--libvirt", three[1], "--libvirt", three[2], NULL);
	assert_int_equal(run.status, 2);
	assert_true(JSON_NODE_HOLDS_ARRAY(run.report));
	list = json_node_get_array(run.report);
	assert_int_equal(json_array_get_length(list), 3);
	for (guint i = 0; i < G_N_ELEMENTS(three); i++) {
		JsonNode *report = json_array_get_element(list, i);

		assert_string_equal(qmp_str(report, "domain"), three[i]);
		if (i == 1) {
			assert_contains(qmp_str(report, "error"),
					"libvirt domain lm-two is shut off, not running");
			continue;
		}
		assert_string_equal(qmp_str(report, "outcome"), "upgraded");
		assert_true(domain_has_ended(old[i]));
		domain_assert_runs_in(domains[i], (pid_t)qmp_int(report, "new-pid"));
		domain_assert_clean(domains[i]);
	}
}

/* Whatever began it: in the foreground, with its own standard error. */
static void test_daemon_as_it_was(LmTest *test, const void *arg)
{
	Domain *domain = domain_start(test, "lm-daemon", NULL);
	pid_t before = libvirt_daemon_pid(), after;
	g_autofree char *argv = tool_proc(before, "cmdline"), *env = tool_proc(before, "environ");
	g_autofree char *limits = tool_proc(before, "limits"), *argv_now = NULL, *env_now = NULL;
	g_autofree char *limits_now = NULL;

	assert_upgrades(domain);
	after = libvirt_daemon_pid();
	assert_int_not_equal(before, after);
	argv_now = tool_proc(after, "cmdline");
	env_now = tool_proc(after, "environ");
	limits_now = tool_proc(after, "limits");
	assert_string_equal(argv, argv_now);
	assert_string_equal(env, env_now);
	assert_string_equal(limits, limits_now);
}

static void test_dry_run_and_rehearsal(LmTest *test, const void *arg)
{
	Domain *domain = domain_start(test, "lm-dry", NULL);
	pid_t old = domain_pid(domain), daemon = libvirt_daemon_pid();
	g_auto(Run) dry = {0}, rehearsal = {0};

	domain_upgrade(domain, &dry, NULL, "--dry-run", NULL);
	assert_int_equal(dry.status, 0);
	assert_string_equal(qmp_str(dry.report, "outcome"), "possible");
	assert_int_equal(libvirt_daemon_pid(), daemon);
	domain_assert_runs_in(domain, old);
	domain_upgrade(domain, &rehearsal, NULL, "--rehearse", NULL);
	assert_int_equal(rehearsal.status, 0);
	assert_string_equal(qmp_str(rehearsal.report, "outcome"), "rehearsed");
	domain_assert_runs_in(domain, old);
	domain_assert_clean(domain);
	assert_upgrades(domain);
}

/* The calls that management software would make, as a program that uses libvirt already. */
static void call_it(const Domain *domain)
{
	virConnectPtr connection = virConnectOpen("qemu:///system");
	virDomainPtr called = connection ? virDomainLookupByName(connection, domain->name) : NULL;
	QluUpgrade *upgrade = qlu_new();
	char error[200];

	if (!called ||
	    qluDomainHypervisorLiveUpgrade(called, tool_qemu(), 1 << 20, error, sizeof(error)) !=
		    QLU_USAGE ||
	    !strstr(error, "flags 0x100000 are unknown"))
		_exit(1);
	qlu_set_libvirt(upgrade, domain->name);
	qlu_set_binary(upgrade, tool_qemu());
	qlu_set_plugin(upgrade, domain->plugin);
	if (qlu_run(upgrade) != QLU_DONE)
		lm_test_note("%s", qlu_error(upgrade));
	_exit(qlu_outcome(upgrade) != QLU_DONE || qlu_new_pid(upgrade) == qlu_old_pid(upgrade));
}

static void test_call(LmTest *test, const void *arg)
{
	Domain *domain = domain_start(test, "lm-call", NULL);
	pid_t old = domain_pid(domain), child = fork();
	int status;

	if (!child)
		call_it(domain);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_true(domain_has_ended(old));
	domain_assert_runs_in(domain, domain_pid(domain));
	domain_assert_clean(domain);
}

/* How it was begun, of which there is no end: the sockets are there again, too. */
static void test_service(LmTest *test, const void *arg)
{
	const char *const units[] = {"libvirtd.socket", "libvirtd-ro.socket", "libvirtd.service"};
	Domain *domain = domain_start(test, "lm-service", NULL);

	for (guint i = 0; i < 2; i++) {
		assert_upgrades(domain);
		for (guint j = 0; j < G_N_ELEMENTS(units); j++) {
			const char *argv[] = {"systemctl", "is-active", "--quiet", units[j], NULL};
			int status = 1;

			assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH,
						 NULL, NULL, NULL, NULL, &status, NULL));
			assert_int_equal(status, 0);
		}
	}
	libvirt_daemon_end();
	libvirt_daemon_begin();
	domain_assert_runs_in(domain, domain_pid(domain));
}

/* On a machine of its own, whose first process is systemd; its 77: none can be made here. */
static int in_machine(const char *in_systemd)
{
	const char *argv[] = {in_systemd, "/proc/self/exe", NULL};
	g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
	int status = 0;

	argv[1] = self;
	g_setenv("LM_IN_MACHINE", "1", TRUE);
	if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_CHILD_INHERITS_STDIN, NULL, NULL, NULL,
			  NULL, &status, NULL))
		return 1;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		return lm_test_skip("no machine with systemd can be made here");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static const LmCase service_cases[] = {LM_CASE(test_service)};

static const LmCase cases[] = {
	LM_CASE(test_all_of_a_domain),
	LM_CASE(test_use_afterwards),
	LM_CASE(test_changed_since_start),
	LM_CASE(test_paused),
	LM_CASE(test_several),
	LM_CASE(test_daemon_as_it_was),
	LM_CASE(test_dry_run_and_rehearsal),
	LM_CASE(test_call),
};

int main(int argc, char **argv)
{
	const char *in_systemd = g_getenv("LM_LIBVIRT_IN_SYSTEMD");
	gboolean machine = g_getenv("LM_IN_MACHINE") != NULL;

	if (in_systemd && !machine)
		return in_machine(in_systemd);
	return machine ? LIBVIRT_TEST_MAIN(argc, argv, service_cases)
		       : LIBVIRT_TEST_MAIN(argc, argv, cases);
}
