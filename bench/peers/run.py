#!/usr/bin/env python3
"""run.py - `make bench-peers`: nibble and its peers at the same work, in turns, on this machine.

Makes what it needs (environment.py, make_models.py), measures the rows (rows.py), prints a table in Markdown
to standard output and writes all figures as JSON.  A row whose program cannot be had here is skipped and
named; exit 1 only when a program failed or did other work than was asked for."""
import argparse
import json
import os
import platform
import subprocess
import sys
import time

import environment
import rows
from measure import Failed, Missing, say
from programs import Setting

MIB = 1 << 20


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--nibble", default="build/nibble")
    p.add_argument("--work", default="build-peers", help="what is made once and kept")
    p.add_argument("--json", default="build/bench-peers.json", help="where the figures go")
    p.add_argument("--repetitions", type=int, default=3, help="processes of each program in each row")
    p.add_argument("--steps", type=int, default=4, help="counted steps of a process")
    p.add_argument("--tokens", type=int, default=512, help="of the long record")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rows", default="step,records,decode,files,neighbour", help="comma list of these; may be empty")
    p.add_argument("--tinyllama", action="store_true", help="also the step of TinyLlama-1.1B's shape (minutes; 5 GB of disk)")
    p.add_argument("--llama7b", action="store_true", help="also decoding of Llama-2-7B's shape (8 GB of disk)")
    o = p.parse_args()
    o.rows = [r for r in o.rows.split(",") if r]
    unknown = set(o.rows) - {"step", "records", "decode", "files", "neighbour"}
    if unknown:
        p.error(f"--rows: {', '.join(sorted(unknown))}: unknown")
    if min(o.repetitions, o.steps, o.threads) < 1 or o.tokens < 8:
        p.error("at least one repetition, step and thread, and 8 tokens")
    o.work = os.path.abspath(o.work)
    return o


class Run:
    """The results, and what became of each row."""

    def __init__(self):
        self.compared, self.beside, self.skipped, self.failed = [], [], [], []

    def attempt(self, name, function):
        """function()'s result; None, and noted, when it cannot be done here or went wrong."""
        say(f"== {name}")
        try:
            return function()
        except Missing as e:
            self.skipped.append(f"{name}: {e}")
            say(f"skipped {name}: {e}")
        except Failed as e:
            self.failed.append(f"{name}: {e}")
            say(f"FAILED {name}: {e}")
        return None


def machine(nibble, python):
    doctor = json.loads(subprocess.run([nibble, "doctor", "--json"], check=True, stdout=subprocess.PIPE, text=True).stdout)
    return {"date": time.strftime("%Y-%m-%d"), "system": platform.platform(), "nibble": doctor,
            "peers": environment.versions(python) if python else {}, "llama": environment.LLAMA_PACKAGE}


def measure(o, python, info, run):
    s = Setting(o, python)
    has_bf16 = info["nibble"]["compute_dtype"] == "bfloat16"
    model = gguf = None

    def compared(name, function):
        run.compared.extend(run.attempt(name, function) or [])

    if o.rows:
        model = run.attempt("SmolLM2-135M, which these rows need", lambda: rows.make(s, "smollm2")["model"])
    if model and {"decode", "neighbour"} & set(o.rows):
        gguf = run.attempt("llama.cpp", lambda: rows.smollm2_gguf(s))
    if model and "step" in o.rows:
        compared("step", lambda: rows.long_step(s, model, "SmolLM2-135M", 49152, has_bf16))
    if model and "records" in o.rows:
        compared("records", lambda: rows.short_records(s, model, has_bf16))
    if o.tinyllama:
        compared("tinyllama", lambda: rows.long_step(s, rows.make(s, "tinyllama")["model"], "TinyLlama-1.1B shape", 32000,
                                                     has_bf16))
    if gguf and "decode" in o.rows:
        compared("decode", lambda: rows.decode(s, "SmolLM2-135M", model, gguf, rows.DECODED, 512))
    for kind in ("Q4_K_M", "Q8_0") if "files" in o.rows else ():
        compared(f"decode, {kind}", lambda kind=kind: rows.same_file(s, kind))
    if o.llama7b:
        compared("llama7b", lambda: rows.llama7b(s))
    if model and "neighbour" in o.rows:
        run.beside.extend(run.attempt("neighbour", lambda: rows.neighbour(s, model, gguf)) or [])


# --- the tables ---

def figure(x):
    return f"{x:#.3g}" if x < 99.5 else f"{x:,.0f}"


def mib(bytes_):
    return f"{bytes_ / MIB:,.0f}"


def print_compared(results):
    print("| work | nibble: best (median) | peer | its best (median) | times as fast: best (median) | MiB: nibble, peer | memory |")
    print("|---|---|---|---|---|---|---|")
    for r in results:
        (_, ours), *peers = r["programs"].items()
        for name, theirs in peers:
            x = r["ratios"][name]
            print(f"| {r['work']}, {r['unit']} | {figure(ours['best'])} ({figure(ours['median'])}) | {name} "
                  f"| {figure(theirs['best'])} ({figure(theirs['median'])}) | **{x['speed_best']:.2f}** ({x['speed_median']:.2f}) "
                  f"| {mib(ours['peak_memory_bytes'])}, {mib(theirs['peak_memory_bytes'])} | {x['memory']:.2f} |")
    for r in results:
        for name, size in r.get("bytes_a_token", {}).items():
            print(f"\n{r['work']}: {name} reads {size / 1e6:,.1f} MB of weights a token", end="")
    print()


def print_beside(results):
    print("\n| with a busy process on the second processor | alone | beside it | share kept |\n|---|---|---|---|")
    for r in results:
        print(f"| {r['work']}, {r['unit']} | {figure(r['alone']['median'])} | {figure(r['busy']['median'])} "
              f"| {r['share']:.2f} |")


def print_report(o, info, run):
    n = info["nibble"]
    print(f"\n{n['processor']}, {o.threads} threads; nibble {n['nibble']}: {n['kernels']}, {n['compute_dtype']}. "
          + ", ".join(f"{k} {v}" for k, v in info["peers"].items() if k in ("torch", "transformers", "peft", "bitsandbytes"))
          + f"; llama.cpp of {info['llama']}.\n{o.repetitions} processes of each program in turns, "
          f"{o.steps} steps each after warming up; memory is the peak of the process.\n")
    if run.compared:
        print_compared(run.compared)
    if run.beside:
        print_beside(run.beside)
    for text in run.skipped:
        print(f"\nskipped: {text}")
    for text in run.failed:
        print(f"\nFAILED: {text}")


def main():
    o = options()
    os.makedirs(o.work, exist_ok=True)
    started = time.monotonic()
    run = Run()
    python = run.attempt("Python packages of the peers, which all rows need", environment.python_with_peers)
    info = machine(o.nibble, python)
    if python:
        measure(o, python, info, run)
    print_report(o, info, run)
    with open(o.json, "w") as f:
        json.dump({"machine": info, "options": vars(o), "compared": run.compared, "neighbour": run.beside,
                   "skipped": run.skipped, "failed": run.failed}, f, indent=1)
    say(f"{time.monotonic() - started:.0f} s; all figures in {o.json}")
    sys.exit(1 if run.failed else 0)


if __name__ == "__main__":
    main()
