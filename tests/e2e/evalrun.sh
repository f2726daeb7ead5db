# SPDX-License-Identifier: GPL-2.0-or-later
# The runner of evaluations, whatever happens to it: interrupted, killed, no room, two at once, machines that hang, die or compute
# something else. Workloads and QEMU are played by two scripts, so that each case is exact and a run takes seconds.
. "$(dirname "$0")/lib.sh"

fake=$work/fake
mkdir -p "$fake/guest" "$fake/bin"
echo kernel >"$fake/guest/vmlinuz"
echo initrd >"$fake/guest/initrd"
# workloads [options] NAME SCALE: every option but --mark has a value
cat >"$fake/guest/workloads" <<'EOF'
#!/bin/bash
while [ $# -gt 2 ]; do case $1 in --mark) shift ;; *) shift 2 ;; esac; done
echo "@start $1 $2"
for ((i = 0; i < 2000; i++)); do :; done
printf '@stop %s 00000000%08d\nRESULT %s 00000000%08d 1200000 500000 0\n' "$1" "$2" "$1" "$2"
EOF
# What it does otherwise stands in the file "behave": die, hang, wrong or fail and a workload's name; or noboot.
cat >"$fake/bin/qemu-system-x86_64" <<'EOF'
#!/bin/bash
[ "$1" != --version ] || { echo "QEMU played by a test"; exit; }
read -r how who <"${0%/*}/behave"
while [ $# -gt 0 ]; do [ "$1" != -append ] || words=$2; shift; done
[ "$how" != noboot ] || { echo "qemu-system-x86_64: no such accelerator" >&2; exit 1; }
echo @init >&3
echo "STEELYARD INIT"
for w in $words; do case $w in steelyard.run=*) list=${w#*=} ;; esac; done
for item in ${list//,/ }; do
	name=${item%%:*} scale=${item#*:} times=${scale#*x} scale=${scale%x*}
	for ((n = 0; n < times; n++)); do
		echo "@start $name $scale" >&3
		for ((i = 0; i < 4000; i++)); do :; done
		sleep 0.02
		sum=$scale
		if [ "$name" = "$who" ]; then case $how in
			die) kill -SEGV $$ ;;
			hang) sleep 1000 ;;
			wrong) sum=$((scale + 1)) ;;
			fail) echo "FAILED $name"; continue ;;
		esac; fi
		echo >&3
		printf '@stop %s 00000000%08d\n' "$name" $sum >&3
		printf 'RESULT %s 00000000%08d 24000000 10000000 0\n' "$name" $sum
	done
done
EOF
chmod +x "$fake/guest/workloads" "$fake/bin/qemu-system-x86_64"
PATH=$fake/bin:$PATH
behave() { echo "$*" >"$fake/bin/behave"; }
# A look at how busy the host is takes a third of a second in front of each item: one run has it, the others ask for what any host is.
looks="--guest $fake/guest --paths qemu-tcg --workloads sieve,fib,interp --scale 7 --seed 5 --iterations 2 --quiet-wait-s 0 --no-report"
args="$looks --quiet-max-load 1024 --quiet-max-steal 100"
# ev LABEL OUT ARGS...: a whole run; its status in $status
ev() {
	local label=$1
	shift
	timeout -k 5 200 "$STEELYARD" eval "$@" >"$work/$label.out" 2>"$work/$label.err" </dev/null
	status=$?
}
# What each boot and execution is called, in order of the plan
keys() { sed -n 's/.*"type":"\(boot\|sample\)".*"order":\([0-9]*\).*/\2 &/p' "$1/results.jsonl" |
	sed 's/^\([0-9]*\) .*"type":"boot".*/\1 boot/; s/^\([0-9]*\) .*"path":"\([a-z-]*\)".*"workload":"\([a-z]*\)".*"scale":\([0-9]*\).*"iteration":\([0-9]*\).*/\1 \2 \3 \4 \5/' | sort -n; }
count() { grep -c "$2" "$1/results.jsonl"; }
right() { ev verify verify "$1"; [ $status -eq 0 ] && grep -q 'all right' "$work/verify.out" || { sed 's/^/     /' "$work/verify.out"; false; }; }
whole() { right "$1" && ! grep -q '^note' "$work/verify.out"; }

# The machine that hangs does so for its whole limit, 15 s and more: beside the other runs, with a QEMU of its own.
cp -r "$fake/bin" "$fake/hanging"
echo hang fib >"$fake/hanging/behave"
PATH=$fake/hanging:$PATH timeout -k 5 200 "$STEELYARD" eval run quick $args --blocks 1 --out "$work/hang" >"$work/hang.out" 2>"$work/hang.err" </dev/null &
hanging=$!

# ---- a run that nothing happens to ----
behave
ev plain run quick $args --blocks 2 --out "$work/plain"
check "plain: status 0" [ $status -eq 0 ]
check "plain: verify finds it whole" whole "$work/plain"
check "plain: every sample is valid" [ "$(count "$work/plain" '"valid":true')" -eq "$(count "$work/plain" '"type":"sample"')" ]
check "plain: cold and steady on the machine, in both blocks" [ "$(grep '"path":"qemu-tcg"' "$work/plain/results.jsonl" | grep -c '"phase":"cold"') $(grep '"path":"qemu-tcg"' "$work/plain/results.jsonl" | grep -c '"phase":"steady"')" = "6 6" ]
check "plain: two native passes and the slower one, there and back" [ "$(grep -o '"pass":"[a-z0-9]*"' "$work/plain/results.jsonl" | sort | uniq -c | tr -s ' \n' ' ')" = ' 24 "pass":"0" 24 "pass":"1" 24 "pass":"inject" 3 "pass":"reference" ' ]
check "plain: it can be reported" "$STEELYARD" eval report "$work/plain" --quiet
check "plain: the environment" grep -q '"type":"run".*"environment":{"cpu":.*"hashes":{"steelyard":"[0-9a-f]*","vmlinuz":"[0-9a-f]*"' "$work/plain/results.jsonl"
cp -r "$work/plain" "$work/changed"
sed -i '8s/"cpu_ns":[0-9]*/"cpu_ns":1/' "$work/changed/results.jsonl"
ev verify verify "$work/changed"
check "changed: a number that is another is found" [ $status -eq 1 -a "$(grep -c '^wrong: .*SHA256SUMS' "$work/verify.out")" -eq 1 ]
sed -i '0,/"valid":true/s//"valid":false/' "$work/changed/results.jsonl"
ev verify verify "$work/changed"
check "changed: so is a verdict that its checksum does not bear out" [ $status -eq 1 -a "$(grep -c '^wrong:.*"valid"' "$work/verify.out")" -eq 1 ]
sed '7d' "$work/plain/results.jsonl" >"$work/changed/results.jsonl"
ev verify verify "$work/changed"
check "changed: so is a line that is gone" [ $status -eq 1 -a "$(grep -c '^wrong:.*line 7.*seq' "$work/verify.out")" -eq 1 ]
ev again run quick $looks --blocks 2 --out "$work/again"
check "again: the same seed gives the same order" [ "$(keys "$work/again")" = "$(keys "$work/plain")" ]
ev again run quick $args --blocks 2 --out "$work/plain"
check "results are never overwritten" [ $status -eq 1 -a "$(wc -l <"$work/again.err")" -eq 1 ]
ev again run quick $args --blocks 1 --out "$work/again" --rotate
cp -r "$work/plain" "$work/packed" && xz "$work/packed/results.jsonl"
check "compressed: verify finds it whole" whole "$work/packed"
check "compressed: a report renews its seal" eval '"$STEELYARD" eval report "$work/packed" --quiet && grep -q "results.jsonl.xz" "$work/packed/SHA256SUMS" && whole "$work/packed"'
check "--rotate keeps the older ones" [ $status -eq 0 -a -s "$work/again.1/results.jsonl" ]
ev again resume "$work/plain"
check "nothing is missing: resume says so" grep -q 'nothing is missing' "$work/again.out"

# ---- machines that misbehave ----
behave wrong fib
ev wrong run quick $args --blocks 2 --out "$work/wrong"
check "wrong checksum: four records, and the run goes on" [ $status -eq 0 -a "$(count "$work/wrong" '"path":"qemu-tcg".*"workload":"fib".*"valid":false,"why":"wrong checksum')" -eq 4 ]
check "wrong checksum: the folder is right" whole "$work/wrong"
behave die fib
ev die run quick $args --blocks 2 --out "$work/die"
check "dead machine: a failed record, an event" [ $status -eq 0 -a "$(count "$work/die" '"ok":false,"timed":false')" -eq 2 -a "$(count "$work/die" '"what":"given-up".*"workload":"fib"')" -eq 1 ]
check "dead machine: the others have their results" [ "$(grep '"path":"qemu-tcg"' "$work/die/results.jsonl" | grep -c '"workload":"\(sieve\|interp\)".*"valid":true')" -eq 8 ]
check "dead machine: the folder is right" whole "$work/die"
behave fail interp
ev fail run quick $args --blocks 1 --out "$work/fail"
check "a guest that says FAILED: two failed records, two others" [ $status -eq 0 -a "$(count "$work/fail" '"why":"it failed in the guest"')" -eq 2 -a "$(grep '"path":"qemu-tcg"' "$work/fail/results.jsonl" | grep -c '"valid":true')" -eq 4 ]
wait $hanging
status=$?
check "hanging machine: a failed record with the limit" [ $status -eq 0 -a "$(count "$work/hang" '"workload":"fib".*"ok":false.*no end within')" -eq 2 ]
check "hanging machine: the others have their results" [ "$(grep '"path":"qemu-tcg"' "$work/hang/results.jsonl" | grep -c '"workload":"\(sieve\|interp\)".*"valid":true')" -eq 4 ]
check "hanging machine: the folder is right" whole "$work/hang"
behave noboot
ev noboot run quick $args --blocks 2 --out "$work/noboot"
check "no boot: one try, one reason; no path could run" [ $status -eq 1 -a "$(count "$work/noboot" '"type":"boot"')" -eq 1 -a "$(count "$work/noboot" '"what":"given-up".*no such accelerator')" -eq 1 ]
check "no boot: natively all is there" [ "$(count "$work/noboot" '"path":"native".*"valid":true')" -eq 75 ]
behave

# ---- ended in the middle ----
# cut LABEL SIGNAL RECORDS: begins a run, ends it by the signal when so many records are there
cut() {
	local pid
	"$STEELYARD" eval run quick $args --blocks 2 --out "$work/$1" >"$work/$1.out" 2>"$work/$1.err" </dev/null &
	pid=$!
	for ((i = 0; i < 3000; i++)); do
		[ "$(cat "$work/$1/results.jsonl" 2>/dev/null | wc -l)" -lt "$3" ] || break
		sleep 0.02
	done
	before=$(wc -l <"$work/$1/results.jsonl")
	kill -"$2" $pid
	wait $pid 2>/dev/null
	status=$?
	cp "$work/$1/results.jsonl" "$work/$1.kept"
}
kept() { head -c "$(stat -c %s "$work/$1.kept")" "$work/$1/results.jsonl" | cmp -s - "$work/$1.kept"; }
for at in 6 12 20; do
	cut int$at INT $at
	check "SIGINT at $at: status 130, and how to go on" [ $status -eq 130 -a "$(grep -c 'eval resume' "$work/int$at.err")" -eq 1 ]
	check "SIGINT at $at: an event and an end that is not complete" [ "$(count "$work/int$at" '"what":"interrupted"') $(count "$work/int$at" '"complete":false')" = "1 1" ]
	check "SIGINT at $at: nothing is left running" [ -z "$(pgrep -f "$fake/guest/workloads|$fake/bin/qemu")" ]
	check "SIGINT at $at: verify knows that it is not whole" eval 'right "$work/int$at" && grep -q "items are missing" "$work/verify.out"'
	ev res resume "$work/int$at" --guest "$fake/guest"
	check "SIGINT at $at: resumed, whole" eval '[ $status -eq 0 ] && whole "$work/int$at"'
	check "SIGINT at $at: no record is lost, none is twice" eval 'kept int$at && [ "$(keys "$work/int$at")" = "$(keys "$work/plain")" ]'
done
for at in 2 9 17; do
	cut kill$at KILL $at
	check "kill -9 at $at: no record is lost" [ "$(wc -l <"$work/kill$at/results.jsonl")" -ge "$before" -a $status -eq 137 ]
	printf '{"schema":2,"run":"torn' >>"$work/kill$at/results.jsonl"
	check "kill -9 at $at: verify bears a torn line" eval 'right "$work/kill$at" && grep -q torn "$work/verify.out"'
	ev res resume "$work/kill$at" --guest "$fake/guest"
	check "kill -9 at $at: resumed, whole, the torn line is gone" eval '[ $status -eq 0 ] && whole "$work/kill$at" && [ "$(keys "$work/kill$at")" = "$(keys "$work/plain")" ]'
done
echo '# another' >>"$fake/guest/initrd"
cp -r "$work/int6" "$work/other"
sed -i '/"type":"end"/d' "$work/other/results.jsonl"
ev other resume "$work/other" --guest "$fake/guest"
check "resume with other guest files is refused" [ $status -eq 1 -a "$(wc -l <"$work/other.err")" -eq 1 ]
echo initrd >"$fake/guest/initrd"

# ---- no room ----
if [ -n "${COVERAGE:-}" ]; then # what it counts is written before every exec, and is longer
	skip "no room by ulimit: this build writes its counters too"
else
	(ulimit -f 8; exec timeout -k 5 200 "$STEELYARD" eval run quick $args --blocks 2 --out "$work/full") >"$work/full.out" 2>"$work/full.err" </dev/null
	status=$?
	check "no room: status 1, one line with the way on" [ $status -eq 1 -a "$(grep -c '\(File too large\|No space left\).*eval resume' "$work/full.err")" -eq 1 ]
	check "no room: whole records only" eval 'right "$work/full" && ! grep -q torn "$work/verify.out" && [ "$(wc -l <"$work/full/results.jsonl")" -gt 3 ]'
	ev res resume "$work/full" --guest "$fake/guest"
	check "no room: resumed, whole" eval '[ $status -eq 0 ] && whole "$work/full" && [ "$(keys "$work/full")" = "$(keys "$work/plain")" ]'
fi
if unshare -Urm true 2>/dev/null; then
	mkdir "$work/disk"
	unshare -Urm bash -c 'mount -t tmpfs -o size=16k none "$1" && { timeout -k 5 200 "$2" eval run quick $3 --blocks 2 --out "$1/r" >"$4.out" 2>"$4.err" </dev/null
		echo $? >"$4.status"; cp -r "$1/r" "$4"; }' - "$work/disk" "$STEELYARD" "$args" "$work/enospc"
	check "full disk: status 1, one line with the way on" [ "$(cat "$work/enospc.status")" = 1 -a "$(grep -c 'No space left.*eval resume' "$work/enospc.err")" -eq 1 ]
	check "full disk: whole records only" eval 'right "$work/enospc" && ! grep -q torn "$work/verify.out"'
	ev res resume "$work/enospc" --guest "$fake/guest"
	check "full disk: resumed, whole" eval '[ $status -eq 0 ] && whole "$work/enospc" && [ "$(keys "$work/enospc")" = "$(keys "$work/plain")" ]'
else
	skip "a full disk: no user namespaces here"
fi

# ---- two at once ----
"$STEELYARD" eval run quick $args --blocks 2 --out "$work/two" >"$work/two.out" 2>"$work/two.err" </dev/null &
pid=$!
for ((i = 0; i < 500; i++)); do [ -s "$work/two/results.jsonl" ] && break; sleep 0.02; done
ev two2 resume "$work/two" --guest "$fake/guest"
check "a second runner in the folder is refused" [ $status -eq 1 -a "$(grep -c 'another evaluation' "$work/two2.err")" -eq 1 ]
kill -TERM $pid
wait $pid
check "SIGTERM: status 143" [ $? -eq 143 ]

# ---- a pilot ----
ev pilot run quick $args --blocks 2 --blocks-max 3 --pilot-blocks 2 --out "$work/pilot"
check "pilot: two plans, whole" eval '[ $status -eq 0 -a "$(count "$work/pilot" "\"type\":\"plan\"")" -eq 2 ] && whole "$work/pilot"'
check "pilot: the reason for the number of blocks" grep -q '"type":"plan".*"pilot":false.*third quartile' "$work/pilot/results.jsonl"

# ---- specs ----
bad() { # NAME, TEXT of a file, words of the message
	printf '%s' "$2" >"$work/spec.json"
	ev bad run "$work/spec.json" --guest "$fake/guest" --out "$work/never"
	check "bad spec, $1: status 2, one line" [ $status -eq 2 -a "$(wc -l <"$work/bad.err")" -eq 1 -a "$(grep -c "$3" "$work/bad.err")" -eq 1 ]
}
bad "no JSON" '{"name":' 'line 1'
bad "no object" '[]' 'no JSON object'
bad "an unknown key" '{"blokcs":3}' blokcs
bad "an unknown base" '{"base":"sprint"}' 'eval list'
bad "an unknown workload" '{"workloads":["siege"]}' siege
bad "an unknown group" '{"workloads":["@everything"]}' everything
bad "a workload twice" '{"workloads":["fib","fib"]}' twice
bad "an unknown path" '{"paths":["teleport"]}' teleport
bad "a path without end" '{"paths":[{"name":"bt","cpu":2}]}' '"cpu"'
bad "a string for a number" '{"blocks":"many"}' blocks
bad "half a block" '{"blocks":1.5}' 'whole number'
bad "too many blocks" '{"blocks":1000000}' blocks
bad "no workload" '{"workloads":[]}' 'no workload'
bad "a pilot of one" '{"pilot_blocks":1}' pilot
bad "fewer than fewest" '{"blocks":5,"blocks_max":2}' blocks_max
bad "a name with a slash" '{"name":"a/b"}' name
bad "quiet that is none" '{"quiet":{"silence":1}}' silence
check "none of them made a folder" [ ! -e "$work/never" ]
printf '{"name":"mine","workloads":["@fp",{"name":"fib","scale":3}],"paths":["qemu-tcg"],"blocks":1,"inject":0,"seed":9,"iterations":1,"together":2,"quiet":{"max_load":1024,"max_steal":100}}' >"$work/spec.json"
ev mine run "$work/spec.json" --guest "$fake/guest" --out "$work/mine" --no-report
check "a spec file: groups, scales, hands" eval '[ $status -eq 0 -a "$(count "$work/mine" "\"type\":\"boot\"")" -eq 5 -a "$(grep "\"workload\":\"fib\"" "$work/mine/results.jsonl" | grep -c "\"scale\":3")" -eq 6 ] && whole "$work/mine"'
oneline() { # ARGS...: status 2, one line that says where to look
	ev wrong "$@"
	check "eval $*: status 2, one line" [ $status -eq 2 -a "$(wc -l <"$work/wrong.err")" -eq 1 -a ! -s "$work/wrong.out" ]
}
oneline
oneline nosuch
oneline list extra
oneline run
oneline run quick --nosuch 1
oneline run quick --blocks
oneline resume
oneline verify
oneline verify a b
oneline report
oneline report a b
oneline report --nosuch
oneline compare a
oneline machine --nosuch
oneline machine --paths
oneline part x
mkdir "$work/alien"
ev alien resume "$work/alien"
check "resume of a folder of something else leaves nothing in it" [ $status -eq 1 -a "$(wc -l <"$work/alien.err")" -eq 1 -a -z "$(ls -A "$work/alien")" ]
ev help verify --help
check "verify --help is about verify" grep -q '^usage: steelyard eval verify DIR$' "$work/help.out"
ev list list
check "list names specs, workloads and paths" [ "$(grep -c '^  quick  \|^  sieve  \|^  bt  ' "$work/list.out")" -eq 3 ]
PATH=/nonexistent "$STEELYARD" eval list >"$work/list.out" 2>&1
check "list says why a path cannot run here" grep -q 'qemu-tcg.*cannot run here: there is no qemu' "$work/list.out"
finish
