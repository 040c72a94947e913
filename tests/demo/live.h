/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ./demo --live: private memory is shared while the guest runs. Beside it: what follows from it
 * (pass), the flip, and QEMU's own cpr-transfer.
 */
#ifndef LM_DEMO_LIVE_H
#define LM_DEMO_LIVE_H

#include "demo.h"

/* Beside the path where the new process waits for the migration itself. */
#define CPR_SUFFIX ".cpr"

/* live.c: all of it. */
void live_work(Demo *demo);

/* live-events.c */
Events *events_listen(const char *path);
void events_free(Events *events);
/* What follows -chardev; the caller's. The id is "events". */
char *events_argument(const Events *events);
/* Waits for QEMU to connect. */
void events_connect(Events *events);
/* When QEMU sent the next event of that name, in real time; 0: it did not. Older ones are gone. */
gint64 events_wait(Events *events, const char *name, guint timeout_ms);
/* From a command at @begin_us until the guest ran again, by both processes' events. */
void events_measure(Events *source, Events *destination, gint64 begin_us, Hop *hop);

/* live-figures.c: appended to @figures. */
void figures_live(Demo *demo, const DemoQemu *qemu, GArray *figures);
void figures_live_size(Demo *demo, GArray *figures);

/* live-report.c */
void report_live(const Demo *demo);
/* Members of an object for one upgrade. */
void report_live_json(JsonBuilder *builder, const Hop *hop);
/* What became of a hop's memory, and where its pause went: lines. */
void live_show_share(const Hop *hop);
void live_show_pause(const Hop *hop);

#endif
