# SPDX-License-Identifier: GPL-2.0-or-later
# run --marks: every line that a guest writes to port 0xe9 becomes a line of JSON with clocks that do not go back and with
# counters; an empty line is the moment of the next; nothing of it reaches the terminal; a file that cannot take it is an error.
. "$(dirname "$0")/lib.sh"

# Real mode: "@a" newline, 20000 reads of a port, newline, "@b" newline, exit with 21.
out() { printf '%s' "$1" | od -An -tx1 -v | tr -s ' ' '\n' | sed '/^$/d; s/.*/\\xb0\\x&\\xe6\\xe9/' | tr -d '\n'; }
nl='\xb0\x0a\xe6\xe9'
printf "$(out @a)$nl"'\xb9\x20\x4e\xe4\x80\xe2\xfc'"$nl$(out @b)$nl"'\xb0\x15\xe6\xf4' >"$work/guest.bin"
for path in interp bt; do
	timeout 60 "$STEELYARD" run --path $path --flat "$work/guest.bin@0x7c00" --marks "$work/$path.marks" >"$work/out" 2>"$work/err" </dev/null
	check "$path: the guest ends" [ $? -eq 43 ]
	check "$path: nothing on the terminal" [ ! -s "$work/out" ]
	check "$path: power-on and two marks" [ "$(sed 's/.*"mark":"\([^"]*\)".*/\1/' "$work/$path.marks" | paste -sd' ')" = "@power-on @a @b" ]
	check "$path: each has the clocks and the counters" \
		[ "$(grep -c '"host_ns":[0-9]*,"cpu_ns":[0-9]*,"vcpu_ns":[0-9]*,"io_ns":[0-9]*,"counters":{.*"io_writes":[0-9]' "$work/$path.marks")" -eq 3 ]
	sed 's/.*"host_ns":\([0-9]*\).*/\1/' "$work/$path.marks" | sort -n -C
	check "$path: time does not go back" [ $? -eq 0 ]
	reads=$(sed -n 's/.*"io_reads":\([0-9]*\).*/\1/p' "$work/$path.marks" | paste -sd' ')
	check "$path: the reads lie between the marks: $reads" [ "$reads" = "0 0 20000" ]
done
timeout 60 "$STEELYARD" run --path interp --flat "$work/guest.bin@0x7c00" --marks /dev/full >"$work/out" 2>"$work/err" </dev/null
check "a full disk is said, and is status 1" [ $? -eq 1 -a "$(grep -c 'marks.*disk full' "$work/err")" -eq 1 ]
timeout 60 "$STEELYARD" run --path interp --flat "$work/guest.bin@0x7c00" --marks "$work/no/such" >"$work/out" 2>"$work/err" </dev/null
check "so is a folder that is not there" [ $? -eq 1 -a "$(wc -l <"$work/err")" -eq 1 ]
timeout 60 "$STEELYARD" run --flat "$work/guest.bin@0x7c00" --marks "$work/m" --debugcon none >"$work/out" 2>"$work/err" </dev/null
check "port 0xe9 has one end" [ $? -eq 2 ]
finish
