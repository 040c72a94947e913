/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A Linux guest under libvirt that was upgraded: its console and its power button are where they
 * were. It ends by itself, and libvirt sees that it does.
 */
#include "images.h"
#include "libvirt-domain.h"
#include "linux-guest.h"
#include "process.h"
#include "versions.h"
#include "virtiofsd.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
	Domain *domain = domain_start_linux(test, name, options, NULL);
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

/* ------------------------------------------------------------------- virtiofs */

/*
 * libvirt asks it for all that it has, and it would load the modules of the host's QEMU. NULL, and
 * a note: it is not here.
 */
static char *emulator_without_modules(LmTest *test)
{
	char *emulator = tool_qemu_version(test, VERSION_10_0);
	const char *const argv[] = {"sed", "-i",
				    "s,/usr/lib/x86_64-linux-gnu/qemu\\x00,/usr/lib/"
				    "x86_64-linux-gnu/none\\x00,",
				    emulator, NULL};
	g_autofree char *said = NULL;

	if (emulator && process_run(&said, argv))
		fail_msg("%s", said);
	return emulator;
}

/* Twice, and the guest reads back all that it wrote. */
static void test_virtiofs(LmTest *test, const void *arg)
{
	g_autofree char *program = virtiofsd_find(test);
	g_autofree char *emulator = program ? emulator_without_modules(test) : NULL;
	Virtiofsd *server;
	Domain *domain;

	if (!emulator)
		return;
	server = virtiofsd_start(test, program, "shared");
	assert_int_equal(chmod(server->socket, 0666), 0); /* QEMU is another user's */
	domain = domain_start_fs(test, "lm-virtiofs", emulator, server->socket);
	for (guint i = 0; i < 2; i++) {
		const pid_t old = domain_pid(domain);
		g_auto(Run) run = {0};

		domain_upgrade(domain, &run, NULL, NULL);
		domain_assert_upgraded(domain, &run, old);
		virtiofsd_assert_serves(server);
	}
	virsh_do(test, "shutdown", domain->name, NULL);
	assert_ended(domain);
}

int main(int argc, char **argv)
{
	static const LmCase cases[] = {
		LM_CASE(test_console),
		LM_CASE(test_shutdown),
		LM_CASE(test_virtiofs),
	};
	const char *missing = linux_missing();

	if (missing)
		return lm_test_skip("%s is not set", missing);
	return LIBVIRT_TEST_MAIN(argc, argv, cases);
}
