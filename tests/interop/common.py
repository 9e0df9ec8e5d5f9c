"""What the interop tests share: running the program, reporting, data files of token ids.

Each test prints `ok NAME`, `FAILED NAME` after a line that says why, or `skipped NAME: reason`, and
ends with `N passed, N failed, N skipped`.  NIBBLE names the program (default build/nibble)."""
import datetime
import json
import os
import subprocess
import sys
import tempfile
import traceback
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
warnings.filterwarnings("ignore")
TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
NIBBLE = os.environ.get("NIBBLE") or os.path.join(TOP, "build", "nibble")
PICO = os.path.join(TOP, "models", "pico")
SHOP = os.path.join(TOP, "models", "shop.jsonl")
GOLDEN = os.path.join(TOP, "tests", "golden")
PYTHON5 = os.environ.get("PYTHON5") or os.path.join(TOP, ".venv-interop-5", "bin", "python")
sys.path.insert(0, os.path.join(GOLDEN, "make"))


class Failed(Exception):
    """A check that did not hold: its message says what was found and what was expected."""


class Skip(Exception):
    """This machine cannot run the test: why.  With STRICT_SKIPS=1 tests/skips.txt must list it."""


def in_float(model):
    """The model, its 4-bit layers in their compute type: in eval mode, on a processor with AVX512_BF16, bitsandbytes packs a
    layer's weight anew and computes in bfloat16, whatever bnb_4bit_compute_dtype says."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def listed_skip(text):
    with open(os.path.join(TOP, "tests", "skips.txt")) as f:
        return any(text.startswith(line.rstrip("\n")) for line in f if line.strip() and not line.startswith("#"))


def of_the_day(cases, most, day=None):
    """At most `most` of the cases, other ones every day, in their order: all have had their turn after
    len(cases) / most days.  For cases that are many, slow and alike; NIBBLE_ALL_CASES=1, or --all, takes all of them,
    and so does a command line that names some."""
    cases = list(cases)
    if os.environ.get("NIBBLE_ALL_CASES") == "1" or sys.argv[1:] or len(cases) <= most:
        return cases
    day = datetime.date.today().toordinal() if day is None else day
    chosen = {(day * most + i) % len(cases) for i in range(most)}
    return [case for i, case in enumerate(cases) if i in chosen]


class WithTransformers5:
    """Cases of a script that need transformers 5, while it runs with 4: one run of the script with PYTHON5, by default the
    environment that .ci/run makes, and what it prints by case.  The same names must be known there."""
    def __init__(self, script, names):
        self.command, self.found = [PYTHON5, script, *names], None

    def run(self):
        if not os.path.exists(PYTHON5):
            raise Skip(f"no {os.path.relpath(PYTHON5, TOP)}")
        done = subprocess.run(self.command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.found, lines = {}, []
        for line in done.stdout.splitlines():
            lines.append(line)
            if line.startswith(("ok ", "FAILED ")):
                self.found[line.split(" ", 1)[1]], lines = lines, []

    def case(self, name):
        if self.found is None:
            self.run()
        lines = self.found.get(name, ["it did not run"])
        check(lines[-1].startswith("ok "), "\n".join(lines[:-1] or lines))


def check(condition, message):
    if not condition:
        raise Failed(message)


def command_of(arguments):
    """The program's command line.  What finetune is not given has the libraries' values, for it is compared
    with them."""
    command = [NIBBLE, *map(str, arguments)]
    if arguments[0] == "finetune" and len(arguments) > 2:
        command += ["--defaults", "peft"]
    if arguments[0] == "generate" and "--chat" not in arguments:
        command += ["--raw"]
    return command


def nibble(*arguments):
    """Runs the program (see command_of); its standard output as text.  The exit code must be 0."""
    command = command_of(arguments)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    check(done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}: "
          f"{done.stderr.decode(errors='replace').strip()[-2000:]}")
    return done.stdout.decode()


def json_lines(text):
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def write_ids(path, sequences):
    """A data file of (ids, labels) pairs."""
    with open(path, "w") as f:
        for ids, labels in sequences:
            f.write(json.dumps({"input_ids": [int(i) for i in ids], "labels": [int(i) for i in labels]}) + "\n")


def evaluate(model, data, *more):
    """Logits of every record and the loss, computed in float32."""
    from safetensors.torch import load_file
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "logits.safetensors")
        result = json_lines(nibble("evaluate", model, "--data", data, "--compute-dtype", "float32", "--logits", out,
                                   "--json", *more))[-1]
        logits = load_file(out)
    return [logits[str(i)] for i in range(len(logits))], result["loss"]


def check_logits(got, want, limit, what):
    check(len(got) == len(want), f"{what}: logits of {len(got)} records, expected {len(want)}")
    for i, (g, w) in enumerate(zip(got, want)):
        check(g.shape == w.shape, f"{what}: record {i} has logits {tuple(g.shape)}, expected {tuple(w.shape)}")
        worst = (g - w).abs().max().item()
        check(worst <= limit, f"{what}: logits of record {i} differ by {worst:.3g}, at most {limit:g} allowed")


def main(tests):
    """Runs (name, function) pairs; the command line may name some of them, or be --all."""
    passed = failed = skipped = 0
    named = [a for a in sys.argv[1:] if a != "--all"]
    for name, function in tests:
        if named and name not in named:
            continue
        try:
            function()
            print("ok", name, flush=True)
            passed += 1
        except Skip as e:
            print(f"skipped {name}: {e}", flush=True)
            skipped += 1
            if os.environ.get("STRICT_SKIPS") == "1" and not listed_skip(f"{name}: {e}"):
                print(f"FAILED {name}: this skip is not in tests/skips.txt", flush=True)
                failed += 1
        except Exception as e:
            print(f"  {e}" if isinstance(e, Failed) else traceback.format_exc())
            print("FAILED", name, flush=True)
            failed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(0 if passed + skipped and not failed else 1)
