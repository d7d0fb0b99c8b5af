#!/usr/bin/env python3
"""The peer of `slotpress tokenize`: PyArrow and Hugging Face's tokenizers, one thread a process.

    pip install pyarrow tokenizers numpy
    python tests/bench/corpus_hf.py TOKENIZER.json PROCESSES SEGMENT_TOKENS OUTPUT FILE.parquet

Processes take row groups, tokenize their documents in one batch (encode_batch_fast, which keeps no
offsets), cut the ids into segments and write them, with their lengths, as .npy files. It does not drop
duplicates, align a second tokenizer, mark characters' boundaries, or survive a kill. Prints one line of
JSON; seconds begin when the processes do.
"""
import json
import multiprocessing
import os
import resource
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

import numpy  # noqa: E402
import pyarrow  # noqa: E402
import pyarrow.parquet  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402  (reads the environment when loaded)


def work(tokenizer_path, path, groups, segment_tokens, output, results):
    pyarrow.set_cpu_count(1)
    tokenizer = Tokenizer.from_file(tokenizer_path)
    file = pyarrow.parquet.ParquetFile(path)
    n_bytes = n_tokens = 0
    while (group := groups.get()) is not None:
        texts = file.read_row_group(group, columns=["text"])["text"].to_pylist()
        n_bytes += sum(len(text.encode()) for text in texts)
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ids, lengths = [], []
        for encoding in encodings:
            ids.extend(encoding.ids)
            whole, rest = divmod(len(encoding), segment_tokens)
            lengths.extend([segment_tokens] * whole + [rest] * (rest > 0))
        n_tokens += len(ids)
        numpy.save(f"{output}.{group}.ids.npy", numpy.asarray(ids, dtype=numpy.uint32))
        numpy.save(f"{output}.{group}.lengths.npy", numpy.asarray(lengths, dtype=numpy.uint32))
    results.put((n_bytes, n_tokens, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def main():
    tokenizer, n_processes, segment_tokens, output, path = sys.argv[1:]
    begin = time.perf_counter()
    groups, results = multiprocessing.Queue(), multiprocessing.Queue()
    for group in range(pyarrow.parquet.ParquetFile(path).num_row_groups):
        groups.put(group)
    workers = []
    for _ in range(int(n_processes)):
        groups.put(None)
        workers.append(multiprocessing.Process(
            target=work, args=(tokenizer, path, groups, int(segment_tokens), output, results)))
        workers[-1].start()
    counts = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - begin
    n_bytes = sum(count[0] for count in counts)
    print(json.dumps({"seconds": round(seconds, 3), "bytes": n_bytes,
                      "tokens": sum(count[1] for count in counts),
                      "mb_per_second": round(n_bytes / 1e6 / seconds, 2),
                      "peak_rss_bytes": max(count[2] for count in counts)}))


if __name__ == "__main__":
    sys.exit(main())
