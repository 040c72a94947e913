/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "moving-disk.h"
#include "images.h"
#include "linux-guest.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void moving_free(gpointer opaque)
{
	MovingDisk *moving = opaque;

	g_free(moving->old);
	g_free(moving->new);
	g_free(moving->option);
	g_free(moving);
}

/* @beneath: an element that says of the definition's disk what is beneath it, or "". */
MovingDisk *moving_start(LmTest *test, const char *name, const char *more, const char *beneath)
{
	MovingDisk *moving = g_new0(MovingDisk, 1);
	g_autofree char *devices = NULL, *content = NULL;

	lm_test_cleanup_later(test, moving_free, moving);
	moving->old = lm_test_path(test, "old.img");
	moving->new = lm_test_path(test, "new.img");
	moving->option = g_strdup_printf("--move-disk=vda=%s%s", moving->new, more);
	content = image_make_full(test, moving->old, "qcow2", MOVING_MIB, LINUX_DISK_MIB);
	devices = g_strdup_printf("<disk type='file' device='disk'><driver name='qemu' "
				  "type='qcow2'/><source file='%s'/>%s<target dev='vda' "
				  "bus='virtio'/></disk>\n",
				  moving->old, beneath);
	moving->domain = domain_start_linux(test, name, "lm.disk=1 lm.disk_mib=32", devices);
	return moving;
}

/* libvirt's view, now and at the next start, and the files of both. */
void moving_assert_is(const MovingDisk *moving, const char *is, const char *is_not)
{
	LmTest *test = moving->domain->test;
	g_autofree char *now = virsh(test, "dumpxml", moving->domain->name, NULL);
	g_autofree char *next = virsh(test, "dumpxml", moving->domain->name, "--inactive", NULL);
	g_autofree char *list = virsh(test, "domblklist", moving->domain->name, NULL);

	assert_contains(now, is);
	assert_contains(next, is);
	assert_contains(list, is);
	assert_null(strstr(now, is_not));
	assert_null(strstr(next, is_not));
}

void moving_assert_next_is(const MovingDisk *moving, const char *is, const char *is_not)
{
	g_autofree char *next =
		virsh(moving->domain->test, "dumpxml", moving->domain->name, "--inactive", NULL);

	assert_contains(next, is);
	assert_null(strstr(next, is_not));
}

void moving_wait_beats(const Domain *domain, guint beats)
{
	g_autoptr(GError) error = NULL;

	serial_wait_beats(domain->serial_path, beats, LINUX_BOOT_MS, NULL, &error);
	must(error);
}

void moving_start_again(const Domain *domain)
{
	/* its beats may begin anew */
	assert_int_equal(truncate(domain->serial_path, 0), 0);
	virsh_do(domain->test, "start", domain->name, NULL);
	moving_wait_beats(domain, 5);
}

guint64 moving_copied_bytes(const MovingDisk *moving)
{
	struct stat st;

	assert_int_equal(stat(moving->new, &st), 0);
	return (guint64)st.st_blocks * 512;
}
