/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm-args.h"

static void add(Vm *vm, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void add(Vm *vm, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	g_ptr_array_add(vm->argv, g_strdup_vprintf(format, args));
	va_end(args);
}

static void add_option(Vm *vm, const char *name, const char *value)
{
	if (!value || !*value)
		return;
	add(vm, "%s", name);
	add(vm, "%s", value);
}

/* Within a root only the case's folder is shared: what else QEMU reads goes there. */
static char *visible(Vm *vm, const VmOptions *options, const char *path)
{
	if (!options->root || !path || !*path)
		return g_strdup(path);
	return lm_test_copy(vm->test, path, 0644);
}

static const char *either(const char *first, const char *second)
{
	return first ? first : second;
}

static void add_binary(Vm *vm, const VmOptions *options)
{
	if (options->root) {
		add(vm, "%s", lm_test_env("LM_IN_ROOT"));
		add(vm, "%s", options->root);
		add(vm, "%s", vm->test->dir);
		add(vm, "%s", either(options->binary, "qemu-system-x86_64"));
		return;
	}
	add(vm, "%s", either(options->binary, either(g_getenv("LM_QEMU"), "qemu-system-x86_64")));
}

static void add_machine(Vm *vm, const VmOptions *options)
{
	guint memory_mib = options->memory_mib ? options->memory_mib : 256;

	add(vm, "-nodefaults");
	add(vm, "-no-user-config");
	add(vm, "-display");
	add(vm, "none");
	add(vm, "-machine");
	add(vm, "%s%s", either(options->machine, "pc-q35-7.2"),
	    options->backend ? ",memory-backend=mem" : "");
	add_option(vm, "-accel", either(options->accel, "tcg"));
	add_option(vm, "-cpu", either(options->cpu, "qemu64"));
	add(vm, "-m");
	add(vm, "%u", memory_mib);
	add(vm, "-smp");
	add(vm, "%u", options->smp ? options->smp : 1);
	if (options->backend) {
		add(vm, "-object");
		add(vm, "%s,id=mem,size=%uM", options->backend, memory_mib);
	}
}

static void add_guest(Vm *vm, const VmOptions *options)
{
	const char *given = options->bios && !options->kernel ? "" : options->kernel;
	g_autofree char *kernel = visible(vm, options, given ? given : lm_test_env("LM_PAYLOAD"));
	g_autofree char *initrd = visible(vm, options, options->initrd);
	g_autofree char *bios = visible(vm, options, options->bios);

	add_option(vm, "-kernel", kernel);
	add_option(vm, "-initrd", initrd);
	add_option(vm, "-append", options->append);
	add_option(vm, "-bios", bios);
}

static void add_monitor(Vm *vm, const VmOptions *options)
{
	add(vm, "-chardev");
	if (options->serial_socket)
		add(vm, "socket,id=serial,path=%s,server=on,wait=off,logfile=%s,logappend=on",
		    vm->serial_socket, vm->serial_path);
	else
		add(vm, "file,id=serial,path=%s,append=on", vm->serial_path);
	add(vm, "-serial");
	add(vm, "chardev:serial");
	add(vm, "-qmp");
	add(vm, "unix:%s,server=on,wait=off", vm->qmp_path);
}

static void add_plugin(Vm *vm, const VmOptions *options)
{
	const char *given = options->plugin ? options->plugin : lm_test_env("LM_PLUGIN");
	g_autofree char *plugin = visible(vm, options, given);

	if (!plugin || !*plugin)
		return;
	add(vm, "-plugin");
	add(vm, "%s%s%s", plugin, options->plugin_args ? "," : "",
	    either(options->plugin_args, ""));
}

void vm_args_build(Vm *vm, const VmOptions *options)
{
	add_binary(vm, options);
	add_machine(vm, options);
	add_guest(vm, options);
	add_monitor(vm, options);
	add_plugin(vm, options);
	if (options->incoming) {
		add(vm, "-incoming");
		add(vm, "defer");
	}
	for (guint i = 0; options->extra && options->extra[i]; i++)
		add(vm, "%s", options->extra[i]);
	g_ptr_array_add(vm->argv, NULL);
}
