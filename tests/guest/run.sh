#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs every guest of guests.tbl on every path: run.sh STEELYARD FOLDER [PATHS [GUEST...]]
# bt:N is bt that interprets code N times before it translates it (--bt-cold).
# FOLDER holds the built images; LOG, from the environment, takes the output (else FOLDER/run.log). Prints one line each,
# "N passed, M failed, K skipped" last. A guest whose only status is 1 also has to print "pass": a failure of the host is 1 too.
# With ROWS=FOLDER in the environment, FOLDER/guest.PATH.NAME tells which rows of the instruction tables each guest executed
# (not on kvm, and bt translates at once then).
# For hosts that are themselves emulated: SLOW=N waits N times as long, KNOWN="FILE..." have lines as qemu.txt, and a guest of
# those that fails at that very case has done what it can there. KVM_ARGS: more arguments for kvm.
# A status of 128 and more is a signal, that is, a crash of the host process: never accepted. A guest that a garbage program
# has brought to the debug exit with some other value shows an odd status below 128: accepted where 3 is.
steelyard=$1
images=$2
paths=${3:-interp bt:0 bt:3}
[ $# -ge 3 ] && shift 3 || shift $#
wanted="$*"
here=$(dirname "$0")
passed=0 failed=0 skipped=0
log=${LOG:-$images/run.log}
: >"$log"

accepted() { # status list
	case ",$2," in
	*,"$1",*) return 0 ;;
	esac
	case ",$2," in
	*,3,*) [ "$1" -lt 128 ] && [ $(($1 % 2)) -eq 1 ] && return 0 ;;
	esac
	return 1
}

# A KVM without VT-x or AMD-V is used all the same, but not for what it is known to get wrong (kvm.txt).
native_kvm() { grep -qwE 'vmx|svm' /proc/cpuinfo && { [ -d /sys/module/kvm_intel ] || [ -d /sys/module/kvm_amd ]; }; }
kvm_lacks() {
	sed -n "s/^$1  *skip  *//p" ${KNOWN:-/dev/null}
	native_kvm || sed -n "s/^$1  *//p" "$here/kvm.txt"
}

# The guests say the same on COM1 and on port 0xe9, whose bytes wait for each other's line: in one stream they could mix.
said() {
	{ printf '%s\n' "$out"; cat "$log.debugcon"; echo; } | tr -cd '\11\12\40-\176' | tail -n 5 | sed 's/^/     /'
}

# Did the guest stop at the case that KNOWN has for it?
known_case() {
	for k in $(sed -n "s/^$1  *case \([0-9A-F]*H*\)  .*/\1/p" ${KNOWN:-/dev/null}); do
		case $k in
		*H) n=$((0x${k%H})) ;;
		*) n=$k ;;
		esac
		said | grep -q "FAIL case $(printf %08x "$n")" || continue
		known=$(sed -n "s/^$1  *\(case $k  .*\)/\1/p" $KNOWN)
		return 0
	done
	return 1
}

run_one() { # name cpus timeout statuses path what
	trust=
	if [ "$5" = kvm ]; then
		trust=--kvm-trust
		if [ ! -w /dev/kvm ]; then
			echo "SKIP $1 kvm: no /dev/kvm that we may open"
			skipped=$((skipped + 1))
			return
		fi
		why=$(kvm_lacks "$1")
		if [ -n "$why" ]; then
			echo "SKIP $1 kvm: $why"
			skipped=$((skipped + 1))
			return
		fi
	fi
	image=$images/$1.elf
	if [ ! -f "$image" ]; then
		echo "SKIP $1 $5: not built"
		skipped=$((skipped + 1))
		return
	fi
	case $5 in
	*:*) set -- "$1" "$2" "$3" "$4" "$5" "$6" --bt-cold "${5#*:}" ;;
	esac
	name=$1 cpus=$2 limit=$3 statuses=$4 label=$5 what=$6
	shift 6
	case ,$statuses, in
	*,124,*) ;;
	*) limit=$((limit * ${SLOW:-1})) ;;
	esac
	[ "$label" != kvm ] || set -- "$@" ${KVM_ARGS:-}
	out=$(timeout -k 5 $((limit + 30)) "$steelyard" run --path "${label%%:*}" "$@" --cpus "$cpus" --memory 64M --multiboot "$image" \
		--debug-exit 0xf4 --no-reboot --serial stdio --debugcon "file:$log.debugcon" --timeout "$limit" $trust \
		${ROWS:+--insn-rows "$ROWS/guest.${label%%:*}.$name"} </dev/null 2>&1)
	status=$?
	if known_case "$name"; then
		echo "ok   $name $label, to where this host itself is wrong: $known"
		passed=$((passed + 1))
	elif [ "$statuses" = 1 ] && ! said | grep -q "pass\$"; then
		echo "FAIL $name $label: status $status without \"pass\" ($what)"
		said
		failed=$((failed + 1))
	elif accepted "$status" "$statuses"; then
		echo "ok   $name $label"
		passed=$((passed + 1))
	else
		echo "FAIL $name $label: status $status, expected $statuses ($what)"
		said
		failed=$((failed + 1))
	fi
	printf '== %s %s: %s\n%s\n' "$name" "$label" "$status" "$out" >>"$log"
	tr -cd '\11\12\40-\176' <"$log.debugcon" >>"$log"
}

# A path that this host or this build has not says so in one line, with status 1; "mov al, 21; out 0xf4, al" would be 43.
usable=
for path in $paths; do
	if [ "$path" = kvm ]; then # run_one knows
		usable="$usable kvm"
		continue
	fi
	printf '\260\025\346\364' >"$log.bin"
	why=$(timeout 20 "$steelyard" run --path "${path%%:*}" --flat "$log.bin@0x7c00" --serial none --timeout 10 </dev/null 2>&1)
	if [ $? -eq 1 ]; then
		echo "SKIP guests on $path because ${why#steelyard: }"
		skipped=$((skipped + 1))
	else
		usable="$usable $path"
	fi
done
rm -f "$log.bin"
: >"$log.debugcon"
while read -r name cpus limit statuses what; do
	case $name in
	'' | '#'*) continue ;;
	esac
	if [ -n "$wanted" ]; then
		case " $wanted " in
		*" $name "*) ;;
		*) continue ;;
		esac
	fi
	for path in $usable; do
		run_one "$name" "$cpus" "$limit" "$statuses" "$path" "$what"
	done
done <"$here/guests.tbl"
rm -f "$log.debugcon"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
