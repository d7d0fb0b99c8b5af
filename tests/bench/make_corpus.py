#!/usr/bin/env python3
"""A corpus in FineWeb's form for tests/bench/corpus: Parquet, snappy, row groups of 1,000 documents.

    python tests/bench/make_corpus.py OUTPUT.parquet MEGABYTES FILE.jsonl...

Documents are stretches of the files' texts, of FineWeb's lengths (log-normal, 3 KB on average), with
words drawn anew here and there, so that no two are equal.
"""
import json
import random
import sys

import pyarrow
import pyarrow.parquet

COLUMNS = {"text": pyarrow.string(), "id": pyarrow.string(), "dump": pyarrow.string(),
           "url": pyarrow.string(), "date": pyarrow.string(), "file_path": pyarrow.string(),
           "language": pyarrow.string(), "language_score": pyarrow.float64(),
           "token_count": pyarrow.int64()}


def documents(texts, n_bytes):
    rng = random.Random(1)
    words = sorted({word for text in texts for word in text.split()})
    n, number = 0, 0
    while n < n_bytes:
        text = rng.choice(texts)
        length = min(len(text) // 2, max(20, int(rng.lognormvariate(7.5, 1.0))))
        begin = rng.randrange(len(text) - length)
        parts = text[begin:begin + length].split(" ")
        for i in range(0, len(parts), 50):
            parts[i] = rng.choice(words)
        text = " ".join(parts) + f" {number}"
        yield {"text": text, "id": f"<urn:uuid:{number:032x}>", "dump": "CC-MAIN-2024-10",
               "url": f"https://example.org/{number}", "date": "2024-02-20T21:00:00Z",
               "file_path": "s3://example/warc.gz", "language": "en",
               "language_score": rng.uniform(0.65, 1), "token_count": len(text) // 4}
        n += len(text.encode())
        number += 1


def main():
    output, n_bytes = sys.argv[1], int(float(sys.argv[2]) * 1e6)
    texts = [json.loads(line)["text"] for path in sys.argv[3:] for line in open(path, encoding="utf-8")]
    schema = pyarrow.schema(COLUMNS)
    with pyarrow.parquet.ParquetWriter(output, schema, compression="snappy") as writer:
        rows = []
        for row in documents(texts, n_bytes):
            rows.append(row)
            if len(rows) == 1000:
                writer.write_table(pyarrow.Table.from_pylist(rows, schema), row_group_size=1000)
                rows = []
        if rows:
            writer.write_table(pyarrow.Table.from_pylist(rows, schema), row_group_size=1000)


if __name__ == "__main__":
    sys.exit(main())
