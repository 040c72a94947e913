// SPDX-License-Identifier: GPL-2.0-or-later
/* The checks in their order, and what concerns the plugin's file. */
#include "check.h"
#include "elf-image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#define DELETED	   " (deleted)"
#define PROC_MAGIC 0x9fa0 /* of statfs */

void attach_facts_clear(AttachFacts *facts)
{
	g_free(facts->executable);
	g_free(facts->version);
	g_free(facts->loaded);
	g_free(facts->confined);
	g_clear_error(&facts->refusal);
	memset(facts, 0, sizeof(*facts));
}

/* ------------------------------------------------------------------ process */

static int check_process(pid_t pid, GError **errp)
{
	gint64 group = attach_proc_status_number(pid, "Tgid");
	g_autofree char *state = attach_proc_status(pid, "State");

	if (group < 0)
		return attach_fail(errp, ATTACH_ERROR_NO_PROCESS, ESRCH, "there is no process %d",
				   (int)pid);
	if (group != pid)
		return attach_fail(errp, ATTACH_ERROR_NO_PROCESS, ESRCH,
				   "%d is a thread of process %" G_GINT64_FORMAT, (int)pid, group);
	if (state && (*state == 'Z' || *state == 'X'))
		return attach_fail(errp, ATTACH_ERROR_NO_PROCESS, ESRCH, "process %d has ended",
				   (int)pid);
	return 0;
}

static void learn_process(pid_t pid, AttachFacts *facts)
{
	g_autofree char *label = attach_proc_read(pid, "attr/current");

	facts->executable = attach_proc_link(pid, "exe");
	if (!facts->executable)
		facts->executable = attach_proc_comm(pid);
	facts->deleted = g_str_has_suffix(facts->executable, DELETED);
	if (facts->deleted)
		facts->executable[strlen(facts->executable) - strlen(DELETED)] = 0;
	facts->seccomp = attach_proc_status_number(pid, "Seccomp") > 0;
	if (label && *g_strchomp(label) && !g_str_has_prefix(label, "unconfined"))
		facts->confined = g_steal_pointer(&label);
}

/* ------------------------------------------------------------------- plugin */

static int check_file(const char *path, char **build_id, GError **errp)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(GMappedFile) file = g_mapped_file_new(path, FALSE, &error);
	g_autofree char *what = NULL;
	Elf64_Ehdr header = {0};
	gsize bytes;

	if (!file)
		return attach_fail(errp, ATTACH_ERROR_PLUGIN, ENOENT, "cannot read the plugin: %s",
				   error->message);
	bytes = g_mapped_file_get_length(file);
	if (bytes)
		memcpy(&header, g_mapped_file_get_contents(file), MIN(sizeof(header), bytes));
	if (!attach_elf_is_native(&header, &what))
		return attach_fail(errp, ATTACH_ERROR_PLUGIN, ENOEXEC, "%s is no plugin: it is %s",
				   path, what);
	if (header.e_type != ET_DYN)
		return attach_fail(errp, ATTACH_ERROR_PLUGIN, ENOEXEC,
				   "%s is no plugin: it is no shared object", path);
	if (!attach_elf_file_is_whole((const guint8 *)g_mapped_file_get_contents(file), bytes))
		return attach_fail(errp, ATTACH_ERROR_PLUGIN, ENOEXEC,
				   "%s is no plugin: it is cut off", path);
	*build_id =
		attach_elf_file_build_id((const guint8 *)g_mapped_file_get_contents(file), bytes);
	return 0;
}

static gboolean is_plugin(const AttachMapping *mapping)
{
	g_autofree char *name = g_path_get_basename(mapping->path);
	const char *colon = strchr(name, ':');

	return g_str_has_prefix(colon ? colon + 1 : name, "localhost-migrate");
}

static int check_loaded(pid_t pid, const GPtrArray *maps, const char *build_id, AttachFacts *facts,
			AttachTarget *target, GError **errp)
{
	const AttachMapping *mapping;
	guint i = 0;

	while ((mapping = attach_proc_next_file(maps, &i))) {
		g_auto(AttachImage) image = {0};

		if (!is_plugin(mapping) || attach_image_open(pid, mapping->start, &image, NULL) < 0)
			continue;
		target->copies++;
		g_free(facts->loaded);
		facts->loaded = g_strdup(mapping->path);
		if (build_id && !g_strcmp0(build_id, image.build_id))
			facts->same_build = TRUE;
	}
	if (!facts->same_build)
		return 0;
	return attach_fail(errp, ATTACH_ERROR_THERE, EEXIST,
			   "process %d has this build of the plugin already (%s)", (int)pid,
			   facts->loaded);
}

/* As the process would find it: symbolic links are followed in its root directory. */
static gboolean stat_in_root(pid_t pid, const char *path, struct stat *st)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	g_autofree char *root_path = attach_proc_path(pid, "root");
	g_auto(AttachFd) root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	g_auto(AttachFd) fd = -1;

	if (root >= 0)
		fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	return fd >= 0 && fstat(fd, st) == 0;
}

/* A copy is opened through /proc/self/fd, which the process must have. */
static int check_way(pid_t pid, const char *plugin_path, AttachFacts *facts, GError **errp)
{
	g_autofree char *root = attach_proc_path(pid, "root");
	g_autofree char *proc = g_build_filename(root, "proc", NULL);
	struct stat here, there;
	struct statfs fs;

	facts->by_path = g_path_is_absolute(plugin_path) && stat(plugin_path, &here) == 0 &&
			 stat_in_root(pid, plugin_path, &there) && here.st_dev == there.st_dev &&
			 here.st_ino == there.st_ino;
	if (facts->by_path || (statfs(proc, &fs) == 0 && fs.f_type == PROC_MAGIC))
		return 0;
	return attach_fail(
		errp, ATTACH_ERROR_PLUGIN, ENOENT,
		"process %d does not see %s, and has no /proc through which a copy could "
		"be opened",
		(int)pid, plugin_path);
}

/* -------------------------------------------------------------------- order */

static int check_all(pid_t pid, const char *plugin_path, AttachFlags flags, AttachFacts *facts,
		     AttachTarget *target, GError **errp)
{
	g_autoptr(GPtrArray) maps = NULL;
	g_autofree char *build_id = NULL, *identity = NULL;
	int rc = attach_check_access(pid, errp);

	if (rc == 0 && plugin_path)
		rc = check_file(plugin_path, &build_id, errp);
	if (rc < 0)
		return rc;
	identity = attach_proc_identity(pid);
	g_strlcpy(target->identity, identity ? identity : "", sizeof(target->identity));
	maps = attach_proc_maps(pid);
	rc = attach_check_program(pid, maps, flags, facts, target, errp);
	if (rc == 0)
		rc = attach_check_libc(pid, maps, target, errp);
	if (rc == 0)
		rc = check_loaded(pid, maps, build_id, facts, target, errp);
	if (rc == 0 && plugin_path)
		rc = check_way(pid, plugin_path, facts, errp);
	return rc;
}

int attach_examine(pid_t pid, const char *plugin_path, AttachFlags flags, AttachFacts *facts,
		   AttachTarget *target, GError **errp)
{
	g_auto(AttachFacts) found = {0};
	AttachTarget addresses = {0};
	int rc = check_process(pid, errp);

	if (rc < 0)
		return rc;
	learn_process(pid, &found);
	check_all(pid, plugin_path, flags, &found, &addresses, &found.refusal);
	*facts = found;
	*target = addresses;
	memset(&found, 0, sizeof(found));
	return 0;
}

int attach_check(pid_t pid, const char *plugin_path, AttachFlags flags, AttachFacts *facts,
		 GError **errp)
{
	AttachTarget target;

	return attach_examine(pid, plugin_path, flags, facts, &target, errp);
}
