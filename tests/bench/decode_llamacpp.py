#!/usr/bin/env python3
"""Greedy decoding in llama.cpp (llama-cpp-python's low-level calls), the peer of bench_decode.c: prompts
of 64 random tokens, 32 new ones each, all sequences in one batch, the likeliest token of each taken from
the logits as we take it. A JSON line for each batch: best and median new tokens/s without the prompts.

    decode_llamacpp.py MODEL.gguf f32|bf16|f16|q8_0|file RUNS [--threads N] [--batches 1,8,32] [--work DIR]

A type other than `file` is made from MODEL by llama_model_quantize (into DIR): its speed is that type's.
Exit code 77 without llama_cpp: pip install --no-binary llama-cpp-python llama-cpp-python."""
import argparse
import ctypes
import json
import os
import random
import statistics
import sys
import tempfile
import time

PROMPT, NEW = 64, 32
TYPES = {"f32": 0, "f16": 1, "q8_0": 7, "bf16": 32}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("type", choices=[*TYPES, "file"])
    parser.add_argument("runs", type=int)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--work", default=tempfile.gettempdir())
    return parser.parse_args()


def of_type(llama, model, name, folder, threads):
    if name == "file":
        return model
    path = os.path.join(folder, "%s.%s.gguf" % (os.path.basename(model)[:-5], name))
    if not os.path.exists(path):
        params = llama.llama_model_quantize_default_params()
        params.ftype, params.nthread, params.allow_requantize = TYPES[name], threads, True
        if llama.llama_model_quantize(model.encode(), path.encode(), ctypes.byref(params)):
            sys.exit("decode_llamacpp: %s cannot be made" % path)
    return path


class Decoder:
    def __init__(self, llama, path, threads, most):
        self.llama = llama
        params = llama.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama.llama_model_load_from_file(path.encode(), params)
        context = llama.llama_context_default_params()
        context.n_ctx, context.n_batch, context.n_ubatch = most * 128, 512, 512
        context.n_seq_max = most
        context.n_threads = context.n_threads_batch = threads
        self.context = llama.llama_init_from_model(self.model, context)
        self.batch = llama.llama_batch_init(512, 0, most)
        self.memory = llama.llama_get_memory(self.context)
        self.n_vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))

    def read(self, tokens, positions, sequences, wanted):
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i] = token, positions[i]
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequences[i]
            batch.logits[i] = wanted[i]
        if self.llama.llama_decode(self.context, batch):
            sys.exit("decode_llamacpp: llama_decode failed")

    def likeliest(self, row):
        import numpy

        logits = self.llama.llama_get_logits_ith(self.context, row)
        return int(numpy.ctypeslib.as_array(logits, shape=(self.n_vocab,)).argmax())

    def seconds_for_new(self, n):
        self.llama.llama_memory_clear(self.memory, True)
        tokens = []
        for s in range(n):
            prompt = [random.randrange(self.n_vocab) for _ in range(PROMPT)]
            self.read(prompt, range(PROMPT), [s] * PROMPT, [0] * (PROMPT - 1) + [1])
            tokens.append(self.likeliest(PROMPT - 1))
        begin = time.perf_counter()
        for k in range(NEW):
            self.read(tokens, [PROMPT + k] * n, range(n), [1] * n)
            tokens = [self.likeliest(i) for i in range(n)]
        return time.perf_counter() - begin


def main():
    options = arguments()
    try:
        import llama_cpp as llama
    except ImportError:
        print("skipped: needs llama_cpp", file=sys.stderr)
        sys.exit(77)
    llama.llama_backend_init()
    quiet = llama.llama_log_callback(lambda level, text, user: None)
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    path = of_type(llama, options.model, options.type, options.work, options.threads)
    batches = [int(n) for n in options.batches.split(",")]
    decoder = Decoder(llama, path, options.threads, max(batches))
    for n in batches:
        decoder.seconds_for_new(n)  # warm
        rates = [n * NEW / decoder.seconds_for_new(n) for _ in range(options.runs)]
        print(json.dumps({"batch": n, "tokens_per_second_best": max(rates),
                          "tokens_per_second_median": statistics.median(rates)}), flush=True)


main()
