// SPDX-License-Identifier: GPL-2.0-or-later
/* A destination and what may be wrong in a source's messages. See test-session-hostile-source.c. */
#include "hostile-checks.h"

#include <fcntl.h>
#include <sys/mman.h>

static void edit_byte(Speech *speech, guint at, guint8 value)
{
	speech->payload->data[at] = value;
	speech->then = THEN_HANG;
}

static void no_fds(Speech *speech)
{
	speech->header.fd_count = speech->fd_count = 0;
	speech->then = THEN_HANG;
}

static void one_fd_more(Speech *speech)
{
	say_too_many_fds(speech);
	speech->header.fd_count = speech->fd_count;
}

static int make_file(gsize bytes, int seals, const char *content)
{
	int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	g_assert(fd >= 0 && ftruncate(fd, bytes) == 0);
	g_assert(pwrite(fd, content, strlen(content), 0) == (gssize)strlen(content));
	g_assert(!seals || fcntl(fd, F_ADD_SEALS, seals) == 0);
	return fd;
}

static int open_directory(void)
{
	return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int open_pipe(int end)
{
	int fds[2];

	g_assert(pipe2(fds, O_CLOEXEC) == 0);
	close(fds[!end]);
	return fds[end];
}

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define OFFER	  "QLML\1"

static void ledger_is_small(Speech *speech)
{
	attach_only(speech, make_file(2048, ALL_SEALS, OFFER));
	speech->then = THEN_HANG;
}

static void ledger_can_shrink(Speech *speech)
{
	attach_only(speech, make_file(4096, F_SEAL_GROW | F_SEAL_SEAL, OFFER));
	speech->then = THEN_HANG;
}

static void ledger_cannot_be_written(Speech *speech)
{
	attach_only(speech, make_file(4096, ALL_SEALS | F_SEAL_WRITE, OFFER));
	speech->then = THEN_HANG;
}

static void ledger_is_nothing(Speech *speech)
{
	attach_only(speech, make_file(4096, ALL_SEALS, "nothing"));
	speech->then = THEN_HANG;
}

static void ledger_is_pipe(Speech *speech)
{
	attach_only(speech, open_pipe(0));
	speech->then = THEN_HANG;
}

static void ledger_is_taken(Speech *speech)
{
	attach_only(speech, make_file(4096, ALL_SEALS, "QLML\3"));
}

static void other_pages(Speech *speech)
{
	edit_byte(speech, 6 + 2, 1); /* 64 KiB instead of 4 */
}

static void unknown_block(Speech *speech)
{
	edit_byte(speech, 8, 'R');
}

static void more_than_there_is(Speech *speech)
{
	edit_byte(speech, 0, 200);
}

static void short_file(Speech *speech)
{
	attach_only(speech, make_file(FAKE_SHARED_BYTES - 4096, 0, ""));
	speech->then = THEN_HANG;
}

static void far_in_file(Speech *speech)
{
	memset(speech->payload->data + 4, 0xff, 8);
	speech->then = THEN_HANG;
}

static void odd_in_file(Speech *speech)
{
	attach_only(speech, make_file(FAKE_SHARED_BYTES + 4096, 0, ""));
	edit_byte(speech, 4, 1);
}

static void no_such_region(Speech *speech)
{
	edit_byte(speech, 0, 2);
}

static void flipped_region(Speech *speech)
{
	edit_byte(speech, 0, 0);
}

static void pass_twice(Speech *speech)
{
	speech->times = 2;
}

static void pass_nothing(Speech *speech)
{
	speech->most_bytes = 0;
	speech->fd_count = 0;
}

static void a_directory(Speech *speech)
{
	attach_only(speech, open_directory());
	speech->then = THEN_HANG;
}

static void a_pipe(Speech *speech)
{
	attach_only(speech, open_pipe(0));
	speech->then = THEN_HANG;
}

static void cannot_be_written(Speech *speech)
{
	attach_only(speech, make_file(FAKE_SHARED_BYTES, F_SEAL_WRITE, ""));
	speech->then = THEN_HANG;
}

static void cannot_be_read(Speech *speech)
{
	int fd = make_file(FAKE_SHARED_BYTES, 0, "");
	g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);

	attach_only(speech, open(path, O_WRONLY | O_CLOEXEC));
	close(fd);
	speech->then = THEN_HANG;
}

static void only_to_be_read(Speech *speech)
{
	int fd = make_file(FAKE_SHARED_BYTES, 0, "");
	g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);

	attach_only(speech, open(path, O_RDONLY | O_CLOEXEC));
	close(fd);
	speech->then = THEN_HANG;
}

static void huge_pages(Speech *speech)
{
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);

	g_assert(fd >= 0 && ftruncate(fd, FAKE_SHARED_BYTES) == 0);
	attach_only(speech, fd);
	speech->then = THEN_HANG;
}

static void replace_fd(Speech *speech, guint index, int fd)
{
	close(speech->fds[index]);
	speech->fds[index] = fd;
	speech->then = THEN_HANG;
}

static void files_for_pipes(Speech *speech)
{
	replace_fd(speech, 2, make_file(4096, 0, ""));
}

static void wrong_end(Speech *speech)
{
	replace_fd(speech, 1, open_pipe(0));
}

static void one_pipe_twice(Speech *speech)
{
	replace_fd(speech, 2, fcntl(speech->fds[0], F_DUPFD_CLOEXEC, 0));
}

static void more_channels(Speech *speech)
{
	edit_byte(speech, 0, 3);
}

static void no_such_word(Speech *speech)
{
	edit_byte(speech, 4, LM_ENGINE_PROCESS_VM_READV); /* the address is 0 */
}

static void wrong_sum(Speech *speech)
{
	speech->payload->data[8] ^= 1;
}

static void too_long_state(Speech *speech)
{
	edit_byte(speech, 7, 1);
}

static void too_long_hint(Speech *speech)
{
	speech->payload = g_byte_array_new();
	g_byte_array_set_size(speech->payload, LM_HINT_BYTES_MAX + 1);
}

static void too_long_data(Speech *speech)
{
	g_byte_array_set_size(speech->payload, 26);
	speech->then = THEN_HANG;
}

static void empty_data(Speech *speech)
{
	g_byte_array_set_size(speech->payload, 0);
	speech->then = THEN_HANG;
}

static void over_the_limit(Speech *speech)
{
	speech->keep_length = TRUE;
	speech->header.length = LM_WIRE_PAYLOAD_MAX + 1;
	speech->then = THEN_HANG;
}

static void withdraw(Speech *speech)
{
	g_assert(lm_ledger_withdraw(speech->ledger));
}

static void ask_back(Speech *speech)
{
	speech->header = (LmWireHeader){LM_WIRE_VERSION, LM_MESSAGE_RETURN, 0, 0};
	g_byte_array_unref(speech->payload);
	speech->payload = lm_wire_u64_encode(LM_ENGINE_VMSPLICE);
	speech->fd_count = 0;
	speech->then = THEN_HANG;
}

/* More than a pipe holds: only from a destination that is told so does it come back. */
static void talk_on(Speech *speech)
{
	speech->times = 20 * 1000;
}

static const struct Case {
	const char *label;
	Script script;
	gboolean spoilt;
	const char *text;
} cases[] = {
	{"no ledger",
	 {LM_MESSAGE_HELLO, 0, no_fds},
	 FALSE,
	 "hello has 0 descriptors where 1 was due"},
	{"ledgers",
	 {LM_MESSAGE_HELLO, 0, one_fd_more},
	 FALSE,
	 "hello has 4 descriptors where 1 was due"},
	{"small", {LM_MESSAGE_HELLO, 0, ledger_is_small}, FALSE, "2048 bytes instead of 4096"},
	{"seals", {LM_MESSAGE_HELLO, 0, ledger_can_shrink}, FALSE, "has seals 0x5, and needs 0x7"},
	{"read-only",
	 {LM_MESSAGE_HELLO, 0, ledger_cannot_be_written},
	 FALSE,
	 "cannot map the ledger"},
	{"magic", {LM_MESSAGE_HELLO, 0, ledger_is_nothing}, FALSE, "the peer's ledger begins with"},
	{"pipe", {LM_MESSAGE_HELLO, 0, ledger_is_pipe}, FALSE, "the peer's ledger is no memfd"},
	{"taken",
	 {LM_MESSAGE_HELLO, 0, ledger_is_taken},
	 TRUE,
	 "the source withdrew before the commit"},
	{"future",
	 {LM_MESSAGE_HELLO, 0, be_of_the_future},
	 FALSE,
	 "the peer speaks protocol versions 99 to 99, this process 3 to 3"},
	{"base page", {LM_MESSAGE_HELLO, 0, other_pages}, FALSE, "bad hello message: 69632 bytes"},
	{"hello limit",
	 {LM_MESSAGE_HELLO, 0, over_the_limit},
	 FALSE,
	 "4194305 bytes is over the limit"},
	{"hello cut", {LM_MESSAGE_HELLO, 0, say_wrong_length}, FALSE, "bad hello message"},
	{"block",
	 {LM_MESSAGE_REGIONS, 0, unknown_block},
	 FALSE,
	 "RAM block Ram is only on the source; RAM block ram is only on the destination"},
	{"blocks", {LM_MESSAGE_REGIONS, 0, more_than_there_is}, FALSE, "200 regions cannot be in"},
	{"regions cut", {LM_MESSAGE_REGIONS, 0, say_wrong_length}, FALSE, "bad regions message"},
	{"return", {LM_MESSAGE_REGIONS, 0, ask_back}, FALSE, "the source took the VM back"},
	{"no file",
	 {LM_MESSAGE_PASS, 0, no_fds},
	 FALSE,
	 "shared came with 0 descriptors where 1 was due"},
	{"files",
	 {LM_MESSAGE_PASS, 0, one_fd_more},
	 FALSE,
	 "shared came with 4 descriptors where 1 was due"},
	{"short",
	 {LM_MESSAGE_PASS, 0, short_file},
	 FALSE,
	 "the passed file has 4190208 bytes, needed are 4194304"},
	{"far", {LM_MESSAGE_PASS, 0, far_in_file}, FALSE, "the passed file has 4194304 bytes"},
	{"odd", {LM_MESSAGE_PASS, 0, odd_in_file}, FALSE, "begins at 1 of its file on the source"},
	{"directory", {LM_MESSAGE_PASS, 0, a_directory}, FALSE, "the source passed no file"},
	{"pipe passed", {LM_MESSAGE_PASS, 0, a_pipe}, FALSE, "the source passed no file"},
	{"sealed", {LM_MESSAGE_PASS, 0, cannot_be_written}, FALSE, "RAM block shared: mmap"},
	{"write-only", {LM_MESSAGE_PASS, 0, cannot_be_read}, FALSE, "is open for writing only"},
	{"read-only file",
	 {LM_MESSAGE_PASS, 0, only_to_be_read},
	 FALSE,
	 "is open for reading only"},
	{"huge pages",
	 {LM_MESSAGE_PASS, 0, huge_pages},
	 FALSE,
	 "the passed file has pages of 2097152 bytes, the block's have 4096"},
	{"pass cut", {LM_MESSAGE_PASS, 0, say_wrong_length}, FALSE, "bad pass message"},
	{"no region", {LM_MESSAGE_PASS, 0, no_such_region}, FALSE, "passed RAM block 2 of 2"},
	{"flips",
	 {LM_MESSAGE_PASS, 0, flipped_region},
	 FALSE,
	 "passed RAM block ram instead of flipping it"},
	{"twice", {LM_MESSAGE_PASS, 0, pass_twice}, FALSE, "passed RAM block shared twice"},
	{"long hint",
	 {LM_MESSAGE_SHARED, 0, too_long_hint},
	 FALSE,
	 "a hint of 1048577 bytes is over the limit of 1048576"},
	{"not passed",
	 {LM_MESSAGE_PASS, 0, pass_nothing},
	 FALSE,
	 "the source has not passed RAM block shared"},
	{"no pipes",
	 {LM_MESSAGE_PIPES, 0, no_fds},
	 FALSE,
	 "2 channels came with 0 descriptors where 4 were due"},
	{"pipes",
	 {LM_MESSAGE_PIPES, 0, one_fd_more},
	 FALSE,
	 "2 channels came with 7 descriptors where 4 were due"},
	{"channels",
	 {LM_MESSAGE_PIPES, 0, more_channels},
	 FALSE,
	 "3 channels came with 4 descriptors where 6 were due"},
	{"not pipes", {LM_MESSAGE_PIPES, 0, files_for_pipes}, FALSE, "is no pipe"},
	{"wrong end", {LM_MESSAGE_PIPES, 0, wrong_end}, FALSE, "is not the pipe's write end"},
	{"twice", {LM_MESSAGE_PIPES, 0, one_pipe_twice}, FALSE, "are one pipe"},
	{"no word", {LM_MESSAGE_PIPES, 0, no_such_word}, FALSE, "process_vm_readv from the source"},
	{"pipes cut", {LM_MESSAGE_PIPES, 0, say_wrong_length}, FALSE, "bad pipes message"},
	{"flip not empty",
	 {LM_MESSAGE_FLIP, 0, say_wrong_length},
	 FALSE,
	 "flip message has 1 bytes, not 0"},
	{"return at flip", {LM_MESSAGE_FLIP, 0, ask_back}, FALSE, "the source took the VM back"},
	{"long state", {LM_MESSAGE_STATE, 0, too_long_state}, TRUE, "over the limit of 268435456"},
	{"state cut", {LM_MESSAGE_STATE, 0, say_wrong_length}, TRUE, "bad state message"},
	{"sum", {LM_MESSAGE_STATE, 0, wrong_sum}, TRUE, "the CRC of the device state is"},
	{"talks on", {LM_MESSAGE_STATE, 0, talk_on}, TRUE, "sent state where data was due"},
	{"long data",
	 {LM_MESSAGE_DATA, 0, too_long_data},
	 TRUE,
	 "26 bytes of the device state came where at most 25 were due"},
	{"no data",
	 {LM_MESSAGE_DATA, 1, empty_data},
	 TRUE,
	 "0 bytes of the device state came where at most 9 were due"},
	{"withdraws",
	 {LM_MESSAGE_DATA, 1, withdraw},
	 TRUE,
	 "the source withdrew before the commit"},
};

static void test_cases(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(cases); i++)
		check_destination(cases[i].label, &cases[i].script, cases[i].spoilt, cases[i].text);
}

/* Takes and lets go of the disks, even though only the ledger failed. */
static void test_withdrawn_disks(void **state)
{
	const Script script = {LM_MESSAGE_DATA, 1, withdraw};
	g_auto(Ended) ended = {0};

	run_against(LM_ROLE_DESTINATION, &script, &ended);
	CHECK("disks", &ended, ended.notes.loaded == 1);
	CHECK("disks", &ended, ended.notes.activated == 1 && ended.notes.deactivated == 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_cases), TEST(test_withdrawn_disks)};

	return cmocka_run_group_tests_name("session-hostile-details", tests, NULL, NULL);
}
