"""Greedy continuations by transformers, in float32: the constants of tests/generate/test_generate.c."""
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("models/pico")
model = AutoModelForCausalLM.from_pretrained("models/pico", dtype=torch.float32)
for prompt, penalty, most in [("Once upon a time", 1.0, 100), ("The cat is", 1.0, 30), ("Once upon a time", 1.3, 30)]:
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
                          max_new_tokens=most, repetition_penalty=penalty)[0, ids.shape[1]:]
    print(prompt, penalty, ids.shape[1], len(made), repr(tokenizer.decode(made, skip_special_tokens=True)))
