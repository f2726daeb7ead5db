# SPDX-License-Identifier: GPL-2.0-or-later
# Bad input: one line that says what and what to do, status 1 or 2, nothing left behind.
. "$(dirname "$0")/lib.sh"

k=$GUEST/amd64/vmlinuz
i=$GUEST/amd64/initrd
: >"$work/empty"
head -c 600 "$k" >"$work/short"
head -c 300000 "$k" >"$work/cut"
head -c 100000 /dev/zero >"$work/zeros"
echo "not a kernel, but a sentence" >"$work/text"
truncate -s 900M "$work/big"

# bad NAME STATUS ARGS...
bad() {
	local name=$1 want=$2 got lines
	shift 2
	timeout -k 5 60 "$STEELYARD" run --serial stdio --timeout 20 "$@" </dev/null >"$work/out" 2>"$work/err"
	got=$?
	lines=$(wc -l <"$work/err")
	if [ "$got" -ne "$want" ]; then
		fail "$name: status $got instead of $want: $(head -n 2 "$work/err")"
	elif [ "$lines" -ne 1 ]; then
		fail "$name: $lines lines on stderr instead of one: $(head -n 3 "$work/err" | tr '\n' '|')"
	elif [ -s "$work/out" ]; then
		fail "$name: something on stdout: $(head -c 100 "$work/out")"
	else
		pass "$name: $(cat "$work/err")"
	fi
}

bad "no such kernel" 1 --kernel "$work/nowhere"
bad "empty kernel" 1 --kernel "$work/empty"
bad "600 bytes of a kernel" 1 --kernel "$work/short"
bad "300000 bytes of a kernel" 1 --kernel "$work/cut"
bad "zeros as a kernel" 1 --kernel "$work/zeros"
bad "text as a kernel" 1 --kernel "$work/text"
bad "a folder as a kernel" 1 --kernel "$work"
bad "no such initrd" 1 --kernel "$k" --initrd "$work/nowhere"
bad "empty initrd" 1 --kernel "$k" --initrd "$work/empty"
bad "initrd larger than memory" 1 --kernel "$k" --initrd "$work/big" --memory 512M
bad "memory too small for the kernel" 1 --kernel "$k" --initrd "$i" --memory 16M
bad "no such ROM" 1 --rom "$work/nowhere"
bad "empty ROM" 1 --rom "$work/empty"
printf five >"$work/tiny"
bad "ROM too small for a reset vector" 1 --rom "$work/tiny"
bad "no such flat file" 1 --flat "$work/nowhere@0x1000"
bad "text as multiboot" 1 --multiboot "$work/text"
bad "more memory than the host has" 1 --kernel "$k" --memory 900G
bad "no memory" 2 --kernel "$k" --memory 0
bad "memory is no number" 2 --kernel "$k" --memory lots
bad "unknown path" 2 --kernel "$k" --path teleport
bad "no processors" 2 --kernel "$k" --cpus 0
bad "too many processors" 2 --kernel "$k" --cpus 100000
bad "flat address is no number" 2 --flat "$work/text@here"
bad "nothing to run" 2
bad "unknown option" 2 --kernel "$k" --frobnicate
bad "two things to run" 2 --kernel "$k" --flat "$work/text@0x1000"
bad "serial is nothing known" 2 --kernel "$k" --serial pigeon
bad "insn-rows into no folder" 1 --flat "$work/text@0x1000" --insn-rows "$work/nowhere/rows"
bad "insn-rows in lockstep" 2 --flat "$work/text@0x1000" --insn-rows "$work/rows" --lockstep interp,bt
bad "timeout is no number" 2 --kernel "$k" --timeout soon
"$STEELYARD" frobnicate >"$work/out" 2>"$work/err" </dev/null
check "unknown verb: status 2" [ $? -eq 2 ]
"$STEELYARD" --help >"$work/out" 2>"$work/err" </dev/null
check "--help: status 0 and on stdout" [ $? -eq 0 -a -s "$work/out" -a ! -s "$work/err" ]
"$STEELYARD" eval quick --paths teleport >"$work/out" 2>"$work/err" </dev/null
check "eval, unknown path: status 2" [ $? -eq 2 ]
"$STEELYARD" eval quick --guest "$work" >"$work/out" 2>"$work/err" </dev/null
check "eval, no guest files: status 1" [ $? -eq 1 -a "$(wc -l <"$work/err")" -eq 1 ]
finish
