"""Where TRL begins to train when a prompt ends at each character of a text.

    python tests/golden/make/boundary_golden.py        (trl 1.16.0, transformers 4.57.6)

Writes tests/golden/train/boundary.json: the texts, and for each style of tests/golden/text and each text a
list of [bytes of the prompt, tokens that are not trained, whether the prompt ends inside a token]."""
import json
import os
from transformers import PreTrainedTokenizerFast
from trl.data_utils import common_prefix_length

TOP = os.path.normpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
TEXT = os.path.join(TOP, "tests", "golden", "text")
TEXTS = [
    "Review: great film\nSentiment: positive",
    "def f(x):\n    return x  # the  end\n\n\nprint(f(12345))",
    "The library's options aren't \t written down; 1,234.5 % of users' time   ",
    "你好 世界, мир e\u0301te\u0301 👩‍👩‍👧 ok",
    "FOO bar FOO<|endoftext|> next<|im_end|>\nthe tokenizer",
]

styles = {}
for style in sorted(os.listdir(TEXT)):
    path = os.path.join(TEXT, style, "tokenizer.json")
    if not os.path.exists(path):
        continue
    # as the file has it: without a tokenizer_config.json the class would set it to False
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=path, add_prefix_space=style == "gpt2-prefix")
    styles[style] = []
    for text in TEXTS:
        whole, rows = tokenizer(text)["input_ids"], []
        for i in range(1, len(text)):
            prompt = tokenizer(text[:i])["input_ids"]
            same = common_prefix_length(prompt, whole)
            rows.append([len(text[:i].encode()), same, int(same < len(prompt))])
        styles[style].append(rows)
with open(os.path.join(TOP, "tests", "golden", "train", "boundary.json"), "w", encoding="utf-8") as f:
    f.write('{"texts": ' + json.dumps(TEXTS) + ',\n"styles": {\n')
    f.write(",\n".join(f'"{k}": {json.dumps(v, separators=(",", ":"))}' for k, v in styles.items()) + "}}\n")
