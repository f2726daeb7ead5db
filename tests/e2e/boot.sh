# SPDX-License-Identifier: GPL-2.0-or-later
# The unmodified Debian kernel on every path: to init, through the workloads with the native checksums, to power-off.
. "$(dirname "$0")/lib.sh"

native_checksum() { "$GUEST/amd64/workloads" "$1" "$2" | cut -d' ' -f3; }
# same_checksums LABEL SCALE NAMES...: what the guest computed is what this host computes
same_checksums() {
	local label=$1 scale=$2 name got
	shift 2
	for name; do
		got=$(sed -n "s/.*RESULT $name \([0-9a-f]*\) .*/\1/p" "$work/$label.out")
		[ "$got" = "$(native_checksum "$name" "$scale")" ] && continue
		echo "     $name: guest ${got:-nothing}, native $(native_checksum "$name" "$scale")"
		return 1
	done
}
guest_fact() { sed -n "s/.*STEELYARD GUEST .*$2=\([^ ]*\).*/\1/p" "$work/$1.out"; }
# Between 80 % and all of MIB megabytes; small machines lose more to the kernel itself.
memory_near() {
	local kb
	kb=$(guest_fact "$1" memory_kb)
	[ -n "$kb" ] && [ "$kb" -le $(($2 * 1024)) ] && [ "$kb" -ge $(($2 * 1024 * ${3:-80} / 100)) ]
}

all=$("$GUEST/amd64/workloads" | cut -d' ' -f1)
run_list() { local s=$1 l=; shift; for n; do l=$l${l:+,}$n:$s; done; echo "steelyard.run=$l"; }

boot bt1 120 amd64 "$(run_list 5 $all) steelyard.poweroff" --path bt --memory 512M --cpus 1
check "bt: boots and powers off with status 0" booted bt1
check "bt: all workloads give the native checksums" same_checksums bt1 5 $all
check "bt: 512 MiB" memory_near bt1 512
many=$(for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do echo fib; echo strings; done)
boot many 120 amd64 "$(run_list 1 $many) steelyard.poweroff" --path bt --memory 512M --cpus 1
check "bt: forty processes in a row, none fails" [ "$(grep -c '^RESULT' "$work/many.out")" -eq 40 ]
boot bt2 120 amd64 "$(run_list 5 sieve hashtable) steelyard.poweroff" --path bt --memory 256M --cpus 2
check "bt, 2 vCPUs: boots" booted bt2
check "bt, 2 vCPUs: both are online" [ "$(guest_fact bt2 cpus)" = 2 ]
check "bt, 2 vCPUs: native checksums" same_checksums bt2 5 sieve hashtable
# In 64 MiB this kernel's own trace files leave no room for its start: it is told to do without them.
for m in 64 128 1024 3072 4096; do
	boot "m$m" 120 amd64 "$([ "$m" -gt 64 ] || echo initcall_blacklist=tracer_init_tracefs) steelyard.poweroff" --path bt --memory "${m}M" --cpus 1
	check "bt, $m MiB: boots" booted "m$m"
	check "bt, $m MiB: the guest sees it" memory_near "m$m" "$m" $((m < 128 ? 35 : m < 512 ? 60 : 90))
done

if [ -s "$GUEST/i386/initrd" ]; then
	all32=$("$GUEST/amd64/workloads" | cut -d' ' -f1)
	boot p32 180 i386 "$(run_list 5 $all32) steelyard.poweroff" --path bt --memory 512M --cpus 1
	check "bt, Debian 686: boots" booted p32
	check "bt, Debian 686: it is 32-bit" grep -q 'machine=i686' "$work/p32.out"
	check "bt, Debian 686: native checksums" same_checksums p32 5 $all32
	boot p32m 180 i386 "steelyard.poweroff" --path bt --memory 64M --cpus 1
	check "bt, Debian 686 in 64 MiB: boots" booted p32m
else
	skip "Debian 686: no i386 guest files"
fi

boot in1 500 amd64 "$(run_list 1 sieve fib sha256 quicksort interp hashtable matmul strings) steelyard.poweroff" --path interp --memory 256M --cpus 1
check "interp: boots and powers off with status 0" booted in1
check "interp: native checksums" same_checksums in1 1 sieve fib sha256 quicksort interp hashtable matmul strings

# A kernel without a root panics and resets the machine, again and again: nothing of a boot may be left for the next one.
again() { # CPUS
	timeout -k 5 60 "$STEELYARD" run --path bt --cpus "$1" --kernel "$GUEST/amd64/vmlinuz" --append "console=ttyS0 panic=-1 nokaslr" \
		--serial "file:$work/again" --timeout 15 2>"$work/again.err" </dev/null
	[ "$(grep -ac 'Linux version' "$work/again")" -ge 3 ] && ! grep -aE 'BUG:|Oops|general protection|WARNING:' "$work/again"
}
check "bt: many resets, every boot as the first" again 1
check "bt, 2 vCPUs: many resets, every boot as the first" again 2
finish
