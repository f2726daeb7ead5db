# SPDX-License-Identifier: GPL-2.0-or-later
# What Perl programs do: a text is split, counted, matched, changed, sorted. The argument is the number of passes.
use strict;
use warnings;

my @lines = <STDIN>;
my ($rounds, $sum, %count) = (shift, 0);
for my $round (1 .. $rounds) {
	my ($changed, $matched) = (0, 0);
	for my $i (0 .. $#lines) {
		next if ($i + $round) % 4;
		my $line = $lines[$i];
		$count{lc $_}++ for split ' ', $line;
		$matched += length $1 while $line =~ /\b([a-m]\w*?[aeiou])\b/g;
		$changed += ($line =~ s/(\w)(\w+)/$2$1/g);
	}
	$sum = ($sum * 31 + $matched * 7 + $changed) % 1000000007;
}
my $n = 0;
for my $word (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count) {
	print "$word $count{$word}\n";
	last if ++$n == 50;
}
print scalar(keys %count), " $sum\n";
