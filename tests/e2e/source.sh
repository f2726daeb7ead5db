# SPDX-License-Identifier: GPL-2.0-or-later
# House rules that a machine can check: licence lines, file sizes, headers that compile alone, who includes whom.
. "$(dirname "$0")/lib.sh"
cd "$top" || exit 1
sources=$(find engine translator fastpath mgmt eval tests mk -name '*.[chS]' -o -name '*.def' | sort)

offenders() { # NAME, then a list on stdin: empty is good
	local list
	list=$(cat)
	if [ -z "$list" ]; then pass "$1"; else fail "$1: $(echo "$list" | tr '\n' ' ' | head -c 500)"; fi
}
offenders "every source has a licence line" < <(for f in $sources; do head -n 2 "$f" | grep -q 'SPDX-License-Identifier: GPL-2.0-or-later' || echo "$f"; done)
offenders "no file is longer than 1000 lines" < <(for f in $(find engine translator fastpath mgmt eval -name '*.[ch]'); do
	[ "$(wc -l <"$f")" -le 1000 ] || echo "$f:$(wc -l <"$f")"
done)
offenders "every header compiles alone" < <(for h in $(find engine translator fastpath mgmt eval -name '*.h' -not -path 'eval/workloads/*'); do
	gcc -std=gnu17 -D_GNU_SOURCE -I. -Wall -Werror -fsyntax-only -x c "$h" 2>/dev/null || echo "$h"
done)
offenders "engine/ includes no path" < <(grep -ln '#include "\(translator\|fastpath\|mgmt\|eval\)/' engine/*.[ch] 2>/dev/null)
offenders "translator/ includes engine/ and itself" < <(grep -ln '#include "\(fastpath\|mgmt\|eval\)/' translator/* 2>/dev/null)
offenders "fastpath/ includes engine/ and itself" < <(grep -ln '#include "\(translator\|mgmt\|eval\)/' fastpath/* 2>/dev/null)
offenders "nothing is left to do later" < <(grep -nE '\b(TODO|FIXME|XXX)\b' $(echo "$sources" | grep -v '^tests/e2e') | cut -d: -f1,2)
finish
