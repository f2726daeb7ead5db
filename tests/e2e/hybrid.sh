# SPDX-License-Identifier: GPL-2.0-or-later
# The hybrid path, where /dev/kvm runs 64-bit ring 3 directly: a guest that leaves ring 3 in every way there is, and Debian's
# userland with one and two vCPUs: native checksums, and stays in ring 3 that did happen.
. "$(dirname "$0")/lib.sh"

images=$(dirname "$STEELYARD")/tests/guest
counter() { sed -n "s/.*\"$2\":\([0-9]*\).*/\1/p" "$work/$1.err"; } # LABEL NAME
native_checksum() { "$GUEST/amd64/workloads" "$1" "$2" | awk '$1 == "RESULT" { print $3 }'; }
same_checksums() { # LABEL SCALE NAMES...
	local label=$1 scale=$2 name got
	shift 2
	for name; do
		got=$(sed -n "s/.*RESULT $name \([0-9a-f]*\) .*/\1/p" "$work/$label.out" | sort -u)
		[ -n "$got" ] && [ "$got" = "$(native_checksum "$name" "$scale")" ] && continue
		echo "     $name: guest ${got:-nothing}, native $(native_checksum "$name" "$scale")"
		return 1
	done
}
run_list() { local s=$1 l=; shift; for n; do l=$l${l:+,}$n:$s; done; echo "steelyard.run=$l"; }

# Without the path: one line that says what to do, whatever the host has.
"$STEELYARD" run --path hybrid --flat /dev/null@0x7c00 --serial none >"$work/out" 2>"$work/err" </dev/null
check "an empty program: status 1, one line" [ $? -eq 1 -a "$(wc -l <"$work/err")" -eq 1 ]

printf '\260\025\346\364' >"$work/exit.bin"
timeout 60 "$STEELYARD" run --path hybrid --flat "$work/exit.bin@0x7c00" --serial none --timeout 30 >"$work/out" 2>"$work/err" </dev/null
status=$?
if [ "$status" -eq 1 ]; then
	check "a host that cannot says so and what to do" grep -q 'use --path bt' "$work/err"
	skip "hybrid: $(cat "$work/err")"
	finish
fi
check "a program of real mode" [ "$status" -eq 43 ]

timeout 100 "$STEELYARD" run --path hybrid --hybrid-eager --memory 64M --multiboot "$images/ring3.elf" --serial stdio --debugcon none --timeout 80 --json \
	>"$work/ring3.out" 2>"$work/ring3.err" </dev/null
check "ring3.S: every way out of ring 3" [ $? -eq 1 -a "$(tr -d '\r' <"$work/ring3.out")" = pass ]
for kind in stays fills syscalls faults exceptions traps code stores; do
	check "ring3.S: hybrid_$kind ($(counter ring3 hybrid_$kind))" [ "$(counter ring3 hybrid_$kind)" -gt 0 ]
done
check "ring3.S: KVM was never stuck" [ "$(counter ring3 hybrid_broken)" -eq 0 ]

names="sha256 sieve x87 matavx2 fork pingpong signal thread smc jitsmall mmap"
for n in 1 2; do
	boot "debian$n" 240 amd64 "$(run_list 8 $names) steelyard.poweroff" --path hybrid --cpus $n --memory 256M --json
	check "Debian, $n vCPUs: boots and powers off" booted "debian$n"
	check "Debian, $n vCPUs: native checksums" same_checksums "debian$n" 8 $names
	check "Debian, $n vCPUs: ring 3 ran directly ($(counter "debian$n" hybrid_stays) stays)" [ "$(counter "debian$n" hybrid_stays)" -gt 0 ]
	check "Debian, $n vCPUs: KVM was never stuck" [ "$(counter "debian$n" hybrid_broken)" -eq 0 ]
done
boot eager 240 amd64 "$(run_list 2 $names) steelyard.poweroff" --path hybrid --hybrid-eager --cpus 2 --memory 256M --json
check "Debian, whenever it may: boots and powers off" booted eager
check "Debian, whenever it may: native checksums" same_checksums eager 2 $names
check "Debian, whenever it may: a thousand stays ($(counter eager hybrid_stays))" [ "$(counter eager hybrid_stays)" -ge 1000 ]
boot changing 240 amd64 "$(run_list 5 sha256 sieve matavx2 x87 fork) steelyard.poweroff" --path hybrid --cpus 2 --memory 256M --json \
	--switch-every "20:hybrid,bt,interp:3"
check "to and fro between hybrid, bt and interp: boots and powers off" booted changing
check "to and fro between hybrid, bt and interp: native checksums" same_checksums changing 5 sha256 sieve matavx2 x87 fork
finish
