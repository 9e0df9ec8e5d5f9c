"""The readers of csv, tsv and parquet against the libraries that write such files: random tables
written by csv, pandas, pyarrow and datasets, read by build/tests/interop/dump_table, compared with
what `datasets` and pyarrow read."""
import csv
import json
import os
import random
import subprocess
import tempfile

from common import TOP, check, main

DUMP = os.environ.get("DUMP_TABLE") or os.path.join(TOP, "build", "tests", "interop", "dump_table")
PIECES = ["a", "Zz", " ", "\n", "\r\n", "\"", "\"\"", ",", ";", "\t", "é", "日", "😀", "0", "007", "1.50", "NA", "None",
          "null", "nan", "'", "\\", "#", "{}", "--", "x" * 40]


def dump(path, *columns):
    done = subprocess.run([DUMP, path, *columns], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    check(done.returncode == 0, f"dump_table {path}: exit {done.returncode}: {done.stderr.decode(errors='replace')}")
    return [json.loads(line) for line in done.stdout.decode().split("\n") if line]


def check_rows(got, want, what):
    check(len(got) == len(want), f"{what}: {len(got)} records, expected {len(want)}")
    for i, (g, w) in enumerate(zip(got, want)):
        check(g == w and json.dumps(g) == json.dumps(w), f"{what}: record {i} is {g!r}, expected {w!r}")


def random_text(rng, longest=6):
    return "".join(rng.choice(PIECES) for _ in range(rng.randrange(longest + 1)))


def read_csv_with_datasets(path, names, separator):
    from datasets import Features, Value, disable_progress_bars, load_dataset
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        rows = load_dataset("csv", data_files=path, split="train", sep=separator, cache_dir=cache,
                            features=Features({n: Value("string") for n in names}),
                            keep_default_na=False, na_values=[""], keep_in_memory=True)
        return [dict(r) for r in rows]


def csv_equals_datasets():
    rng = random.Random(5)
    with tempfile.TemporaryDirectory() as work:
        for case in range(25):
            separator, ending = rng.choice([(",", "csv"), ("\t", "tsv")])
            names = [f"c{i}" if rng.random() < .7 else f"c, \"{i}\" é" for i in range(rng.randrange(1, 6))]
            rows = [[random_text(rng) for _ in names] for _ in range(rng.randrange(1, 60))]
            path = os.path.join(work, f"{case}.{ending}")
            with open(path, "w", newline="", encoding=rng.choice(["utf-8", "utf-8-sig"])) as f:
                csv.writer(f, delimiter=separator, quoting=rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
                           lineterminator=rng.choice(["\n", "\r\n"])).writerows([names] + rows)
            check_rows(dump(path), read_csv_with_datasets(path, names, separator), f"case {case}")


def csv_equals_csv_module():
    """What Python's csv module wrote comes back, but for empty cells, which are null."""
    rng = random.Random(6)
    with tempfile.TemporaryDirectory() as work:
        for case in range(60):
            names = [f"c{i}" for i in range(rng.randrange(1, 6))]
            rows = [[random_text(rng) for _ in names] for _ in range(rng.randrange(1, 60))]
            path = os.path.join(work, f"{case}.csv")
            with open(path, "w", newline="", encoding="utf-8") as f:
                csv.writer(f, quoting=csv.QUOTE_ALL).writerows([names] + rows)
            check_rows(dump(path), [{n: v or None for n, v in zip(names, row)} for row in rows], f"case {case}")


def csv_of_datasets_and_pandas():
    """to_csv of both libraries, with numbers, booleans, nulls and an index column: the text they wrote."""
    import pandas
    from datasets import Dataset
    columns = {"id": [1, 2, 3], "ok": [True, False, True], "x": [.5, 1e-7, 3.0], "text": ["a,\nb", None, "\"q\""]}
    with tempfile.TemporaryDirectory() as work:
        path = os.path.join(work, "d.csv")
        Dataset.from_dict(columns).to_csv(path)
        want = [{"id": "1", "ok": "True", "x": "0.5", "text": "a,\nb"}, {"id": "2", "ok": "False", "x": "1e-07", "text": None},
                {"id": "3", "ok": "True", "x": "3.0", "text": "\"q\""}]
        check_rows(dump(path), want, "Dataset.to_csv")
        pandas.DataFrame(columns).to_csv(path)
        check_rows(dump(path), [{"Unnamed: 0": str(i), **w} for i, w in enumerate(want)], "DataFrame.to_csv with its index")
        check_rows(dump(path, "text", "id"), [{k: w[k] for k in ("id", "text")} for w in want], "two columns")


TESTS = [("csv equals datasets", csv_equals_datasets), ("csv equals the csv module", csv_equals_csv_module),
         ("csv of datasets and pandas", csv_of_datasets_and_pandas)]

if __name__ == "__main__":
    main(TESTS)
