# SPDX-License-Identifier: GPL-2.0-or-later
# coverage.sh FOLDER CASES MIN [lines]: runs the tests of the program in FOLDER/build, which counts lines, and reports into FOLDER.
# make coverage builds it. A test that fails stops nothing, but is named and makes this fail, as does less than MIN percent of the
# lines of engine, translator or eval, and of fastpath where there is a /dev/kvm for its probe to ask. With "lines", after a make
# check that has judged the tests themselves, only the latter does.
set -u
folder=$1 cases=$2 min=$3 judge=${4:-}
build=$folder/build
program=$build/steelyard
guest=$(cd "$build/guest" && pwd)
rows=$folder/rows
log=$folder/log
failed=0
rm -rf "$rows" "$log"
mkdir -p "$rows" "$log"
lcov -q --zerocounters --directory "$build" || exit 1

# suite NAME SECONDS COMMAND...
suite() {
	local name=$1 seconds=$2 begin=$SECONDS
	shift 2
	if timeout -k 10 "$seconds" "$@" >"$log/${name//\//_}" 2>&1 </dev/null; then
		echo "coverage: $name, $((SECONDS - begin)) s"
	else
		echo "FAIL $name: see $log/${name//\//_}"
		[ "$judge" = lines ] || failed=1
	fi
}
boot() { # PATH ARCH
	suite "boot/$1-$2" 300 "$program" run --path "$1" --memory 256M --kernel "$guest/$2/vmlinuz" --initrd "$guest/$2/initrd" --serial stdio --timeout 280 \
		--append "console=ttyS0 quiet panic=-1 steelyard.poweroff" --insn-rows "$rows/boot.$1.$2"
}

for t in "$build"/tests/unit/test_*; do
	[ -x "$t" ] && suite "unit/${t##*/}" 200 "$t"
done
suite fuzz 400 "$build/tests/fuzz/replay"
suite diff 900 "$build/tests/diff/diff" --n "$cases" --row-counts "$rows"
ROWS=$rows suite guests 900 sh tests/guest/run.sh "$program" "$build/tests/guest" "interp bt:0"
LOG=$log/guests-cold.log suite guests-cold 900 sh tests/guest/run.sh "$program" "$build/tests/guest" "bt:3 kvm"
boot interp amd64
boot bt amd64
if [ -s "$guest/i386/initrd" ]; then # on bt alone: the interpreter takes its time
	boot bt i386
else
	echo "SKIP boot of i386: no guest files"
fi
chmod -R a+rwX "$build" # e2e/probe is another user for a moment, who counts too
# What a user does. style.sh runs no program, nested.sh is not for every host; the others left out run for minutes on lines that
# shorter ones run too: what they try is code of guests.
export COVERAGE=1 STEELYARD=$PWD/$program GUEST=$guest TOOLS=$PWD/$build/tests/e2e
case $program in /*) STEELYARD=$program TOOLS=$build/tests/e2e ;; esac
for t in tests/e2e/*.sh; do
	case $t in
	*/lib.sh | */style.sh | */nested.sh | */debian.sh | */firmware.sh | */xen.sh | */diskkills.sh | */bench.sh) ;;
	*) suite "e2e/$(basename "$t" .sh)" 1200 bash "$t" ;;
	esac
done

"$build/tests/rows/rows" report "$rows" "$folder/rows.txt" "$folder/rows.html" || failed=1
pages() {
	# --initial: files that nothing has run are there, with zeros
	lcov -q --capture --initial --directory "$build" --base-directory "$PWD" --no-external --output-file "$folder/all.info" &&
		lcov -q --capture --directory "$build" --base-directory "$PWD" --no-external --output-file "$folder/run.info" &&
		lcov -q --add-tracefile "$folder/all.info" --add-tracefile "$folder/run.info" --output-file "$folder/both.info" &&
		lcov -q --remove "$folder/both.info" "$PWD/tests/*" --output-file "$folder/coverage.info" &&
		genhtml -q --prefix "$PWD" --title Steelyard --legend --output-directory "$folder/html" "$folder/coverage.info"
}
pages >"$log/lcov" 2>&1 || { echo "FAIL lcov: see $log/lcov"; exit 1; }
awk -v top="$PWD/" '
	/^SF:/ { name = substr($0, 4); sub("^" top, "", name); sub("/.*", "", name) }
	/^LF:/ { lines[name] += substr($0, 4) }
	/^LH:/ { hit[name] += substr($0, 4) }
	END { for (n in lines) printf "lines %-12s %6d of %6d executed, %5.1f %%\n", n, hit[n], lines[n], 100 * hit[n] / lines[n] }
' "$folder/coverage.info" | sort | tee "$folder/lines.txt"
echo "pages: $folder/html/index.html, $folder/rows.html"
floors="engine translator eval"
[ -w /dev/kvm ] && floors="$floors fastpath"
awk -v min="$min" -v floors="$floors" '
	index(" " floors " ", " " $2 " ") { n++; if ($7 + 0 < min) { print "FAIL " $2 ": less than " min " % of the lines"; bad = 1 } }
	END { exit bad || n != split(floors, f, " ") }
' "$folder/lines.txt" || failed=1
exit $failed
