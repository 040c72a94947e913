// SPDX-License-Identifier: GPL-2.0-or-later
#include "qmp-check.h"

#include <string.h>

/* QEMU exports no way to ask for an object's type, but its getters take a default. */
static bool has_type(const QDict *dict, const LmQapiMember *member)
{
	if (member->is_list)
		return qemu.qdict_get_qlist(dict, member->name) != NULL;
	switch (member->type) {
	case LM_QAPI_TYPE_STR:
		return qemu.qdict_get_try_str(dict, member->name) != NULL;
	case LM_QAPI_TYPE_INT:
		return qemu.qdict_get_try_int(dict, member->name, 0) ==
		       qemu.qdict_get_try_int(dict, member->name, 1);
	case LM_QAPI_TYPE_BOOL:
		return qemu.qdict_get_try_bool(dict, member->name, false) ==
		       qemu.qdict_get_try_bool(dict, member->name, true);
	case LM_QAPI_TYPE_ENUM:
		return qemu.qdict_get_try_str(dict, member->name) != NULL;
	default:
		return false;
	}
}

static bool is_known(const LmQapiMember *members, size_t n_members, const char *name)
{
	for (size_t i = 0; i < n_members; i++)
		if (!strcmp(members[i].name, name))
			return true;
	return false;
}

static const char *type_name(const LmQapiMember *member)
{
	if (member->is_list)
		return "array";
	switch (member->type) {
	case LM_QAPI_TYPE_INT:
		return "integer";
	case LM_QAPI_TYPE_BOOL:
		return "boolean";
	default:
		return "string";
	}
}

static bool check_value(const QDict *arguments, const LmQapiMember *member, const char *prefix,
			Error **errp)
{
	const char *value;

	if (!has_type(arguments, member)) {
		lm_error_setg(errp, "Invalid parameter type for '%s%s', expected: %s", prefix,
			      member->name, type_name(member));
		return false;
	}
	if (member->type != LM_QAPI_TYPE_ENUM)
		return true;
	value = qemu.qdict_get_try_str(arguments, member->name);
	if (!g_strv_contains(member->enumeration->values, value)) {
		lm_error_setg(errp, "Parameter '%s%s' does not accept value '%s'", prefix,
			      member->name, value);
		return false;
	}
	return true;
}

static bool check_unexpected(const LmQapiMember *members, size_t n_members, const QDict *arguments,
			     const char *prefix, Error **errp)
{
	for (const QDictEntry *entry = qemu.qdict_first(arguments); entry;
	     entry = qemu.qdict_next(arguments, entry)) {
		const char *name = qemu.qdict_entry_key(entry);

		if (is_known(members, n_members, name))
			continue;
		lm_error_setg(errp, "Parameter '%s%s' is unexpected", prefix, name);
		return false;
	}
	return true;
}

bool lm_qmp_check(const LmQapiMember *members, size_t n_members, const QDict *arguments,
		  const char *prefix, Error **errp)
{
	for (size_t i = 0; i < n_members; i++) {
		const LmQapiMember *member = &members[i];

		if (qemu.qdict_haskey(arguments, member->name)) {
			if (!check_value(arguments, member, prefix, errp))
				return false;
		} else if (!member->optional) {
			lm_error_setg(errp, "Parameter '%s%s' is missing", prefix, member->name);
			return false;
		}
	}
	return check_unexpected(members, n_members, arguments, prefix, errp);
}
