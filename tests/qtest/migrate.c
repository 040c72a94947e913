/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate.h"
#include "schema-check.h"

#include <poll.h>
#include <string.h>

JsonNode *migrate_query(Vm *vm)
{
	JsonNode *info = vm_command(vm, "query-localhost-migrate", NULL);
	g_autoptr(GError) error = NULL;

	schema_check(&lm_qapi_LocalhostMigrateInfo, info, &error);
	must(error);
	return info;
}

static gboolean is_over(const JsonNode *info)
{
	const char *status = qmp_str(info, "status");

	return !strcmp(status, "completed") || !strcmp(status, "failed") ||
	       !strcmp(status, "cancelled");
}

/* An event is a reason to ask again; not all of what is waited for has one. */
static void wait_a_moment(Vm *vm)
{
	qmp_wait_event(vm->qmp, "MIGRATION", NULL, NULL, 10, NULL);
}

JsonNode *migrate_wait(Vm *vm, guint timeout_ms)
{
	gint64 end_us = lm_end_us(timeout_ms);

	for (;;) {
		g_autoptr(JsonNode) info = migrate_query(vm);

		if (is_over(info))
			return g_steal_pointer(&info);
		if (!lm_left_ms(end_us)) {
			g_autofree char *text = json_to_string(info, FALSE);

			fail_msg("not over after %u ms: %s", timeout_ms, text);
		}
		wait_a_moment(vm);
	}
}

static gboolean has_stage(const JsonNode *info, const char *name)
{
	JsonObject *object = json_node_get_object((JsonNode *)info);
	JsonArray *stages = json_object_has_member(object, "stages")
				    ? json_object_get_array_member(object, "stages")
				    : NULL;

	for (guint i = 0; stages && i < json_array_get_length(stages); i++)
		if (!strcmp(qmp_str(json_array_get_element(stages, i), "name"), name))
			return TRUE;
	return FALSE;
}

void migrate_wait_stage(Vm *vm, const char *stage, guint timeout_ms)
{
	gint64 end_us = lm_end_us(timeout_ms);

	for (;;) {
		g_autoptr(JsonNode) info = migrate_query(vm);

		if (has_stage(info, stage))
			return;
		if (is_over(info) || !lm_left_ms(end_us)) {
			g_autofree char *text = json_to_string(info, FALSE);

			fail_msg("stage %s was not reached: %s", stage, text);
		}
		wait_a_moment(vm);
	}
}

Vm *migrate_source(LmTest *test, const VmOptions *options)
{
	Vm *vm = vm_start(test, options);

	vm_assert_ready(vm);
	return vm;
}

Vm *migrate_destination(LmTest *test, const VmOptions *options, const Vm *source)
{
	VmOptions destination = *options;

	destination.incoming = TRUE;
	destination.serial_path = source->serial_path;
	return vm_start(test, &destination);
}

char *migrate_socket_path(const Vm *destination)
{
	return g_strconcat(destination->qmp_path, ".lm", NULL);
}

char *migrate_uri(const Vm *destination)
{
	return g_strconcat("unix:", destination->qmp_path, ".lm", NULL);
}

void migrate_listen(Vm *destination)
{
	g_autofree char *uri = migrate_uri(destination);

	vm_do(destination, "localhost-migrate-incoming", "{'uri': %s}", uri);
}

static Vm *start_with_fault(LmTest *test, const VmOptions *options, const char *fault, Vm *source)
{
	g_autofree char *args = fault ? g_strconcat("fault=", fault, NULL) : NULL;
	VmOptions faulty = *options;

	faulty.plugin_args = args;
	return source ? migrate_destination(test, &faulty, source) : migrate_source(test, &faulty);
}

void migrate_pair(LmTest *test, const VmOptions *options, const char *source_fault,
		  const char *destination_fault, Vm **source, Vm **destination)
{
	*source = start_with_fault(test, options, source_fault, NULL);
	*destination = start_with_fault(test, options, destination_fault, *source);
	migrate_listen(*destination);
}

/* A machine that emulates is so slow that no chunk would be larger than the smallest. */
static const char *patience(const char *more)
{
	const gboolean shares = strstr(more, "'share'") && !strstr(more, "max-stall-us");

	return g_getenv("LM_PATIENCE") && shares ? ", 'max-stall-us': 1000000" : "";
}

static JsonNode *try_begin(Vm *source, const char *uri, const char *more, GError **errp)
{
	g_autofree char *format = g_strconcat("{'uri': %s", more, patience(more), "}", NULL);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	return qmp_command(source->qmp, errp, "localhost-migrate", format, uri);
#pragma GCC diagnostic pop
}

void migrate_begin(Vm *source, const char *uri, const char *more)
{
	g_autoptr(GError) error = NULL;
	G_GNUC_UNUSED g_autoptr(JsonNode) reply = try_begin(source, uri, more, &error);

	must(error);
}

JsonNode *migrate_run(Vm *source, Vm *destination, const char *more)
{
	g_autofree char *uri = migrate_uri(destination);

	migrate_listen(destination);
	migrate_begin(source, uri, more);
	return migrate_wait(source, 3 * LM_WAIT_MS);
}

static void assert_member(JsonNode *info, const char *member, const char *value)
{
	const char *is = qmp_str(info, member);
	g_autofree char *text = NULL;

	if (is && !strcmp(is, value))
		return;
	text = json_to_string(info, FALSE);
	fail_msg("%s is not %s: %s", member, value, text);
}

void migrate_assert_completed(Vm *source, Vm *destination, JsonNode *info)
{
	g_autoptr(JsonNode) theirs = NULL;

	assert_member(info, "status", "completed");
	assert_member(info, "role", "source");
	assert_member(info, "owner", "destination");
	theirs = migrate_wait(destination, LM_WAIT_MS);
	assert_member(theirs, "status", "completed");
	assert_member(theirs, "role", "destination");
	assert_member(theirs, "owner", "destination");
	assert_true(vm_wait_status(source, "postmigrate", LM_WAIT_MS));
	vm_assert_intact(destination);
	assert_true(vm_has_status(source, "postmigrate"));
}

JsonNode *migrate_ok(Vm *source, Vm *destination, const char *more)
{
	JsonNode *info = migrate_run(source, destination, more);

	migrate_assert_completed(source, destination, info);
	return info;
}

void migrate_assert_kept(Vm *source, JsonNode *info)
{
	assert_member(info, "owner", "source");
	assert_true(vm_wait_status(source, "running", LM_WAIT_MS));
	vm_assert_intact(source);
}

void migrate_assert_never_again(Vm *source)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) reply = qmp_command(source->qmp, &error, "cont", NULL);
	g_autofree char *said = NULL;

	assert_null(reply);
	assert_non_null(error);
	assert_in_range(error->code, QMP_ERROR_GENERIC, QMP_ERROR_OTHER_CLASS);
	assert_contains(error->message, "cont");
	g_clear_error(&error);
	said = qmp_hmp(source->qmp, "cont", &error);
	must(error);
	assert_contains(said, "Error");
	assert_false(vm_has_status(source, "running"));
}

void migrate_assert_lost(Vm *source, Vm *destination, JsonNode *info)
{
	assert_member(info, "status", "failed");
	assert_member(info, "owner", "lost");
	assert_non_null(qmp_str(info, "error-desc"));
	assert_true(qmp_int(info, "lost") > 0);
	assert_true(vm_wait_exit(destination, LM_WAIT_MS));
	migrate_assert_never_again(source);
}

void migrate_assert_kept_or_lost(Vm *source, Vm *destination, JsonNode *info)
{
	if (!g_strcmp0(qmp_str(info, "owner"), "lost"))
		migrate_assert_lost(source, destination, info);
	else
		migrate_assert_kept(source, info);
}

gboolean migrate_fault_is_before(const char *fault, const char *stage)
{
	static const char *const names[] = {"hello", "regions", "share", "stop",   "flip",
					    "frame", "devices", "load",	 "return", "commit"};
	guint at = 0, end = 0;

	for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
		if (g_str_has_prefix(fault, names[i]))
			at = i;
		if (!strcmp(stage, names[i]))
			end = i;
	}
	return at < end;
}

char *migrate_refused(Vm *source, const char *uri, const char *more)
{
	g_autoptr(GError) error = NULL;
	G_GNUC_UNUSED g_autoptr(JsonNode) reply = try_begin(source, uri, more, &error);
	g_autoptr(JsonNode) info = NULL;
	g_autofree char *text = NULL;

	if (error) {
		text = g_strdup(error->message);
	} else {
		info = migrate_wait(source, 2 * LM_WAIT_MS);
		assert_member(info, "status", "failed");
		assert_member(info, "owner", "source");
		text = g_strdup(qmp_str(info, "error-desc"));
		assert_non_null(text);
	}
	vm_assert_never_stopped(source);
	vm_assert_intact(source);
	return g_steal_pointer(&text);
}
