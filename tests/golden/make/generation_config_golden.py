"""Writes tests/golden/generate/configs.json: greedy continuations by transformers (float32, models/pico) under many
generation_config.json; `text` null: the prompt is refused."""
import json
import os

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

BASE = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 3, "do_sample": False}
CASES = [
    ("Once upon a time", {"suppress_tokens": list(range(200, 2000))}),
    ("Once upon a time", {"begin_suppress_tokens": [15, 12, 263, 264]}),
    ("Once upon a time", {"bad_words_ids": [[i] for i in range(200, 600)]}),
    ("Once upon a time", {"bad_words_ids": "pairs"}),
    ("Once upon a time", {"bad_words_ids": [[0], [300, 301]]}),
    ("The cat is", {"min_new_tokens": 60, "max_new_tokens": 70}),
    ("The cat is", {"min_length": 40, "max_new_tokens": 50}),
    ("The cat is", {"min_length": 90, "min_new_tokens": 5, "max_new_tokens": 50}),
    ("The cat is", {"min_length": None, "min_new_tokens": None, "max_new_tokens": 50}),
    ("Once upon a time", {"max_length": 20}), ("Once upon a time", {"max_length": 30}),
    ("Once upon a time", {"max_length": 30, "max_new_tokens": 40}), ("Once upon a time", {"max_length": 4}),
    ("Once upon a time", {"max_length": 30, "max_new_tokens": None}),
    ("Once upon a time", {"forced_eos_token_id": 0, "max_new_tokens": 10}),
    ("Once upon a time", {"forced_eos_token_id": [40, 41], "max_new_tokens": 10}),
    ("Once upon a time", {"exponential_decay_length_penalty": [3, 1.5], "max_new_tokens": 60}),
    ("Once upon a time", {"exponential_decay_length_penalty": [10, 1.05], "max_new_tokens": 80}),
    ("Once upon a time", {"no_repeat_ngram_size": 2, "max_new_tokens": 60}),
    ("Once upon a time", {"no_repeat_ngram_size": 1, "max_new_tokens": 40}),
    ("Once upon a time", {"no_repeat_ngram_size": 3, "repetition_penalty": 1.1, "suppress_tokens": [-1, 12], "max_new_tokens": 60}),
    ("Once upon a time", {"stop_strings": ["."]}), ("Once upon a time", {"stop_strings": "Coco woke", "max_new_tokens": 60}),
    ("Once upon a time", {"stop_strings": ["e,", "zzz"], "max_new_tokens": 60}),
    ("Once upon a time", {"stop_strings": ["ad tw", "iends"], "max_new_tokens": 60}),
    ("A", {"forced_bos_token_id": 300, "max_new_tokens": 12}), ("Once upon a time", {"forced_bos_token_id": 300, "max_new_tokens": 12}),
    ("A", {"forced_bos_token_id": 300, "begin_suppress_tokens": list(range(250, 420)), "max_new_tokens": 12}),
    ("Once upon a time", {"temperature": None, "top_k": None, "top_p": None, "min_p": None, "typical_p": None, "repetition_penalty": None,
                          "max_new_tokens": 20}),
    ("Once upon a time", {"guidance_scale": None, "watermarking_config": None, "encoder_repetition_penalty": 1.0, "num_beams": 1,
                          "sequence_bias": None, "penalty_alpha": None, "max_new_tokens": 20}),
    ("Once upon a time", {"renormalize_logits": True, "use_cache": False, "length_penalty": 2.0, "max_new_tokens": 20}),
]

if __name__ == "__main__":
    top = os.path.join(os.path.dirname(__file__), "..", "..", "..")
    tokenizer = AutoTokenizer.from_pretrained(f"{top}/models/pico")
    model = AutoModelForCausalLM.from_pretrained(f"{top}/models/pico", dtype=torch.float32)
    out = []
    for prompt, more in CASES:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        if more.get("bad_words_ids") == "pairs":  # pairs and triples of what would come
            model.generation_config = GenerationConfig(**BASE)
            made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=60)[0].tolist()
            more["bad_words_ids"] = [made[3:5], made[10:13], made[20:22], made[40:43]]
        config = {**BASE, **more}
        model.generation_config = GenerationConfig(**config)
        model.generation_config._from_model_config = False
        length = {} if "max_new_tokens" in more or "max_length" in more else {"max_new_tokens": 256}  # nibble's default
        try:
            made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), tokenizer=tokenizer, **length)[0, ids.shape[1]:]
            text, count = tokenizer.decode(made, skip_special_tokens=True), len(made)
        except ValueError as e:
            print(prompt, more, e)
            text, count = None, 0
        out.append({"prompt": prompt, "config": config, "text": text, "new_tokens": count})
    path = f"{top}/tests/golden/generate"
    os.makedirs(path, exist_ok=True)
    with open(f"{path}/configs.json", "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in out) + "\n]\n")
