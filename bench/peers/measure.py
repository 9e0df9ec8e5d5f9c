"""measure.py - programs measured in turns: each run a process of its own, with its own peak of memory.

A program is a name and a function that runs it once and returns a Sample.  compare() runs them
A B A B ..., so that what else the machine does meets all of them alike, and reduces the samples to best
and median.  Standard library only: the runner itself stays small, for a child begins its life as a copy
of it and the kernel counts that copy in the child's peak."""
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field

LONGEST = 3600  # seconds of one process; what takes longer hangs


class Missing(Exception):
    """Something that cannot be had on this machine: the rows that need it are skipped, and say so."""


class Failed(Exception):
    """A program ended with an error or did other work than was asked for."""


@dataclass
class Sample:
    """One run.  values: metric -> figures (several where one process does several steps)."""
    values: dict
    peak_bytes: int
    notes: dict = field(default_factory=dict)


def say(text):
    print(text, file=sys.stderr, flush=True)


def run_process(command, threads, cpus=None):
    """Runs a command; (standard output, peak resident bytes).  cpus: the processors it may use."""
    command = [str(c) for c in command]
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads), HF_HUB_OFFLINE="1",
               TOKENIZERS_PARALLELISM="false", PYTHONWARNINGS="ignore")
    limit = (lambda: os.sched_setaffinity(0, cpus)) if cpus else None
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, preexec_fn=limit)
        timer = threading.Timer(LONGEST, child.kill)
        timer.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            child.kill()  # an interrupt leaves no process behind
            raise
        finally:
            timer.cancel()
        out.seek(0), err.seek(0)
        if child.returncode != 0:
            said = err.read().decode(errors="replace").strip().splitlines()
            raise Failed(f"{' '.join(command)}: exit {child.returncode}: {' | '.join(said[-3:])}")
        return out.read().decode(), usage.ru_maxrss * 1024


def run_in_turns(programs, repetitions):
    """programs: name -> function().  name -> list of Samples, taken A B A B ..."""
    samples = {name: [] for name in programs}
    for turn in range(repetitions):
        for name, run in programs.items():
            say(f"  turn {turn + 1} of {repetitions}: {name}")
            samples[name].append(run())
    return samples


def reduce_samples(samples, metric, smaller_is_better):
    """Best and median of all figures of one program, and its greatest peak of memory."""
    figures = [v for s in samples for v in s.values[metric]]
    return {"best": (min if smaller_is_better else max)(figures), "median": statistics.median(figures),
            "figures": figures, "peak_memory_bytes": max(s.peak_bytes for s in samples), "notes": samples[-1].notes}


def compare(work, metrics, programs, repetitions):
    """One result a metric.  metrics: name -> (title, unit, smaller_is_better); the first program is the
    one that the others are compared with: ratios above 1 say that it is quicker."""
    say(work)
    samples = run_in_turns(programs, repetitions)
    results = []
    for metric, (title, unit, smaller) in metrics.items():
        got = {name: reduce_samples(samples[name], metric, smaller) for name in programs}
        (_, ours), *peers = got.items()
        ratios = {}
        for name, theirs in peers:
            speed = {k: theirs[k] / ours[k] if smaller else ours[k] / theirs[k] for k in ("best", "median")}
            ratios[name] = {"speed_best": speed["best"], "speed_median": speed["median"],
                            "memory": ours["peak_memory_bytes"] / theirs["peak_memory_bytes"]}
        results.append({"work": title, "unit": unit, "programs": got, "ratios": ratios})
    return results


class Neighbour:
    """A process that takes all it can get of one processor while the `with` block runs."""

    def __init__(self, cpu):
        self.cpu = cpu

    def __enter__(self):
        self.child = subprocess.Popen(
            [sys.executable, "-c", "while True: pass"], stdin=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, {self.cpu}))
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()
