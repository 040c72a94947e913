/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libvirt-host.h"
int main(void) { return 0; }
