# SPDX-License-Identifier: GPL-2.0-or-later
# Disks as people come to give them: as many as there is room for, far larger than the host's, on tmpfs, deep in a chain, and
# block devices of the host: a loop device that can be written to, one that cannot, and one without a file.
. "$(dirname "$0")/lib.sh"
if ! devices_initrd; then
	skip "odd disks: no $GUEST/amd64/devices.cpio"
	finish
fi
cd "$work" || exit 1

blocks() { du -k "$1" | cut -f1; }
sound() { e2fsck -fn "$1" >fsck 2>&1; }
image() { # FILE: an ext4 file system with a file and its checksum, no hole in it
	mkdir -p root
	head -c 3000000 /dev/urandom >root/data
	(cd root && sha256sum data >sums)
	head -c 48M /dev/urandom >"$1"
	mke2fs -F -E nodiscard -q -t ext4 -d root "$1" 48M >mke2fs 2>&1
}

disks=
for i in $(seq 31); do
	truncate -s 1M "d$i"
	[ "$i" -gt 30 ] || disks="$disks --disk file=d$i"
done
refused "31 disks" 2 $disks --disk file=d31
guest many disks --path bt $disks
check "30 disks: the guest goes through them" clean many
check "30 disks: the guest has all" [ "$(grep -c '^DISK vd' many.out)" -eq 30 ]

truncate -s 513 odd
refused "a file of 513 bytes" 1 --disk file=odd

shm=$(mktemp -d /dev/shm/steelyard-e2e.XXXXXX 2>/dev/null) && trap 'rm -rf "$work" "$shm"' EXIT
if [ -z "$shm" ] || ! truncate -s 16T "$shm/big"; then
	skip "16 TiB on tmpfs: this host has none that takes it"
else
	guest big disks+write=vda --path bt --disk "file=$shm/big,cache=none"
	if grep -q 'cannot be opened past the page cache, give cache=writeback' big.err; then
		pass "16 TiB on tmpfs: it has no way past the page cache, and a line says so"
		guest big disks+write=vda --path bt --disk "file=$shm/big"
	fi
	check "16 TiB on tmpfs: reads and writes" clean big
	check "16 TiB on tmpfs: the guest sees its size" grep -q 'DISK vda sectors=34359738368 ' big.out
	check "16 TiB on tmpfs: it stays sparse" [ "$(blocks "$shm/big")" -lt 65536 ]
fi

image a.img
guest trim mount=vda+sums+trim+umount --path bt --disk file=a.img
check "a trim: the guest goes through it" clean trim
check "a trim gives the host its space back (49152 KiB, now $(blocks a.img))" [ "$(blocks a.img)" -lt 32768 ]
check "a trim: the file system is sound" sound a.img

if ! command -v qemu-img >/dev/null || ! command -v qemu-storage-daemon >/dev/null; then
	skip "a chain of backing files: no qemu-img or no qemu-storage-daemon"
else
	qemu-img convert -O qcow2 a.img c0.qcow2
	for i in 1 2 3 4 5; do qemu-img create -q -f qcow2 -b "c$((i - 1)).qcow2" -F qcow2 "c$i.qcow2"; done
	before=$(sha256sum c[0-4].qcow2)
	guest chain mount=vda+sums+copy+trim+umount --path bt --disk file=c5.qcow2,format=qcow2
	check "a chain of 5 backing files: reads, writes, trims" clean chain
	check "a chain of 5 backing files: none of them has changed" [ "$before" = "$(sha256sum c[0-4].qcow2)" ]
	check "a chain of 5 backing files: the image is sound" qemu-img check -q c5.qcow2
fi

if ! loop=$(losetup -f --show a.img 2>losetup.err); then
	skip "loop devices: $(head -n 1 losetup.err)"
	finish
fi
trap 'losetup -d "$loop" 2>/dev/null; rm -rf "$work" "$shm"' EXIT
guest loop disks+mount=vda+sums+copy+trim+umount --path bt --disk "file=$loop,cache=none"
check "a loop device, cache=none: reads, writes, trims" clean loop
losetup -d "$loop"
check "a loop device: the file system is sound" sound a.img
loop=$(losetup -r -f --show a.img)
refused "a loop device that is read-only" 1 --disk "file=$loop"
check "a read-only device: the line says what may do" grep -q "cannot be written to; with readonly it may do" bad.err
guest ro disks+mount-ro=vda+sums+umount --path bt --disk "file=$loop,readonly"
check "a read-only device, readonly: the guest reads" clean ro
losetup -d "$loop"
free=$(losetup -f)
if [ -e "$free" ]; then
	refused "a loop device without a file" 1 --disk "file=$free"
	check "a loop device without a file: the line says so" grep -q "no file is attached to it" bad.err
fi
finish
