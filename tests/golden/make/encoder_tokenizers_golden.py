"""Small tokenizers of encoders, in each form that repositories have them, and what transformers' fast classes make of odd strings.

    python tests/golden/make/encoder_tokenizers_golden.py [STYLE...]        (transformers 4.57.6, tokenizers 0.22.2, sentencepiece 0.2)

Writes tests/golden/tokenizers/strings (each ended by a byte 0) and of each style tests/golden/tokenizers/<style>/: tokenizer.json and the
files beside it; slow/, the files from which the class makes the same tokenizer without tokenizer.json; expected: a line a string,
"id:begin-end ..." in bytes, "|", the decoded text in hexadecimal; and points: a line for each 1024 code points of the first plane, all planes (scripts) or
two, the FNV-1a hash of what the text of all of them becomes."""
import io
import json
import os
import random
import re
import shutil
import struct
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
import sentencepiece
from tokenizers import BertWordPieceTokenizer, Tokenizer, decoders, models, normalizers as N, pre_tokenizers as P, processors, trainers
from transformers import AutoTokenizer, RobertaTokenizerFast

TOP = os.path.normpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
OUT = os.path.join(TOP, "tests", "golden", "tokenizers")
WORLD = "你好世界 こんにちは мир привет שלום नमस्ते café naïve Straße İstanbul 한글 é ½ ² ٣ ﬁne ﬀ Ａｂｃ １２３ … ™ don't we'll `` '' ÀÉÎ "
CORPUS = [open(os.path.join(TOP, "docs", "style.md"), encoding="utf-8").read()[:9000], WORLD * 3]
ATOMS = ["hello", "World", " ", "  ", "\n", "\t", "\r\n", "123", "½", "²", "é", "e\u0301x", "ﬁ", "你好", "こ", "мир", "שלום", "नमस्ते", "👩‍👩‍👧",
         "\u00a0", "\u3000", "\u200b", "\u0085", "don't", "I'LL", "[CLS]", "[MASK]", " [SEP]", "<mask>", "</s>", "<s>", "...", "!?", "_x", "{",
         "한글", "\x07", "ß", "İ", "x" * 20, "``a''", "Ａ", "ｔ\u030c", "\ufffd", "\u2581", "¢", "$5", "𠀀", "\u1734", "á\u0327", "\x01", "naïve",
         "<extra_id_1>", "x" * 101, "MKTAYIAK", "mk L"]
PAIRS = [("ﬁ", "fi"), ("ﬀ", "ff"), ("Ａ", "A"), ("ｔ", "t"), ("e\u0301", "é"), ("\x01", ""), ("\t", " "), ("\n", " "), ("\r", " "), ("\u00a0", " "),
         ("\u3000", " "), ("…", "..."), ("½", "1⁄2"), ("²", "2"), ("\u200b", " "), ("１", "1"), ("™", "TM"), ("á\u0327", "x"), ("\x07", "")]


def strings():
    rng = random.Random(5)
    made = ["".join(rng.choice(ATOMS) for _ in range(rng.randint(0, 10))) for _ in range(60)]
    return made + ["\x01ab c", "\x07", " ", "  a", "a  "] + [CORPUS[0][i:i + 150] for i in range(0, 1600, 200)] + ["A" * 100 + " b"]


def point_texts(planes):
    """Each 1024 code points: a word with the character inside, and the character alone."""
    for block in planes:
        yield "".join(f"a{chr(c)}b {chr(c)} " for c in range(block, block + 1024) if c and not 0xD800 <= c < 0xE000)


def described(t, text):
    place = [0]
    for c in text:
        place.append(place[-1] + len(c.encode()))
    e = t.encode(text)
    return " ".join(f"{i}:{place[b]}-{place[e]}" for i, (b, e) in zip(e.ids, e.offsets)), e.ids


def packed(t, text):
    """id, begin and end of each token, as three little-endian numbers of 32 bits."""
    place = [0]
    for c in text:
        place.append(place[-1] + len(c.encode()))
    e = t.encode(text)
    return b"".join(struct.pack("<III", i, place[b], place[e]) for i, (b, e) in zip(e.ids, e.offsets))


def fnv(data):
    h = 0xcbf29ce484222325
    for b in data:
        h = (h ^ b) * 0x100000001b3 & 0xffffffffffffffff
    return h


def wordpiece(lower, more=(), size=500, **options):
    t = BertWordPieceTokenizer(lowercase=lower, **options)
    t.train_from_iterator(CORPUS, vocab_size=size, min_frequency=1, limit_alphabet=160, show_progress=False,
                          special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *more])
    return list(dict(sorted(t.get_vocab().items(), key=lambda p: p[1])))


def sentences(path, **options):
    rules = os.path.join(path, "rules.tsv")
    with open(rules, "w") as f:
        for a, b in PAIRS:
            f.write(" ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) + "\n")
    model = io.BytesIO()
    lines = [line for text in CORPUS for line in text.split("\n") if line.strip()]
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, hard_vocab_limit=False, num_threads=1,
                                             minloglevel=2, **{"vocab_size": 400, "normalization_rule_tsv": rules, **options})
    os.remove(rules)
    return model.getvalue()


def write(path, name, data):
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, name), "wb") as f:
        f.write(data if isinstance(data, bytes) else (data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)).encode())


def bert(path, lower, config, class_name="BertTokenizer", model_type="bert", more=(), **options):
    """vocab.txt and what makes a tokenizer of it."""
    write(path, "vocab.txt", "".join(piece + "\n" for piece in wordpiece(lower, more, **options)))
    write(path, "tokenizer_config.json", {"tokenizer_class": class_name, **config})
    write(path, "config.json", {"model_type": model_type})


def spiece(path, name, class_name, family, config=None, **options):
    write(path, name, sentences(path, **options))
    write(path, "tokenizer_config.json", {"tokenizer_class": class_name, **(config or {})})
    write(path, "config.json", {"model_type": family})


def byte_level(path, class_name, model_type, special, config=None):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = P.ByteLevel(add_prefix_space=False)
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False,
                                                      initial_alphabet=sorted(P.ByteLevel.alphabet())))
    t.model.save(path)
    write(path, "tokenizer_config.json", {"tokenizer_class": class_name, **(config or {})})
    write(path, "config.json", {"model_type": model_type})


T5 = dict(model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
ALBERT = dict(model_type="unigram", pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols=["[CLS]", "[SEP]"], user_defined_symbols=["[MASK]"])
DEBERTA = dict(model_type="unigram", pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]",
               unk_piece="[UNK]")
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SLOW = {
    "bert-uncased": lambda p: bert(p, True, {"do_lower_case": True}),
    "bert-cased": lambda p: bert(p, False, {"do_lower_case": False}),
    "bert-multilingual": lambda p: bert(p, False, {"do_lower_case": False, "strip_accents": True}, size=700),
    "bert-no-chinese": lambda p: bert(p, True, {"tokenize_chinese_chars": False, "strip_accents": False}),
    "distilbert": lambda p: bert(p, True, {}, "DistilBertTokenizer", "distilbert"),
    "electra": lambda p: bert(p, True, {"do_lower_case": True}, "ElectraTokenizerFast", "electra"),
    "mpnet": lambda p: bert(p, True, {}, "MPNetTokenizer", "mpnet", ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]),
    "roberta": lambda p: byte_level(p, "RobertaTokenizer", "roberta", ROBERTA),
    "gpt2": lambda p: byte_level(p, "GPT2Tokenizer", "gpt2", ["<|endoftext|>"]),
    "t5": lambda p: spiece(p, "spiece.model", "T5Tokenizer", "t5", {"extra_ids": 4}, **T5),
    "xlm-roberta": lambda p: spiece(p, "sentencepiece.bpe.model", "XLMRobertaTokenizer", "xlm-roberta", model_type="unigram"),
    "albert": lambda p: spiece(p, "spiece.model", "AlbertTokenizer", "albert", **ALBERT),
    "albert-accents": lambda p: spiece(p, "spiece.model", "AlbertTokenizer", "albert", {"keep_accents": True, "do_lower_case": False}, **ALBERT),
    "t5-new": lambda p: spiece(p, "spiece.model", "T5Tokenizer", "t5", {"extra_ids": 2, "legacy": False}, **T5),
    "gpt2-bos": lambda p: byte_level(p, "GPT2Tokenizer", "gpt2", ["<|endoftext|>"], {"add_bos_token": True, "add_prefix_space": True}),
    "llama-new": lambda p: spiece(p, "tokenizer.model", "LlamaTokenizer", "llama", {"legacy": False}, model_type="bpe", byte_fallback=True,
                                  vocab_size=560, normalization_rule_name="identity", normalization_rule_tsv="",
                                  remove_extra_whitespaces=False, split_digits=True),
    "llama": lambda p: spiece(p, "tokenizer.model", "LlamaTokenizer", "llama", model_type="bpe", byte_fallback=True, vocab_size=560,
                              normalization_rule_name="identity", normalization_rule_tsv="", remove_extra_whitespaces=False, split_digits=True),
    "deberta": lambda p: spiece(p, "spm.model", "DebertaV2Tokenizer", "deberta-v2", **DEBERTA),
    "deberta-lower": lambda p: spiece(p, "spm.model", "DebertaV2Tokenizer", "deberta-v2", {"do_lower_case": True, "split_by_punct": True}, **DEBERTA),
    "gemma": lambda p: spiece(p, "tokenizer.model", "GemmaTokenizer", "gemma", model_type="bpe", byte_fallback=True, vocab_size=560, pad_id=0,
                              eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>",
                              user_defined_symbols=["<mask>", "<start_of_turn>", "<end_of_turn>"], normalization_rule_name="identity",
                              normalization_rule_tsv="", remove_extra_whitespaces=False, add_dummy_prefix=False, split_digits=True),
    "xglm": lambda p: spiece(p, "sentencepiece.bpe.model", "XGLMTokenizer", "xglm", model_type="unigram"),
}
# tokenizer.json says one thing, tokenizer_config.json another
OVERRIDES = {
    "override-cased": ("bert-uncased", {"tokenizer_class": "BertTokenizer", "do_lower_case": False}),
    "override-default": ("bert-cased", {"tokenizer_class": "BertTokenizerFast"}),
    "override-accents": ("bert-uncased", {"tokenizer_class": "ElectraTokenizer", "strip_accents": False, "tokenize_chinese_chars": False}),
    "override-none": ("bert-cased", {"tokenizer_class": "PreTrainedTokenizerFast"}),
    "override-prefix": ("roberta", {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True}),
}


def words(normalizer, pre, decoder, size=300):
    """A vocabulary of whole words; what is unknown shows where the pre-tokenizer cuts."""
    t = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    t.normalizer, t.pre_tokenizer, t.decoder = normalizer, pre, decoder
    t.train_from_iterator(CORPUS, trainers.WordLevelTrainer(vocab_size=size, special_tokens=["[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False))
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return t


# tokenizer.json alone: no class makes it of other files
PLAIN = {
    "wordlevel": lambda: words(N.Lowercase(), P.Whitespace(), None),
    "scripts": lambda: words(None, P.UnicodeScripts(), None, 40),
    "scripts-sequence": lambda: words(N.NFKC(), P.Sequence([P.WhitespaceSplit(), P.UnicodeScripts(), P.Digits(individual_digits=True)]),
                                      decoders.Fuse()),
}


def esm(path, texts):
    """A Python tokenizer without a fast one: ids by it, ranges by the rule that every line of vocab.txt is cut out of the text."""
    letters = "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>".split()
    slow = os.path.join(path, "slow")
    write(slow, "vocab.txt", "\n".join(letters))
    write(slow, "tokenizer_config.json", {"tokenizer_class": "EsmTokenizer"})
    write(slow, "config.json", {"model_type": "esm"})
    t = AutoTokenizer.from_pretrained(slow)
    pattern = re.compile("(" + "|".join(re.escape(x) for x in sorted(letters, key=len, reverse=True)) + r")|(\S+?)(?=\s|$|" +
                         "|".join(re.escape(x) for x in letters) + ")")
    with open(os.path.join(path, "expected"), "w") as f:
        for text in texts:
            found = [(letters.index(m.group(1)) if m.group(1) else 3, len(text[:m.start()].encode()), len(text[:m.end()].encode()))
                     for m in pattern.finditer(text)]
            ids = [0] + [i for i, _, _ in found] + [2]
            assert t(text)["input_ids"] == ids, (text, ids, t(text)["input_ids"])
            tokens = " ".join(f"{i}:{b}-{e}" for i, b, e in [(0, 0, 0), *found, (2, 0, 0)])
            decoded = " ".join(letters[i] for i in ids if letters[i] not in t.all_special_tokens)
            f.write(f"{tokens}|{decoded.encode().hex()}\n")


def luke(path, texts):
    """A Python tokenizer without a fast one: its ids, and the ranges of RoBERTa's fast class with the two tokens for entities."""
    slow = os.path.join(path, "slow")
    os.makedirs(slow)
    byte_level(slow, "LukeTokenizer", "luke", ROBERTA)
    write(slow, "entity_vocab.json", {"[PAD]": 0, "[UNK]": 1, "[MASK]": 2, "[MASK2]": 3})
    t = AutoTokenizer.from_pretrained(slow)
    fast = RobertaTokenizerFast.from_pretrained(slow, additional_special_tokens=["<ent>", "<ent2>"])._tokenizer
    with open(os.path.join(path, "expected"), "w") as f:
        for text in [x for x in texts] + ["a <ent> b<ent2>c"]:
            line, ids = described(fast, text)
            assert t(text)["input_ids"] == ids, (text, ids, t(text)["input_ids"])
            if text != "a <ent> b<ent2>c":
                f.write(f"{line}|{fast.decode(ids).encode().hex()}\n")


def finish(path, texts, points):
    t = AutoTokenizer.from_pretrained(path)._tokenizer
    with open(os.path.join(path, "expected"), "w") as f:
        for text in texts:
            line, ids = described(t, text)
            f.write(f"{line}|{t.decode(ids).encode().hex()}\n")
    if points:
        with open(os.path.join(path, "points"), "w") as f:
            f.writelines(f"{fnv(packed(t, text)):016x}\n" for text in point_texts(range(0, {1: 0x10000, 2: 0x20000, 17: 0x110000}[points], 1024)))


def main(wanted):
    if wanted:  # the others' strings stay, though the corpus has changed since
        texts = open(os.path.join(OUT, "strings"), "rb").read().decode().split("\x00")[:-1]
    else:
        texts = strings()
    for style in wanted or [""]:
        shutil.rmtree(os.path.join(OUT, style), ignore_errors=True)
    write(OUT, "strings", b"".join(t.encode() + b"\x00" for t in texts))
    for style, make in SLOW.items():
        if wanted and style not in wanted:
            continue
        path = os.path.join(OUT, style)
        slow = os.path.join(path, "slow")
        os.makedirs(slow)
        make(slow)
        fast = AutoTokenizer.from_pretrained(slow, use_fast=True)
        assert fast.is_fast, style
        fast.save_pretrained(path)
        for name in os.listdir(path):
            if name not in ("tokenizer.json", "slow"):
                os.remove(os.path.join(path, name))
        for name in ("tokenizer_config.json", "config.json"):
            shutil.copy(os.path.join(slow, name), path)
        finish(path, texts, {"bert-uncased": 2, "bert-cased": 1, "xlm-roberta": 1, "albert": 1}.get(style, 0))
    for style, make in (("esm", esm), ("luke", luke)):
        if not wanted or style in wanted:
            os.makedirs(os.path.join(OUT, style))
            make(os.path.join(OUT, style), texts)
    for style, make in PLAIN.items():
        if wanted and style not in wanted:
            continue
        path = os.path.join(OUT, style)
        os.makedirs(path)
        make().save(os.path.join(path, "tokenizer.json"), pretty=False)
        write(path, "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
        finish(path, texts, 17 if style == "scripts" else 0)
    for style, (base, config) in OVERRIDES.items():
        if wanted and style not in wanted:
            continue
        path = os.path.join(OUT, style)
        os.makedirs(path)
        shutil.copy(os.path.join(OUT, base, "tokenizer.json"), path)
        write(path, "tokenizer_config.json", config)
        finish(path, texts, False)


if __name__ == "__main__":
    main(sys.argv[1:])
