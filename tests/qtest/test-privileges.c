/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU with few rights: another user, in libvirt's sandbox (seccomp), in namespaces of its own.
 * Each way of the memory works there; but for sharing live, which takes a userfaultfd for the
 * kernel's faults as well: without the right to one the memory is shared while the guest is stopped
 * and the status says why, and with a descriptor that it was lent it is live.
 */
#include "migrate.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY	"65534"
#define DEVICE	"/dev/userfaultfd"
#define SETTING "/proc/sys/vm/unprivileged_userfaultfd"

static const char *const sandbox[] = {
	"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
	NULL};

typedef struct Confinement {
	const char *name;
	const char *how; /* the end of a script, in front of QEMU */
	const char *const *extra;
} Confinement;

static const Confinement confinements[] = {
	{"another user", "exec setpriv --reuid=" NOBODY " --regid=" NOBODY " --clear-groups", NULL},
	{"another user in a sandbox",
	 "exec setpriv --reuid=" NOBODY " --regid=" NOBODY " --clear-groups", sandbox},
	{"namespaces", "exec unshare --user --map-root-user --mount", NULL},
};

typedef struct Way {
	const char *name, *more;
	const char *backend;
	gboolean lends;
} Way;

static const Way ways[] = {
	{"flip", "", NULL, FALSE},
	{"share stopped", ", 'ram': 'share', 'live': false", NULL, FALSE},
	{"share", ", 'ram': 'share'", NULL, FALSE},
	{"share with a lent descriptor", ", 'ram': 'share', 'userfaultfd': 'lent'", NULL, TRUE},
	{"pass", "", "memory-backend-memfd,share=on", FALSE},
};

typedef struct Arg {
	const Confinement *confinement;
	const Way *way;
} Arg;

/* The VM's files become the user's first. */
static void make_launcher(LmTest *test, const Confinement *confinement)
{
	const char *qemu = g_getenv("LM_QEMU");
	g_autofree char *owner =
		strstr(confinement->how, "setpriv")
			? g_strdup_printf("chown -R " NOBODY ":" NOBODY " '%s'\n", test->dir)
			: g_strdup("");
	g_autofree char *text =
		g_strdup_printf("#!/bin/sh\n%s%s %s \"$@\"\n", owner, confinement->how,
				qemu ? qemu : "qemu-system-x86_64");
	g_autofree char *path = lm_test_path(test, "launcher");

	assert_true(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, 0755, NULL));
}

static void lend(Vm *vm, const char *path)
{
	g_autoptr(GError) error = NULL;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	qmp_pass_fd(vm->qmp, fd, &error);
	close(fd);
	must(error);
	vm_do(vm, "getfd", "{'fdname': %s}", "lent");
}

static gboolean everybody_may(void)
{
	g_autofree char *text = NULL;

	return !g_file_get_contents(SETTING, &text, NULL, NULL) || *text == '1';
}

/* The root of a user namespace is the device's owner. */
static void assert_share(JsonNode *info, const Arg *arg)
{
	JsonNode *share = json_object_get_member(json_node_get_object(info), "share");

	if (arg->way->lends) {
		assert_true(qmp_bool(share, "live"));
	} else if (!strstr(arg->way->more, "live") && !everybody_may() &&
		   strstr(arg->confinement->how, "setpriv")) {
		assert_false(qmp_bool(share, "live"));
		assert_contains(qmp_str(share, "why-not-live"), "vm.unprivileged_userfaultfd");
	}
}

/* On copies that others may read, whatever folders the originals are in. */
static Vm *start(LmTest *test, const Arg *arg, const Vm *source)
{
	g_autofree char *launcher = lm_test_path(test, "launcher");
	g_autofree char *plugin = lm_test_copy(test, lm_test_env("LM_PLUGIN"), 0644);
	g_autofree char *payload = lm_test_copy(test, lm_test_env("LM_PAYLOAD"), 0644);
	const VmOptions options = {
		.binary = launcher,
		.plugin = plugin,
		.kernel = payload,
		.append = "rate=8 touch=48",
		.memory_mib = 128,
		.backend = arg->way->backend,
		.extra = arg->confinement->extra,
	};

	return source ? migrate_destination(test, &options, source)
		      : migrate_source(test, &options);
}

static void test_way(LmTest *test, const void *opaque)
{
	const Arg *arg = opaque;
	g_autoptr(JsonNode) info = NULL;
	Vm *source, *destination;

	make_launcher(test, arg->confinement);
	source = start(test, arg, NULL);
	destination = start(test, arg, source);
	if (arg->way->lends)
		lend(source, DEVICE);
	info = migrate_ok(source, destination, arg->way->more);
	if (strstr(arg->way->more, "share"))
		assert_share(info, arg);
}

static void test_wrong_descriptor(LmTest *test, const void *arg)
{
	const VmOptions options = {.append = "rate=8 touch=48", .memory_mib = 128};
	Vm *source = migrate_source(test, &options);
	g_autofree char *said = NULL, *none = NULL;

	none = migrate_refused(source, "unix:/nowhere", ", 'userfaultfd': 'lent'");
	assert_contains(none, "lent");
	lend(source, "/dev/null");
	said = migrate_refused(source, "unix:/nowhere", ", 'userfaultfd': 'lent'");
	assert_contains(said, "Parameter 'userfaultfd': lent: the descriptor that was lent is not "
			      "of " DEVICE);
}

int main(int argc, char **argv)
{
	static const LmCase wrong = LM_CASE(test_wrong_descriptor);
	g_autoptr(GArray) cases = g_array_new(FALSE, FALSE, sizeof(LmCase));
	g_autoptr(GPtrArray) kept = g_ptr_array_new_with_free_func(g_free);

	if (geteuid())
		return lm_test_skip("only root can start QEMU as another user");
	for (guint c = 0; c < G_N_ELEMENTS(confinements); c++) {
		for (guint w = 0; w < G_N_ELEMENTS(ways); w++) {
			Arg arg = {&confinements[c], &ways[w]};
			LmCase one = {
				g_strdup_printf("%s, %s", arg.confinement->name, arg.way->name),
				test_way, g_memdup2(&arg, sizeof(arg))};

			g_ptr_array_add(kept, (gpointer)one.name);
			g_ptr_array_add(kept, (gpointer)one.arg);
			if (!arg.way->lends || access(DEVICE, R_OK | W_OK) == 0)
				g_array_append_val(cases, one);
		}
	}
	g_array_append_val(cases, wrong);
	return lm_test_main(argc, argv, (const LmCase *)cases->data, cases->len);
}
