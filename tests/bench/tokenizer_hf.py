#!/usr/bin/env python3
"""The peer of bench_tokenizer: Hugging Face's tokenizers (Rust) on one thread.

    pip install tokenizers
    python tests/bench/tokenizer_hf.py TOKENIZER.json ROUNDS FILE.jsonl...

The same documents, and the same line of JSON; ids only (encode_batch_fast, which keeps no offsets).
"""
import json
import os
import statistics
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

from tokenizers import Tokenizer  # noqa: E402  (reads the environment when loaded)

DOCUMENT_BYTES = 2048


def documents(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            text = json.loads(line)["text"].encode()
            begin = 0
            while begin < len(text):
                end = text.find(b"\n", begin + DOCUMENT_BYTES) + 1 or len(text)
                yield text[begin:end].decode()
                begin = end


def main():
    tokenizer = Tokenizer.from_file(sys.argv[1])
    texts = [text for path in sys.argv[3:] for text in documents(path)]
    n_bytes = sum(len(text.encode()) for text in texts)
    rates, n_tokens = [], 0
    for _ in range(int(sys.argv[2])):
        begin = time.perf_counter()
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        rates.append(n_bytes / 1e6 / (time.perf_counter() - begin))
        n_tokens = sum(len(encoding) for encoding in encodings)
    print(json.dumps({"mb_per_second_best": round(max(rates), 2),
                      "mb_per_second_median": round(statistics.median(rates), 2),
                      "bytes": n_bytes, "tokens": n_tokens}))


if __name__ == "__main__":
    sys.exit(main())
