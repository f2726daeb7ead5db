# SPDX-License-Identifier: GPL-2.0-or-later
# What the article takes from a results folder: no more digits than a figure bears, every row of its tables, what a path left out; and
# the check that refuses a figure in its prose that no result gives. Typesetting needs TeX and is make paper's.
. "$(dirname "$0")/lib.sh"
if ! command -v jq >/dev/null; then
	skip "the article's figures: no jq (mk/packages-paper.txt)"
	finish
fi
mkdir "$work/r"
has() { # has NAME TEXT FILE
	if grep -qF -- "$2" "$work/out/$3"; then pass "$1"; else
		fail "$1"
		head -n 4 "$work/out/$3" | sed 's/^/     /'
	fi
}
# figure KEY VALUE N [LO HI]
figure() { printf '{"key":"%s","value":%s,"n":%s,"unit":""%s}\n' "$1" "$2" "$3" "${4:+,\"lo\":$4,\"hi\":$5}"; }
{
	figure resolution 5.2004 6
	figure count/samples 9970 1
	figure control/steady/cpu/group\ cpu 1.01131 6 0.97208 1.05203
	figure mean/steady/cpu/bt/os 2.46401 6 2.37012 2.56201
	figure mean/steady/wall/bt/os 2.36501 6 2.27401 2.46101
	figure upper/steady/cpu/bt/os 2.55 6
	figure mean/steady/cpu/bt/int 1.04001 6 1.03801 1.04201
	figure upper/steady/cpu/bt/int 1.041 6
	figure mean/steady/cpu/qemu-tcg/int 6.65731 2 3.95401 11.21401
	figure mean/steady/cpu/qemu-tcg/gen 88.4011 2 0.48801 15978.4
	figure mean/steady/cpu/interp/int 107.4011 1
	figure over/steady/bt/group\ int 200 6
	figure part/steady/bt/group\ int/check 150 6
	figure part/steady/bt/group\ int/kernels -10 6
	figure residual/steady/bt/group\ int 60 6
	figure ratio/steady/cpu/bt/fib 2.4 6 2.3 2.5
	figure cost/bt/loop/p50 0.40123 512
	figure cost/bt/codegen/p50 2324566.2 8
	figure cost/native/loop/p50 0.38111 512
} | jq -s '{figures: ., failures: [{path: "kvm", workload: null, why: "use --path bt: 100 % & more_so"}],
	verdict: {sufficient: false, inject_holds: true, inject_found: true}}' >"$work/r/summary.json"
jq -cn '{type: "run", started: "2026-11-23T00:00:00Z", spec: {name: "full", inject: 3, paths: [{name: "unicorn", peer: "unicorn"}], workloads: [{name: "fib", group: "int"},
	{name: "matavx2", group: "fp"}, {name: "nbody", group: "fp"}, {name: "fork", group: "os"}, {name: "exec", group: "os"}]},
	environment: {cpu: "A", ncpus: 2, kernel: "6.1 #1", kvm_module: "kvm kvm_amd", packages: {"qemu-system-x86_64": "QEMU emulator version 7.2 (Debian)", unicorn: "libunicorn 2.0, built with 2.0.1"}, guest_files: ["amd64/vmlinuz 0 linux-image-6.1.0 1"],
		mitigations: {spectre_v2: "Mitigation: Retpolines", l1tf: "Not affected"}},
	probe: {vendor: "v", verdict: "native", auto: "kvm: it works", modes: {real: "native"}, failed: []}}' >"$work/r/results.jsonl"
for w in fork exec matavx2; do
	echo '{"type":"event","what":"left-out","path":"unicorn","cpus":1,"workload":"'$w'","why":"it cannot"}' >>"$work/r/results.jsonl"
done
sh "$top/paper/generate.sh" "$work/r" "$work/out" >"$work/said" 2>&1
check "the figures are generated" [ $? -eq 0 -a ! -s "$work/said" ]
has "the resolution is rounded up, as the verdict says it" '\defval{resolution}{5.3}{}{}' numbers.tex
has "a control has three decimals, and its ends as many" '\defval{control/steady/cpu/group cpu}{1.011}{0.972}{1.052}' numbers.tex
has "a count is whole" '\defval{count/samples}{9970}' numbers.tex
has "a wide interval leaves few digits" '\defval{mean/steady/cpu/qemu-tcg/int}{6.7}{4.0}{11.2}' numbers.tex
has "one that is many times wider two" '\defval{mean/steady/cpu/qemu-tcg/gen}{88}{0.49}{16\,000}' numbers.tex
has "one block two" '\defval{mean/steady/cpu/interp/int}{110}{}{}' numbers.tex
has "a row with both times and n" 'os & bt & 6 & 2.46 [2.37, 2.56] & $> 2$ & 2.37 [2.27, 2.46]\\' groups.tex
has "a class" 'int & bt & 6 & 1.04 [1.04, 1.04] & near native' groups.tex
check "groups in their order" [ "$(grep -oE '^(int|gen|os) ' "$work/out/groups.tex" | tr -d '\n')" = "int gen os " ]
has "parts in percent" 'check & 75\\' explained.tex
has "with what is negative" 'kernels & $-5$\\' explained.tex
check "and the residual at the end" [ "$(grep '&' "$work/out/explained.tex" | tail -n 1)" = 'residual & 30\\' ]
has "single operations, native first" 'operation & native & bt\\' machine.tex
has "three digits of a long one" 'codegen & -- & 2\,320\,000\\' machine.tex
has "the number of samples" '\defword{cost.least}{8}\defword{cost.most}{512}' numbers.tex
has "what could not run, as TeX" '\item \texttt{kvm}: use -{}-path bt: 100 \% \& more\_so' absent.tex
has "what a path left out, whole groups by name" '\item \texttt{unicorn} leaves out matavx2, group os: it cannot' absent.tex
has "the host's mitigations" '\defword{env.mitigations}{spectre v2}' numbers.tex
has "the guest's kernel" '\defword{env.guest}{6.1.0}' numbers.tex
has "the peers" '\defword{env.peers}{QEMU 7.2 and libunicorn 2.0}' numbers.tex

refused() { # refused NAME PROSE
	printf '%s\n' "$2" >"$work/prose.tex"
	sh "$top/paper/lint.sh" "$top/paper/names.txt" "$work/prose.tex" >"$work/said" 2>&1
	check "$1" [ $? -eq 1 -a "$(wc -l <"$work/said")" -eq 1 ]
}
refused "a figure in prose" 'It takes 2.06 times as long.'
refused "a figure beside one that is generated" '\ratio{bt}{int} and 12 more'
refused "somebody's figure without a reference" '\src{17}{robin2000} instructions'
sh "$top/paper/lint.sh" "$top/paper/names.txt" "$top"/paper/steelyard.tex "$top"/paper/sections/*.tex >"$work/said" 2>&1
check "the article has none" [ $? -eq 0 ]
finish
