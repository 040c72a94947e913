/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The demo: a Linux guest that is upgraded into new QEMU processes, and figures against stock
 * migration. The parts, bottom up: screen (what is shown), machine (a VM's process), memory (of
 * all of them together), hop (from one process to the next), figures, report (tables and JSON).
 *
 * A failure ends the program with one line (demo_fail). Nothing is undone on the way: the first
 * process (supervise.c) waits for the one that works, and then for the VMs, which don't outlive it.
 */
#ifndef LM_DEMO_DEMO_H
#define LM_DEMO_DEMO_H

#include "cgroup.h"
#include "screen.h"
#include "vm.h"

#define MIB	     1048576.0
#define BOOT_MS	     180000u
#define MIGRATION_MS 60000u

/* A QEMU to run: installed, or in a root. */
typedef struct DemoQemu {
	const char *binary, *root; /* either may be NULL */
} DemoQemu;

/* A guest's machine. */
typedef struct DemoGuest {
	const char *name;
	const char *kernel, *initrd, *append; /* kernel NULL: the bare-metal payload */
	guint memory_mib;
	const char *const *extra;
	gboolean stock; /* without the plugin, and in memory that cpr-transfer can hand over */
	gboolean plain; /* without the plugin, and else as all others */
} DemoGuest;

/* live-events.c: a process's STOP and RESUME, with its own time stamps. */
typedef struct Events Events;

/* A VM's process, and what it is. */
typedef struct Machine {
	Vm *vm;
	Events *events; /* NULL: nobody listens */
	const DemoGuest *guest;
	const DemoQemu *qemu;
	char *version; /* "7.2.22" */
	char *uri;     /* where it waits, if it does */
} Machine;

/* How private memory became shared; chunks 0: it did not. */
typedef struct HopShare {
	double ms, median_us, p99_us, max_us;
	guint64 shared_bytes, huge_bytes, left_bytes;
	gint64 chunks;
	char *why_not_live; /* NULL: it was */
} HopShare;

#define PAUSE_PARTS 7

/* What one way from a process to the next took. */
typedef struct Hop {
	char *from, *to;
	const char *way;	      /* "flip", "share", "pass", "precopy", "cpr-transfer" */
	double down_ms;		      /* from STOP to RESUME; NAN: not measured */
	double until_ms;	      /* from the command to RESUME; NAN: not measured */
	double pause_ms[PAUSE_PARTS]; /* see hop_pause_parts */
	HopShare share;
	guint64 huge_before_bytes; /* in huge pages of the old process, if somebody looked */
	/* The guest's longest gap before it began, and when it had just arrived. */
	guint64 gap_before_ms, gap_until_ms;
	/* The longest that it waited for one page, in as many beats before the command and from the
	 * command until it was stopped; NAN: there was no whole beat. */
	double stall_before_ms, stall_ms;
	double stopped_ms, device_ms, flip_ms, total_ms;
	guint64 moved_bytes, skipped_bytes;
	gint64 extra_bytes; /* the peak over what was in use before; -1: not measured */
	Beat beat;	    /* the guest's account afterwards */
	guint64 checked;    /* pages that it checked since */
} Hop;

typedef struct Demo {
	LmTest *test; /* folder and VMs, for tests/qtest */
	LmCgroup *cgroup;
	gboolean chain, quick, live, attach, move_disk;
	int runs;
	char *json_path;
	DemoQemu qemus[3]; /* the first boots the guest */
	guint qemu_count;
	GArray *upgrades; /* of Hop */
	GArray *figures;  /* of Figure; with live only */
	guint next;	  /* for names */
} Demo;

void demo_fail(const char *format, ...) G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN;

/* supervise.c: runs @work in a process of its own; the exit status. Leaves no process behind. */
int supervise(void (*work)(Demo *demo), Demo *demo);

/* machine.c */
Machine *machine_boot(Demo *demo, const DemoGuest *guest, const DemoQemu *qemu);
typedef enum Wait { WAIT_LOCAL, WAIT_STOCK, WAIT_CPR } Wait;
/*
 * A process with @source's guest, without it, that waits for it. WAIT_CPR: it has no monitor
 * before the guest comes; machine_connect then.
 */
Machine *machine_wait(Demo *demo, const Machine *source, const DemoQemu *qemu, Wait wait);
void machine_connect(Machine *machine);
/* Must succeed; the caller's. */
JsonNode *machine_command(const Machine *machine, const char *name, const char *arguments, ...)
	G_GNUC_PRINTF(3, 4);
/* The same without a use for the reply. */
#define machine_do(...) json_node_unref(machine_command(__VA_ARGS__))
/* Ends the process, which must do so by itself. */
void machine_quit(Machine *machine);
/* A few heartbeats without an error; no number may be missing in all of the guest's account. */
void machine_wait_beats(const Machine *machine, Beat *last);
/* The same, shown, until the guest has checked all of its pages; returns how many checks. */
guint64 machine_watch(const Machine *machine, Beat *last);

/* memory.c: what all VMs take together. */
void memory_begin(Demo *demo);
void memory_sample(Demo *demo);
gint64 memory_end(Demo *demo); /* the peak over the begin, in bytes; -1: not measured */
const char *memory_how(void);  /* a remark for the figures, or NULL */

/* hop.c: moves the guest to a new process of @qemu, and quits the old one. Takes @source. */
typedef struct HopHow {
	const char *ram; /* "flip", "share" */
	long bandwidth;	 /* 0: no limit */
	gboolean shown;
} HopHow;
Machine *hop_local(Demo *demo, Machine *source, const DemoQemu *qemu, HopHow how, Hop *hop);
/* Private memory only. */
#define hop_flip(demo, source, qemu, is_shown, hop)                                                \
	hop_local(demo, source, qemu, (HopHow){.ram = "flip", .shown = is_shown}, hop)
extern const char *const hop_pause_parts[PAUSE_PARTS];
/* Stock precopy to a new process as fast as it can; the guest goes on in @source afterwards. */
void hop_stock(Demo *demo, Machine *source, Hop *hop);
/* Stock cpr-transfer; the same as hop_local otherwise. */
Machine *hop_cpr(Demo *demo, Machine *source, Hop *hop);

/* linux.c: the Linux guest, with a new disk; @stock: see DemoGuest. Lives as long as the demo. */
#define LINUX_TOUCHED_MIB 560
const DemoGuest *linux_guest(Demo *demo, gboolean stock);
/* Of the environment; NULL if it is not set, or empty. */
const char *given(const char *variable);
/* LM_QEMU_<version> or LM_ROOT_<version>; FALSE: there is neither. */
gboolean given_qemu(const char *version, DemoQemu *qemu);

/* The same with its disk on this image. */
const DemoGuest *linux_guest_on(const char *image, gboolean stock);

/* tool.c: the tool is its monitor's only client from then on. */
void tool_leave_monitor(Machine *machine);
/* qemu-live-upgrade on the machine, with @options up to NULL; what it reports, the caller's. */
JsonNode *tool_run(Demo *demo, const Machine *machine, const char *const *options);
/* The machine is what the report says: its parent is another process. */
void tool_follow(Machine *machine, JsonNode *report);
void tool_quit(Machine *machine);
double tool_number(JsonNode *report, const char *member);

/* move-disk.c: all of --move-disk. */
void move_disk_work(Demo *demo);
/* attach.c: all of --attach. */
void attach_work(Demo *demo);

/* figures.c */
typedef struct Spread {
	double median, low, high; /* NAN: not measured */
} Spread;
typedef struct Figure {
	const char *name, *key, *unit;
	Spread value;
	const char *aim;  /* NULL: has none */
	gboolean reached; /* by the median, if it has an aim */
} Figure;
typedef double (*Value)(const Hop *hop);
GArray *hops_new(void);
Spread figures_spread(const GArray *hops, Value value);
/* Of the medians; at worst and at best, if the extremes had met. */
Spread figures_ratio(Spread a, Spread b);
/* Appends; the strings stay the caller's. */
void figures_add(GArray *figures, const char *name, const char *key, const char *unit,
		 Spread value);
/* Of the figure that was added last. */
void figures_aim(GArray *figures, const char *text, gboolean reached);
/* Takes memory and gives it back: see figures.c. */
void warm_memory(void);
/* Appends to @figures, of Figure. Takes @machine; returns the one that the guest is in then. */
Machine *figures_linux(Demo *demo, Machine *machine, GArray *figures);
void figures_size(Demo *demo, GArray *figures);

/* report.c */
void report_upgrades(const Demo *demo);
void report_figures(const GArray *figures);
void report_json(const Demo *demo, const GArray *figures);

#endif
