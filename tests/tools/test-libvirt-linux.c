/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A Linux guest under libvirt that was upgraded: its console and its power button are where they
 * were. It ends by itself, and libvirt sees that it does.
 */
#include "libvirt-host.h"
#include "linux-guest.h"

#include <string.h>

/* virsh wants a terminal, which script(1) gives it; what is typed is the guest's then. */
#define TYPE_POWEROFF                                                                              \
	"{ sleep 3; printf 'poweroff\\n'; sleep 15; } | "                                          \
	"timeout 30 script -qec 'virsh -q console %s' /dev/null"

static gboolean is_shut_off(void *opaque)
{
	const Domain *domain = opaque;
	g_autofree char *state = virsh(domain->test, "domstate", domain->name, NULL);

	return !strcmp(state, "shut off");
}

static Domain *start_upgraded(LmTest *test, const char *name, const char *options)
{
	Domain *domain = domain_start_linux(test, name, options);
	const pid_t old = domain_pid(domain);
	g_auto(Run) run = {0};

	domain_upgrade(domain, &run, NULL, NULL);
	domain_assert_upgraded(domain, &run, old);
	return domain;
}

/* It read all of its memory, and found nothing wrong; libvirt knows that it went by itself. */
static void assert_ended(Domain *domain)
{
	g_autofree char *log = NULL, *reason = NULL;

	assert_true(lm_wait_until(is_shut_off, domain, 2 * LM_WAIT_MS));
	reason = virsh(domain->test, "domstate", domain->name, "--reason", NULL);
	assert_string_equal(reason, "shut off (shutdown)");
	assert_true(g_file_get_contents(domain->serial_path, &log, NULL, NULL));
	assert_contains(log, "guest done");
	assert_contains(log, " errors 0");
	assert_null(strstr(log, "ERROR"));
}

static void test_console(LmTest *test, const void *arg)
{
	Domain *domain = start_upgraded(test, "lm-console", "");
	g_autofree char *line = g_strdup_printf(TYPE_POWEROFF, domain->name), *out = NULL;
	const char *const argv[] = {"sh", "-c", line, NULL};
	g_autoptr(GError) error = NULL;

	g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, NULL, NULL,
		     &error);
	must(error);
	assert_contains(out, "beat ");
	assert_contains(out, "guest done");
	assert_ended(domain);
}

static void test_shutdown(LmTest *test, const void *arg)
{
	Domain *domain = start_upgraded(test, "lm-shutdown", "lm.acpi=1");

	virsh_do(test, "shutdown", domain->name, NULL);
	assert_ended(domain);
}

int main(int argc, char **argv)
{
	static const LmCase cases[] = {
		LM_CASE(test_console),
		LM_CASE(test_shutdown),
	};
	const char *missing = linux_missing();
	g_autofree char *why = NULL;
	int status;

	if (missing)
		return lm_test_skip("%s is not set", missing);
	if (!libvirt_host_begin("libvirtd", &why))
		return lm_test_skip("%s", why);
	status = LM_TEST_MAIN(argc, argv, cases);
	libvirt_host_end();
	return status;
}
