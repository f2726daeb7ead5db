# SPDX-License-Identifier: GPL-2.0-or-later
# The macro suite: the driver, its way into a tree without privileges, and programs of Debian that compute in the guest what they compute
# natively. A small tree of this host's own programs is always there; of the whole one, which is 130 MB to download, what is built is used.
. "$(dirname "$0")/lib.sh"
macro=$GUEST/macro/macro
mkcpio=$(dirname "$STEELYARD")/mkcpio
[ -x "$macro" ] || { skip "macro: no driver ($macro); make guest builds it"; finish; }

sum_native() { timeout 100 "$macro" --one-cpu --tree "$1" "$2" "$3" </dev/null 2>"$work/native.err" | sed -n 's/^RESULT [^ ]* \([0-9a-f]*\) .*/\1/p'; }
sum_guest() { sed -n "s/.*RESULT $2 \([0-9a-f]*\) .*/\1/p" "$work/$1.out"; }
# guest LABEL SECONDS PATH INITRD MEMORY LIST
guest() {
	timeout -k 5 $(($2 + 20)) "$STEELYARD" run --kernel "$GUEST/amd64/vmlinuz" --initrd "$4" --memory "$5" --path "$3" --cpus 1 --no-fallback \
		--append "console=ttyS0 quiet panic=-1 steelyard.run=$6 steelyard.poweroff" --timeout "$2" </dev/null >"$work/$1.raw" 2>"$work/$1.err"
	status=$?
	tr -d '\r' <"$work/$1.raw" >"$work/$1.out"
}
# same LABEL TREE SCALE NAMES...
same() {
	local label=$1 tree=$2 scale=$3 name native
	shift 3
	for name; do
		native=$(sum_native "$tree" "$name" "$scale")
		[ -n "$native" ] && [ "$native" = "$(sum_guest "$label" "$name")" ] && continue
		echo "     $name: guest $(sum_guest "$label" "$name"), native $native; $(tail -n 2 "$work/native.err" "$work/$label.err" | tr '\n' '|')"
		return 1
	done
}

# ---- the driver's words ----
check "macro lists what it has" [ "$("$macro" | wc -l)" -ge 20 ]
check "macro names packages" grep -qx redis-server <("$macro" --packages)
"$macro" no-such-workload >"$work/usage" 2>&1
check "an unknown workload is a usage error" [ $? -eq 2 ]
"$macro" --tree "$work/nowhere" xz >"$work/usage" 2>&1
check "a tree that is not there: status 1 and a sentence" [ $? -eq 1 -a -s "$work/usage" ]

# ---- a small tree: programs of this host ----
tree=$work/tree
mkdir -p "$tree"/usr/bin "$tree"/usr/lib "$tree"/usr/lib64 "$tree"/proc "$tree"/sys "$tree"/dev "$tree"/tmp "$tree"/usr/share/steelyard
chmod 755 "$work" "$tree"
for d in bin lib lib64; do ln -s usr/$d "$tree/$d"; done
missing=
for p in dash cat yes head sort cksum sha256sum gzip cmp mawk; do
	file=$(command -v $p) && cp -L "$file" "$tree/usr/bin/$p" || missing="$missing $p"
done
ldd "$tree"/usr/bin/* 2>/dev/null | grep -o '/[^ ]*\.so[^ ]*' | sort -u | while read -r lib; do
	mkdir -p "$tree/$(dirname "$lib")" && cp -L "$lib" "$tree/$lib"
done
cp "$top"/eval/workloads/macro/scripts/* "$tree/usr/share/steelyard/"
small="gzip sha256sum mawk sort"
if [ -n "$missing" ]; then
	skip "a small tree: this host has no$missing"
elif [ -z "$(sum_native "$tree" sort 1)" ]; then
	skip "the native twin: $(tail -n 1 "$work/native.err")"
else
	first=$(sum_native "$tree" sort 1)
	check "native: the same sum again" [ "$(sum_native "$tree" sort 1)" = "$first" ]
	check "native: more work, another sum" [ "$(sum_native "$tree" sort 2)" != "$first" ]
	check "native: nothing is left in /tmp" [ ! -e /tmp/steelyard-macro ]
	rm -f "$tree/usr/bin/mawk"
	timeout 60 "$macro" --mark --tree "$tree" mawk 1 >"$work/out" 2>&1 </dev/null
	check "a program that is not there: status 1, no result" [ $? -eq 1 -a -z "$(grep -E 'RESULT|@stop' "$work/out")" ]
	cp -L "$(command -v mawk)" "$tree/usr/bin/mawk"
	if [ "$(id -u)" -ne 0 ]; then
		pass "native: without privileges, as all of this was"
	elif setpriv --reuid 65534 --regid 65534 --clear-groups unshare -Urmnpf true 2>/dev/null && cp "$macro" "$work/macro-nobody"; then
		chmod -R go+rX "$tree" "$work/macro-nobody"
		chmod 1777 "$tree/tmp" "$tree/dev"
		got=$(setpriv --reuid 65534 --regid 65534 --clear-groups timeout 60 "$work/macro-nobody" --tree "$tree" sort 1 2>"$work/nobody.err" </dev/null)
		check "native: nobody without privileges gets the same ($(tail -n 1 "$work/nobody.err"))" [ "$(echo "$got" | cut -d' ' -f3)" = "$first" ]
	else
		skip "native without privileges: this host gives no user namespaces"
	fi
	if [ -x "$mkcpio" ]; then
		"$mkcpio" tree:/:"$tree" char:/dev/console:600:5:1 char:/dev/null:666:1:3 file:/init:755:"$GUEST/amd64/init" \
			file:/usr/bin/macro:755:"$macro" >"$work/initrd"
		guest small 120 bt "$work/initrd" 512M "$(for w in $small; do printf '%s:5,' $w; done)"
		check "bt: the small tree's guest ends well" booted small
		check "bt: native sums of $small" same small "$tree" 5 $small
		guest slow 400 interp "$work/initrd" 512M "sort:1,mawk:1"
		check "interp: native sums of sort, mawk" same slow "$tree" 1 sort mawk
	else
		skip "the small tree in a guest: no $mkcpio"
	fi
fi

# ---- the runner ----
run_eval() { timeout 280 "$STEELYARD" eval run macro --workloads lua --paths bt --blocks 1 --blocks_max 1 --pilot_blocks 0 --scale 5 --quiet_wait_s 0 "$@"; }
run_eval --guest "$work/guest-without" --out "$work/none" >"$work/eval.log" 2>&1
check "eval run macro without guest files: a sentence" grep -q 'make guest' "$work/eval.log"
run_eval --memory_mb 512 --guest "$GUEST/amd64" --out "$work/none" >"$work/eval.log" 2>&1
check "eval run macro in too little memory: a sentence" grep -q 'memory_mb' "$work/eval.log"
check "nothing was measured" [ ! -s "$work/none/results.jsonl" ]

# ---- the whole tree ----
if [ -s "$GUEST/macro/initrd" ]; then
	guest whole 300 bt "$GUEST/macro/initrd" 1536M "xz:5,sqlite3:5,redis:5,tcc:5"
	check "bt: the Debian tree's guest ends well" booted whole
	check "bt: native sums of xz, sqlite3, redis, tcc" same whole "$GUEST/macro/tree" 5 xz sqlite3 redis tcc
	run_eval --guest "$GUEST/amd64" --out "$work/results" >"$work/eval.log" 2>&1
	check "eval run macro: verify finds all right" "$STEELYARD" eval verify "$work/results"
	check "lua's sum on bt is the native one" grep -q '"path":"bt".*"workload":"lua".*"ok":true.*"valid":true' "$work/results/results.jsonl"
	check "lua has a native time" grep -q '"path":"native".*"workload":"lua".*"timed":true' "$work/results/results.jsonl"
	check "the record of the environment names the tree's packages" grep -q 'liblua5.4-0 5\.\|lua5.4 5\.' "$work/results/results.jsonl"
else
	skip "the whole Debian tree is not built: \"make macro-tree\" downloads 130 MB"
fi
finish
