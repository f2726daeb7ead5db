# SPDX-License-Identifier: GPL-2.0-or-later
# Nothing that a guest has flushed is lost: kill -9 of the machine while the guest writes, on a raw image and on a qcow2 image; and
# kill -9 of the storage daemon, again and again under one guest. KILLS says how often, each (make disk-kills: 200). The guest
# writes numbered records one after the other and says a number when it has flushed it: the disk must hold the last one said,
# or one that came later into its place.
. "$(dirname "$0")/lib.sh"
KILLS=${KILLS:-3}
if ! devices_initrd; then
	skip "kills: no $GUEST/amd64/devices.cpio"
	finish
fi
cd "$work" || exit 1
# image FORMAT: an empty one
image() {
	rm -f r.*
	if [ "$1" = raw ]; then truncate -s 1M r.raw; else qemu-img create -q -f "$1" "r.$1" 1M; fi
}
# judge FORMAT: names what is not there; the last record said is in $last
judge() {
	local n at disk=r.$1 bad=0
	if [ "$1" != raw ]; then
		# a killed writer may leave clusters that nobody refers to, which harms nothing; a reference to none is an error
		for _ in $(seq 100); do # a killed process is a zombie while its last threads still hold the lock
			qemu-img check -q -f "$1" "r.$1" >check 2>&1
			status=$?
			grep -q 'Failed to get .*lock' check || break
			sleep 0.1
		done
		case $status in 0 | 3) ;; *) cat check; return 1 ;; esac
		disk=back.raw
		qemu-img convert -f "$1" -O raw "r.$1" back.raw || return 1
	fi
	last=$(tr -d '\r' <kill.raw | sed -n 's/^RECORD \([0-9]*\)$/\1/p' | tail -n 1)
	[ -n "$last" ] || { echo "     no record: $(tail -n 2 kill.err) $(tail -c 300 kill.raw)"; return 1; }
	for n in $(seq $((last > 20 ? last - 20 : 1)) "$last"); do
		at=$(dd if="$disk" bs=512 skip=$((n % 2048)) count=1 2>/dev/null | head -c 16)
		[ "$at" = "$(printf '%08d%08d' "$n" "$n")" ] || { bad=1; echo "     record $n of $last: $at"; }
	done
	return $bad
}
# machine FORMAT: in the background; $pid
machine() {
	: >kill.raw # before its own shell does it: the records of the machine before are not this one's
	"$STEELYARD" run --path bt --kernel "$GUEST/amd64/vmlinuz" --initrd "$work/initrd" --control "$work/ctl" --timeout 3000 \
		--append "console=ttyS0 quiet panic=-1 steelyard.exec=/bin/devices+records=vda" --disk "file=r.$1,format=$1" \
		</dev/null >kill.raw 2>kill.err &
	pid=$!
	for _ in $(seq 1200); do
		[ "$(grep -ac '^RECORD' kill.raw)" -ge 3 ] && return
		sleep 0.1
	done
	silent
}
# Two minutes without a record: what its threads do, twice, and what it said.
silent() {
	echo "     no record after two minutes, load $(cut -d' ' -f1-3 /proc/loadavg); process $pid:"
	for _ in 1 2; do
		for t in /proc/"$pid"/task/*; do
			echo "     ${t##*/} $(tr '\n' ' ' <"$t/comm")$(sed 's/.*) \(.\).*/\1/' "$t/stat") $(cat "$t/wchan") ticks $(sed 's/.*) //' "$t/stat" | cut -d' ' -f12,13) $(cut -d' ' -f1 "$t/syscall")"
		done
		sleep 1
	done
	timeout 10 "$STEELYARD" vm status "$work/ctl" 2>&1 | sed 's/^/     /'
	timeout 10 "$STEELYARD" vm stats "$work/ctl" 2>&1 | sed 's/^/     /'
	tail -n 3 kill.raw | sed 's/^/     /'
	cat kill.err
}
formats=raw
if command -v qemu-storage-daemon >/dev/null && command -v qemu-img >/dev/null; then
	formats="raw qcow2"
else
	skip "kills of a storage daemon: no qemu-storage-daemon or no qemu-img"
fi
for f in $formats; do
	lost=0 killed=0 left=0
	for i in $(seq "$KILLS"); do
		image $f
		machine $f
		daemon=$(pgrep -P "$pid" -f qemu-storage)
		sleep "0.$((RANDOM % 90 + 10))"
		kill -9 "$pid" 2>/dev/null && killed=$((killed + 1))
		wait "$pid" 2>/dev/null
		if [ -n "$daemon" ]; then
			for _ in $(seq 100); do [ -d "/proc/$daemon" ] && ! grep -q '^State:.*Z' "/proc/$daemon/status" 2>/dev/null || break; sleep 0.05; done
			[ -d "/proc/$daemon" ] && ! grep -q '^State:.*Z' "/proc/$daemon/status" && left=$((left + 1))
		fi
		judge $f || lost=$((lost + 1))
	done
	check "$f: the machine killed $killed times: every flushed record is on the disk" [ "$lost" -eq 0 -a "$killed" -eq "$KILLS" ]
	[ $f = raw ] || check "$f: its daemon goes with it" [ "$left" -eq 0 ]
done
if [ "$formats" != raw ]; then
	image qcow2
	machine qcow2
	killed=0
	for i in $(seq "$KILLS"); do
		daemon=$(pgrep -P "$pid" -f qemu-storage) && kill -9 $daemon 2>/dev/null && killed=$((killed + 1))
		sleep "0.$((RANDOM % 70 + 10))"
	done
	before=$(grep -ac '^RECORD' kill.raw)
	for _ in $(seq 100); do [ "$(grep -ac '^RECORD' kill.raw)" -gt $((before + 3)) ] && break; sleep 0.1; done
	after=$(grep -ac '^RECORD' kill.raw)
	kill "$pid"
	wait "$pid"
	check "the daemon killed $killed times under one guest: it goes on" [ "$after" -gt "$before" -a "$killed" -gt $((KILLS / 2)) ]
	check "no record has failed" [ "$(grep -ac 'failed' kill.raw)" -eq 0 ]
	check "every flushed record is on the disk" judge qcow2
fi
finish
