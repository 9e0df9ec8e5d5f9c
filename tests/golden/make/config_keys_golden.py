"""What transformers makes of a config.json of which one key is changed.

    python tests/golden/make/config_keys_golden.py        (transformers 4.57.6, torch 2.13)

Each key of each config in tests/golden/models/, and each of an object in it ("rope_scaling.factor"), is set to null, a text, a number with a
fraction, a list, true, and removed; so are keys that other models have.  Writes tests/golden/config-keys.tsv, a line for each:
    variant  key  change  outcome
where the outcome is "same" (the logits of the unchanged model), "refused" (it cannot be opened, or lacks weights), or four logits of the last
token of ids.0."""
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
            base = logits(directory, config.get("alibi"), ids)
            paths = [(k,) for k in config if k not in ("transformers_version",)]
            paths += [(k,) for k in OTHERS if k not in config]
            paths += [(k, inner) for k, v in config.items() if isinstance(v, dict) for inner in v]
            for path in paths:
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
                    out.write("\t".join([variant, ".".join(path), name, outcome(changed, weights, ids, base)]) + "\n")
            out.flush()


main()
