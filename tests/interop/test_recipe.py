"""The table of keys against the installed libraries: every field of LoraConfig, BitsAndBytesConfig, TrainingArguments and
SFTConfig is in it, and the committed list of fields is still theirs.  The recipes from end to end on small random models
of their families: the loss falls, and a run that was killed ends with the same bytes."""
import json
import os
import shutil
import signal
import subprocess
import tempfile

from common import GOLDEN, NIBBLE, TOP, check, main, nibble, of_the_day


def keys():
    done = subprocess.run([NIBBLE, "finetune", "--keys"], stdout=subprocess.PIPE, check=True)
    return {line.split("\t")[0]: line.split("\t") for line in done.stdout.decode().splitlines()}


def every_field_is_known():
    import recipe_fields
    known = keys()
    missing = [line for line in recipe_fields.lines() if line.split("\t")[1] not in known]
    check(not missing, f"not in the table: {missing}")


def fields_are_as_committed():
    import recipe_fields
    with open(f"{GOLDEN}/recipes/fields.txt") as f:
        committed = f.read().splitlines()
    live = list(recipe_fields.lines())
    check(committed == live, f"only committed: {sorted(set(committed) - set(live))}, only live: {sorted(set(live) - set(committed))}")


def help_lists_what_is_used():
    text = nibble("finetune", "--help", "all")
    for name, (_, _, use, _) in keys().items():
        listed = f"--{name.replace('_', '-')} " in text
        check(listed == (use == "used"), f"{name} is {use} and {'' if listed else 'not '}in --help")


def command_line():
    """Exit codes, and what wins: key=value over options over the file."""
    def status(*arguments):
        more = ["--verbose"] if "--dry-run" in arguments else []
        done = subprocess.run([NIBBLE, "finetune", *arguments, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=TOP)
        return done.returncode, done.stderr.decode()

    with tempfile.TemporaryDirectory() as work:
        path = f"{work}/r.yaml"
        with open(path, "w") as f:
            f.write("model_name_or_path: models/pico\ndata: models/shop.jsonl\nmax_steps: 3\nlearning_rate: 1e-3\nfp16: yes\n")
        bad = f"{work}/bad.yaml"
        with open(bad, "w") as f:
            f.write("r: 8\nlora_alpa: 16\n")
        for arguments, code, says in [
                ((bad,), 1, "bad.yaml:2:1: unknown key 'lora_alpa'; the nearest is lora_alpha"),
                ((f"{work}/none.yaml",), 1, "No such file"),
                ((path, "lora_alpa=16"), 2, "the nearest is lora_alpha"),
                ((path, "--lora-alpa", "16"), 2, "the nearest is --lora-alpha"),
                ((path, "r=many", "output_dir=x"), 2, "'many' is not a whole number"),
                ((path, "use_qalora=true", "output_dir=x"), 1, "it would change numbers"),
                ((path,), 2, "missing key output_dir"),
                ((path, "other"), 2, "unexpected argument 'other'"),
                ((), 2, "missing argument MODEL or RECIPE"),
                (("models/pico", "--dry-run"), 2, "missing option --data"),
                ((path, "--dry-run", "--tf32"), 0, "without effect here: tf32"),
                ((path, "--dry-run", "--learning-rate", "1e-4", "--max_steps=4", "max-steps=5", "--bf16"), 0,
                 ["learning_rate 0.0001", "5 steps", "compute_dtype bfloat16", "fp16 asks for float16"]),
                (("models/pico", "--data", "models/shop.jsonl", "--dry-run", "target_modules=[q_proj, v_proj]"), 0, '["q_proj", "v_proj"]')]:
            got, text = status(*arguments)
            check(got == code, f"{arguments}: exit {got}, expected {code}: {text[:300]}")
            for part in [says] if isinstance(says, str) else says:
                check(part in text, f"{arguments}: '{part}' is not in {text[:2000]}")


def pack_experts(where):
    """The experts of a dense gpt_oss as published ones are stored."""
    import sys
    from safetensors.torch import load_file, save_file
    sys.path.insert(0, f"{GOLDEN}/make")
    from mxfp4_golden import QUANTIZATION, pack
    tensors = load_file(f"{where}/model.safetensors")
    for name in [n for n in tensors if n.endswith(("gate_up_proj", "down_proj"))]:
        tensors[name + "_blocks"], tensors[name + "_scales"] = (t.contiguous() for t in pack(tensors.pop(name)))
    save_file(tensors, f"{where}/model.safetensors", {"format": "pt"})
    with open(f"{where}/config.json") as f:
        config = json.load(f)
    with open(f"{where}/config.json", "w") as f:
        json.dump(config | {"quantization_config": QUANTIZATION}, f)


def make_model(kind, tokenizer, eos, where):
    """A random model with a small tokenizer of tests/golden/text."""
    import torch
    import transformers
    small = {"vocab_size": 1024, "initializer_range": 0.05}
    config = {
        "gptj": lambda: transformers.GPTJConfig(n_embd=64, n_head=4, n_layer=2, rotary_dim=8, n_positions=512, **small),
        "falcon": lambda: transformers.FalconConfig(hidden_size=64, num_attention_heads=4, num_hidden_layers=2, new_decoder_architecture=False,
                                                    multi_query=True, parallel_attn=True, bias=False, alibi=False, **small),
        "neox": lambda: transformers.GPTNeoXConfig(hidden_size=64, intermediate_size=128, num_attention_heads=4, num_hidden_layers=2, **small),
        "qwen3": lambda: transformers.Qwen3Config(hidden_size=64, intermediate_size=128, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
                                                  num_hidden_layers=2, **small),
        "gemma3": lambda: transformers.Gemma3TextConfig(hidden_size=64, intermediate_size=128, num_attention_heads=4, num_key_value_heads=1,
                                                        head_dim=16, num_hidden_layers=2, sliding_window=32, **small),
        "gpt_oss": lambda: transformers.GptOssConfig(hidden_size=64, intermediate_size=64, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
                                                     num_hidden_layers=2, num_local_experts=4, num_experts_per_tok=2, **small),
        "llama": lambda: transformers.LlamaConfig(hidden_size=64, intermediate_size=128, num_attention_heads=4, num_key_value_heads=2,
                                                  num_hidden_layers=2, **small),
        "bert": lambda: transformers.BertConfig(hidden_size=64, intermediate_size=128, num_attention_heads=4, num_hidden_layers=2,
                                                **small | {"initializer_range": 0.2}),
    }[kind]()
    torch.manual_seed(1)
    auto = transformers.AutoModelForMaskedLM if kind == "bert" else transformers.AutoModelForCausalLM
    auto.from_config(config).save_pretrained(where)
    if kind == "gpt_oss":
        pack_experts(where)
    shutil.copy(f"{GOLDEN}/text/{tokenizer}/tokenizer.json", where)
    shutil.copy(f"{GOLDEN}/recipes/chat_template.jinja", where)
    with open(f"{where}/tokenizer_config.json", "w") as f:
        json.dump({"eos_token": eos, "tokenizer_class": "PreTrainedTokenizerFast"}, f)


def run(recipe, out, *more, kill_after=None):
    """The losses of a run; with kill_after it is killed when that step was reported."""
    command = [NIBBLE, "finetune", recipe, f"output_dir={out}", "defaults=peft", *more, "--json"]
    losses = []
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=TOP)
    for line in p.stdout:
        entry = json.loads(line)
        if "loss" in entry:
            losses.append(entry["loss"])
        if kill_after and entry.get("step") == kill_after:
            p.send_signal(signal.SIGKILL)
            break
    error = p.communicate()[1].decode(errors="replace")
    if not kill_after:
        check(p.returncode == 0, f"{' '.join(command)}: exit {p.returncode}: {error[-1000:]}")
    return losses


def read(path):
    with open(path, "rb") as f:
        return f.read()


def recipes_from_end_to_end():
    cases = [("gptj-quotes", "gptj", "gpt2", "<|endoftext|>", []), ("falcon-faq", "falcon", "falcon", "<|endoftext|>", []),
             ("llama2-python", "llama", "llama2", "</s>", ["r=8", "num_train_epochs=5"]),
             ("smollm2-chat", "llama", "smollm", "<|im_end|>", []), ("neox-quotes", "neox", "gpt2", "<|endoftext|>", []),
             ("qwen3-chat", "qwen3", "smollm", "<|im_end|>", []), ("gemma3-sort", "gemma3", "gpt2", "<|endoftext|>", []),
             ("gpt-oss-20b", "gpt_oss", "smollm", "<|im_end|>", []),
             ("bert-classify", "bert", "../tokenizers/bert-uncased", None, ["eval_strategy=steps", "eval_steps=2", "num_train_epochs=4", "learning_rate=5e-3"])]
    for name, kind, tokenizer, eos, more in of_the_day(cases, 2):
        with tempfile.TemporaryDirectory() as work:
            model, recipe = f"{work}/model", f"{TOP}/recipes/{name}.yaml"
            make_model(kind, tokenizer, eos, model)
            # A random model has nothing to keep, so it takes a large rate.
            more = [f"model_name_or_path={model}", "learning_rate=2e-2", "logging_steps=1", "save_strategy=steps", "save_steps=2", *more]
            losses = run(recipe, f"{work}/whole", *more)
            check(len(losses) >= 10, f"{name}: {len(losses)} steps")
            first, last = sum(losses[:3]) / 3, sum(losses[-3:]) / 3
            check(last < first - 0.1, f"{name}: the loss went from {first:.3f} to {last:.3f}")
            run(recipe, f"{work}/killed", *more, kill_after=5)
            check(os.path.isdir(f"{work}/killed/checkpoint-4"), f"{name}: no checkpoint of step 4")
            losses = run(recipe, f"{work}/killed", *more)
            adapter = "adapter_model.safetensors"
            check(read(f"{work}/whole/{adapter}") == read(f"{work}/killed/{adapter}"), f"{name}: the killed run ended with other bytes")
            run(f"{work}/whole/recipe.yaml", f"{work}/again")
            check(read(f"{work}/whole/{adapter}") == read(f"{work}/again/{adapter}"), f"{name}: recipe.yaml gave other bytes")


TESTS = [("command line", command_line), ("recipes from end to end", recipes_from_end_to_end), ("every field is known", every_field_is_known), ("fields are as committed", fields_are_as_committed),
         ("help lists what is used", help_lists_what_is_used)]

if __name__ == "__main__":
    main(TESTS)
