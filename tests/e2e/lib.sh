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
