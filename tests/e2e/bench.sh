# SPDX-License-Identifier: GPL-2.0-or-later
# Every workload of the suite, with next to no work: what a guest on bt computes is what the processor computes, and every
# group has its mean. The i386 kernel runs the same workloads as 32-bit programs.
. "$(dirname "$0")/lib.sh"

timeout -k 5 600 "$STEELYARD" eval bench --paths bt --blocks 1 --scale 1 --seed 7 --iterations 1 --inject 0 --quiet-wait-s 0 --out "$work/bench" \
	>"$work/out" 2>"$work/err" </dev/null
check "status 0" [ $? -eq 0 ]
results=$work/bench/results.jsonl
check "no checksum differs" [ "$(grep -c '"why":"wrong checksum' "$results")" -eq 0 ]
for g in int fp mem os gen; do
	if grep -q "\"type\":\"sample\".*\"group\":\"$g\".*\"timed\":false" "$results"; then
		skip "group $g has a geometric mean: a busy host left a sample without a time"
		continue
	fi
	check "group $g has a geometric mean" [ "$(grep -c "^$g  *[0-9]" "$work/out")" -ge 1 ]
done
check "the memory beside guest RAM is known" grep -q '^MiB beside RAM  *[0-9]' "$work/out"
list=$("$GUEST/amd64/workloads" | awk '$2 != "smp" { print $1 }')
check "samples name every workload" [ "$(grep -c '"type":"sample".*"path":"bt".*"valid":true' "$results")" -eq "$(echo "$list" | wc -l)" ]
sed -n '/^--\|^[a-z]/p' "$work/err" | grep failed

if [ -x "$GUEST/i386/workloads" ]; then
	boot i386 400 i386 "steelyard.run=$(echo "$list" | sed 's/$/:1/' | paste -sd,) steelyard.poweroff"
	check "i386: the guest ends" booted i386
	for w in $list; do
		want=$(timeout 60 "$GUEST/i386/workloads" "$w" 1 | awk '$1 == "RESULT" { print $3 }')
		grep -q "RESULT $w $want " "$work/i386.out" || echo "$w"
	done >"$work/differ"
	check "i386: checksums are the processor's: $(paste -sd' ' "$work/differ")" [ ! -s "$work/differ" ]
else
	skip "i386: no 32-bit guest files"
fi
finish
