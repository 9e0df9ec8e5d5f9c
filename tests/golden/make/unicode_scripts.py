"""The scripts of characters that the `tokenizers` library's UnicodeScripts goes by, as it treats every code point.

    python tests/golden/make/unicode_scripts.py > src/text/unicode_scripts.h        (tokenizers 0.22.2)

It takes a minute.  A range a triple: both ends are in it, and the number of its script, in the order in which they first come; what is in no
range joins what stands before it, whatever that is."""
from tokenizers import pre_tokenizers as P

ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
split = P.UnicodeScripts().pre_tokenize_str


def joins(a, b):
    return len(split(a + b)) == 1


known = [c for c in ALL if not joins("a", chr(c)) or not joins("\u0431", chr(c))]
scripts, ranges = [], []  # a character of each
for run, _ in split("".join(map(chr, known))):
    script = next((i for i, s in enumerate(scripts) if joins(s, run[0])), None)
    if script is None:
        script = len(scripts)
        scripts.append(run[0])
    for c in map(ord, run):
        if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == script + 1:
            ranges[-1][1] = c
        else:
            ranges.append([c, c, script + 1])
print("""/* unicode_scripts.h - the scripts of characters as UnicodeScripts of the tokenizers library 0.22.2
 * takes them: kana are Han, what is not assigned is of none; written by
 * tests/golden/make/unicode_scripts.py. */
#ifndef NIB_TEXT_UNICODE_SCRIPTS_H
#define NIB_TEXT_UNICODE_SCRIPTS_H

#include "base/base.h"

typedef struct nib_unicode_script { uint32_t first, last, script; } nib_unicode_script;
""")
print(f"/* of {len(scripts)} scripts: {len(known)} */\nstatic const nib_unicode_script scripts[] = {{")
line = "   "
for a, b, s in ranges:
    text = f" {{ 0x{a:x}, 0x{b:x}, {s} }},"
    if len(line) + len(text) > 98:
        print(line)
        line = "   "
    line += text
print(line + "\n};\n\n#endif")
