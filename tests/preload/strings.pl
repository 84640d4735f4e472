# Hashes, strings that grow, regular expressions, a sort, a forked child.
use strict;
use warnings;

open my $file, '<', $ARGV[0] or die "cannot read: $!";
my (%seen, %digits, @rows);
while (my $line = <$file>) {
    chomp $line;
    my ($number, $hex) = $line =~ /^(\d+) ([0-9a-f]+) line/ or die "odd line: $line";
    $seen{$hex} .= "$number,";
    $digits{$_}++ for split //, $number;
    push @rows, [$number, $hex, {line => $line, words => [split / /, $line]}];
}
print "$_ $digits{$_}\n" for sort keys %digits;
my $sum = 0;
$sum += length for values %seen;
print scalar(keys %seen), " $sum\n";
for my $row (sort { $a->[1] cmp $b->[1] || $a->[0] <=> $b->[0] } @rows) {
    $sum = ($sum * 31 + length($row->[2]{line}) + @{$row->[2]{words}} + $row->[0]) % 1000003;
}
print "$sum\n";
my $text = '';
$text .= 'x' x $_ . "\n" for 1 .. 500;
$text =~ s/x{3}/yz/g;
print length($text), "\n";
my $pid = fork // die "fork: $!";
if ($pid == 0) {
    my %child = map { $_ => "$_" x 10 } 1 .. 20000;
    exit(keys(%child) == 20000 ? 7 : 1);
}
waitpid $pid, 0;
print $? >> 8, "\n";
