"""Makes tests/golden/scores.json: rows of answers and predictions of every kind, and what
scikit-learn and scipy measure of them.  Run from the top of the repository, where numpy, scipy and
scikit-learn are installed:
    python tests/golden/make/scores_golden.py"""
import json
import os
import warnings

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, matthews_corrcoef, mean_squared_error
from sklearn.metrics import precision_recall_fscore_support

warnings.simplefilter("ignore")
rng = np.random.default_rng(5)


def classes(count, rows, most, skill):
    right = rng.integers(0, most, rows)
    logits = rng.normal(size=(rows, count)).round(2)
    logits[np.arange(rows), right] += skill
    said = logits.argmax(1)
    p, r, f, n = precision_recall_fscore_support(right, said, labels=range(count), zero_division=0)
    return dict(kind="class", labels=count, right=right.tolist(), logits=logits.ravel().tolist(),
                accuracy=accuracy_score(right, said), f1=f1_score(right, said, average="macro"),
                matthews_correlation=matthews_corrcoef(right, said), precision=p.tolist(), recall=r.tolist(),
                class_f1=f.tolist(), support=n.tolist(),
                confusion=confusion_matrix(right, said, labels=range(count)).ravel().tolist())


def sets(count, rows):
    right = (rng.random((rows, count)) < 0.4).astype(int)
    logits = (rng.normal(size=(rows, count)) + 2 * right - 1).round(2)
    said = (logits > 0).astype(int)
    p, r, f, n = precision_recall_fscore_support(right, said, zero_division=0)
    return dict(kind="set", labels=count, right=right.ravel().tolist(), logits=logits.ravel().tolist(),
                accuracy=accuracy_score(right, said), f1=f1_score(right, said, average="macro", zero_division=0),
                precision=p.tolist(), recall=r.tolist(), class_f1=f.tolist(), support=n.tolist())


def numbers(rows):
    right = rng.integers(0, 11, rows) / 2  # with ties
    said = (right + rng.normal(size=rows)).round(1)
    return dict(kind="numbers", labels=1, right=right.tolist(), logits=said.tolist(),
                mse=mean_squared_error(right, said), pearson=float(pearsonr(right, said)[0]),
                spearmanr=float(spearmanr(right, said)[0]))


cases = [classes(2, 30, 2, 1), classes(4, 50, 4, 1), classes(5, 12, 3, 2), classes(3, 8, 1, 9), sets(3, 25), sets(2, 6),
         numbers(40), numbers(3)]
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "scores.json")
json.dump(cases, open(path, "w"))
