# SPDX-License-Identifier: GPL-2.0-or-later
# explain: every picture is what Graphviz takes, its numbers are those of the JSON that it was drawn from, bad input is one line.
. "$(dirname "$0")/lib.sh"
images=$(dirname "$TOOLS")/guest
explain() { timeout -k 5 60 "$STEELYARD" explain "$@" </dev/null; }
# parses BASE: dot draws it
parses() {
	command -v dot >"$work/which" || { skip "$1: dot is not installed"; return; }
	check "$1: dot takes it" dot -Tsvg -o "$work/parse.svg" "$work/$1.dot"
	check "$1: a picture" grep -q '</svg>' "$work/$1.svg"
}

sed -n 's/^| `\(--[a-z]*\).*/\1/p' "$top/docs/explain.md" | sort >"$work/said"
explain --help | sed -n 's/^  \(--[a-z]*\) .*/\1/p' | grep -v -e --help | sort >"$work/done"
check "docs/explain.md has the options of --help" cmp -s "$work/said" "$work/done"
check "they are not none" [ -s "$work/done" ]

# ---- exits ----
# 32-bit: mov ecx, 1000; 1: out 0x80, al; dec ecx; jnz 1b; mov al, 21; out 0xf4, al
printf '\xb9\xe8\x03\x00\x00\xe6\x80\x49\x75\xfb\xb0\x15\xe6\xf4' >"$work/guest"
for path in bt interp; do
	timeout -k 5 60 "$STEELYARD" run --path $path --memory 64M --serial none --flat "$work/guest@0x100000" --json </dev/null 2>"$work/stats.$path"
	explain exits "$work/stats.$path" --out "$work/exits.$path" >"$work/text" 2>"$work/err"
	check "exits of $path: status 0" [ $? -eq 0 ]
	parses "exits.$path"
	check "exits of $path: 1001 writes to ports" grep -q -- '-> p0 \[label="1001"' "$work/exits.$path.dot"
	check "exits of $path: the same in words" grep -q '^ *1001  OUT, OUTS ' "$work/text"
	# each number on an event's arrow is a counter's, and no counter that the rows name is left out
	sed -n 's/^"e0\.\([a-z_]*\)" -> p0 \[label="\([0-9]*\)".*/"\1":\2/p' "$work/exits.$path.dot" | sort >"$work/drawn"
	check "exits of $path: something is drawn" [ -s "$work/drawn" ]
	while read -r pair; do grep -q "$pair[,}]" "$work/stats.$path" || echo "$pair"; done <"$work/drawn" >"$work/wrong"
	check "exits of $path: numbers as in the JSON: $(paste -sd' ' "$work/wrong")" [ ! -s "$work/wrong" ]
	for name in io_writes bt_callouts bt_blocks tlb_fills halts exceptions; do
		grep -q "\"$name\":[1-9]" "$work/stats.$path" && ! grep -q "^\"$name\":" "$work/drawn" && echo $name
	done >"$work/wrong"
	check "exits of $path: none is left out: $(paste -sd' ' "$work/wrong")" [ ! -s "$work/wrong" ]
done
mkdir "$work/folder"
cat >"$work/folder/results.jsonl" <<'EOS'
{"schema":2,"run":"r","seq":0,"type":"run"}
{"schema":2,"run":"r","seq":1,"type":"sample","path":"bt","counters":{"io_writes":10,"exceptions":5}}
{"schema":2,"run":"r","seq":2,"type":"sample","path":"kvm","counters":{"kvm_exits":7},"exits":{"io":{"count":7,"ns":7000},"he\"lt":{"count":2,"ns":1}}}
{"schema":2,"run":"r","seq":3,"type":"sample","path":"bt","counters":{"io_writes":32,"halts":0,"exceptions":-1}}
{"schema":2,"run":"r","seq":4,"type":"samp
EOS
printf '{"type":"cost","path":"bt","item":"port_out","unit":"ns","ok":true,"p50":1000.5}\n' >"$work/costs"
explain exits "$work/folder" --costs "$work/costs" --out "$work/folder.exits" >"$work/text" 2>"$work/err"
check "exits of a folder: status 0" [ $? -eq 0 ]
parses folder.exits
check "exits of a folder: samples of a path are added" grep -q '^ *42  OUT, OUTS .*~42.0 us$' "$work/text"
check "exits of a folder: KVM's exits and their time" grep -q '^ *7  KVM exit: io .* 7.0 us$' "$work/text"
xz "$work/folder/results.jsonl" 2>"$work/err" && explain exits "$work/folder" >"$work/text.xz" 2>"$work/err"
check "exits of a folder that is compressed" grep -q '^ *42  OUT, OUTS ' "$work/text.xz"
check "exits of a folder: each path" [ "$(grep -c '^path ' "$work/text")" -eq 2 ]

# ---- block ----
# 64-bit code would need more; this loop is entered 20000 times: mov ecx, 20000; 1: add eax, ecx; dec ecx; jnz 1b; exit
printf '\xb9\x20\x4e\x00\x00\x01\xc8\x49\x75\xfb\xb0\x15\xe6\xf4' >"$work/guest"
timeout -k 5 60 "$STEELYARD" run --path bt --bt-cold 0 --memory 64M --serial none --flat "$work/guest@0x100000" --hot-blocks "$work/hot" </dev/null 2>"$work/err"
check "run --hot-blocks keeps the status" [ $? -eq 43 ]
check "the loop is the hottest block, and counted" grep -q '^{"id":[0-9]*,"count":19999,"rip":"0x100005",' "$work/hot"
explain block "$work/hot" --out "$work/block" >"$work/text" 2>"$work/err"
check "block: status 0" [ $? -eq 0 ]
parses block
check "block: the count is the file's" grep -q '<b>0x100005</b>  entered 19999 times, 3 instructions' "$work/block.dot"
check "block: guest code" grep -q '100005  add eax, ecx<' "$work/block.dot"
check "block: the same instruction copied" grep -q 'bgcolor="#d5e8d4"><font face="Courier" point-size="9">add eax, ecx<' "$work/block.dot"
check "block: the loop links to itself" grep -q '^b\([0-9]*\) -> b\1 \[label="jump", style=solid\]' "$work/block.dot"
check "block: the same in words" grep -q '^ *19999  0x100005 ' "$work/text"
check "block: a legend of every kind" [ "$(grep '^legend' "$work/block.dot" | grep -o '<tr>' | wc -l)" -eq 6 ]
timeout -k 5 60 "$STEELYARD" run --path bt --bt-cold 0 --memory 64M --serial none --debugcon none --multiboot "$images/smc.elf" --hot-blocks "$work/hot" </dev/null 2>"$work/err"
for top in 1 64; do
	explain block "$work/hot" --top $top --out "$work/smc$top" >"$work/text" 2>"$work/err"
	check "block of changing code, $top: status 0" [ $? -eq 0 ]
	parses smc$top
done
n=$(grep -c '^{"id":' "$work/hot")
check "block: as many as asked for, $n" [ "$(grep -c '^b[0-9]* \[shape' "$work/smc64.dot")" -eq "$n" -a "$(grep -c '^b[0-9]* \[shape' "$work/smc1.dot")" -eq 1 ]

# ---- walk: a guest in 64-bit mode, 4 GiB one to one in pages of 2 MiB ----
"$STEELYARD" run --path bt --memory 64M --serial none --debugcon none --multiboot "$images/hang_jmp.elf" --control "$work/sock" --timeout 100 </dev/null 2>"$work/run" &
run=$!
for _ in $(seq 100); do
	"$STEELYARD" vm walk "$work/sock" 0x123456 -o json >"$work/walk.json" 2>"$work/err" && grep -q '4-level' "$work/walk.json" && break
	sleep 0.1
done
walk() { explain walk "$work/sock" "$@" --out "$work/walk" >"$work/text" 2>"$work/err"; }
for state in running paused; do
	[ $state = running ] || "$STEELYARD" vm pause "$work/sock" >"$work/out"
	walk 0x123456
	check "walk, $state: status 0" [ $? -eq 0 ]
	parses walk
	check "walk, $state: three levels" [ "$(grep -c '^e[0-9] \[' "$work/walk.dot")" -eq 3 ]
	check "walk, $state: a large page of RAM" grep -q '^physical 0x123456 in a page of 2 MiB: read, write, execute, for ring 3 too; there is RAM$' "$work/text"
	check "walk, $state: the picture says the same" grep -q 'physical 0x0 + offset 0x123456<br/>= 0x123456' "$work/walk.dot"
done
walk 0xfee00020
check "walk to the local APIC" grep -q 'there is local APIC$' "$work/text"
walk 0xfec00000
check "walk to a device" grep -q '^physical 0xfec00000 in a page of 2 MiB: .* there is ioapic$' "$work/text"
walk 0xd0000000
check "walk to nothing" grep -q 'there is nothing$' "$work/text"
walk 0x7fffffff0000
check "walk that ends in a fault: status 0" [ $? -eq 0 ]
parses walk
check "walk that ends in a fault" grep -q '^not mapped: the entry is not present$' "$work/text"
walk 0x8000000000000000
check "walk of an address that is not canonical" grep -q '^not mapped: the address is not canonical$' "$work/text"
parses walk
explain walk "$work/walk.json" >"$work/text" 2>"$work/err"
check "walk from a file" grep -q '^linear 0x123456, paging 4-level' "$work/text"

# ---- bad input ----
bad() {
	explain "$@" >"$work/out" 2>"$work/err"
	local status=$?
	check "explain $* : one line, status $status" [ $status -ne 0 -a $status -lt 8 -a "$(wc -l <"$work/err")" -eq 1 -a ! -s "$work/out" ]
}
bad walk "$work/sock" 123456
bad walk "$work/sock" 0x12345678123456789
bad walk "$work/sock" 0x0 --vcpu 1
"$STEELYARD" vm stop "$work/sock" --force >"$work/out" 2>&1
wait $run
bad walk "$work/sock" 0x0
bad
bad picture
bad exits
bad exits "$work/none"
bad exits "$work/guest"
bad exits "$work/hot" --top 0
bad block "$work/stats.bt"
bad block "$work/guest"
bad block "$work"
bad walk "$work/hot"
bad exits "$work/stats.bt" --out "$work/none/x" --dot
# every field of the files, broken in turn
head -c 3000 "$work/hot" >"$work/cut" && bad block "$work/cut"
for change in 's/"count":/"kount":/' 's/"host":"4/"host":"x/' 's/"guest":"/"guest":"0/' 's/"marks":\[\[/"marks":[["/' 's/"rip":"0x/"rip":"/' 's/"arg":/"org":/' \
	's/"site":\[/"site":[-/' 's/"schema":1/"schema":2/' 's/"insns":\([0-9]*\),"guest/"insns":0,"guest/'; do
	sed "$change" "$work/hot" >"$work/cut"
	explain block "$work/cut" >"$work/out" 2>"$work/err"
	status=$?
	check "a block file with $change: no crash" [ $status -le 1 -a "$(wc -l <"$work/err")" -eq $status ]
done
for change in 's/"value":"0x/"value":"/' 's/"entries":\[/"entries":[1,/' 's/"page_bytes":2/"page_bytes":"2"/' 's/"index":0/"index":"0"/' 's/"cr3":/"cr4":/'; do
	sed "$change" "$work/walk.json" >"$work/cut"
	explain walk "$work/cut" >"$work/out" 2>"$work/err"
	status=$?
	check "a walk with $change: one line" [ $status -eq 1 -a "$(wc -l <"$work/err")" -eq 1 ]
done
finish
