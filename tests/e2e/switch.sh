# SPDX-License-Identifier: GPL-2.0-or-later
# A Debian guest that changes its path a hundred times at random moments, while it computes, forks, talks through pipes and
# uses AVX: everything it computes is what this host computes, its clock never goes back, its timers keep coming.
. "$(dirname "$0")/lib.sh"

# changes LABEL: how many the run's JSON line counts
changes() { sed -n 's/.*"switches":{"count":\([0-9]*\),.*/\1/p' "$work/$1.err"; }
native_checksum() { "$GUEST/amd64/workloads" "$1" "$2" | cut -d' ' -f3; }
same_checksums() { # LABEL SCALE NAMES...
	local label=$1 scale=$2 name got
	shift 2
	for name; do
		got=$(sed -n "s/.*RESULT $name \([0-9a-f]*\) .*/\1/p" "$work/$label.out" | sort -u)
		[ "$got" = "$(native_checksum "$name" "$scale")" ] && continue
		echo "     $name: guest ${got:-nothing}, native $(native_checksum "$name" "$scale")"
		return 1
	done
}
run_list() { local s=$1 l=; shift; for n; do l=$l${l:+,}$n:$s; done; echo "steelyard.run=$l"; }
# busybox: a megabyte through a pipe into sha256sum and md5sum, shells that come and go, uptime that must not fall, naps that
# must end. All the while "workloads --clocks" watches the TSC, the clocks, two kinds of periodic timers and the tick on every
# CPU, and the workloads run beside it, one after the other.
script='workloads+--clocks+/tmp/stop&watch=$!;'\
'for+i+in+1+2+3+4+5+6;do+seq+1+20000|tee+/tmp/s$i|sha256sum;(echo+$i;sleep+0.05)|cat>/dev/null;done;'\
'a=0;for+i+in+1+2+3+4+5+6+7+8+9+10;do+read+u+x</proc/uptime;u=${u%.*}${u#*.};[+$u+-ge+$a+]||echo+CLOCK;a=$u;sleep+0.02;done;'\
'cat+/tmp/s*|md5sum;for+w+in+WORK;do+workloads+$w+5;done;touch+/tmp/stop;wait+$watch;'\
'dmesg|grep+-iE+"unstable|lost|skew|backward|stall|lockup|BUG:|WARNING:"|sed+s/^/DMESG+/;'\
'echo+SOURCE+$(cat+/sys/devices/system/clocksource/clocksource0/current_clocksource);echo+SCRIPT+END'
sum=$(seq 1 20000 | sha256sum | cut -d' ' -f1)
md5=$(for i in 1 2 3 4 5 6; do seq 1 20000; done | md5sum | cut -d' ' -f1)

# kvm is among the paths where this host's is native: the probe's word, as auto takes it
paths=bt,interp
if "$STEELYARD" probe --quick --json </dev/null >"$work/probe" 2>&1 && grep -q '"path": "kvm"' "$work/probe"; then
	paths=bt,interp,kvm
else
	skip "kvm among the paths of the Debian guests: $(sed -n 's/^verdict *//p' <<<"$("$STEELYARD" probe --quick </dev/null 2>&1)" | cut -c1-100)"
fi
one() { # LABEL CPUS SEED
	boot "$1" 240 amd64 "steelyard.exec=${script/WORK/${names// /+}} steelyard.poweroff" --cpus "$2" --memory 256M --path bt \
		--switch-every "8:$paths:$3" --json
	check "$1: boots and powers off with status 0" booted "$1"
	check "$1: native checksums" same_checksums "$1" 5 $names
	check "$1: six sums through pipes" [ "$(grep -c "^$sum" "$work/$1.out")" -eq 6 ]
	check "$1: the sum of sums" grep -q "^$md5" "$work/$1.out"
	check "$1: the clock does not go back, the naps end" sh -c "grep -q '^SCRIPT END' $work/$1.out && ! grep -q '^CLOCK$' $work/$1.out"
	check "$1: no clock and no timer goes wrong: $(grep '^CLOCKS' "$work/$1.out" | head -n 3 | tr '\n' ' ')" \
		sh -c "grep -q '^CLOCKS RIGHT cpus=$2 ' $work/$1.out && ! grep -q '^CLOCKS WRONG' $work/$1.out"
	check "$1: the kernel has nothing to say about it$(grep '^DMESG' "$work/$1.out" | head -n 3)" \
		sh -c "! grep -q '^DMESG' $work/$1.out && grep -q '^SOURCE [a-z]' $work/$1.out"
	check "$1: a hundred changes of path ($(changes "$1"))" [ "$(changes "$1")" -ge 100 ]
}
names="sha256 sieve matavx2 x87 fork pingpong signal thread smc jitsmall"
one up 1 1
one smp 2 2

# All three paths: small guests that a KVM made by software executes right. One flaw of such a KVM cannot be kept out by the choice of
# guests: what its emulator does not know raises #UD in ring 3, INT n for one, when it is the emulator that meets it.
known_flaw() { # OUTPUT
	grep -q '^ *"int_enters_ring0",\{0,1\}$' "$work/probe" && grep -q 'exception 00000006' "$1"
}
small=$TOOLS/../guest
if [ -w /dev/kvm ] && [ -f "$small/smp.elf" ]; then
	for g in smp smc strings iobitmap ports modes sens32; do
		bad= flaw=
		for seed in 1 2; do
			timeout -k 5 60 "$STEELYARD" run --path bt --kvm-trust --cpus 2 --memory 64M --multiboot "$small/$g.elf" --timeout 50 \
				--switch-every "4:kvm,bt,interp:$seed" </dev/null >"$work/small" 2>&1
			[ $? -eq 1 ] && continue
			known_flaw "$work/small" && flaw=1 || bad="$bad seed $seed: $(tr -cd '\40-\176' <"$work/small" | tail -c 200)"
		done
		if [ -n "$flaw" ] && [ -z "$bad" ]; then
			skip "$g on kvm, bt and interp by turns: this KVM raised #UD for an instruction that is none, as the probe says"
		else
			check "$g on kvm, bt and interp by turns$bad" [ -z "$bad" ]
		fi
	done
else
	skip "kvm among the paths: no /dev/kvm that we may open"
fi

# Whatever this host's KVM is, a guest that begins there runs to its end: on kvm, or on what goes on for it
if [ -w /dev/kvm ]; then
	boot kvm 240 amd64 "$(run_list 5 $names) steelyard.poweroff" --cpus 2 --memory 256M --path kvm --json
	check "--path kvm: boots and powers off with status 0" booted kvm
	check "--path kvm: native checksums" same_checksums kvm 5 $names
	if [ $paths = bt,interp ]; then
		check "--path kvm: on a KVM that is not native it ended up on bt by itself, and says where and why" \
			grep -qE '"from":"kvm","to":"bt","cause":"(unsound|cannot|stalled|fail)","cs":[0-9]+,"rip":[0-9]+,"why":"[^"]{10,}' "$work/kvm.err"
		check "--path kvm: the verdict is recorded with it" grep -q '"probe":{"level":"\(partial\|unusable\)"' "$work/kvm.err"
	fi
else
	"$STEELYARD" run --path kvm --flat /dev/null@0x7c00 >"$work/nokvm" 2>&1
	check "without /dev/kvm: status 1 and a line that says so" [ $? -eq 1 -a "$(grep -c '/dev/kvm' "$work/nokvm")" -eq 1 ]
fi

# By hand: there and back, and who asks for what is not there
boot hand 60 amd64 "$(run_list 20 sha256) steelyard.poweroff" --path bt --switch-after 0.5:interp --switch-after 0.8:bt --json
check "hand: boots" booted hand
check "hand: native checksum" same_checksums hand 20 sha256
check "hand: two changes" [ "$(changes hand)" -eq 2 ]
"$STEELYARD" run --switch-after 1:nothing --flat /dev/null@0x7c00 >"$work/bad" 2>&1
check "an unknown path is bad usage" [ $? -eq 2 ]
finish
