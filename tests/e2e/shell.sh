# SPDX-License-Identifier: GPL-2.0-or-later
# The interactive shell on the serial line, as a person at a terminal finds it.
. "$(dirname "$0")/lib.sh"

# session NAME SECONDS SCRIPT ARGS...
session() {
	local name=$1 seconds=$2
	cat >"$work/script"
	shift 2
	if "$TOOLS/pty" "$seconds" "$work/script" "$STEELYARD" run --memory 256M --kernel "$GUEST/amd64/vmlinuz" --initrd "$GUEST/amd64/initrd" \
		--append "console=ttyS0 quiet panic=-1 steelyard.shell" "$@" >"$work/out" 2>&1; then
		pass "$name"
	else
		fail "$name: $(head -n 1 "$work/out")"
		tr -d '\r' <"$work/out" | tail -n 12 | sed 's/^/     /'
	fi
}

session "commands, line editing, job control, exit" 90 --path bt <<'E2'
expect STEELYARD INIT
expect /root #
send echo $((6 * 7)) answers\r
expect 42 answers
expect /root #
send ecxho fixed\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x7f\r
expect fixed
expect /root #
send sleep 1000\r
sleep 500
send \x03
expect /root #
send echo interrupted $?\r
expect interrupted 130
expect /root #
send sleep 1000\r
sleep 500
send \x1a
expect Stopped
expect /root #
send jobs\r
expect sleep 1000
expect /root #
send kill %1; fg; echo gone\r
expect gone
expect /root #
send cat\r
sleep 700
send one line\r
expect one line
expect one line
send \x04
expect /root #
send tty\r
expect /dev/ttyS0
expect /root #
absent can't access tty
absent job control turned off
send exit\r
expect STEELYARD END
status 0
restored
E2
session "Ctrl-A h helps, Ctrl-A x quits, the terminal is as before" 90 --path bt <<'E2'
expect /root #
send \x01h
expect Ctrl-A
send echo still here\r
expect still here
expect /root #
send \x01x
status 0
restored
E2
session "Ctrl-A x ends a machine that is still booting" 60 --path bt <<'E2'
sleep 700
send \x01x
status 0
restored
E2
session "the guest's console on two vCPUs" 90 --path bt --cpus 2 <<'E2'
expect /root #
send grep -c ^processor /proc/cpuinfo\r
expect 2
expect /root #
send poweroff -f\r
status 0
restored
E2
finish
