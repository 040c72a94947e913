/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk of a domain that ends up in another image: libvirt's view, and the guest's, afterwards and
 * when something fails.
 */
#include "images.h"
#include "linux-guest.h"
#include "moving-disk.h"
#include "process.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What libvirt does by the names of block nodes. */
static void use_nodes(const MovingDisk *moving)
{
	const char *name = moving->domain->name;
	g_autofree char *outer = g_strconcat(moving->new, ".outer", NULL);
	g_autofree char *spec = g_strdup_printf("vda,file=%s", outer), *list = NULL;
	LmTest *test = moving->domain->test;

	virsh_do(test, "snapshot-create-as", name, "outer", "--disk-only", "--no-metadata",
		 "--diskspec", spec, NULL);
	list = virsh(test, "domblklist", name, NULL);
	assert_contains(list, outer);
	virsh_do(test, "blockcommit", name, "vda", "--active", "--pivot", "--wait", NULL);
	unlink(outer);
}

/* @arg: the option's more. */
static void test_move_disk(LmTest *test, const void *arg)
{
	const char *name = "lm-move";
	MovingDisk *moving = moving_start(test, name, arg, "");
	const pid_t old = domain_pid(moving->domain);
	g_auto(Run) run = {0}, again = {0};

	domain_upgrade(moving->domain, &run, NULL, moving->option, NULL);
	domain_assert_upgraded(moving->domain, &run, old);
	assert_true(qmp_int(run.report, "copied-bytes") > 0);
	moving_assert_is(moving, moving->new, moving->old);
	use_nodes(moving);
	libvirt_daemon_end();
	libvirt_daemon_begin();
	moving_assert_is(moving, moving->new, moving->old);
	domain_upgrade(moving->domain, &again, NULL, NULL);
	domain_assert_upgraded(moving->domain, &again, run.new_pid);
	use_nodes(moving);
	moving_wait_beats(moving->domain, 10);
	/* The next start is from the new image, where a guest finds only blocks that are whole. */
	virsh_do(test, "destroy", name, NULL);
	assert_int_equal(unlink(moving->old), 0);
	moving_start_again(moving->domain);
}

/*
 * The guest ends (@arg: how) while its disk is copied, and is started again: from the new image,
 * with the old one beneath it, though the definition said that nothing was beneath the old one.
 */
static void test_move_disk_unfinished(LmTest *test, const void *arg)
{
	MovingDisk *moving = moving_start(test, "lm-half", ",throttle=1M", "<backingStore/>");
	const char *name = moving->domain->name;
	g_autofree char *xml = NULL;
	g_auto(Run) run = {0};

	moving_wait_beats(moving->domain, 20);
	domain_upgrade(moving->domain, &run, "daemon-start:kill", moving->option, NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	libvirt_daemon_begin();
	moving_wait_beats(moving->domain, 5);
	virsh_do(test, arg, name, NULL);
	assert_true(moving_copied_bytes(moving) < (MOVING_MIB / 2 << 20));
	assert_true(image_has_journal(moving->new));
	moving_start_again(moving->domain);
	xml = virsh(test, "dumpxml", name, NULL);
	assert_contains(xml, moving->old);
}

/* The tool is killed with the guest in the new process; the next one is asked for the disk. */
static void test_move_disk_asked_later(LmTest *test, const void *arg)
{
	MovingDisk *moving = moving_start(test, "lm-later", "", "");
	const pid_t old = domain_pid(moving->domain);
	g_auto(Run) run = {0}, again = {0};

	domain_upgrade(moving->domain, &run, arg, NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	domain_upgrade(moving->domain, &again, NULL, moving->option, NULL);
	domain_assert_upgraded(moving->domain, &again, old);
	moving_assert_is(moving, moving->new, moving->old);
	assert_false(image_has_journal(moving->new));
}

/* The same command again follows the copying to its end. */
static void test_move_disk_interrupted(LmTest *test, const void *arg)
{
	MovingDisk *moving = moving_start(test, "lm-again", ",throttle=16M", "");
	const pid_t old = domain_pid(moving->domain);
	g_autofree char *journal = g_strconcat(moving->new, ".moving", NULL), *info = NULL;
	g_auto(Run) run = {0}, again = {0};

	domain_upgrade(moving->domain, &run, arg, moving->option, NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	domain_upgrade(moving->domain, &again, NULL, moving->option, NULL);
	domain_assert_upgraded(moving->domain, &again, old);
	assert_true(qmp_int(again.report, "copied-bytes") > 0);
	moving_assert_is(moving, moving->new, moving->old);
	assert_int_not_equal(access(journal, F_OK), 0);
	info = image_info(moving->new);
	assert_null(strstr(info, "backing file"));
}

/* Somebody has written another image into the definition, for the next start. */
static void test_move_disk_defined_anew(LmTest *test, const void *arg)
{
	MovingDisk *moving = moving_start(test, "lm-anew", "", "");
	const char *name = moving->domain->name;
	const pid_t old = domain_pid(moving->domain);
	g_autofree char *xml = virsh(test, "dumpxml", name, "--inactive", NULL);
	g_autofree char *path = lm_test_path(test, "anew.xml"), *now = NULL, *next = NULL;
	g_autoptr(GString) text = g_string_new(xml);
	g_auto(Run) run = {0};

	g_string_replace(text, moving->old, "/elsewhere.img", 0);
	assert_true(g_file_set_contents(path, text->str, -1, NULL));
	virsh_do(test, "define", path, NULL);
	domain_upgrade(moving->domain, &run, NULL, moving->option, NULL);
	domain_assert_upgraded(moving->domain, &run, old);
	now = virsh(test, "dumpxml", name, NULL);
	next = virsh(test, "dumpxml", name, "--inactive", NULL);
	assert_contains(now, moving->new);
	assert_contains(next, "/elsewhere.img");
	assert_null(strstr(next, moving->new));
}

/* The guest stays, and libvirt's files say the old image. */
static void test_move_disk_fails(LmTest *test, const void *arg)
{
	MovingDisk *moving = moving_start(test, "lm-stays", "", "");
	const pid_t old = domain_pid(moving->domain);
	g_auto(Run) run = {0}, none = {0};

	domain_upgrade(moving->domain, &run, "staged:fail", moving->option, NULL);
	assert_true(run.status == 2 || run.status == 3);
	domain_assert_runs_in(moving->domain, old);
	moving_assert_is(moving, moving->old, moving->new);
	assert_int_not_equal(access(moving->new, F_OK), 0);
	domain_upgrade(moving->domain, &none, NULL, "--move-disk=vdz=/new.img", NULL);
	assert_int_equal(none.status, 2);
	assert_contains(qmp_str(none.report, "error"), "is called vdz");
	domain_assert_clean(moving->domain);
}

int main(int argc, char **argv)
{
	static const LmCase cases[] = {
		LM_CASE_ARG(test_move_disk, ""),
		LM_CASE_ARG(test_move_disk, ",format=raw"),
		LM_CASE_ARG(test_move_disk_unfinished, "destroy"),
		LM_CASE_ARG(test_move_disk_unfinished, "managedsave"),
		LM_CASE_ARG(test_move_disk_asked_later, "retire:kill"),
		LM_CASE_ARG(test_move_disk_asked_later, "daemon-start:kill"),
		LM_CASE_ARG(test_move_disk_interrupted, "retire:kill"),
		LM_CASE_ARG(test_move_disk_interrupted, "daemon-start:kill"),
		LM_CASE(test_move_disk_defined_anew),
		LM_CASE(test_move_disk_fails),
	};
	const char *missing = linux_missing();

	if (missing)
		return lm_test_skip("%s is not set", missing);
	return LIBVIRT_TEST_MAIN(argc, argv, cases);
}
