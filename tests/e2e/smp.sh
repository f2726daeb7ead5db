# SPDX-License-Identifier: GPL-2.0-or-later
# Linux with two and four processors: threads, processes, futexes, pipes and mappings that change under running threads give
# the native checksums, every processor is online; the evaluation that compares one processor with two runs.
. "$(dirname "$0")/lib.sh"

group() { "$GUEST/amd64/workloads" | awk -v g="$1" '$2 == g { print $1 }'; }
run_list() { local s=$1 l=; shift; for n; do l=$l${l:+,}$n:$s; done; echo "steelyard.run=$l"; }
# same_checksums LABEL SCALE ARCH NAMES...: what the guest computed is what this host computes
same_checksums() {
	local label=$1 scale=$2 arch=$3 name got want
	shift 3
	for name; do
		got=$(sed -n "s/.*RESULT $name \([0-9a-f]*\) .*/\1/p" "$work/$label.out")
		want=$("$GUEST/$arch/workloads" "$name" "$scale" | awk '$1 == "RESULT" { print $3 }')
		[ -n "$got" ] && [ "$got" = "$want" ] && continue
		echo "     $name: guest ${got:-nothing}, native $want"
		return 1
	done
}
online() { [ "$(sed -n 's/.*STEELYARD GUEST .*cpus=\([0-9]*\) .*/\1/p' "$work/$1.out")" = "$2" ]; }

all="$(group smp) $(group os)"
for n in 2 4; do
	boot "bt$n" 240 amd64 "$(run_list 8 $all) steelyard.poweroff" --path bt --memory 512M --cpus $n
	check "bt, $n vCPUs: boots and powers off" booted "bt$n"
	check "bt, $n vCPUs: all are online" online "bt$n" $n
	check "bt, $n vCPUs: native checksums" same_checksums "bt$n" 8 amd64 $all
done
# Everything at once: more processes than processors, all of them busy with different things.
words=$(for w in $(group smp) fork mmap signal thread handover; do printf 'workloads+%s+6+>/tmp/%s&' "$w" "$w"; done)
boot mixed 240 amd64 "steelyard.exec=cd+/tmp;${words}wait;cat+/tmp/[a-z]* steelyard.poweroff" --path bt --memory 512M --cpus 2
check "bt, 2 vCPUs: eleven programs at the same time" booted mixed
check "bt, 2 vCPUs: each gives its native checksum" same_checksums mixed 6 amd64 $(group smp) fork mmap signal thread handover
if [ -x "$GUEST/i386/workloads" ]; then
	boot i386 240 i386 "$(run_list 4 $all) steelyard.poweroff" --path bt --memory 512M --cpus 2
	check "bt, 2 vCPUs, Debian 686: boots" booted i386
	check "bt, 2 vCPUs, Debian 686: native checksums" same_checksums i386 4 i386 $all
else
	skip "2 vCPUs, Debian 686: no i386 guest files"
fi
boot in2 400 amd64 "$(run_list 1 parthread atomics shootdown thread pingpong) steelyard.poweroff" --path interp --memory 256M --cpus 2
check "interp, 2 vCPUs: boots and powers off" booted in2
check "interp, 2 vCPUs: native checksums" same_checksums in2 1 amd64 parthread atomics shootdown thread pingpong

if [ "$(nproc)" -ge 2 ]; then
	timeout -k 5 300 "$STEELYARD" eval smp --workloads parthread,thread --blocks 2 --scale 2 --seed 7 --quiet-wait-s 0 --out "$work/smp" >"$work/out" 2>"$work/err" </dev/null
	check "eval smp: status 0" [ $? -eq 0 ]
	sed -n '/^How many times faster with 2/,/^Boot/p' "$work/out" >"$work/tables"
	check "eval smp: a row of each workload in both tables" [ "$(grep -c '^parthread\|^thread' "$work/tables")" -eq 4 ]
	check "eval smp: every checksum is right" [ "$(grep -c '"valid":false' "$work/smp/results.jsonl")" -eq 0 ]
	# two blocks of two workloads, executed three times: two native passes there and back, and bt
	check "eval smp: samples with two processors: native twice, bt" [ "$(grep -c '"type":"sample".*"cpus":2' "$work/smp/results.jsonl")" -eq 60 ]
	"$STEELYARD" eval smp --cpus 64 >"$work/out" 2>"$work/err" </dev/null
	check "eval smp: more processors than the host has" [ $? -eq 1 -a "$(wc -l <"$work/err")" -eq 1 ]
else
	skip "eval smp: this host has one CPU"
fi
finish
