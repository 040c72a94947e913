/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Both processes map one page of a memfd. Sealed against shrinking, or a peer could make our
 * access a SIGBUS; and against more seals, or a peer could take away the right to write. The word
 * moves once, by compare-and-swap, away from OFFERED; the kernel is not asked, so there is no
 * call that may fail between the decision and its record. A value that is none of the three (a
 * broken peer wrote it) cannot be taken, but it can be withdrawn: the source has the VM then.
 */
#include "ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "memfd.h"

#define LEDGER_BYTES 4096
#define LEDGER_MAGIC 0x4c4d4c51u /* "QLML" */
#define LEDGER_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* Native byte order: both processes are on this host. */
typedef struct LedgerPage {
	guint32 magic;
	guint32 owner; /* LmOwner; __atomic */
} LedgerPage;

G_STATIC_ASSERT(sizeof(LedgerPage) == 8);
G_STATIC_ASSERT(sizeof(LedgerPage) <= LEDGER_BYTES);

struct LmLedger {
	int fd;
	LedgerPage *page;
};

/* A ledger that owns a duplicate of @fd and its mapping. */
static LmLedger *map_ledger(int fd, GError **errp)
{
	g_autoptr(LmLedger) ledger = g_new0(LmLedger, 1);
	void *page;

	ledger->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (ledger->fd < 0) {
		lm_fail_errno(errp, LM_ERROR_FAILED, errno, "cannot duplicate the ledger");
		return NULL;
	}
	page = mmap(NULL, LEDGER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, ledger->fd, 0);
	if (page == MAP_FAILED) {
		lm_fail_errno(errp, LM_ERROR_FAILED, errno, "cannot map the ledger");
		return NULL;
	}
	ledger->page = page;
	return g_steal_pointer(&ledger);
}

static LmLedger *set_up(int fd, GError **errp)
{
	g_autoptr(LmLedger) ledger = NULL;

	if (ftruncate(fd, LEDGER_BYTES) < 0) {
		lm_fail_errno(errp, LM_ERROR_FAILED, errno, "cannot size the ledger");
		return NULL;
	}
	ledger = map_ledger(fd, errp);
	if (!ledger)
		return NULL;
	ledger->page->magic = LEDGER_MAGIC;
	__atomic_store_n(&ledger->page->owner, LM_LEDGER_OFFERED, __ATOMIC_SEQ_CST);
	if (fcntl(fd, F_ADD_SEALS, LEDGER_SEALS) < 0) {
		lm_fail_errno(errp, LM_ERROR_FAILED, errno, "cannot seal the ledger");
		return NULL;
	}
	return g_steal_pointer(&ledger);
}

LmLedger *lm_ledger_new(GError **errp)
{
	const int fd = lm_memfd_new("localhost-migrate-ledger", "memfd-ledger");
	LmLedger *ledger;

	if (fd < 0) {
		lm_fail_errno(errp, LM_ERROR_FAILED, errno, "cannot create the ledger");
		return NULL;
	}
	ledger = set_up(fd, errp);
	close(fd);
	return ledger;
}

static int check_file(int fd, GError **errp)
{
	/* Before the size: what cannot shrink keeps it. */
	const int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (fstat(fd, &st) < 0)
		return lm_fail_errno(errp, LM_ERROR_PROTOCOL, errno, "cannot examine the ledger");
	if (!S_ISREG(st.st_mode) || seals < 0)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO, "the peer's ledger is no memfd");
	if (st.st_size != LEDGER_BYTES) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "the peer's ledger has %lld bytes instead of %d",
			       (long long)st.st_size, LEDGER_BYTES);
	}
	if ((seals & LEDGER_SEALS) != LEDGER_SEALS) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "the peer's ledger has seals 0x%x, and needs 0x%x", seals,
			       LEDGER_SEALS);
	}
	return 0;
}

LmLedger *lm_ledger_open(int fd, GError **errp)
{
	g_autoptr(LmLedger) ledger = NULL;

	if (check_file(fd, errp) < 0)
		return NULL;
	ledger = map_ledger(fd, errp);
	if (!ledger)
		return NULL;
	if (ledger->page->magic != LEDGER_MAGIC) {
		lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			"the peer's ledger begins with 0x%08x, not 0x%08x", ledger->page->magic,
			LEDGER_MAGIC);
		return NULL;
	}
	return g_steal_pointer(&ledger);
}

int lm_ledger_fd(LmLedger *ledger)
{
	return ledger->fd;
}

/* On failure *@was is what the word is instead. */
static gboolean swap(LmLedger *ledger, guint32 *was, LmOwner owner)
{
	return __atomic_compare_exchange_n(&ledger->page->owner, was, owner, FALSE,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

gboolean lm_ledger_take(LmLedger *ledger)
{
	guint32 was = LM_LEDGER_OFFERED;

	return swap(ledger, &was, LM_LEDGER_TAKEN) || was == LM_LEDGER_TAKEN;
}

gboolean lm_ledger_withdraw(LmLedger *ledger)
{
	guint32 was = LM_LEDGER_OFFERED;

	while (was != LM_LEDGER_TAKEN && was != LM_LEDGER_WITHDRAWN)
		if (swap(ledger, &was, LM_LEDGER_WITHDRAWN))
			return TRUE;
	return was == LM_LEDGER_WITHDRAWN;
}

LmOwner lm_ledger_read(LmLedger *ledger)
{
	return (LmOwner)__atomic_load_n(&ledger->page->owner, __ATOMIC_SEQ_CST);
}

void lm_ledger_free(LmLedger *ledger)
{
	if (!ledger)
		return;
	if (ledger->page)
		munmap(ledger->page, LEDGER_BYTES);
	if (ledger->fd >= 0)
		close(ledger->fd);
	g_free(ledger);
}
