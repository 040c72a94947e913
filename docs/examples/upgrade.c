// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Upgrades the QEMU behind a QMP socket, and says what became of it: how management software
 * calls libqemu-live-upgrade.
 *
 *     cc upgrade.c -o upgrade $(pkg-config --cflags --libs libqemu-live-upgrade)
 *     ./upgrade /run/vm1.qmp [/usr/bin/qemu-system-x86_64 [PLUGIN]]
 */
#include <qemu-live-upgrade.h>

#include <stdio.h>

static void print_step(void *opaque, const char *step, const char *what)
{
	(void)opaque;
	printf("%s: %s\n", step, what);
}

static void print_list(const char *title, const char *const *list)
{
	for (; *list; list++)
		printf("%s: %s\n", title, *list);
}

/* First without touching anything, so that all that prevents it is known at once. */
static QluOutcome look_then_upgrade(QluUpgrade *upgrade)
{
	QluOutcome outcome;

	qlu_set_flags(upgrade, QLU_DRY_RUN);
	outcome = qlu_run(upgrade);
	if (outcome != QLU_DONE)
		return outcome;
	qlu_set_flags(upgrade, 0);
	qlu_on_step(upgrade, print_step, NULL);
	return qlu_run(upgrade);
}

int main(int argc, char **argv)
{
	QluUpgrade *upgrade;
	QluOutcome outcome;

	if (argc < 2 || argc > 4) {
		fprintf(stderr, "usage: %s SOCKET [BINARY [PLUGIN]]\n", argv[0]);
		return QLU_USAGE;
	}
	upgrade = qlu_new();
	qlu_set_qmp(upgrade, argv[1]);
	if (argc > 2)
		qlu_set_binary(upgrade, argv[2]);
	if (argc > 3)
		qlu_set_plugin(upgrade, argv[3]);

	outcome = look_then_upgrade(upgrade);
	switch (outcome) {
	case QLU_DONE:
		printf("from %s, process %d, to %s, process %d: stopped for %.1f ms\n",
		       qlu_from(upgrade), (int)qlu_old_pid(upgrade), qlu_to(upgrade),
		       (int)qlu_new_pid(upgrade), qlu_stopped_ms(upgrade));
		print_list("note", qlu_notes(upgrade));
		break;
	case QLU_USAGE:
	case QLU_REFUSED: /* the guest was never stopped */
		printf("not possible: %s\n", qlu_error(upgrade));
		print_list("refused", qlu_refusals(upgrade));
		break;
	case QLU_ROLLED_BACK: /* the guest goes on in the old process */
		printf("failed: %s\n", qlu_error(upgrade));
		break;
	case QLU_MANAGER: /* the guest runs, without libvirt */
		printf("the guest runs, but: %s\n", qlu_error(upgrade));
		break;
	case QLU_LOST: /* somebody must look at it */
	default:
		printf("the guest may be lost: %s\n", qlu_error(upgrade));
	}
	qlu_free(upgrade);
	return outcome;
}
