"""Where special tokens stand, and what transformers makes of it.

    python tests/golden/make/special_golden.py        (transformers 4.57.6, tokenizers 0.22.2)

Writes tests/golden/special/base-N.json, small tokenizer.json files, and tests/golden/special/cases.jsonl, a case a
line: {"name", "base": N, "files": {"tokenizer_config.json": {...}, ...}} and either "refused": true or "ids" of each
of the texts (of the first line) with special tokens, "plain" without, "decoded" of ids with special ones left out, the ids "bos", "eos",
"unk", "pad" (null: none), "map", which is what chat templates see, and "tidy", whether decoding cleans up.  The test writes each case's files beside its tokenizer.json and opens the directory."""
import copy
import json
import os
import random
import shutil
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers as P, processors, trainers
from transformers import AutoTokenizer

TOP = os.path.normpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
OUT = os.path.join(TOP, "tests", "golden", "special")
TEXTS = ["", "hello world", " two", "<s>hello</s>", "a <|im_start|> b<|im_end|>", "x <|endoftext|>", "<mask> y  <mask>", "▁<PRE>z"]
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<mask>", "<new>"]
KEYS = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]
CLASSES = ["PreTrainedTokenizerFast", "LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "GemmaTokenizerFast", "CohereTokenizerFast",
           "GPTNeoXTokenizer", "GPT2Tokenizer", "Qwen2TokenizerFast", "BloomTokenizerFast", "CodeGenTokenizerFast", "WhisperTokenizer",
           "RobertaTokenizerFast", "LongformerTokenizer"]


def base(known, post, pre):
    """known: how many of SPECIAL are added; the further ones are words of the vocabulary or nothing."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer, t.decoder = pre, decoders.ByteLevel()
    t.train_from_iterator(["hello world two hello </s> <s>"], trainers.BpeTrainer(vocab_size=300, initial_alphabet=sorted(P.ByteLevel.alphabet()),
                          special_tokens=SPECIAL[:known], show_progress=False))
    t.add_tokens([AddedToken("FOO", lstrip=True)])
    if post:
        t.post_processor = post
    return json.loads(t.to_str())


BASES = [base(9, None, P.ByteLevel(add_prefix_space=False)),
         base(4, processors.TemplateProcessing(single="<s> $A </s>", pair="$A $B", special_tokens=[("<s>", 1), ("</s>", 2)]),
              P.Sequence([P.Digits(individual_digits=True), P.ByteLevel(add_prefix_space=False)])),
         base(0, processors.ByteLevel(trim_offsets=True), P.ByteLevel(add_prefix_space=True)),
         base(10, processors.RobertaProcessing(("</s>", 2), ("<s>", 1)), P.ByteLevel(add_prefix_space=True))]
BASES[2]["padding"] = {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_id": 3, "pad_type_id": 0,
                       "pad_token": "<pad>"}
CONFIG = {"model_type": "llama", "eos_token_id": 2}


def token(rng, content, typed):
    d = {"content": content, "lstrip": rng.random() < .3, "rstrip": rng.random() < .2, "normalized": rng.random() < .3, "single_word": rng.random() < .1}
    if rng.random() < .5:
        d["special"] = rng.random() < .8
    if rng.random() < .3:
        del d["normalized"]
    return {"__type": "AddedToken", **d} if typed else d


def some_files(rng):
    """What people's directories hold, in every mixture."""
    config, special_map, added, model = {}, {}, {}, dict(CONFIG)
    if rng.random() < .8:
        config["tokenizer_class"] = rng.choice(CLASSES)
    if rng.random() < .5:
        model["model_type"] = rng.choice(["llama", "qwen2", "falcon", "gptj", "mistral", "gpt_neox", "gemma"])
    for key in KEYS:
        r = rng.random()
        if r < .35:
            config[key] = rng.choice(SPECIAL)
        elif r < .42:
            config[key] = None
        elif r < .5:
            config[key] = token(rng, rng.choice(SPECIAL), True)
        elif r < .6:
            special_map[key] = rng.choice(SPECIAL)
        elif r < .7:
            special_map[key] = token(rng, rng.choice(SPECIAL), False)
        elif r < .72:
            special_map[key] = None
    if rng.random() < .4:
        config["additional_special_tokens"] = rng.sample(SPECIAL, rng.randint(0, 3))
    if rng.random() < .3:
        special_map["additional_special_tokens"] = [rng.choice([c, token(rng, c, False)]) for c in rng.sample(SPECIAL, rng.randint(0, 3))]
    for key in ["add_bos_token", "add_eos_token", "add_prefix_space", "split_special_tokens", "trim_offsets"]:
        if rng.random() < (.3 if key.startswith("add_") else .1):
            config[key] = rng.choice([True, False, None])
    if rng.random() < .4:
        config["added_tokens_decoder"] = {str(rng.choice([i, 280 + i, 300 + i])): token(rng, c, False)
                                          for i, c in enumerate(SPECIAL) if rng.random() < .6}
    if rng.random() < .2:
        added = {c: 300 + i for i, c in enumerate(SPECIAL) if rng.random() < .3}
    if rng.random() < .1:
        config["extra_special_tokens"] = {"image_token": rng.choice(SPECIAL)}
    files = {"config.json": model, "tokenizer_config.json": config, "special_tokens_map.json": special_map, "added_tokens.json": added}
    return {name: data for name, data in files.items() if data}


def fixed():
    """Every key of a config set to null, a wrong type, another name, and removed; every token in each place."""
    full = {"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>",
            "add_bos_token": True, "add_eos_token": False, "legacy": True, "additional_special_tokens": ["<new>"],
            "model_max_length": 512, "clean_up_tokenization_spaces": True, "added_tokens_decoder":
            {"1": {"content": "<s>", "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}}}
    for key in full:
        for what, value in [("null", None), ("type", [5]), ("number", 7)]:
            yield f"{key} {what}", 1, {"config.json": CONFIG, "tokenizer_config.json": {**full, key: value}}
        rest = {k: v for k, v in full.items() if k != key}
        yield f"{key} removed", 1, {"config.json": CONFIG, "tokenizer_config.json": rest}
        yield f"{key} renamed", 1, {"config.json": CONFIG, "tokenizer_config.json": {**rest, "x_" + key: full[key]}}
    for b in range(len(BASES)):
        yield "clean_up in special_tokens_map.json", b, {"config.json": CONFIG, "special_tokens_map.json": {"clean_up_tokenization_spaces": True}}
        for key in KEYS if b % 2 else KEYS[:2]:
            for file in ["tokenizer_config.json", "special_tokens_map.json"]:
                yield f"{key} in {file}", b, {"config.json": CONFIG, "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"},
                                              **({file: {key: "<new>"}} if file[0] == "s" else
                                                 {file: {"tokenizer_class": "PreTrainedTokenizerFast", key: "<new>"}})}
        for c in CLASSES[b % 2::2] if b < 2 else CLASSES[b - 2::4]:
            yield f"class {c}", b, {"config.json": CONFIG, "tokenizer_config.json": {"tokenizer_class": c}}
            yield f"class {c} in config.json", b, {"config.json": {**CONFIG, "tokenizer_class": c}}
            yield f"class {c}, no bos", b, {"config.json": CONFIG, "tokenizer_config.json": {"tokenizer_class": c, "bos_token": None}}
            yield f"class {c}, prefix", b, {"config.json": CONFIG, "tokenizer_config.json": {"tokenizer_class": c, "add_prefix_space": "Llama" not in c or None}}
        for m in ["llama", "mistral", "qwen2", "falcon", "gptj", "gpt_neox", "gemma", "gpt2", "bloom", "cohere", "codegen", "phi"][b::4]:
            yield f"model {m}", b, {"config.json": {"model_type": m}}


def answer(directory):
    try:
        t = AutoTokenizer.from_pretrained(directory)
        ids = [t(text)["input_ids"] for text in TEXTS]
    except Exception:
        return {"refused": True}
    plain = [t(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    decoded = [t.decode(i, skip_special_tokens=True, clean_up_tokenization_spaces=False) for i in ids]
    return {"ids": ids, "plain": plain, "decoded": decoded, "bos": t.bos_token_id, "eos": t.eos_token_id, "unk": t.unk_token_id, "pad": t.pad_token_id,
            "map": t.special_tokens_map, "tidy": bool(t.clean_up_tokenization_spaces)}


def main():
    count, seed = int(sys.argv[1]) if len(sys.argv) > 1 else 120, int(sys.argv[2]) if len(sys.argv) > 2 else 1
    out = sys.argv[3] if len(sys.argv) > 3 else OUT
    rng = random.Random(seed)
    os.makedirs(out, exist_ok=True)
    for i, b in enumerate(BASES):
        with open(os.path.join(out, f"base-{i}.json"), "w") as f:
            json.dump(b, f, ensure_ascii=False)
    cases = list(fixed()) if seed == 1 else []
    cases += [(f"mixture {i}", rng.randrange(len(BASES)), some_files(rng)) for i in range(count)]
    with open(os.path.join(out, "cases.jsonl"), "w") as f:
        f.write(json.dumps({"texts": TEXTS}, ensure_ascii=False) + "\n")
        for name, b, files in cases:
            with tempfile.TemporaryDirectory() as directory:
                for file, data in {"tokenizer.json": BASES[b], **files}.items():
                    with open(os.path.join(directory, file), "w") as g:
                        json.dump(data, g, ensure_ascii=False)
                result = answer(directory)
            f.write(json.dumps({"name": name, "base": b, "files": files, **result}, ensure_ascii=False, separators=(",", ":")) + "\n")


main()
