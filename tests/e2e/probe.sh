# SPDX-License-Identifier: GPL-2.0-or-later
# `steelyard probe` as a user meets it: with and without /dev/kvm, without permission, with a device that is none of KVM's,
# its cache, its JSON, and that nothing of it lives on when it is killed.
. "$(dirname "$0")/lib.sh"

# probe NAME ARGS...: runs it; output in $work/out and $work/err, status in $status
probe() {
	timeout -k 5 60 "$STEELYARD" probe "$@" </dev/null >"$work/out" 2>"$work/err"
	status=$?
}
# says NAME PATTERN: the last run succeeded quietly and its output has such a line
says() {
	if [ "$status" -eq 0 ] && [ ! -s "$work/err" ] && grep -qE "$2" "$work/out"; then
		pass "$1"
	else
		fail "$1: status $status: $(head -n 2 "$work/err") $(grep -E '^(kvm|verdict|auto)' "$work/out" | cut -c1-200 | tr '\n' '|')"
	fi
}
# valid: is $work/out JSON? 2: nothing here can tell
valid() {
	if command -v python3 >/dev/null; then
		python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$work/out" 2>"$work/err"
	elif command -v jq >/dev/null; then
		jq . "$work/out" >/dev/null 2>"$work/err"
	else
		return 2
	fi
}
json_ok() {
	valid
	case $? in
	0) pass "$1" ;;
	2) skip "$1: neither python3 nor jq to read it with" ;;
	*) fail "$1: $(head -c 200 "$work/err")" ;;
	esac
}

# ---- options ----
probe --help
says "--help" '^  --quick'
probe --frobnicate
check "unknown option: status 2, one line" [ "$status" -eq 2 -a "$(wc -l <"$work/err")" -eq 1 -a ! -s "$work/out" ]
probe --kvm-device
check "--kvm-device without a file: status 2" [ "$status" -eq 2 ]

# ---- no KVM, in plain words ----
probe --ring3 --kvm-device "$work/nothing"
check "--ring3 without a device: status 1, one line" [ "$status" -eq 1 -a "$(wc -l <"$work/err")" -eq 1 ]
probe --kvm-device "$work/nothing"
says "no device: the verdict says so" '^verdict +unusable \(vendor: none\): there is no '
says "no device: auto takes bt" '^auto +bt: '
probe --json --kvm-device "$work/nothing"
says "no device: JSON says absent" '"access": "absent"'
json_ok "no device: JSON is JSON"
probe --kvm-device /dev/null
says "another device" '^verdict +unusable .*does not answer as KVM does'
: >"$work/file"
probe --kvm-device "$work/file"
says "a file" '^verdict +unusable .*does not answer as KVM does'
mkfifo "$work/fifo"
probe --kvm-device "$work/fifo"
says "a pipe does not hang it" '^verdict +unusable .*does not answer as KVM does'

# ---- no permission ----
# A device node that only root and a group may open, and a user who is neither.
if [ "$(id -u)" -ne 0 ] || ! command -v setpriv >/dev/null; then
	skip "no permission: needs root to be somebody else"
elif ! mknod "$work/kvm" c 10 232 2>"$work/err" || ! chgrp daemon "$work/kvm" || ! chmod 660 "$work/kvm"; then
	skip "no permission: no device node can be made here: $(cat "$work/err")"
else
	chmod 755 "$work"
	as_nobody() { timeout -k 5 60 setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
	# its own copy: the program's folder may be closed to others
	cp "$STEELYARD" "$work/steelyard" && chmod 755 "$work/steelyard"
	if ! as_nobody "$work/steelyard" --version >"$work/out" 2>"$work/err" </dev/null; then
		skip "no permission: nobody cannot run programs here"
	else
		as_nobody env XDG_CACHE_HOME=/nowhere "$work/steelyard" probe --kvm-device "$work/kvm" </dev/null >"$work/out" 2>"$work/err"
		status=$?
		says "no permission: which group" "^verdict +unusable .*may not open $work/kvm: join its group 'daemon' \\(usermod -aG daemon USER"
		as_nobody env XDG_CACHE_HOME=/nowhere "$work/steelyard" probe --json --kvm-device "$work/kvm" </dev/null >"$work/out" 2>"$work/err"
		status=$?
		says "no permission: JSON says denied" '"access": "denied"'
	fi
fi

# ---- a KVM that misbehaves: nothing hangs, and the verdict says what happened ----
if nm "$STEELYARD" 2>/dev/null | grep -q '__[at]san_init'; then
	skip "a KVM that misbehaves: a sanitizer's build takes no preloaded library"
elif ! gcc -O1 -D_GNU_SOURCE -shared -fPIC -o "$work/fakekvm.so" "$(dirname "$0")/fakekvm.c" 2>"$work/err"; then
	skip "a KVM that misbehaves: $(head -n 1 "$work/err")"
else
	fake() {
		local how=$1
		shift
		timeout -k 5 60 env LD_PRELOAD="$work/fakekvm.so" FAKEKVM="$how" "$STEELYARD" probe --fresh --kvm-device /dev/null "$@" \
			</dev/null >"$work/out" 2>"$work/err"
		status=$?
	}
	fake api
	says "an old interface: which version, which is needed" '^verdict +unusable .*version 11 .*12 is needed: this kernel is too old'
	# The same three for whoever runs a guest: in the words of the probe with --path kvm; auto has another path and says nothing
	printf '\xb0\x15\xe6\xf4' >"$work/exit21" # mov al, 21; out 0xf4, al
	fake_run() {
		local how=$1
		shift
		timeout -k 5 60 env LD_PRELOAD="$work/fakekvm.so" FAKEKVM="$how" "$STEELYARD" run --control none --serial none --memory 64M \
			--flat "$work/exit21@0x7c00" "$@" </dev/null >"$work/out" 2>"$work/err"
		status=$?
	}
	group=$(getent group 1 | cut -d: -f1)
	for row in "absent|there is no /dev/kvm|absent" "api|version 11 .*12 is needed: this kernel is too old|old" \
		"denied|may not open /dev/kvm: join its group '${group:-1}' \\(usermod -aG ${group:-1} USER|denied"; do
		IFS='|' read -r how words access <<<"$row"
		fake_run $how --path kvm
		check "run --path kvm, $how: status 1, one line that says so$(grep -qE "$words" "$work/err" || head -n 1 "$work/err")" \
			sh -c "[ $status -eq 1 ] && [ \$(wc -l <$work/err) -eq 1 ] && grep -qE \"$words\" $work/err && grep -q 'use --path auto' $work/err"
		fake_run $how
		check "run, $how: the guest runs, without a word" [ "$status" -eq 43 -a ! -s "$work/err" ]
		fake_run $how --json
		check "run --json, $how: says what KVM was" grep -q "\"access\":\"$access\"" "$work/err"
		fake_run $how --path bt --switch-after 0:kvm --json
		check "run --switch-after 0:kvm, $how: the guest runs on" [ "$status" -eq 43 ]
	done
	fake vm --quick
	says "no memory for a machine" '^real +unusable .*KVM_CREATE_VM: Cannot allocate memory'
	fake hang --quick
	if grep -q '^real  *not measured' "$work/out"; then
		skip "KVM_RUN takes no signal: this host is too busy to see that within a quick look"
	else
		says "KVM_RUN takes no signal: its process is killed" '^real +unusable .*KVM_RUN does not come back for a signal; its process had to be killed'
	fi
	fake hang
	says "the same, everything asked for" '^verdict +unusable .*unusable'
	# Stalls in one test after the other, one kind as the other: the time does not stretch, and nothing is left out in silence
	fake stall --quick
	says "stalls in several tests: an answer" '^verdict +unusable '
	check "stalls in several tests: what had no time says so ($(grep -c 'no time left' "$work/out") of them; $(sed -n 's/^measured .* in \(.*s\), .*/\1/p' "$work/out"))" \
		grep -q 'not measured: no time left' "$work/out"
	check "stalls in several tests: nothing late without a word" sh -c "! grep -q 'more were not tried' $work/out"
	# unknown, port, debug, hlt, MMIO, shutdown, entry failure, internal error, one that there is not
	for reason in 0 2 4 5 6 8 9 17 99; do
		fake $reason --quick
		says "exit reason $reason for ever" '^verdict +(unusable|partial) '
		check "exit reason $reason: nothing is native" [ "$(grep -cE '^(real|protected16|protected32|paging32|pae|long_ring0|long_ring3|compat|v86) +native' "$work/out")" -eq 0 ]
	done
fi

# ---- measured ----
if ! { : <>/dev/kvm; } 2>/dev/null; then
	skip "measurements: /dev/kvm cannot be opened here"
	finish
fi
probe --quick --json
says "quick: measured" '"measured": true'
json_ok "quick: JSON is JSON"
if ! grep -q '"complete": true' "$work/out"; then
	skip "the cache of a quick look: this host is too busy to finish one, and half of one is not kept"
else
	cp "$work/out" "$work/first"
	probe --quick --json
	says "quick again: from the cache" '"cached": true'
	grep -v '"cached"\|"available_bytes"' "$work/first" >"$work/a"
	grep -v '"cached"\|"available_bytes"' "$work/out" >"$work/b"
	check "the cache has the same verdict" cmp -s "$work/a" "$work/b"
fi
probe --quick --json --fresh
says "--fresh: measured" '"cached": false'
mkdir -p "$XDG_CACHE_HOME/steelyard"
echo '{"key":' >"$XDG_CACHE_HOME/steelyard/probe.json"
probe --quick --json
says "a damaged cache: measured" '"cached": false'
XDG_CACHE_HOME=/proc/nowhere probe --quick
says "no cache folder: measured" '^measured .* quick'
probe
says "full, although quick is in the cache" '^measured .* full'
check "a line for each mode" [ "$(grep -cE '^(real|protected16|protected32|paging32|pae|long_ring0|long_ring3|compat|v86) +(native|partial|unusable|not measured) ' "$work/out")" -eq 9 ]
probe --quick
says "quick is content with full" '^measured .* full.*; from this boot'

# What no measurement may decide: who makes guests run.
if grep -qwE 'vmx|svm' /proc/cpuinfo && [ -d /sys/module/kvm_intel -o -d /sys/module/kvm_amd ]; then
	check "vendor: flag and module are there" grep -qE '^verdict .*vendor: (VT-x|AMD-V)' "$work/out"
else
	check "vendor: no flag or no module, so software" grep -q '^verdict .*vendor: software' "$work/out"
	check "auto leaves a KVM made by software" grep -q '^auto  *bt:' "$work/out"
fi

# Killed in the middle, it leaves no process behind: they are in its session.
setsid "$STEELYARD" probe --fresh </dev/null >"$work/out" 2>&1 &
pid=$!
for i in $(seq 50); do
	[ "$(pgrep -s "$pid" | wc -l)" -ge 2 ] && break
	sleep 0.02
done
kill -KILL "$pid" 2>/dev/null
wait "$pid" 2>/dev/null
left=1
for i in $(seq 100); do
	left=$(pgrep -s "$pid" | wc -l)
	[ "$left" -eq 0 ] && break
	sleep 0.1
done
check "killed, it leaves nothing running" [ "$left" -eq 0 ]
finish
