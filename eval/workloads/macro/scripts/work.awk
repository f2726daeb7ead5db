# SPDX-License-Identifier: GPL-2.0-or-later
# What awk programs do: lines of a word and a number are summed by word, matched, changed.
{
	sum[$1] += $2
	if ($1 ~ /^[a-k].*[aeiou]/)
		some++
	if (FNR % 8 == 0) {
		gsub(/[aeiou]/, "<&>", $1)
		chars += length($1)
	}
}
END {
	for (w in sum) {
		n++
		total += sum[w] % 1000003
	}
	print NR, n, some, chars, total
}
