#!/usr/bin/env python3
"""Prefill in llama.cpp, a peer of bench_compress.c: sequences of 320 random tokens, logits for the last
token of each. One JSON line: rows/s.

    compress_llamacpp.py MODEL.gguf f32|bf16|f16|q8_0|file RUNS [--threads N] [--sequences 8]
                         [--together 1,4] [--work DIR]

So many sequences are read a run, --together of them a pass; of several numbers the fastest counts."""
import argparse
import json
import os
import random
import tempfile

import llamacpp
from timing import Runs, peak_rss_bytes

TOKENS = 320


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("type", choices=[*llamacpp.TYPES, "file"])
    parser.add_argument("runs", type=int)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--sequences", type=int, default=8, help="a run")
    parser.add_argument("--together", default="1,4", help="a pass")
    parser.add_argument("--work", default=tempfile.gettempdir())
    return parser.parse_args()


def prefill(session, n_sequences, together):
    for begin in range(0, n_sequences, together):
        n = min(together, n_sequences - begin)
        session.forget()
        tokens = [random.randrange(session.n_vocab) for _ in range(n * TOKENS)]
        session.read(tokens, [i % TOKENS for i in range(n * TOKENS)],
                     [i // TOKENS for i in range(n * TOKENS)],
                     [i % TOKENS == TOKENS - 1 for i in range(n * TOKENS)])


def main():
    options = arguments()
    path = llamacpp.of_type(options.model, options.type, options.work, options.threads)
    best = None
    for together in (int(n) for n in options.together.split(",")):
        n_tokens = together * TOKENS
        session = llamacpp.Session(path, options.threads, together, TOKENS, n_tokens, n_tokens)
        runs = Runs(options.threads)
        prefill(session, together, together)  # warm
        for _ in range(options.runs):
            runs.time(lambda: prefill(session, options.sequences, together))
        result = {"type": options.type, "together": together,
                  **runs.rates("rows", options.sequences * TOKENS),
                  "peak_rss_bytes": peak_rss_bytes()}
        if best is None or result["rows_per_second_best"] > best["rows_per_second_best"]:
            best = result
    print(json.dumps(best))


main()
