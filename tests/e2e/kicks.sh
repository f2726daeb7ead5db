#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Short programs in the guest while its vCPUs are kicked ten thousand times a second: whatever generated code was doing when
# the signal came, it must have done wholly or not at all. Their stacks, heaps and addresses are theirs alone, so a window
# into memory that outlives its address space is seen as a crash or a wrong number.
. "$(dirname "$0")/lib.sh"

loop='for+i+in+$(seq+500);do+printf+%08d%08d+$i+$i|dd+of=/tmp/x+bs=512+seek=$i+conv=notrunc,sync+2>/tmp/dd||echo+BAD+$i;done;echo+LOOPED+$(wc+-c+</tmp/x)'
wrong='BAD|Segm|Abort|free\(|smash|trap|invalid|syntax'
for cpus in 1 2; do
	( # waits for the machine, which boot starts
		for _ in $(seq 200); do
			pid=$("$STEELYARD" vm status "$work/kicks$cpus.sock" -o json 2>/dev/null | tr ',{' '\n\n' | sed -n 's/^ *"pid": *\([0-9]*\).*/\1/p')
			[ -n "$pid" ] && break
			sleep 0.1
		done
		exec "$TOOLS/kick" "${pid:-0}" 60
	) &
	kicker=$!
	boot kicks$cpus 100 amd64 "steelyard.exec=$loop steelyard.poweroff" --path bt --cpus $cpus --control "$work/kicks$cpus.sock"
	booted kicks$cpus
	check "$cpus vCPU(s): the guest ran to its end" [ $? -eq 0 ]
	wait $kicker
	check "$cpus vCPU(s): it was kicked" [ $? -eq 0 ]
	check "$cpus vCPU(s): every program right" eval 'grep -q "^LOOPED 256512" "$work/kicks$cpus.out" && ! grep -qE "$wrong" "$work/kicks$cpus.out"'
	grep -E "$wrong" "$work/kicks$cpus.out" | head -3
done
finish
