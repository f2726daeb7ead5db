# SPDX-License-Identifier: GPL-2.0-or-later
# Sweeps by Slurm: a real munged, slurmctld and slurmd, all of this test, with their files in its work folder, on loopback, ended by
# their process ids. One tiny spec of three blocks is compared with the same spec run here.
. "$(dirname "$0")/lib.sh"

for p in munged slurmctld slurmd sbatch squeue scancel; do
	PATH=$PATH:/usr/sbin command -v $p >/dev/null && continue
	skip "there is no $p here: sh mk/deps.sh mk/packages-slurm.txt installs Slurm"
	finish
done
PATH=$PATH:/usr/sbin
[ "$(id -u)" -eq 0 ] || { skip "slurmd starts tasks for root only"; finish; }

# ---- a Slurm ----
s=$work/slurm
mkdir -p "$s/munge" "$s/state" "$s/spool" "$s/log"
chmod 755 "$work" "$s"
chmod 700 "$s/munge"
node=$(hostname -s)
base=$((20000 + $$ % 20000))
head -c 128 /dev/urandom >"$s/munge/key"
chmod 400 "$s/munge/key"
cat >"$s/slurm.conf" <<EOF
ClusterName=steelyardtest
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$base
SlurmdPort=$((base + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$s/munge/socket
CredType=cred/munge
CryptoType=crypto/munge
StateSaveLocation=$s/state
SlurmdSpoolDir=$s/spool
SlurmctldPidFile=$s/slurmctld.pid
SlurmdPidFile=$s/slurmd.pid
SlurmctldLogFile=$s/log/slurmctld
SlurmdLogFile=$s/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SchedulerParameters=bf_interval=1,sched_interval=1
ReturnToService=2
KillWait=5
MinJobAge=60
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=test Nodes=$node Default=YES MaxTime=30 State=UP OverSubscribe=YES
EOF
export SLURM_CONF=$s/slurm.conf
munge_pid= ctld_pid= slurmd_pid=
none() { [ -z "$(squeue -h)" ]; }
# Tasks first: those of a slurmd that is gone would go on.
end_slurm() {
	if [ -n "$ctld_pid" ] && kill -0 $ctld_pid 2>/dev/null; then
		squeue -h -o %A 2>/dev/null | sort -u | xargs -r scancel 2>/dev/null
		until_true 15 none
	fi
	for p in $slurmd_pid $ctld_pid $munge_pid; do kill "$p" 2>/dev/null; done
	for p in $slurmd_pid $ctld_pid $munge_pid; do
		for ((i = 0; i < 100; i++)); do kill -0 "$p" 2>/dev/null || break; sleep 0.1; done
		kill -9 "$p" 2>/dev/null
	done
	wait $slurmd_pid $ctld_pid $munge_pid 2>/dev/null
}
trap 'end_slurm; rm -rf "$work"' EXIT
# until SECONDS COMMAND...: does it come true?
until_true() {
	local n=$(($1 * 5))
	shift
	for ((i = 0; i < n; i++)); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done
	return 1
}
munged --foreground --key-file="$s/munge/key" --socket="$s/munge/socket" --pid-file="$s/munge/pid" --log-file="$s/munge/log" \
	--seed-file="$s/munge/seed" --num-threads=1 --force >"$s/log/munged.out" 2>&1 &
munge_pid=$!
until_true 10 test -S "$s/munge/socket"
slurmctld -D -f "$s/slurm.conf" >"$s/log/slurmctld.out" 2>&1 &
ctld_pid=$!
until_true 20 scontrol ping
slurmd -D -f "$s/slurm.conf" -N "$node" >"$s/log/slurmd.out" 2>&1 &
slurmd_pid=$!
idle() { sinfo -h -o %t | grep -qx idle; }
if ! until_true 30 idle; then
	skip "Slurm does not start here: $(cat "$s/log/munged.out" "$s/log/slurmctld.out" "$s/log/slurmd.out" | grep -i 'error\|fatal' | tail -n 1)"
	finish
fi

# ---- runs ----
blocks=3
args="--guest $GUEST/amd64 --workloads sieve --scale 2 --paths bt --blocks $blocks --iterations 2 --seed 5 --inject 0 --machine 0 --quiet-wait-s 0"
# ev LABEL ARGS...: a whole run; its status in $status
ev() {
	local label=$1
	shift
	timeout -k 5 240 "$STEELYARD" eval "$@" >"$work/$label.out" 2>"$work/$label.err" </dev/null
	status=$?
}
count() { grep -c "$2" "$1/results.jsonl"; }
# What each boot and execution is called, in the order of the file; every part has the reference pass again
keys() { sed -n 's/.*"type":"\(boot\|sample\)".*"order":\([0-9]*\).*/\2 &/p' "$1/results.jsonl" | grep -v '"pass":"reference"' |
	sed 's/^\([0-9]*\) .*"type":"boot","seq":[0-9]*,"block":\([0-9]*\).*/\1 \2 boot/; s/^\([0-9]*\) .*"block":\([0-9]*\),"path":"\([a-z-]*\)".*"workload":"\([a-z]*\)".*"scale":\([0-9]*\).*"iteration":\([0-9]*\).*/\1 \2 \3 \4 \5 \6/'; }
whole() { ev verify verify "$1"; [ $status -eq 0 ] && grep -q 'all right' "$work/verify.out" && ! grep -q '^note' "$work/verify.out" || { sed 's/^/     /' "$work/verify.out"; false; }; }
shown() { sed 's/^/     /' "$work/$1.err"; false; }

ev local run quick $args --launcher local --no-report --out "$work/local"
check "local: status 0" [ $status -eq 0 ]
ev sweep run quick $args --launcher slurm --out "$work/sweep"
check "sweep: status 0" eval '[ $status -eq 0 ] || shown sweep'
check "sweep: verify finds it whole" whole "$work/sweep"
check "sweep: the same items in the same order as here" [ -n "$(keys "$work/sweep")" -a "$(keys "$work/sweep")" = "$(keys "$work/local")" ]
check "sweep: the same record of the plan" [ "$(grep -o '"blocks":3,"items":[0-9]*,"first":1' "$work/sweep/results.jsonl")" = "$(grep -o '"blocks":3,"items":[0-9]*,"first":1' "$work/local/results.jsonl")" ]
check "sweep: every sample is valid" [ "$(count "$work/sweep" '"valid":true')" -eq "$(count "$work/sweep" '"type":"sample"')" ]
check "sweep: a part for each block, with its host" [ "$(grep -o '"type":"part","seq":[0-9]*,"block":[0-9]*' "$work/sweep/results.jsonl" | sed 's/.*://' | tr '\n' ' ') $(count "$work/sweep" "\"type\":\"part\".*\"node\":\"$node\".*\"environment\":{\"cpu\"")" = "0 1 2  3" ]
check "sweep: no host is unlike the others" [ "$(count "$work/sweep" unlike)" -eq 0 ]
check "sweep: one array of Slurm" [ "$(count "$work/sweep" '"what":"submitted".*blocks 0-2","job":"[0-9]*"')" -eq 1 ]
check "sweep: each part is a folder that verify finds whole" eval 'whole "$work/sweep/parts/0" && whole "$work/sweep/parts/2"'
check "sweep: a report, and its seals" eval '[ -s "$work/sweep/report.html" ] && (cd "$work/sweep" && sha256sum --quiet -c SHA256SUMS)'
ev again resume "$work/sweep"
check "sweep: nothing is missing" grep -q 'nothing is missing' "$work/again.out"

# ---- bad situations: one line each ----
one_line() { [ $status -eq 1 -a "$(wc -l <"$work/$1.err")" -eq 1 -a "$(grep -c "$2" "$work/$1.err")" -eq 1 ] || { echo "     status $status"; shown "$1"; }; }
ev partition run quick $args --launcher slurm --slurm-args '--partition=nowhere' --out "$work/partition"
check "no such partition: one line" one_line partition 'partition.*eval resume'
ev partition resume "$work/partition" --slurm-args '--partition=test' --detach
check "no such partition: resumed with another; it does not wait" [ $status -eq 0 -a "$(count "$work/partition" '"what":"submitted"')" -eq 1 ]
squeue -h -o %A | sort -u | xargs -r scancel
ev args run quick $args --launcher slurm --slurm-args '--comment="' --out "$work/args"
check "arguments that are none: one line" one_line args 'cannot be split'
mkdir "$work/bin"
for p in sh timeout; do ln -s "$(command -v $p)" "$work/bin/$p"; done
PATH_kept=$PATH PATH=$work/bin
status=0
"$STEELYARD" eval run quick $args --launcher slurm --out "$work/nosbatch" 2>"$work/nosbatch.err" </dev/null || status=$?
PATH=$PATH_kept
check "no sbatch: one line, and no folder" eval 'one_line nosbatch "no sbatch" && [ ! -e "$work/nosbatch" ]'
ev launcher run quick $args --launcher condor --out "$work/never"
check "no such launcher: status 2, one line" [ $status -eq 2 -a "$(wc -l <"$work/launcher.err")" -eq 1 ]
ev part part "$work/local" 0
check "a part of what is no sweep is refused" one_line part 'no sweep'
ev part part "$work/sweep" 9 --guest "$GUEST/amd64"
check "a block that the sweep does not have is refused" one_line part 'no such block'

# ---- a task that is killed ----
# The first task's process, once its part has records. Slurm starts it by exec, so the process of the task is ours.
until_true 30 idle
"$STEELYARD" eval run quick $args --scale 30 --launcher slurm --no-report --out "$work/killed" >"$work/killed.out" 2>"$work/killed.err" </dev/null &
pid=$!
until_true 60 test -s "$work/killed/parts/0/results.jsonl"
victim=$(pgrep -f "^$STEELYARD eval part $work/killed 0 ")
kill -9 $victim
wait $pid
status=$?
check "killed: status 1; the task is named with its log, and the way on" [ $status -eq 1 -a "$(grep -c 'block 0 is not whole: parts/0.log' "$work/killed.err")" -eq 1 -a "$(grep -c 'eval resume' "$work/killed.err")" -eq 1 ]
check "killed: what the others did is merged" [ "$(count "$work/killed" '"type":"part"') $(count "$work/killed" '"what":"failed-task"') $(count "$work/killed" '"complete":false')" = "2 1 1" ]
cp "$work/killed/results.jsonl" "$work/killed.kept"
before=$(wc -l <"$work/killed/parts/0/results.jsonl")
ev resumed resume "$work/killed" --guest "$GUEST/amd64"
check "killed: resumed with one task, whole" eval '[ $status -eq 0 -a "$(count "$work/killed" "\"what\":\"submitted\".*blocks 0\"")" -eq 1 ] && whole "$work/killed" || shown resumed'
check "killed: no record is lost, none is twice" eval 'head -c $(stat -c %s "$work/killed.kept") "$work/killed/results.jsonl" | cmp -s - "$work/killed.kept" && [ "$(keys "$work/killed" | sort)" = "$(keys "$work/local" | sed "s/ 2 \([0-9]*\)$/ 30 \1/" | sort)" ]'
check "killed: the part went on where it was" [ "$before" -gt 0 -a "$(count "$work/killed/parts/0" '"what":"resumed"')" -eq 1 ]

# ---- a launcher that leaves, hosts that are not alike, a merge that is cut ----
ev detach run quick $args --launcher slurm --detach --out "$work/detach"
check "detached: status 0, no end" [ $status -eq 0 -a "$(count "$work/detach" '"type":"end"')" -eq 0 ]
until_true 200 none
cp -r "$work/detach" "$work/alike"
sed -i '1s/"cpu":"[^"]*"/"cpu":"Another 9000"/' "$work/detach/parts/1/results.jsonl"
ev merged resume "$work/detach" --guest "$GUEST/amd64"
check "detached: merged without a new task" eval '[ $status -eq 0 -a "$(count "$work/detach" "\"what\":\"submitted\"")" -eq 1 ] && whole "$work/detach" || shown merged'
check "unlike hosts: named, and every record of that block is flagged, no other" eval '[ "$(grep -c "^block 1, on $node: cpu: .Another 9000" "$work/merged.err")" -eq 1 -a "$(count "$work/detach" "\"unlike\":\"block 1")" -eq 1 ] &&
	[ "$(grep -c "\"flags\":[^]]*\"unlike\"" "$work/detach/results.jsonl")" -eq "$(grep -c "\"type\":\"\(boot\|sample\)\"" "$work/detach/parts/1/results.jsonl")" ] &&
	! grep "\"flags\":[^]]*\"unlike\"" "$work/detach/results.jsonl" | grep -qv "\"block\":1,"'
check "unlike hosts: the report says it" grep -q "The hosts of this sweep are not alike: block 1" "$work/merged.out"
ev merged resume "$work/alike" --guest "$GUEST/amd64"
cp -r "$work/alike" "$work/cut"
at=$(grep -n '"type":"part"' "$work/cut/results.jsonl" | sed -n '2s/:.*//p')
head -n $((at + 2)) "$work/alike/results.jsonl" >"$work/cut/results.jsonl"
ev verify verify "$work/cut"
check "a launcher killed in a merge: verify knows that something is missing" grep -q 'are missing' "$work/verify.out"
ev cut resume "$work/cut" --guest "$GUEST/amd64"
check "a launcher killed in a merge: resumed, whole" eval '[ $status -eq 0 ] && whole "$work/cut" && [ "$(keys "$work/cut")" = "$(keys "$work/local")" ] || shown cut'

# ---- Ctrl-C ----
"$STEELYARD" eval run quick $args --scale 30 --launcher slurm --no-report --out "$work/int" >"$work/int.out" 2>"$work/int.err" </dev/null &
pid=$!
until_true 60 test -s "$work/int/parts/0/results.jsonl"
kill -INT $pid
wait $pid
status=$?
check "SIGINT: status 130, the job is cancelled, and how to go on" [ $status -eq 130 -a "$(grep -c 'is cancelled' "$work/int.err")" -eq 1 -a "$(grep -c 'eval resume' "$work/int.err")" -eq 1 ]
check "SIGINT: no task is left" until_true 30 none
check "SIGINT: an event and an end that is not complete" [ "$(count "$work/int" '"what":"interrupted"') $(count "$work/int" '"complete":false')" = "1 1" ]

ev goes_on resume "$work/int" --guest "$GUEST/amd64"
check "SIGINT: resumed, whole" eval '[ $status -eq 0 ] && whole "$work/int" && [ "$(keys "$work/int" | sort)" = "$(keys "$work/killed" | sort)" ] || shown goes_on'

# ---- a controller that is away ----
kill $ctld_pid
wait $ctld_pid 2>/dev/null
ctld_pid=
ev away run quick $args --launcher slurm --out "$work/away"
check "slurmctld down: one line" one_line away 'slurm: sbatch: .*ontact'
finish
