#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# san.sh limits SAN                       prints what the sanitizers of SAN leave out, and why (mk/san.tbl)
# san.sh suites BUILD CHECKDIR IMAGES GUEST
#                                         runs the suites of make check's sanitizer stage with the programs under BUILD; guest
#                                         programs are in IMAGES, Debian's kernel in GUEST; logs and the summary in CHECKDIR
#
# The suites are those of mk/check.mk, shorter: everything that is C code of ours once, on both paths, not everything that
# the guest's instructions can do. Left out: guests and tests that only wait, and what compares pages with the program.
set -u
what=$1
shift

case $what in
limits)
	sed '/^#/d' mk/san.tbl | while IFS='|' read -r sans thing why; do
		for s in $(echo "$1" | tr ',' ' '); do
			case ",$(echo "$sans" | tr -d ' ')," in
			*,"$s",*)
				echo "SKIP $1:$thing because $why" | tr -s ' '
				break
				;;
			esac
		done
	done
	;;
suites)
	build=$1 dir=$2 images=$3 guest=$4
	run() { sh mk/check.sh "$dir" run "san/$@"; }

	# LeakSanitizer stops the other threads as a debugger would; not every host lets it.
	if "$build/tests/unit/test_eval_stats" 2>&1 | grep -q 'LeakSanitizer has encountered a fatal error'; then
		echo "SKIP address: leaks because this host does not let a process trace itself (ptrace)"
		ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0
		export ASAN_OPTIONS
	fi
	for t in "$build"/tests/unit/test_*; do
		case $t in *.[od]) continue ;; esac
		run "unit/$(basename "$t")" 300 "$t"
	done
	run diff 300 "$build/tests/diff/diff" --n 200000
	run fuzz 300 "$build/tests/fuzz/replay"
	guests=$(awk '!/^#/ && NF && $1 !~ /^hang_/ { print $1 }' tests/guest/guests.tbl)
	LOG=$dir/san_guest-output.log run guest 600 sh tests/guest/run.sh "$build/steelyard" "$images" "interp bt:0" $guests
	STEELYARD=$build/steelyard GUEST=$guest TOOLS=$images/../e2e
	export STEELYARD GUEST TOOLS
	for t in badinput shell; do
		run "e2e/$t" 600 bash tests/e2e/$t.sh
	done
	;;
esac
