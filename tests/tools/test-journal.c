// SPDX-License-Identifier: GPL-2.0-or-later
/* The journal says the same after it was written and read; what is none is not taken for one. */
#include "unit.h"

#include "journal.h"
#include "plan.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib/gstdio.h>

static LuJournal *sample(void)
{
	LuJournal *journal = lu_journal_new();
	int queue = 27;

	journal->step = g_strdup("start");
	journal->old_pid = 10;
	journal->old_start = 11;
	journal->new_pid = 20;
	journal->new_start = 21;
	journal->handover = g_strdup("/r/10/handover");
	journal->qmp_path = g_strdup("/r/q");
	journal->qmp_temporary = g_strdup("/r/q.lu1");
	journal->from = g_strdup("7.2.22");
	journal->to = g_strdup("10.0.3");
	journal->status = g_strdup("running");
	journal->manager = g_strdup("libvirt domain web");
	journal->manager_id = g_strdup("ec838a74");
	lu_paths_add(journal->records, "first", "/r/web.xml", "/r/web.xml.lu1");
	lu_paths_add(journal->paths, "-qmp", "/r/q", "/r/q.lu1");
	g_ptr_array_add(journal->afterwards, g_strdup("{\"execute\": \"x\"}"));
	g_array_append_val(journal->queues, queue);
	lu_connections_add(journal->connections, "/r/passt", 5, 10);
	journal->kill_old = TRUE;
	lu_made_files_add(journal->images, "/r/new.img")->ino = 7;
	return journal;
}

static void test_round_trip(void **state)
{
	g_autoptr(LuJournal) journal = sample(), back = NULL;
	g_autofree char *text = lu_journal_text(journal), *again = NULL;

	back = lu_journal_parse(text);
	assert_non_null(back);
	again = lu_journal_text(back);
	assert_string_equal(again, text);
	assert_int_equal(back->new_start, 21);
	assert_int_equal(g_array_index(back->queues, int, 0), 27);
	assert_int_equal(((LuConnection *)back->connections->pdata[0])->new, 10);
	assert_true(back->kill_old);
	assert_string_equal(((LuMadeFile *)back->images->pdata[0])->file, "/r/new.img");
	assert_int_equal(((LuMadeFile *)back->images->pdata[0])->ino, 7);
	assert_string_equal(((LuPath *)back->paths->pdata[0])->temporary, "/r/q.lu1");
	assert_string_equal(back->manager, "libvirt domain web");
	assert_string_equal(back->manager_id, "ec838a74");
	assert_string_equal(((LuPath *)back->records->pdata[0])->path, "/r/web.xml");
}

static void test_nonsense(void **state)
{
	static const char *const texts[] = {
		"", "{", "[]", "{}", "{\"step\": \"start\"}", "{\"step\": 1, \"old-pid\": 2}"};

	for (guint i = 0; i < G_N_ELEMENTS(texts); i++)
		assert_null(lu_journal_parse(texts[i]));
}

#define NOBODY 2147483600 /* no process has this number */

static guint64 start_of(pid_t pid)
{
	g_autofree char *text = lu_proc_read(pid, "stat", NULL);
	guint64 start_time = 0;
	char state;

	assert_true(lu_proc_parse_stat(text, &state, &start_time));
	return start_time;
}

static void test_find(void **state)
{
	g_autofree char *base = g_dir_make_tmp("journal-XXXXXX", NULL);
	g_autofree char *other = g_build_filename(base, "other.json", NULL);
	g_autoptr(LuJournal) journal = sample(), by_old = NULL, by_new = NULL, by_qmp = NULL;

	journal->file = g_build_filename(base, "10.json", NULL);
	journal->old_pid = NOBODY;
	journal->new_pid = getpid(); /* by now: it was another process's number */
	assert_true(lu_journal_write(journal, NULL));
	assert_true(g_file_set_contents(other, "{", 1, NULL));
	assert_null(lu_journal_find(base, getpid(), NULL));
	journal->new_start = start_of(getpid());
	assert_true(lu_journal_write(journal, NULL));
	by_old = lu_journal_find(base, NOBODY, NULL);
	by_new = lu_journal_find(base, getpid(), NULL);
	by_qmp = lu_journal_find(base, -1, "/r/q");
	assert_non_null(by_old);
	assert_non_null(by_new);
	assert_non_null(by_qmp);
	assert_null(lu_journal_find(base, 30, "/r/other"));
	assert_null(lu_journal_find(base, -1, NULL));
	lu_journal_remove(by_old);
	assert_null(lu_journal_find(base, NOBODY, NULL));
	g_unlink(other);
	assert_int_equal(g_rmdir(base), 0);
}

/* A QEMU of another user must reach what is below, whatever umask root works with. */
static void test_folder_and_umask(void **state)
{
	g_autofree char *dir = g_dir_make_tmp("journal-XXXXXX", NULL);
	g_autofree char *base = g_build_filename(dir, "base", NULL);
	mode_t before = umask(0177);
	struct stat st;

	assert_int_equal(lu_journal_mkdir(base), 0);
	umask(before);
	assert_int_equal(stat(base, &st), 0);
	assert_int_equal(st.st_mode & 0777, geteuid() ? 0700 : 0711);
	assert_int_equal(g_chmod(base, 0755), 0);
	assert_int_equal(lu_journal_mkdir(base), 0); /* one that is there stays as it is */
	assert_int_equal(stat(base, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0755);
	assert_int_equal(g_rmdir(base), 0);
	assert_int_equal(lu_journal_mkdir("/nowhere/base"), -1);
	assert_int_equal(g_rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_round_trip), TEST(test_nonsense),
					   TEST(test_find), TEST(test_folder_and_umask)};

	return cmocka_run_group_tests_name("tool-journal", tests, NULL, NULL);
}
