"""TensorBoard's own reader on nibble's event files: the logged values under the names of transformers'
callback, also after the program was killed and resumed."""
import glob
import os
import tempfile

from common import check, json_lines, main, nibble
from runs import arguments, data, killed
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from transformers.integrations.integration_utils import rewrite_logs

STEPS = 400


def options(work):
    return ("--max-steps", STEPS, "--save-steps", 10, "--save-total-limit", 2, "--report-to", "all", "--eval-strategy", "steps",
            "--eval-steps", 5, "--eval-data", data(os.path.join(work, "eval.jsonl"), 3))


def scalars(folder):
    accumulator = EventAccumulator(folder, size_guidance={"scalars": 0})
    accumulator.Reload()
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def runs_of(out):
    found = glob.glob(os.path.join(out, "runs", "*"))
    check(len(found) == 1, f"{len(found)} folders below runs/")
    return found[0]


def logged(out):
    """What log.jsonl says, under the names the Trainer's callback gives it."""
    want = {}
    for line in json_lines(open(os.path.join(out, "log.jsonl")).read()):
        for tag, value in rewrite_logs({k: v for k, v in line.items() if k != "step"}).items():
            want.setdefault(tag, []).append((line["step"], value))
    return want


def check_scalars(got, want):
    check(set(got) == set(want), f"tags {sorted(set(got) ^ set(want))} are on one side only")
    for tag in want:
        check(len(got[tag]) == len(want[tag]), f"{tag}: {len(got[tag])} values, expected {len(want[tag])}")
        for (step, value), (want_step, want_value) in zip(got[tag], want[tag]):
            check(step == want_step and abs(value - want_value) <= 1e-6 * abs(want_value),
                  f"{tag}: {value} at step {step}, expected {want_value} at {want_step}")


def values():
    with tempfile.TemporaryDirectory() as work:
        nibble(*arguments(work, "out", *options(work)))
        out = os.path.join(work, "out")
        want = logged(out)
        check(len(want["train/loss"]) == STEPS and len(want["eval/loss"]) == STEPS // 5, "steps are missing in log.jsonl")
        check_scalars(scalars(runs_of(out)), want)


def after_a_kill():
    with tempfile.TemporaryDirectory() as work:
        nibble(*arguments(work, "whole", *options(work)))
        whole, out = os.path.join(work, "whole"), os.path.join(work, "out")
        for lines in (37, 120, 205):
            killed(arguments(work, "out", *options(work)), os.path.join(out, "log.jsonl"), lines)
        nibble(*arguments(work, "out", *options(work)))
        files = sorted(glob.glob(os.path.join(runs_of(out), "events*")))
        check(len(files) == 4, f"{len(files)} event files of four starts")
        for path in files[1:]:
            events = list(LegacyEventFileLoader(path).Load())
            check(events[0].file_version.startswith("brain.Event:2"), f"{path}: no file_version")
            check(events[1].session_log.status == 1, f"{path}: no SessionLog START")
            check(events[1].step % 10 == 1, f"{path}: START of step {events[1].step}, expected one after a checkpoint")
        got, want = scalars(runs_of(out)), logged(out)
        check_scalars({t: sorted(v) for t, v in got.items()}, want)
        for tag in ("train/loss", "train/grad_norm", "train/learning_rate", "eval/loss"):
            check(logged(whole)[tag] == want[tag], f"{tag}: other values than without a kill")


if __name__ == "__main__":
    main([("tensorboard_values", values), ("tensorboard_after_a_kill", after_a_kill)])
