"""choices.json: multiple choice by lm-evaluation-harness 0.4.13 with transformers 4.57.6.

    python3 tests/golden/make/choices_golden.py tests/golden/choices.json

The prompts are nibble's (src/train/choices.h); log-likelihoods are the harness's HFLM, scores its
own process_results() of a task with these choices."""
import json
import sys
from types import SimpleNamespace

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM

MODEL = "models/pico"
RECORDS = [
    {"question": "How many days has a week?", "choices": ["five", "seven days", "nine"], "answer": 1},
    {"question": "Which of them is a colour?", "choices": ["seven", "blue", "bread", "Monday"],
     "answer": "B"},
    {"question": "When is the shop open?",
     "choices": ["at nine", "from nine in the morning to five in the afternoon", "on Monday", "at night"],
     "answer": "from nine in the morning to five in the afternoon"},
    {"question": "Was trinkt man morgens?", "choices": ["Caf\u00e9", "K\u00fchlfl\u00fcssigkeit", "\u00e9\u00e9\u00e9\u00e9"],
     "label": 0},
    {"question": "Where is it?", "choices": {"text": ["here", "there"], "label": ["1", "2"]},
     "answerKey": "2"},
    {"question": "What does the shop sell?", "choices": ["bikes", "\u6771\u4eac", "bread and butter"],
     "answer": 2},
    {"question": "Do you sell helmets?", "choices": ["Yes, we do.", "No."], "label": "A"},
    {"question": "Same?", "choices": ["the same", "the same"], "answer": 1},
]
# another shape, whose prompts stand as they are: blanks at their ends belong to the choices
PROMPTS = [
    {"prompt": "The shop opens at ", "choices": ["nine", "ten in the morning", "\nnever"], "answer": 0},
    {"prompt": "The shop opens at  \n", "choices": ["nine", "ten in the morning"], "answer": 0},
    {"prompt": "The shop opens at", "choices": ["nine", " ten in the morning", "n"], "answer": 0},
]


def texts(record):
    choices = record["choices"]
    return choices["text"] if isinstance(choices, dict) else choices


def right(record):
    value = next(record[k] for k in ("answer", "label", "answerKey") if k in record)
    if isinstance(value, int):
        return value
    if value in texts(record):
        return texts(record).index(value)
    if isinstance(record["choices"], dict):
        return record["choices"]["label"].index(value)
    return ord(value) - ord("A")


def between(prompt, choice):
    return "" if prompt[-1].isspace() or choice[0].isspace() else " "


def score(model, records):
    rows = []
    for record in records:
        prompt = record.get("prompt") or "Question: " + record["question"] + "\nAnswer:"
        requests = [Instance("loglikelihood", {}, (prompt, between(prompt, c) + c), i)
                    for i, c in enumerate(texts(record))]
        results = model.loglikelihood(requests, disable_tqdm=True)
        task = SimpleNamespace(
            config=SimpleNamespace(process_results=None), OUTPUT_TYPE="multiple_choice",
            _metric_fn_list={"acc": 0, "acc_norm": 0, "acc_bytes": 0}, multiple_input=0,
            multiple_target=0, multiple_inputs=False, multiple_targets=False,
            doc_to_choice=texts, doc_to_target=right)
        scores = ConfigurableTask.process_results(task, record, results)
        rows.append({"record": record, "log_likelihoods": [ll for ll, _ in results],
                     **{k: float(v) for k, v in scores.items()}})
    return rows


def main(path):
    model = HFLM(pretrained=MODEL, device="cpu", dtype="float32", batch_size=1)
    with open(path, "w") as f:
        json.dump({"rows": score(model, RECORDS), "prompts": score(model, PROMPTS)}, f, indent=1)
        f.write("\n")


torch.manual_seed(0)
main(sys.argv[1])
