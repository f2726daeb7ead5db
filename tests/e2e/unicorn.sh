# SPDX-License-Identifier: GPL-2.0-or-later
# libunicorn as a peer: the workloads' own program in it computes what it computes natively, every execution from the same beginning; what
# it cannot run is a reason, in the program and in a run's records; a build without it says so.
. "$(dirname "$0")/lib.sh"

peer=$(dirname "$STEELYARD")/peers/unicorn
native=$GUEST/amd64/workloads
spec="--workloads fib,pchase,matavx2,getpid --scale 5 --iterations 2 --blocks 1 --seed 3 --quiet-wait-s 0 --guest $GUEST/amd64"
ev() { timeout -k 5 300 "$STEELYARD" eval "$@" >"$work/out" 2>"$work/err" </dev/null; status=$?; }
count() { grep -c "$1" "$work/r/results.jsonl"; }
whole() { "$STEELYARD" eval verify "$1" >"$work/verify" 2>&1 && grep -q 'all right' "$work/verify" && ! grep -q '^note' "$work/verify" || { sed 's/^/     /' "$work/verify"; false; }; }

# ---- a build without it: the same program where nothing stands beside it ----
mkdir "$work/alone"
cp "$STEELYARD" "$work/alone/steelyard"
"$work/alone/steelyard" eval list >"$work/out"
check "without it: list says why" grep -q '^  unicorn .*cannot run here: libunicorn was not here' "$work/out"
timeout -k 5 200 "$work/alone/steelyard" eval run quick $spec --paths unicorn --no-report --out "$work/none" >"$work/out" 2>&1 </dev/null
status=$?
check "without it: the path is given up with its reason" [ $status -eq 1 -a "$(grep -c '"what":"given-up".*libunicorn was not here.*"path":"unicorn"' "$work/none/results.jsonl")" -eq 1 ]
check "without it: the folder is right" whole "$work/none"
if [ ! -x "$peer" ]; then
	skip "libunicorn is not here"
	finish
fi

# ---- the program ----
check "--version is libunicorn's" eval '"$peer" --version | grep -q "^libunicorn [0-9]*\.[0-9]*, built with [0-9.]*$"'
for w in fib quicksort records libcstr repstr x87 fft pixels memstream pchase jitsmall smc; do
	want=$("$native" $w 1 | cut -d' ' -f3)
	timeout -k 5 100 "$peer" --times 2 "$native" --mark --cpus 1 $w 1 >"$work/out" 2>"$work/err" </dev/null
	status=$?
	check "$w: twice what it is natively" [ $status -eq 0 -a "$(grep -c "^RESULT $w $want [1-9]" "$work/out") $(grep -c "^@stop $w $want\$" "$work/out")" = "2 2" ]
done
# build NAME OPTIONS...: a static program from the source on stdin
build() {
	local name=$1
	shift
	gcc -x "$@" -static -no-pie -o "$work/$name" - 2>"$work/err" || { cat "$work/err"; false; }
}
run() { timeout -k 5 60 "$peer" "$@" >"$work/out" 2>"$work/err" </dev/null; status=$?; }
build fresh c -O1 <<'EOS'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int data = 5, bss;
int main(int argc, char **argv)
{
	char stack[4096], *heap = malloc(3000), *big = malloc(1 << 20);
	volatile char *s = stack;

	printf("%d %d %d %d %d %s %d\n", data++, bss++, s[0], heap[2000], big[99999], argv[argc - 1], argc);
	memset(heap, 7, 3000);
	memset(big, 8, 1 << 20);
	memset(stack, 9, sizeof(stack));
	return s[1] - 9 + (argc > 2 ? 3 : 0);
}
EOS
run --times 3 "$work/fresh" word
check "every execution begins anew" [ $status -eq 0 -a "$(sort "$work/out" | uniq -c | tr -s ' ')" = " 3 5 0 0 0 0 word 2" ]
run "$work/fresh" a b
check "its exit status" [ $status -eq 3 -a ! -s "$work/err" ]
# asm NAME: a program without a library
asm() { build "$1" assembler -nostdlib; }
{ echo '.globl _start'; echo '_start: vaddpd %ymm0, %ymm1, %ymm2; mov $231, %eax; xor %edi, %edi; syscall'; } | asm avx
{ echo '.globl _start'; echo '_start: mov $57, %eax; syscall'; } | asm fork
{ echo '.globl _start'; echo '_start: mov 0x123456789, %rax; ud2'; } | asm stray
run "$work/avx"
check "it has no AVX, as the reason for matavx2 says" [ $status -ne 0 ]
run "$work/fork"
check "a system call that needs a system: one line with its number" [ $status -eq 1 -a "$(wc -l <"$work/err")" -eq 1 -a "$(grep -c 'system call 57 needs' "$work/err")" -eq 1 ]
run "$work/stray"
check "memory that is not there: one line" [ $status -eq 1 -a "$(wc -l <"$work/err")" -eq 1 -a "$(grep -c 'at 0x' "$work/err")" -eq 1 ]
head -c 100 "$work/fork" >"$work/torn"
for f in "$work/torn" /bin/sh /dev/null "$work/nothing"; do
	run "$f"
	check "no program for it: $(basename "$f"): one line" [ $status -eq 1 -a "$(wc -l <"$work/err")" -eq 1 ]
done
run --times 0 "$work/fork"
check "wrong usage: status 2" [ $status -eq 2 ]

# ---- in a run ----
ev run quick $spec --paths unicorn --out "$work/r"
check "a run: status 0" [ $status -eq 0 ]
check "cold and steady, checksums those of the native program" [ "$(grep '"path":"unicorn"' "$work/r/results.jsonl" | grep -c '"valid":true') $(grep '"path":"unicorn"' "$work/r/results.jsonl" | grep -c '"phase":"steady".*"valid":true')" = "4 2" ]
check "every one has a time" [ "$(grep '"path":"unicorn"' "$work/r/results.jsonl" | grep -c '"timed":true.*"wall_ns":[1-9].*"cpu_ns":[1-9]')" -eq 4 ]
check "no AVX: a record with the reason" [ "$(count '"what":"left-out".*no AVX.*"path":"unicorn".*"workload":"matavx2"')" -eq 1 ]
check "no system: a record with the reason" [ "$(count '"what":"left-out".*operating system.*"path":"unicorn".*"workload":"getpid"')" -eq 1 ]
check "it has no boot" [ "$(count '"type":"boot"')" -eq 0 ]
check "the environment has its version, the spec whose program it is" grep -q '"type":"run".*"name":"unicorn","cpus":1,"peer":"unicorn","slow":true.*"unicorn":"libunicorn [0-9]' "$work/r/results.jsonl"
check "the table says what is left out" [ "$(grep -c '^unicorn leaves out matavx2: libunicorn has no AVX\|^unicorn leaves out getpid: it needs an operating system' "$work/out")" -eq 2 ]
check "the page says it too, and not that it failed" eval 'grep -q "no mean of all:.* leaves out getpid: it needs" "$work/r/report.html" && ! grep -q "no mean, failed" "$work/r/report.html"'
check "and so does no line of the table" eval '! grep -q "no mean of all workloads, because of" "$work/out"'
check "the folder is right" whole "$work/r"
grep -v '"type":"end"' "$work/r/results.jsonl" >"$work/cut"
line=$(grep -n '"path":"unicorn".*"type":"sample"\|"type":"sample".*"path":"unicorn"' "$work/cut" | sed -n '3s/:.*//p')
mkdir "$work/cutdir"
head -n "$line" "$work/cut" >"$work/cutdir/results.jsonl"
ev resume "$work/cutdir" --guest "$GUEST/amd64"
check "cut off in the middle of it and resumed: whole" eval '[ $status -eq 0 ] && whole "$work/cutdir" && [ "$(grep "\"path\":\"unicorn\"" "$work/cutdir/results.jsonl" | grep -c "\"valid\":true\|left-out")" -eq 6 ]'
finish
