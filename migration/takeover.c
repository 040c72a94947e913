// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A newer build is attached to a QEMU that has an older one.
 *
 * QEMU's list of QMP commands only grows, and the first of two commands with one name is the one
 * that is found. So the older build's entries get another name, and are disabled, and the new
 * ones come to the list's end. An entry's name is its first member in all tested versions; that
 * is checked with QEMU's own accessor. The older build stays loaded, and nobody calls it again.
 *
 * What only the older build knows must not be lost with it:
 *   - a migration that is under way;
 *   - that the guest has left this process, or was lost;
 *   - RAM that it turned into memfds, or took over as such: QEMU still says that it is private, and
 *     whoever believed it would lose the guest's memory (docs/theory.md).
 * In these cases the newer build is refused, and the older one works on.
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "qapi-localhost-migrate.h"
#include "query.h"
#include "takeover.h"

typedef struct QmpCommand {
	const char *name; /* the rest is not needed */
} QmpCommand;

static struct {
	QmpCommand *(*find)(const QmpCommandList *list, const char *name);
	const char *(*name)(const QmpCommand *command);
} registry;

/* --------------------------------------------------------- what it knows alone */

static const char *judge(const QDict *info)
{
	const char *status = qemu.qdict_get_try_str(info, "status");
	const char *role = qemu.qdict_get_try_str(info, "role");
	const char *owner = qemu.qdict_get_try_str(info, "owner");

	if (!status)
		return "does not say what it does";
	if (!strcmp(status, "setup") || !strcmp(status, "active") || !strcmp(status, "device"))
		return "has a migration under way";
	if (!role || !owner || !strcmp(role, owner))
		return NULL;
	return strcmp(owner, "lost") ? "has moved the guest to another process"
				     : "has lost the guest";
}

/* Without lm_query: a quark that an error needs would outlive a plugin that is unloaded. */
static const char *ask_older(void)
{
	QObject *request =
		qemu.qobject_from_json("{\"execute\": \"query-localhost-migrate\"}", NULL);
	QDict *answer = qemu.qmp_dispatch(qemu.qmp_commands, request, false, NULL);
	QDict *info = answer ? qemu.qdict_get_qdict(answer, "return") : NULL;
	const char *why = info ? judge(info) : "does not answer";

	lm_qobject_free(request);
	lm_qobject_free(answer);
	return why;
}

/* A shared mapping where QEMU thinks that the block is private. */
static int look_at_block(RAMBlock *block, void *opaque)
{
	const char *maps = opaque;
	guint64 start = (guintptr)qemu.qemu_ram_get_host_addr(block), from, to;
	guint64 end = start + qemu.qemu_ram_get_max_length(block);
	char flags[5];

	if (qemu.qemu_ram_is_shared(block))
		return 0;
	for (const char *line = maps; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &from, &to, flags) == 3 &&
		    from < end && to > start && flags[3] == 's')
			return 1;
	}
	return 0;
}

static bool has_shared_ram(void)
{
	g_autofree char *maps = NULL;

	return !g_file_get_contents("/proc/self/maps", &maps, NULL, NULL) ||
	       qemu.qemu_ram_foreach_block(look_at_block, maps);
}

/* -------------------------------------------------------------------- commands */

static bool find_registry(void)
{
	registry.find = dlsym(RTLD_DEFAULT, "qmp_find_command");
	registry.name = dlsym(RTLD_DEFAULT, "qmp_command_name");
	return registry.find && registry.name;
}

/* Builds that knew fewer names left the others' commands of still older ones as they were. */
static bool retire(const char *name)
{
	static guint retired;
	QmpCommand *command;

	while ((command = registry.find(qemu.qmp_commands, name))) {
		char *other;

		if (command->name != registry.name(command))
			return false;
		other = g_strdup_printf("x-%s-%p-%u", name, (void *)command, retired++);
		command->name = other; /* for as long as QEMU runs */
		qemu.qmp_disable_command(qemu.qmp_commands, other, "a newer build is loaded");
	}
	return true;
}

char *lm_takeover(void)
{
	const char *why = NULL;

	if (!find_registry())
		return g_strdup("this QEMU does not export qmp_find_command or qmp_command_name");
	if (!registry.find(qemu.qmp_commands, "query-localhost-migrate"))
		return NULL;
	why = ask_older();
	if (!why && has_shared_ram())
		why = "keeps the guest's RAM as shared memory";
	if (why)
		return g_strdup_printf(
			"another build of the plugin is loaded, which %s; it stays in "
			"charge",
			why);
	for (size_t i = 0; i < lm_qapi_n_commands; i++)
		if (!retire(lm_qapi_commands[i].name))
			return g_strdup("QEMU's list of commands is not as expected; another build "
					"of the plugin stays in charge");
	return NULL;
}
