"""Byte ranges where the text changes on its way: Unicode's normal forms, and added tokens that take blanks.

    python tests/golden/make/offsets_golden.py        (tokenizers 0.22.2)

Takes the tokenizers of tests/golden/text, gives them another normalizer or more added tokens, and writes
tests/golden/offsets/<style>/tokenizer.json, tests/golden/offsets/strings and <style>/expected, in the forms of
tokenizers_golden.py."""
import json
import os
import random
from tokenizers import Tokenizer

TOP = os.path.normpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
OUT = os.path.join(TOP, "tests", "golden", "offsets")
CONTENTS = ["<mask>", " <sp> ", "#m"]
STYLES = {  # name: (tokenizer to begin with, normalizer, what the added tokens have)
    "nfc": ("qwen2", "NFC", {}),
    "nfkd": ("qwen2", "NFKD", {}),
    "nfkc": ("gpt2", "NFKC", {"lstrip": True}),
    "blanks": ("gpt2", None, {"lstrip": True, "rstrip": True}),
    "blanks-prefix": ("gpt2-prefix", None, {"lstrip": True, "rstrip": True, "normalized": True, "special": False}),
    "accents": ("qwen2", "NFD+StripAccents", {}),
    "lower": ("qwen2", "NFKD+Lowercase", {}),
    "words": ("smollm", None, {"lstrip": True, "rstrip": True, "single_word": True}),
}
ATOMS = ["a", "b", " ", "  ", "\n", "\t", "\u00a0", "\u3000", "\u0085", "Ġ", "é", "e\u0301", "\u0301", "\u0323", "a\u0308\u0304",
         "\u0344", "ş", "q\u0307\u0323", "\u1e9b\u0323", "\U0001d15e", "\u0958", "क\u093c", "\u0f71\u0f72", "\u0b92\u0bd7", "\u212b", "ﬁ",
         "각", "\u1100\u1161\u11a8", "가\u11a8", "한", "½", "x", "3"] + 3 * CONTENTS + ["<|endoftext|>", "FOO"]


def changed(style):
    base, form, flags = STYLES[style]
    j = json.load(open(os.path.join(TOP, "tests", "golden", "text", base, "tokenizer.json"), encoding="utf-8"))
    if form:
        forms = [{"type": f} for f in form.split("+")]
        j["normalizer"] = forms[0] if len(forms) == 1 else {"type": "Sequence", "normalizers": forms}
    top = max(max(j["model"]["vocab"].values()), max(a["id"] for a in j["added_tokens"]))
    for i, content in enumerate(CONTENTS):
        j["added_tokens"].append({"id": top + 1 + i, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
                                  "normalized": False, "special": True} | flags)
    return json.dumps(j, ensure_ascii=False)


def expected(t, text):
    place = [0]
    for c in text:
        place.append(place[-1] + len(c.encode()))
    e = t.encode(text)
    tokens = " ".join(f"{i}:{place[b]}-{place[e]}" for i, (b, e) in zip(e.ids, e.offsets))
    return f"{tokens}|{t.decode(e.ids).encode().hex()}\n"


rng = random.Random(5)
texts = ["".join(rng.choice(ATOMS) for _ in range(rng.randint(1, 8))) for _ in range(250)]
os.makedirs(OUT, exist_ok=True)
with open(os.path.join(OUT, "strings"), "wb") as f:
    f.write(b"".join(t.encode() + b"\x01" for t in texts))
for style in STYLES:
    directory = os.path.join(OUT, style)
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, "tokenizer.json")
    with open(path, "w", encoding="utf-8") as f:
        f.write(changed(style))
    t = Tokenizer.from_file(path)
    with open(os.path.join(directory, "expected"), "w") as f:
        f.writelines(expected(t, text) for text in texts)
