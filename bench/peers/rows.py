"""rows.py - the rows of the table: the same work given to nibble and to its peers.

Each function measures one piece of work and returns its results (measure.compare); data is random but
the same for all.  What a row needs and cannot have raises Missing."""
import json
import os
import random
import subprocess

import environment
from measure import Failed, Missing, Neighbour, compare, reduce_samples, run_in_turns, say
from programs import llama_decode, nibble_decode, nibble_step, peft_step

HERE = os.path.dirname(os.path.abspath(__file__))
LENGTHS = (20, 26, 31, 37, 43, 49, 54, 60)  # of the short records; the second half of each is the completion
DECODED = 128


def make(s, *what):
    """make_models.py in the peers' environment; what it made."""
    done = subprocess.run([s.python, os.path.join(HERE, "make_models.py"), s.work, s.nibble, *map(str, what)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Missing(f"making {what[0]}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no reason given'}")
    return json.loads(done.stdout.splitlines()[-1])


def write_records(s, name, lengths, words, supervised):
    """Random ids; labels are the ids of the last `supervised` fraction of each record."""
    rng = random.Random(1)
    path = os.path.join(s.work, name)
    with open(path, "w") as f:
        for n in lengths:
            ids = [rng.randrange(words) for _ in range(n)]
            masked = n - int(n * supervised)
            f.write(json.dumps({"input_ids": ids, "labels": [-100] * masked + ids[masked:]}) + "\n")
    return path


def check_losses(results):
    """A LoRA begins as no change, so the first step's loss shows whether both did the same work."""
    for r in results:
        losses = [p["notes"]["first_loss"] for p in r["programs"].values()]
        if max(losses) > min(losses) * 1.02:
            raise Failed(f"{r['work']}: the losses of the first step differ: {', '.join(f'{x:.4f}' for x in losses)}")
    return results


def choose_compute(s, model, data, has_bf16):
    """The peers' best compute type without checkpointing: tried where the processor multiplies bfloat16."""
    if not has_bf16:
        return "float32"
    say("trying the peers' compute types")
    best = {c: min(peft_step(s, model, data, 1, c, False)().values["step"]) for c in ("float32", "bfloat16", "autocast")}
    say("  " + ", ".join(f"{c} {seconds:.2f} s" for c, seconds in best.items()))
    return min(best, key=best.get)


def peft_name(compute, checkpointing):
    return f"PEFT + bitsandbytes, {compute}{', checkpointing' if checkpointing else ''}"


def long_step(s, model, name, words, has_bf16):
    """One record of 512 tokens.  The documented configuration of the peers has checkpointing on."""
    data = write_records(s, f"{name}-long.jsonl", [s.tokens], words, 1)
    s.compute = choose_compute(s, model, data, has_bf16)
    documented = "autocast" if has_bf16 else "float32"
    programs = {"nibble": nibble_step(s, model, data, 1, s.tokens),
                peft_name(s.compute, False): peft_step(s, model, data, 1, s.compute, False),
                peft_name(documented, True): peft_step(s, model, data, 1, documented, True)}
    title = f"QLoRA step, {name}, 1 x {s.tokens}"
    return check_losses(compare(title, {"step": (title, "s/step", True)}, programs, s.repetitions))


def short_records(s, model, has_bf16):
    """Eight short records with the loss on the completions: nibble packs, the peers pad."""
    data = write_records(s, "short.jsonl", LENGTHS, 49152, 0.5)
    compute = getattr(s, "compute", None) or choose_compute(s, model, data, has_bf16)
    programs = {"nibble": nibble_step(s, model, data, len(LENGTHS), sum(LENGTHS)),
                peft_name(compute, False): peft_step(s, model, data, len(LENGTHS), compute, False)}
    title = f"{len(LENGTHS)} records of {LENGTHS[0]} to {LENGTHS[-1]} tokens, SmolLM2-135M"
    return check_losses(compare(title, {"records": (title, "records/s", False)}, programs, s.repetitions))


def decode(s, name, model, gguf, new_tokens, prefill):
    bench, _ = environment.llama_programs(s.python, s.work)
    sizes = {"nibble": make(s, "bytes", model)["bytes"], "llama.cpp Q4_0": make(s, "bytes", gguf)["bytes"]}
    programs = {"nibble": nibble_decode(s, model, new_tokens, prefill),
                "llama.cpp Q4_0": llama_decode(s, bench, gguf, new_tokens, prefill)}
    metrics = {"decode": (f"decode, {name}, {new_tokens} tokens", "tokens/s", False)}
    if prefill:
        metrics["prefill"] = (f"prefill, {name}, {prefill} tokens", "tokens/s", False)
    results = compare(f"decode, {name}", metrics, programs, s.repetitions)
    results[0]["bytes_a_token"] = sizes
    return results


def same_file(s, kind):
    """One file, read by both."""
    bench, _ = environment.llama_programs(s.python, s.work)
    gguf = make(s, "smollm2-file", kind)["gguf"]
    programs = {"nibble": nibble_decode(s, gguf, DECODED, 512),
                "llama.cpp, the same file": llama_decode(s, bench, gguf, DECODED, 512)}
    metrics = {"decode": (f"decode, SmolLM2-135M {kind}, {DECODED} tokens", "tokens/s", False),
               "prefill": (f"prefill, SmolLM2-135M {kind}, 512 tokens", "tokens/s", False)}
    return compare(f"decode, {kind}", metrics, programs, s.repetitions)


def llama7b(s):
    environment.llama_programs(s.python, s.work)  # before 8 GB are written for nothing
    made = make(s, "llama7b")
    return decode(s, "Llama-2-7B shape", made["model"], made["gguf"], 32, 0)


def smollm2_gguf(s):
    return make(s, "smollm2-gguf", environment.llama_programs(s.python, s.work)[1])["gguf"]


def neighbour(s, model, gguf):
    """Figures with both processors to itself and with a busy process on the second, in turns."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        raise Missing("one processor: there is no second one for a neighbour")
    cpus = set(processors[:2])
    data = write_records(s, "neighbour.jsonl", [s.tokens], 49152, 1)
    work = {"nibble, step": ("step", nibble_step(s, model, data, 1, s.tokens, cpus)),
            "nibble, decode": ("decode", nibble_decode(s, model, DECODED, 0, cpus))}
    if gguf:
        bench, _ = environment.llama_programs(s.python, s.work)
        work["llama.cpp Q4_0, decode"] = ("decode", llama_decode(s, bench, gguf, DECODED, 0, cpus))

    def beside(run):
        def with_neighbour():
            with Neighbour(processors[1]):
                return run()
        return with_neighbour

    say("a busy neighbour")
    results = []
    for name, (metric, run) in work.items():
        samples = run_in_turns({f"{name}, alone": run, f"{name}, beside a neighbour": beside(run)}, s.repetitions)
        smaller = metric == "step"
        alone, busy = (reduce_samples(x, metric, smaller) for x in samples.values())
        share = alone["median"] / busy["median"] if smaller else busy["median"] / alone["median"]
        results.append({"work": name, "unit": "s/step" if smaller else "tokens/s", "alone": alone, "busy": busy,
                        "share": share})
    return results
