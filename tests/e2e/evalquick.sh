# SPDX-License-Identifier: GPL-2.0-or-later
# The smallest evaluation: samples, table and page are there, checksums are compared, a path that cannot run has a reason.
. "$(dirname "$0")/lib.sh"

timeout -k 5 300 "$STEELYARD" eval quick --workloads sieve,fib --paths bt,qemu-kvm --blocks 2 --iterations 2 --scale 5 --seed 7 --quiet-wait-s 0 \
	--out "$work/demo" >"$work/out" 2>"$work/err" </dev/null
check "status 0" [ $? -eq 0 ]
results=$work/demo/results.jsonl
check "a row of each workload" [ "$(grep -c '^sieve\|^fib' "$work/out")" -ge 4 ]
if grep '"path":"\(native\|bt\)"' "$results" | grep -q '"timed":false'; then
	skip "bt has a geometric mean: a busy host left a sample without a time"
else
	check "bt has a geometric mean" grep -q '^all  *[0-9]' "$work/out"
fi
check "every checksum is the native one" [ "$(grep -c '"path":"bt".*"valid":true' "$results")" -eq 8 -a "$(grep -c '"why":"wrong checksum' "$results")" -eq 0 ]
check "bt's samples are exact: threads and counters between the markers" [ "$(grep '"path":"bt"' "$results" | grep -c '"threads":{"vcpu_ns":[0-9]*,.*"counters":{"insns_interp":[0-9]')" -ge 9 ]
check "what the guest's clock says is near the host's: $(grep '"path":"bt"' "$results" | grep -c '"clock"') of 8 are not" \
	[ "$(grep '"path":"bt"' "$results" | grep -c '"guest_wall_ns":[0-9]')" -eq 8 ]
check "the boot is timed, with its parts" [ "$(grep -c '"type":"boot".*"path":"bt".*"wall_ns":[0-9].*"split":{"start_ns":[0-9]*,"kernel_ns":[0-9]*,"init_ns":[0-9]*}' "$results")" -eq 2 ]
check "every native sample is there" [ "$(grep -c '"type":"sample".*"path":"native"' "$results")" -eq 50 ]
check "the run records the verdict on KVM" grep -q '"type":"run".*"probe":{"verdict":"[a-z ]*","vendor":"[A-Za-z-]*"' "$results"
check "the run records which path --path auto takes, and why" grep -q '"type":"run".*"auto":"[a-z]*: [^"]' "$results"
modules=$(cd /sys/module && ls -d kvm* 2>/dev/null | tr '\n' ' ')
check "the run records the kernel's KVM: ${modules:-none}" grep -q '"type":"run".*"kvm_module":"'"${modules% }"'"' "$results"
check "the page shows both" [ "$(grep -c "<dt>kvm_module</dt><dd>${modules% }</dd>" "$work/demo/report.html") $(grep -c '<dt>auto</dt><dd>[a-z]*: ' "$work/demo/report.html")" = "1 1" ]
check "qemu-kvm ran, or a record says why not" grep -q '"path":"qemu-kvm".*"valid":true\|"what":"given-up".*"path":"qemu-kvm"' "$results"
check "the page needs nothing from elsewhere" [ -s "$work/demo/report.html" -a "$(grep -c 'src=\|@import' "$work/demo/report.html")" -eq 0 ]
"$STEELYARD" eval verify "$work/demo" >"$work/out"
check "the folder is right: $(tail -n 1 "$work/out" | cut -c1-200)" [ $? -eq 0 -a "$(grep -c 'all right' "$work/out")" -eq 1 ]
(cd "$work/demo" && sha256sum -c --quiet SHA256SUMS) >"$work/out" 2>&1
check "coreutils agree with SHA256SUMS, which has the report too" eval '[ $? -eq 0 ] && grep -q report.html "$work/demo/SHA256SUMS"'
timeout -k 5 300 "$STEELYARD" eval quick --workloads fib --paths bt --blocks 1 --scale 5 --quiet-wait-s 0 --out "$work/json" --json >"$work/out" 2>"$work/err" </dev/null
check "--json prints a summary" grep -q '^ *"\|^{' "$work/out"
finish
