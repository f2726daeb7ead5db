# SPDX-License-Identifier: GPL-2.0-or-later
# Interpreter and translator in lockstep: the first millions of instructions of the Debian kernels, small guests to their
# end, and what a person may get wrong. "make lockstep" is the long run.
. "$(dirname "$0")/lib.sh"

# lockstep LABEL ARGS...: output in $work/LABEL.{out,err}, status in $status
lockstep() {
	local label=$1
	shift
	timeout -k 5 120 "$STEELYARD" run --lockstep interp,bt "$@" </dev/null >"$work/$label.out" 2>"$work/$label.err"
	status=$?
}
# agrees LABEL [END]: no difference; else what was found
agrees() {
	[ "$status" -eq 0 ] && grep -q "lockstep: no difference.*${2:-}" "$work/$1.err" && return 0
	echo "     status $status"
	head -n 40 "$work/$1.err" | sed 's/^/     /'
	return 1
}

n=4000000
for arch in amd64 i386; do
	if [ ! -s "$GUEST/$arch/initrd" ]; then
		skip "Debian $arch in lockstep: no guest files"
		continue
	fi
	lockstep "$arch" --lockstep-insns $n --memory 128M --kernel "$GUEST/$arch/vmlinuz" --initrd "$GUEST/$arch/initrd" \
		--append "console=ttyS0 panic=-1"
	check "Debian $arch: $n instructions in lockstep" agrees "$arch"
	count=$(sed -n 's/.*no difference in \([0-9]*\) instructions.*/\1/p' "$work/$arch.err")
	check "Debian $arch: they were executed" [ "${count:-0}" -ge $n ]
done

# The small guests that one processor and virtual time suit: all modes, faults, interrupts, self-modifying code.
for g in absent boundary debug exc32 exc64 irq modes page32 page64 seg sens32 sens64 smc strings syscall sysenter task v86 xstate iobitmap garbage64; do
	elf=$TOOLS/../guest/$g.elf
	[ -s "$elf" ] || continue
	lockstep "$g" --memory 64M --lockstep-insns 5000000 --serial none --multiboot "$elf"
	check "guest $g in lockstep, to its end" agrees "$g" "end: the guest"
done

"$STEELYARD" run --lockstep kvm,bt --flat /dev/null@0x7c00 2>"$work/usage.err"
check "a pair of paths that it cannot do: usage" [ $? -eq 2 ]
"$STEELYARD" run --lockstep interp,bt --cpus 2 --flat /dev/null@0x7c00 2>"$work/usage.err"
check "two CPUs: usage" [ $? -eq 2 ]
finish
