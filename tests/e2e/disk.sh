# SPDX-License-Identifier: GPL-2.0-or-later
# Disks: Debian's cloud kernel with its own virtio drivers mounts a file system, reads, writes, flushes, discards and runs a
# program from it, on bt and interp, with one and two vCPUs, by io_uring and by threads, in every cache mode; then bad images;
# then kill -9 while the guest writes: what it has flushed is there. KILLS says how often (make disk-kills: 200).
. "$(dirname "$0")/lib.sh"
KILLS=${KILLS:-3}
if ! [ -s "$GUEST/amd64/devices.cpio" ]; then
	skip "disks: no $GUEST/amd64/devices.cpio"
	finish
fi
cat "$GUEST/amd64/initrd" "$GUEST/amd64/devices.cpio" >"$work/initrd"

image() { # NAME: an ext4 file system with a file and its checksum
	mkdir -p "$work/root"
	head -c 3000000 /dev/urandom >"$work/root/data"
	(cd "$work/root" && sha256sum data >sums)
	rm -f "$work/$1"
	mke2fs -q -t ext4 -d "$work/root" "$work/$1" 48M >"$work/mke2fs" 2>&1
}
# guest LABEL WORDS ARGS...: words for devices.guest at +
guest() {
	local label=$1 words=$2
	shift 2
	timeout -k 5 220 "$STEELYARD" run --kernel "$GUEST/amd64/vmlinuz" --initrd "$work/initrd" --control none --timeout 200 \
		--append "console=ttyS0 quiet panic=-1 steelyard.exec=/bin/devices+$words steelyard.poweroff" "$@" \
		</dev/null >"$work/$label.raw" 2>"$work/$label.err"
	status=$?
	tr -d '\r' <"$work/$label.raw" >"$work/$label.out"
}
# clean LABEL: it went through, nothing failed, the kernel complains of nothing
clean() {
	[ "$status" -eq 0 ] && grep -q 'DEVICES DONE' "$work/$1.out" && ! grep -qE '^DEVICE .*failed|^BAD ' "$work/$1.out" && return 0
	echo "     status $status; $(grep -E '^DEVICE .*failed|^BAD ' "$work/$1.out" | head -n 3 | tr '\n' '|') $(tail -n 2 "$work/$1.err")"
	return 1
}
sound() { e2fsck -fn "$work/$1" >"$work/fsck" 2>&1; }
all=mount=vda+sums+copy+exec+trim+umount

image a.img
guest bt1 "list+disks+$all+write=vdb" --path bt --disk "file=$work/a.img,serial=ABC-1" --disk "file=$work/b.img" 2>"$work/none"
check "a missing image is one line and status 1" [ "$status" -eq 1 -a "$(wc -l <"$work/bt1.err")" -eq 1 ]
truncate -s 8M "$work/b.img"
guest bt1 "list+disks+$all+write=vdb" --path bt --disk "file=$work/a.img,serial=ABC-1" --disk "file=$work/b.img"
check "bt: mounts, reads, writes, runs, trims" clean bt1
check "bt: the disk has its size and serial number" grep -q 'DISK vda sectors=98304 serial=ABC-1 ro=0 cache=write back' "$work/bt1.out"
check "bt: the second has a name of its own" grep -q 'DISK vdb sectors=16384 serial=steelyard-1 ' "$work/bt1.out"
check "bt: the driver uses MSI-X" grep -q 'PCI-MSI.*virtio0-req' "$work/bt1.out"
check "bt: the file system is sound" sound a.img
image a.img
guest bt2 "disks+$all" --path bt --cpus 2 --disk "file=$work/a.img,cache=none"
check "bt, 2 vCPUs, cache=none: the same" clean bt2
check "bt, 2 vCPUs: a queue for each" grep -q 'DISK vda .*queues=2' "$work/bt2.out"
check "bt, 2 vCPUs: the file system is sound" sound a.img
image a.img
guest thr "disks+$all" --path bt --disk "file=$work/a.img,cache=writethrough,aio=threads"
check "bt, threads, cache=writethrough: the same" clean thr
check "cache=writethrough: the guest knows" grep -q 'DISK vda .*cache=write through' "$work/thr.out"
check "threads: the file system is sound" sound a.img
before=$(sha256sum <"$work/a.img")
guest snap "mount=vda+sums+copy+exec+umount" --path bt --disk "file=$work/a.img" --snapshot
check "--snapshot: the guest writes" clean snap
check "--snapshot: nothing of it stays" [ "$before" = "$(sha256sum <"$work/a.img")" ]
guest ro "disks+mount-ro=vda+sums+umount" --path bt --disk "file=$work/a.img,readonly"
check "readonly: the guest reads" clean ro
check "readonly: the guest knows" grep -q 'DISK vda .*ro=1' "$work/ro.out"
guest intx "list+$all" --path bt --append "console=ttyS0 quiet panic=-1 pci=nomsi steelyard.exec=/bin/devices+list+$all steelyard.poweroff" \
	--disk "file=$work/a.img"
check "bt without MSI: the same by INTx" clean intx
check "bt without MSI: it is the I/O APIC's pin" grep -q 'IO-APIC.*fasteoi.*virtio0' "$work/intx.out"
image a.img
guest in1 "$all" --path interp --disk "file=$work/a.img"
check "interp: the same" clean in1
check "interp: the file system is sound" sound a.img
image a.img
guest in2 "mount=vda+sums+copy+umount" --path interp --cpus 2 --disk "file=$work/a.img"
check "interp, 2 vCPUs: the same" clean in2

# ---- bad images ----
refused() { # NAME STATUS DISK: one line that names the file
	guest bad list --disk "$3"
	check "$1" [ "$status" -eq "$2" -a "$(wc -l <"$work/bad.err")" -eq 1 -a ! -s "$work/bad.raw" ]
}
: >"$work/empty"
head -c 1000 /dev/zero >"$work/odd"
mkfifo "$work/fifo"
refused "an empty image" 1 "file=$work/empty"
refused "a truncated image" 1 "file=$work/odd"
refused "a folder" 1 "file=$work"
refused "a FIFO" 1 "file=$work/fifo"
refused "an unknown format" 2 "file=$work/a.img,format=vhs"
refused "an unknown cache mode" 2 "file=$work/a.img,cache=maybe"
refused "no file" 2 "serial=1"
refused "a serial number that is too long" 2 "file=$work/a.img,serial=123456789012345678901"
guest bad list --disk "file=$work/a.img" --disk "file=$work/a.img"
check "the same image twice" [ "$status" -eq 1 -a "$(wc -l <"$work/bad.err")" -eq 1 ]

# ---- kill -9 ----
# The guest writes numbered records one after the other and says a number when it has flushed it: the disk must hold the
# last one said, or one that came later into its place.
lost=0 killed=0
for i in $(seq "$KILLS"); do
	rm -f "$work/r.img"
	truncate -s 1M "$work/r.img"
	"$STEELYARD" run --path bt --kernel "$GUEST/amd64/vmlinuz" --initrd "$work/initrd" --control none --timeout 100 \
		--append "console=ttyS0 quiet panic=-1 steelyard.exec=/bin/devices+records=vda" --disk "file=$work/r.img" \
		</dev/null >"$work/kill.raw" 2>"$work/kill.err" &
	pid=$!
	for _ in $(seq 400); do
		[ "$(grep -ac '^RECORD' "$work/kill.raw")" -ge 3 ] && break
		sleep 0.1
	done
	sleep "0.$((RANDOM % 90 + 10))"
	kill -9 $pid 2>/dev/null && killed=$((killed + 1))
	wait $pid 2>/dev/null
	last=$(tr -d '\r' <"$work/kill.raw" | sed -n 's/^RECORD \([0-9]*\)$/\1/p' | tail -n 1)
	[ -n "$last" ] || { lost=$((lost + 1)); continue; }
	for n in $(seq $((last > 20 ? last - 20 : 1)) "$last"); do
		at=$(dd if="$work/r.img" bs=512 skip=$((n % 2048)) count=1 2>/dev/null | head -c 16)
		[ "$at" = "$(printf '%08d%08d' "$n" "$n")" ] || { lost=$((lost + 1)); echo "     record $n of $last: $at"; }
	done
done
check "kill -9, $KILLS times: every flushed record is on the disk" [ "$lost" -eq 0 -a "$killed" -eq "$KILLS" ]
finish
