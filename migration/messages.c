// SPDX-License-Identifier: GPL-2.0-or-later
#include "messages.h"

#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TEXT_BYTES_MAX 1024

struct LmMessages {
	int stderr_fd; /* the real one */
	int kept_fd;
};

LmMessages *lm_messages_begin(void)
{
	LmMessages *messages = g_new0(LmMessages, 1);

	fflush(stderr);
	messages->stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	messages->kept_fd = memfd_create("messages", MFD_CLOEXEC);
	/* Where one of the two cannot be had, the messages just go where they always go. */
	if (messages->stderr_fd >= 0 && messages->kept_fd >= 0)
		dup2(messages->kept_fd, STDERR_FILENO);
	return messages;
}

static char *read_kept(int fd)
{
	char *text = g_malloc0(TEXT_BYTES_MAX + 1);

	if (fd >= 0 && pread(fd, text, TEXT_BYTES_MAX, 0) < 0)
		*text = 0;
	return text;
}

static char *join_lines(const char *text)
{
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	g_autofree char *program = g_strdup_printf("%s: ", g_get_prgname() ? g_get_prgname() : "");
	GString *joined = g_string_new(NULL);

	for (char **line = lines; *line; line++) {
		const char *said =
			g_str_has_prefix(*line, program) ? *line + strlen(program) : *line;

		if (*said)
			g_string_append_printf(joined, "%s%s", joined->len ? "; " : "", said);
	}
	return g_string_free(joined, FALSE);
}

char *lm_messages_end(LmMessages *messages)
{
	g_autofree char *text = NULL;

	fflush(stderr);
	text = read_kept(messages->kept_fd);
	if (messages->stderr_fd >= 0) {
		dup2(messages->stderr_fd, STDERR_FILENO);
		close(messages->stderr_fd);
	}
	if (messages->kept_fd >= 0)
		close(messages->kept_fd);
	g_free(messages);
	fputs(text, stderr);
	return join_lines(text);
}
