# SPDX-License-Identifier: GPL-2.0-or-later
# Virtio serial ports, by which the host says something and hears it again, and memory that goes back to the host: Debian's
# cloud kernel with its own drivers.
. "$(dirname "$0")/lib.sh"
if ! devices_initrd || ! command -v python3 >/dev/null; then
	skip "ports: no $GUEST/amd64/devices.cpio, or no python3"
	finish
fi
cat >"$work/echo.py" <<'PY'
import socket, sys, time
def both(path, data):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(40)
    s.connect(path)
    s.sendall(data)
    got = b""
    while len(got) < len(data):
        more = s.recv(65536)
        if not more:
            break
        got += more
    s.sendall(b".") # the guest waits for it: what is on its way when a machine ends is lost
    return got == data or len(got)
print("first", both(sys.argv[1], b"hello\n"))
print("second", both(sys.argv[2], bytes(i * 7 & 255 for i in range(100000))))
PY
for p in bt interp; do
	start "$p" console --path "$p" --console "unix:$work/a.$p" --console "unix:$work/b.$p,name=org.example.port" --console "file:$work/c.$p"
	said "$p" 'DEVICE console named' && timeout 100 python3 "$work/echo.py" "$work/a.$p" "$work/b.$p" >"$work/echo.$p" 2>&1
	stop "$p"
	check "$p: the guest works with its ports" clean "$p"
	check "$p: hvc0 sends back what it got" grep -q '^first True' "$work/echo.$p"
	check "$p: a port sends back 100000 bytes" grep -q '^second True' "$work/echo.$p"
	check "$p: a port has its name" grep -q 'DEVICE console named org.example.port' "$work/$p.out"
	check "$p: the sockets are gone, the file is there" [ ! -e "$work/a.$p" -a ! -e "$work/b.$p" -a -e "$work/c.$p" ]
done

# Resident memory of guest RAM, in KiB
resident() { awk '/memfd:steelyard-ram/ { on = 1 } on && /^Rss:/ { sum += $2; on = 0 } END { print sum + 0 }' "/proc/$1/smaps"; }
start balloon balloon --path bt --memory 384M --balloon
child=
said balloon 'DEVICE balloon full' && child=$(pgrep -P "$pid" -x steelyard) && full=$(resident "$child")
said balloon 'DEVICE balloon empty' && empty=$(resident "$child")
stop balloon
check "the guest with the balloon ends well" clean balloon
check "memory that it has freed is the host's again (${full:-?} KiB, then ${empty:-?})" [ "${full:-0}" -gt 131072 -a "${empty:-999999}" -lt "$((${full:-0} - 100000))" ]

"$STEELYARD" run --flat /dev/null@0x7c00 --console pipe:x >"$work/none" 2>"$work/usage"
check "an unknown kind of port" [ $? -eq 2 -a "$(wc -l <"$work/usage")" -eq 1 ]
finish
