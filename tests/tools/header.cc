// SPDX-License-Identifier: GPL-2.0-or-later
/* The public header in C++: it is compiled, linked and called. */
#include <qemu-live-upgrade.h>

#include <cstdio>
#include <cstring>

int main()
{
	QluUpgrade *upgrade = qlu_new();
	bool ok = qlu_run(upgrade) == QLU_USAGE && std::strstr(qlu_error(upgrade), "which QEMU");

	qlu_free(upgrade);
	std::printf("1..1\n%sok 1 - C++ calls %s\n", ok ? "" : "not ", qlu_version());
	return ok ? 0 : 1;
}
