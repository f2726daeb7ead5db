#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# check.sh DIR run LABEL SECONDS COMMAND...   runs one suite, keeps its output in DIR/LABEL.log, prints its line
# check.sh DIR total                          prints the total; fails when anything failed
#
# A suite says "N passed, M failed[, K skipped]" in its last such line; SKIP lines count when it does not say K. One that
# says nothing counts as one test by its exit status. A suite that fails as a process has at least one failure.
#
# CHECK_RETRIES=N runs a suite that failed up to N times more: on a host that others use, a guest may get no processor for seconds. Each
# failed try is printed as such, with what failed, and its log stays (LABEL.try1.log); the total says how many suites needed one.
set -u
dir=$1 what=$2
shift 2
mkdir -p "$dir"

count() { # -> passed, failed, skipped
	line=$(grep -aoE '[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?' "$log" | tail -n 1)
	if [ -n "$line" ]; then
		passed=$(echo "$line" | cut -d' ' -f1)
		failed=$(echo "$line" | cut -d' ' -f3)
		skipped=$(echo "$line" | sed -n 's/.*, \([0-9]*\) skipped/\1/p')
		[ -n "$skipped" ] || skipped=$(grep -ac '^SKIP' "$log")
		[ "$status" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
	else
		passed=0 failed=0 skipped=$(grep -ac '^SKIP' "$log")
		if [ "$status" -ne 0 ]; then failed=1; elif [ "$skipped" -eq 0 ]; then passed=1; fi
	fi
}
case $what in
run)
	label=$1 seconds=$2
	shift 2
	name=$dir/$(echo "$label" | tr '/ ' '__')
	log=$name.log
	for try in $(seq $((${CHECK_RETRIES:-0} + 1))); do
		timeout -k 10 "$seconds" "$@" >"$log" 2>&1 </dev/null
		status=$?
		count
		[ "$failed" -gt 0 ] && [ "$try" -le "${CHECK_RETRIES:-0}" ] || break
		cp "$log" "$name.try$try.log"
		sed 's/^/     /; s/^     FAIL/RETRY/' "$log" | grep -aB2 '^RETRY' | head -n 30
		echo "RETRY $label: $failed failed, status $status; see $name.try$try.log"
		echo "$label" >>"$dir/retries"
	done
	grep -a '^SKIP' "$log" | head -n 10
	grep -aB2 '^FAIL' "$log" | grep -a '^FAIL\|^     ' | head -n 40 # the lines before it often say why
	[ "$status" -ne 124 ] || echo "FAIL $label: no end within $seconds s"
	[ "$failed" -eq 0 ] || echo "     see $log (status $status)"
	echo "$label: $passed passed, $failed failed$([ "$skipped" -eq 0 ] || echo ", $skipped skipped")"
	echo "$passed $failed $skipped" >>"$dir/summary"
	;;
total)
	[ ! -s "$dir/retries" ] || echo "run again after a failure: $(sort "$dir/retries" | uniq -c | awk '{ printf "%s%s (%d)", n++ ? ", " : "", $2, $1 }')"
	[ -s "$dir/summary" ] || { echo "total: no test ran"; exit 1; }
	awk '{ p += $1; f += $2; s += $3 } END { printf "total: %d passed, %d failed, %d skipped\n", p, f, s; exit f > 0 || p == 0 }' "$dir/summary"
	;;
esac
