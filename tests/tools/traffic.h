/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a Linux guest with lm.net=1 talks to, from this process: an echo server for its stream of
 * TCP (the guest compares what comes back), and a ping every TRAFFIC_PING_MS. Each function fails
 * the case itself.
 */
#ifndef LM_TRAFFIC_H
#define LM_TRAFFIC_H

#include "harness.h"

#define TRAFFIC_PING_MS 10

typedef struct Traffic Traffic;

typedef struct TrafficReport {
	guint sent, lost, twice; /* pings; lost: no answer within a second */
	double longest_ms;	 /* between two answers */
	guint connections;	 /* new ones, since the ping began */
	guint64 echoed_bytes;
	double silent_ms;    /* the longest time without anything to echo, since the ping began */
	guint announcements; /* RARP frames of the guest's, as QEMU sends for it */
} TrafficReport;

/* An echo server at @address; ended with the case. */
Traffic *traffic_serve(LmTest *test, const char *address, int port);
/* Waits for the guest's first stream, and measures from then on. */
void traffic_begin(Traffic *traffic);
/* Also pings @address, once the first answer has come. */
void traffic_ping(Traffic *traffic, const char *address);
TrafficReport traffic_stop(Traffic *traffic);
void traffic_note(const char *about, const TrafficReport *report);

#endif
