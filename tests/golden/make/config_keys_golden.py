"""What transformers makes of a config.json of which one key is changed.

    python tests/golden/make/config_keys_golden.py [--values | VARIANT...]       (transformers 4.57.6, torch 2.13)

Each key of each config in tests/golden/models/, and each of an object in it ("rope_scaling.factor"), is set to null, a text, a number with a
fraction, a list, true, and removed; so are keys that other models have.  Writes tests/golden/config-keys.tsv, a line for each outcome:
    variant  key  changes  outcome
where the outcome is "same" (the logits of the unchanged model), "refused" (it cannot be opened, or lacks weights), or four logits of the last
token of ids.0.  With --values: tests/golden/config-values.tsv, the same for single values, whose change is the value as JSON."""
import copy
import json
import os
import sys
import tempfile
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
warnings.simplefilter("ignore")
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()
TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
ABSENT = object()
OTHERS = ["head_dim", "num_key_value_heads", "rope_scaling", "rope_parameters", "rope_theta", "partial_rotary_factor", "sliding_window",
          "layer_types", "attention_bias", "tie_word_embeddings"]
CHANGES = {"null": None, "text": "seven", "fraction": 2.5, "list": [5], "true": True, "removed": ABSENT}


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
VALUES = [("llama", "rope_scaling", value) for value in [
    YARN, {**YARN, "truncate": False}, {**YARN, "beta_fast": 20, "beta_slow": 2}, {**YARN, "attention_factor": 1.5},
    {**YARN, "mscale": 0.7, "mscale_all_dim": 0.5}, {"rope_type": "dynamic", "factor": 2.0}, {"type": "linear", "factor": 4.0},
    {"rope_type": "linear", "factor": None}, {"rope_type": "linear"}, {}, {"type": None}, {"rope_type": "ntk", "factor": 2.0}]]
VALUES += [(v, "layer_types", ["full_attention"] * 2) for v in ("qwen2", "qwen2-window")]
VALUES += [(v, "layer_types", ["sliding_attention"] * 2) for v in ("qwen2", "qwen2-window")]
VALUES += [("qwen2", "layer_types", ["full_attention"]), ("qwen2", "layer_types", ["chunked_attention"] * 2),
           ("llama", "quantization_config", {"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": False}),
           ("llama", "quantization_config", {"bits": 4, "group_size": 64}), ("llama", "num_key_value_heads", 2), ("llama", "vocab_size", 127),
           ("llama", "hidden_act", "gelu"), ("llama", "pretraining_tp", 2), ("llama", "max_position_embeddings", 37)]


def values():
    with open(os.path.join(TOP, "config-values.tsv"), "w") as out:
        for variant, key, value in VALUES:
            directory = os.path.abspath(os.path.join(TOP, "models", variant))
            config = json.load(open(os.path.join(directory, "config.json")))
            ids = load_file(os.path.join(directory, "expected.safetensors"))["ids.0"].long()[None]
            base = logits(directory, False, ids)
            config[key] = value
            out.write("\t".join([variant, key, json.dumps(value), outcome(config, os.path.join(directory, "model.safetensors"), ids, base)]) + "\n")


def logits(directory, alibi, ids):
    """Eager attention, but for Falcon's ALiBi (models.py: attention_of)."""
    model, info = AutoModelForCausalLM.from_pretrained(directory, torch_dtype=torch.float32, output_loading_info=True,
                                                       attn_implementation="sdpa" if alibi else "eager")
    if info["missing_keys"] or info["mismatched_keys"]:
        return None
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits[0]


def outcome(config, weights, ids, base):
    with tempfile.TemporaryDirectory() as directory:
        os.symlink(weights, os.path.join(directory, "model.safetensors"))
        with open(os.path.join(directory, "config.json"), "w") as f:
            json.dump(config, f)
        try:
            z = logits(directory, config.get("alibi"), ids)
        except Exception:
            return "refused"
    if z is None or z.shape != base.shape or not torch.isfinite(z).all():
        return "refused"
    return "same" if (z - base).abs().max() < 1e-5 else " ".join(f"{float(x):.5f}" for x in z[-1][:4])


def main():
    with open(os.path.join(TOP, "config-keys.tsv"), "w") as out:
        for variant in sys.argv[1:] or sorted(os.listdir(os.path.join(TOP, "models"))):
            directory = os.path.abspath(os.path.join(TOP, "models", variant))
            weights = os.path.join(directory, "model.safetensors")
            config = json.load(open(os.path.join(directory, "config.json")))
            ids = load_file(os.path.join(directory, "expected.safetensors"))["ids.0"].long()[None]
            try:
                base = logits(directory, config.get("alibi"), ids)
            except Exception:  # newer than 4.57.6, or inside a model of several media
                continue
            paths = [(k,) for k in config if k not in ("transformers_version", "vision_config")]
            paths += [(k,) for k in OTHERS if k not in config]
            paths += [(k, inner) for k, v in config.items() if isinstance(v, dict) and k != "vision_config" for inner in v]
            for path in paths:
                found = {}
                for name, value in CHANGES.items():
                    changed = copy.deepcopy(config)
                    place = changed if len(path) == 1 else changed[path[0]]
                    if name == "removed":
                        if place.pop(path[-1], ABSENT) is ABSENT:
                            continue
                    elif path[-1] in place and type(value) is type(place[path[-1]]) and (value is None or value is True):
                        continue
                    else:
                        place[path[-1]] = value
                    found.setdefault(outcome(changed, weights, ids, base), []).append(name)
                for result, names in found.items():
                    out.write("\t".join([variant, ".".join(path), ",".join(names), result]) + "\n")
            out.flush()


values() if "--values" in sys.argv else main()
