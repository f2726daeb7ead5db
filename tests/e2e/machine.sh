# SPDX-License-Identifier: GPL-2.0-or-later
# eval machine: every item of the table has a figure, or a reason, on each path; the image's own checks hold; the figures are in
# order; a child that dies, says nonsense or nothing costs its own item only.
. "$(dirname "$0")/lib.sh"

machine() { timeout -k 5 200 "$STEELYARD" eval machine "$@" </dev/null; }
# value LINE FIELD
value() { sed -n "s/.*\"$2\":\([^,}]*\).*/\1/p" <<<"$1" | tr -d '"'; }

machine --list >"$work/list"
sed -n 's/^[ASKB ]\{4\}\([a-z0-9_]*\)  *.*/\1/p' "$work/list" | grep . | sort >"$work/items"
check "--list names the items" [ "$(wc -l <"$work/items")" -ge 40 ]
check "it names those of the table" [ "$(wc -l <"$work/items")" -eq "$(grep -c '^X(' "$top/eval/workloads/machine/machine.def")" ]

for path in bt interp native; do
	machine --paths $path --budget 2 --json >"$work/$path" 2>"$work/err"
	check "$path: status 0" [ $? -eq 0 ]
	grep '"unit":"ns"' "$work/$path" | sed 's/.*"item":"\([a-z0-9_]*\)".*/\1/' | sort >"$work/said"
	check "$path: every item once" cmp -s "$work/items" "$work/said"
	check "$path: a figure or a reason" [ "$(grep -c '"ok":true\|"ok":false.*"why":"[^"]' "$work/$path")" -eq "$(wc -l <"$work/$path")" ]
	grep '"ok":false' "$work/$path" | sed 's/.*"item":"\([a-z0-9_]*\)".*"why":"\(.*\)".*/     \1: \2/' >"$work/none"
	if [ $path = native ]; then
		check "$path: what it cannot do needs ring 0" [ "$(grep -c 'ring 3 cannot$' "$work/none")" -eq "$(grep -c '^X(.*, NULL, "' "$top/eval/workloads/machine/machine.def")" ]
	else
		# CPUID leaves nothing out here, and the image checks its own results: handlers counted, values read back
		cat "$work/none"
		check "$path: every item has a figure" [ ! -s "$work/none" ]
	fi
	grep '"unit":"ns".*"ok":true' "$work/$path" | sed 's/[{}"]//g; s/\[\([^]]*\)\]/\1/' | awk -F, '{
		delete f
		n = 0
		for (i = 1; i <= NF; i++) {
			if (split($i, p, ":") == 2) { f[p[1]] = p[2]; last = p[1] } else if (last == "values") v[++n] = $i
			if (last == "values" && p[1] == "values") v[++n] = p[2]
		}
		if (!(f["min"] <= f["p50"] + 0 && f["p50"] <= f["p95"] + 0 && f["p95"] <= f["p99"] + 0 && f["mean"] >= f["min"] + 0)) print f["item"] ": order"
		if (f["n"] < 8 || f["batch"] < 1) print f["item"] ": n"
		if (n != (f["n"] < 64 ? f["n"] : 64)) print f["item"] ": " n " values of " f["n"]
		low = v[1]
		for (i = 2; i <= n; i++) if (v[i] + 0 < low + 0) low = v[i]
		if (low < f["min"] * 0.9999 - 0.001) print f["item"] ": a value below the minimum"
	}' >"$work/wrong"
	check "$path: figures in order: $(paste -sd' ' "$work/wrong")" [ ! -s "$work/wrong" ]
done

machine --paths interp,bt --items loop,cpuid --budget 1 >"$work/out" 2>"$work/err"
check "the table has a row for each item" [ "$(grep -c '^loop  *[0-9.]* ([0-9.]*)  *[0-9.]* ([0-9.]*)$\|^cpuid  *[0-9.]* ([0-9.]*)' "$work/out")" -eq 2 ]
check "and no other" [ "$(grep -c '^[a-z0-9_]*  *[0-9.]* (' "$work/out")" -eq 2 ]

# The host's half against children that misbehave.
mkdir "$work/fake"
cp "$(dirname "$STEELYARD")/machine/machine.elf" "$work/fake/"
cat >"$work/fake/machine-native" <<'EOS'
#!/bin/sh
case $1 in
*items=loop*) echo "@try loop"; echo "no such thing" >&2; kill -9 $$ ;;
*items=rdtsc*) echo "@try rdtsc"; echo "@item rdtsc batch=0 batches=x n=1 min=nan"; echo "@item loop batch=1"; echo "@item"; echo "@try nobody" ;;
*items=lock_add*) echo "@try lock_add"; printf 'x%.0s' $(seq 9000); echo; exit 3 ;;
esac
EOS
chmod +x "$work/fake/machine-native"
machine --images "$work/fake" --paths native --items loop,rdtsc,lock_add,xsave --json >"$work/out" 2>"$work/err"
check "misbehaviour is no failure of the run" [ $? -eq 0 ]
check "one that dies: the signal and what it said" grep -q '"item":"loop".*"ok":false.*"why":"ended by signal 9: no such thing"' "$work/out"
check "nonsense is no figure" grep -q '"item":"rdtsc".*"ok":false.*"why":"its line cannot be read"' "$work/out"
check "an end before the figure" grep -q '"item":"lock_add".*"ok":false.*"why":"ended with status 3"' "$work/out"
check "nothing at all" grep -q '"item":"xsave".*"ok":false.*"why":"ended with status 0"' "$work/out"
check "each item once" [ "$(wc -l <"$work/out")" -eq 4 ]

for bad in "--paths nowhere" "--items nothing" "--budget 0" "--budget x" "--images $work/none" "more"; do
	machine $bad >"$work/out" 2>"$work/err"
	status=$?
	check "eval machine $bad: status $status and one line" [ $status -ne 0 -a $status -lt 3 -a "$(wc -l <"$work/err")" -eq 1 -a ! -s "$work/out" ]
done
finish
