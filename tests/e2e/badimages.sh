# SPDX-License-Identifier: GPL-2.0-or-later
# Bad images, of every format: what can be seen is one line before the guest starts; what happens later is an I/O error of the
# guest's, a line and an event, and what had been flushed is still there. No daemon is left behind.
. "$(dirname "$0")/lib.sh"
if ! devices_initrd; then
	skip "bad images: no $GUEST/amd64/devices.cpio"
	finish
fi
cd "$work" || exit 1
: >empty
head -c 1000 /dev/zero >odd
head -c 1048576 /dev/zero >a.img
mkfifo fifo
refused "an empty image" 1 --disk file=empty
refused "a truncated image" 1 --disk file=odd
refused "a missing image" 1 --disk file=none
refused "a folder" 1 --disk "file=$work"
refused "a FIFO" 1 --disk file=fifo
refused "an unknown format" 2 --disk file=a.img,format=vhs
refused "an unknown cache mode" 2 --disk file=a.img,cache=maybe
refused "no file" 2 --disk serial=1
refused "a serial number that is too long" 2 --disk file=a.img,serial=123456789012345678901
refused "the same image twice" 1 --disk file=a.img --disk file=a.img
refused "an address of no server" 2 --disk nbd:
refused "an iSCSI address without a target" 2 --disk iscsi://127.0.0.1
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	chmod 777 "$work"
	chmod 600 a.img
	setpriv --reuid 65534 --regid 65534 --clear-groups "$STEELYARD" run --flat a.img@0x7c00 --control none --disk file=a.img >out 2>err
	check "no permission" [ $? -eq 1 -a "$(grep -c 'cannot open' err)" -eq 1 ]
else
	skip "no permission: it takes root and setpriv to have none"
fi

daemons=1
if ! command -v qemu-storage-daemon >/dev/null || ! command -v qemu-img >/dev/null; then
	skip "bad images of other formats: no qemu-storage-daemon or no qemu-img"
	daemons=
fi
# said_why TEXT: the one line has it
said_why() { check "  and says so: $1" grep -q "$1" bad.err; }
if [ -n "$daemons" ]; then
	for f in qcow2 vdi vhdx vmdk; do
		qemu-img convert -O $f a.img a.$f
		refused "a $f image without its name" 1 --disk file=a.$f
		said_why "format=$f"
		for g in qcow2 vdi vhdx vmdk; do
			[ $f = $g ] || refused "a $f image as $g" 1 --disk file=a.$f,format=$g
		done
		head -c 300 a.$f >cut.$f
		refused "a $f image cut in its header" 1 --disk file=cut.$f,format=$f
		refused "a missing $f image" 1 --disk file=none.$f,format=$f
		refused "an empty $f image" 1 --disk file=empty,format=$f
		refused "a $f image twice" 1 --disk file=a.$f,format=$f --disk file=a.$f,format=$f
		said_why "in use"
	done
	head -c 3000000 /dev/urandom >full.img
	qemu-img convert -O qcow2 full.img long.qcow2
	for n in 70000 200000 270000 1000000 2000000; do
		head -c $n long.qcow2 >cut.qcow2
		refused "a qcow2 image cut at $n" 1 --disk file=cut.qcow2,format=qcow2
	done
	head -c 8000000 /dev/urandom >eight.img # as much as a block of VHDX
	for f in vdi vhdx vmdk; do
		qemu-img convert -f raw -O $f eight.img long.$f
		head -c $(($(stat -c %s long.$f) - 3000000)) long.$f >cut.$f
		refused "a $f image cut in its data" 1 --disk file=cut.$f,format=$f
	done
	qemu-img create -q -f qcow2 -u -b two.qcow2 -F qcow2 one.qcow2 1M
	qemu-img create -q -f qcow2 -u -b one.qcow2 -F qcow2 two.qcow2 1M
	refused "a chain that comes round again" 1 --disk file=one.qcow2,format=qcow2
	refused "the same, read-only" 1 --disk file=one.qcow2,format=qcow2,readonly
	said_why "its own backing file"
	qemu-img create -q -f qcow2 -u -b none.img -F raw base.qcow2 1M
	refused "a backing file that is missing" 1 --disk file=base.qcow2,format=qcow2
	refused "a server that is not there" 1 --disk nbd:127.0.0.1:1
	refused "a socket that is not there" 1 --disk "nbd:unix:$work/none"
	mkdir -p nobin
	env PATH="$work/nobin" "$STEELYARD" run --flat a.img@0x7c00 --control none \
		--disk file=a.qcow2,format=qcow2 >out 2>err
	check "no qemu-storage-daemon: its package is named" [ $? -eq 1 -a "$(grep -c qemu-system-common err)" -eq 1 ]
fi

# ---- while the guest runs ----
truncate -s 1M short.img
start short "records=vda" --path bt --disk file=short.img
said short 'RECORD 3'
truncate -s 0 short.img
said short 'DEVICE record .* failed'
kill "$(child "$pid")" 2>/dev/null
stop short "$pid"
check "a raw image that is cut under the guest: an I/O error" grep -q 'DEVICE record .* failed' short.out
check "and a line" grep -q "^steelyard: disk 'short.img': a read .* has failed" short.err

if [ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null; then
	cat >small.sh <<'NS'
mount -t tmpfs -o size=400k tmpfs "$1" || exit 77
shift
exec "$@"
NS
	mkdir -p mnt
	for f in raw ${daemons:+qcow2}; do
		if [ $f = raw ]; then make='truncate -s 1M mnt/disk'; else make='qemu-img create -q -f qcow2 mnt/disk 1M'; fi
		timeout -k 5 200 unshare -m sh small.sh mnt sh -c "$make && exec \"\$0\" \"\$@\"" "$STEELYARD" run --path bt --kernel "$GUEST/amd64/vmlinuz" \
			--initrd "$work/initrd" --control none --timeout 150 --disk file=mnt/disk,format=$f \
			--append "console=ttyS0 quiet panic=-1 steelyard.exec=/bin/devices+fill=vda steelyard.poweroff" </dev/null >fill.raw 2>fill.err
		status=$?
		if [ $status -eq 77 ]; then skip "a full disk: no tmpfs here"; continue; fi
		check "$f on a full disk: the guest gets an I/O error and goes on" grep -qa 'DEVICE fill error' fill.raw
		check "$f on a full disk: what was flushed before is there" grep -qa 'DEVICE kept ok' fill.raw
		check "$f on a full disk: a line says so" grep -q "^steelyard: disk 'mnt/disk': a .* has failed" fill.err
	done
else
	skip "a full disk: no mount namespaces here"
fi

if [ -n "$daemons" ]; then
	qemu-img create -q -f qcow2 gone.qcow2 1M
	start gone "records=vda" --path bt --disk file=gone.qcow2,format=qcow2
	if said gone 'RECORD 3'; then rm gone.qcow2; fi
	n=$(grep -ac '^RECORD' gone.raw)
	if said gone "RECORD $((n + 20))"; then pass "a file that is removed under the guest: it goes on"; else fail "a file that is removed under the guest: it goes on"; fi
	machine=$(child "$pid")
	kill -9 $(pgrep -P "$machine" -f qemu-storage)
	said gone 'DEVICE record .* failed'
	kill "$machine"
	stop gone "$pid"
	check "and the daemon dies too: an I/O error" grep -q 'DEVICE record .* failed' gone.out
	check "and a line says why" grep -q "I/O errors from now on: .*No such file" gone.err
	check "no daemon is left" [ -z "$(pgrep -P "$machine" 2>/dev/null)" ]
fi
finish
