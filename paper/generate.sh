#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# What the article takes from a results folder, as TeX: every figure under its key, the tables and the plots.
# usage: generate.sh RESULTS OUT      RESULTS/summary.json must be there: steelyard eval report RESULTS
set -eu
results=$1
out=$2
summary=$results/summary.json
if [ ! -r "$summary" ]; then
	echo "paper: $summary is not there: run steelyard eval report $results" >&2
	exit 1
fi
mkdir -p "$out"
run=$out/run.json
for f in "$results"/results.jsonl "$results"/results.jsonl.zst "$results"/results.jsonl.xz; do
	[ -r "$f" ] || continue
	case $f in
	*.zst) zstd -dcq "$f" ;;
	*.xz) xz -dc "$f" ;;
	*) cat "$f" ;;
	esac | head -n 1 >"$run"
	break
done
[ -s "$run" ] || { echo "paper: $results has no results.jsonl" >&2; exit 1; }

# Three significant digits, and thousands as they are.
functions='
function show(v) {
	if (v == "" || v == "null")
		return ""
	v += 0
	a = v < 0 ? -v : v
	if (a == int(a) && a < 1000000)
		return sprintf("%d", v)
	return sprintf(a >= 99.5 ? "%.0f" : a >= 9.95 ? "%.1f" : a >= 0.995 ? "%.2f" : "%.3f", v)
}
function whole(v) {
	v = sprintf("%.0f", v)
	return v == "-0" ? "0" : v < 0 ? "$" v "$" : v
}
function tex(s) {
	gsub(/[\\{}^~]/, "", s)
	gsub(/[_%&#$]/, "\\\\&", s)
	return s
}
'
tab=$(printf '\t')

# ---- figures and words ----
{
	jq -r '.figures[] | [.key, .value, .lo, .hi] | @tsv' "$summary" |
		awk -F "$tab" "$functions"'{ printf "\\defval{%s}{%s}{%s}{%s}\n", $1, show($2), show($3), show($4) }'
	jq -r '.verdict | ["verdict.resolution", (if .sufficient then "sufficient" else "insufficient" end)],
		["verdict.inject", (if .inject_holds then "found as what it is" elif .inject_found then "found, but not as large as it is" else "not found" end)] |
		@tsv' "$summary" | awk -F "$tab" "$functions"'{ printf "\\defword{%s}{%s}\n", $1, tex($2) }'
	jq -r '
		def count(s): [.probe.modes[] | select(. == s)] | length;
		[
			["run.spec", .spec.name],
			["env.cpu", .environment.cpu],
			["env.ncpus", (.environment.ncpus | tostring)],
			["env.kernel", (.environment.kernel | split(" ")[0])],
			["env.peers", ([((.environment.packages["qemu-system-x86_64"] // "no QEMU") | sub(" emulator version"; "") | sub(" \\(.*"; "")),
				(if any(.spec.paths[]; .peer == "unicorn") then .environment.packages.unicorn // "no libunicorn" | sub(",.*"; "") else empty end)] |
				join(" and "))],
			["inject.percent", (.spec.inject | tostring)],
			["probe.vendor", .probe.vendor],
			["probe.verdict", .probe.verdict],
			["probe.module", (.environment.kvm_module | split(" ") | (map(select(. != "kvm")) | join(", ")) as $vendor |
				if $vendor != "" then $vendor elif . == [] then "unknown" else "kvm" end)],
			["probe.auto", ((.probe.auto | split(":")[0]) // "unknown")],
			["probe.modes", (.probe.modes | length | tostring)],
			["probe.modes.native", (count("native") | tostring)],
			["probe.modes.partial", (count("partial") | tostring)],
			["probe.modes.unusable", (count("unusable") | tostring)],
			["probe.failed", (.probe.failed | length | tostring)]
		][] | @tsv' "$run" |
		awk -F "$tab" "$functions"'{ printf "\\defword{%s}{%s}\n", $1, tex($2) }'
} >"$out/numbers.tex"

# ---- paths that could not run ----
jq -r '[.failures[] | select(.workload == null)] | unique_by(.path)[] | [.path, .why] | @tsv' "$summary" |
	awk -F "$tab" "$functions"'{ printf "\\item \\texttt{%s}: %s\n", tex($1), tex($2) } END { if (!NR) print "\\item none: all ran" }' \
		>"$out/absent.tex"

# ---- groups, each with its paths; the class is by the one-sided bound ----
jq -r '(.figures | map({(.key): .value}) | add) as $v | [.figures[] | select(.key | test("^mean/steady/cpu/"))] |
	sort_by(.key | split("/")[4])[] | (.key | split("/")) as $k |
	[$k[4], $k[3], .value, .lo, .hi, $v["upper/steady/cpu/" + $k[3] + "/" + $k[4]]] | @tsv' "$summary" |
	awk -F "$tab" "$functions"'
	function class(b) {
		return b == "" ? "--" : b <= 1.05 ? "near native" : b <= 1.25 ? "$\\leq 1.25$" : b <= 2 ? "$\\leq 2$" : "$> 2$"
	}
	BEGIN { print "\\begin{tabular}{@{}llll@{}}\n\\toprule\ngroup & path & ratio & class\\\\\n\\midrule" }
	END { print "\\bottomrule\n\\end{tabular}" }
	{
		printf "%s & %s & %s%s & %s\\\\\n", ($1 == last ? "" : tex($1)), tex($2), show($3),
			($4 == "" ? "" : " [" show($4) ", " show($5) "]"), class($6)
		last = $1
	}' >"$out/groups.tex"

# ---- forest: each workload, a column; each path, a mark ----
jq -r '.figures[] | select(.key | test("^ratio/steady/cpu/")) | (.key | split("/")) as $k | [$k[3], $k[4], .value, (.lo // .value), (.hi // .value)] | @tsv' "$summary" |
	awk -F "$tab" '
	!($2 in at) { at[$2] = ++n; name[n] = $2 }
	{ if (!($1 in seen)) { seen[$1] = ++p; path[p] = $1 }
	  row[$1] = row[$1] sprintf("(%d,%g) +- (0,%g) -= (0,%g)\n", at[$2], $3, $5 - $3, $3 - $4) }
	END {
		split("*,square*,triangle*,diamond*,o,square", mark, ",")
		print "\\begin{tikzpicture}\\begin{axis}[width=\\textwidth,height=5.6cm,ymode=log,ymajorgrids,log ticks with fixed point,"
		printf "xmin=0,xmax=%d,xtick={", n + 1
		for (i = 1; i <= n; i++) printf "%s%d", (i > 1 ? "," : ""), i
		printf "},xticklabels={"
		for (i = 1; i <= n; i++) printf "%s%s", (i > 1 ? "," : ""), name[i]
		print "},x tick label style={rotate=90,font=\\tiny},y tick label style={font=\\scriptsize},ylabel={CPU time over native},ylabel style={font=\\scriptsize},"
		print "legend style={font=\\scriptsize,at={(0.5,1.02)},anchor=south,legend columns=-1,draw=none}]"
		for (i = 1; i <= p; i++) {
			printf "\\addplot+[only marks,mark=%s,mark size=1.2pt,error bars/.cd,y dir=both,y explicit] coordinates {\n%s};\n", mark[i], row[path[i]]
			printf "\\addlegendentry{%s}\n", path[i]
		}
		print "\\draw[densely dashed] (axis cs:0,1) -- (axis cs:" n + 1 ",1);"
		print "\\end{axis}\\end{tikzpicture}"
	}' >"$out/forest.tex"

# ---- where the overhead goes: parts in percent of each group's overhead, the largest first ----
jq -r '. as $s | (.figures | map({(.key): .value}) | add) as $v | .figures[] | select(.key | test("^part/steady/bt/group [a-z]+/")) |
	(.key | split("/")) as $k | ($k[3] | sub("group "; "")) as $g | [$g, $k[4], .value / $v["over/steady/bt/group " + $g] * 100] | @tsv' "$summary" |
	awk -F "$tab" "$functions"'
	!($1 in col) { col[$1] = ++n; group[n] = $1 }
	{ if (!($2 in row)) { row[$2] = ++m; part[m] = $2 } v[row[$2], col[$1]] = $3; sum[row[$2]] += $3 }
	END {
		printf "\\begin{tabular}{@{}l"
		for (c = 1; c <= n; c++) printf "r"
		printf "@{}}\n\\toprule\npart, \\%% of the overhead"
		for (c = 1; c <= n; c++) printf " & %s", tex(group[c])
		print "\\\\\n\\midrule"
		for (k = 1; k <= m; k++) {
			best = 0
			for (i = 1; i <= m; i++) if (!done[i] && (!best || sum[i] > sum[best])) best = i
			done[best] = 1
			printf "%s", tex(part[best])
			for (c = 1; c <= n; c++) printf " & %s", ((best, c) in v ? whole(v[best, c]) : "--")
			print "\\\\"
		}
		print "\\bottomrule\n\\end{tabular}"
	}' >"$out/explained.tex"

# ---- single operations ----
jq -r '.figures[] | select(.key | test("^cost/[^/]+/[^/]+/p50$")) | (.key | split("/")) as $k | [$k[1], $k[2], .value] | @tsv' "$summary" |
	awk -F "$tab" "$functions"'
	!($1 in col) { col[$1] = ++n; path[n] = $1 }
	{ if (!($2 in row)) { row[$2] = ++m; item[m] = $2 } v[row[$2], col[$1]] = $3 }
	END {
		if (!m) { print "the run has no micro suite"; exit }
		printf "\\begin{tabular}{@{}l"
		for (c = 1; c <= n; c++) printf "r"
		printf "@{}}\n\\toprule\noperation"
		for (c = 1; c <= n; c++) printf " & %s", tex(path[c])
		print "\\\\\n\\midrule"
		for (k = 1; k <= m; k++) {
			printf "%s", tex(item[k])
			for (c = 1; c <= n; c++) printf " & %s", ((k, c) in v ? show(v[k, c]) : "--")
			print "\\\\"
		}
		print "\\bottomrule\n\\end{tabular}"
	}' >"$out/machine.tex"
