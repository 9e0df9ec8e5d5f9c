"""Makes tests/golden/containers/*.parquet and the records pyarrow reads from them, *.parquet.jsonl.

pyarrow 26.0.1, datasets 5.0.1.  A record is what to_pylist() gives, but for what JSON has not: times
as isoformat(), decimals with all digits, maps as objects, NaN as null (src/format/parquet_value.h).
Run from the top of the repository: python3 tests/golden/make/parquet_golden.py
"""
import datetime as dt
import decimal
import json
import math
import os
import tempfile
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

OUT = "tests/golden/containers"
D = decimal.Decimal


def plain(value):
    """A value as JSON has it."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(v, tuple) for v in value):
            return {k: plain(v) for k, v in value}
        return [plain(v) for v in value]
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def expect(name, rows):
    with open(os.path.join(OUT, name + ".jsonl"), "w") as f:
        for row in rows:
            f.write(json.dumps(plain(row), ensure_ascii=False) + "\n")


def write(name, table, **how):
    path = os.path.join(OUT, name)
    pq.write_table(table, path, **{"store_schema": False, "write_statistics": False, **how})
    rows = table.to_pylist() if "map" in name else pq.read_table(path).to_pylist()
    expect(name, [{k: json.loads(v) if v and k == "json" else v for k, v in row.items()} for row in rows])


def message(role, content):
    return {"role": role, "content": content}


CHAT = pa.table({
    "id": pa.array([1, 2, 3, 4, 5, 6, 7], pa.int64()),
    "text": ["one", None, "", "café 日本 😀", "one", "one", "x" * 70],
    "ok": [True, False, None, True, True, None, False],
    "score": [0.5, -1e300, None, 3.0, float("nan"), 1e-7, 2.0],
    "messages": pa.array([
        [message("user", "Hi"), message("assistant", "Hello")], [], None,
        [message("user", None)], [message("system", "s"), None, message("user", "")],
        [message(None, None)], [message("user", "y" * 40) for _ in range(12)],
    ], pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
})

NESTED = pa.table({
    "deep": pa.array([[[1, 2], [], None, [3]], [], None, [[]], [None, [None, 4]]], pa.list_(pa.list_(pa.int32()))),
    "point": pa.array([{"x": 1, "tags": ["a", None]}, None, {"x": None, "tags": None}, {"x": 2, "tags": []},
                       {"x": 3, "tags": ["b", "c"]}], pa.struct([("x", pa.int32()), ("tags", pa.list_(pa.string()))])),
    "calls": pa.array([[{"name": "f", "args": [{"k": "a", "v": [1]}]}], [], [{"name": None, "args": None}],
                       [{"name": "g", "args": []}, {"name": "h", "args": [None, {"k": None, "v": [2, 3]}]}], None],
                      pa.list_(pa.struct([("name", pa.string()), ("args", pa.list_(pa.struct([
                          ("k", pa.string()), ("v", pa.list_(pa.int64()))])))]))),
    "sure": pa.array([["a"], ["b", "c"], [], ["d"], []], pa.list_(pa.field("element", pa.string(), nullable=False))),
})
NESTED = NESTED.cast(pa.schema([f if f.name != "sure" else f.with_nullable(False) for f in NESTED.schema]))

MAPS = pa.table({
    "m": pa.array([[("a", 1), ("b", None)], None, [("c", 3)]], pa.map_(pa.string(), pa.int64())),
    "l": pa.array([[[("x", [1, 2])], None], [], [[("y", []), ("z", None)]]], pa.list_(pa.map_(pa.string(), pa.list_(pa.int32())))),
})

UTC = dt.timezone.utc
TYPES = pa.table({
    "i8": pa.array([-128, 127, None], pa.int8()), "u8": pa.array([255, 0, 1], pa.uint8()),
    "i16": pa.array([-32768, 32767, 0], pa.int16()), "u32": pa.array([2**32 - 1, 0, None], pa.uint32()),
    "i64": pa.array([-2**63, 2**63 - 1, 0], pa.int64()), "u64": pa.array([2**63 - 1, 0, None], pa.uint64()),
    "f16": pa.array([1.5, -6e-8, float("nan")], pa.float16()), "f32": pa.array([0.1, -3e38, None], pa.float32()),
    "date": pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(2024, 2, 29)], pa.date32()),
    "ms": pa.array([dt.datetime(1969, 12, 31, 23, 59, 59, 999000), dt.datetime(2000, 1, 1), None], pa.timestamp("ms")),
    "ns": pa.array([1, -1, 10**9 * 86400 * 365 + 5000], pa.timestamp("ns")),
    "us": pa.array([dt.datetime(1700, 2, 28, 1, 2, 3, 4, UTC), dt.datetime(2024, 12, 31, 23, 59, 59, 0, UTC), None],
                   pa.timestamp("us", tz="UTC")),
    "time": pa.array([dt.time(0, 0, 0, 1), dt.time(23, 59, 59), None], pa.time64("us")),
    "dec": pa.array([D("12.50"), D("-0.01"), D("0.00")], pa.decimal128(9, 2)),
    "big": pa.array([D("-99999999999999999999999999999999999999"), D("1"), None], pa.decimal128(38, 0)),
    "small": pa.array([D("0.000000000000000001"), D("-1.5"), None], pa.decimal128(20, 18)),
    "nothing": pa.nulls(3), "uuid": pa.array([bytes(range(16)), None, b"\xff" * 16], pa.uuid()),
    "large": pa.array(["a", None, "b"], pa.large_string()),
    "json": pa.array(['{"a": 1}', None, "[]"], pa.string()).cast(pa.json_(pa.string())),
    "word": pa.array(["red", "blue", "red"]).dictionary_encode(),
})

DELTAS = pa.table({
    "i32": pa.array([2**31 - 1, -2**31, 0, 5, 5, 5, None] + list(range(140)), pa.int32()),
    "i64": pa.array([-2**63, 2**63 - 1, 0, None, 7, 8, 9] + [i * i * (-1)**i for i in range(140)], pa.int64()),
    "length": ["a", "", None, "日本", "e", "f", "g"] + [f"word{i % 7}" for i in range(140)],
    "prefix": ["a", "ab", None, "abc", "b", "", "abcd"] + [f"path/to/{i // 10}/{i}" for i in range(140)],
    "split": pa.array([0.1, None, -2.5, float("nan"), 1, 2, 3] + [i / 3 for i in range(140)], pa.float32()),
    "whole": pa.array([1, None, -2, 3, 4, 5, 6] + list(range(140)), pa.int64()),
    "flag": [True, None, False, True, True, True, True] + [i % 3 == 0 for i in range(140)],
})


def write_codecs():
    ids = pa.table({"id": [1, 2, 3], "text": ["a", "b", "c"]})
    write("brotli.parquet", ids, compression={"id": "none", "text": "brotli"})
    write("lz4-raw.parquet", ids, compression="lz4")  # arrow writes bare blocks, LZ4_RAW


def write_refused():
    """What nibble does not read: no .jsonl beside them."""
    how = {"store_schema": False, "write_statistics": False}
    odd = pa.table({"id": [1, 2], "raw": pa.array([b"ab", b"cd"], pa.binary(2)), "image": [b"\xff\xd8", b"\0"],
                    "far": [float("inf"), 0.], "much": pa.array([2**64 - 1, 0], pa.uint64()),
                    "by_number": pa.array([[(1, "a")], []], pa.map_(pa.int64(), pa.string()))})
    pq.write_table(odd, os.path.join(OUT, "refused-values.parquet"), **how)


# --- files of a form that pyarrow reads but does not write, byte by byte ---

def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


class I64(int):
    pass


def struct(*fields):
    """Thrift's compact protocol: (id, int, text, list of structs or struct) in the order of their ids."""
    out, last = b"", 0
    for number, value in fields:
        kind = 6 if isinstance(value, I64) else 5 if isinstance(value, int) else 8 if isinstance(value, str) else 9 if isinstance(value, list) else 12
        out += bytes([number - last << 4 | kind])
        last = number
        if kind in (5, 6):
            out += varint(value << 1 if value >= 0 else -value * 2 - 1)
        elif kind == 8:
            out += varint(len(value.encode())) + value.encode()
        elif kind == 9:
            out += (bytes([len(value) << 4 | 12]) if len(value) < 15 else bytes([0xfc]) + varint(len(value))) + b"".join(value)
        else:
            out += value
    return out + b"\0"


def element(name, repetition=None, kind=None, children=None, converted=None):
    fields = [(1, kind), (3, repetition), (4, name), (5, children), (6, converted)]
    return struct(*[f for f in fields if f[1] is not None])


def levels(values, most):
    """Runs of one, each in a byte, behind their length."""
    if not most:
        return b""
    runs = b"".join(bytes([2, v]) for v in values)
    return len(runs).to_bytes(4, "little") + runs


def write_by_hand(name, rows, schema, leaves):
    """leaves: (kind, repetition levels, their most, definition levels, their most, values as PLAIN)."""
    data, chunks = b"PAR1", []
    for kind, repetition, most_repetition, definition, most_definition, values in leaves:
        page = levels(repetition, most_repetition) + levels(definition, most_definition) + values
        count = max(len(repetition), len(definition))
        header = struct((1, 0), (2, len(page)), (3, len(page)), (5, struct((1, count), (2, 0), (3, 3), (4, 3))))
        size, begin = I64(len(header + page)), I64(len(data))
        chunks.append(struct((2, begin), (3, struct((1, kind), (2, []), (3, []), (4, 0), (5, I64(count)), (6, size),
                                                    (7, size), (9, begin)))))
        data += header + page
    footer = struct((1, 1), (2, schema), (3, I64(rows)), (4, [struct((1, chunks), (2, I64(len(data))), (3, I64(rows)))]))
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(data + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    expect(name, pq.read_table(os.path.join(OUT, name)).to_pylist())


def texts(*words):
    return b"".join(len(w).to_bytes(4, "little") + w.encode() for w in words)


def numbers(*values):
    return b"".join(v.to_bytes(4, "little", signed=True) for v in values)


def write_old_lists(name):
    """The older forms of lists of LogicalTypes.md: three rows of each."""
    required, optional, repeated, text, int32, utf8, is_list = 0, 1, 2, 6, 1, 0, 3
    write_by_hand(name, 3, [
        element("schema", children=5),
        element("tags", optional, children=1, converted=is_list), element("element", repeated, text, converted=utf8),
        element("pairs", optional, children=1, converted=is_list), element("pair", repeated, children=2),
        element("a", required, int32), element("b", optional, text, converted=utf8),
        element("ones", required, children=1, converted=is_list), element("array", repeated, children=1),
        element("s", required, text, converted=utf8),
        element("more", required, children=1, converted=is_list), element("more_tuple", repeated, children=1),
        element("n", optional, int32),
        element("plain", repeated, int32),
    ], [
        (text, [0, 1, 0, 0], 1, [2, 2, 1, 0], 2, texts("x", "y")),
        (int32, [0, 0, 1, 0], 1, [0, 2, 2, 2], 2, numbers(1, -2, 3)),
        (text, [0, 0, 1, 0], 1, [0, 3, 2, 3], 3, texts("p", "q")),
        (text, [0, 0, 1, 0], 1, [1, 1, 1, 0], 1, texts("k", "l", "m")),
        (int32, [0, 0, 1, 0], 1, [0, 2, 1, 2], 2, numbers(7, 8)),
        (int32, [0, 1, 1, 0, 0], 1, [1, 1, 1, 0, 1], 1, numbers(4, 5, 6, 9)),
    ])


def write_with_datasets(name):
    from datasets import Dataset
    rows = [r for r in CHAT.select(["text", "messages"]).to_pylist()]
    Dataset.from_list(rows).to_parquet(os.path.join(OUT, name))
    expect(name, pq.read_table(os.path.join(OUT, name)).to_pylist())


def write_json_of_datasets(name):
    """Its feature Json, which it parses again when it reads the file."""
    from datasets import Dataset, Features, Json, List, Value, load_dataset
    call = {"name": "f", "arguments": Json()}
    rows = [{"id": 1, "tools": [{"type": "function", "f": [1, 2.5, None]}, "x"], "calls": [{"name": "a", "arguments": {"x": {"y": "é"}}}]},
            {"id": 2, "tools": None, "calls": [{"name": "b", "arguments": 7}, {"name": "c", "arguments": "text"}]}]
    features = Features({"id": Value("int64"), "tools": Json(), "calls": List({**call, "name": Value("string")})})
    Dataset.from_list(rows, features=features).to_parquet(os.path.join(OUT, name))
    with tempfile.TemporaryDirectory() as cache:
        expect(name, [dict(r) for r in load_dataset("parquet", data_files=os.path.join(OUT, name), split="train", cache_dir=cache)])


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    write("snappy-v1.parquet", CHAT, compression="snappy")
    write("none-v1-plain.parquet", CHAT, compression="none", use_dictionary=False)
    write("gzip-v2.parquet", CHAT, compression="gzip", data_page_version="2.0")
    write("zstd-v2-plain.parquet", CHAT, compression="zstd", data_page_version="2.0", use_dictionary=False)
    write("none-v2.parquet", CHAT, compression="none", data_page_version="2.0")
    write("mixed-checksums.parquet", CHAT, compression={"id": "gzip", "text": "zstd", "ok": "none", "score": "snappy"},
          write_page_checksum=True)
    write("groups-pages.parquet", pa.concat_tables([CHAT] * 3), row_group_size=5, data_page_size=32, write_batch_size=2,
          dictionary_pagesize_limit=40)
    write("nested.parquet", NESTED)
    write("nested-old-names.parquet", NESTED, use_compliant_nested_type=False, data_page_version="2.0")
    write("maps.parquet", MAPS)
    write("types.parquet", TYPES, store_schema=True)
    write("int96.parquet", TYPES.select(["ms", "us", "ns"]), use_deprecated_int96_timestamps=True)
    write("deltas.parquet", DELTAS, use_dictionary=False, compression="zstd", column_encoding={
        "i32": "DELTA_BINARY_PACKED", "i64": "DELTA_BINARY_PACKED", "length": "DELTA_LENGTH_BYTE_ARRAY",
        "prefix": "DELTA_BYTE_ARRAY", "split": "BYTE_STREAM_SPLIT", "whole": "BYTE_STREAM_SPLIT", "flag": "RLE"})
    write("empty.parquet", CHAT.slice(0, 0))
    write_with_datasets("datasets.parquet")
    write_json_of_datasets("datasets-json.parquet")
    write_old_lists("old-lists.parquet")
    write_codecs()
    write_refused()
