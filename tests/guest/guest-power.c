/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The power button, as "virsh shutdown" presses it: ACPI's, which the kernel makes a key of. */
#include "guest.h"

#include <fcntl.h>
#include <linux/input.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DEVICES 8

/* A keyboard may have such a key as well. */
static bool is_power_button(int fd)
{
	char name[64] = "";

	return ioctl(fd, EVIOCGNAME(sizeof(name) - 1), name) >= 0 && !strcmp(name, "Power Button");
}

int power_button_open(void)
{
	for (int i = 0; i < DEVICES; i++) {
		char path[32];
		int fd;

		snprintf(path, sizeof(path), "/dev/input/event%d", i);
		fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0 && is_power_button(fd))
			return fd;
		if (fd >= 0)
			close(fd);
	}
	guest_error("there is no power button");
	return -1;
}

bool power_button_pressed(int fd)
{
	struct input_event event;

	while (fd >= 0 && read(fd, &event, sizeof(event)) == sizeof(event))
		if (event.type == EV_KEY && event.code == KEY_POWER && event.value)
			return true;
	return false;
}
