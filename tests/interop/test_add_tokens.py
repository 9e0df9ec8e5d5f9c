"""add-tokens: tables as transformers' resize_token_embeddings makes them (rows by their law, all else by value), tokenizers that
transformers opens, and the same logits for a text without new tokens."""
import json
import os
import shutil
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import AddedToken, AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from common import GOLDEN, PICO, check, main, nibble, of_the_day

NEW = ["<call>", "</call>", "\u00e9t\u00e9 \"x\""]
SPECIAL = AddedToken("<sep/>", special=True, lstrip=True)


def put_tokenizer(directory, words):
    """A tokenizer of as many words as the model has, as the library would write it."""
    with open(os.path.join(directory, "tokenizer.json"), "w") as f:
        json.dump({"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                   "pre_tokenizer": None, "post_processor": None, "decoder": None,
                   "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                             "vocab": {f"word{i}": i for i in range(words)}, "merges": []}}, f)
    with open(os.path.join(directory, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast"}, f)


def put_list(path, tokens):
    with open(path, "w") as f:
        json.dump([t if isinstance(t, str) else {"content": t.content, "special": t.special, "lstrip": t.lstrip}
                   for t in tokens], f)


def open_model(kind, directory):
    model, info = kind.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    wrong = info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"]
    return model.eval(), wrong


def rows(name, kind):
    """Every tensor of OUT against the model resized in transformers: old values are equal, new rows as near as two draws
    of the same law are (deviation 3e-5 of the columns')."""
    with tempfile.TemporaryDirectory() as work:
        source = work + "/model"
        shutil.copytree(os.path.join(GOLDEN, name), source, ignore=shutil.ignore_patterns("adapter", "expected*"))
        weights = source + "/model.safetensors"  # in float32, so that rounding hides nothing
        save_file({n: t.float() if t.is_floating_point() else t for n, t in load_file(weights).items()}, weights, {"format": "pt"})
        theirs, wrong = open_model(kind, source)
        before = theirs.get_input_embeddings().weight.shape[0]
        put_tokenizer(source, before)
        put_list(work + "/list.json", NEW)
        nibble("add-tokens", source, work + "/out", "--tokens", work + "/list.json", "--pad-to-multiple-of", 8)
        theirs.resize_token_embeddings(before + len(NEW), pad_to_multiple_of=8)
        ours, also = open_model(kind, work + "/out")
        check(sorted(wrong) == sorted(also), f"{wrong} missing or unused before, {also} after")
        a, b = theirs.state_dict(), ours.state_dict()
        check(a.keys() == b.keys(), f"tensors {a.keys() ^ b.keys()}")
        for n in a:
            check(a[n].shape == b[n].shape, f"{n}: {tuple(b[n].shape)}, transformers {tuple(a[n].shape)}")
            same = before if a[n].shape[:1] == (theirs.get_input_embeddings().weight.shape[0],) else len(a[n])
            check(torch.equal(a[n][:same], b[n][:same]), f"{n}: values changed")
            if same < len(a[n]):
                limit = 4e-4 * a[n][:same].std() + 1e-7
                worst = (a[n] - b[n]).abs().max()
                check(worst <= limit, f"{n}: new rows differ by {worst:.3g}, at most {limit:.3g} allowed")
        size = AutoConfig.from_pretrained(work + "/out").get_text_config().vocab_size
        check(size == theirs.config.get_text_config().vocab_size, f"vocab_size {size}")


def tokenizer():
    """The files of pico's tokenizer, and what both make of a text."""
    texts = ["Where is <call>my order</call>?", "a  <sep/> b", 'un \u00e9t\u00e9 "x" ici', "The price of it"]
    with tempfile.TemporaryDirectory() as work:
        put_list(work + "/list.json", [*NEW, SPECIAL])
        nibble("add-tokens", PICO, work + "/out", "--tokens", work + "/list.json")
        theirs = AutoTokenizer.from_pretrained(PICO)
        theirs.add_tokens(NEW)
        theirs.add_special_tokens({"additional_special_tokens": [SPECIAL]}, replace_additional_special_tokens=False)
        theirs.save_pretrained(work + "/theirs")
        ours = AutoTokenizer.from_pretrained(work + "/out")
        check(len(ours) == len(theirs), f"{len(ours)} tokens, transformers {len(theirs)}")
        for text in texts:
            check(ours(text).input_ids == theirs(text).input_ids, f"{text}: {ours(text).input_ids}")
            check(ours.decode(ours(text).input_ids, skip_special_tokens=True) ==
                  theirs.decode(theirs(text).input_ids, skip_special_tokens=True), f"{text}: decoded otherwise")
        check(ours.all_special_tokens == theirs.all_special_tokens, f"special tokens {ours.all_special_tokens}")
        for file, key in (("tokenizer.json", "added_tokens"), ("tokenizer_config.json", "added_tokens_decoder"),
                          ("tokenizer_config.json", "additional_special_tokens"),
                          ("special_tokens_map.json", "additional_special_tokens")):
            got, want = (json.load(open(os.path.join(d, file)))[key] for d in (work + "/out", work + "/theirs"))
            check(got == want, f"{file}: {key} is {got}, transformers {want}")


def logits(*quantize):
    with tempfile.TemporaryDirectory() as work:
        base = PICO
        if quantize:
            base = work + "/base"
            nibble("quantize", PICO, base, *quantize)
        put_list(work + "/list.json", NEW)
        nibble("add-tokens", base, work + "/out", "--tokens", work + "/list.json")
        before, after = (AutoModelForCausalLM.from_pretrained(d, dtype=torch.float32).eval() for d in (base, work + "/out"))
        tokens = AutoTokenizer.from_pretrained(work + "/out")
        ids = torch.tensor([tokens("Where is my order?").input_ids])
        new = torch.tensor([tokens("<call>").input_ids])
        check(new.tolist() == [[2048]], f"<call> is {new.tolist()}")
        with torch.no_grad():
            a, b = before(ids).logits, after(ids).logits
            check(b.shape[-1] == 2048 + len(NEW), f"{b.shape[-1]} logits")
            worst = (a - b[..., :2048]).abs().max()
            check(worst <= 1e-5, f"logits of old words differ by {worst:.3g}")
            check(torch.isfinite(after(new).logits).all(), "logits of a new token are not finite")
        if not quantize:
            t = load_file(work + "/out/model.safetensors")
            check("lm_head.weight" not in t, "a tied head is written")


MODELS = {"models/llama": AutoModelForCausalLM, "models/gpt2": AutoModelForCausalLM, "models/phi": AutoModelForCausalLM,
          "models/gemma3-wrapped": AutoModelForCausalLM, "encoders/bert-mlm": AutoModelForMaskedLM,
          "encoders/roberta-mlm": AutoModelForMaskedLM, "encoders/albert-mlm": AutoModelForMaskedLM,
          "encoders/modernbert-mlm": AutoModelForMaskedLM, "encoders/distilbert-mlm": AutoModelForMaskedLM,
          "models/gptj": AutoModelForCausalLM}  # not DeBERTa and ESM, whose biases the reference loses

main([("tokenizer", tokenizer), ("logits", logits), ("logits-nf4", lambda: logits("--load-in-4bit"))] +
     [(f"rows-{os.path.basename(n)}", lambda n=n: rows(n, MODELS[n])) for n in of_the_day(MODELS, 4)])
