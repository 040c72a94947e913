// SPDX-License-Identifier: GPL-2.0-or-later
#include "probe.h"
#include "error.h"
#include "handle.h"
#include "spawn.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define PROBE_MS 15000

void lu_probe_clear(LuProbe *probe)
{
	g_clear_pointer(&probe->version.text, g_free);
	g_clear_pointer(&probe->cpu_append, g_free);
}

static gboolean start(const LuRunning *running, const char *program, int fd, LuChild *child,
		      GError **errp)
{
	const char *argv[] = {program,
			      "-machine",
			      "none",
			      "-accel",
			      running->kvm ? "kvm" : "tcg",
			      "-nodefaults",
			      "-no-user-config",
			      "-display",
			      "none",
			      "-S",
			      "-chardev",
			      "socket,id=probe,fd=3",
			      "-mon",
			      "chardev=probe,mode=control",
			      NULL};
	g_autoptr(GArray) descriptors = lu_descriptors_new();
	LuSpawn spawn = {.like = running->process,
			 .context = running->context,
			 .argv = (char **)argv,
			 .cwd = running->cwd,
			 .descriptors = descriptors,
			 .temporary = TRUE};

	lu_descriptors_add(descriptors, fd, 3);
	return lu_spawn_fork(&spawn, child, errp) && lu_spawn_exec(child, program, errp);
}

static gboolean has_machine(LuQmp *qmp, const char *machine, gboolean *has, GError **errp)
{
	g_autoptr(JsonNode) reply = lu_qmp_call(qmp, errp, "query-machines", NULL);

	*has = FALSE;
	for (guint i = 0; i < lu_json_length(reply); i++)
		if (!g_strcmp0(lu_json_str(lu_json_element(reply, i), "name"), machine))
			*has = TRUE;
	return reply != NULL;
}

/* ---------------------------------------------------------------------- CPU */

/* "host" and "max" are all that a version has: what it has more than the running one is put off. */
static JsonNode *features_of(LuQmp *qmp, const char *model, GError **errp)
{
	g_autoptr(JsonNode) reply = lu_qmp_call(qmp, errp, "query-cpu-model-expansion",
						"{'type': 'full', 'model': {'name': %s}}", model);
	JsonNode *props = lu_json_member(lu_json_member(reply, "model"), "props");

	if (reply && !props)
		lu_fail(errp, LU_ERROR_REFUSED, "CPU model %s has no list of features", model);
	return props ? json_node_ref(props) : NULL;
}

static gboolean is_feature(const char *name)
{
	/* How QEMU makes CPUID, and not what is in it; or an alias of another name. */
	static const char *const others[] = {"check",
					     "enforce",
					     "migratable",
					     "hotplugged",
					     "realized",
					     "start-powered-off",
					     "l3-cache",
					     "legacy-cache",
					     "kvm",
					     "pmu",
					     "fill-mtrr-mask",
					     "cpuid-0xb",
					     "full-cpuid-auto-level",
					     "tcg-cpuid",
					     "lmce",
					     "host-cache-info",
					     "legacy-multi-node",
					     "vendor-cpuid-only",
					     "kvm-no-smi-migration",
					     "xd",
					     "pni",
					     "fxsr_opt"};

	for (guint i = 0; i < G_N_ELEMENTS(others); i++)
		if (!strcmp(name, others[i]))
			return FALSE;
	return !g_str_has_prefix(name, "x-") && !strchr(name, '_') && !g_str_has_prefix(name, "hv");
}

static gboolean compare_features(JsonNode *old, JsonNode *new, const LuProbe *probe,
				 const char *model, GString *append, GError **errp)
{
	JsonObjectIter iter;
	const char *name;
	JsonNode *value;

	json_object_iter_init(&iter, json_node_get_object(new));
	while (json_object_iter_next(&iter, &name, &value))
		if (is_feature(name) && lu_json_bool(new, name) && !lu_json_bool(old, name))
			g_string_append_printf(append, ",%s=off", name);
	json_object_iter_init(&iter, json_node_get_object(old));
	while (json_object_iter_next(&iter, &name, &value))
		if (is_feature(name) && lu_json_bool(old, name) && !lu_json_bool(new, name))
			return lu_fail(
				errp, LU_ERROR_REFUSED,
				"the guest's CPU model %s has %s, that of QEMU %s has it not",
				model, name, probe->version.text);
	return TRUE;
}

static gboolean pin_cpu(const LuRunning *running, LuQmp *qmp, LuProbe *probe, GError **errp)
{
	g_autofree char *model = lu_cpu_model(running->cpu_type);
	g_autoptr(JsonNode) old = NULL, new = NULL;
	g_autoptr(GString) append = g_string_new(NULL);

	if ((strcmp(model, "host") && strcmp(model, "max")) ||
	    !lu_version_compare(&running->version, &probe->version))
		return TRUE;
	old = features_of(running->qmp, model, errp);
	new = old ? features_of(qmp, model, errp) : NULL;
	if (!new || !compare_features(old, new, probe, model, append, errp))
		return FALSE;
	if (append->len)
		probe->cpu_append = g_strdup(append->str);
	return TRUE;
}

/* -------------------------------------------------------------------- asking */

static gboolean ask(const LuRunning *running, LuQmp *qmp, const char *program,
		    gboolean allow_downgrade, LuProbe *probe, GError **errp)
{
	gboolean has;

	if (!lu_version_read(qmp, &probe->version, errp) ||
	    !has_machine(qmp, running->machine, &has, errp))
		return FALSE;
	if (!allow_downgrade && lu_version_compare(&probe->version, &running->version) < 0)
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "%s is QEMU %s, older than the running %s (--allow-downgrade)",
			       program, probe->version.text, running->version.text);
	if (!has)
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "%s (QEMU %s) has no machine type %s, which the guest runs on",
			       program, probe->version.text, running->machine);
	return pin_cpu(running, qmp, probe, errp);
}

gboolean lu_probe_run(const LuRunning *running, const char *program, gboolean allow_downgrade,
		      LuProbe *probe, GError **errp)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(LuQmp) qmp = NULL;
	LuChild child = {.pid = -1, .pidfd = -1, .go_fd = -1, .error_fd = -1};
	gboolean ok = FALSE;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "socketpair");
	/* start owns ends[1]. */
	if (!start(running, program, ends[1], &child, errp)) {
		close(ends[0]);
	} else {
		qmp = lu_qmp_new(ends[0], lu_end_us(PROBE_MS), &error);
		if (qmp)
			ok = ask(running, qmp, program, allow_downgrade, probe, errp);
		else
			lu_fail(errp, LU_ERROR_REFUSED, "%s is no QEMU: it does not speak QMP",
				program);
	}
	lu_child_clear(&child);
	return ok;
}
