#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# bench-io.sh STEELYARD IMAGE PAIRS [SECONDS]
#
# Boot, disk and network of the same Debian on steelyard (bt) and on QEMU (TCG), in pairs that take turns at being first. Each machine has
# a copy of the image, 1 GiB and one vCPU, virtio for disk (page cache of the host) and network (libslirp). In the guest: fio with direct I/O on a
# file of the root file system, iperf3 against a server on this host, both ways. For each item the rate that the guest saw,
# and the CPU time of the whole process on the host, which other work on the host disturbs less.
set -u
steelyard=$1 image=$2 pairs=$3 seconds=${4:-5}
for tool in qemu-system-x86_64 iperf3 python3; do
	command -v $tool >/dev/null || { echo "SKIP bench-io: no $tool"; exit 0; }
done
dir=$(mktemp -d "$(dirname "$image")/bench.XXXXXX")
helpers=()
trap 'kill "${helpers[@]}" ${machine:-} 2>/dev/null; wait; rm -rf "$dir"' EXIT
hz=$(getconf CLK_TCK)
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
www=$(port) perf=$(port)
# In the guest: "@ITEM" begins, "=ITEM RATE UNIT" ends. The first fio makes the file.
cat >"$dir/bench" <<GUEST
export TERM=dumb
f="fio --name=x --filename=/root/fio.dat --size=192M --direct=1 --ioengine=libaio --iodepth=16 --output-format=terse --terse-version=3"
\$f --rw=write --bs=1M >/dev/null 2>&1
disk() { # ITEM RW BS FIELD UNIT: terse fields 7 and 48 are KiB/s, 8 and 49 operations a second
	echo "@\$1"; r=\$(\$f --rw=\$2 --bs=\$3 --time_based --runtime=$seconds 2>/dev/null | tail -n 1 | cut -d';' -f\$4); echo "=\$1 \$r \$5"
}
net() { # ITEM ARGS
	echo "@\$1"; r=\$(iperf3 -c 10.0.2.2 -p $perf -t $seconds -f k \$2 2>&1 | sed -n 's/.* \([0-9.]*\) Kbits.*receiver.*/\1/p' | tail -n 1); echo "=\$1 \$r Kbit/s"
}
disk randread randread 4k 8 IOPS
disk randwrite randwrite 4k 49 IOPS
disk read read 1M 7 KiB/s
disk write write 1M 48 KiB/s
net send ""
net receive -R
poweroff
GUEST
python3 -m http.server --directory "$dir" --bind 127.0.0.1 "$www" >/dev/null 2>&1 &
helpers+=($!)
iperf3 -s -B 127.0.0.1 -p "$perf" >/dev/null 2>&1 &
helpers+=($!)
ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$machine/stat" 2>/dev/null || echo 0; }
measure() { # WHO COMMAND...: lines "WHO ITEM rate unit cpu_s wall_s"
	local who=$1 line t0=0 n0 item rate unit booted=
	shift
	rm -f "$dir/in" "$dir/out"
	mkfifo "$dir/in"
	: >"$dir/out"
	n0=$(date +%s%N)
	timeout -k 5 1500 "$@" <"$dir/in" >"$dir/out" 2>"$dir/err" &
	exec 8>"$dir/in"
	sleep 0.2
	machine=$(pgrep -P $!)
	exec 7< <(tail -n +1 -s 0.1 --pid="$machine" -f "$dir/out")
	# A prompt has no end of line: what comes first behind it is "MOTD", the last line before.
	while IFS= read -r -u 7 line; do
		line=${line//$'\r'/}
		case $line in
		*'permitted by applicable law.'*)
			[ -z "$booted" ] || continue
			booted=1
			echo "$who boot 0 - $(($(ticks) * 1000 / hz)) $((($(date +%s%N) - n0) / 1000000))"
			sleep 3
			echo "stty -echo; curl -fsS http://10.0.2.2:$www/bench | sh" >&8
			;;
		*@*) case ${line##*@} in randread | randwrite | read | write | send | receive) t0=$(ticks) n0=$(date +%s%N) ;; esac ;;
		=*)
			read -r item rate unit <<<"${line#=}"
			echo "$who $item $rate $unit $((($(ticks) - t0) * 1000 / hz)) $((($(date +%s%N) - n0) / 1000000))"
			;;
		esac
	done
	exec 8>&- 7<&-
	wait
}
append="root=LABEL=steelyard console=ttyS0"
one() {
	cp --sparse=always --reflink=auto "$image" "$dir/disk"
	case $1 in
	bt) measure bt "$steelyard" run --path bt --memory 1G --kernel "$image.vmlinuz" --initrd "$image.initrd" --append "$append" --control none \
		--disk "file=$dir/disk" --net user --rng ;;
	qemu) measure qemu qemu-system-x86_64 -M pc -accel tcg -cpu max -m 1G -nographic -no-reboot -kernel "$image.vmlinuz" -initrd "$image.initrd" \
		-append "$append" -drive "file=$dir/disk,if=virtio,format=raw,cache=writeback" -nic user,model=virtio-net-pci -device virtio-rng-pci ;;
	esac
}
for k in $(seq "$pairs"); do
	if [ $((k % 2)) -eq 1 ]; then one bt; one qemu; else one qemu; one bt; fi
done | tee "$dir/all" | sed 's/^/     /'
# Medians; for the rates, CPU time for so much work: the process's CPU time by what was done in it.
awk '
	function median(s, a, n, i, j, t) {
		n = split(s, a, " ")
		for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (a[j] + 0 < a[i] + 0) { t = a[i]; a[i] = a[j]; a[j] = t }
		return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
	}
	{ if (!($2 in seen)) { seen[$2] = 1; order[++items] = $2 } unit[$2] = $4; rate[$1, $2] = rate[$1, $2] " " $3; cpu[$1, $2] = cpu[$1, $2] " " $5; wall[$1, $2] = wall[$1, $2] " " $6 }
	END {
		printf "%-10s %12s %12s %8s   %s\n", "item", "bt", "qemu-tcg", "bt/qemu", "unit"
		for (i = 1; i <= items; i++) {
			k = order[i]
			if (k == "boot") {
				a = median(cpu["bt", k]) / 1000; b = median(cpu["qemu", k]) / 1000
				if (b) printf "%-10s %12.1f %12.1f %8.2f   CPU s to the login (less is better)\n", k, a, b, a / b
				a = median(wall["bt", k]) / 1000; b = median(wall["qemu", k]) / 1000
				if (b) printf "%-10s %12.1f %12.1f %8.2f   s to the login (less is better)\n", k, a, b, a / b
				continue
			}
			a = median(rate["bt", k]); b = median(rate["qemu", k])
			if (b) printf "%-10s %12.0f %12.0f %8.2f   %s\n", k, a, b, a / b, unit[k]
			a = median(rate["bt", k]) / median(cpu["bt", k]); if (median(cpu["qemu", k])) b = b / median(cpu["qemu", k]); else b = 0
			if (b) printf "%-10s %12.1f %12.1f %8.2f   %s for each ms of CPU time in a second\n", k, a, b, a / b, unit[k]
		}
	}' "$dir/all"
