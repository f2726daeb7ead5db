# SPDX-License-Identifier: GPL-2.0-or-later
# Sockets between guest and host: a program in Debian's cloud kernel, with its own driver, sends megabytes to a server of the
# host's and gets them back, and serves clients of the host's, on bt and interp; nobody at the other end; bad options.
. "$(dirname "$0")/lib.sh"
mkcpio=$(dirname "$STEELYARD")/mkcpio
if ! [ -s "$GUEST/amd64/devices.cpio" ] || ! [ -x "$mkcpio" ]; then
	skip "sockets: no $GUEST/amd64/devices.cpio, or no $mkcpio"
	finish
fi
if ! gcc -O2 -static -o "$work/vsock" "$top/tests/e2e/vsock.c" 2>"$work/cc"; then
	skip "sockets: no static program can be linked here: $(head -n 1 "$work/cc")"
	finish
fi
cat >"$work/vsocks" <<'END'
#!/bin/sh
busybox --install -s /bin 2>/dev/null
for m in $(cat /lib/modules/order); do insmod "/lib/modules/$m.ko"; done
vsock send 7000 $1 && echo "GUEST sent"
vsock send 7001 1 || echo "GUEST nobody there"
vsock listen 5000 3 && echo "GUEST served"
dmesg | grep -E 'Call Trace|BUG:|WARNING:|vsock.*(error|fail)' | sed 's/^/BAD /'
echo "GUEST DONE"
END
"$mkcpio" dir:/bin:755 "file:/bin/vsock:755:$work/vsock" "file:/bin/vsocks:755:$work/vsocks" >"$work/vsock.cpio"
cat "$GUEST/amd64/initrd" "$GUEST/amd64/devices.cpio" "$work/vsock.cpio" >"$work/initrd"

# both PATH BYTES ARGS...
both() {
	local p=$1 bytes=$2 served pid i
	shift 2
	"$TOOLS/vsock" serve "$work/$p.v_7000" 1 >"$work/$p.served" 2>&1 &
	served=$!
	timeout -k 5 120 "$STEELYARD" run --kernel "$GUEST/amd64/vmlinuz" --initrd "$work/initrd" --control none --timeout 100 --path "$p" \
		--append "console=ttyS0 quiet panic=-1 steelyard.exec=/bin/vsocks+$bytes steelyard.poweroff" --vsock "cid=7,uds=$work/$p.v" "$@" \
		</dev/null >"$work/$p.raw" 2>"$work/$p.err" &
	pid=$!
	for i in $(seq 900); do
		grep -aq 'VSOCK listens' "$work/$p.raw" && break
		kill -0 $pid 2>/dev/null || break
		sleep 0.1
	done
	check "$p: nobody listens at this port of the guest's" sh -c "! '$TOOLS/vsock' ask '$work/$p.v' 5001 1 2>/dev/null"
	for i in 1 2 3; do
		"$TOOLS/vsock" ask "$work/$p.v" 5000 "$((bytes / i))" >"$work/$p.ask$i" 2>&1
		check "$p: $((bytes / i)) bytes to the guest and back" [ $? -eq 0 ]
	done
	wait $pid
	status=$?
	kill $served 2>/dev/null
	wait $served 2>/dev/null
	tr -d '\r' <"$work/$p.raw" >"$work/$p.out"
	check "$p: the guest's bytes to the host and back" grep -q "VSOCK $bytes of $bytes bytes came back" "$work/$p.out"
	check "$p: nobody listens at this port of the host's" grep -q 'GUEST nobody there' "$work/$p.out"
	check "$p: the guest goes through to its end" [ "$status" -eq 0 -a "$(grep -c '^GUEST' "$work/$p.out")" -eq 4 -a "$(grep -c '^BAD' "$work/$p.out")" -eq 0 ]
	check "$p: its socket is gone" [ ! -e "$work/$p.v" ]
}
both bt 20000000 --cpus 2
both interp 300000

refused() { # NAME STATUS OPTION
	timeout 20 "$STEELYARD" run --kernel "$GUEST/amd64/vmlinuz" --control none --vsock "$3" </dev/null >"$work/bad" 2>"$work/bad.err"
	status=$?
	check "$1" [ "$status" -eq "$2" -a "$(wc -l <"$work/bad.err")" -eq 1 ]
}
refused "a CID of somebody else's" 2 "cid=2,uds=$work/v"
refused "no CID" 2 "uds=$work/v"
refused "no path" 2 "cid=3"
refused "a path that cannot be" 1 "cid=3,uds=$work/no/such/folder/v"
: >"$work/taken"
refused "a path that is taken" 1 "cid=3,uds=$work/taken"
finish
