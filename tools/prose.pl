# prose.pl - finds a pattern in the prose of files: comments and string literals of C, comments and
# docstrings of scripts, all of a page but its `code`.  Prints FILE:LINE: FOUND for each.
#
#   perl tools/prose.pl PATTERN FILE...
use strict;
use warnings;

my $literal = qr/"(?:\\.|[^"\\\n])*"/;
my $character = qr/'(?:\\.|[^'\\])'/;

# The same lines with blanks in place of what is no prose.
sub prose {
    my ($file, $text) = @_;
    my $pieces = $file =~ /\.[ch]$/         ? qr{(/\*.*?\*/|//[^\n]*|$literal)|$character|(.)}s
        : $file =~ /\.py$/                  ? qr{(""".*?"""|\#[^\n]*)|$literal|(.)}s
        : $file =~ /\.sh$|\.ci|Makefile/    ? qr{((?<![\$\w])\#[^\n]*)|$literal|(.)}s
        : return $text =~ s/`[^`\n]*`//gr;
    my $prose = "";
    while ($text =~ /$pieces/g) {
        my ($kept, $other) = ($1, $2);
        $other = $& unless defined $other;
        $prose .= defined $kept ? $kept : $other =~ s/[^\n]/ /gr;
    }
    return $prose =~ s/`[^`\n]*`//gr;
}

my $pattern = shift;
for my $file (@ARGV) {
    open my $in, "<", $file or die "$file: $!\n";
    my $text = do { local $/; <$in> };
    my $number = 0;
    for my $line (split /\n/, prose($file, $text)) {
        $number++;
        print "$file:$number: $&\n" if $line =~ /$pattern/i;
    }
}
