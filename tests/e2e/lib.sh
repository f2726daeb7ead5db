# SPDX-License-Identifier: GPL-2.0-or-later
# What every end-to-end test shares. STEELYARD, GUEST and TOOLS say where the program, the guest files and pty are;
# without them, what is under build/.
set -u
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
STEELYARD=${STEELYARD:-$top/build/steelyard}
GUEST=${GUEST:-$top/build/guest}
TOOLS=${TOOLS:-$top/build/tests/e2e}
work=$(mktemp -d "${TMPDIR:-/tmp}/steelyard-e2e.XXXXXX")
export XDG_CACHE_HOME=$work/cache # nothing of a test stays in the home folder
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

pass() { passed=$((passed + 1)); echo "ok   $*"; }
fail() { failed=$((failed + 1)); echo "FAIL $*"; }
skip() { skipped=$((skipped + 1)); echo "SKIP $*"; }
# check NAME CONDITION...: a command that must succeed
check() {
	local name=$1
	shift
	if "$@"; then pass "$name"; else fail "$name"; fi
}
finish() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ]
	exit
}
# path_works PATH: can this host and this build run it?
path_works() {
	case $1 in
	bt | interp) return 0 ;;
	*) return 1 ;;
	esac
}
# boot LABEL SECONDS WORDS ARGS...: boots the Debian kernel; output in $work/LABEL.out, status in $status
boot() {
	local label=$1 seconds=$2 arch=$3 words=$4
	shift 4
	timeout -k 5 $((seconds + 20)) "$STEELYARD" run --kernel "$GUEST/$arch/vmlinuz" --initrd "$GUEST/$arch/initrd" \
		--append "console=ttyS0 quiet panic=-1 $words" --serial stdio --timeout "$seconds" "$@" \
		</dev/null >"$work/$label.raw" 2>"$work/$label.err"
	status=$?
	tr -d '\r' <"$work/$label.raw" >"$work/$label.out"
}
# booted LABEL: init ran to its end and the power-off ended the process with status 0
booted() {
	grep -q 'STEELYARD INIT' "$work/$1.out" && grep -q 'STEELYARD END' "$work/$1.out" && [ "$status" -eq 0 ] && return 0
	echo "     status $status; $(tail -n 3 "$work/$1.out" | tr '\n' '|') $(tail -n 3 "$work/$1.err")"
	return 1
}
# ---- guests of the device tests ----
# devices_initrd: $work/initrd with devices.guest in it; 1: the guest files are not there
devices_initrd() {
	[ -s "$GUEST/amd64/devices.cpio" ] || return 1
	cat "$GUEST/amd64/initrd" "$GUEST/amd64/devices.cpio" >"$work/initrd"
}
# start LABEL WORDS ARGS...: devices.guest does WORDS, joined by +, in the background; its pid is in $pid. in_ns: a command in front
in_ns=
start() {
	local label=$1 words=$2
	shift 2
	timeout -k 5 240 $in_ns "$STEELYARD" run --kernel "$GUEST/amd64/vmlinuz" --initrd "$work/initrd" --control none --timeout 220 \
		--append "console=ttyS0 quiet panic=-1 steelyard.exec=/bin/devices+$words steelyard.poweroff" "$@" \
		</dev/null >"$work/$label.raw" 2>"$work/$label.err" &
	pid=$!
}
# stop LABEL [PID]: waits for its end; output in $work/LABEL.out, status in $status
stop() {
	wait "${2:-$pid}"
	status=$?
	tr -d '\r' <"$work/$1.raw" >"$work/$1.out"
}
guest() { start "$@"; stop "$1" "$pid"; }
# clean LABEL: it went through, nothing failed, the kernel complains of nothing
clean() {
	[ "$status" -eq 0 ] && grep -q 'DEVICES DONE' "$work/$1.out" && ! grep -qE '^DEVICE .*failed|^BAD ' "$work/$1.out" && return 0
	echo "     status $status; $(grep -E '^DEVICE .*failed|^BAD ' "$work/$1.out" | head -n 3 | tr '\n' '|') $(tail -n 2 "$work/$1.err")"
	return 1
}
# said LABEL TEXT: waits until the guest has said it
said() {
	for _ in $(seq 600); do
		grep -qa "$2" "$work/$1.raw" && return 0
		kill -0 "$pid" 2>/dev/null || return 1
		sleep 0.2
	done
	return 1
}
# refused NAME STATUS ARGS...: ends with one line before there is a guest
refused() {
	local name=$1 want=$2
	shift 2
	guest bad list "$@"
	check "$name" [ "$status" -eq "$want" -a "$(wc -l <"$work/bad.err")" -eq 1 -a ! -s "$work/bad.raw" ]
}
# child PID: the machine that timeout runs
child() { pgrep -P "$1" -x steelyard; }
