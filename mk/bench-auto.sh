#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# bench-auto.sh STEELYARD GUEST PAIRS OUT
#
# What does `--path auto` cost over the path that it takes? Each round runs the same boot and two workloads four times, in an
# order that changes: the path itself twice (the second is the control), auto with the probe's verdict in the cache, and auto
# with no cache. Taken is the CPU time of the whole process, children included. Prints the geometric mean of the ratios in
# pairs with a 95 % interval (Student's t on their logarithms); OUT gets the times, one line a run.
#
# On a loaded host that interval is wider than what is looked for. So the same is done with a guest of two instructions, ten
# starts a sample: there the difference is nearly all there is, and is given in milliseconds a start.
set -eu
steelyard=$1 guest=$2 pairs=$3 out=$4
work=$(mktemp -d "${TMPDIR:-/tmp}/steelyard-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
TIMEFORMAT='%U %S'
export XDG_CACHE_HOME=$work/cache

path=$("$steelyard" probe --quick --json </dev/null | sed -n '/^  "auto"/,/}/s/.*"path": "\([a-z]*\)".*/\1/p')
[ -n "$path" ] || { echo "bench-auto: the probe does not say what auto takes" >&2; exit 1; }

printf '\xb0\x15\xe6\xf4' >"$work/tiny" # mov al, 21; out 0xf4, al
tiny() { # PATH CACHE
	for i in 1 2 3 4 5 6 7 8 9 10; do
		XDG_CACHE_HOME=$2 "$steelyard" run --path $1 --control none --serial none --memory 64M --flat "$work/tiny@0x7c00" </dev/null 2>/dev/null ||
			[ $? -eq 43 ]
	done
}
one() { # KIND
	local cache=$work/cache p=auto t
	case $1 in
	path | control) p=$path ;;
	uncached) cache=$work/empty && rm -rf "$cache" ;;
	esac
	t=$({ time tiny $p "$cache"; } 2>&1)
	echo "tiny-$1 $t"
	t=$({ time XDG_CACHE_HOME=$cache "$steelyard" run --path $p --control none --kernel "$guest/amd64/vmlinuz" \
		--initrd "$guest/amd64/initrd" --append "console=ttyS0 quiet panic=-1 steelyard.run=sieve:5,sha256:5 steelyard.poweroff" \
		--timeout 120 </dev/null >"$work/out" 2>"$work/err"; } 2>&1) || { echo "bench-auto: a run failed: $(tail -n 1 "$work/err")" >&2; exit 1; }
	grep -q 'RESULT sha256' "$work/out" || { echo "bench-auto: no result in the output" >&2; exit 1; }
	echo "$1 $t"
}
: >"$out"
for ((n = 0; n < pairs; n++)); do
	for kind in $(printf '%s\n' path control cached uncached | shuf); do one $kind; done |
		awk -v n="$n" '{ print n, $1, $2 + $3 }' >>"$out"
	[ "$(grep -c "^$n " "$out")" -eq 8 ]
done
awk -v path="$path" '
	{ t[$1, $2] = $3; if ($1 >= n) n = $1 + 1 }
	# auto is held against the mean of the two runs of the path, the control against the first
	function of(kind, i, k) { return kind == "control" ? t[i, k "path"] : sqrt(t[i, k "path"] * t[i, k "control"]) }
	function row(kind, what,    i, x, sum, sq, m, s, h) {
		for (i = 0; i < n; i++) { x = log(t[i, kind] / of(kind, i, "")); sum += x; sq += x * x }
		m = sum / n
		s = sqrt((sq - n * m * m) / (n - 1) / n)
		h = (1.96 + 2.4 / (n - 1)) * s # t(0.975) to a hundredth from 10 pairs on
		printf "%-34s %.4f  [%.4f, %.4f]\n", what, exp(m), exp(m - h), exp(m + h)
	}
	function start(kind, what,    i, x, sum, sq, m, s) { # ms a start
		for (i = 0; i < n; i++) { x = (t[i, "tiny-" kind] - of(kind, i, "tiny-")) * 1000 / 10; sum += x; sq += x * x }
		m = sum / n
		s = (1.96 + 2.4 / (n - 1)) * sqrt((sq - n * m * m) / (n - 1) / n)
		printf "%-34s %+.3f  [%+.3f, %+.3f] ms a start\n", what, m, m - s, m + s
	}
	END {
		for (i = 0; i < n; i++) mean += t[i, "path"] / n
		printf "auto takes %s here; %d pairs, %.2f s of CPU time a run\n", path, n, mean
		row("control", path " again (control)")
		row("cached", "auto, verdict in the cache")
		row("uncached", "auto, no cache")
		start("control", path " again (control)")
		start("cached", "auto, verdict in the cache")
		start("uncached", "auto, no cache")
	}' "$out"
