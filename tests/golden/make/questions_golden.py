"""Makes tests/golden/questions/: a tiny BERT that finds answers, questions about contexts that are cut into windows, an adapter to
begin from, what PEFT and transformers make of them in some steps of AdamW in float32 without dropout, and what is then answered;
and squad.json, answers as SQuAD's measures compare them.

Run from the top of the repository, in an environment with tests/requirements.txt:
    python tests/golden/make/questions_golden.py
tests/golden/README.md says what the files hold."""
import collections
import json
import os
import random
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForQuestionAnswering, get_linear_schedule_with_warmup
from transformers.data.metrics.squad_metrics import compute_exact, compute_f1, normalize_answer, squad_evaluate

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "questions")
BASE = os.path.join(TOP, "base")
TOKENIZER = os.path.join(TOP, "..", "pairs", "4.json")  # <s> A </s> B </s>, the second text of type 1
STEPS, BATCH, RATE, LIMIT, STRIDE = 6, 4, 1e-2, 24, 4
BEST, LONGEST = 20, 30  # run_qa's
THINGS, COLOURS = "tree door bike hat".split(), "red blue gr\u00fcn old".split()
rng = random.Random(5)


def records(count=16):
    for n in range(count):
        pairs = [(t, rng.choice(COLOURS)) for t in rng.sample(THINGS, rng.randint(1, 3))]
        context = ", ".join(f"the {t} is {c}" for t, c in pairs) + rng.choice([".", " \u2014 yes.", ""])
        thing, colour = rng.choice(pairs)
        answers = dict(text=[], answer_start=[])
        if n % 4 == 3:
            thing = "cat"
        else:
            start = context.index(f"the {thing} is ") + len(f"the {thing} is ")
            answers = dict(text=[colour, f"is {colour}"], answer_start=[start, start - 3])
            if n % 5 == 2:  # another answer than most questions of its kind have
                answers = dict(text=[f"{thing} is {colour}"], answer_start=[start - 4 - len(thing)])
        yield dict(id=f"q{n}" if n % 2 else n, question=f"  {thing}?" if n == 4 else f"{thing}?", context=context, answers=answers)


def windows(tokenizer, record):
    """run_qa's features: ids, types, places in the context (or None), begin and end of the first answer."""
    tokenizer.enable_truncation(LIMIT, stride=STRIDE, strategy="only_second")
    e = tokenizer.encode(record["question"].lstrip(), record["context"])
    for w in [e] + e.overflowing:
        places = [o if s == 1 else None for o, s in zip(w.offsets, w.sequence_ids)]
        inside = [i for i, o in enumerate(places) if o]
        edges = (0, 0)
        if record["answers"]["text"]:
            begin = record["answers"]["answer_start"][0]
            end = begin + len(record["answers"]["text"][0])
            if places[inside[0]][0] <= begin and places[inside[-1]][1] >= end:
                edges = (max(i for i in inside if places[i][0] <= begin), min(i for i in inside if places[i][1] >= end))
        yield torch.tensor(w.ids), torch.tensor(w.type_ids), places, edges


def forward(model, window):
    """Alone: the reference's softmax would run over padding.  PEFT's own class leaves out the types."""
    ids, types, _, edges = window
    inner = model.base_model if hasattr(model, "peft_config") else model
    return inner(input_ids=ids[None], token_type_ids=types[None], start_positions=torch.tensor(edges[:1]),
                 end_positions=torch.tensor(edges[1:]))


def train(model, data, decay=0.0):
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    plain = [p for n, p in model.named_parameters() if p.requires_grad and ("LayerNorm" in n or n.endswith("bias"))]
    decayed = [p for p in trained if not any(p is q for q in plain)]
    optimizer = torch.optim.AdamW([dict(params=decayed, weight_decay=decay), dict(params=plain, weight_decay=0.0)], lr=RATE)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, STEPS)
    losses, norms = [], []
    for s in range(STEPS):
        batch = data[s * BATCH:(s + 1) * BATCH]
        loss = sum(forward(model, w).loss for w in batch) / len(batch)
        loss.backward()
        losses.append(float(loss))
        norms.append(float(torch.nn.utils.clip_grad_norm_(trained, 1.0)))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return losses, norms


def answer(context, outputs, none_possible):
    """The best span over a question's windows, by the rules of run_qa."""
    found, none = [], None
    for (_, _, places, _), out in outputs:
        start, end = out.start_logits[0].numpy(), out.end_logits[0].numpy()
        null = start[0] + end[0]
        none = null if none is None else min(none, null)
        for i in numpy.argsort(start, kind="stable")[:-BEST - 1:-1]:
            for k in numpy.argsort(end, kind="stable")[:-BEST - 1:-1]:
                if places[i] and places[k] and i <= k < i + LONGEST:
                    found.append((start[i] + end[k], places[i][0], places[k][1]))
    found = sorted(found, key=lambda x: -x[0])[:BEST]
    kept = found[:-1] if none_possible and len(found) == BEST and none > found[-1][0] else found
    scores = numpy.array([x[0] for x in kept] + ([none] if none_possible else []), dtype=numpy.float64)
    share = numpy.exp(scores - scores.max())
    share /= share.sum()
    margin = scores[0] - scores[1]  # of a choice that rounding could turn
    begin, end = found[0][1:]
    empty = none_possible and none - found[0][0] > 0
    return dict(answer="" if empty else context[begin:end], start=None if empty else begin, end=None if empty else end, score=float(share[0]),
                null_score_diff=float(none - found[0][0])), float(min(abs(margin), abs(none - found[0][0])))


def evaluate(model, rows, features):
    model.eval()
    out = dict(answers=[], only_with=[])
    total, count, least = 0.0, 0, 9.0
    examples, predictions = [], {}
    Example = collections.namedtuple("Example", "qas_id answers")
    for n, (row, windows_of) in enumerate(zip(rows, features)):
        with torch.no_grad():
            outputs = [(w, forward(model, w)) for w in windows_of]
        total += sum(float(o.loss) for _, o in outputs)
        count += len(outputs)
        said, margin = answer(row["context"], outputs, True)
        least = min(least, margin)
        out["answers"].append(said)
        out["only_with"].append(answer(row["context"], outputs, False)[0])
        examples.append(Example(str(n), [dict(text=t) for t in row["answers"]["text"]]))
        predictions[str(n)] = said["answer"]
    out["loss"] = total / count
    out["scores"] = dict(squad_evaluate(examples, predictions))
    print("loss", round(out["loss"], 4), "least margin", round(least, 4), out["scores"])
    return out


def make_base():
    os.makedirs(BASE)
    config = AutoConfig.for_model("bert", vocab_size=276, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
                                  max_position_embeddings=32, layer_norm_eps=1e-5, pad_token_id=275)
    model = AutoModelForQuestionAnswering.from_config(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            r = torch.randn(p.shape)
            p.copy_(1 + 0.1 * r if name.endswith("LayerNorm.weight") else 0.1 * r if p.dim() == 1 else
                    0.5 * r if "embeddings" in name else r / p.shape[1] ** 0.5)
    tokenizer, optimizer = Tokenizer.from_file(TOKENIZER), torch.optim.AdamW(model.parameters(), lr=3e-3)
    for record in records(800):  # so that some answers are right
        loss = sum(forward(model, w).loss for w in windows(tokenizer, record))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.to(torch.bfloat16).save_pretrained(BASE)
    shutil.copy(TOKENIZER, os.path.join(BASE, "tokenizer.json"))


def open_model():
    return AutoModelForQuestionAnswering.from_pretrained(BASE, dtype=torch.float32, attn_implementation="eager", hidden_dropout_prob=0.0,
                                                         attention_probs_dropout_prob=0.0)


def make_squad():
    """Answers, right answers, the form in which the first is compared, exact and F1."""
    texts = ["", "The", "a an the", "The Beatles", "beatles", "the   beatles!", "an-other", "a\u0301 la carte", "\u00c9cole d'\u00e9t\u00e9", "x\u00a0y",
             "\u1e9e stra\u00dfe", "\u0130stanbul", "\u03a3\u0391\u03a3 \u03a3", "\u039f\u0394\u039f\u03a3. \u039f\u0394\u039f\u03a3", "3,000 km", "3000 km",
             "km 3000 km", "A.B.C.", "abc", "a_b", "the_", "\u4e00 the\u4e8c", "the\u00b2", "\u2014the\u2014", "one two two three", "two three two two",
             "\u001ca\u001fb", "\u3000wide\u3000", "Theatre a", "I\u0307", "\u01c5", "\u2160 a \u2461", "a\u200bthe", "can't", "cant", "\u0903the"]
    rows = []
    for i, said in enumerate(texts):
        for right in (texts[(i * 7 + 3) % len(texts)], texts[(i + 1) % len(texts)], said):
            rows.append([said, [right], normalize_answer(said), compute_exact(right, said), compute_f1(right, said)])
    rows.append(["red", ["blue", "the red one", "red"], "red", 1, 1.0])
    rows.append(["red", ["blue", "the red one"], "red", 0, compute_f1("the red one", "red")])
    json.dump([r for r in rows if normalize_answer(r[1][0])], open(os.path.join(TOP, "squad.json"), "w"))


if __name__ == "__main__":
    shutil.rmtree(TOP, ignore_errors=True)
    torch.manual_seed(13)
    make_base()
    rows = list(records())
    with open(os.path.join(TOP, "train.jsonl"), "w") as f:
        f.writelines(json.dumps(r) + "\n" for r in rows)
    tokenizer = Tokenizer.from_file(TOKENIZER)
    features = [list(windows(tokenizer, r)) for r in rows]
    data = [w for ws in features for w in ws]
    out = dict(windows=[len(ws) for ws in features], edges=[w[3] for w in data], tokens=[w[0].tolist() for w in data])
    model = get_peft_model(open_model(), LoraConfig(task_type="QUESTION_ANS", r=2, lora_alpha=4))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad and "lora_" in name:
                p.copy_(torch.randn(p.shape) * (0.2 if "lora_B" in name else p.shape[-1] ** -0.5))
    model.save_pretrained(os.path.join(TOP, "begin"))
    os.remove(os.path.join(TOP, "begin", "README.md"))
    path = os.path.join(TOP, "begin", "adapter_config.json")
    stored = json.load(open(path))
    stored["target_modules"].sort()
    stored["base_model_name_or_path"] = "nibble/questions"
    json.dump(stored, open(path, "w"), indent=2, sort_keys=True)
    for how in ("lora", "full", "head"):
        if how != "lora":
            model = open_model()
            for name, p in model.named_parameters():
                p.requires_grad = how == "full" or name.startswith("qa_outputs")
        losses, norms = train(model, data, 0.0 if how == "lora" else 0.1)
        print(how, len(data), "windows", [round(x, 4) for x in losses])
        out[how] = dict(losses=losses, grad_norms=norms) | evaluate(model, rows, features)
    json.dump(out, open(os.path.join(TOP, "expected.json"), "w"))
    make_squad()
