"""Makes tests/golden/spans.jsonl: tags of sentences, right and predicted ones, and what seqeval measures of them.
Run from the top of the repository, where seqeval 1.2.2 is installed:
    python tests/golden/make/spans_golden.py"""
import json
import os
import random
import warnings

from seqeval.metrics import classification_report, f1_score, precision_score, recall_score

warnings.simplefilter("ignore")
rng = random.Random(9)
SCHEMES = {"IOB2": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-date-time", "I-date-time"],
           "IOBES": ["O"] + [f"{p}-{t}" for t in ("A", "B") for p in "BIES"], "IO": ["I-X", "I-Y", "O"]}


def case(labels, sentences, skill):
    right = [[rng.choice(labels) for _ in range(rng.randint(1, 9))] for _ in range(sentences)]
    said = [[t if rng.random() < skill else rng.choice(labels) for t in s] for s in right]
    report = classification_report(right, said, output_dict=True, zero_division=0)
    return dict(labels=labels, right=[[labels.index(t) for t in s] for s in right],
                said=[[labels.index(t) for t in s] for s in said], precision=float(precision_score(right, said)),
                recall=float(recall_score(right, said)), f1=float(f1_score(right, said)),
                types={k: [float(v["precision"]), float(v["recall"]), float(v["f1-score"]), int(v["support"])]
                       for k, v in report.items() if not k.endswith("avg")})


if __name__ == "__main__":
    top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    with open(os.path.join(top, "spans.jsonl"), "w") as f:
        for labels in SCHEMES.values():
            for sentences, skill in ((1, 0.5), (8, 0.9), (20, 0.6), (5, 1.0), (3, 0.0)):
                f.write(json.dumps(case(labels, sentences, skill)) + "\n")
