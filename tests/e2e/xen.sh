# SPDX-License-Identifier: GPL-2.0-or-later
# A hypervisor in the machine: Xen, and Debian's kernel as its paravirtualized domain 0, whose own kernel runs in ring 3. Xen takes
# segments, task switches, debug registers, MTRRs, I/O permission and the two APICs in ways that no Linux does.
. "$(dirname "$0")/lib.sh"

[ -s "$GUEST/amd64/xen" ] || {
	skip "Xen: make guest found no xen-hypervisor package for amd64"
	finish
}
vm=
trap '[ -z "$vm" ] || kill -9 "$vm" 2>/dev/null; rm -rf "$work"' EXIT

# halted LABEL: domain 0 has done its work, and Xen stops the processors: it is not asked to turn the machine off
halted() { grep -aq "Hardware Dom0 halted: halting machine" "$work/$1.serial"; }
# sums LABEL: the results of the workloads, which go to port e9h, because the hypervisor has the serial line
sums() { sed -n 's/^@stop //p' "$work/$1.marks"; }
xen() { # LABEL CPUS ARGS...
	local label=$1 cpus=$2 i
	shift 2
	"$STEELYARD" run --multiboot "$GUEST/amd64/xen" --append "com1=115200,8n1 console=com1 loglvl=all dom0_mem=256M" \
		--module "$GUEST/amd64/vmlinuz earlyprintk=xen,keep steelyard.run=sha256:2,fork:5,sieve:5 steelyard.poweroff" \
		--module "$GUEST/amd64/initrd" --memory 768M --cpus "$cpus" --serial "file:$work/$label.serial" \
		--debugcon "file:$work/$label.marks" --timeout 300 "$@" 2>"$work/$label.err" </dev/null &
	vm=$!
	for i in $(seq 3000); do
		if halted "$label" || ! kill -0 "$vm" 2>/dev/null; then break; fi
		sleep 0.1
	done
	kill "$vm" 2>/dev/null
	wait "$vm"
	vm=
}
want=$(for w in "sha256 2" "fork 5" "sieve 5"; do "$GUEST/amd64/workloads" $w | cut -d' ' -f2,3; done)

for cpus in 1 2; do
	xen "bt$cpus" "$cpus" --path bt
	check "bt, $cpus vCPU: Xen boots, and domain 0 comes to its end" halted "bt$cpus"
	check "bt, $cpus vCPU: domain 0 computes what this host computes" [ "$(sums "bt$cpus")" = "$want" ]
	check "bt, $cpus vCPU: Xen has brought up all processors" grep -aq "Brought up $cpus CPUs" "$work/bt$cpus.serial"
	check "bt, $cpus vCPU: nobody panics" bash -c "! grep -aqE 'Panic on CPU|Kernel panic|Call Trace|unstable' '$work/bt$cpus.serial'"
done
finish
