/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For builds with the thread sanitizer. GLib's mutexes are its own, of futexes in a library that
 * was built without it, so it would see no order in what they guard: here it is told. They are
 * called by these names because the executable's come before the library's.
 */
#include <dlfcn.h>
#include <glib.h>

void __tsan_acquire(void *address);
void __tsan_release(void *address);

/* The functions g_mutex_lock and so on of GLib, whose addresses never change. */
static void call(const char *name, GMutex *mutex)
{
	void (*real)(GMutex *) = (void (*)(GMutex *))dlsym(RTLD_NEXT, name);

	real(mutex);
}

#undef g_mutex_lock
#undef g_mutex_unlock
__attribute__((visibility("default"))) void g_mutex_lock(GMutex *mutex)
{
	call("g_mutex_lock", mutex);
	__tsan_acquire(mutex);
}

__attribute__((visibility("default"))) void g_mutex_unlock(GMutex *mutex)
{
	__tsan_release(mutex);
	call("g_mutex_unlock", mutex);
}
