// SPDX-License-Identifier: GPL-2.0-or-later
#include "image-lock.h"

#include <fcntl.h>
#include <unistd.h>

/* One byte for each permission that is in use, from 100 on, and that is not shared, from 200 on. */
#define LOCKS_BEGIN 100
#define LOCKS_BYTES 200

gboolean lm_image_is_locked(int fd)
{
	struct flock lock = {.l_type = F_WRLCK,
			     .l_whence = SEEK_SET,
			     .l_start = LOCKS_BEGIN,
			     .l_len = LOCKS_BYTES};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}
