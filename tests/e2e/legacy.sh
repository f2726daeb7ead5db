# SPDX-License-Identifier: GPL-2.0-or-later
# Transitional virtio devices, as old drivers see them: Debian's own virtio_pci, told to take the interface from before virtio
# 1.0, mounts a disk, writes, flushes, discards, gets an address and pings, on bt and interp, by MSI-X and by INTA.
. "$(dirname "$0")/lib.sh"
mkcpio=$(dirname "$STEELYARD")/mkcpio
if ! [ -s "$GUEST/amd64/devices.cpio" ] || ! [ -x "$mkcpio" ]; then
	skip "transitional devices: no $GUEST/amd64/devices.cpio, or no $mkcpio"
	finish
fi
cat >"$work/legacy" <<'END'
#!/bin/sh
busybox --install -s /bin 2>/dev/null
say() { if [ "$1" -eq 0 ]; then echo "LEGACY $2 ok"; else echo "LEGACY $2 failed"; fi; }
for m in $(cat /lib/modules/order); do
	case $m in virtio_pci) how=force_legacy=1 ;; *) how= ;; esac
	insmod "/lib/modules/$m.ko" $how || echo "LEGACY $m failed"
done
for d in /sys/bus/virtio/devices/*; do # bit 32 is VERSION_1
	[ "$(cut -c33 "$d/features")" = 0 ]
	say $? "$(basename "$d")-is-old"
done
mount -t ext4 /dev/vda /mnt && (cd /mnt && sha256sum -c sums >/dev/null)
say $? sums
cp /mnt/data /mnt/copy && sync && echo 3 >/proc/sys/vm/drop_caches && cmp /mnt/data /mnt/copy
say $? copy
fstrim /mnt && umount /mnt
say $? trim
ip link set eth0 up && udhcpc -i eth0 -n -q -s /bin/true 2>&1 | grep -q 'lease of 10.0.2.15'
say $? dhcp
ip addr add 10.0.2.15/24 dev eth0 && ping -c 2 -W 10 10.0.2.2 >/dev/null
say $? ping
dmesg | grep -E 'Call Trace|I/O error|BUG:|WARNING:|lost|hung|stuck|timeout' | sed 's/^/BAD /'
echo "LEGACY DONE"
END
"$mkcpio" dir:/bin:755 "file:/bin/legacy:755:$work/legacy" >"$work/legacy.cpio"
cat "$GUEST/amd64/initrd" "$GUEST/amd64/devices.cpio" "$work/legacy.cpio" >"$work/initrd"
image() {
	mkdir -p "$work/root"
	head -c 2000000 /dev/urandom >"$work/root/data"
	(cd "$work/root" && sha256sum data >sums)
	rm -f "$work/a.img"
	mke2fs -q -t ext4 -d "$work/root" "$work/a.img" 32M >"$work/mke2fs" 2>&1
}
run_on() { # LABEL WORDS ARGS...
	local label=$1 words=$2
	shift 2
	image
	timeout -k 5 120 "$STEELYARD" run --kernel "$GUEST/amd64/vmlinuz" --initrd "$work/initrd" --control none --timeout 100 \
		--append "console=ttyS0 quiet panic=-1 steelyard.exec=/bin/legacy steelyard.poweroff $words" \
		--disk "file=$work/a.img,transitional=on" --net user,transitional=on "$@" </dev/null >"$work/$label.raw" 2>"$work/$label.err"
	status=$?
	tr -d '\r' <"$work/$label.raw" >"$work/$label.out"
	check "$label: disk and network by the old interface" clean "$label"
	check "$label: the file system is sound" sound
}
sound() { e2fsck -fn "$work/a.img" >"$work/fsck" 2>&1; }
clean() {
	[ "$status" -eq 0 ] && grep -q 'LEGACY DONE' "$work/$1.out" && [ "$(grep -c '^LEGACY .* ok' "$work/$1.out")" -eq 7 ] &&
		! grep -q '^BAD' "$work/$1.out" && return 0
	echo "     status $status; $(grep -E '^LEGACY .*failed|^BAD ' "$work/$1.out" | head -n 3 | tr '\n' '|') $(tail -n 2 "$work/$1.err")"
	return 1
}
run_on bt "" --path bt --cpus 2
run_on bt-intx pci=nomsi --path bt
run_on interp "" --path interp
timeout 20 "$STEELYARD" run --kernel "$GUEST/amd64/vmlinuz" --control none --disk "file=$work/a.img,transitional=perhaps" </dev/null >"$work/bad" 2>"$work/bad.err"
check "transitional=perhaps is one line and status 2" [ $? -eq 2 -a "$(wc -l <"$work/bad.err")" -eq 1 ]
timeout 20 "$STEELYARD" run --kernel "$GUEST/amd64/vmlinuz" --control none --disk "file=$work/a.img,if=nvme,transitional=on" </dev/null >"$work/bad" 2>"$work/bad.err"
check "there is no transitional NVMe" [ $? -eq 2 -a "$(wc -l <"$work/bad.err")" -eq 1 ]
finish
