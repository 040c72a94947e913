/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "versions.h"

static const char *variable_of(const char *prefix, const char *version)
{
	g_autofree char *name = g_strconcat(prefix, version, NULL);
	const char *value = g_getenv(name);

	return value && *value ? value : NULL;
}

const char *version_root(const char *version)
{
	return version ? variable_of("LM_ROOT_", version) : NULL;
}

gboolean version_is_here(const char *version)
{
	return !version || variable_of("LM_ROOT_", version) || variable_of("LM_QEMU_", version);
}
