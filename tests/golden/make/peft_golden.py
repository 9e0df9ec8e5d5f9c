"""Makes tests/golden/adapter/: configs saved by PEFT 0.21.2, and its answers to module matching.

Run from the top of the repository: python3 tests/golden/make/peft_golden.py
matching.tsv has one line a question: case, name, answer; its cases are those of test_peft_match.c.
"""
import json
import os
import tempfile
from peft import LoraConfig
from peft.tuners.tuners_utils import _find_minimal_target_modules, check_target_module_exists
from peft.utils.other import get_pattern_key

OUT = "tests/golden/adapter"
os.makedirs(OUT, exist_ok=True)

CONFIGS = {
    "plain": dict(r=16, lora_alpha=32, lora_dropout=0.05, target_modules=["q_proj"], task_type="CAUSAL_LM",
                  base_model_name_or_path="org/modèle", inference_mode=True),
    "full": dict(r=4, lora_alpha=1.5, lora_dropout=1e-05, use_rslora=True, target_modules=["v_proj"],
                 exclude_modules=r".*\.0\..*", bias="lora_only", modules_to_save=["lm_head", "embed_tokens"],
                 rank_pattern={"z_proj": 3, "^a.q_proj": 2}, alpha_pattern={"q": 5, "b": 0.5},
                 layers_to_transform=[1, 3], layers_pattern=["layers"], init_lora_weights="gaussian",
                 fan_in_fan_out=True, revision="main", inference_mode=True, task_type="CAUSAL_LM"),
    "regex": dict(target_modules=r"model\..*\.(q|v)_proj", init_lora_weights=False, inference_mode=True),
}
for name, kw in CONFIGS.items():
    with tempfile.TemporaryDirectory() as tmp:
        LoraConfig(**kw).save_pretrained(tmp)
        text = open(f"{tmp}/adapter_config.json").read()
    # A single-element set keeps its order; longer lists were given as lists where PEFT keeps them.
    open(f"{OUT}/config-{name}.json", "w").write(text)

NAMES = [f"model.layers.{i}.{m}" for i in (0, 1, 2, 11) for m in
         ("self_attn.q_proj", "self_attn.v_proj", "self_attn.xq_proj", "mlp.down_proj", "mlp.experts.1.up_proj")]
NAMES += ["lm_head", "q_proj", "transformer.h.3.attn.c_attn", "score", "a.score.dense", "model.embed_tokens",
          "layers.1.q_proj", "model.layers.1", "x.model.layers.1.q_proj"]
CASES = {
    "suffix": dict(target_modules=["q_proj", "attn.v_proj"]),
    "dotted": dict(target_modules=["self_attn.v_proj", "lm_head", "1.q_proj"]),
    "regex": dict(target_modules=r".*\.(q|v)_proj|lm_head"),
    "alternatives": dict(target_modules=r"model\.layers\.\d+\.mlp\.(?!down).*"),
    "exclude-list": dict(target_modules=["q_proj", "v_proj"], exclude_modules=["0.self_attn.q_proj", "q_proj"]),
    "exclude-regex": dict(target_modules=["q_proj", "v_proj"], exclude_modules=r"model\.layers\.1.*"),
    "saved": dict(target_modules=["q_proj", "score", "dense", "lm_head"], modules_to_save=["score", "layers.1"]),
    "layers-list": dict(target_modules=["q_proj", "up_proj"], layers_to_transform=[1, 11]),
    "layers-one": dict(target_modules=["q_proj", "up_proj"], layers_to_transform=1),
    "layers-pattern": dict(target_modules=["q_proj", "up_proj", "c_attn"], layers_to_transform=[1, 3],
                           layers_pattern=["h", "layers"]),
    "layers-experts": dict(target_modules=["up_proj"], layers_to_transform=[1], layers_pattern="experts"),
}
with open(f"{OUT}/matching.tsv", "w") as f:
    for case, kw in CASES.items():
        cfg = LoraConfig(**kw)
        for name in NAMES:
            f.write(f"{case}\t{name}\t{int(bool(check_target_module_exists(cfg, name)))}\n")
    ranks = {"q_proj": 1, "^model.layers.1.*": 2, r".*\.v_proj": 3, "0.mlp.down_proj": 4, "o|proj": 5}
    for name in NAMES:
        f.write(f"rank\t{name}\t{ranks.get(get_pattern_key(list(ranks), name), 99)}\n")

with open(f"{OUT}/condense.tsv", "w") as f:
    names = [f"model.layers.{i}.self_attn.{m}" for i in range(12) for m in ("q_proj", "k_proj", "v_proj")] + ["lm_head", "model.norm"]
    for case, out in (("all", set()), ("hole", {"model.layers.3.self_attn.v_proj"}),
                      ("eleven", {"model.layers.1.self_attn.q_proj", "model.layers.11.self_attn.v_proj"})):
        targets = [n for n in names if n.endswith(("q_proj", "v_proj")) and n not in out]
        others = [n for n in names if n not in targets]
        new = _find_minimal_target_modules(targets, others)
        # inject_adapter() keeps the paths when the suffixes are not fewer.
        for s in sorted(new) if len(new) < len(targets) else targets:
            f.write(f"{case}\t{s}\n")
