// SPDX-License-Identifier: GPL-2.0-or-later
/* qemu-live-upgrade: options in, a report out. What it does is in upgrade.c. */
#include "host-report.h"
#include "libvirt/lu-libvirt.h"
#include "recover-disk.h"
#include "report.h"

#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PARALLEL_MAX 64

typedef struct Arguments {
	char *qmp, *binary, *way, *plugin, *user;
	char **rest, **domains, **moves;
	GPtrArray *disks; /* of LuDiskMove; NULL: none */
	gboolean all, keep_going, rehearse, dry_run, allow_downgrade, no_attach, json, quiet,
		version;
	int deadline_s, parallel;
} Arguments;

static void arguments_clear(Arguments *arguments)
{
	g_free(arguments->qmp);
	g_free(arguments->binary);
	g_free(arguments->way);
	g_free(arguments->plugin);
	g_free(arguments->user);
	g_strfreev(arguments->rest);
	g_strfreev(arguments->domains);
	g_strfreev(arguments->moves);
	g_clear_pointer(&arguments->disks, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Arguments, arguments_clear)

static gboolean parse(int argc, char **argv, Arguments *a, GError **errp)
{
	GOptionEntry entries[] = {
		{"qmp", 0, 0, G_OPTION_ARG_FILENAME, &a->qmp, "The QEMU behind this QMP socket",
		 "SOCKET"},
		{"libvirt", 0, 0, G_OPTION_ARG_STRING_ARRAY, &a->domains,
		 "This running domain of libvirt (may be given several times)", "DOMAIN"},
		{"all", 0, 0, G_OPTION_ARG_NONE, &a->all, "All QEMUs of this host", NULL},
		{"parallel", 0, 0, G_OPTION_ARG_INT, &a->parallel,
		 "With --all: so many at once (default: 1)", "N"},
		{"keep-going", 0, 0, G_OPTION_ARG_NONE, &a->keep_going,
		 "With --all: go on after one that failed", NULL},
		{"user", 0, 0, G_OPTION_ARG_STRING, &a->user, "With --all: only this user's",
		 "NAME|UID"},
		{"binary", 0, 0, G_OPTION_ARG_FILENAME, &a->binary,
		 "The new QEMU (default: the installed one, if it is another)", "PATH"},
		{"way", 0, 0, G_OPTION_ARG_STRING, &a->way, "How memory goes (default: auto)",
		 "flip|share|auto"},
		{"rehearse", 0, 0, G_OPTION_ARG_NONE, &a->rehearse,
		 "Try it, and leave the guest where it is", NULL},
		{"move-disk", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &a->moves,
		 "Have this disk in another image afterwards (may be given several times)",
		 "DISK=FILE[,format=qcow2|raw][,throttle=BYTES]"},
		{"dry-run", 0, 0, G_OPTION_ARG_NONE, &a->dry_run,
		 "Say what would be done, and what prevents it", NULL},
		{"deadline", 0, 0, G_OPTION_ARG_INT, &a->deadline_s,
		 "Longest time for the handover (default: 300)", "SECONDS"},
		{"plugin", 0, 0, G_OPTION_ARG_FILENAME, &a->plugin,
		 "The plugin for the new QEMU (default: the running one's)", "PATH"},
		{"allow-downgrade", 0, 0, G_OPTION_ARG_NONE, &a->allow_downgrade,
		 "Accept an older QEMU", NULL},
		{"no-attach", 0, 0, G_OPTION_ARG_NONE, &a->no_attach,
		 "Refuse a QEMU that was started without the plugin", NULL},
		{"json", 0, 0, G_OPTION_ARG_NONE, &a->json, "Print the summary as JSON only", NULL},
		{"quiet", 0, 0, G_OPTION_ARG_NONE, &a->quiet, "Print errors only", NULL},
		{"version", 0, 0, G_OPTION_ARG_NONE, &a->version, "Print the version", NULL},
		{G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &a->rest, NULL,
		 "PID|attach PID|status|recover FILE"},
		{0},
	};
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	g_autoptr(GError) error = NULL;

	g_option_context_set_summary(context, "Replaces the QEMU process under a running guest.");
	g_option_context_set_description(
		context, "Exit status: 0 upgraded, 1 usage, 2 refused and untouched,\n"
			 "3 failed and rolled back, 4 guest lost, 5 libvirt's daemon is not back.\n"
			 "See qemu-live-upgrade(8).");
	g_option_context_add_main_entries(context, entries, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &error))
		return lu_fail(errp, LU_ERROR_USAGE, "%s", error->message);
	return TRUE;
}

static gboolean parse_way(const char *text, LuWay *way, GError **errp)
{
	static const char *const names[] = {"auto", "flip", "share"};

	for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
		if (text && strcmp(text, names[i]))
			continue;
		*way = i;
		return TRUE;
	}
	return lu_fail(errp, LU_ERROR_USAGE, "--way is %s; it must be flip, share or auto", text);
}

static gboolean parse_pid(const char *text, pid_t *pid, GError **errp)
{
	guint64 number = 0;

	if (!g_ascii_string_to_unsigned(text, 10, 1, G_MAXINT32, &number, NULL))
		return lu_fail(errp, LU_ERROR_USAGE, "%s is not a PID", text);
	*pid = number;
	return TRUE;
}

static gboolean parse_moves(Arguments *a, LuRequest *request, GError **errp)
{
	if (!a->moves)
		return TRUE;
	if (a->all || (a->domains && a->domains[1]))
		return lu_fail(errp, LU_ERROR_USAGE, "--move-disk is for one VM");
	a->disks = lu_disk_moves_new();
	for (guint i = 0; a->moves[i]; i++)
		if (!lu_disk_moves_parse(a->disks, a->moves[i], errp))
			return FALSE;
	request->moves = a->disks;
	return TRUE;
}

static gboolean check(Arguments *a, LuRequest *request, GError **errp)
{
	guint count = a->rest ? g_strv_length(a->rest) : 0;

	if (count + (a->qmp ? 1 : 0) + (a->domains ? 1 : 0) + (a->all ? 1 : 0) != 1)
		return lu_fail(
			errp, LU_ERROR_USAGE,
			"say which QEMU: a PID, --qmp SOCKET, --libvirt DOMAIN, or --all (--help)");
	if (!a->all && (a->parallel || a->keep_going || a->user))
		return lu_fail(errp, LU_ERROR_USAGE,
			       "--parallel, --keep-going and --user are for --all");
	if (a->parallel < 0 || a->parallel > PARALLEL_MAX)
		return lu_fail(errp, LU_ERROR_USAGE, "--parallel %d is not between 1 and %d",
			       a->parallel, PARALLEL_MAX);
	if (count && !parse_pid(a->rest[0], &request->pid, errp))
		return FALSE;
	if (a->deadline_s < 0)
		return lu_fail(errp, LU_ERROR_USAGE, "--deadline %d is not positive",
			       a->deadline_s);
	if (a->rehearse && a->dry_run)
		return lu_fail(errp, LU_ERROR_USAGE, "--rehearse and --dry-run exclude each other");
	request->qmp = a->qmp;
	request->binary = a->binary;
	request->plugin = a->plugin;
	request->rehearse = a->rehearse;
	request->dry_run = a->dry_run;
	request->allow_downgrade = a->allow_downgrade;
	request->no_attach = a->no_attach;
	request->deadline_s = (guint)a->deadline_s;
	return parse_moves(a, request, errp) && parse_way(a->way, &request->way, errp);
}

static int usage(const GError *error)
{
	fprintf(stderr, "qemu-live-upgrade: %s\n", error->message);
	return error->code;
}

/* qemu-live-upgrade attach PID */
static int attach(const Arguments *a)
{
	g_autofree char *said = NULL;
	g_autoptr(GError) error = NULL;
	pid_t pid;

	if (g_strv_length(a->rest) != 2)
		lu_fail(&error, LU_ERROR_USAGE, "say which QEMU: attach PID");
	else if (parse_pid(a->rest[1], &pid, &error) &&
		 lu_attach_only(pid, a->plugin, &said, &error) && !a->quiet)
		puts(said);
	if (error)
		fprintf(stderr, "qemu-live-upgrade: %s\n", error->message);
	return error ? error->code : 0;
}

/* qemu-live-upgrade recover FILE */
static int recover_disk(const Arguments *a)
{
	const gboolean progress = isatty(STDOUT_FILENO) && !a->quiet && !a->json;
	g_autofree char *said = NULL, *file = NULL, *here = g_get_current_dir();
	g_autoptr(GError) error = NULL;

	if (g_strv_length(a->rest) != 2) {
		lu_fail(&error, LU_ERROR_USAGE, "say which image: recover FILE");
		return usage(error);
	}
	file = g_canonicalize_filename(a->rest[1], here);
	if (!lu_recover_disk(file, progress, &said, &error))
		return usage(error);
	if (!a->quiet)
		puts(said);
	return 0;
}

static void begin_domain(void *opaque, const char *domain)
{
	lu_report_domain(opaque, domain);
}

/* The worst of all: of a lost guest before one of a daemon, and that before the rest. */
static int worse(int a, int b)
{
	static const int rank[] = {[0] = 0,
				   [LU_ERROR_REFUSED] = 1,
				   [LU_ERROR_USAGE] = 2,
				   [LU_ERROR_FAILED] = 3,
				   [LU_ERROR_MANAGER] = 4,
				   [LU_ERROR_LOST] = 5};

	return rank[a] > rank[b] ? a : b;
}

static int run_libvirt(const Arguments *a, const LuRequest *request, LuReport *report)
{
	g_autoptr(GPtrArray) outcomes = lu_libvirt_run(a->domains, request, begin_domain, report);
	int status = 0;

	lu_report_begin_list(report, outcomes->len);
	for (guint i = 0; i < outcomes->len; i++) {
		LuLibvirtOutcome *outcome = outcomes->pdata[i];

		lu_report_domain(report, outcome->name);
		lu_report_end(report, request, &outcome->result, outcome->error);
		status = worse(status, outcome->error ? outcome->error->code : 0);
	}
	lu_report_end_list(report);
	return status;
}

static gboolean parse_user(const char *text, LuHostRequest *request, GError **errp)
{
	const struct passwd *entry = text ? getpwnam(text) : NULL;
	guint64 number = entry ? entry->pw_uid : 0;

	request->all_users = !text;
	if (text && !entry &&
	    !g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT32 - 1, &number, NULL))
		return lu_fail(errp, LU_ERROR_USAGE, "there is no user %s", text);
	request->user = (uid_t)number;
	return TRUE;
}

/* --all, and status. */
static int host(const Arguments *a, const LuRequest *each, gboolean only_look)
{
	LuHostRequest request = {.each = *each,
				 .parallel = a->parallel ? (guint)a->parallel : 1,
				 .keep_going = a->keep_going};
	LuHostReport report = {
		.json = a->json, .quiet = a->quiet, .terminal = isatty(STDOUT_FILENO)};
	g_auto(LuHostRun) run = {.observer = lu_host_report_observer(&report)};
	g_autoptr(GError) error = NULL;

	if (!parse_user(a->user, &request, &error))
		return usage(error);
	if (!(only_look ? lu_host_status : lu_host_upgrade)(&request, &run, &error)) {
		fprintf(stderr, "qemu-live-upgrade: %s\n", error->message);
		return error->code;
	}
	if (only_look)
		lu_host_report_status(&report, &run);
	else
		lu_host_report_end(&report, &run);
	return only_look ? 0 : lu_host_exit_code(&run);
}

/* qemu-live-upgrade status: where each VM is, and nothing is begun. */
static int status(Arguments *a)
{
	LuRequest request = {.binary = a->binary, .plugin = a->plugin, .dry_run = TRUE};
	g_autoptr(GError) error = NULL;

	if (g_strv_length(a->rest) == 1)
		return host(a, &request, TRUE);
	lu_fail(&error, LU_ERROR_USAGE, "status takes no argument");
	return usage(error);
}

int main(int argc, char **argv)
{
	g_auto(Arguments) arguments = {0};
	g_auto(LuResult) result = {0};
	g_autoptr(GError) error = NULL;
	LuRequest request = {0};
	LuReport report = {.terminal = isatty(STDOUT_FILENO)};

	/* What was begun is ended, or another run ends it: an interrupt would only be in the way.
	 */
	signal(SIGPIPE, SIG_IGN);
	if (!parse(argc, argv, &arguments, &error))
		return usage(error);
	if (arguments.version) {
		puts("qemu-live-upgrade " LM_VERSION);
		return 0;
	}
	if (arguments.rest && !strcmp(arguments.rest[0], "attach"))
		return attach(&arguments);
	if (arguments.rest && !strcmp(arguments.rest[0], "recover"))
		return recover_disk(&arguments);
	if (arguments.rest && !strcmp(arguments.rest[0], "status"))
		return status(&arguments);
	if (!check(&arguments, &request, &error))
		return usage(error);
	if (arguments.all)
		return host(&arguments, &request, FALSE);
	report.json = arguments.json;
	report.quiet = arguments.quiet;
	request.observer = lu_report_observer(&report);
	if (arguments.domains)
		return run_libvirt(&arguments, &request, &report);
	lu_upgrade(&request, &result, &error);
	lu_report_end(&report, &request, &result, error);
	return error ? error->code : 0;
}
