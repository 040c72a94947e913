// SPDX-License-Identifier: GPL-2.0-or-later
/* Finding QEMU's functions in the running process, and knowing which QEMU this is. */
#include <dlfcn.h>
#include <string.h>

#include "qemu.h"
#include "tested-versions.h"

LmQemu qemu;

static const struct {
	int major, minor, plugin_version;
} tested_versions[] = {
#define ROW(major, minor, plugin_version) {major, minor, plugin_version},
	LM_TESTED_VERSIONS(ROW)
#undef ROW
};

/* QEMU reads this after dlopen and before it calls anything; the constructor sets it. */
LM_EXPORT int qemu_plugin_version = 1;

static const struct {
	const char *name;
	size_t offset;
	bool required;
} symbol_table[] = {
#define ROW_REQUIRED(type, name, arguments) {#name, G_STRUCT_OFFSET(LmQemu, name), true},
#define ROW_OPTIONAL(type, name, arguments) {#name, G_STRUCT_OFFSET(LmQemu, name), false},
#define ROW_VARIABLE(type, name)	    {#name, G_STRUCT_OFFSET(LmQemu, name), true},
	LM_QEMU_SYMBOLS(ROW_REQUIRED, ROW_OPTIONAL, ROW_VARIABLE)};

static bool read_version(int *major, int *minor, int *micro, char **text)
{
	VersionInfo *(*query)(Error **) = dlsym(RTLD_DEFAULT, "qmp_query_version");
	void (*release)(VersionInfo *) = dlsym(RTLD_DEFAULT, "qapi_free_VersionInfo");
	VersionInfo *info = query && release ? query(NULL) : NULL;

	if (!info)
		return false;
	*major = info->qemu->major;
	*minor = info->qemu->minor;
	*micro = info->qemu->micro;
	*text = g_strdup_printf("%d.%d.%d%s%s%s", *major, *minor, *micro,
				*info->package ? " (" : "", info->package,
				*info->package ? ")" : "");
	release(info);
	return true;
}

/* The interface version of the newest tested QEMU that is not newer than this one. */
__attribute__((constructor)) static void choose_plugin_version(void)
{
	int major, minor, micro;
	g_autofree char *text = NULL;

	if (!read_version(&major, &minor, &micro, &text))
		return;
	for (size_t i = 0; i < G_N_ELEMENTS(tested_versions); i++)
		if (major > tested_versions[i].major ||
		    (major == tested_versions[i].major && minor >= tested_versions[i].minor))
			qemu_plugin_version = tested_versions[i].plugin_version;
}

static bool version_is_tested(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(tested_versions); i++)
		if (qemu.version_major == tested_versions[i].major &&
		    qemu.version_minor == tested_versions[i].minor)
			return true;
	return false;
}

static char *tested_list(void)
{
	GString *list = g_string_new(NULL);

	for (size_t i = 0; i < G_N_ELEMENTS(tested_versions); i++)
		g_string_append_printf(list, "%s%d.%d", i ? ", " : "", tested_versions[i].major,
				       tested_versions[i].minor);
	return g_string_free(list, FALSE);
}

char *lm_symbols_resolve(bool allow_untested)
{
	if (!read_version(&qemu.version_major, &qemu.version_minor, &qemu.version_micro,
			  &qemu.version))
		return g_strdup("this QEMU does not export qmp_query_version");
	for (size_t i = 0; i < G_N_ELEMENTS(symbol_table); i++) {
		void *address = dlsym(RTLD_DEFAULT, symbol_table[i].name);

		if (!address && symbol_table[i].required)
			return g_strdup_printf("QEMU %s does not export %s", qemu.version,
					       symbol_table[i].name);
		memcpy((char *)&qemu + symbol_table[i].offset, &address, sizeof(address));
	}
	if (!version_is_tested() && !allow_untested) {
		g_autofree char *tested = tested_list();

		return g_strdup_printf("QEMU %s is not among the tested versions (%s); "
				       "allow-untested=on loads it all the same",
				       qemu.version, tested);
	}
	return NULL;
}
