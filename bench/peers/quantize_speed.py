"""quantize_speed.py - seconds and peak memory of GPTQ and AWQ, this program beside GPTQModel, on the same token ids.

    python bench/peers/quantize_speed.py --model DIR --work DIR [--records 128] [--only gptq,awq] [--turns 1]

Runs in a Python with GPTQModel 7.7 and transformers.  DIR: a dense model, SmolLM2-135M (tests/interop/smollm2.py
prints where it is).  4 bits, groups of 128 where they divide each width, else 64; records of 512 tokens from manual
pages (see quantize_quality.py).  Both run with all processors, in turns, each in a process of its own; GPTQModel's
time is that of its quantize() alone, without loading, this program's that of the whole command."""
import argparse
import json
import os
import shutil
import sys
import time

from measure import Sample, compare, run_process, say
from quantize_quality import LENGTH, TOP, page_texts


def theirs_main(model, data, out, method, group):
    """In the child: one JSON line with the seconds of quantize()."""
    from gptqmodel import GPTQModel, QuantizeConfig
    records = [json.loads(line)["input_ids"] for line in open(data)]
    more = {"format": "gemm"} if method == "awq" else {"act_group_aware": False}
    config = QuantizeConfig(bits=4, group_size=group, sym=method == "gptq", desc_act=False, method=method, **more)
    loaded = GPTQModel.load(model, config, device="cpu")
    begin = time.perf_counter()
    loaded.quantize([{"input_ids": r, "attention_mask": [1] * len(r)} for r in records], batch_size=1)
    seconds = time.perf_counter() - begin
    loaded.save(out)
    print(json.dumps({"seconds": seconds}))


def theirs(a, data, method, group):
    out = os.path.join(a.work, "theirs")
    shutil.rmtree(out, ignore_errors=True)
    os.environ["GPTQMODEL_CPU_WORKERS"] = str(os.cpu_count())
    text, peak = run_process([sys.executable, os.path.abspath(__file__), "--child", method, "--group", group, "--model",
                              a.model, "--data", data, "--work", out], os.cpu_count())
    return Sample({"seconds": [json.loads(text.strip().splitlines()[-1])["seconds"]]}, peak)


def ours(a, data, method, group):
    begin = time.perf_counter()
    _, peak = run_process([a.nibble, "quantize", a.model, os.path.join(a.work, "ours"), "--overwrite", "--format", method,
                           "--algorithm", method, "--bits", 4, "--group-size", group, "--sym",
                           "true" if method == "gptq" else "false", "--calibration-data", data,
                           "--num-calibration-samples", a.records, "--calibration-length", LENGTH]
                          + ["--true-sequential"] * (method == "gptq"), os.cpu_count())
    return Sample({"seconds": [time.perf_counter() - begin]}, peak)


def make_data(a):
    from transformers import AutoTokenizer
    path = os.path.join(a.work, "calibration.jsonl")
    ids = AutoTokenizer.from_pretrained(a.model)(" ".join(page_texts(a.work)), add_special_tokens=False)["input_ids"]
    assert len(ids) >= a.records * LENGTH, f"{len(ids)} tokens"
    with open(path, "w") as f:
        for i in range(a.records):
            f.write(json.dumps({"input_ids": ids[i * LENGTH:(i + 1) * LENGTH]}) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--nibble", default=os.path.join(TOP, "build", "nibble"))
    parser.add_argument("--records", type=int, default=128)
    parser.add_argument("--only", default="gptq,awq")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--child")
    parser.add_argument("--group", type=int)
    parser.add_argument("--data")
    a = parser.parse_args()
    if a.child == "texts":
        return make_data(a)
    if a.child:
        return theirs_main(a.model, a.data, a.work, a.child, a.group)
    os.makedirs(a.work, exist_ok=True)
    # elsewhere: a child's peak begins with what its parent holds, so this process holds little
    run_process([sys.executable, os.path.abspath(__file__), "--child", "texts", "--model", a.model, "--work", a.work,
                 "--records", a.records], os.cpu_count())
    data = os.path.join(a.work, "calibration.jsonl")
    config = json.load(open(os.path.join(a.model, "config.json")))
    group = 128 if config["hidden_size"] % 128 == config["intermediate_size"] % 128 == 0 else 64
    for method in a.only.split(","):
        result, = compare(f"{method}, 4 bits, groups of {group}, {a.records} x {LENGTH} tokens",
                          {"seconds": ("quantize", "s", True)},
                          {"nibble": lambda: ours(a, data, method, group),
                           "GPTQModel": lambda: theirs(a, data, method, group)}, a.turns)
        for name, got in result["programs"].items():
            print(f"{method:5} {name:10} {got['best']:8.1f} s  peak {got['peak_memory_bytes'] / 2**20:7.0f} MiB")
        ratio = result["ratios"]["GPTQModel"]
        say(f"{method}: {ratio['speed_best']:.2f} x as fast, {ratio['memory']:.2f} of the memory")
    return 0


if __name__ == "__main__":
    sys.exit(main())
