# SPDX-License-Identifier: GPL-2.0-or-later
# Disks: Debian's cloud kernel with its own virtio drivers mounts a file system, reads, writes, flushes, discards and runs a
# program from it, on bt and interp, with one and two vCPUs, by io_uring and by threads, in every cache mode; and what a flush is.
. "$(dirname "$0")/lib.sh"
if ! devices_initrd; then
	skip "disks: no $GUEST/amd64/devices.cpio"
	finish
fi

image() { # NAME: an ext4 file system with a file and its checksum
	mkdir -p "$work/root"
	head -c 3000000 /dev/urandom >"$work/root/data"
	(cd "$work/root" && sha256sum data >sums)
	rm -f "$work/$1"
	mke2fs -q -t ext4 -d "$work/root" "$work/$1" 48M >"$work/mke2fs" 2>&1
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

# ---- what a flush is ----
# syncs MODE: system calls and requests of io_uring that put data on the medium, while the guest writes and flushes 20 times
syncs() {
	rm -f "$work/f.img"
	truncate -s 1M "$work/f.img"
	start "sync.$1" churn=/dev/vda:20 --path bt --disk "file=$work/f.img,cache=$1,aio=threads"
	machine=
	for _ in $(seq 100); do machine=$(child "$pid") && break; sleep 0.05; done
	strace -f -qq -e trace=fdatasync,fsync,pwrite64 -o "$work/trace.$1" -p "$machine" 2>"$work/strace.err" &
	tracer=$!
	stop "sync.$1" "$pid"
	kill "$tracer" 2>/dev/null
	wait "$tracer" 2>/dev/null
	clean "sync.$1"
	grep -cE '(fdatasync|fsync)( resumed|\().*= 0$' "$work/trace.$1"
}
if ! command -v strace >/dev/null || ! strace -qq -o "$work/trace" true 2>/dev/null; then
	skip "what a flush is: strace does not work here"
else
	for m in writeback none writethrough directsync; do
		n=$(syncs $m)
		check "cache=$m: 20 flushes of the guest are as many of the host (${n##* })" [ "${n##* }" -ge 20 ]
	done
	n=$(syncs unsafe)
	check "cache=unsafe: the guest writes, and nothing is flushed (${n##* })" [ "${n##* }" -eq 0 -a "$(grep -c pwrite64 "$work/trace.unsafe")" -ge 20 ]
fi
finish
