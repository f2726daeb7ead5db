#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# guest-tests.sh STEELYARD DIR PATHS SOURCE...: runs each small guest on each path.
#
# A guest leaves through the debug exit port: process status 1 is success; what it printed says which case failed. Those
# whose names begin with smp get two processors; a comment "cpus=N" in the source asks for N.
set -u
steelyard=$1 dir=$2 paths=$3
shift 3
passed=0 failed=0
for source; do
	name=$(basename "$source" .S)
	cpus=$(grep -o 'cpus=[0-9]*' "$source" | head -n 1 | cut -d= -f2)
	case $name in smp*) cpus=${cpus:-2} ;; esac
	for path in $paths; do
		out=$(timeout -k 5 60 "$steelyard" run --path "$path" --cpus "${cpus:-1}" --memory 64M --multiboot "$dir/$name.elf" --serial stdio \
			--debug-exit 0xf4 --no-reboot --timeout 30 </dev/null 2>&1)
		status=$?
		if [ $status -eq 1 ] && ! echo "$out" | grep -q '^steelyard:'; then
			passed=$((passed + 1))
			echo "ok   $name on $path"
		else
			failed=$((failed + 1))
			echo "FAIL $name on $path: status $status $(echo "$out" | tr -d '\r' | head -n 6 | tr '\n' '|' | head -c 300)"
		fi
	done
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
