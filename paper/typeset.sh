#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Typesets NAME.tex in DIR. A figure, label or reference that is not there is an error, as every other is.
# The file says the time of the measurements, not of the typesetting: the same results give the same bytes.
# usage: typeset.sh DIR NAME      DIR/generated/run.json: the first record of the results
set -eu
cd "$1"
SOURCE_DATE_EPOCH=$(date -u -d "$(sed -n 's/.*"started": *"\([^"]*\)".*/\1/p' generated/run.json)" +%s)
export SOURCE_DATE_EPOCH
latex() {
	pdflatex -jobname="$2" -interaction=nonstopmode -halt-on-error "\\pdftrailerid{$2}\\input{$2}" >"$1.out" 2>&1 || {
		grep -A 4 '^!' "$1.out" >&2 || tail -n 20 "$1.out" >&2
		echo "paper: pdflatex failed; all that it said is in $PWD/$1.out" >&2
		exit 1
	}
}
latex first "$2"
bibtex -terse "$2" >bibtex.out 2>&1 || { cat bibtex.out >&2; exit 1; }
grep -q '^Warning' bibtex.out && { cat bibtex.out >&2; exit 1; }
latex second "$2"
latex third "$2"
if grep -E 'undefined|multiply' third.out >&2; then
	echo "paper: references are missing" >&2
	exit 1
fi
