"""The components of encoders' tokenizers against the tokenizers library, on every code point: its neighbours a letter, a blank and
itself.  The model behind them gives a text's bytes as tokens, each with the range of its piece, so that what a normalizer writes and
where a pre-tokenizer cuts both show.  The charsmap is SentencePiece's own nmt_nfkc; its models are read whole, too."""
import io
import os
import subprocess
import tempfile

import sentencepiece
from tokenizers import Tokenizer, models, normalizers as N, pre_tokenizers as P

from common import TOP, check, main, of_the_day

DUMP = os.environ.get("DUMP_TOKENS") or os.path.join(TOP, "build", "tests", "interop", "dump_tokens")
POINTS = [c for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
BLOCK = 512
# the whole of Unicode is long: unassigned planes are sampled
SHORT = [c for c in POINTS if c < 0x20000 or 0xE0000 <= c < 0xE1000 or c % 211 == 0]
TEXTS = ["".join(f"a{chr(c)} {chr(c)}{chr(c)}B " for c in SHORT[i:i + BLOCK]) for i in range(0, len(SHORT), BLOCK)]


def charsmap():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(["a b c d e"] * 9), model_writer=model, vocab_size=12,
                                             hard_vocab_limit=False, minloglevel=2, num_threads=1)
    from sentencepiece import sentencepiece_model_pb2
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    return proto.normalizer_spec.precompiled_charsmap


def bert(**on):
    return N.BertNormalizer(**{"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False, **on})


NORMALIZERS = {
    "bert": lambda: bert(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True),
    "clean": lambda: bert(clean_text=True), "chinese": lambda: bert(handle_chinese_chars=True), "accents": lambda: bert(strip_accents=True),
    "nmt": N.Nmt, "precompiled": lambda: N.Precompiled(charsmap()), "lowercase": N.Lowercase, "marks": N.StripAccents, "bytes": N.ByteLevel,
    "nfkd": N.NFKD, "nfkc": N.NFKC, "nfc": N.NFC, "nested": lambda: N.Sequence([N.Sequence([N.NFD(), N.StripAccents()]), N.Strip()]),
}
PRE_TOKENIZERS = {
    "bert": P.BertPreTokenizer, "punctuation": lambda: P.Punctuation("merged_with_previous"), "whitespace": P.Whitespace,
    "whitespace-split": P.WhitespaceSplit, "digits": lambda: P.Digits(individual_digits=False), "length": lambda: P.FixedLength(3),
    "delimiter": lambda: P.CharDelimiterSplit("B"), "metaspace-first": lambda: P.Metaspace(prepend_scheme="first"),
    "metaspace-never": lambda: P.Metaspace(prepend_scheme="never", split=False),
    "nested": lambda: P.Sequence([P.Sequence([P.WhitespaceSplit(), P.Metaspace()]), P.Digits()]),
}


def dumped(directory, texts):
    done = subprocess.run([DUMP, directory], input=b"".join(t.encode() + b"\0" for t in texts), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    check(done.returncode == 0, f"dump_tokens: exit {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")
    return done.stdout.decode().split("\n")[:-1]


def described(t, text):
    place = [0]
    for c in text:
        place.append(place[-1] + len(c.encode()))
    e = t.encode(text)
    return " ".join(f"{i}:{place[b]}-{place[e]}" for i, (b, e) in zip(e.ids, e.offsets))


def check_component(normalizer, pre_tokenizer):
    t = Tokenizer(models.Unigram([("<unk>", 0.0)] + [(f"<0x{i:02X}>", -1.0) for i in range(256)], 0, True))
    if normalizer:
        t.normalizer = normalizer
    if pre_tokenizer:
        t.pre_tokenizer = pre_tokenizer
    with tempfile.TemporaryDirectory() as work:
        t.save(os.path.join(work, "tokenizer.json"))
        for i, got in enumerate(dumped(work, TEXTS)):
            want = described(t, TEXTS[i])
            if got != want:
                g, w = got.split(), want.split()
                k = next((k for k, (a, b) in enumerate(zip(g, w)) if a != b), min(len(g), len(w)))
                check(False, f"U+{SHORT[i * BLOCK]:04X}..: token {k}: {g[k:k + 4]}, expected {w[k:k + 4]}, {len(g)} and {len(w)} tokens")


def cases():
    for name, make in NORMALIZERS.items():
        yield f"normalizer-{name}", lambda make=make: check_component(make(), None)
    for name, make in PRE_TOKENIZERS.items():
        yield f"pre-tokenizer-{name}", lambda make=make: check_component(None, make())


if __name__ == "__main__":
    main(of_the_day(cases(), 4))
