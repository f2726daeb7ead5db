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
records() {
	for f in "$results"/results.jsonl "$results"/results.jsonl.zst "$results"/results.jsonl.xz; do
		[ -r "$f" ] || continue
		case $f in
		*.zst) zstd -dcq "$f" ;;
		*.xz) xz -dc "$f" ;;
		*) cat "$f" ;;
		esac
		return
	done
}
records | head -n 1 >"$run"
[ -s "$run" ] || { echo "paper: $results has no results.jsonl" >&2; exit 1; }

# No more digits than a figure bears. With an interval: as many decimals as give its half width two significant digits, the same for
# its ends, and two at most, but three for controls, which are about percents; where one end is many times the other, two significant
# digits each. Without an interval: three significant digits; a mean over one block: two. Thousands stand apart.
functions='
function absolute(x) { return x < 0 ? -x : x }
function decimals(x, digits,   d) {
	x = absolute(x)
	for (d = digits - 1; d > 0 && x >= 10; d--) x /= 10
	for (; x < 1 && x > 0 && d < 4; d++) x *= 10
	return d
}
function apart(s,   sign, rest) {
	sign = sub(/^-/, "", s) ? "-" : ""
	rest = match(s, /\./) ? substr(s, RSTART) : ""
	s = rest == "" ? s : substr(s, 1, RSTART - 1)
	if (length(s) < 5)
		return sign s rest
	while (match(s, /[0-9][0-9][0-9][0-9]($|\\)/))
		s = substr(s, 1, RSTART) "\\," substr(s, RSTART + 1)
	return sign s rest
}
function rounded(v, digits,   unit) {
	unit = 1
	while (absolute(v) / unit >= 10 ^ digits) unit *= 10
	return sprintf("%.*f", unit > 1 ? 0 : decimals(v, digits), int(v / unit + (v < 0 ? -0.5 : 0.5)) * unit * (unit > 1) + v * (unit == 1))
}
function spread(x, lo, hi, most,   d) {
	if (hi > 8 * lo)
		return apart(rounded(x, 2))
	d = decimals((hi - lo) / 2, 2)
	return apart(sprintf("%.*f", d < most ? d : most, x))
}
function show(v, lo, hi, digits, most) {
	if (v == "" || v == "null")
		return ""
	v += 0
	if (lo != "" && lo != "null" && hi > lo)
		return spread(v, lo, hi, most ? most : 2)
	return v == int(v) && absolute(v) < 1000000 && !digits ? apart(sprintf("%d", v)) : apart(rounded(v, digits ? digits : 3))
}
function end(x, lo, hi, most) {
	return x == "" || x == "null" ? "" : hi > lo ? spread(x, lo, hi, most ? most : 2) : show(x)
}
function whole(v) {
	v = sprintf("%.0f", v)
	return v == "-0" ? "0" : v < 0 ? "$" v "$" : v
}
function tex(s) {
	gsub(/[\\{}^~]/, "", s)
	gsub(/[_%&#$]/, "\\\\&", s)
	gsub(/--/, "-{}-", s)
	return s
}
# A ratio of n blocks as a table shows it.
function cell(v, lo, hi, n) {
	return v == "" ? "--" : lo == "" ? show(v, "", "", 2) : show(v, lo, hi) " [" end(lo, lo, hi) ", " end(hi, lo, hi) "]"
}
function rank(word, list,   k, w, i) {
	k = split(list, w, " ")
	for (i = 1; i <= k; i++) if (w[i] == word) return i
	return k + 1
}
'
tab=$(printf '\t')

# ---- figures and words ----
{
	jq -r '.figures[] | [.key, .value, .lo, .hi, .n] | @tsv' "$summary" |
		awk -F "$tab" "$functions"'
		$1 == "resolution" { $2 = sprintf("%.1f", int($2 * 10 + 1 - 1e-5) / 10) } # rounded up, as the verdict says it
		{
			most = $1 ~ /^(control|inject)\// ? 3 : 2
			printf "\\defval{%s}{%s}{%s}{%s}\n", $1, $1 == "resolution" ? $2 : show($2, $3, $4, $5 == 1 && $1 ~ /^mean\// ? 2 : 0, most),
				end($3, $3, $4, most), end($4, $3, $4, most)
		}'
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
			["env.guest", ([.environment.guest_files[]? | select(startswith("amd64/vmlinuz ")) | split(" ")[2] | ltrimstr("linux-image-")] | first // "unknown")],
			["env.mitigations", (.environment.mitigations | with_entries(select(.value | startswith("Mitigation"))) | keys | map(gsub("_"; " ")) | join(", ") |
				if . == "" then "none" else . end)],
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

# ---- workloads that a path cannot run: whole groups by their names ----
records | { grep '"what":"left-out"' || true; } | jq -rs --slurpfile run "$run" '
	($run[0].spec.workloads | map({(.name): .group}) | add) as $group |
	($run[0].spec.workloads | group_by(.group) | map({(.[0].group): length}) | add) as $size |
	group_by(.path + "/" + .why)[] | . as $events | map($group[.workload]) | unique as $groups |
	[$groups[] | . as $g | [$events[].workload | select($group[.] == $g)] | unique |
		if length == $size[$g] and length > 1 then "group " + $g else .[] end] as $what |
	[$events[0].path, ($what | join(", ")), $events[0].why] | @tsv' |
	awk -F "$tab" "$functions"'{ printf "\\item \\texttt{%s} leaves out %s: %s\n", tex($1), tex($2), tex($3) }' >>"$out/absent.tex"

# ---- groups, each with its paths; the class is by the one-sided bound of CPU time ----
jq -r '(.figures | map({(.key): .}) | add) as $f | [.figures[] | select(.key | test("^mean/steady/cpu/"))][] | (.key | split("/")) as $k |
	$f["mean/steady/wall/" + $k[3] + "/" + $k[4]] as $wall |
	[$k[4], $k[3], .n, .value, .lo, .hi, $f["upper/steady/cpu/" + $k[3] + "/" + $k[4]].value, $wall.value, $wall.lo, $wall.hi] | @tsv' "$summary" |
	awk -F "$tab" "$functions"'{ print rank($1, "int fp mem gen cpu os smp all") "\t" NR "\t" $0 }' | sort -t "$tab" -k 1,1n -k 2,2n | cut -f 3- |
	awk -F "$tab" "$functions"'
	function class(b) {
		return b == "" ? "--" : b <= 1.05 ? "near native" : b <= 1.25 ? "$\\leq 1.25$" : b <= 2 ? "$\\leq 2$" : "$> 2$"
	}
	BEGIN { print "\\begin{tabular}{@{}llrlll@{}}\n\\toprule\ngroup & path & $n$ & CPU time & class & wall time\\\\" }
	END { print "\\bottomrule\n\\end{tabular}" }
	{
		if ($1 != last) print "\\midrule"
		printf "%s & %s & %s & %s & %s & %s\\\\\n", ($1 == last ? "" : tex($1)), tex($2), $3, cell($4, $5, $6), class($7), cell($8, $9, $10)
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

# ---- where the overhead goes: parts in percent of each group's overhead, the largest first, and what is left ----
jq -r '(.figures | map({(.key): .value}) | add) as $v | .figures[] | select(.key | test("^(part|residual)/steady/bt/group [a-z]+")) |
	(.key | split("/")) as $k | ($k[3] | sub("group "; "")) as $g | [$g, ($k[4] // "residual"), .value / $v["over/steady/bt/group " + $g] * 100] | @tsv' "$summary" |
	awk -F "$tab" "$functions"'
	!($1 in col) { col[$1] = ++n; group[n] = $1 }
	{ if (!($2 in row)) { row[$2] = ++m; part[m] = $2 } v[row[$2], col[$1]] = $3; sum[row[$2]] += $3 }
	END {
		for (c = 1; c <= n; c++) {
			place[c] = c
			for (i = c; i > 1 && rank(group[place[i]], order) < rank(group[place[i - 1]], order); i--) {
				k = place[i]; place[i] = place[i - 1]; place[i - 1] = k
			}
		}
		printf "\\begin{tabular}{@{}l"
		for (c = 1; c <= n; c++) printf "r"
		printf "@{}}\n\\toprule\npart"
		for (c = 1; c <= n; c++) printf " & %s", tex(group[place[c]])
		print "\\\\\n\\midrule"
		for (k = 1; k <= m; k++) {
			best = 0
			for (i = 1; i <= m; i++) if (!done[i] && (part[i] != "residual" || k == m) && (!best || sum[i] > sum[best])) best = i
			done[best] = 1
			if (part[best] == "residual") print "\\midrule"
			printf "%s", tex(part[best])
			for (c = 1; c <= n; c++) printf " & %s", ((best, place[c]) in v ? whole(v[best, place[c]]) : "--")
			print "\\\\"
		}
		print "\\bottomrule\n\\end{tabular}"
	}' order="int fp mem gen cpu os smp all" >"$out/explained.tex"

# ---- single operations ----
jq -r '.figures[] | select(.key | test("^cost/[^/]+/[^/]+/p50$")) | (.key | split("/")) as $k | [$k[1], $k[2], .value, .n] | @tsv' "$summary" |
	awk -F "$tab" "$functions"'
	!($1 in col) { col[$1] = ++n; path[n] = $1 }
	{ if (!($2 in row)) { row[$2] = ++m; item[m] = $2 } v[row[$2], col[$1]] = $3 }
	$4 < least || !least { least = $4 }
	$4 > most { most = $4 }
	END {
		if (!m) { print "the run has no micro suite"; exit }
		printf "\\defword{cost.least}{%d}\\defword{cost.most}{%d}\n", least, most >>numbers
		k = 0
		if ("native" in col) place[++k] = col["native"]
		for (c = 1; c <= n; c++) if (path[c] != "native") place[++k] = c
		printf "\\begin{tabular}{@{}l"
		for (c = 1; c <= n; c++) printf "r"
		printf "@{}}\n\\toprule\noperation"
		for (c = 1; c <= n; c++) printf " & %s", tex(path[place[c]])
		print "\\\\\n\\midrule"
		for (k = 1; k <= m; k++) {
			printf "%s", tex(item[k])
			for (c = 1; c <= n; c++) printf " & %s", ((k, place[c]) in v ? show(v[k, place[c]], "", "", 3) : "--")
			print "\\\\"
		}
		print "\\bottomrule\n\\end{tabular}"
	}' numbers="$out/numbers.tex" >"$out/machine.tex"
