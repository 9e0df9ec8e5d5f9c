"""programs.py - how each program is run once: nibble, transformers with PEFT and bitsandbytes, llama.cpp.

Each function returns a function() -> Sample, for measure.compare()."""
import json
import os
import shutil
import tempfile

from measure import Failed, Sample, run_process

HERE = os.path.dirname(os.path.abspath(__file__))
WARM_UP = 2      # steps of a process that are not counted
PATIENCE = 40    # seconds after which a process of the peers begins no other step, if one was counted


class Setting:
    """What all rows share: paths, threads, lengths."""

    def __init__(self, options, python):
        self.nibble, self.work, self.python = os.path.abspath(options.nibble), options.work, python
        self.threads, self.steps, self.tokens = options.threads, options.steps, options.tokens
        self.repetitions = options.repetitions


def lines_of(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def step_sample(losses, seconds, records, peak):
    counted = seconds[WARM_UP:]
    return Sample({"step": counted, "records": [records / s for s in counted]}, peak, {"first_loss": losses[0]})


def nibble_step(s, model, data, records, tokens, cpus=None):
    """Finetune on `records` records of `tokens` tokens together, all of them in every step."""
    def run():
        out = tempfile.mkdtemp(dir=s.work)
        try:
            text, peak = run_process(
                [s.nibble, "finetune", model, "--data", data, "--output-dir", out, "--overwrite", "--defaults", "peft", "--r", 16,
                 "--lora-alpha", 16, "--target-modules", "all-linear", "--per-device-train-batch-size", records,
                 "--max-steps", WARM_UP + s.steps, "--learning-rate", "2e-4", "--lr-scheduler-type", "constant",
                 "--logging-steps", 1, "--save-strategy", "no", "--max-seq-length", max(tokens, s.tokens), "--threads", s.threads,
                 "--json"], s.threads, cpus)
        finally:
            shutil.rmtree(out, ignore_errors=True)
        steps = [line for line in lines_of(text) if "tokens_per_second" in line]
        if len(steps) != WARM_UP + s.steps:
            raise Failed(f"nibble finetune: {len(steps)} steps, expected {WARM_UP + s.steps}")
        return step_sample([x["loss"] for x in steps], [tokens / x["tokens_per_second"] for x in steps], records, peak)
    return run


def peft_step(s, model, data, records, compute, checkpointing):
    def run():
        text, peak = run_process(
            [s.python, os.path.join(HERE, "peft_step.py"), model, data, "--batch", records, "--steps", WARM_UP + s.steps,
             "--at-least", WARM_UP + 1, "--seconds", PATIENCE, "--compute", compute, "--threads", s.threads,
             *(["--checkpointing"] if checkpointing else [])], s.threads)
        steps = lines_of(text)
        return step_sample([x["loss"] for x in steps], [x["seconds"] for x in steps], records, peak)
    return run


def nibble_generate(s, model, prompt, prompt_tokens, new_tokens, cpus=None):
    """The same prompt twice in one process; the second answer counts, as llama-bench warms up too.  Every token passes
    through the model by itself: nothing is guessed ahead."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", dir=s.work, delete=False) as f:
        f.write((json.dumps({"prompt": prompt}) + "\n") * 2)
    try:
        text, peak = run_process([s.nibble, "generate", model, "--raw", "--prompts", f.name, "--max-new-tokens", new_tokens,
                                  "--prompt-lookup-num-tokens", 0, "--threads", s.threads, "--json"], s.threads, cpus)
    finally:
        os.remove(f.name)
    answer = lines_of(text)[-1]
    if (answer["prompt_tokens"], answer["new_tokens"]) != (prompt_tokens, new_tokens):
        raise Failed(f"nibble generate: {answer['prompt_tokens']} tokens of prompt and {answer['new_tokens']} new ones, "
                     f"expected {prompt_tokens} and {new_tokens}")
    return answer, peak


def nibble_decode(s, model, new_tokens, prefill, cpus=None):
    """Decoding from an empty context; the first of the tokens comes from the prompt and is not counted."""
    def run():
        values = {}
        answer, peak = nibble_generate(s, model, "a", 1, new_tokens + 1, cpus)
        values["decode"] = [new_tokens / answer["decode_seconds"]]
        if prefill:
            answer, more = nibble_generate(s, model, "a" + " a" * (prefill - 1), prefill, 1, cpus)
            values["prefill"] = [prefill / answer["prefill_seconds"]]
            peak = max(peak, more)
        return Sample(values, peak)
    return run


def llama_decode(s, program, gguf, new_tokens, prefill, cpus=None):
    def run():
        text, peak = run_process([program, "-m", gguf, "-p", prefill, "-n", new_tokens, "-t", s.threads, "-r", 1,
                                  "-o", "json"], s.threads, cpus)
        values = {("decode" if x["n_gen"] else "prefill"): [x["avg_ts"]] for x in json.loads(text)}
        return Sample(values, peak)
    return run
