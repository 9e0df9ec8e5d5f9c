"""The sets of characters that the `tokenizers` library's components go by, as it treats every code point.

    python tests/golden/make/unicode_sets.py > src/text/unicode_ranges.h        (tokenizers 0.22.2)

Its tables are of several Unicode versions, and no library has them all: so they are written out.  A range a pair, both ends in it."""
import unicodedata
from tokenizers import normalizers as N, pre_tokenizers as P

ALL = [c for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
SPACE = {c for c in ALL if chr(c).isspace() and c not in (0x1C, 0x1D, 0x1E, 0x1F)} | {0x85}


def removed(normalizer):
    return [c for c in ALL if normalizer.normalize_str("a" + chr(c) + "b") == "ab"]


def cut(pre, pieces):
    return [c for c in ALL if c not in SPACE and [p for p, _ in pre.pre_tokenize_str("a" + chr(c) + "b")] == pieces(chr(c))]


def bert(**on):
    return N.BertNormalizer(**{"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False, **on})


def late_forms():
    """Decomposed by Unicode since the library's tables were made; the last ones are of Unicode 15 to 17, which Python lacks."""
    n = N.NFKD()
    late = {c for c in ALL if n.normalize_str(chr(c)) != unicodedata.normalize("NFKD", chr(c))}
    for a, b in [(0x105c9, 0x105c9), (0x105e4, 0x105e4), (0x11383, 0x11383), (0x11385, 0x11385), (0x1138e, 0x1138e), (0x11391, 0x11391),
                 (0x113c5, 0x113c5), (0x113c7, 0x113c8), (0x16121, 0x16128), (0x16d68, 0x16d6a), (0x1ccd6, 0x1ccf9), (0xa7f1, 0xa7f1),
                 (0x1e030, 0x1e06d), (0x10781, 0x107ba)]:
        late.update(c for c in range(a, b + 1) if n.normalize_str(chr(c)) == chr(c))
    assert all(n.normalize_str(chr(c)) == chr(c) for c in late)
    return sorted(late)


SETS = [("controls", "what BertNormalizer's clean_text removes", removed(bert(clean_text=True))),
        ("nonspacing", "what its strip_accents removes after NFD", removed(bert(strip_accents=True))),
        ("marks", "what StripAccents removes", removed(N.StripAccents())),
        ("punctuation", "what BertPreTokenizer and Punctuation isolate", cut(P.Punctuation("isolated"), lambda c: ["a", c, "b"])),
        ("word", "what Whitespace keeps together with letters", cut(P.Whitespace(), lambda c: ["a" + c + "b"])),
        ("numbers", "what Digits isolates", cut(P.Digits(individual_digits=True), lambda c: ["a", c, "b"])),
        ("late_forms", "what has no decomposition in its normal forms, but has one in Unicode", late_forms())]
assert SETS[3][2] == cut(P.BertPreTokenizer(), lambda c: ["a", c, "b"])
print("""/* unicode_ranges.h - characters as the tokenizers library 0.22.2 takes them, which goes by several
 * versions of Unicode; written by tests/golden/make/unicode_sets.py. */
#ifndef NIB_TEXT_UNICODE_RANGES_H
#define NIB_TEXT_UNICODE_RANGES_H

#include "base/base.h"

typedef struct nib_unicode_range { uint32_t first, last; } nib_unicode_range;
""")
for name, what, members in SETS:
    ranges = []
    for c in members:
        if ranges and ranges[-1][1] == c - 1:
            ranges[-1][1] = c
        else:
            ranges.append([c, c])
    print(f"/* {what}: {len(members)} */\nstatic const nib_unicode_range {name}[] = {{")
    line = "   "
    for a, b in ranges:
        text = f" {{ 0x{a:x}, 0x{b:x} }},"
        if len(line) + len(text) > 98:
            print(line)
            line = "   "
        line += text
    print(line + "\n};")
print("""
/* what has another lower case than itself, by one distance in steps of one */
typedef struct nib_unicode_case { uint32_t first, last; int32_t distance; } nib_unicode_case;
static const nib_unicode_case lower_cases[] = {""")
lower = [(c, ord(l) - c) for c in ALL for l in [N.Lowercase().normalize_str(chr(c))] if len(l) == 1 and ord(l) != c]
runs = []
for c, d in lower:
    if runs and runs[-1][1] == c - 1 and runs[-1][2] == d:
        runs[-1][1] = c
    else:
        runs.append([c, c, d])
line = "   "
for a, b, d in runs:
    text = f" {{ 0x{a:x}, 0x{b:x}, {d} }},"
    if len(line) + len(text) > 98:
        print(line)
        line = "   "
    line += text
print(line + "\n};\n\n#endif")
