// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The plugin's entry. QEMU loads it with -plugin before there is a machine, so all it does here
 * is read its arguments and find QEMU's functions; the rest begins in the main loop.
 *
 * Or it is loaded into a QEMU that runs, by plain dlopen in a main thread that was stopped in its
 * poll (tools/attach). Then nobody calls qemu_plugin_install, and nothing may be done but to ask
 * the main loop for a call. When that comes it is known which of the two it was.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attached.h"
#include "hmp.h"
#include "local/fault.h"
#include "main-loop.h"
#include "operation.h"
#include "qemu.h"
#include "qmp.h"
#include "stand-in.h"
#include "takeover.h"
#include "vhost-user.h"

/* Read and written by who attaches; see attached.h. */
LM_EXPORT LmAttached lm_attached = {.magic = LM_ATTACHED_MAGIC};

static bool installed; /* by -plugin */

static struct {
	bool allow_untested;
	char *incoming;
} arguments;

static void begin(void *opaque)
{
	Error *error = NULL;

	lm_qmp_register();
	lm_hmp_register();
	if (arguments.incoming && !lm_incoming_start(arguments.incoming, &error)) {
		qemu.error_report("localhost-migrate: incoming=%s: %s", arguments.incoming,
				  qemu.error_get_pretty(error));
		exit(EXIT_FAILURE);
	}
}

static bool parse_choice(const char *value, const char *const *names, int *choice)
{
	for (int i = 0; names[i]; i++) {
		if (!strcmp(value, names[i])) {
			*choice = i;
			return true;
		}
	}
	return false;
}

static bool parse_number(const char *value, guint max, guint *number)
{
	guint64 parsed;

	if (!g_ascii_string_to_unsigned(value, 10, 1, max, &parsed, NULL))
		return false;
	*number = parsed;
	return true;
}

/* NULL, or what the argument should have been. */
static const char *parse_argument(const char *name, const char *value)
{
	static const char *const on_off[] = {"off", "on", NULL};
	static const char *const switches[] = {"auto", "on", "off", NULL};
	static const char *const engines[] = {"auto", "vmsplice", "process-vm-readv", NULL};
	g_autoptr(GError) error = NULL;
	int choice = 0;

	if (!strcmp(name, "incoming")) {
		arguments.incoming = g_strdup(value);
	} else if (!strcmp(name, "stand-in")) {
		if (!lm_stand_in_parse(value))
			return "NUMBER:NUMBER[/NUMBER:NUMBER]...";
	} else if (!strcmp(name, "vhost-user")) {
		if (!lm_vhost_user_parse(value))
			return "NUMBER:PEER:REAL:RELAY[/NUMBER:PEER:REAL:RELAY]...";
	} else if (!strcmp(name, "allow-untested")) {
		if (!parse_choice(value, on_off, &choice))
			return "on or off";
		arguments.allow_untested = choice;
	} else if (!strcmp(name, "engine")) {
		if (!parse_choice(value, engines, &choice))
			return "auto, vmsplice or process-vm-readv";
		lm_default_options.engine = choice;
	} else if (!strcmp(name, "io-uring")) {
		if (!parse_choice(value, switches, &choice))
			return "auto, on or off";
		lm_default_options.io_uring = choice;
	} else if (!strcmp(name, "channels")) {
		if (!parse_number(value, LM_CHANNELS_MAX, &lm_default_options.channels))
			return "1 to " G_STRINGIFY(LM_CHANNELS_MAX);
	} else if (!strcmp(name, "deadline-ms")) {
		if (!parse_number(value, LM_DEADLINE_MS_MAX, &lm_default_options.deadline_ms))
			return "1 to " G_STRINGIFY(LM_DEADLINE_MS_MAX);
	} else if (LM_FAULT_INJECTION && !strcmp(name, "fault")) {
		if (lm_fault_check(value, &error) < 0)
			return "[SIDE.]POINT:ACTION, see migration/local/fault.h";
		lm_default_options.fault = g_strdup(value);
	} else {
		return "one of incoming, stand-in, vhost-user, allow-untested, engine, io-uring, "
		       "channels, deadline-ms";
	}
	return NULL;
}

static bool parse_arguments(int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		g_auto(GStrv) pair = g_strsplit(argv[i], "=", 2);
		const char *expected;

		expected = parse_argument(pair[0], pair[1] ? pair[1] : "");
		if (expected) {
			fprintf(stderr, "localhost-migrate: argument %s: expected %s\n", argv[i],
				expected);
			return false;
		}
	}
	return true;
}

/* In a running QEMU: everything, with default arguments. */
static char *begin_attached(void)
{
	char *refusal = lm_symbols_resolve(lm_attached.allow_untested);

	if (!refusal)
		refusal = lm_takeover();
	if (refusal)
		return refusal;
	lm_default_options.deadline_ms = LM_DEADLINE_MS_DEFAULT;
	lm_qmp_set_attached();
	begin(NULL);
	return NULL;
}

static void begin_if_attached(void *opaque)
{
	g_autofree char *refusal = NULL;

	if (installed)
		return;
	refusal = begin_attached();
	if (refusal)
		g_strlcpy(lm_attached.text, refusal, sizeof(lm_attached.text));
	g_atomic_int_set(&lm_attached.state,
			 refusal ? LM_ATTACHED_REFUSED : LM_ATTACHED_REGISTERED);
}

/* The main loop's thread itself is here, and would sleep on: nothing wakes it for its own sake. */
__attribute__((constructor)) static void loaded(void)
{
	if (!dlsym(RTLD_DEFAULT, "qmp_register_command"))
		return;
	lm_main_loop_post(begin_if_attached, NULL);
	g_main_context_wakeup(NULL);
}

/* include/qemu/qemu-plugin.h; @info is not needed. Anything but 0 makes QEMU end. */
LM_EXPORT int qemu_plugin_install(guint64 id, const void *info, int argc, char **argv);
int qemu_plugin_install(guint64 id, const void *info, int argc, char **argv)
{
	g_autofree char *refusal = NULL;

	installed = true;
	lm_default_options.deadline_ms = LM_DEADLINE_MS_DEFAULT;
	if (!parse_arguments(argc, argv))
		return 1;
	refusal = lm_symbols_resolve(arguments.allow_untested);
	if (refusal) {
		fprintf(stderr, "localhost-migrate: %s\n", refusal);
		return 1;
	}
	lm_main_loop_post(begin, NULL);
	return 0;
}
