# SPDX-License-Identifier: GPL-2.0-or-later
# run --stats and --json: the counters are there, under the names that README gives them, and count.
. "$(dirname "$0")/lib.sh"

# 32-bit: mov ecx, 1000; 1: out 0x80, al; dec ecx; jnz 1b; mov al, 21; out 0xf4, al
printf '\xb9\xe8\x03\x00\x00\xe6\x80\x49\x75\xfb\xb0\x15\xe6\xf4' >"$work/guest"
# stats ARGS...: stderr in $work/err
stats() {
	timeout -k 5 60 "$STEELYARD" run --memory 64M --serial none --timeout 30 --flat "$work/guest@0x100000" "$@" \
		</dev/null >"$work/out" 2>"$work/err"
}
for path in interp bt; do
	stats --path $path --json
	check "$path: --json keeps the status" [ $? -eq 43 ]
	check "$path: one line, an object" [ "$(grep -c '^{.*}$' "$work/err")" -eq 1 -a "$(wc -l <"$work/err")" -eq 1 ]
	check "$path: the outcome" grep -q '"outcome":"debug-exit","status":43,' "$work/err"
	check "$path: 1001 writes to ports" grep -q '"io_writes":1001,' "$work/err"
	awk '/^#/ { on = $0 == "## Counters" } on && /^\| `/' "$top/README.md" | sed 's/^| `\([^`]*\)`.*/\1/' | while read -r name; do
		grep -q "\"$name\":[0-9]" "$work/err" || echo "$name"
	done >"$work/missing"
	check "$path: every counter of README: $(paste -sd' ' "$work/missing")" [ ! -s "$work/missing" ]
	stats --path $path --stats
	check "$path: --stats keeps the status" [ $? -eq 43 ]
	check "$path: --stats counts the same" grep -q '^ *1001  port writes$' "$work/err"
	check "$path: --stats names path and memory" grep -q "^path $path, 1 vCPU, 64M of memory$" "$work/err"
	check "$path: --stats says why this path, and what the probe knows" \
		sh -c "grep -q '^path $path because: asked for$' $work/err && grep -q '^KVM of this host: .*(vendor: ' $work/err"
	stats --path $path --json
	check "$path: --json says why this path" grep -q '"path_why":"asked for"' "$work/err"
done
# The probe's verdict goes with every result: what this boot has measured, else that it has not been measured
stats --json
check "auto: --json says why it chose" grep -qE '"path":"(bt|interp|kvm)","path_why":"[^"]{10,}"' "$work/err"
check "auto: the probe's summary" grep -qE '"probe":\{"level":"[a-z ]+","vendor":"[A-Za-z-]+".*"modes":\{.*"fails":\[.*"auto":\{"path":"(bt|kvm)","why":"' "$work/err"
if { : <>/dev/kvm; } 2>/dev/null && timeout -k 5 60 "$STEELYARD" probe --json >"$work/probe" </dev/null && grep -q '"complete": true' "$work/probe"; then
	stats --path bt --json
	for key in level vendor reason measured_at; do
		sed -n "/^  \"summary\": {/,/^  }/s/^    \"$key\": \(.*\),$/\1/p" "$work/probe" >"$work/said"
		check "measured before, run --json records the same $key: $(cut -c1-60 "$work/said")" \
			sh -c "[ -s $work/said ] && grep -qF \"\\\"$key\\\":\$(cat $work/said)\" $work/err"
	done
else
	skip "a measured verdict in run --json: no KVM here, or the host too busy to measure it"
fi
# run --sample: the time of the vCPU's thread by kinds of code. 64-bit code is not needed: a loop of half a second.
# mov ecx, 200000000; 1: dec ecx; jnz 1b; mov al, 21; out 0xf4, al
printf '\xb9\x00\xc2\xeb\x0b\x49\x75\xfd\xb0\x15\xe6\xf4' >"$work/guest"
stats --path bt --json --sample 499
check "--sample keeps the status" [ $? -eq 43 ]
sampled=$(grep -oE '"sample_[a-z_]+":[0-9]+' "$work/err" | awk -F: '{ s += $2 } END { print int(s / 1e6) }')
took=$(sed -n 's/.*"vcpu_cpu_s":\[\([0-9.]*\)\].*/\1/p' "$work/err" | awk '{ print int($1 * 1000) }')
check "samples ($sampled ms) stand for the thread's CPU time ($took ms)" [ "$sampled" -gt $((took * 6 / 10)) -a "$sampled" -le $((took + 1)) ]
copy=$(sed -n 's/.*"sample_copy_kernel":\([0-9]*\).*/\1/p' "$work/err" | awk '{ print int($1 / 1e6) }')
check "a loop is copied code ($copy ms)" [ "$copy" -gt $((sampled * 7 / 10)) ]
stats --path bt --json
check "without --sample there are none" [ "$(grep -oE '"sample_[a-z_]+":[0-9]+' "$work/err" | grep -vc ':0$')" -eq 0 ]
stats --path bt --sample 0
check "--sample 0 is a usage error" [ $? -eq 2 ]
finish
