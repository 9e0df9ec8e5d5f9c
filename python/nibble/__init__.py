"""nibble from Python: fine-tune, ask and judge language models at low bit widths, without torch.

    import nibble

    run = nibble.finetune("model", data="examples.jsonl", output_dir="adapter", r=16)
    nibble.generate("model", "Question: ...", adapter="adapter")
    nibble.evaluate("model", data="held-out.jsonl", adapter="adapter")

Each function runs the program that this package holds, in a process of its own.  Keyword arguments
are its options with underscores (`nibble VERB --help all` lists them): True is a flag, False its
--no- form, None leaves it out, a list repeats the option, a dict is its JSON.
"""
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading

_HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.join(_HERE, "bin", "nibble")
LIBRARY = os.path.join(_HERE, "lib", "@SONAME@")
__version__ = "@VERSION@"

__all__ = ["Error", "evaluate", "finetune", "generate", "library", "run"]


class Error(RuntimeError):
    """The program's message; `status` is its exit status (1 an error, 2 wrong arguments, 128 + N
    ended by signal N)."""

    def __init__(self, message, status):
        super().__init__(message)
        self.status = status


def library():
    """The shared library for ctypes; the headers of the source declare its functions."""
    loaded = ctypes.CDLL(LIBRARY)
    loaded.nib_version.restype = ctypes.c_char_p
    return loaded


def _option(name, value):
    """The words of one option."""
    name = name.replace("_", "-")
    if value is None:
        return []
    if value is True:
        return ["--" + name]
    if value is False:
        return ["--no-" + name]
    if isinstance(value, (list, tuple)):
        return [word for one in value for word in _option(name, one)]
    if isinstance(value, dict):
        value = json.dumps(value)
    return [f"--{name}={os.fspath(value) if hasattr(value, '__fspath__') else value}"]


def run(verb, *arguments, on_line=None, verbose=False, **options):
    """Runs a verb and returns its standard output.  on_line gets each line as it comes; verbose
    shows the program's progress on standard error.  Raises Error."""
    words = [PROGRAM, verb]
    for name, value in options.items():
        words += _option(name, value)
    words += ["--"] + [os.fspath(argument) for argument in arguments]
    # A session of its own: Ctrl-C reaches it once, from below, for a second signal ends it at once.
    # Messages may be cut inside a character.
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, encoding="utf-8", errors="replace",
                               start_new_session=True)
    said = []

    def listen():
        shows = verbose
        for line in process.stderr:  # to its end: the program would wait for a reader
            said.append(line)
            try:
                if shows:
                    sys.stderr.write(line)
            except (OSError, ValueError):  # ours is closed
                shows = False

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if on_line:
                on_line(line)
    except BaseException:
        process.send_signal(signal.SIGINT)  # it writes a checkpoint first
        raise
    finally:
        process.stdout.close()
        status = process.wait()
        listener.join()
        process.stderr.close()
    if status:
        text = "".join(said).strip()
        message = text.split("\n")[-1] if text else f"nibble {verb} ended with status {status}"
        raise Error(message, 128 - status if status < 0 else status)
    return "".join(lines)


def finetune(model, data=None, output_dir=None, on_log=None, **options):
    """Trains; model may be a recipe.  Returns what the program reports: its last objects, such as
    train_loss and train_runtime, as one dict, with all others in their order under "log".  on_log
    gets each as it comes."""
    log = []

    def on_line(line):
        log.append(json.loads(line))
        if on_log:
            on_log(log[-1])

    run("finetune", model, on_line=on_line, data=data, output_dir=output_dir, json=True, **options)
    last = max((i for i, row in enumerate(log) if set(row) != {"warnings"}), default=None)
    result = {} if last is None else dict(log.pop(last))
    result["log"] = log
    return result


def generate(model, prompts, **options):
    """The completion of a prompt; of a list of prompts, their completions in a list.  A prompt may
    be a dict with "prompt" and "adapter"."""
    single = isinstance(prompts, (str, dict))
    rows = [{"prompt": row} if isinstance(row, str) else row
            for row in ([prompts] if single else prompts)]
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".jsonl") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
        file.flush()
        text = run("generate", model, prompts=file.name, **options)
    answers = [json.loads(line) for line in text.split("\n") if line]
    texts = [answer["completion"] for answer in answers if "completion" in answer]
    if len(texts) != len(rows):
        raise Error(f"expected {len(rows)} answers, got {len(texts)}", 1)
    return texts[0] if single else texts


def evaluate(model, data, **options):
    """Loss and perplexity, a classifier's scores, or with generate=True the scores of answers, as
    `nibble evaluate --json` prints them."""
    return json.loads(run("evaluate", model, data=data, json=True, **options))


def main():
    """The command `nibble`."""
    os.execv(PROGRAM, ["nibble"] + sys.argv[1:])
