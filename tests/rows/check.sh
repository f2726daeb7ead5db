#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# No row without a test: check.sh STEELYARD GUESTS FOLDER. GUESTS holds the guests' images, FOLDER the program "rows" and, when
# this has run, the counts of each guest that tests/guest/rows.tbl names. What must hold is told in check.c.
steelyard=$1 images=$2 folder=$3
here=$(dirname "$0")
table=$here/../guest/rows.tbl
counts=$folder/counts
rm -rf "$counts"
mkdir -p "$counts"
sed 's/#.*//' "$table" | awk 'NF { print $1 }' | sort -u | while read -r guest; do
	cpus=$(awk -v g="$guest" '$1 == g { print $2 }' "$here/../guest/guests.tbl")
	timeout -k 5 60 "$steelyard" run --path interp --cpus "${cpus:-1}" --memory 64M --multiboot "$images/$guest.elf" --no-reboot \
		--serial none --timeout 50 --insn-rows "$counts/$guest" </dev/null
	[ $? -eq 1 ] || { echo "FAIL $guest: this guest does not pass"; rm -f "$counts/$guest"; }
done
"$folder/rows" check "$table" "$here/exceptions.tbl" "$counts"
