"""Every variant of tests/golden/make/models.py in a second shape (second_shapes.py), made on the spot, against live transformers
and PEFT: logits and loss dense, with PEFT's adapter, and both on an NF4 base; the gradient of every LoRA matrix; an adapter
of nibble's in PEFT; a greedy text.  Twelve of them a day, --all for all.

Variants that transformers 4 lacks or computes otherwise run in an environment with transformers 5."""
import os
import tempfile
import warnings

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig

from common import WithTransformers5, check, check_logits, evaluate, json_lines, main, nibble, of_the_day, write_ids
from models import VARIANTS, VARIANTS_4, VARIANTS_5, attention_of, class_of, generator, round_nf4, run, with_lora, write_model
from second_shapes import VOCABULARY, shape

NF4 = ("--load-in-4bit", "--bnb-4bit-quant-type", "nf4")
FLOAT32 = ("--compute-dtype", "float32")
NEW_TOKENS = 24  # after 5: less than where a rope changes with the length


def sequences():
    rng = torch.Generator().manual_seed(2)
    out = []
    for length in (5, 17, 61, 200):  # growing: where the rope grows with the text, transformers does not go back
        ids = torch.randint(0, VOCABULARY, (length,), generator=rng)
        labels = ids.clone()
        labels[1 + length // 4: length // 3] = -100
        out.append((ids, labels))
    return out


def base(directory, nf4=False):
    config = AutoConfig.from_pretrained(directory)
    model = class_of(config).from_pretrained(directory, dtype=torch.float32, attn_implementation=attention_of(config)).eval()
    if nf4:
        round_nf4(model)
    return model


def compare(directory, model, path, what, *more):
    with torch.no_grad():
        want, loss = run(model, *zip(*sequences()))
    got, ours = evaluate(directory, path, *more)
    check_logits(got, want, 1e-4 * max(1, *(float(z.abs().max()) for z in want)), what)
    check(abs(ours - float(loss)) <= 1e-5, f"{what}: loss {ours}, expected {float(loss)}")


def gradients(directory, adapter, model, path, out, what, *more):
    """nibble's are the mean of the gradients after one step of AdamW with beta 0."""
    run(model, *zip(*sequences()))[1].backward()
    nibble("finetune", directory, "--adapter", adapter, "--data", path, "--output-dir", out, *FLOAT32, "--max-steps", 1,
           "--save-steps", 1, "--max-grad-norm", 0, "--adam-beta1", 0, *more)
    got = load_file(os.path.join(out, "checkpoint-1", "optimizer.safetensors"))
    count = 0
    for name, p in model.named_parameters():
        if p.requires_grad:
            g = got[name.replace(".default", "") + ".exp_avg"]
            want = torch.zeros_like(p) if p.grad is None else p.grad  # of an expert that no token chose
            worst, most = (float(x.abs().max()) for x in (g - want, want))
            check(worst <= 1e-3 * most + 1e-9, f"{what}: gradient of {name} differs by {worst:.3g}, its greatest is {most:.3g}")
            count += 1
    check(2 * count == len(got), f"{what}: {count} gradients, nibble has {len(got) // 2}")


def to_peft(directory, path, out):
    """A new adapter of nibble's after a few steps, in PEFT without a key missing."""
    nibble("finetune", directory, "--data", path, "--output-dir", out, *FLOAT32, "--max-steps", 3, "--learning-rate", "1e-2",
           "--per-device-train-batch-size", 2, "--target-modules", "all-linear")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing adapter keys.*")
        model = PeftModel.from_pretrained(base(directory), out).eval()
    check(all(bool(p.any()) for n, p in model.named_parameters() if "lora_B" in n and "experts." not in n), "an idle adapter")
    compare(directory, model, path, "nibble's adapter", "--adapter", out)


def write_tokenizer(directory):
    """Of the words w0, w1, ...: the ids are in the text.  Its class adds nothing, as that of the family might."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    tokenizer = Tokenizer(models.WordPiece({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.save(os.path.join(directory, "tokenizer.json"))
    with open(os.path.join(directory, "tokenizer_config.json"), "w") as f:
        f.write('{"tokenizer_class": "PreTrainedTokenizerFast"}')


def greedy(directory, model, *more):
    """Every token of nibble's is the likeliest of one pass over the text; where two are as likely, either."""
    prompt = sequences()[0][0].tolist()
    line = json_lines(nibble("generate", directory, "--prompt", " ".join(f"w{i}" for i in prompt), "--max-new-tokens", NEW_TOKENS,
                             "--json", *FLOAT32, "--float32-matmul-precision", "highest", *more))[-1]
    new = [int(word[1:]) for word in line["completion"].split()]
    with torch.no_grad():
        z = model(input_ids=torch.tensor([prompt + new])).logits[0].float()[len(prompt) - 1:]
    for i, token in enumerate(new):
        least = float(z[i].max()) - 1e-4
        check(float(z[i][token]) >= least, f"new token {i} is {token}, {int(z[i].argmax())} is likelier: {line['completion']}")
    ends = model.config.get_text_config().eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    check(len(new) == NEW_TOKENS or int(z[-1].argmax()) in ends, f"{len(new)} new tokens: {line}")


def variant(name):
    with tempfile.TemporaryDirectory() as work:
        directory, adapter, path = (os.path.join(work, x) for x in ("model", "adapter", "data.jsonl"))
        rng = generator(name)
        write_model(directory, *shape(name), rng)
        write_tokenizer(directory)
        write_ids(path, sequences())
        lora = None
        for nf4 in (False, True):
            what, more = ("NF4", NF4) if nf4 else ("dense", ())
            model = base(directory, nf4)
            compare(directory, model, path, what, *more)
            model, lora = with_lora(model, rng, lora)
            model.eval()
            if not nf4:
                model.save_pretrained(adapter)
            compare(directory, model, path, what + " with adapter", *more, "--adapter", adapter)
            gradients(directory, adapter, model, path, os.path.join(work, what), what, *more)
            greedy(directory, model, *more, "--adapter", adapter)
        to_peft(directory, path, os.path.join(work, "ours"))


def title(name):
    return f"{name} equals transformers"


if __name__ == "__main__":
    chosen = of_the_day([*VARIANTS_4, *VARIANTS_5], 12)
    elsewhere = WithTransformers5(__file__, [title(n) for n in chosen if n not in VARIANTS])
    main([(title(n), lambda n=n: variant(n) if n in VARIANTS else elsewhere.case(title(n))) for n in chosen])
