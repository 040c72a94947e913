/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Processes beside the VMs that want their processors, or memory again and again. */
#ifndef LM_QTEST_NEIGHBOURS_H
#define LM_QTEST_NEIGHBOURS_H

#include <glib.h>

typedef struct Neighbours Neighbours;

Neighbours *neighbours_new(void);
/* Others than before, by lot: more often none than some. */
void neighbours_change(Neighbours *neighbours, GRand *random);
/* "2 busy, 1 greedy" */
const char *neighbours_text(const Neighbours *neighbours);
void neighbours_free(Neighbours *neighbours);

#endif
