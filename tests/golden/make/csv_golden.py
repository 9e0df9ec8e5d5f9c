"""Makes tests/golden/containers/*.csv, *.tsv and the records `datasets` reads from them, *.jsonl.

datasets 5.0.1, pandas 3.1.1.  Read with every column as text and only the empty cell as null,
which is what nibble does (src/format/csv.h says why).
Run from the top of the repository: python3 tests/golden/make/csv_golden.py
"""
import csv
import json
import os
import tempfile

from datasets import Features, Value, load_dataset

OUT = "tests/golden/containers"
ROWS = [
    ["1", "Name a prime.", "", "7"],
    ["2", "Say \"hi\"", "to, whom?", "Hi,\nthere\r\n\"you\""],
    ["3", "NA", "None", "null"],
    ["007", " spaces ", "tab\there", "1e5"],
    ["5", "café 日本 😀", "\"", ",\n,"],
    ["6", "a\rb", "  ", "-0.50"],
]
NAMES = ["id", "instruction", "input", "output"]


def read_with_datasets(path):
    """The rows as `datasets` gives them, every column a string."""
    separator = "\t" if path.endswith(".tsv") else ","
    with open(path, newline="", encoding="utf-8-sig") as f:
        names = next(row for row in csv.reader(f, delimiter=separator) if "".join(row).strip())
    names = [n or f"Unnamed: {i}" for i, n in enumerate(names)]
    with tempfile.TemporaryDirectory() as cache:
        rows = load_dataset("csv", data_files=path, split="train", sep=separator, cache_dir=cache,
                            features=Features({n: Value("string") for n in names}),
                            keep_default_na=False, na_values=[""], keep_in_memory=True)
        return [dict(r) for r in rows]


def write(name, text, encoding="utf-8"):
    path = os.path.join(OUT, name)
    with open(path, "w", newline="", encoding=encoding) as f:
        f.write(text)
    with open(os.path.join(OUT, name + ".jsonl"), "w") as f:
        for row in read_with_datasets(path):
            f.write(json.dumps(row, ensure_ascii=False) + "\n")


def dialect(rows, **how):
    import io
    text = io.StringIO()
    csv.writer(text, **how).writerows([NAMES] + rows)
    return text.getvalue()


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    write("excel.csv", dialect(ROWS))
    write("unix-bom.csv", dialect(ROWS, dialect="unix"), encoding="utf-8-sig")
    write("tabs.tsv", dialect(ROWS, delimiter="\t"))
    write("blank-lines.csv", '\n  \na,b\n\nx,y\n \t\n"",z\n\r\n p , "q"\nm"i"d,"en"d\n\n')
    write("one-column.csv", 'text\nfirst\n\n""\n"line\n\nbreak"\nlast')
    write("index-old-mac.csv", ',text,\r0,x,\r1,,y\r')
