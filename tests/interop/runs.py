"""A small training run that the tests of resuming and of event files start, kill and start again."""
import os
import signal
import subprocess
import time

from common import GOLDEN, check, command_of, write_ids

MODEL = os.path.join(GOLDEN, "models", "llama-gqa-tied")


def data(path, records=7):
    write_ids(path, [([(7 * i + 3 * k) % 120 + 1 for k in range(4 + i % 5)],) * 2 for i in range(records)])
    return path


def arguments(work, out, *more):
    return ["finetune", MODEL, "--data", data(os.path.join(work, "data.jsonl")), "--output-dir", os.path.join(work, out),
            "--compute-dtype", "float32", "--load-in-4bit", "--r", "4", "--lora-dropout", "0.1", "--learning-rate", "1e-3",
            "--target-modules", "all-linear", "--per-device-train-batch-size", "2", "--gradient-accumulation-steps", "2",
            *map(str, more)]


def killed(command, log, lines):
    """Starts the program and kills it with SIGKILL when its log has so many lines."""
    process = subprocess.Popen(command_of(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + 60
    while process.poll() is None and time.time() < deadline:
        try:
            with open(log, "rb") as f:
                if f.read().count(b"\n") >= lines:
                    break
        except FileNotFoundError:
            pass
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    check(process.wait() == -signal.SIGKILL, f"the program ended by itself with {process.returncode} before it could be killed")
