#!/usr/bin/env python3
"""Makes tests/fixtures/parquet: small Parquet files with FineWeb's columns, and what pyarrow reads.

    python tools/make_parquet_fixtures.py        needs pyarrow

NAME.jsonl is NAME.parquet as pyarrow reads it back, a row a line, null fields left out; that of snappy is also
for zstd, and some have none.

  snappy, zstd     the same 32 rows in row groups of 10; every kind of text: empty, long, Unicode
  kinds            zstd, data pages of version 2: text large_string, delta-encoded; id int64; no nulls allowed
  dictionary       text is dictionary<int32, string> of 7 values
  nulls            every seventh text and every fifth id, language and score are null
  sums             no codec, pages with checksums, groups of 5
  bytes            text is binary, row 5 is no UTF-8 and holds a NUL; no .jsonl
  struct           text is inside a struct: doc.text
  list             text is list<string>
  number           text is int64
  no_text          no column text
  no_rows          no row
  codec            snappy, with a codec that nobody knows in its second row group
  large            a text of 100 MB among small ones, zstd
  too_large        a text of 300 MB in the second of three row groups, zstd
"""
import json
import os
import random

import pyarrow as pa
import pyarrow.parquet as pq

folder = os.path.join(os.path.dirname(__file__), "..", "tests", "fixtures", "parquet")
os.makedirs(folder, exist_ok=True)
draw = random.Random(7)
words = "the river ran down to a stone bridge where old boats lay and men sold bread über 東京 😀 naïve".split()


def text(i):
    if i % 13 == 6:
        return ""
    return " ".join(draw.choice(words) for _ in range(3 + 60 * (i % 17 == 8) + draw.randrange(12))) + f" {i}.\n"


def table(n):
    rows = range(n)
    return pa.table({
        "text": [text(i) for i in rows],
        "id": [f"<urn:uuid:{i:08x}>" for i in rows],
        "dump": ["CC-MAIN-2013-20"] * n,
        "url": [f"http://example.org/{i}.html" for i in rows],
        "date": [f"20{13 + i % 8}-05-{1 + i % 28:02d}T00:00:00Z" for i in rows],
        "file_path": [f"s3://crawl/part-{i // 10:05d}.warc.gz" for i in rows],
        "language": ["de" if i % 4 == 3 else "en" for i in rows],
        "language_score": [round(0.65 + 0.35 * draw.random(), 4) for _ in rows],
        "token_count": pa.array([i * 11 % 97 for i in rows], pa.int64()),
    })


def path(name):
    return os.path.join(folder, name)


def write(name, rows, listed=True, **options):
    options = {"compression": "snappy", "row_group_size": 10, **options}
    pq.write_table(rows, path(name + ".parquet"), **options)
    if not listed:
        return
    with open(path(name + ".jsonl"), "w", encoding="utf-8") as out:
        for row in pq.read_table(path(name + ".parquet")).to_pylist():
            row = {key: value for key, value in row.items() if value is not None}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def with_text(rows, values):
    return rows.set_column(0, "text", values)


base = table(32)
write("snappy", base)
write("zstd", base, listed=False, compression="zstd")

kinds = with_text(base, pa.array(base["text"].to_pylist(), pa.large_string()))
kinds = kinds.set_column(1, "id", pa.array([i * 7 - 3 for i in range(32)], pa.int64()))
kinds = kinds.cast(pa.schema([field.with_nullable(False) for field in kinds.schema]))
write("kinds", kinds, compression="zstd", data_page_version="2.0", use_dictionary=False,
      column_encoding={"text": "DELTA_BYTE_ARRAY", "url": "DELTA_BYTE_ARRAY"})

few = [base["text"][i % 7].as_py() for i in range(32)]
write("dictionary", with_text(base, pa.array(few).dictionary_encode()))


def holed(name, every):
    return [None if i % every == every - 1 else value for i, value in enumerate(base[name].to_pylist())]


nulls = with_text(base, pa.array(holed("text", 7)))
for column, name in enumerate(["id", "dump", "url", "date", "file_path", "language", "language_score"], 1):
    if name in ("id", "language", "language_score"):
        nulls = nulls.set_column(column, name, pa.array(holed(name, 5)))
write("nulls", nulls)
write("sums", base.slice(0, 20), row_group_size=5, compression="none", write_page_checksum=True)

raw = [value.encode() for value in base["text"].to_pylist()]
raw[4] = b"bad \xff\xfe and\0a NUL"
write("bytes", with_text(base, pa.array(raw, pa.binary())), listed=False)

short = base.slice(0, 3).select(["text", "id"])
write("struct", pa.table({"doc": pa.StructArray.from_arrays([short["text"].combine_chunks()], ["text"])}), listed=False)
write("list", with_text(short, pa.array([["a", "b"], [], ["c"]])), listed=False)
write("number", with_text(short, pa.array([1, 2, 3])), listed=False)
write("no_text", short.select(["id"]), listed=False)
write("no_rows", base.slice(0, 0), listed=False)


def make_unknown_codec():
    """Puts LZO, which Arrow does not have, for snappy in group 1's column text: field 4 behind the path."""
    few_columns = base.slice(0, 6).select(["text", "language"])
    write("codec", few_columns, listed=False, row_group_size=2)
    with open(path("codec.parquet"), "rb") as file:
        parts = file.read().split(b"\x04text\x15\x02")
    assert len(parts) == 4
    with open(path("codec.parquet"), "wb") as file:
        file.write(parts[0] + b"\x04text\x15\x02" + parts[1] + b"\x04text\x15\x06" + parts[2] + b"\x04text\x15\x02" + parts[3])


make_unknown_codec()


def write_large(name, n_bytes):
    texts = ["first", "word " * (n_bytes // 5), "last"]
    pq.write_table(pa.table({"text": texts}), path(name + ".parquet"), compression="zstd", compression_level=19,
                   use_dictionary=False, row_group_size=3 if name == "large" else 1, write_statistics=False)


write_large("large", 100_000_000)
write_large("too_large", 300_000_000)

for name in sorted(os.listdir(folder)):
    print(f"{os.path.getsize(path(name)):9d} {name}")
