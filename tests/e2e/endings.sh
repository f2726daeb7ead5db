# SPDX-License-Identifier: GPL-2.0-or-later
# How a run ends: timeout, signals, guests that execute garbage. Whatever they do, the process ends when it is told to.
. "$(dirname "$0")/lib.sh"

for path in bt interp; do
	boot timeout-$path 3 amd64 "steelyard.shell" --path $path --memory 256M
	check "$path: --timeout gives status 124" [ "$status" -eq 124 ]
done

# ends_on SIGNAL PATH FILE: loaded as a flat guest, sent a signal, gone within ten seconds
ends_on() {
	local sig=$1 path=$2 file=$3 pid n=0
	"$STEELYARD" run --path "$path" --memory 64M --serial none --timeout 60 --flat "$file@0x7c00" </dev/null >"$work/out" 2>"$work/err" &
	pid=$!
	sleep 0.5
	kill -"$sig" $pid 2>/dev/null || { wait $pid; echo "     ended by itself with $?: $(head -n 1 "$work/err")"; return 1; }
	while kill -0 $pid 2>/dev/null && [ $n -lt 100 ]; do
		sleep 0.1
		n=$((n + 1))
	done
	[ $n -lt 100 ] && return 0
	kill -9 $pid
	return 1
}
printf '\xfa\xeb\xfe' >"$work/cli-loop" # cli; jmp .
printf '\xfa\xf4\xeb\xfd' >"$work/cli-hlt"
printf '\xeb\xfe' >"$work/loop"
for path in bt interp; do
	for g in cli-loop cli-hlt loop; do
		check "$path: SIGTERM ends a guest in $g" ends_on TERM $path "$work/$g"
	done
	check "$path: SIGINT ends a guest in a loop" ends_on INT $path "$work/loop"
done

# Debug exit: mov dx,0xf4; mov al,21; out dx,al: the same bytes in 16, 32 and 64-bit code need no mode to be known.
printf '\x66\xba\xf4\x00\xb0\x15\xee\xeb\xfe\x00' >"$work/exit16"
printf '\xb0\x15\xe6\xf4\xeb\xfe' >"$work/exit" # mov al,21; out 0xf4,al; jmp .
for path in bt interp; do
	timeout -k 5 30 "$STEELYARD" run --path $path --memory 64M --serial none --timeout 20 --flat "$work/exit@0x7c00" --debug-exit 0xf4 \
		</dev/null >"$work/out" 2>"$work/err"
	check "$path: debug exit with 21 gives status 43" [ $? -eq 43 ]
done

# Garbage from a fixed sequence: any end is fine but a crash of the host process (128 and more) or no end at all.
garbage() { awk -v s="$1" 'BEGIN { srand(s); for (i = 0; i < 4096; i++) printf "%c", int(rand() * 127) + 1 }'; }
for path in bt interp; do
	worst=0
	for seed in 1 2 3 4 5 6 7 8; do
		LC_ALL=C garbage $seed >"$work/garbage"
		timeout -k 5 30 "$STEELYARD" run --path $path --memory 64M --serial none --timeout 2 --flat "$work/garbage@0x7c00" \
			</dev/null >"$work/out" 2>"$work/err"
		status=$?
		case $status in
		0 | 4 | 124) ;;
		*) [ $((status & 1)) -eq 1 ] && [ $status -lt 128 ] || { worst=$status; echo "     seed $seed: status $status $(tail -n 1 "$work/err")"; } ;;
		esac
	done
	check "$path: eight guests of garbage end in an orderly way" [ $worst -eq 0 ]
done
finish
