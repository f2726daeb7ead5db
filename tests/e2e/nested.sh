# SPDX-License-Identifier: GPL-2.0-or-later
# The kvm path on hardware virtualization: QEMU's TCG emulates an AMD-V processor, Debian's own kernel with its kvm_amd runs on
# it, and this program on that. Real KVM code, slowly. Not part of make check: make nested-test [NESTED="probe unit guest ..."].
# NESTED_GUESTS="irq smp": only these of tests/guest. NESTED_HOST names the folder with vmlinuz and modules that mk/guest-files.sh makes, MKCPIO the tool.
. "$(dirname "$0")/lib.sh"
NESTED_HOST=${NESTED_HOST:-$top/build/nested/host}
MKCPIO=${MKCPIO:-$top/build/mkcpio}
NESTED_GUESTS=${NESTED_GUESTS:-}
NESTED=${NESTED:-probe unit guest turns linux switch}
images=$TOOLS/../guest units=$TOOLS/../unit

command -v qemu-system-x86_64 >/dev/null || { skip "no qemu-system-x86_64"; finish; }
for f in "$NESTED_HOST/vmlinuz" "$NESTED_HOST/kvm-amd.ko" "$GUEST/amd64/initrd"; do
	[ -s "$f" ] || { skip "no $f (make nested-test makes it)"; finish; }
done
gcc -std=gnu17 -D_GNU_SOURCE -O2 -shared -fPIC -o "$work/fakesvm.so" "$(dirname "$0")/fakesvm.c" || { fail "fakesvm.c"; finish; }
for n in sieve sha256 quicksort matavx2 x87 fork pingpong signal thread; do
	echo "$n $("$GUEST/amd64/workloads" "$n" 1 | cut -d' ' -f3)"
done >"$work/expected"

set -- dir:/bin:755 dir:/lib:755 dir:/lib64:755 dir:/modules:755 dir:/tests:755 dir:/tests/guest:755 dir:/dev:755 \
	char:/dev/console:600:5:1 char:/dev/null:666:1:3 "file:/init:755:$(dirname "$0")/nested.init" \
	"file:/bin/busybox:755:$GUEST/amd64/busybox" "file:/bin/steelyard:755:$STEELYARD" "file:/lib/fakesvm.so:755:$work/fakesvm.so" \
	"file:/tests/expected:644:$work/expected"
for m in irqbypass ccp kvm kvm-amd; do set -- "$@" "file:/modules/$m.ko:644:$NESTED_HOST/$m.ko"; done
for t in test_switch test_kvm; do set -- "$@" "file:/tests/$t:755:$units/$t"; done
for l in $(ldd "$STEELYARD" "$units/test_switch" | grep -o '/lib/[^ ]*' | sort -u); do set -- "$@" "file:/lib/$(basename "$l"):755:$l"; done
set -- "$@" file:/lib64/ld-linux-x86-64.so.2:755:/lib64/ld-linux-x86-64.so.2
for g in "$images"/*.elf; do set -- "$@" "file:/tests/guest/$(basename "$g"):644:$g"; done
for g in run.sh guests.tbl kvm.txt qemu.txt nested.txt; do set -- "$@" "file:/tests/guest/$g:644:$top/tests/guest/$g"; done
for g in vmlinuz initrd; do set -- "$@" "file:/tests/$g:644:$GUEST/amd64/$g"; done
"$MKCPIO" "$@" >"$work/host.initrd" || { fail "the emulated host's initramfs"; finish; }

# One processor: with two, QEMU 7.2 now and then loses an interrupt for ever while one of them is in a guest.
timeout -k 10 "${NESTED_SECONDS:-3000}" qemu-system-x86_64 -accel tcg -cpu max,la57=off -smp 1 -m 1536 -display none -no-reboot \
	-nodefaults -serial stdio -kernel "$NESTED_HOST/vmlinuz" -initrd "$work/host.initrd" \
	-append "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check rcupdate.rcu_cpu_stall_suppress=1 nested.stages=$(echo $NESTED | tr ' ' ,) nested.guests=$(echo $NESTED_GUESTS | tr ' ' ,)" \
	</dev/null 2>&1 | tee "$work/raw"
tr -d '\r' <"$work/raw" >"$work/serial"
passed=$(grep -c '^ok ' "$work/serial")
failed=$(grep -c '^FAIL' "$work/serial")
skipped=$(grep -c '^SKIP' "$work/serial")
check "the emulated host came to its end" grep -q '^NESTED END' "$work/serial"
finish
