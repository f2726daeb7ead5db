# SPDX-License-Identifier: GPL-2.0-or-later
# A guest changes how many pairs of queues of its network card it uses, to and fro while two programs fetch files over it: Debian's cloud
# kernel, its own virtio-net, four vCPUs, user networking; on bt, and on interp a little.
. "$(dirname "$0")/lib.sh"
mkcpio=$(dirname "$STEELYARD")/mkcpio
if ! [ -s "$GUEST/amd64/devices.cpio" ] || ! [ -x "$mkcpio" ]; then
	skip "pairs of queues: no $GUEST/amd64/devices.cpio, or no $mkcpio"
	finish
fi
if ! command -v python3 >/dev/null; then
	skip "pairs of queues: no python3 for the server"
	finish
fi
if ! gcc -O2 -static -o "$work/channels" "$top/tests/e2e/channels.c" 2>"$work/cc"; then
	skip "pairs of queues: no static program can be linked here: $(head -n 1 "$work/cc")"
	finish
fi
cat >"$work/queues" <<'END'
#!/bin/sh
busybox --install -s /bin 2>/dev/null
for m in $(cat /lib/modules/order); do insmod "/lib/modules/$m.ko"; done
ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0 && ip route add default via 10.0.2.2
fetch() { # CPU: again and again, until it is told to stop
	mask=$((1 << $1))
	n=0
	while ! [ -e /tmp/stop ]; do
		taskset $mask wget -q -O "/tmp/f$1" "http://10.0.2.2:$2/file" && [ "$(sha256sum <"/tmp/f$1" | cut -d' ' -f1)" = "$3" ] || echo "BAD file $1 $(wc -c <"/tmp/f$1")"
		n=$((n + 1))
	done
	echo "FETCHED $1 $n"
}
fetch 0 $1 $2 &
fetch 1 $1 $2 &
for n in $3; do
	channels eth0 "$n" || echo "BAD channels $n"
	sleep 0.3
done
channels eth0 5 2>/dev/null && echo "BAD more than there are"
touch /tmp/stop
wait
echo "QUEUES $(sed -n 's/.*virtio[0-9]*-\(input.[0-9]*\)$/\1/p' /proc/interrupts | sort -u | wc -l)"
dmesg | grep -E 'Call Trace|BUG:|WARNING:|virtio.*(error|fail|not a head)|NETDEV WATCHDOG|timed out' | sed 's/^/BAD /'
echo "GUEST DONE"
END
mkdir -p "$work/www"
head -c 200000 /dev/urandom >"$work/www/file"
sum=$(sha256sum <"$work/www/file" | cut -d' ' -f1)
at=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
python3 -m http.server --directory "$work/www" --bind 127.0.0.1 "$at" >"$work/http" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; rm -rf "$work"' EXIT
"$mkcpio" dir:/bin:755 "file:/bin/channels:755:$work/channels" "file:/bin/queues:755:$work/queues" >"$work/queues.cpio"
cat "$GUEST/amd64/initrd" "$GUEST/amd64/devices.cpio" "$work/queues.cpio" >"$work/initrd"
# to_and_fro PATH VCPUS COUNTS...
to_and_fro() {
	local p=$1 cpus=$2
	shift 2
	printf '#!/bin/sh\nqueues %s %s "%s"\n' "$at" "$sum" "$*" >"$work/go"
	"$mkcpio" dir:/bin:755 "file:/bin/go:755:$work/go" >"$work/go.cpio"
	cat "$work/initrd" "$work/go.cpio" >"$work/initrd.$p"
	timeout -k 5 200 "$STEELYARD" run --kernel "$GUEST/amd64/vmlinuz" --initrd "$work/initrd.$p" --control none --timeout 180 --path "$p" \
		--cpus "$cpus" --net user,queues=4 --append "console=ttyS0 quiet panic=-1 steelyard.exec=/bin/go steelyard.poweroff" \
		</dev/null >"$work/$p.raw" 2>"$work/$p.err"
	status=$?
	tr -d '\r' <"$work/$p.raw" >"$work/$p.out"
	check "$p: the guest goes through to its end" [ "$status" -eq 0 -a "$(grep -c '^GUEST DONE' "$work/$p.out")" -eq 1 ]
	check "$p: $# changes, each as asked" [ "$(sed -n 's/^CHANNELS \([0-9]\) of 4$/\1/p' "$work/$p.out" | tr '\n' ' ')" = "$* " ]
	check "$p: files came meanwhile" [ "$(grep -c '^FETCHED [01] [1-9]' "$work/$p.out")" -eq 2 ]
	check "$p: each of them whole, nothing amiss in the log" [ "$(grep -c '^BAD' "$work/$p.out")" -eq 0 ]
	grep '^BAD' "$work/$p.out" | head -n 5 | sed 's/^/     /'
}
to_and_fro bt 4 1 4 2 3 1 2 4 1 3 4 2 1
to_and_fro interp 2 2 1 4
finish
