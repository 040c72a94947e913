/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Process 1 of the Linux guest, and the only one. guest.md says what it prints.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include "guest.h"

enum { BEAT_MS = 100, ERROR_LINES = 100, LINE_BYTES = 256, DEVICE_WAIT_MS = 5000 };

struct guest_options guest_options = {.dirty_percent = 20, .disk_mib = 64, .net_s = 2};
struct guest_counters guest_counters;
atomic_bool guest_stopping;

static int console = STDOUT_FILENO;
static int power_button = -1;
static uint64_t page_count, beats;

/* Loads that were asked for and could be started. */
static struct load {
	void *(*run)(void *);
	pthread_t thread;
	bool started;
} memory_load = {.run = memory_thread}, disk_load = {.run = disk_thread},
  net_load = {.run = net_thread};

static void print_with(const char *prefix, const char *format, va_list args)
{
	char line[LINE_BYTES];
	size_t used = strlen(prefix), most = sizeof(line) - 1;
	int n;

	memcpy(line, prefix, used);
	n = vsnprintf(line + used, sizeof(line) - used, format, args);
	if (n < 0)
		return;
	used = used + (size_t)n < most ? used + (size_t)n : most;
	line[used++] = '\n';
	/* a console that is gone must not stop the loads */
	if (write(console, line, used) < 0)
		return;
}

void guest_print(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_with("", format, args);
	va_end(args);
}

void guest_error(const char *format, ...)
{
	va_list args;

	if (atomic_fetch_add(&guest_counters.errors, 1) >= ERROR_LINES)
		return;
	va_start(args, format);
	print_with("ERROR ", format, args);
	va_end(args);
}

uint64_t guest_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void guest_rest(uint64_t since_us, unsigned rest)
{
	uint64_t us = (guest_now_us() - since_us) * rest;

	/* a burst that was interrupted for long is no reason to rest for long */
	if (!guest_options.fast)
		usleep(us < 20000 ? (useconds_t)us : 20000);
}

static void console_open(void)
{
	struct termios raw;
	int fd = open("/dev/console", O_RDWR | O_NOCTTY);

	if (fd < 0)
		return;
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
	/* lines come in whole, without an echo, and go out as they are */
	if (tcgetattr(console, &raw) < 0)
		return;
	raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ISIG);
	raw.c_iflag |= ICRNL;
	raw.c_oflag &= ~(tcflag_t)OPOST;
	tcsetattr(console, TCSANOW, &raw);
}

static void mounts_make(void)
{
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
}

static void option_take(const char *word)
{
	const struct {
		const char *name;
		uint64_t *number;
		bool *flag;
	} all[] = {
		{"lm.mib=", &guest_options.memory_mib, NULL},
		{"lm.dirty=", &guest_options.dirty_percent, NULL},
		{"lm.disk_mib=", &guest_options.disk_mib, NULL},
		{"lm.disk=", NULL, &guest_options.disk},
		{"lm.fs=", NULL, &guest_options.fs},
		{"lm.net=", NULL, &guest_options.net},
		{"lm.net_s=", &guest_options.net_s, NULL},
		{"lm.fast=", NULL, &guest_options.fast},
		{"lm.acpi=", NULL, &guest_options.acpi},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		size_t length = strlen(all[i].name);
		uint64_t value;

		if (strncmp(word, all[i].name, length))
			continue;
		value = strtoull(word + length, NULL, 10);
		if (all[i].number)
			*all[i].number = value;
		else
			*all[i].flag = value;
	}
}

static void options_read(void)
{
	char line[4096], *rest = line, *word;
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return;
	line[n] = 0;
	while ((word = strsep(&rest, " \n")))
		option_take(word);
	if (guest_options.dirty_percent > 100)
		guest_options.dirty_percent = 100;
}

static void module_load(const char *name)
{
	char path[LINE_BYTES];
	int fd;

	snprintf(path, sizeof(path), "/modules/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
		guest_error("%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* A list has one file name per line, in load order; there is none when all is built in. */
static void modules_load(const char *list)
{
	char name[128];
	FILE *file = fopen(list, "re");

	if (!file)
		return;
	while (fscanf(file, "%127s", name) == 1)
		module_load(name);
	fclose(file);
}

/* Drivers may find their devices after the module was loaded. */
static void device_wait(const char *path)
{
	for (int ms = 0; access(path, F_OK) && ms < DEVICE_WAIT_MS; ms += 10)
		usleep(10000);
}

static void load_start(struct load *load)
{
	load->started = pthread_create(&load->thread, NULL, load->run, NULL) == 0;
	if (!load->started)
		guest_error("no thread: %s", strerror(errno));
}

static void disk_find(void)
{
	if (!guest_options.fs) {
		modules_load("/modules/disk");
		device_wait("/dev/vda");
		return;
	}
	modules_load("/modules/fs");
	mkdir(GUEST_FS, 0755);
	if (mount("lm", GUEST_FS, "virtiofs", 0, NULL) < 0)
		guest_error("virtiofs: %s", strerror(errno));
}

static void loads_start(void)
{
	struct utsname uts;

	if (guest_options.disk)
		disk_find();
	if (guest_options.net) {
		modules_load("/modules/net");
		device_wait("/sys/class/net/eth0");
	}
	if (guest_options.acpi) {
		modules_load("/modules/power");
		device_wait("/dev/input/event0");
		power_button = power_button_open();
	}
	page_count = memory_init();
	uname(&uts);
	guest_print("guest ready pages %llu vcpus %ld kernel %s", (unsigned long long)page_count,
		    sysconf(_SC_NPROCESSORS_ONLN), uts.release);
	load_start(&memory_load);
	if (guest_options.disk && disk_init())
		load_start(&disk_load);
	if (guest_options.net && net_init())
		load_start(&net_load);
}

static void heartbeat(uint64_t gap_us)
{
	struct guest_counters *c = &guest_counters;
	char disk[64] = "", net[64] = "";

	if (guest_options.disk)
		snprintf(disk, sizeof(disk), " disk %llu disk_us %llu",
			 atomic_load(&c->disk_checked), atomic_exchange(&c->disk_us, 0));
	if (guest_options.net)
		snprintf(net, sizeof(net), " net %llu netreset %llu", atomic_load(&c->net_trips),
			 atomic_load(&c->net_resets));
	guest_print("beat %llu pages %llu checked %llu gap_ms %llu stall_us %llu errors %llu%s%s",
		    (unsigned long long)++beats, (unsigned long long)page_count,
		    atomic_load(&c->pages_checked), (unsigned long long)gap_us / 1000,
		    atomic_exchange(&c->stall_us, 0), atomic_load(&c->errors), disk, net);
}

static bool console_says_so(int timeout_ms)
{
	char line[64];
	ssize_t n = read(STDIN_FILENO, line, sizeof(line) - 1);

	if (n <= 0) {
		usleep((useconds_t)timeout_ms * 1000);
		return false;
	}
	line[n] = 0;
	return strncmp(line, "poweroff", 8) == 0;
}

/* Whether the console said so, or the button was pressed, within that time. */
static bool power_off_wanted(int timeout_ms)
{
	struct pollfd in[] = {{.fd = STDIN_FILENO, .events = POLLIN},
			      {.fd = power_button, .events = POLLIN}};

	if (poll(in, 2, timeout_ms) <= 0)
		return false;
	return power_button_pressed(power_button) || (in[0].revents && console_says_so(timeout_ms));
}

static void beat_until_power_off(void)
{
	uint64_t last_us = 0, gap_us = 0, due_us = guest_now_us();

	for (;;) {
		uint64_t now_us = guest_now_us();

		if (now_us < due_us) {
			if (power_off_wanted((int)((due_us - now_us + 999) / 1000)))
				return;
			continue;
		}
		if (last_us && now_us - last_us > gap_us)
			gap_us = now_us - last_us;
		last_us = now_us;
		/* beats that were missed are not made up for */
		due_us = now_us + BEAT_MS * 1000 - (now_us - due_us) % (BEAT_MS * 1000);
		heartbeat(gap_us);
	}
}

static void load_stop(struct load *load)
{
	if (load->started)
		pthread_join(load->thread, NULL);
}

int main(void)
{
	char disk[160] = "", net[64] = "";

	mounts_make();
	console_open();
	options_read();
	loads_start();
	beat_until_power_off();

	guest_stopping = true;
	load_stop(&memory_load);
	load_stop(&disk_load);
	load_stop(&net_load);
	if (disk_load.started)
		disk_finish(disk, sizeof(disk));
	if (guest_options.net)
		snprintf(net, sizeof(net), " net %llu netreset %llu",
			 atomic_load(&guest_counters.net_trips),
			 atomic_load(&guest_counters.net_resets));
	sync();
	guest_print("guest done beats %llu errors %llu%s%s", (unsigned long long)beats,
		    atomic_load(&guest_counters.errors), disk, net);
	tcdrain(console);
	reboot(RB_POWER_OFF);
	/* process 1 must not return */
	for (;;)
		pause();
}
