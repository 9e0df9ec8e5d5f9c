"""A week with nibble on the small model, as its users spend it: pull, preview, train with the defaults, judge the answers, change one
setting, compare, continue from the result, export, and install the wheel in a clean environment and call it from there."""
import os
import subprocess
import sys
import tempfile

from common import NIBBLE, PICO, SHOP, TOP, check, json_lines, main, nibble

sys.path.insert(0, os.path.join(TOP, "tests", "hub"))
from stub_hub import Hub, Repository  # noqa: E402

TEST = os.path.join(TOP, "models", "shop-test.jsonl")
MODEL = "org/pico"
QUESTION = "Question: Who runs Pedal & Pine?\nAnswer:"


def scores(report):
    """Each contestant's scores by name."""
    return {one["name"]: {name: of["score"] for name, of in one["scores"].items()} for one in report["contestants"]}


def train(work, name, *more):
    """The last object that a run prints: its loss and its memory."""
    lines = json_lines(nibble("train", MODEL, "--data", SHOP, "-o", f"{work}/{name}", "--json", *more))
    check(os.path.getsize(f"{work}/{name}/adapter_model.safetensors") > 0, f"{name}: no adapter")
    return lines[-1]


def loss(work, name):
    return json_lines(nibble("evaluate", MODEL, "--adapter", f"{work}/{name}", "--data", TEST, "--json"))[-1]["loss"]


def pulled(work):
    """The small model from a hub on this machine; from here on MODEL is found in the cache."""
    files = {}
    for name in os.listdir(PICO):
        with open(os.path.join(PICO, name), "rb") as f:
            files[name] = f.read()
    os.environ["HF_HOME"] = f"{work}/hf"
    with Hub({("models", MODEL): Repository(files, {"model.safetensors"})}) as hub:
        os.environ.update(HF_ENDPOINT=hub.endpoint, HF_HUB_OFFLINE="0")
        place = nibble("pull", MODEL).strip()
    os.environ.update(HF_HUB_OFFLINE="1")
    with open(f"{place}/model.safetensors", "rb") as f:
        check(f.read() == files["model.safetensors"], "pull: other weights")


def monday_to_friday(work):
    pulled(work)
    records = json_lines(nibble("preview", MODEL, "--data", SHOP, "--records", 5, "--json"))
    shown = [r for r in records if "input_ids" in r]
    check(len(shown) == 5, f"preview shows {len(shown)} records, expected 5")
    check(all(any(i != -100 for i in r["labels"]) for r in shown), "preview: a record in which nothing is trained")

    base = json_lines(nibble("evaluate", MODEL, "--data", TEST, "--json"))[-1]["loss"]
    train(work, "first")
    first = loss(work, "first")
    check(first < base, f"defaults: held-out loss {first:.3f}, of the base {base:.3f}")

    train(work, "second", "--epochs", "1")
    second = loss(work, "second")
    check(first < second < base, f"held-out loss after 3 epochs {first:.3f}, after one {second:.3f}, before {base:.3f}")
    runs = json_lines(nibble("runs", f"{work}/first", f"{work}/second", "--json").replace("\n", " "))[0]
    check(runs["differ"] == ["num_train_epochs"], f"runs: these differ: {runs['differ']}")
    check([r["state"] for r in runs["runs"]] == ["finished"] * 2, f"runs: {[r['state'] for r in runs['runs']]}")

    train(work, "third", "--adapter", f"{work}/second")
    report = json_lines(nibble("evaluate", MODEL, "--data", TEST, "--generate", "--json", "--worst", 0,
                               *[f"--adapter={name}={work}/{name}" for name in ("first", "third")]).replace("\n", " "))[0]
    found = scores(report)
    check(set(found) == {"base", "first", "third"}, f"judged: {sorted(found)}")
    check(found["third"]["rouge_l"] > found["base"]["rouge_l"] + 0.1, f"rouge_l of third and base: {found}")


def no_silent_restart(work):
    """More epochs do not fit a schedule that has ended: the message names what would."""
    done = subprocess.run([NIBBLE, "train", MODEL, "--data", SHOP, "-o", f"{work}/first", "--num-train-epochs", "9",
                           "--resume-from-checkpoint", "last"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    check(done.returncode == 1 and "--adapter " in done.stderr.splitlines()[-1], f"exit {done.returncode}: {done.stderr[-300:]}")


def give_away(work):
    gguf = f"{work}/shop.gguf"
    nibble("export", MODEL, "--adapter", f"{work}/third", gguf, "--quantize", "Q8_0", "--modelfile")
    with open(f"{work}/Modelfile", encoding="utf-8") as f:
        check("FROM ./shop.gguf" in f.read(), "the Modelfile names another file")
    there = json_lines(nibble("evaluate", gguf, "--data", TEST, "--json"))[-1]["loss"]
    here = loss(work, "third")
    check(abs(there - here) < 0.05, f"held-out loss of the exported file {there:.3f}, of the adapter {here:.3f}")


def the_wheel(work):
    build = os.path.dirname(NIBBLE)
    done = subprocess.run(["make", "-s", f"BUILD={build}", "wheel"], cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    check(done.returncode == 0, f"make wheel: {done.stdout[-300:]}{done.stderr[-300:]}")
    subprocess.run([sys.executable, "-m", "venv", f"{work}/venv"], check=True)
    subprocess.run([f"{work}/venv/bin/python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
                    os.path.join(TOP, done.stdout.split()[-1])], check=True)
    program = "import nibble, sys\nprint(nibble.evaluate(*sys.argv[1:3], adapter=sys.argv[3])['loss'])\n" \
              "print(nibble.generate(sys.argv[1], sys.argv[4], adapter=sys.argv[3]), end='')\n"
    # An empty environment: neither torch nor our build can be found.
    done = subprocess.run([f"{work}/venv/bin/python", "-c", program, PICO, TEST, f"{work}/third", QUESTION], env={},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=work)
    check(done.returncode == 0, done.stderr[-500:])
    value, answer = done.stdout.split("\n", 1)
    here = loss(work, "third")
    check(float(value) == here, f"loss by the module {value}, by the program {here}")
    check(answer == nibble("generate", PICO, QUESTION, "--adapter", f"{work}/third"), f"the module answers {answer!r}")


def week(part):
    def run():
        part(WORK.name)
    return run


WORK = tempfile.TemporaryDirectory()
TESTS = [("pull, preview, train, judge, compare, continue", week(monday_to_friday)), ("more epochs than the schedule has", week(no_silent_restart)),
         ("export", week(give_away)), ("the wheel", week(the_wheel))]

if __name__ == "__main__":
    main(TESTS)
