/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "own-host.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

gboolean own_host_hide(const char *folder, const char *options)
{
	g_mkdir_with_parents(folder, 0711);
	return g_file_test(folder, G_FILE_TEST_IS_DIR) &&
	       !mount("tmpfs", folder, "tmpfs", 0, options);
}

static int run_there(int argc, char **argv, int (*run)(int argc, char **argv))
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("proc", "/proc", "proc", 0, NULL) < 0 ||
	    !own_host_hide(OWN_HOST_BASE, "mode=0711"))
		return lm_test_skip("no mounts of its own");
	return run(argc, argv);
}

int own_host_main(int argc, char **argv, int (*run)(int argc, char **argv))
{
	int status = 0;
	pid_t pid;

	if (geteuid())
		return lm_test_skip("must be root");
	if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0)
		return lm_test_skip("no namespaces of its own");
	pid = fork();
	if (!pid)
		return run_there(argc, argv, run);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void uninstall(gpointer path)
{
	umount2(path, MNT_DETACH);
	g_free(path);
}

void own_host_install(LmTest *test)
{
	g_autofree char *copy = lm_test_copy(test, tool_qemu(), 0755);

	assert_int_equal(mount(copy, tool_qemu(), NULL, MS_BIND, NULL), 0);
	lm_test_cleanup_later(test, uninstall, g_strdup(tool_qemu()));
}

JsonNode *own_host_vm(const Run *run, const char *name)
{
	JsonArray *vms;

	assert_non_null(run->report);
	vms = json_object_get_array_member(json_node_get_object(run->report), "vms");
	for (guint i = 0; i < json_array_get_length(vms); i++) {
		JsonNode *vm = json_array_get_element(vms, i);
		const char *error = qmp_str(vm, "error");

		if (g_strcmp0(qmp_str(vm, "name"), name))
			continue;
		lm_test_note("%s: %s %s", name, qmp_str(vm, "outcome"), error ? error : "");
		return vm;
	}
	fail_msg("%s is not in the report", name);
	return NULL;
}
