# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest for the tests: it changes and verifies its memory all the time and counts what is wrong
# (tests/guest/guest.md). To be sourced, in the source's folder, with AUTOPKGTEST_TMP set.
set -eu

dir=$AUTOPKGTEST_TMP
socket=$dir/qmp
serial=$dir/serial
pid_file=$dir/pid

die() {
	echo "$*" >&2
	[ ! -e "$serial" ] || tail -n 3 "$serial" >&2
	exit 1
}

# Waits for a condition, at most 60 s: wait_for WHAT COMMAND...
wait_for() {
	what=$1
	shift
	for _ in $(seq 600); do
		"$@" && return
		sleep 0.1
	done
	die "no $what within 60 s"
}

# How often the guest has said that all of its memory is as it should be.
beats() {
	if grep -q '^ERROR' "$serial" || grep '^beat' "$serial" | grep -qv ' errors 0'; then
		die "the guest found an error in its memory"
	fi
	grep -c '^beat' "$serial" || true
}

has_beats() {
	[ "$(beats)" -ge "$1" ]
}

is_running() {
	[ -e "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status"
}

has_ended() {
	! is_running "$1"
}

# A QEMU as anyone would start it: it knows nothing of the plugin.
start_guest() {
	gcc -std=gnu11 -m32 -march=i686 -mno-sse -mno-mmx -O2 -ffreestanding -nostdlib -static \
		-fno-pic -fno-pie -fno-stack-protector -fno-asynchronous-unwind-tables \
		-fcf-protection=none -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,max-page-size=4096 \
		-Wl,-T,tests/guest/payload.ld tests/guest/payload.S tests/guest/payload.c \
		tests/guest/payload-high.c tests/guest/payload-hw.c -o "$dir/payload.elf"
	qemu-system-x86_64 -machine q35 -accel tcg -cpu qemu64 -m 64 -nodefaults -display none \
		-kernel "$dir/payload.elf" -append rate=8 -pidfile "$pid_file" \
		-chardev "file,id=serial,path=$serial" -serial chardev:serial \
		-qmp "unix:$socket,server=on,wait=off" &
	first=$!
	trap 'kill $first $(cat "$pid_file") 2>/dev/null || :' EXIT
	wait_for "guest" grep -qs '^beat' "$serial"
	wait_for "first beats" has_beats 5
}

# What "apt upgrade" does to the program that runs: the same name, another file.
replace_program() {
	program=$(command -v qemu-system-x86_64)
	cp -p "$program" "$program.dpkg-new"
	mv "$program.dpkg-new" "$program"
}

# The guest is in another process than $1, of the program that is installed, and goes on there.
expect_upgraded() {
	now=$(cat "$pid_file")
	[ "$now" != "$1" ] || die "the pid file names the old process"
	wait_for "end of the old process" has_ended "$1"
	is_running "$now" || die "process $now, which the pid file names, has ended"
	[ "$(stat -Lc %d:%i "/proc/$now/exe")" = "$(stat -Lc %d:%i "$program")" ] ||
		die "process $now does not run $program"
	before=$(beats)
	wait_for "beat after the upgrade" has_beats $((before + 10))
}
