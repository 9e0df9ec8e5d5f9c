"""The readers of data files against the libraries that write such files: random tables written by csv,
pandas, pyarrow and datasets, read by build/tests/interop/dump_table and dump_records, compared with
what `datasets` and pyarrow read; and the files of random folders with those `datasets` finds."""
import csv
import datetime as dt
import decimal
import json
import math
import os
import random
import subprocess
import tempfile

from common import TOP, check, main

DUMP = os.environ.get("DUMP_TABLE") or os.path.join(TOP, "build", "tests", "interop", "dump_table")
DUMP_RECORDS = os.path.join(os.path.dirname(DUMP), "dump_records")
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


# --- parquet ---

def plain(value):
    """A value of to_pylist() as nibble gives it (src/format/parquet_value.h)."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    return None if isinstance(value, float) and math.isnan(value) else value


def random_type(rng, depth):
    """An arrow type and a maker of its values."""
    import pyarrow as pa
    day = dt.date(1970, 1, 1)
    leaves = [
        (pa.string(), lambda: random_text(rng)), (pa.string(), lambda: rng.choice(PIECES)),
        (pa.large_string(), lambda: random_text(rng)), (pa.bool_(), lambda: rng.random() < .5),
        (pa.int8(), lambda: rng.randrange(-128, 128)), (pa.uint16(), lambda: rng.randrange(1 << 16)),
        (pa.int32(), lambda: rng.randrange(-2**31, 2**31)), (pa.uint32(), lambda: rng.randrange(2**32)),
        (pa.int64(), lambda: rng.choice([rng.randrange(-2**63, 2**63), rng.randrange(-9, 9)])),
        (pa.uint64(), lambda: rng.randrange(2**63)), (pa.float32(), lambda: rng.choice([.1, -2.5, 1e30, float("nan")])),
        (pa.float64(), lambda: rng.uniform(-1e9, 1e9)), (pa.date32(), lambda: day + dt.timedelta(rng.randrange(-700000, 2900000))),
        (pa.timestamp("us"), lambda: dt.datetime(1970, 1, 1) + dt.timedelta(0, rng.randrange(-10**10, 10**10), rng.randrange(10**6))),
        (pa.timestamp("ms", "UTC"), lambda: dt.datetime.fromtimestamp(rng.randrange(-10**9, 10**10), dt.timezone.utc)),
        (pa.decimal128(20, 5), lambda: decimal.Decimal(rng.randrange(-10**18, 10**18)).scaleb(-5)),
    ]
    kind = rng.random()
    if depth == 0 or kind < .5:
        return rng.choice(leaves)
    if kind < .75:
        inner, make = random_type(rng, depth - 1)
        return pa.list_(inner), lambda: [maybe(rng, make) for _ in range(rng.choice([0, 1, 1, 2, 5]))]
    members = [(f"m{i}", *random_type(rng, depth - 1)) for i in range(rng.randrange(1, 4))]
    return (pa.struct([(n, t) for n, t, _ in members]), lambda: {n: maybe(rng, make) for n, _, make in members})


def maybe(rng, make):
    return None if rng.random() < .15 else make()


def parquet_equals_pyarrow():
    import pyarrow as pa
    import pyarrow.parquet as pq
    rng = random.Random(7)
    encodings = {pa.int32(): ["DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"], pa.int64(): ["DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"],
                 pa.string(): ["DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"], pa.float32(): ["BYTE_STREAM_SPLIT"]}
    with tempfile.TemporaryDirectory() as work:
        for case in range(60):
            rows = rng.choice([0, 1, 2, 9, 70, 400])
            columns = {f"c{i}": random_type(rng, rng.randrange(5)) for i in range(rng.randrange(1, 6))}
            table = pa.table({n: pa.array([maybe(rng, make) for _ in range(rows)], kind) for n, (kind, make) in columns.items()})
            how = {"compression": rng.choice(["none", "snappy", "gzip", "zstd"]), "use_dictionary": rng.random() < .6,
                   "data_page_version": rng.choice(["1.0", "2.0"]), "row_group_size": rng.choice([1, 7, 100, 1000]),
                   "data_page_size": rng.choice([1, 64, 1 << 20]), "write_batch_size": rng.choice([1, 3, 1024]),
                   "dictionary_pagesize_limit": rng.choice([16, 1 << 20]), "write_page_checksum": rng.random() < .3,
                   "use_compliant_nested_type": rng.random() < .5, "store_schema": rng.random() < .5}
            if not how["use_dictionary"]:
                how["column_encoding"] = {n: rng.choice(encodings[kind]) for n, (kind, _) in columns.items() if kind in encodings}
            path = os.path.join(work, f"{case}.parquet")
            pq.write_table(table, path, **how)
            want = [plain(row) for row in table.to_pylist()]  # pyarrow 26 itself fails on some empty tables
            check_rows(dump(path), want, f"case {case}: {table.schema.to_string()} {how}")
            one = rng.choice(list(columns))
            check_rows(dump(path, one), [{one: row[one]} for row in want], f"case {case}, only {one}")


# --- records ---

def dump_records(path, split="-", field="-", *files):
    done = subprocess.run([DUMP_RECORDS, path, split, field, *files], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    check(done.returncode == 0, f"dump_records {path} {split}: exit {done.returncode}: {done.stderr.decode(errors='replace')}")
    return [line for line in done.stdout.decode().split("\n") if line]


def without_nulls(value):
    """datasets fills a member that some record lacks with null."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


def random_records(rng):
    def chat():
        return [{"role": rng.choice(["system", "user", "assistant"]), "content": random_text(rng)} for _ in range(rng.randrange(1, 4))]
    shape = rng.choice([lambda: {"messages": chat(), "source": rng.choice(["a", None])},
                        lambda: {"text": random_text(rng)},
                        lambda: {"instruction": random_text(rng), "input": rng.choice(["", None, "x"]), "output": random_text(rng),
                                 "score": rng.randrange(-999, 999) / 8, "n": rng.randrange(-9, 9), "ok": True}])
    return [shape() for _ in range(rng.randrange(1, 30))]


def load(kind, path, cache, **how):
    from datasets import disable_progress_bars, load_dataset
    disable_progress_bars()
    return [dict(r) for r in load_dataset(kind, data_files=path, split="train", cache_dir=cache, keep_in_memory=True, **how)]


def files_of_datasets_equal():
    """What Dataset.to_parquet and to_json (lines, array) wrote, and an array under a field."""
    from datasets import Dataset, disable_progress_bars
    disable_progress_bars()
    rng = random.Random(8)
    with tempfile.TemporaryDirectory() as work:
        for case in range(12):
            records, base = random_records(rng), os.path.join(work, str(case))
            data = Dataset.from_list(records)
            data.to_parquet(base + ".parquet")
            data.to_json(base + ".jsonl")
            data.to_json(base + ".json", lines=False)
            with open(base + "-field.json", "w") as f:
                json.dump({"version": "1", "other": [], "data": records}, f, indent=rng.choice([None, 2]))
            for path, kind, how in [(base + ".parquet", "parquet", {}), (base + ".jsonl", "json", {}), (base + ".json", "json", {}),
                                    (base + "-field.json", "json", {"field": "data"})]:
                want = [without_nulls(r) for r in load(kind, path, os.path.join(work, "cache"), **how)]
                got = [without_nulls(json.loads(line)) for line in dump_records(path, "-", how.get("field", "-"))]
                check(got == want, f"{path}: {got!r}, expected {want!r}")


NAMES = ["train.jsonl", "test.jsonl", "valid.jsonl", "my-train-1.jsonl", "trainer.jsonl", "dev_set.jsonl", "x.jsonl", "eval.jsonl",
         "data.test.jsonl", "training 2.jsonl", "val.jsonl", "README.md", ".train.jsonl", "config.json", "train-00000-of-00002.jsonl",
         "train-00001-of-00002.jsonl", "random-00000-of-00001.jsonl", "strain.jsonl", "latest.jsonl", "validation-0.jsonl"]
FOLDERS = ["", "", "", "data", "train", "test-1", "my_validation", "__pycache__", ".git", "data/dev", "other", "trains"]


def folders_equal_datasets():
    from datasets.data_files import EmptyDatasetError, get_data_patterns, resolve_pattern
    rng = random.Random(9)
    found = 0
    with tempfile.TemporaryDirectory() as work:
        for case in range(150):
            top = os.path.join(work, str(case))
            for _ in range(rng.randrange(1, 7)):
                folder = os.path.join(top, rng.choice(FOLDERS))
                os.makedirs(folder, exist_ok=True)
                with open(os.path.join(folder, rng.choice(NAMES)), "w") as f:
                    f.write('{"a": 1}\n')
            try:
                patterns = get_data_patterns(top)
            except EmptyDatasetError:
                continue
            for split, wanted in patterns.items():
                want = set()
                for pattern in wanted:
                    try:
                        want.update(resolve_pattern(pattern, top))
                    except FileNotFoundError:
                        pass
                want = sorted(p for p in want if p.endswith(".jsonl"))
                if not want:
                    continue
                got = dump_records(top, str(split), "-", "files")
                check(got == want, f"case {case}, split {split}: {got}, expected {want}")
                found += 1
    check(found > 150, f"only {found} splits were compared")


TESTS = [("parquet equals pyarrow", parquet_equals_pyarrow), ("files of datasets equal", files_of_datasets_equal),
         ("folders equal datasets", folders_equal_datasets), ("csv equals datasets", csv_equals_datasets), ("csv equals the csv module", csv_equals_csv_module),
         ("csv of datasets and pandas", csv_of_datasets_and_pandas)]

if __name__ == "__main__":
    main(TESTS)
