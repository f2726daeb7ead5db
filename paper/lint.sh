#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Fails when the prose holds a figure that was not generated. Allowed are \val, \ival, \ratio, \ratioival (from the results), \src{N}{WORK} beside a
# \cite of that work, labels, references and the names in names.txt.
# usage: lint.sh NAMES FILE...
set -eu
names=$1
shift
awk -v names="$names" '
BEGIN {
	while ((getline line < names) > 0)
		if (line !~ /^#/ && line != "")
			allowed[++n] = line
}
{
	text = $0
	sub(/(^|[^\\])%.*/, "", text)
	while (match(text, /\\src\{[^}]*\}\{[^}]*\}/)) {
		work = substr(text, RSTART, RLENGTH)
		sub(/.*\{/, "", work)
		sub(/\}/, "", work)
		want[FILENAME, work] = FNR
		text = substr(text, 1, RSTART - 1) substr(text, RSTART + RLENGTH)
	}
	rest = text
	while (match(rest, /\\cite\{[^}]*\}/)) {
		list = substr(rest, RSTART + 6, RLENGTH - 7)
		k = split(list, works, ",")
		for (i = 1; i <= k; i++)
			cited[FILENAME, works[i]] = 1
		rest = substr(rest, RSTART + RLENGTH)
	}
	gsub(/\\(val|ival|cite|ref|label|input|begin|end|usepackage|documentclass|bibliography|bibliographystyle|pgfplotsset)(\[[^]]*\])?\{[^}]*\}/, "", text)
	gsub(/\\ratio(ival)?\{[^}]*\}\{[^}]*\}/, "", text)
	for (i = 1; i <= n; i++)
		while ((at = index(text, allowed[i])))
			text = substr(text, 1, at - 1) substr(text, at + length(allowed[i]))
	if (text ~ /[0-9]/) {
		printf "%s:%d: a figure that no result gives: %s\n", FILENAME, FNR, $0
		bad = 1
	}
}
END {
	for (key in want)
		if (!(key in cited)) {
			split(key, part, SUBSEP)
			printf "%s:%d: \\src names %s, which is not cited in this file\n", part[1], want[key], part[2]
			bad = 1
		}
	exit bad
}' "$@"
