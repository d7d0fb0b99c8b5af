#!/usr/bin/env python3
"""Greedy decoding in llama.cpp, the peer of bench_decode.c: prompts of 64 random tokens, 32 new ones
each, all sequences in one batch, the likeliest token of each taken from the logits as we take it. A
JSON line for each batch: new tokens/s without the prompts.

    decode_llamacpp.py MODEL.gguf f32|bf16|f16|q8_0|file RUNS [--threads N] [--batches 1,8,32] [--work DIR]

A type other than `file` is made from MODEL into DIR."""
import argparse
import json
import os
import random
import tempfile

import llamacpp
from timing import Runs, peak_rss_bytes

PROMPT, NEW = 64, 32


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("type", choices=[*llamacpp.TYPES, "file"])
    parser.add_argument("runs", type=int)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--work", default=tempfile.gettempdir())
    return parser.parse_args()


def read_prompts(session, n):
    """Returns what each sequence goes on with."""
    session.forget()
    tokens = []
    for s in range(n):
        prompt = [random.randrange(session.n_vocab) for _ in range(PROMPT)]
        session.read(prompt, range(PROMPT), [s] * PROMPT, [0] * (PROMPT - 1) + [1])
        tokens.append(session.likeliest(PROMPT - 1))
    return tokens


def go_on(session, tokens):
    n = len(tokens)
    for k in range(NEW):
        session.read(tokens, [PROMPT + k] * n, range(n), [1] * n)
        tokens = [session.likeliest(i) for i in range(n)]


def main():
    options = arguments()
    path = llamacpp.of_type(options.model, options.type, options.work, options.threads)
    batches = [int(n) for n in options.batches.split(",")]
    for n in batches:
        session = llamacpp.Session(path, options.threads, n, 128, 512, 512)
        runs = Runs(options.threads)
        go_on(session, read_prompts(session, n))  # warm
        for _ in range(options.runs):
            tokens = read_prompts(session, n)
            runs.time(lambda: go_on(session, tokens))
        print(json.dumps({"batch": n, "type": options.type, **runs.rates("tokens", n * NEW),
                          "peak_rss_bytes": peak_rss_bytes()}), flush=True)


main()
