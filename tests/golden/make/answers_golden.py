"""answers.json: how near answers are to wanted texts, by rouge-score 0.1.2 and sacrebleu 2.6.0.

    python3 tests/golden/make/answers_golden.py tests/golden/answers.json

exact_match has no package: it is written here once more, with Python's own lower() and split()."""
import json
import sys

from rouge_score import rouge_scorer
from sacrebleu.metrics import CHRF

QUOTES = "\"'`\u00ab\u00bb" + "".join(map(chr, range(0x2018, 0x2020)))

PAIRS = [
    ("The shop opens at nine.", "The shop opens at nine."),
    ("  the SHOP opens\n at nine", "The shop opens at nine!"),
    ("We open at nine in the morning.", "The shop opens at nine in the morning from Monday to Friday."),
    ("", "something"),
    ("something", "a"),
    ("a", "a"),
    ("ab", "abc"),
    ("42", "42.0"),
    ("3.5", "35"),
    ("-5", "5"),
    ("'Paris'", "Paris"),
    ("\u201cParis,\u201d he said.", "Paris"),
    ("It is Paris, of course", "Paris"),
    ("na\u00efve caf\u00e9 \u2014 \u00e9t\u00e9", "Na\u00efve CAF\u00c9 - \u00e9t\u00e9"),
    ("\u0130stanbul is big", "Istanbul is big"),
    ("\u6771\u4eac\u306f\u5927\u304d\u3044", "\u6771\u4eac\u306f\u3068\u3066\u3082\u5927\u304d\u3044"),
    ("one\u00a0two\u3000three", "one two three"),
    ("\U0001f600 fine \U0001f600", "fine \U0001f600\U0001f600"),
    ("the the the the", "the cat the dog"),
    ("a b c d e f g h", "h g f e d c b a"),
    ("\u212a is Kelvin, k is k", "k is kelvin"),
    ("x = {'a': 1}", "{\"a\": 1}"),
    ("aaaaaaaaaa", "aaaaa"),
    ("tab\tand\x1fseparator", "tab and separator"),
    ("word " * 30, "word " * 20 + "other"),
    ("...", "!"),
    ("The answer: 12,000 dollars", "12,000"),
    ("snake_case-word e2e", "snake case word e2e"),
]


def normalised(text):
    text = " ".join(text.split()).replace("\u0130", "i").lower()  # one character each
    text = text.rstrip(" .,;:!?" + QUOTES)
    return text.lstrip(" " + QUOTES)


def main(path):
    rouge = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    chrf = CHRF()
    rows = []
    for answer, wanted in PAIRS:
        a, w = normalised(answer), normalised(wanted)
        rows.append({
            "answer": answer,
            "wanted": wanted,
            "exact": float(answer.strip() == wanted.strip()),
            "exact_match": float(a == w),
            "contains": float(bool(w) and w in a),
            "rouge_l": rouge.score(wanted, answer)["rougeL"].fmeasure,
            "chrf": chrf.sentence_score(answer, [wanted]).score / 100,
        })
    corpus = chrf.corpus_score([a for a, _ in PAIRS], [[w for _, w in PAIRS]]).score / 100
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"pairs": rows, "corpus_chrf": corpus}, f, indent=1)
        f.write("\n")


main(sys.argv[1])
