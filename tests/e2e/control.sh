# SPDX-License-Identifier: GPL-2.0-or-later
# The control socket of real machines: every verb on every path, two clients, clients that are slow, dead or hostile, dead
# sockets, the guest's clock across a pause, and what the command line says about it.
. "$(dirname "$0")/lib.sh"
export XDG_RUNTIME_DIR=$work/run
mkdir -m 0700 "$XDG_RUNTIME_DIR"
sockets=$XDG_RUNTIME_DIR/steelyard
guests=$TOOLS/../guest
machines=
stop_all() { for p in $machines; do kill -9 "$p" 2>/dev/null; done; }
trap 'stop_all; rm -rf "$work"' EXIT

vm() { timeout -k 5 60 "$STEELYARD" vm "$@" 2>"$work/vm.err"; }
# start NAME ARGS...: a machine in the background, in $pid; ready when it answers
start() {
	local name=$1 n=0
	shift
	timeout -k 5 300 "$STEELYARD" run --name "$name" --timeout 240 "$@" </dev/null >"$work/$name.out" 2>"$work/$name.err" &
	pid=$!
	machines="$machines $pid"
	while ! vm status "$name" >"$work/vm.out"; do
		n=$((n + 1))
		[ $n -lt 200 ] || { fail "$name does not answer: $(cat "$work/vm.err" "$work/$name.err")"; return 1; }
		sleep 0.1
	done
}
# is STATUS ARGS...: steelyard vm ARGS ends with STATUS; with one line of text when that is not 0
is() {
	local want=$1 got
	shift
	vm "$@" >"$work/vm.out"
	got=$?
	if [ $got -eq "$want" ] && [ "$(wc -l <"$work/vm.err")" -eq $((want != 0)) ]; then return 0; fi
	echo "     vm $*: status $got instead of $want: $(head -n 3 "$work/vm.err" | tr '\n' '|')"
	return 1
}
# get NAME FIELD: of status, as JSON has it
get() { vm status "$1" -o json | sed 's/[{},]/\n/g' | sed -n "s/^\"$2\":\"\{0,1\}\([^\"]*\)\"\{0,1\}$/\1/p"; }
state_is() { [ "$(get "$1" state)" = "$2" ] || { echo "     state $(get "$1" state) instead of $2"; return 1; }; }
gone() { # PID STATUS
	wait "$1"
	local got=$?
	[ $got -eq "$2" ] || { echo "     run ended with $got instead of $2"; return 1; }
}
wait_line() { # FILE TEXT
	local n=0
	until tr -d '\r' <"$1" | grep -q "$2"; do
		n=$((n + 1))
		[ $n -lt 600 ] || { echo "     no \"$2\" in $(tail -c 200 "$1")"; return 1; }
		sleep 0.1
	done
}
ms() { date +%s%3N; }

printf '\xfa\xeb\xfe' >"$work/loop" # cli; jmp .

# ---- every verb, on each path ----
for path in bt interp; do
	other=$([ $path = bt ] && echo interp || echo bt)
	start "m-$path" --path $path --memory 64M --multiboot "$guests/button.elf" --serial stdio --debugcon none || continue
	m=m-$path
	vm events $m -o json >"$work/events" &
	watcher=$!
	wait_line "$work/$m.out" ready
	check "$path: list names it" eval 'is 0 list && grep -q "^m-$path  *running  *$path  *1  *64M" "$work/vm.out"'
	check "$path: list -o name and json" eval 'is 0 list -o name && grep -qx "m-$path" "$work/vm.out" && is 0 list -o json && grep -q "\"pid\":" "$work/vm.out"'
	check "$path: status" eval 'is 0 status $m && grep -q "^state *running" "$work/vm.out"'
	check "$path: resume of a running machine is 4" is 4 resume $m
	check "$path: pause" eval 'is 0 pause $m && state_is $m paused'
	check "$path: pause of a paused one is 4" is 4 pause $m
	check "$path: the power button of a paused one is 4" is 4 stop $m
	before=$(get $m guest_ns)
	sleep 0.3
	check "$path: guest time stands still" [ "$before" = "$(get $m guest_ns)" ]
	check "$path: stats while paused" eval 'is 0 stats $m -o json && grep -q "\"counters\":{" "$work/vm.out"'
	check "$path: resume" eval 'is 0 resume $m && state_is $m running'
	sleep 0.1
	check "$path: guest time goes on" [ "$before" -lt "$(get $m guest_ns)" ]
	check "$path: stats" eval 'is 0 stats $m && grep -q "^io_reads" "$work/vm.out" && grep -q "^probe.vendor  *[a-zA-Z]" "$work/vm.out" && [ "$(grep -c "^path " "$work/vm.out")" = 1 ]'
	check "$path: switch to $other" eval 'is 0 switch $m $other && [ "$(get $m path)" = $other ]'
	check "$path: switch back" eval 'is 0 switch $m $path --vcpu 0 && [ "$(get $m path)" = $path ]'
	check "$path: switch to nowhere is 2" is 2 switch $m teleport
	check "$path: switch of a vCPU that is not there is 2" is 2 switch $m $other --vcpu 7
	check "$path: reset" is 0 reset $m
	wait_line "$work/events" '"event":"reset"'
	check "$path: a reset guest starts again" eval '[ "$(get $m resets)" = 1 ] && state_is $m running'
	n=0
	while [ "$(tr -d '\r' <"$work/$m.out" | grep -c ready)" -lt 2 ] && [ $n -lt 200 ]; do sleep 0.1; n=$((n + 1)); done
	check "$path: stop that the guest does not finish in time is 6" is 6 stop $m --timeout 0.5
	wait_line "$work/$m.out" pressed
	check "$path: it is shutting down" state_is $m shutdown
	check "$path: stop by power button" eval 'is 0 stop $m && grep -q "power-button" "$work/vm.out"'
	check "$path: the guest powered itself off" gone $pid 0
	wait $watcher
	check "$path: events ends with the machine" [ $? -eq 0 ]
	for e in paused resumed switched reset shutdown ended; do
		grep -q "\"event\":\"$e\"" "$work/events" || echo $e
	done >"$work/missing"
	check "$path: every event came$(tr '\n' ' ' <"$work/missing")" [ ! -s "$work/missing" ]
	check "$path: none was lost" eval 'sed "s/.*\"seq\":\([0-9]*\).*/\1/" "$work/events" | awk "NR > 1 && \$1 != last + 1 { bad = 1 } { last = \$1 } END { exit bad }"'
	check "$path: its socket is gone" eval 'is 3 status $m && [ ! -e "$sockets/$m.sock" ]'
done

# ---- the guest's clock ----
uptimes() { tr -d '\r' <"$work/$1.out" | sed -n 's/^\([0-9][0-9]*\)\.\([0-9][0-9]\) [0-9.]*$/\1\2/p'; } # in 1/100 s
newer() { # NAME N: waits for N more lines, prints the last
	local have want n=0
	have=$(uptimes "$1" | wc -l)
	want=$((have + $2))
	while [ "$(uptimes "$1" | wc -l)" -lt $want ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n + 1)); done
	uptimes "$1" | tail -n 1
}
for path in bt interp; do
	m=clock-$path
	start $m --path $path --cpus 2 --memory 256M --kernel "$GUEST/amd64/vmlinuz" --initrd "$GUEST/amd64/initrd" --serial stdio \
		--append "console=ttyS0 quiet panic=-1 steelyard.exec=while+true;do+cat+/proc/uptime;usleep+100000;done" || continue
	wait_line "$work/$m.out" 'STEELYARD GUEST'
	newer $m 1 >"$work/vm.out"
	# Guest time between the two lines is at most host time around them without the pause: exact, on a host of any speed.
	h0=$(ms) u1=$(newer $m 3)
	is 0 pause $m
	h2=$(ms)
	lines=$(uptimes $m | wc -l)
	sleep 3
	check "$path: a paused guest prints nothing" [ "$lines" = "$(uptimes $m | wc -l)" ]
	h3=$(ms)
	is 0 resume $m
	u2=$(newer $m 3) h4=$(ms)
	check "$path: the guest's clock stood still: $(((u2 - u1) * 10)) ms of $((h4 - h0)), $((h3 - h2)) of them paused" \
		[ $(((u2 - u1) * 10)) -le $((h4 - h0 - (h3 - h2) + 20)) ]
	check "$path: its clock never went back" eval 'uptimes $m | sort -nc'
	check "$path: NMI" eval 'is 0 nmi $m && wait_line "$work/$m.out" "NMI received for unknown reason.*CPU 1" && wait_line "$work/$m.out" "NMI received for unknown reason.*CPU 0"'
	# busy for some time: many short pauses in the middle of work
	for n in 1 2 3 4 5 6 7 8 9 10; do is 0 pause $m && is 0 resume $m || echo bad; done >"$work/bad"
	check "$path: ten pauses" [ ! -s "$work/bad" ]
	check "$path: it goes on" [ -n "$(newer $m 2)" ]
	is 0 switch $m $([ $path = bt ] && echo interp || echo bt)
	check "$path: it goes on on the other path" [ -n "$(newer $m 2)" ]
	check "$path: its clock never went back, still" eval 'uptimes $m | sort -nc'
	check "$path: stop --force" eval 'is 0 stop $m --force && gone $pid 0'
done

# ---- Debian's own button driver ----
# Busy, with a shell loop and two vCPUs: everything is told to end, the machine powers off by ACPI.
for arch in amd64 i386; do
	[ -s "$GUEST/$arch/initrd" ] || { skip "$arch: power button: no guest files"; continue; }
	m=debian-$arch
	start $m --path bt --cpus 2 --memory 256M --kernel "$GUEST/$arch/vmlinuz" --initrd "$GUEST/$arch/initrd" --serial stdio \
		--append "console=ttyS0 quiet panic=-1 steelyard.exec=while+true;do+true;done" || continue
	wait_line "$work/$m.out" 'STEELYARD GUEST'
	check "$arch: no driver failed to load" eval '! grep -q "FAILED module" "$work/$m.out"'
	check "$arch: vm stop: the guest powers itself off" eval 'is 0 stop $m --timeout 50 && gone $pid 0'
	check "$arch: by its button" eval 'grep -q "STEELYARD BUTTON" "$work/$m.out" && grep -q "reboot: Power down" "$work/$m.out"'
done

# ---- clients ----
start c --path bt --memory 64M --flat "$work/loop@0x7c00" --serial none
sock=$sockets/c.sock
check "a guest without ACPI: stop is 4" is 4 stop c
vm events c -o json >"$work/ev1" &
e1=$!
"$TOOLS/sock" "$sock" deaf 0 </dev/null >"$work/o" & # connects and says nothing
for n in 1 2 3; do printf '{"id":%d,"do":"subscribe"}\n' $n; done >"$work/sub"
"$TOOLS/sock" "$sock" deaf 4 <"$work/sub" >"$work/deaf" &
slow=$!
vm events c >"$work/ev2" &
dead=$!
sleep 0.5
kill -9 $(ps -o pid= --ppid $dead 2>/dev/null) $dead 2>/dev/null
wait $dead 2>/dev/null
awk 'BEGIN { for (i = 0; i < 3000; i++) printf "{\"id\":%d,\"do\":\"pause\"}\n{\"id\":%d,\"do\":\"resume\"}\n", i, i }' >"$work/many"
"$TOOLS/sock" "$sock" say <"$work/many" >"$work/replies"
check "6000 requests, 6000 replies" [ "$(grep -c '"ok"' "$work/replies")" -eq 6000 ]
check "a client that does not read costs nobody anything" is 0 status c
wait $slow
check "it is told why it was dropped" eval 'tail -n 1 "$work/deaf" | grep -q "\"event\":\"dropped\""'
check "and the others are told" grep -q '"event":"client-dropped"' "$work/ev1"
check "a client that reads gets every event" [ "$(grep -c '"event":"paused"' "$work/ev1")" -eq 3000 ]
{ head -c 100000 /dev/urandom | tr '\n' ' '; echo; awk 'BEGIN { for (i = 0; i < 6000; i++) printf "["; print "" }'
	printf '{"id":1,"do":"status"\n{"id":99999999999999999999,"do":"status"}\n\0\n{"id":"last","do":"status"}\n'; } >"$work/hostile"
"$TOOLS/sock" "$sock" say <"$work/hostile" >"$work/replies"
check "five lines of nonsense: an error each, then an answer" eval '[ "$(grep -c "\"error\"" "$work/replies")" -eq 5 ] && tail -n 1 "$work/replies" | grep -q "{\"id\":\"last\",\"ok\""'
check "the machine has not noticed" state_is c running

# Paths: one that this host cannot run, or cannot go on with, leaves the guest where it was, and the answer says why at once
"$STEELYARD" probe --quick --json </dev/null >"$work/probe" 2>&1
if grep -q '"path": "kvm"' "$work/probe"; then
	check "switch to kvm and back" eval 'is 0 switch c kvm && is 0 switch c bt'
else
	check "switch to a kvm that cannot go on: 1" is 1 switch c kvm
	check "with the reason: $(cut -c1-150 "$work/vm.err")" grep -qE 'vCPU 0 is not on kvm but on bt: .{10,}|path kvm cannot run here' "$work/vm.err"
	check "it is where it was, and shall be there" eval 'vm status c -o json | grep -q "\"paths\":\[\"bt\"\],\"wanted\":\[\"bt\"\]" && state_is c running'
fi
# Two at once, each wants another path: each gets its path or is told that the other one was later; nothing waits for its time to run out
for p in bt interp; do
	for n in 1 2 3 4 5 6 7 8 9 10 11 12; do
		vm switch c $p --timeout 20 >"$work/vm.$p.out"
		echo "$? $(cat "$work/vm.err")"
	done >"$work/sw.$p" &
	pids="${pids:-} $!"
done
wait $pids
check "two that switch against each other: 0 or 1, no other status" eval '[ "$(cat "$work/sw.bt" "$work/sw.interp" | grep -c "^[01]")" -eq 24 ]'
check "the machine is where the last one wanted it" eval '[ "$(get c path)" = "$(vm status c | sed -n "s/^wanted  *//p")" ] && state_is c running'
# A machine that does not answer is in the list all the same, however many wait for it
first=$(get c pid)
kill -STOP "$first"
pids=
for n in $(seq 20); do
	"$TOOLS/sock" "$sock" deaf 3 </dev/null >"$work/o" &
	pids="$pids $!"
done
sleep 0.3
check "list has a machine that does not answer" eval 'is 0 list && grep -q "^c  *unreachable" "$work/vm.out"'
kill -CONT "$first"
wait $pids
check "it goes on" state_is c running

# ---- names and sockets ----
"$STEELYARD" run --name c --memory 64M --flat "$work/loop@0x7c00" --serial none --timeout 20 </dev/null >"$work/out" 2>"$work/err"
status=$?
check "a second machine of this name is refused" [ $status -eq 1 ]
check "$(cat "$work/err")" [ "$(wc -l <"$work/err")" -eq 1 ]
check "the first one is still there" state_is c running
kill -9 $(ps -o pid= --ppid $pid)
wait $pid 2>/dev/null
wait $e1
check "events of a machine that dies without a word: 7" [ $? -eq 7 ]
check "a dead machine's socket: 7" is 7 status c
check "list leaves it out" eval 'is 0 list -o name && [ ! -s "$work/vm.out" ]'
start c --path bt --memory 64M --flat "$work/loop@0x7c00" --serial none
check "a dead socket is replaced" state_is c running
check "SIGTERM removes the socket" eval 'kill -TERM $(ps -o pid= --ppid $pid); wait $pid; [ ! -e $sock ]'
"$STEELYARD" run --control "$work/my.sock" --memory 64M --flat "$work/loop@0x7c00" --serial none --timeout 60 </dev/null >"$work/out" 2>"$work/err" &
pid=$!
machines="$machines $pid"
n=0
while [ ! -S "$work/my.sock" ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
check "--control PATH" eval 'is 0 status "$work/my.sock" && [ "$(stat -c %a "$work/my.sock")" = 600 ]'
check "an unnamed machine is vm-PID" [ "$(get "$work/my.sock" name)" = "vm-$pid" ]
if [ "$(id -u)" -eq 0 ] && command -v setpriv >"$work/out"; then
	chmod 755 "$work"
	chmod 666 "$work/my.sock"
	cp "$STEELYARD" "$work/steelyard" && chmod 755 "$work/steelyard"
	setpriv --reuid=65534 --clear-groups "$work/steelyard" vm status "$work/my.sock" >"$work/out" 2>"$work/err"
	check "another user is denied by the machine, whatever the mode: 5" [ $? -eq 5 ]
	chmod 600 "$work/my.sock"
	setpriv --reuid=65534 --clear-groups "$work/steelyard" vm status "$work/my.sock" >"$work/out" 2>"$work/err"
	check "another user is denied by the socket's mode: 5" [ $? -eq 5 ]
else
	skip "another user: needs root and setpriv"
fi
check "stop --force by path" eval 'is 0 stop "$work/my.sock" --force && gone $pid 0 && [ ! -e "$work/my.sock" ]'
"$STEELYARD" run --control none --memory 64M --flat "$work/loop@0x7c00" --serial none --timeout 0.5 </dev/null >"$work/out" 2>"$work/err"
check "--control none" [ $? -eq 124 ]
check "nothing is left in the folder" [ -z "$(ls -A "$sockets")" ]
mkdir "$work/open" && mkdir -m 0755 "$work/open/steelyard"
XDG_RUNTIME_DIR=$work/open "$STEELYARD" run --name x --memory 64M --flat "$work/loop@0x7c00" --serial none --timeout 5 </dev/null >"$work/out" 2>"$work/err"
check "a folder that others can enter is refused: status 1, one line" [ $? -eq 1 -a "$(wc -l <"$work/err")" -eq 1 ]
: >"$work/file"
"$STEELYARD" run --control "$work/file" --memory 64M --flat "$work/loop@0x7c00" --serial none --timeout 5 </dev/null >"$work/out" 2>"$work/err"
check "a file in the socket's place stays and is named: status 2" [ $? -eq 2 -a -f "$work/file" -a "$(wc -l <"$work/err")" -eq 1 ]

# ---- the command line ----
check "no such machine: 3" is 3 status nobody
check "no name: 2" is 2 status
check "a name that is none: 2" is 2 status 'a b'
check "no verb: 2" is 2
check "unknown verb: 2" is 2 frobnicate
check "unknown option: 2" is 2 stop c --fast
check "missing argument: 2" is 2 switch c
check "one word too many: 2" is 2 status c d
check "--help" eval 'is 0 --help && grep -q "^  switch NAME path" "$work/vm.out"'
finish
