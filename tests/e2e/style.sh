# SPDX-License-Identifier: GPL-2.0-or-later
# What the project asks of its own sources and pages, as far as a machine can see it: who includes whom, headers that
# stand alone, file sizes, licence lines, no state outside an instance, pages that agree with the program.
. "$(dirname "$0")/lib.sh"
cd "$top" || exit 1
shopt -s lastpipe # "none" counts in this shell
objects=$(dirname "$STEELYARD")
dirs=$(cd "$(dirname "$0")/../.." && ls -d engine translator fastpath mgmt eval 2>/dev/null | tr "\n" " ") # those that there are

# none NAME <list: passes when the list is empty, else names what is in it
none() {
	local list
	list=$(cat)
	if [ -z "$list" ]; then
		pass "$1"
	else
		fail "$1: $(echo "$list" | wc -l)"
		echo "$list" | head -n 20 | sed 's/^/     /'
	fi
}
# includes FILE...: "FILE HEADER" for every project header that it names
includes() { grep -Ho '^#include "[^"]*"' "$@" 2>/dev/null | sed 's/:#include "/ /; s/"$//'; }
sources() { find $dirs tests mk \( -name '*.[chS]' -o -name '*.def' -o -name '*.inc' -o -name '*.sh' -o -name '*.mk' \) | sort; }

# ---- arrows ----
# may NAME FOLDER HEADER...: the files of the folder, and of those below it, include no project header but these (patterns)
may() {
	local name=$1 from=$2 file header ok to
	shift 2
	includes $(find $from -name '*.[chS]' | grep -v "^engine/main/") | while read -r file header; do
		ok=
		for to; do case $header in $to) ok=1 ;; esac; done
		[ -n "$ok" ] || echo "$file includes $header"
	done | none "$name"
}
# A device knows buses, lines, clocks and chardevs; the board alone knows vm.h. The APICs send messages to vCPUs and so belong to
# the machine.
may "a device of the board includes bus, irq, clock, chardev, mem, status and its own folder only" engine/pc \
	engine/bus.h engine/irq.h engine/clock.h engine/chardev.h engine/mem.h engine/status.h 'engine/pc/*'
may "PCI includes bus, irq, mem, status and its own headers only" engine/pci \
	engine/bus.h engine/irq.h engine/mem.h engine/status.h 'engine/pci/*'
for d in ahci virtio nvme block net; do
	may "engine/$d/ includes PCI, DMA, workers, disk images, networks and devices on PCI only" engine/$d engine/dma.h engine/worker.h engine/mem.h \
		engine/status.h engine/pci/pci.h 'engine/ahci/*' 'engine/virtio/*' 'engine/nvme/*' 'engine/block/*' 'engine/net/*'
done
may "engine/ includes engine/ only" engine 'engine/*'
may "translator/ includes engine/ and translator/ only" translator 'engine/*' 'translator/*'
may "fastpath/ includes engine/ and fastpath/ only" fastpath 'engine/*' 'fastpath/*'
may "eval/ drives the program from outside: no machine header but status.h" "eval/*.[ch]" engine/status.h 'eval/*'
may "the runner knows nothing of reports" eval/run engine/status.h eval/*.h 'eval/run/*' 'eval/workloads/*'
may "reports know nothing of the runner: there is only the results folder between them" eval/report engine/status.h eval/*.h 'eval/report/*'
may "mgmt/ reaches no machine but through its socket: no machine header but status.h" mgmt engine/status.h 'mgmt/*'
includes $(find $dirs -name '*.[chS]' | grep -v '^engine/main/') | grep ' engine/main/' | none "only engine/main/ includes engine/main/"
includes $(find $dirs -name '*.[chS]' | grep -v '^engine/main/\|^engine/control/') | grep ' engine/control/' |
	none "the machine does not know its control socket"
includes $(find $dirs -name '*.[chS]') | grep ' tests/' | none "nothing but a test includes tests/"
includes $(ls translator/*.[ch] | grep -v '/bt') | grep ' translator/bt' | none "the interpreter knows nothing of the translator"

# ---- headers and files ----
flags="-std=gnu17 -D_GNU_SOURCE -I. -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -fno-strict-aliasing -Werror"
for h in $(find $dirs tests -name '*.h'); do
	extra=
	case $h in engine/main/*) ;; engine/* | translator/*) extra=-mgeneral-regs-only ;; esac
	gcc $flags $extra -fsyntax-only -x c "$h" >"$work/cc" 2>&1 || echo "$h: $(grep -m 1 error "$work/cc")"
done | none "every header compiles alone"
sources | while read -r f; do head -n 3 "$f" | grep -q 'SPDX-License-Identifier: GPL-2.0-or-later' || echo "$f"; done |
	none "every source has its licence line"
sources | grep '\.[chS]$' | xargs wc -l | awk '$2 != "total" && $1 > 1000 { print $2 ": " $1 }' | none "no file is longer than 1000 lines"
sources | grep '\.[chS]$' | xargs wc -l | awk '$2 != "total" && $1 > 800 { print "     long: " $2 ": " $1 " lines" }'
sources | grep -v '^tests/e2e/s' | xargs grep -nEw 'TODO|FIXME|XXX' | cut -d: -f1,2 | none "nothing is left to do later"

# ---- state ----
# Writable data with a lifetime of its own. .data.rel.ro is const tables with addresses in them. The one exception: a
# signal handler has no argument by which it could find the vCPU of its thread.
allowed="thread_vcpu"
if nm "$STEELYARD" 2>/dev/null | grep -q '__[at]san_init\|__ubsan_handle'; then
	skip "no mutable globals: a sanitizer's build has its own"
elif [ ! -d "$objects/engine" ]; then
	skip "no mutable globals: no objects beside $STEELYARD"
else
	for c in engine/*.c engine/*/*.c translator/*.c fastpath/*.c; do
		o=$objects/${c%.c}.o
		[ -s "$o" ] || continue
		nm -f sysv "$o" | tr -d ' ' | awk -F'|' -v f="$c" -v allowed=" $allowed " '
			$7 ~ /^(\.data|\.bss|\.tdata|\.tbss|\*COM\*|COMMON)/ && $7 !~ /^\.data\.rel\.ro/ && $4 != "SECTION" && $4 != "NOTYPE" {
				name = $1
				sub(/\.[0-9]+$/, "", name)
				if (!index(allowed, " " name " ")) print f ": " $1 " in " $7
			}'
	done | none "no mutable globals or function statics but: $allowed"
fi

# ---- what a failing KVM is tested with ----
header=$(printf '#include <linux/kvm.h>\n' | gcc -E -dM -x c - 2>/dev/null)
cat fastpath/kvm_*.[ch] | sed 's,/\*.*\*/,,' | grep -oE '\bKVM_[A-Z0-9_]+' | sort -u | while read -r n; do
	grep -qE "^#define $n _IO" <<<"$header" || continue
	grep -qE "\b$n\b.*(ioctl|case|,)|ioctl.*\b$n\b" fastpath/kvm_*.[ch] || continue
	grep -qF "{$n, \"$n\"," tests/unit/test_kvm.c || echo "$n"
done | none "every request that fastpath/kvm_*.c makes of KVM has its row in tests/unit/test_kvm.c"
reasons=$(sed -n 's/^#define EXIT_REASONS \([0-9]*\) .*/\1/p' tests/unit/test_kvm.c)
sed -n 's/^#define \(KVM_EXIT_[A-Z0-9_]*\) *\([0-9][0-9]*\)$/\2 \1/p' <<<"$header" | awk -v n="$reasons" '$1 >= n { print $2 ": " $1 }
	END { if (!NR) print "no exit reasons in <linux/kvm.h>" }' | none "every exit reason of <linux/kvm.h> is below $reasons, and tried"

# ---- pages ----
# The first column of the tables under a heading of README.md, without the quotes.
column() { awk -v h="$1" '/^#/ { on = $0 == h } on && /^\| `/' README.md | sed 's/^| `\([^`]*\)`.*/\1/; s/\\|/|/g'; }
same() { # NAME, files with one word a line: said and done
	if diff "$2" "$3" >"$work/diff"; then pass "$1"; else fail "$1: $(grep '^[<>]' "$work/diff" | tr '\n' ' ')"; fi
}
column "## Verbs" | cut -d' ' -f1 | sort -u >"$work/said"
"$STEELYARD" --help | sed -n '/^Verbs:/,/^$/s/^  \([a-z][a-z]*\) .*/\1/p' | sort -u >"$work/done"
same "README's verbs are those of --help" "$work/said" "$work/done"
check "--help names verbs" [ -s "$work/done" ]
column "## Options of run" | sed 's/ .*//' | sort -u >"$work/said"
"$STEELYARD" run --help | sed -n 's/^  \(--[a-z-]*\) .*/\1/p' | sort -u >"$work/done"
same "README's options of run are those of run --help" "$work/said" "$work/done"
column "## Running machines" | grep -v '^[0-9]' | sort -u >"$work/said"
"$STEELYARD" vm --help | sed -n '/^Verbs:/,/^$/s/^  \([a-z].*[^ ]\)   *[^ ].*/\1/p' | sed 's/   .*//' | sort -u >"$work/done"
same "README's verbs of vm are those of vm --help" "$work/said" "$work/done"
column "## Running machines" | grep '^[0-9]' | sort -u >"$work/said"
"$STEELYARD" vm --help | sed -n '/^Exit status:/,$s/^  \([0-9]*\) .*/\1/p' | sort -u >"$work/done"
same "README's exit statuses of vm are those of vm --help" "$work/said" "$work/done"
sed -n '/^<!-- schema -->$/,/^<!-- \/schema -->$/p' docs/control.md | sed '1d;$d' | sed '1{/^$/d};${/^$/d}' >"$work/said"
"$STEELYARD" vm schema >"$work/done"
same "docs/control.md has the tables of vm schema" "$work/said" "$work/done"
check "they are not empty" [ -s "$work/done" ]
sed -n '/^<!-- schema -->$/,/^<!-- \/schema -->$/p' docs/results.md | sed '1d;$d' | sed '1{/^$/d};${/^$/d}' >"$work/said"
"$STEELYARD" eval schema | sed '${/^$/d}' >"$work/done"
same "docs/results.md has the tables of eval schema" "$work/said" "$work/done"
column "## Counters" | sort -u >"$work/said"
sed -n '/^#define VCPU_COUNTERS/,/^$/s/^[[:space:]]*X(\([a-z_]*\),.*/\1/p' engine/vcpu.h | sort -u >"$work/done"
same "README explains every counter" "$work/said" "$work/done"
column "## Exit status" | sort -u >"$work/said"
for s in 0 1 2 3 4 124 '(value << 1) | 1' '128 + N'; do echo "$s"; done | sort -u >"$work/done"
same "README's exit statuses" "$work/said" "$work/done"
pages="README.md ARCHITECTURE.md CONTRIBUTING.md"
for p in $pages; do [ -s $p ] || echo $p; done | none "the pages are there"
grep -nE '(^|[^A-Za-z0-9_.])/(work|home|tmp|mnt|srv|opt)(/|$)' $pages /dev/null | cut -c1-120 | none "the pages name no path of somebody's machine"
# Files that the pages name: FOLDER/NAME.EXT, or NAME_*.EXT
grep -ohE '\b(engine|translator|fastpath|eval|tests|mk)/[A-Za-z0-9_/*]+\.(c|h|S|def|sh|mk|txt|inc)\b' $pages | sort -u |
	while read -r f; do ls $f >"$work/ls" 2>&1 || echo "$f"; done | none "the files that the pages name exist"
# file:function as ARCHITECTURE.md writes it
grep -ohE '`(engine|translator|eval|fastpath)/[a-z0-9_/]+\.[ch]:[a-z0-9_]+`' $pages | tr -d '`' | sort -u | while IFS=: read -r f fn; do
	grep -q "\b$fn\b" "$f" 2>/dev/null || echo "$f:$fn"
done | none "the functions that the pages name are where they say"
finish
