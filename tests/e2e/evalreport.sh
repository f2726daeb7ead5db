# SPDX-License-Identifier: GPL-2.0-or-later
# eval report and compare as a user meets them: derived files come from results.jsonl alone, damaged folders are explained in one
# line, and the page opens in a browser without an error or a request, in every width.
. "$(dirname "$0")/lib.sh"
example=$top/tests/golden/eval/example
cp -r "$example" "$work/a"
says() { # says NAME PATTERN FILE
	if grep -q -- "$2" "$3"; then pass "$1"; else
		fail "$1"
		head -n 3 "$3" | sed 's/^/     /'
	fi
}

"$STEELYARD" eval report "$work/a" >"$work/out" 2>"$work/err"
check "report succeeds" [ $? -eq 0 ]
says "the resolution comes first" '^Resolution' "$work/out"
says "the table has ratios with intervals" '^sieve .*\[1\.' "$work/out"
for f in summary.json report.html figures/forest.svg figures/samples-native.svg tables/ratios.csv tables/samples.csv; do
	check "it writes $f" [ -s "$work/a/$f" ]
done
check "nothing half-written stays" [ -z "$(find "$work/a" -name '*.part')" ]
"$STEELYARD" eval report "$work/a" --json --no-files >"$work/json" 2>"$work/err"
check "--json is the summary" cmp -s "$work/json" "$work/a/summary.json"
cp "$work/a/report.html" "$work/first.html"
"$STEELYARD" eval report "$work/a" --quiet >"$work/out"
check "--quiet prints nothing" [ ! -s "$work/out" ]
check "the same data make the same page" cmp -s "$work/first.html" "$work/a/report.html"
cp -r "$example" "$work/b"
"$STEELYARD" eval report "$work/b" --no-files --html "$work/page.html" --csv "$work/csv" >"$work/out"
check "--no-files leaves the folder alone" [ "$(ls "$work/b")" = results.jsonl ]
check "--html and --csv say where" [ -s "$work/page.html" -a -s "$work/csv/boots.csv" ]

# a sealed folder stays sealed; one that is not what its seal says does not become so
mkdir "$work/s" && cp "$example/results.jsonl" "$work/s" && (cd "$work/s" && sha256sum results.jsonl >SHA256SUMS)
"$STEELYARD" eval report "$work/s" --quiet 2>"$work/err"
says "the report is under the folder's seal" ' report.html$' "$work/s/SHA256SUMS"
check "which holds" sh -c "cd '$work/s' && sha256sum --quiet -c SHA256SUMS >/dev/null"
cp "$work/s/SHA256SUMS" "$work/sums"
"$STEELYARD" eval report "$work/s" --no-files >/dev/null 2>&1
sleep 1.1 # the metadata have the time in seconds
"$STEELYARD" eval report "$work/s" --quiet
check "the same report leaves the seal as it is" cmp -s "$work/sums" "$work/s/SHA256SUMS"
"$STEELYARD" eval verify "$work/s" >"$work/out" 2>&1
says "verify finds it right" 'all right' "$work/out"
# tampered with, by somebody who makes the sums again
sums() { (cd "$work/s" && find . -type f ! -name SHA256SUMS -printf '%P\n' | sort | xargs sha256sum >SHA256SUMS); }
verdict() { # verdict NAME PATTERN: one line that begins with "wrong:"
	"$STEELYARD" eval verify "$work/s" >"$work/out" 2>&1
	check "$1: status 1, one line" [ $? -eq 1 -a "$(grep -c '^wrong: ' "$work/out")" -eq 1 ]
	says "$1: it says what" "$2" "$work/out"
}
cp "$work/s/results.jsonl" "$work/records"
cp "$work/s/summary.json" "$work/summary"
sed -i '/"path":"bt".*"phase":"steady"/s/"cpu_ns":1/"cpu_ns":9/' "$work/s/results.jsonl"
check "(a record is another)" [ "$(cmp "$work/s/results.jsonl" "$work/records" | wc -l)" -eq 1 ]
sums
verdict "a changed record, sums made again" 'wrong: summary.json: .*/bt/.*the records give .*eval report'
cp "$work/records" "$work/s/results.jsonl"
sed -i '/"ratio\/steady\/cpu\/bt\/sieve"/,/}/s/"value": 1/"value": 0/' "$work/s/summary.json"
sums
verdict "a changed summary, sums made again" 'wrong: summary.json: ratio/steady/cpu/bt/sieve has a value of 0'
sed -i 's/^{.*//' "$work/s/summary.json"
sums
verdict "a summary that is no JSON" 'wrong: summary.json: .*no JSON'
cp "$work/summary" "$work/s/summary.json"
cp "$work/sums" "$work/s/SHA256SUMS"
mv "$work/s/figures/forest.svg" "$work/forest.svg"
verdict "a file that is gone" 'figures/forest.svg cannot be read'
mv "$work/forest.svg" "$work/s/figures/forest.svg"
echo mine >"$work/s/notes.txt"
verdict "a file that nobody sealed" 'notes.txt is not in SHA256SUMS'
rm "$work/s/notes.txt"
for name in ../a/results.jsonl /dev/zero pipe figures/../../a/results.jsonl; do
	mkfifo "$work/s/pipe" 2>/dev/null
	echo "$(printf '%064d' 0)  $name" >>"$work/s/SHA256SUMS"
	timeout 20 "$STEELYARD" eval verify "$work/s" >"$work/out" 2>&1
	check "a seal of $name is refused" [ $? -eq 1 -a "$(grep -c '^wrong: .* is no file of this folder' "$work/out")" -eq 1 ]
	cp "$work/sums" "$work/s/SHA256SUMS"
done
rm "$work/s/pipe"
"$STEELYARD" eval verify "$work/s" >"$work/out" 2>&1
says "and as it was it is right" 'all right' "$work/out"
sed -i 's/"cpu_ns":7/"cpu_ns":8/' "$work/s/results.jsonl"
"$STEELYARD" eval report "$work/s" --quiet 2>"$work/err"
says "changed results are told" 'SHA256SUMS stays as it is' "$work/err"
check "and their seal is broken for everyone" sh -c "! (cd '$work/s' && sha256sum --quiet -c SHA256SUMS >/dev/null 2>&1)"

# what is wrong with a folder
head -c 20000 "$example/results.jsonl" >"$work/b/results.jsonl"
"$STEELYARD" eval report "$work/b" >"$work/out" 2>"$work/err"
check "a torn folder is reported" [ $? -eq 0 ]
says "and named so" 'NOT COMPLETE' "$work/out"
says "with its torn line" 'torn' "$work/out"
echo nonsense >"$work/b/results.jsonl"
"$STEELYARD" eval report "$work/b" >"$work/out" 2>"$work/err"
check "a folder of nonsense fails" [ $? -eq 1 ]
says "in one line" 'no run record' "$work/err"
"$STEELYARD" eval report "$work/nowhere" 2>"$work/err"
check "no folder: status 1" [ $? -eq 1 ]
"$STEELYARD" eval report 2>"$work/err"
check "no argument: status 2" [ $? -eq 2 ]
"$STEELYARD" eval report "$work/a" --nonsense 2>"$work/err"
check "a wrong option: status 2" [ $? -eq 2 ]
"$STEELYARD" eval report "$work/a" --no-files --html /dev/full/x >"$work/out" 2>"$work/err"
check "a page that cannot be written: status 1" [ $? -eq 1 ]

# two runs
sed 's/20261122T190000-7/20261122T200000-7/; s/"compiler":"gcc 12.2.0"/"compiler":"gcc 13"/' "$example/results.jsonl" >"$work/b/results.jsonl"
"$STEELYARD" eval compare "$work/a" "$work/b" --html "$work/cmp.html" >"$work/out" 2>"$work/err"
check "compare succeeds" [ $? -eq 0 ]
says "it says what changed" 'compiler: "gcc 12.2.0" -> "gcc 13"' "$work/out"
says "equal ratios do not differ" '^0 of ' "$work/out"
says "the page has the comparison" 'id="compare"' "$work/cmp.html"
check "as much work in both: nothing is said of it" eval '! grep -q "amounts of work" "$work/out"'
mkdir "$work/c" && sed '/"type":"sample"/s/"scale":25/"scale":50/' "$work/b/results.jsonl" >"$work/c/results.jsonl"
"$STEELYARD" eval compare "$work/a" "$work/c" --html "$work/scales.html" >"$work/out" 2>"$work/err"
says "other amounts of work are told" 'compare other amounts of work, as sieve on bt with 25 % and 50 %' "$work/out"
says "on the page too" 'compare other amounts of work' "$work/scales.html"
"$STEELYARD" eval compare "$work/a" "$work/b" --json >"$work/json"
says "--json too" '"significant": 0' "$work/json"

# a browser: its console and its network are watched; the page must be whole without either
if ! command -v chromium >/dev/null; then
	skip "the page in a browser: no chromium"
	finish
fi
browser() { # browser ARGS...: with a home of its own
	timeout 100 chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update \
		--user-data-dir="$work/chromium" --host-resolver-rules='MAP * ~NOTFOUND' "$@" 2>"$work/console"
}
# The page's own policy forbids every request; one that is tried all the same is a message on the console.
browser --enable-logging=stderr --v=0 --dump-dom "file://$work/cmp.html" >"$work/dom"
if ! grep -q '</html>' "$work/dom"; then
	skip "the page in a browser: chromium does not run here: $(tail -n 1 "$work/console" | cut -c1-150)"
	finish
fi
grep 'CONSOLE' "$work/console" >"$work/bad"
check "no message on the console, so no request was tried" [ ! -s "$work/bad" ]
sed 's|</main>|<img src="http://192.0.2.1/x.png"></main>|' "$work/cmp.html" >"$work/asks.html"
browser --enable-logging=stderr --v=0 --dump-dom "file://$work/asks.html" >"$work/asked"
says "a page that asks would be found out" 'CONSOLE.*192.0.2.1' "$work/console"
# what the browser shows is what the file says
grep -oE 'data-key="[^"]*" data-value="[^"]*"' "$work/cmp.html" | sort >"$work/said"
grep -oE 'data-key="[^"]*" data-value="[^"]*"' "$work/dom" | sort >"$work/done"
check "the browser has every figure of the page" cmp -s "$work/said" "$work/done"
check "and there are some" [ "$(wc -l <"$work/said")" -gt 50 ]
says "tables can be sorted" '<th class="n"><button type="button">' "$work/dom"
for width in 360 1400; do
	browser --hide-scrollbars --window-size=$width,2000 --screenshot="$work/$width.png" "file://$work/cmp.html" >/dev/null
	check "a picture at $width pixels" [ -s "$work/$width.png" ]
done
finish
