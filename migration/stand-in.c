// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A network back end is opened when QEMU starts, and setting up a tap device changes what the
 * guest that still runs in the source gets from it. So a destination is given a stand-in (a tap
 * device that leads nowhere), and the real descriptor under another number. When the source has
 * stopped the guest, the real one takes the stand-in's number (dup3): QEMU, which knows a number,
 * goes on with it, and loading the guest's state sets it up as the guest has it. A rehearsal
 * never touches the real one.
 *
 * Of several queues QEMU put off all but the first, as long as no guest asked for more, and
 * believes so still; a queue may be put on, or off, only once. So they are made what the
 * stand-in's are. If the guest goes back, the source believes its queues to be on: qemu-live-
 * upgrade, which gave this argument, puts them on again. Frames come by the first one until then.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "local/error.h"
#include "stand-in.h"

typedef struct Pair {
	int number, real;
} Pair;

static GArray *pairs; /* of Pair; NULL: none */

static gboolean parse_number(const char *text, int *number)
{
	guint64 parsed;

	if (!text || !g_ascii_string_to_unsigned(text, 10, 3, 1 << 20, &parsed, NULL))
		return FALSE;
	*number = (int)parsed;
	return TRUE;
}

gboolean lm_stand_in_parse(const char *text)
{
	g_auto(GStrv) parts = g_strsplit(text, "/", -1);

	g_clear_pointer(&pairs, g_array_unref);
	pairs = g_array_new(FALSE, FALSE, sizeof(Pair));
	for (guint i = 0; parts[i]; i++) {
		g_auto(GStrv) numbers = g_strsplit(parts[i], ":", 2);
		Pair pair;

		if (!parse_number(numbers[0], &pair.number) ||
		    !parse_number(numbers[1], &pair.real) || pair.number == pair.real)
			return FALSE;
		g_array_append_val(pairs, pair);
	}
	return pairs->len > 0;
}

static gboolean is_put_off(int fd)
{
	struct ifreq ifr = {0};

	return ioctl(fd, TUNGETIFF, &ifr) == 0 && (ifr.ifr_flags & IFF_DETACH_QUEUE);
}

static int match_queue(const Pair *pair)
{
	struct ifreq ifr = {0};
	gboolean off = is_put_off(pair->number);

	if (off == is_put_off(pair->real))
		return 0;
	ifr.ifr_flags = off ? IFF_DETACH_QUEUE : IFF_ATTACH_QUEUE;
	return ioctl(pair->real, TUNSETQUEUE, &ifr);
}

int lm_stand_in_replace(GError **errp)
{
	for (guint i = 0; pairs && i < pairs->len; i++) {
		const Pair *pair = &g_array_index(pairs, Pair, i);

		if (match_queue(pair) < 0 || dup3(pair->real, pair->number, O_CLOEXEC) < 0)
			return lm_fail_errno(errp, LM_ERROR_FAILED, errno,
					     "descriptor %d for its stand-in %d", pair->real,
					     pair->number);
	}
	for (guint i = 0; pairs && i < pairs->len; i++)
		close(g_array_index(pairs, Pair, i).real);
	g_clear_pointer(&pairs, g_array_unref);
	return 0;
}
