# SPDX-License-Identifier: GPL-2.0-or-later
# run --insn-rows counts every instruction, once, on both paths.
. "$(dirname "$0")/lib.sh"

# 32-bit: mov ecx, 1000; 1: dec ecx; jnz 1b; mov al, 21; out 0xf4, al
printf '\xb9\xe8\x03\x00\x00\x49\x75\xfd\xb0\x15\xe6\xf4' >"$work/loop"
printf 'DEC 1000\nJNZ 1000\nMOV 2\nOUT 1\n' >"$work/want"
for path in interp bt; do
	timeout -k 5 60 "$STEELYARD" run --path $path --memory 64M --serial none --flat "$work/loop@0x100000" --insn-rows "$work/rows" \
		--timeout 30 </dev/null >"$work/out" 2>"$work/err"
	check "$path: the guest's status" [ $? -eq 43 ]
	sort "$work/rows" >"$work/got"
	check "$path: rows and counts: $(paste -sd, "$work/got")" cmp -s "$work/want" "$work/got"
done
finish
