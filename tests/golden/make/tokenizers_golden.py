"""Small tokenizers of every style nibble reads, and what the `tokenizers` library makes of odd strings.

    python tests/golden/make/tokenizers_golden.py        (tokenizers 0.22.2)

Writes tests/golden/text/<style>/tokenizer.json, tests/golden/text/strings (each ended by a byte 1)
and tests/golden/text/<style>/expected: a line a string, "id:begin-end ..." in bytes, "|", the decoded
text in hexadecimal.  Normal forms and added tokens that take blanks: offsets_golden.py."""
import json
import os
import random
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers as P, processors, trainers

TOP = os.path.normpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
OUT = os.path.join(TOP, "tests", "golden", "text")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
CORPUS = [open(os.path.join(TOP, "docs", "style.md"), encoding="utf-8").read(),
          open(os.path.join(TOP, "docs", "conventions.md"), encoding="utf-8").read(),
          "你好世界 こんにちは мир привет שלום नमस्ते 👩‍👩‍👧 é ½ ² ٣"] * 2
TRIM = processors.ByteLevel(trim_offsets=True)


def bos(token, number):
    return processors.TemplateProcessing(single=f"{token} $A", special_tokens=[(token, number)])


def byte_level(pre, norm=None, post=None, ignore=False):
    t = Tokenizer(models.BPE(ignore_merges=ignore))
    t.pre_tokenizer, t.decoder = pre, decoders.ByteLevel()
    if norm:
        t.normalizer = norm
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=500, special_tokens=["<|endoftext|>", "<|im_end|>"],
                          initial_alphabet=sorted(P.ByteLevel.alphabet()), show_progress=False))
    t.add_tokens([AddedToken("FOO", single_word=True)])
    if post:
        t.post_processor = post
    return t


def sentencepiece(scheme):
    t = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    t.train_from_iterator(CORPUS[:2], trainers.BpeTrainer(vocab_size=700, special_tokens=special, show_progress=False,
                          limit_alphabet=90, max_token_length=12))
    if scheme:
        t.normalizer = normalizers.Sequence([])
        t.pre_tokenizer = P.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.post_processor = bos("<s>", 1)
    return t


STYLES = {
    "gpt2": lambda: byte_level(P.ByteLevel(add_prefix_space=False), post=TRIM),
    "gpt2-prefix": lambda: byte_level(P.ByteLevel(add_prefix_space=True)),
    "llama3": lambda: byte_level(P.Sequence([P.Split(Regex(LLAMA3), "isolated"), P.ByteLevel(add_prefix_space=False, use_regex=False)]),
                                 post=bos("<|endoftext|>", 0), ignore=True),
    "qwen2": lambda: byte_level(P.Sequence([P.Split(Regex(LLAMA3.replace("{1,3}", "")), "isolated"),
                                            P.ByteLevel(add_prefix_space=False, use_regex=False)]), norm=normalizers.NFC()),
    "smollm": lambda: byte_level(P.Sequence([P.Digits(individual_digits=True), P.ByteLevel(add_prefix_space=False)])),
    "falcon": lambda: byte_level(P.Sequence([P.Punctuation("contiguous"), P.ByteLevel(add_prefix_space=False),
                                             P.Digits(individual_digits=False), P.Split(Regex("[0-9][0-9][0-9]"), "isolated")])),
    "llama2": lambda: sentencepiece(None),
    "mistral": lambda: sentencepiece("first"),
    "metaspace": lambda: sentencepiece("always"),
}
ATOMS = ["hello", "World", " ", "  ", "\n", "\t", "\r\n", "123", "4567", "½", "²", "٣", "é", "e\u0301x", "ﬁ", "你好", "こ", "мир",
         "שלום", "नमस्ते", "👩‍👩‍👧", "🙂", "\u00a0", "\u3000", "\u200b", "\u0085", "don't", "I'LL", "<|endoftext|>", "<|im_end|>", "FOO",
         "aFOO", "</s>", "<s>", "...", "!?", "_x", "{", "}", "def f(x):", "한글", "\x07", "¼", "ß", "İ", "x" * 20]


def strings():
    rng = random.Random(3)
    made = ["".join(rng.choice(ATOMS) for _ in range(rng.randint(0, 12))) for _ in range(250)]
    return made + [CORPUS[0][i:i + 200] for i in range(0, 6000, 200)]


def expected(t, text):
    place = [0]
    for c in text:
        place.append(place[-1] + len(c.encode()))
    e = t.encode(text)
    tokens = " ".join(f"{i}:{place[b]}-{place[e]}" for i, (b, e) in zip(e.ids, e.offsets))
    return f"{tokens}|{t.decode(e.ids).encode().hex()}\n"


texts = strings()
os.makedirs(OUT, exist_ok=True)
with open(os.path.join(OUT, "strings"), "wb") as f:
    f.write(b"".join(t.encode() + b"\x01" for t in texts))
for name, make in STYLES.items():
    directory = os.path.join(OUT, name)
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, "tokenizer.json")
    make().save(path, pretty=False)
    t = Tokenizer.from_file(path)
    with open(os.path.join(directory, "expected"), "w") as f:
        f.writelines(expected(t, text) for text in texts)
