/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * After a migration that something happened to: where the guest is, that it is in one place only,
 * whole, with its disk, and that nothing was left behind. Each function fails the case itself.
 */
#ifndef LM_QTEST_AFTERMATH_H
#define LM_QTEST_AFTERMATH_H

#include "migrate.h"

typedef enum Place {
	PLACE_SOURCE,
	PLACE_DESTINATION,
	PLACE_LOST, /* the source says that pages died with the destination */
	PLACE_DEAD, /* the process that had it was killed, and the guest with it */
} Place;
const char *place_name(Place place);

/* A VM with a disk of its own, whose threads have names. */
typedef struct Scene {
	LmTest *test;
	VmOptions options;
	char *image, *socket, *uri;
	char *drive;
	Vm *listener; /* the last one */
	guint writes; /* to the disk, one after the other, by whoever ran the guest */
	const char *extra[8];
} Scene;

/* @memory_mib, and @backend as in VmOptions. The scene is the case's. */
Scene *scene_new(LmTest *test, guint memory_mib, const char *backend);
/* Starts QEMU without waiting for it; @source NULL: a source. */
Vm *scene_spawn(Scene *scene, const char *plugin_args, const Vm *source);
/* Waits for its monitor, and until the guest of a source is at work. */
void scene_connect_source(Scene *scene, Vm *vm);
void scene_connect_destination(Scene *scene, Vm *vm);
/* Waits for a source at the scene's socket. */
void scene_listen(Scene *scene, Vm *vm);

/* What a process holds. */
typedef struct Holdings {
	int fds;
	char *threads; /* their names */
} Holdings;
void holdings_note(Holdings *holdings, const Vm *vm);
/* It has @more descriptors at most than before, and no new threads. Frees what was noted. */
void holdings_assert(Holdings *before, Vm *vm, int more);

/*
 * Waits until both have come to rest, and tells where the guest is; @info is the source's status
 * then, NULL if it is dead. What hangs (SIGSTOP) goes on, the source first; who had no descriptors
 * left gets them back.
 */
Place aftermath(Vm *source, Vm *destination, JsonNode **info);

/* The guest runs here: all of its memory is as it should be, and so is its disk, which it writes.
 */
void scene_assert_guest(Scene *scene, Vm *vm);
/* It ends in order, and leaves no socket; one that is dead already was killed, or gave up. */
void scene_end(Scene *scene, Vm *vm);
/* When all have ended: the image is no worse than a crash may leave it, and has all writes. */
void scene_assert_image(Scene *scene);

#endif
