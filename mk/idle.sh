#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# idle.sh STEELYARD IMAGE COUNT MEMORY_MIB SECONDS [PATH]
#
# What machines that do nothing cost: starts COUNT Debians from one image (what they write is thrown away), lets
# them rest, and reads from /proc, over SECONDS, each process's CPU time, and what memory it holds beside the guest's RAM. Also how much
# of the guest's RAM is there. Fails when a machine does not reach its login, or does not answer at the end; judges no figure.
set -u
steelyard=$1 image=$2 count=$3 memory=$4 seconds=$5 path=${6:-bt}
dir=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; wait; rm -rf "$dir"' EXIT
fail() {
	echo "idle: $*" >&2
	exit 1
}
available=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
need=$((count * (memory + 60)))
[ "$available" -gt "$need" ] || { echo "SKIP idle: $count machines want $need MiB, this host has $available"; exit 0; }
hz=$(getconf CLK_TCK) page=$(getconf PAGESIZE)
ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }
said() { # FILE TEXT SECONDS PID
	for _ in $(seq $(($3 * 5))); do
		grep -qa "$2" "$1" && return 0
		kill -0 "$4" 2>/dev/null || return 1
		sleep 0.2
	done
	return 1
}
login() { said "$dir/out$1" 'root@steelyard:~#' 400 "${pids[$(($1 - 1))]}" || fail "machine $1 has no login: $(tail -n 1 "$dir/err$1")"; }
# Three at a time
for i in $(seq "$count"); do
	mkfifo "$dir/in$i"
	"$steelyard" run --path "$path" --memory "${memory}M" --kernel "$image.vmlinuz" --initrd "$image.initrd" --control none \
		--append "root=LABEL=steelyard console=ttyS0 quiet" --disk "file=$image,snapshot" --net user <"$dir/in$i" >"$dir/out$i" 2>"$dir/err$i" &
	pids+=($!)
	eval "exec $((100 + i))>\"$dir/in$i\""
	[ "$i" -lt 3 ] || login $((i - 2))
done
for i in $(seq $((count > 2 ? count - 1 : 1)) "$count"); do login "$i"; done
sleep 45 # what systemd does after a boot, and the translator's own rest
for p in "${pids[@]}"; do ticks "$p"; done >"$dir/before"
start=$(date +%s%N)
sleep "$seconds"
for p in "${pids[@]}"; do ticks "$p"; done >"$dir/after"
wall=$((($(date +%s%N) - start) / 1000000))
for p in "${pids[@]}"; do
	# KiB: all that the process has, shared pages by their part; of it the guest's RAM
	awk -v ram=0 '/^[0-9a-f]+-[0-9a-f]+ / { ram = /memfd:steelyard-ram/ } /^Pss:/ { all += $2; if (ram) guest += $2 } END { print all - guest, guest }' \
		"/proc/$p/smaps" || fail "a machine has gone"
done >"$dir/memory"
for i in $(seq "$count"); do echo 'echo $((6 * 7))-alive' >&$((100 + i)); done
for i in $(seq "$count"); do said "$dir/out$i" '42-alive' 60 "${pids[$((i - 1))]}" || fail "machine $i does not answer"; done
paste "$dir/before" "$dir/after" "$dir/memory" | awk -v hz="$hz" -v wall="$wall" -v n="$count" -v m="$memory" '
	{ cpu = ($2 - $1) * 100 / hz / (wall / 1000); c += cpu; if (cpu > cmax) cmax = cpu; o += $3 / 1024; if ($3 / 1024 > omax) omax = $3 / 1024; g += $4 / 1024 }
	END { printf "idle: %d machines of %d MiB over %.0f s: %.2f %% of a core each (most %.2f), %.1f MB beside the RAM each (most %.1f), %.0f MB of RAM touched\n",
		n, m, wall / 1000, c / n, cmax, o / n, omax, g / n }'
