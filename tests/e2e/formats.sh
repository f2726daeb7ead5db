# SPDX-License-Identifier: GPL-2.0-or-later
# Disks that a storage daemon serves: every format, with one and two vCPUs, on bt and interp, in every cache mode, with --snapshot; NBD
# and iSCSI from servers on this host; the daemon killed and, at the end, gone.
. "$(dirname "$0")/lib.sh"
if ! devices_initrd; then
	skip "disk formats: no $GUEST/amd64/devices.cpio"
	finish
fi
if ! command -v qemu-storage-daemon >/dev/null || ! command -v qemu-img >/dev/null; then
	skip "disk formats: no qemu-storage-daemon or no qemu-img"
	finish
fi
cd "$work" || exit 1
mkdir -p root
head -c 3000000 /dev/urandom >root/data
(cd root && sha256sum data >sums)
mke2fs -q -t ext4 -d root a.img 48M >mke2fs 2>&1
all=mount=vda+sums+copy+exec+trim+umount
# sound FORMAT FILE: the image and the file system in it
sound() { # FORMAT FILE [killed]: a daemon that was killed may leave clusters that nothing refers to (status 3), and no other fault
	if [ "$1" = vhdx ] || [ "$1" = vdi ] || [ "$1" = qcow2 ]; then
		qemu-img check -q -f "$1" "$2" >check 2>&1
		case $?${3:-} in 0* | 3killed) ;; *) cat check; return 1 ;; esac
	fi
	qemu-img convert -f "$1" -O raw "$2" back.img && e2fsck -fn back.img >fsck 2>&1
}
for f in qcow2 vdi vhdx vmdk; do
	qemu-img convert -O $f a.img $f.1
	guest $f "disks+$all" --path bt --cpus 2 --disk file=$f.1,format=$f,serial=$f
	check "$f: mounts, reads, writes, runs, trims" clean $f
	check "$f: size and serial number" grep -q "DISK vda sectors=98304 serial=$f ro=0 cache=write back queues=2" $f.out
	check "$f: image and file system are sound" sound $f $f.1
	check "$f: nothing is said" [ ! -s $f.err ]
done
for m in none writethrough directsync unsafe; do
	qemu-img convert -O qcow2 a.img $m.1
	guest $m "disks+$all" --path bt --disk file=$m.1,format=qcow2,cache=$m
	check "qcow2, cache=$m: the same" clean $m
	check "qcow2, cache=$m: sound" sound qcow2 $m.1
done
check "cache=directsync: the guest knows" grep -q 'DISK vda .*cache=write through' directsync.out
qemu-img convert -O qcow2 a.img in.1
guest in "mount=vda+sums+copy+umount" --path interp --disk file=in.1,format=qcow2
check "interp: the same" clean in
before=$(sha256sum <in.1)
guest snap "mount=vda+sums+copy+exec+umount" --path bt --disk file=in.1,format=qcow2 --snapshot
check "--snapshot: the guest writes" clean snap
guest ro "disks+mount-ro=vda+sums+umount" --path bt --disk file=in.1,format=qcow2,readonly
check "readonly: the guest reads" clean ro
check "readonly: the guest knows" grep -q 'DISK vda .*ro=1' ro.out
check "--snapshot and readonly: nothing stays" [ "$before" = "$(sha256sum <in.1)" ]
qemu-img create -q -f qcow2 -b a.img -F raw over.1
before=$(sha256sum <a.img)
guest over "$all" --path bt --disk file=over.1,format=qcow2
check "a backing file: the same" clean over
check "a backing file: is only read" [ "$before" = "$(sha256sum <a.img)" ]
guest eight "disks+$all" --path bt --cpus 2 --disk file=over.1,format=qcow2,queues=8 --disk file=qcow2.1,format=qcow2
check "eight queues, two disks" clean eight

# ---- servers ----
server=
trap 'kill $server 2>/dev/null; rm -rf "$work"' EXIT
# serve TYPE...: an NBD server of the raw image
serve() {
	cp a.img served.img
	qemu-storage-daemon --blockdev driver=file,node-name=d,filename=served.img --nbd-server "$@" --export nbd,id=e,node-name=d,name=disk,writable=on &
	server=$!
	sleep 1
}
serve addr.type=unix,addr.path=nbd.sock
guest nbd "$all" --path bt --disk nbd:unix:nbd.sock:exportname=disk
check "NBD over a Unix socket" clean nbd
kill $server; wait $server 2>/dev/null
check "NBD over a Unix socket: sound" sound raw served.img
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2>/dev/null || echo 10809)
serve addr.type=inet,addr.host=127.0.0.1,addr.port="$port"
guest tcp "$all" --path bt --disk "nbd:127.0.0.1:$port:exportname=disk"
check "NBD over TCP" clean tcp
guest wrong list --path bt --disk "nbd:127.0.0.1:$port:exportname=other"
check "NBD: an export that there is not" [ "$status" -eq 1 -a "$(wc -l <wrong.err)" -eq 1 ]
start away "records=vda" --path bt --disk "nbd:127.0.0.1:$port:exportname=disk"
said away 'RECORD 3'
kill $server; wait $server 2>/dev/null
said away 'DEVICE record .* failed'
kill "$(child "$pid")" 2>/dev/null
stop away "$pid"
check "NBD: a server that goes away is an I/O error" grep -q 'DEVICE record .* failed' away.out
check "and a line" grep -q "^steelyard: disk 'nbd:.*has failed, the guest sees an I/O error" away.err
server=

if ! command -v tgtd >/dev/null || ! unshare -n true 2>/dev/null; then
	skip "iSCSI: no tgtd, or no network namespaces here"
elif ! qemu-storage-daemon --blockdev driver=iscsi,node-name=d,transport=tcp,portal=127.0.0.1:1,target=x,lun=0 2>&1 | grep -q 'iSCSI'; then
	skip "iSCSI: qemu-block-extra is not installed"
else
	cp a.img lun.img
	cat >iscsi.sh <<NS
ip link set lo up || exit 77
c=\$((\$\$ % 30000 + 1)) # its control port: a name in the file system, so of this test alone
tgtd -f -C \$c --iscsi portal=127.0.0.1:3260 >tgtd.log 2>&1 &
t=\$!
ends() { # a tgtd that has targets does not heed SIGTERM
	tgtadm -C \$c --lld iscsi --op delete --force --mode target --tid 1
	tgtadm -C \$c --op delete --mode system
	kill -9 \$t
	rm -f /var/run/tgtd/socket.\$c /var/run/tgtd/socket.\$c.lock
} 2>/dev/null
trap ends EXIT
for _ in 1 2 3 4 5 6 7 8 9 10; do tgtadm -C \$c --lld iscsi --op new --mode target --tid 1 -T iqn.2001-01.org.example:disk 2>/dev/null && break; sleep 0.5; done
tgtadm -C \$c --lld iscsi --op new --mode logicalunit --tid 1 --lun 1 -b $work/lun.img && tgtadm -C \$c --lld iscsi --op bind --mode target --tid 1 -I ALL || exit 77
"\$@"
NS
	in_ns="unshare -n sh iscsi.sh"
	guest iscsi "$all" --path bt --disk iscsi://127.0.0.1/iqn.2001-01.org.example:disk/1
	in_ns=
	if [ "$status" -eq 77 ]; then skip "iSCSI: tgtd does not start here"; else
		check "iSCSI" clean iscsi
		check "iSCSI: sound" sound raw lun.img
	fi
fi

# ---- the daemon ----
qemu-img convert -O qcow2 a.img k.1
start kill "mount=vda+sums+copy+exec+copy+trim+umount" --path bt --control "$work/ctl" --disk file=k.1,format=qcow2
for _ in $(seq 100); do machine=$(child "$pid") && [ -S ctl ] && break; sleep 0.05; done
timeout 60 "$STEELYARD" vm events "$work/ctl" >events 2>&1 &
listener=$!
said kill 'DEVICE mount ok'
for _ in $(seq 10); do kill -9 $(pgrep -P "$machine" -f qemu-storage) 2>/dev/null; sleep 0.15; done
stop kill "$pid"
kill $listener 2>/dev/null; wait $listener 2>/dev/null
check "the daemon killed under a file system: the guest sees nothing of it" clean kill
check "the image and the file system are sound" sound qcow2 k.1 killed
check "lines say what happened" grep -q "its storage daemon was ended by signal 9" kill.err
check "the control socket's clients are told" grep -q 'another storage daemon goes on' events
check "and that it goes on" grep -q "another storage daemon goes on" kill.err
check "no daemon is left" [ -z "$(pgrep -P "$machine" 2>/dev/null)" ]
finish
