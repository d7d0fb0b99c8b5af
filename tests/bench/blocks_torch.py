#!/usr/bin/env python3
"""Layers of Llama-3-8B's shape with their head in PyTorch + transformers, the peer of bench_blocks.c:
forward over rows with a target each, and backward to the input; frozen random weights. One JSON line.

    blocks_torch.py f32|bf16 ROWS RUNS [--threads N] [--layers 2]

bf16: weights in bf16. head_grown_bytes: what the process grows by in the first pass of the head and loss."""
import argparse
import json
import os

import torch
import transformers
from torch.nn import functional as F

from timing import Runs, peak_rss_bytes


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("precision", choices=["f32", "bf16"])
    parser.add_argument("rows", type=int)
    parser.add_argument("runs", type=int)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--layers", type=int, default=2)
    return parser.parse_args()


def make_model(options):
    config = transformers.LlamaConfig(
        hidden_size=4096, intermediate_size=14336, num_hidden_layers=options.layers,
        num_attention_heads=32, num_key_value_heads=8, vocab_size=128256,
        max_position_embeddings=8192, rope_theta=500000.0, rms_norm_eps=1e-5,
        tie_word_embeddings=True, attn_implementation="sdpa", use_cache=False)
    # Values do not matter, and the library draws them slowly.
    torch.set_default_dtype(torch.bfloat16 if options.precision == "bf16" else torch.float32)
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    model = model.to_empty(device="cpu").requires_grad_(False)
    model.tie_weights()
    for parameter in model.parameters():
        parameter.data.uniform_(-0.02, 0.02)
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    return model


def loss_of(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def status_bytes(name):
    for line in open("/proc/self/status"):
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0


def head_grows(model, options):
    """Beside its weights and input."""
    x = torch.rand(1, options.rows, 4096).requires_grad_()
    targets = torch.randint(0, 128256, (1, options.rows))
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status_bytes("VmRSS")
    loss_of(model.lm_head(x), targets).backward()
    return status_bytes("VmHWM") - before


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = make_model(options)
    grown = head_grows(model, options)
    runs = Runs(options.threads)

    def run(rows, targets):
        loss_of(model(inputs_embeds=rows).logits, targets).backward()

    for i in range(options.runs + 1):
        ids, targets = (torch.randint(0, 128256, (1, options.rows)) for _ in range(2))
        rows = model.model.embed_tokens(ids).detach().requires_grad_()
        (runs if i > 0 else Runs(options.threads)).time(lambda: run(rows, targets))
    print(json.dumps({"precision": options.precision, "rows": options.rows, "layers": options.layers,
                      "torch": torch.__version__, **runs.rates("rows", options.rows),
                      "head_grown_bytes": grown, "peak_rss_bytes": peak_rss_bytes()}))


main()
