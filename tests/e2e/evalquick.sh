# SPDX-License-Identifier: GPL-2.0-or-later
# The smallest evaluation: samples, table and page are there, checksums are compared, a path that cannot run has a reason.
. "$(dirname "$0")/lib.sh"

timeout -k 5 300 "$STEELYARD" eval quick --workloads sieve,fib --paths bt,qemu-kvm --blocks 2 --scale 5 --seed 7 --out "$work/demo" \
	>"$work/out" 2>"$work/err" </dev/null
check "status 0" [ $? -eq 0 ]
check "a row of each workload" [ "$(grep -c '^sieve\|^fib' "$work/out")" -eq 4 ]
if grep -q '"timed":false' "$work/demo/results.jsonl"; then
	skip "bt has a geometric mean: a busy host left a sample without a time"
else
	check "bt has a geometric mean" grep -q '^geom. mean *[0-9]' "$work/out"
fi
check "no checksum differs" [ "$(grep -c 'checksum differs' "$work/out")" -eq 0 ]
check "the boot is timed" grep -q '^CPU  *[0-9]' "$work/out"
check "samples are JSON Lines with a schema" [ "$(grep -vc '^{"schema":1,.*}$' "$work/demo/results.jsonl")" -eq 0 ]
check "every native sample is there" [ "$(grep -c '"type":"sample".*"path":"native"' "$work/demo/results.jsonl")" -eq 8 ]
check "the run records the verdict on KVM" grep -q '"type":"run".*"kvm":{"level":"[a-z ]*","vendor":"[A-Za-z-]*"' "$work/demo/results.jsonl"
check "the page needs nothing from elsewhere" [ -s "$work/demo/report.html" -a "$(grep -c 'src=\|href=\|@import' "$work/demo/report.html")" -eq 0 ]
lines=$(wc -l <"$work/demo/results.jsonl")
timeout -k 5 300 "$STEELYARD" eval quick --workloads fib --paths bt --blocks 1 --scale 5 --out "$work/demo" --json >"$work/json" 2>"$work/err" </dev/null
check "--json prints a summary" grep -q '"cpu_ratio": [0-9]' "$work/json"
check "results are appended, never overwritten" [ "$(wc -l <"$work/demo/results.jsonl")" -gt "$lines" ]
finish
