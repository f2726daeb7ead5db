# SPDX-License-Identifier: GPL-2.0-or-later
# NVMe: Debian's cloud kernel with its own driver boots from the disk without an initial RAM disk, from the whole disk and from a
# partition, reads, writes, flushes, discards and runs programs, on bt and interp, with one and two vCPUs, by MSI-X and by INTA,
# through io_uring and threads; SeaBIOS and OVMF boot from it; kill -9 loses nothing that was flushed (KILLS: how often).
. "$(dirname "$0")/lib.sh"
KILLS=${KILLS:-3}
if ! [ -s "$GUEST/amd64/vmlinuz" ]; then
	skip "nvme: no $GUEST/amd64/vmlinuz"
	finish
fi

root=$work/root
mkdir -p "$root"/{bin,dev,etc,mnt,proc,sbin,sys,tmp}
cp "$GUEST/amd64/busybox" "$root/bin/"
for a in $("$root/bin/busybox" --list); do ln -s busybox "$root/bin/$a" 2>/dev/null; done
head -c 3000000 /dev/urandom >"$root/data"
(cd "$root" && sha256sum data >sums)
cat >"$root/sbin/init" <<'END'
#!/bin/sh
export PATH=/bin
say() { if [ "$1" -eq 0 ]; then echo "NVME $2 ok"; else echo "NVME $2 failed"; fi; }
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "NVME root $(awk '$2 == "/" { print $1 }' /proc/mounts)"
cd / && sha256sum -c sums >/dev/null
say $? sums
for d in /sys/block/nvme*; do
	echo "DISK $(basename "$d") sectors=$(cat "$d/size") serial=$(echo $(cat "$d/device/serial")) ro=$(cat "$d/ro")" \
		"cache=$(cat "$d/queue/write_cache") queues=$(ls "$d/mq" | wc -l)"
done
grep nvme /proc/interrupts | sed 's/^/IRQ/'
case " $(cat /proc/cmdline) " in
*" records "*)
	i=0
	while :; do
		i=$((i + 1))
		printf '%08d%08d' "$i" "$i" | dd of=/dev/nvme0n1p2 bs=512 seek=$((i % 2048)) conv=notrunc,sync,fsync 2>/dev/null || break
		echo "RECORD $i"
	done
	;;
*" work "*)
	mount -o remount,rw /
	say $? remount
	cp /data /copy && sync && echo 3 >/proc/sys/vm/drop_caches && cmp /data /copy
	say $? copy
	cp /bin/busybox /busybox && sync && echo 3 >/proc/sys/vm/drop_caches && /busybox true
	say $? exec
	dd if=/dev/urandom of=/big bs=1M count=4 2>/dev/null && sha256sum /big >/big.sum && sync && \
		echo 3 >/proc/sys/vm/drop_caches && sha256sum -c /big.sum >/dev/null
	say $? big
	fstrim /
	say $? trim
	mount -o remount,ro /
	say $? sync
	;;
esac
dmesg | grep -E 'Call Trace|I/O error|BUG:|WARNING:|unstable|lost|hung|stuck|timeout|nvme.*(reset|abort|invalid)' | sed 's/^/BAD /'
echo "NVME DONE"
poweroff -f
END
chmod 755 "$root/sbin/init"
image() { rm -f "$work/$1" && mke2fs -q -t ext4 -d "$root" "$work/$1" 64M >"$work/mke2fs" 2>&1; }
# A table with two partitions, written by hand: the same file system from 1 MiB on, and 1 MiB behind it. Its signature is 12345678.
partitions() {
	rm -f "$work/p.img"
	truncate -s 66M "$work/p.img"
	mke2fs -q -t ext4 -E offset=1048576 -d "$root" "$work/p.img" 64M >"$work/mke2fs" 2>&1
	{
		printf '\170\126\064\022\0\0'
		printf '\200\0\0\0\203\0\0\0\0\010\0\0\0\0\002\0'
		printf '\0\0\0\0\203\0\0\0\0\010\002\0\0\010\0\0'
	} | dd of="$work/p.img" bs=1 seek=440 conv=notrunc 2>/dev/null
	printf '\125\252' | dd of="$work/p.img" bs=1 seek=510 conv=notrunc 2>/dev/null
}
sound() { e2fsck -fn "$work/$1" >"$work/fsck" 2>&1; }
# guest LABEL WORDS ARGS...: words for the kernel's command line
guest() {
	local label=$1 words=$2
	shift 2
	timeout -k 5 220 "$STEELYARD" run --kernel "$GUEST/amd64/vmlinuz" --control none --timeout 200 --no-reboot \
		--append "console=ttyS0 quiet panic=-1 init=/sbin/init ro root=/dev/nvme0n1 $words" "$@" </dev/null >"$work/$label.raw" 2>"$work/$label.err"
	status=$?
	tr -d '\r' <"$work/$label.raw" >"$work/$label.out"
}
clean() {
	[ "$status" -eq 0 ] && grep -q 'NVME DONE' "$work/$1.out" && grep -q 'NVME sums ok' "$work/$1.out" &&
		! grep -qE '^NVME .*failed|^BAD ' "$work/$1.out" && return 0
	echo "     status $status; $(grep -E '^NVME .*failed|^BAD ' "$work/$1.out" | head -n 3 | tr '\n' '|') $(tail -n 2 "$work/$1.out" "$work/$1.err" | cut -c1-200)"
	return 1
}

if ! image a.img; then
	skip "nvme: mke2fs cannot fill an image (e2fsprogs)"
	finish
fi
guest bt1 work --path bt --disk "file=$work/a.img,if=nvme,serial=NV-1"
check "bt: boots without an initial RAM disk, reads, writes, runs, trims" clean bt1
check "bt: its root is the disk" grep -q 'NVME root /dev/root\|NVME root /dev/nvme0n1' "$work/bt1.out"
check "bt: size, serial number, cache" grep -q 'DISK nvme0n1 sectors=131072 serial=NV-1 ro=0 cache=write back queues=1' "$work/bt1.out"
check "bt: the driver uses MSI-X" grep -q 'PCI-MSI.*nvme0q1' "$work/bt1.out"
check "bt: the file system is sound" sound a.img
partitions
truncate -s 8M "$work/b.img"
# Controllers are probed at once, so which is nvme0 is open: the root says who it is.
guest bt2 "root=PARTUUID=12345678-01 work" --path bt --cpus 2 --disk "file=$work/p.img,if=nvme,cache=none" --disk "file=$work/b.img,if=nvme"
check "bt, 2 vCPUs, two disks, cache=none: the same" clean bt2
check "bt, 2 vCPUs: a queue for each" grep -q 'DISK nvme.n1 sectors=135168 .*queues=2' "$work/bt2.out"
check "bt: the second disk has a name of its own" grep -q 'DISK nvme.n1 sectors=16384 serial=steelyard-1 ' "$work/bt2.out"
image a.img
guest intx "work pci=nomsi" --path bt --disk "file=$work/a.img,if=nvme,cache=writethrough,aio=threads"
check "bt without MSI, cache=writethrough, threads: the same" clean intx
check "bt without MSI: it is the I/O APIC's pin" grep -q 'IO-APIC.*fasteoi.*nvme0q' "$work/intx.out"
check "cache=writethrough: the guest knows" grep -q 'DISK nvme0n1 .*cache=write through' "$work/intx.out"
before=$(sha256sum <"$work/a.img")
guest snap work --path bt --disk "file=$work/a.img,if=nvme" --snapshot
check "--snapshot: the guest writes" clean snap
guest ro "" --path bt --disk "file=$work/a.img,if=nvme,readonly"
check "readonly: the guest reads" clean ro
check "readonly: the guest knows" grep -q 'DISK nvme0n1 .*ro=1' "$work/ro.out"
check "--snapshot and readonly: nothing stays" [ "$before" = "$(sha256sum <"$work/a.img")" ]
image a.img
guest in1 work --path interp --disk "file=$work/a.img,if=nvme"
check "interp: the same" clean in1
check "interp: the file system is sound" sound a.img

guest part "root=/dev/nvme0n1p1 work" --path bt --disk "file=$work/p.img,if=nvme"
check "bt: boots from a partition" clean part

# A boot sector that says where it is on the serial line and ends the run with status 2 * 5 + 1
if [ -s /usr/share/seabios/bios-256k.bin ]; then
	printf '\272\370\003\276\027\174\254\204\300\164\003\356\353\370\272\364\000\260\005\356\364\353\375BOOT SECTOR RUNS\r\n\0' >"$work/boot.img"
	truncate -s 510 "$work/boot.img"
	printf '\125\252' >>"$work/boot.img"
	truncate -s 4M "$work/boot.img"
	timeout -k 5 120 "$STEELYARD" run --path bt --bios seabios --control none --timeout 100 --disk "file=$work/boot.img,if=nvme" </dev/null >"$work/bios.raw" 2>"$work/bios.err"
	status=$?
	check "SeaBIOS boots from it" [ "$status" -eq 11 -a "$(grep -ac 'BOOT SECTOR RUNS' "$work/bios.raw")" -eq 1 ]
else
	skip "SeaBIOS boots from NVMe: no SeaBIOS here (package seabios)"
fi

# A FAT file system with a kernel where UEFI looks for one; it is enough that the firmware finds it and starts it.
if [ -s /usr/share/OVMF/OVMF_CODE_4M.fd ] && command -v mkfs.vfat mcopy mmd >"$work/tools"; then
	truncate -s 48M "$work/esp.img"
	mkfs.vfat "$work/esp.img" >"$work/fat" 2>&1 && mmd -i "$work/esp.img" ::EFI ::EFI/BOOT &&
		mcopy -i "$work/esp.img" "$GUEST/amd64/vmlinuz" ::EFI/BOOT/BOOTX64.EFI
	timeout -k 5 320 "$STEELYARD" run --path bt --bios ovmf --control none --timeout 300 --disk "file=$work/esp.img,if=nvme" </dev/null >"$work/ovmf.raw" 2>"$work/ovmf.err" &
	pid=$!
	for _ in $(seq 1500); do
		grep -aq 'BdsDxe: starting' "$work/ovmf.raw" && break
		kill -0 $pid 2>/dev/null || break
		sleep 0.2
	done
	kill $pid 2>/dev/null
	wait $pid 2>/dev/null
	check "OVMF boots from it" grep -aq 'BdsDxe: starting Boot.*Steelyard NVMe' "$work/ovmf.raw"
else
	skip "OVMF boots from NVMe: no OVMF, mkfs.vfat or mcopy here (packages ovmf, dosfstools, mtools)"
fi

guest bad "" --disk "file=$work/a.img,if=floppy"
check "an unknown bus is one line and status 2" [ "$status" -eq 2 -a "$(wc -l <"$work/bad.err")" -eq 1 ]

# The guest writes numbered records one after the other and says a number when it has flushed it.
lost=0 killed=0
for i in $(seq "$KILLS"); do
	partitions
	"$STEELYARD" run --path bt --kernel "$GUEST/amd64/vmlinuz" --control none --timeout 100 --disk "file=$work/p.img,if=nvme" \
		--append "console=ttyS0 quiet panic=-1 init=/sbin/init ro root=/dev/nvme0n1p1 records" </dev/null >"$work/kill.raw" 2>"$work/kill.err" &
	pid=$!
	for _ in $(seq 400); do
		[ "$(grep -ac '^RECORD' "$work/kill.raw")" -ge 3 ] && break
		sleep 0.1
	done
	sleep "0.$((RANDOM % 90 + 10))"
	kill -9 $pid 2>/dev/null && killed=$((killed + 1))
	wait $pid 2>/dev/null
	last=$(tr -d '\r' <"$work/kill.raw" | sed -n 's/^RECORD \([0-9]*\)$/\1/p' | tail -n 1)
	[ -n "$last" ] || { lost=$((lost + 1)); echo "     no record: $(tail -n 2 "$work/kill.raw" | cut -c1-200)"; continue; }
	for n in $(seq $((last > 20 ? last - 20 : 1)) "$last"); do
		at=$(dd if="$work/p.img" bs=512 skip=$((133120 + n % 2048)) count=1 2>/dev/null | head -c 16)
		[ "$at" = "$(printf '%08d%08d' "$n" "$n")" ] || { lost=$((lost + 1)); echo "     record $n of $last: $at"; }
	done
done
check "kill -9, $KILLS times: every flushed record is on the disk" [ "$lost" -eq 0 -a "$killed" -eq "$KILLS" ]
finish
