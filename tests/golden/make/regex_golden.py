"""Patterns of tokenizer files and what Oniguruma makes of them.

    python tests/golden/make/regex_golden.py        (tokenizers 0.22.2)

Writes tests/golden/regex/cases.jsonl: first {"texts": [...]}, then a pattern a line, {"pattern", "isolated", "removed"}: for each
text the pieces as [begin, end, ...] in bytes, of Split with the behaviors Isolated and Removed; or {"pattern", "refused": true}
for what nibble does not translate."""
import json
import os
import random
from tokenizers import Regex, pre_tokenizers as P

TOP = os.path.normpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
OUT = os.path.join(TOP, "tests", "golden", "regex")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
PATTERNS = [
    GPT2, LLAMA3, LLAMA3.replace("{1,3}", ""),
    r"[^\r\n\p{L}\p{N}]?+[\p{Lu}]*+[\p{Ll}]++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n/]*+|\s*+[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}"
    r"\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r" ?[^(\s|[.,!?…。，、।۔،])]+", r"\d{1,3}(?=(?:\d{3})*\b)", r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"\p{N}{1,3}+", r"a{2}+", r"a{2}?", r"(?:ab){1,2}?", r"a{,2}", r"a{2,}", r"a{1,2}{2}", r"a+?", r"a++b?", r"a*+", r"x{", r"x{a}", r"}{", r"a{2}{3}",
    r"^", r"$", r"^a", r"a$", r"^.*$", r"(?m)a.", r"(?m:a.)c?", r"\Aa", r"a\z", r"b\Z", r"\h+", r"\H+", r"\v", r"\w+", r"\W+", r"\s+", r"\S+", r"\d+", r"\D+",
    r"\b", r"\B", r"\bx", r"[[:punct:]]+", r"[[:alpha:]]+", r"[[:alnum:]]+", r"[[:upper:]]+", r"[[:lower:]]+", r"[[:space:]]", r"[[:digit:]]+",
    r"[[:xdigit:]]+", r"[[:word:]]+", r"[[:cntrl:]]", r"[[:graph:]]+", r"[[:print:]]+", r"[[:blank:]]", r"[[:ascii:]]+", r"[[:^alpha:]]+", r"[^[:punct:]\s]+",
    r"[\w.]+", r"[^\w]+", r"[\W_]+", r"[^\S]", r"[\s\S]", r"[\h]+", r"[^\h]+", r"[a[bc]x]+", r"[a-z&&[^aeiou]]+", r"[^a-z&&[aeiou]]", r"[\w&&[^\d_]]+", r"[^[^a]]",
    r"[a-c\-x]+", r"[-a]+", r"[a-]+", r"[\]x]+", r"[\x41-\x5a]+", r"[\x{4e00}-\x{9fff}]+", r"[一-龥]+", r"[\u3040-\u30ff]+", r"\u00e9", r"[\p{^L}]+", r"\P{L}+", r"\p{^N}+",
    r"\p{Han}+", r"\p{Hiragana}", r"\p{Letter}+", r"\p{Punct}+", r"\p{Alpha}+", r"\p{Lu}\p{Ll}*", r"\p{LC}+", r"\p{Upper}", r"\p{Space}", r"\p{Sc}", r"\p{Emoji}", r"\p{Any}",
    r"(?=\d)", r"(?<=\d)(?=\D)", r"(?<=[a-z])(?=[A-Z])", r"(?<!a)b", r"(?>a+)b?", r"(?#note)a", r"x*", r"|a", r"a|", r"\R", r"\N+", r"\O", r".+", r"(?i)k+", r"(?i:X)",
    r"(?i)'S|x", r"(a|b)+", r"((a)(b))?x", r"\.", r"\-", r"\'", r"\ ", r"\t|\n", r"\e", r"\012", r"\x0a", r"\x9", r"a.c", r"é", r"e\u0301", r"👩‍", r"[👩🙂]", r"(?s)a".replace("s", "-m"),
    r"\$", r"\^", r"[$^]", r"[.]", r"[*+?]", r"\\", r"a  b", r"#", r"~", r"<s>", r"a|b|c", r"(?:)", r"\p{N}+?", r"\s+$", r"^\s+", r"\s+(?!\S)", r"(?<=\s)x", r"[^\n]+\n?",
]
REFUSED = [r"(a)\1", r"(?<n>a)\k<n>", r"\G", r"\K", r"\X", r"(?x)a b", r"(?~a)", r"a(?i)b|c", r"(?i)ss", r"(?i)é", r"(?i)\p{Lu}", r"\xe9", r"\p{Nonsense}", r"(?W)a", r"(?s)a",
           r"[a-\d]", r"[]a]", r"*a", r"a)", r"(a", r"[a", r"a{3,2}", r"\Qa\E", r"(?i)[é]", r"\y", r"(?(1)a)", r"\cA"]
ATOMS = ["a", "ab", "aaa", "b", "abc", "x", "xx", "A", "AB", "Hello", "fooBar", "k", "K", "\u212a", " ", "  ", "\n", "\r\n", "\n\n", "\t", "\v", "\f", "\x07", "\x1b", "\x85", "\xa0", "\u2028", "\u3000", "\u200b",
         "1", "123", "1234567", "½", "²", "٣", "Ⅷ", "é", "e\u0301", "नमस्ते", "你好", "、。", "ひらカナ", "한글", "мир", "שלום", "👩‍👩‍👧", "🙂", "ß", "ẞ", "ſ", "İ", "ǅ", "ﬁ", "ª", "ͅ", "...", "!?", "_", "-", "'s",
         "'S", "'ſ", "don't", "$", "€", "+", "<", "|", "~", "^", "(", "[", "]", ")", "{", "}", "x{", "x{a}", "#", "\\", "/", ",", "-x", "<s>", "\u00ad", "\ue000", "a\nc", "a.c", "c", "…"]


def pieces(pattern, behavior, text):
    at = [0]
    for c in text:
        at.append(at[-1] + len(c.encode()))
    return [at[i] for _, span in P.Split(Regex(pattern), behavior).pre_tokenize_str(text) for i in span if span[0] < span[1]]


rng = random.Random(5)
texts = ATOMS + ["".join(rng.choice(ATOMS) for _ in range(rng.randint(2, 9))) for _ in range(60)]
os.makedirs(OUT, exist_ok=True)
with open(os.path.join(OUT, "cases.jsonl"), "w") as f:
    write = lambda x: f.write(json.dumps(x, ensure_ascii=False, separators=(",", ":")) + "\n")
    write({"texts": texts})
    for p in PATTERNS:
        write({"pattern": p, "isolated": [pieces(p, "isolated", t) for t in texts], "removed": [pieces(p, "removed", t) for t in texts]})
    for p in REFUSED:
        write({"pattern": p, "refused": True})
