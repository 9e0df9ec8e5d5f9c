"""One text and two with post-processors, truncation and windows, as the `tokenizers` library makes them.

    python tests/golden/make/pairs_golden.py        (tokenizers 0.22.2)

Writes tests/golden/pairs/N.json, a tokenizer.json for each post-processor, and tests/golden/pairs/cases.jsonl, a case a line:
{"post": N, "texts": [A] or [A, B], "special", "max_length" (0: none), "strategy", "left", "stride"} and either "refused": true or
"windows": a list of [ids, type ids, byte ranges (null but for the first)]; "texts_of" says for each token of the first window which text
it is of, -1: none."""
import json
import os
import random
from tokenizers import Tokenizer, decoders, models, pre_tokenizers as P, processors as X, trainers

TOP = os.path.normpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
OUT = os.path.join(TOP, "tests", "golden", "pairs")
CLS, SEP = ("<s>", 0), ("</s>", 1)


def template(single, pair):
    return X.TemplateProcessing(single=single, pair=pair, special_tokens=[CLS, SEP])


POSTS = [None, X.ByteLevel(trim_offsets=True), X.BertProcessing(SEP, CLS), X.RobertaProcessing(SEP, CLS, trim_offsets=True, add_prefix_space=True),
         template("<s> $A </s>", "<s> $A </s> $B:1 </s>:1"), template("<s> $A </s>", "<s> $A </s> </s> $B </s>"),
         template("$A </s>", "$A </s> $B </s>"), template("<s>:3 $A:2 </s>:1", "<s>:5 $B:7 </s>:2 $A:4"),
         X.Sequence([X.ByteLevel(trim_offsets=True), template("<s> $A", "<s> $A <s>:1 $B:1")]),
         X.Sequence([X.RobertaProcessing(SEP, CLS), X.ByteLevel(trim_offsets=False)])]


def make(post):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer, t.decoder = P.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    t.train_from_iterator(["a small corpus of words", "words of a corpus"], trainers.BpeTrainer(
        vocab_size=290, special_tokens=["<s>", "</s>"], initial_alphabet=sorted(P.ByteLevel.alphabet()), show_progress=False))
    if post:
        t.post_processor = post
    return t


def ranges(text, offsets):
    place = [0]
    for c in text:
        place.append(place[-1] + len(c.encode()))
    return [[place[b], place[e]] for b, e in offsets]


WORDS = ["a", " words", " of", " corpus", " é", "small ", "  ", "x", "<s>", " 你"]
random.seed(7)
tokenizers = [make(post) for post in POSTS]
os.makedirs(OUT, exist_ok=True)
for i, t in enumerate(tokenizers):
    t.save(os.path.join(OUT, f"{i}.json"), pretty=False)
with open(os.path.join(OUT, "cases.jsonl"), "w") as f:
    for number in range(400):
        post = number % len(POSTS)
        t = tokenizers[post]
        texts = ["".join(random.choice(WORDS) for _ in range(random.randint(0, 9))) for _ in range(random.randint(1, 2))]
        strategy = random.choice(["longest_first", "longest_first", "only_first", "only_second"])
        special, left, stride = random.random() < .8, random.random() < .3, random.choice([0, 0, 1, 2])
        added = t.num_special_tokens_to_add(len(texts) == 2) if special else 0
        most = random.choice([0, added + random.randint(0, 12)])
        case = {"post": post, "texts": texts, "special": special, "max_length": most, "strategy": strategy, "left": left, "stride": stride}
        t.no_truncation()
        if most:
            stride = min(stride, max(most - t.num_special_tokens_to_add(False) - 1, 0))  # what enable_truncation takes
            case["stride"] = stride
            t.enable_truncation(most, stride=stride, strategy=strategy, direction="left" if left else "right")
        try:
            e = t.encode(*texts, add_special_tokens=special)
        except BaseException:
            case["refused"] = True
        else:
            # A further window no longer says which text its tokens are of, so that its ranges cannot be made bytes.
            case["texts_of"] = [-1 if s is None or m else s for s, m in zip(e.sequence_ids, e.special_tokens_mask)]
            case["windows"] = []
            for n, w in enumerate([e] + e.overflowing):
                of = case["texts_of"] if n == 0 else None
                at = [ranges(texts[max(s, 0)], [o])[0] if o != (0, 0) else [0, 0] for s, o in zip(of, w.offsets)] if of else None
                case["windows"].append([w.ids, w.type_ids, at])
        f.write(json.dumps(case, ensure_ascii=False) + "\n")
